//! Identity providers and API keys, compiled.

use std::sync::Arc;

use http::HeaderName;

use super::api_key::ApiKeys;
use super::claims::Tenants;
use super::headers::IdentityHeaders;
use super::provider::{Fingerprint, Provider};
use crate::model::{Config, Listener, Problems, Resolved};

/// Index of an identity provider in a snapshot, in the order of their names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProviderIndex(pub u32);

/// All identity providers and API keys of a configuration.
#[derive(Debug)]
pub struct Providers {
    list: Vec<Provider>,
    pub(super) api_keys: ApiKeys,
    pub(super) headers: IdentityHeaders,
    pub(super) tenants: Tenants,
    /// What every proof depends on: identity headers and tenants.
    pub(super) context: Fingerprint,
    /// Whether a listener asks clients for certificates.
    pub(super) asks_for_certificates: bool,
    stripped: Vec<HeaderName>,
}

impl Default for Providers {
    fn default() -> Self {
        let headers = IdentityHeaders::default();
        Self {
            list: Vec::new(),
            api_keys: ApiKeys::default(),
            tenants: Tenants::default(),
            context: Fingerprint::of(&[]),
            asks_for_certificates: false,
            stripped: headers.stripped(),
            headers,
        }
    }
}

impl Providers {
    /// Compiles `identityProviders`, `identityHeaders`, `apiKeys` and `tenants`.
    pub fn compile(config: &Config, resolved: &Resolved, problems: &mut Problems) -> Self {
        let headers = IdentityHeaders::compile(&config.identity_headers, problems);
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
        let api_keys = ApiKeys::compile(&config.api_keys, &tenants, &headers, resolved, problems);
        let asks = |listener: &Listener| {
            listener.tls.as_ref().is_some_and(|tls| tls.client_certificate.is_some())
        };
        Self {
            list,
            api_keys,
            stripped: headers.stripped(),
            headers,
            tenants,
            context: Fingerprint::of(&[&context]),
            asks_for_certificates: config.listeners.iter().any(asks),
        }
    }

    /// Header names that are removed from every request, whoever sends it (R108).
    #[must_use]
    pub fn stripped(&self) -> &[HeaderName] {
        &self.stripped
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

#[cfg(test)]
mod tests;
