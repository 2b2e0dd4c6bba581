//! What services are told about the caller: identity headers, made once per identity (R106).
//!
//! A header must never say more than the claim did. So a value is refused, not repaired, when
//! sending it would forge something: a control character, or a list item that holds the list's
//! separator (T28). What HTTP cannot carry is encoded, so that two different claims never look
//! the same.
//!
//! The same names are what is taken out of requests, before anything reads them (R108), and what
//! the gateway signs ([`IdentitySigner`], R109).

mod contract;
mod encode;
mod fact;
mod signature;

use http::{HeaderName, HeaderValue};

use crate::auth::reserved::RESERVED;
use crate::edge::{IdentityFacts, is_same_variable};
use crate::model::{Config, HeaderEncoding, IdentityHeader, Problem, Problems};

pub use contract::{Contract, ContractHeader, ContractSignature};
pub use signature::{IdentitySigner, SIGNATURE_HEADERS};

pub(in crate::auth) use encode::Unsendable;
use fact::Fact;

/// Headers that are removed from every request even where the configuration renames them:
/// services may still trust the names they know (R108).
const BUILT_IN: [&str; 9] = [
    "x-user-id",
    "x-tenant-id",
    "x-user-roles",
    "x-auth-scopes",
    "x-user-email",
    "x-client-id",
    "x-client-plan",
    // RFC 9440: what a proxy says about its client's certificate.
    "client-cert",
    "client-cert-chain",
];

/// Longest value of a header, in bytes: services refuse header blocks of 8 KiB and more.
const VALUE_BYTES_MAX: usize = 4096;

/// The identity headers of a configuration, in the order of their names.
#[derive(Debug, Default)]
pub(super) struct IdentityHeaders(Vec<Header>);

/// One of them.
#[derive(Debug)]
struct Header {
    name: HeaderName,
    fact: Fact,
    encoding: HeaderEncoding,
}

impl IdentityHeaders {
    /// Compiles `identityHeaders`.
    pub(super) fn compile(config: &Config, problems: &mut Problems) -> Self {
        let carrier = config.api_key_carriers.header.as_str();
        let mut headers: Vec<Header> = Vec::with_capacity(config.identity_headers.len());
        for (name, IdentityHeader { fact, encoding }) in &config.identity_headers {
            let path = format!("identityHeaders.{name}");
            let fact = Fact::parse(fact, &path, problems);
            let Ok(name) = HeaderName::try_from(name.as_str()) else {
                let message = format!("`{name}` is not a header name");
                problems.push(Problem::error("identity_header.name", path, message));
                continue;
            };
            let is = |other: &str| is_same_variable(other, name.as_str());
            if RESERVED.into_iter().chain(["x-api-key", carrier]).any(is) {
                let message = format!(
                    "`{name}` cannot be an identity header: it would be removed from every request"
                );
                problems.push(Problem::error("identity_header.reserved", path, message));
                continue;
            }
            if headers.iter().any(|known| is(known.name.as_str())) {
                let message = format!(
                    "`{name}` stands here twice: neither case nor `_` for `-` makes another header"
                );
                problems.push(Problem::error("identity_header.repeated", path, message));
                continue;
            }
            headers.extend(fact.map(|fact| Header { name, fact, encoding: *encoding }));
        }
        headers.sort_by(|one, other| one.name.as_str().cmp(other.name.as_str()));
        Self(headers)
    }

    /// Names to remove from every request, each once.
    pub(super) fn stripped(&self) -> Vec<HeaderName> {
        let mut names: Vec<HeaderName> = BUILT_IN.map(HeaderName::from_static).into();
        for Header { name, .. } in &self.0 {
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
        names
    }

    /// The headers for a caller, in the order of their names; a fact that is absent sends none.
    ///
    /// # Errors
    /// Returns `Unsendable` when a value would forge something, or is too long.
    pub(super) fn render(
        &self,
        facts: &IdentityFacts,
    ) -> Result<Vec<(HeaderName, HeaderValue)>, Unsendable> {
        let mut headers = Vec::with_capacity(self.0.len());
        for Header { name, fact, encoding } in &self.0 {
            let text = encode::header(&fact.of(facts), *encoding)?;
            if text.is_empty() {
                continue;
            }
            if text.len() > VALUE_BYTES_MAX {
                return Err(Unsendable);
            }
            let value = HeaderValue::try_from(text).map_err(|_| Unsendable)?;
            headers.push((name.clone(), value));
        }
        Ok(headers)
    }
}

#[cfg(test)]
mod tests;
