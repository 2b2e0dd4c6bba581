//! Identity providers and API keys, compiled.

use std::sync::Arc;

use http::HeaderName;

use super::api_key::{ApiKeys, Carriers, Listed};
use super::certificate::Certificates;
use super::headers::{Contract, IdentityHeaders, IdentitySigner};
use super::lookup::DatabaseAccess;
use super::message_signature::Signers;
use super::revocation::Settings;
use super::{api_key, certificate};
use crate::auth::jwt::claims::Tenants;
use crate::auth::jwt::provider::{Fingerprint, Provider};
use crate::auth::keyset::development;
use crate::model::{Config, Listener, Problems, Resolved};

/// Index of an identity provider in a snapshot, in the order of their names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProviderIndex(pub u32);

/// All identity providers and API keys of a configuration.
#[derive(Debug)]
pub struct Providers {
    list: Vec<Provider>,
    pub(super) api_keys: ApiKeys,
    /// The database of API keys and tenants.
    pub(super) database: Option<DatabaseAccess>,
    /// Parties that sign their requests.
    pub(super) signers: Signers,
    pub(super) headers: IdentityHeaders,
    pub(super) tenants: Tenants,
    /// What client certificates prove.
    pub(super) certificates: Certificates,
    /// What the proof of a certificate depends on: identity headers, tenants and
    /// `clientCertificates`.
    pub(super) context: Fingerprint,
    /// `revocation`, and whose credentials can be revoked.
    pub(super) revocation: Settings,
    /// Whether a listener asks clients for certificates.
    pub(super) asks_for_certificates: bool,
    stripped: Vec<HeaderName>,
    signer: Option<Arc<IdentitySigner>>,
}

impl Default for Providers {
    fn default() -> Self {
        let headers = IdentityHeaders::default();
        Self {
            list: Vec::new(),
            api_keys: ApiKeys::default(),
            database: None,
            signers: Signers::default(),
            tenants: Tenants::default(),
            certificates: Certificates::default(),
            context: Fingerprint::of(&[]),
            revocation: Settings::default(),
            asks_for_certificates: false,
            stripped: headers.stripped(),
            signer: None,
            headers,
        }
    }
}

impl Providers {
    /// Compiles `identityProviders`, `identityHeaders`, `identitySignature`, `apiKeys`,
    /// `apiKeyCarriers`, `database`, `signers`, `tenants` and `clientCertificates`.
    pub fn compile(config: &Config, resolved: &Resolved, problems: &mut Problems) -> Self {
        let headers = IdentityHeaders::compile(config, problems);
        let tenants = Tenants::new(&config.tenants);
        // Tenants and headers decide what a token proves; a change there must end what was
        // proved before (R114).
        let context =
            serde_json::to_vec(&(&config.identity_headers, &config.tenants)).unwrap_or_default();
        let list = config
            .identity_providers
            .iter()
            .map(|(name, written)| Provider::compile(name, written, &context, resolved, problems))
            .collect();
        development::check(config, problems);
        let stripped = headers.stripped();
        let api_keys = ApiKeys {
            carriers: Carriers::compile(&config.api_key_carriers, &stripped, problems),
            listed: Listed::compile(&config.api_keys, &tenants, &headers, resolved, problems),
            is_configured: !config.api_keys.is_empty() || config.database.is_some(),
        };
        let database = DatabaseAccess::compile(config.database.as_ref(), resolved, problems);
        let certificates = &config.client_certificates;
        let certified = serde_json::to_vec(certificates).unwrap_or_default();
        let certificates = Certificates::compile(certificates, &tenants, &headers, problems);
        let signers = Signers::compile(config, &tenants, &headers, resolved, problems);
        let asks = |listener: &Listener| {
            listener.tls.as_ref().is_some_and(|tls| tls.client_certificate.is_some())
        };
        Self {
            list,
            api_keys,
            database,
            stripped,
            signers,
            signer: config
                .identity_signature
                .as_ref()
                .and_then(|signature| IdentitySigner::compile(signature, resolved, problems))
                .map(Arc::new),
            headers,
            tenants,
            certificates,
            context: Fingerprint::of(&[&context, &certified]),
            revocation: Settings::compile(&config.revocation, vouchers(config), problems),
            asks_for_certificates: config.listeners.iter().any(asks),
        }
    }

    /// Header names that are removed from every request, whoever sends it (R108).
    #[must_use]
    pub fn stripped(&self) -> &[HeaderName] {
        &self.stripped
    }

    /// What signs requests to services, where they are signed (R109).
    #[must_use]
    pub const fn signer(&self) -> Option<&Arc<IdentitySigner>> {
        self.signer.as_ref()
    }

    /// The contract with services, in a configuration from which this was compiled (R110).
    #[must_use]
    pub fn contract(&self, config: &Config) -> Contract {
        Contract::of(config, &self.headers, &self.stripped)
    }

    /// The header that carries API keys.
    #[must_use]
    pub const fn api_key_header(&self) -> &HeaderName {
        &self.api_keys.carriers.header
    }

    /// The query parameter that carries API keys; none where none does, or there are no keys.
    #[must_use]
    pub fn api_key_parameter(&self) -> Option<&Arc<str>> {
        self.api_keys.carriers.parameter.as_ref().filter(|_| self.api_keys.is_configured())
    }

    /// The name of a provider; none if the index is of another snapshot.
    #[must_use]
    pub fn name(&self, index: ProviderIndex) -> Option<&Arc<str>> {
        self.get(index).map(|provider| &provider.name)
    }

    pub(super) fn get(&self, index: ProviderIndex) -> Option<&Provider> {
        self.list.get(usize::try_from(index.0).ok()?)
    }

    /// All providers with their indexes, in the order of their names.
    pub(super) fn iter(&self) -> impl Iterator<Item = (ProviderIndex, &Provider)> {
        (0..).map(ProviderIndex).zip(&self.list)
    }
}

/// What `IdentityFacts::provider` may say: the identity providers and the other ways to prove
/// who one is.
fn vouchers(config: &Config) -> Vec<String> {
    let others = [api_key::PROVIDER, certificate::PROVIDER];
    let names = config.identity_providers.keys().map(String::as_str);
    names
        .chain(others)
        .chain(config.signers.keys().map(String::as_str))
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests;
