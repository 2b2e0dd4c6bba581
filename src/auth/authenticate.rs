//! The order of checks.

use std::sync::Arc;

use jsonwebtoken::signature::Verifier;
use serde_json::Value;

use super::certificate;
use super::challenge::{self, TokenError};
use super::claims;
use super::keyring::{KeySet, NoKey, UnknownKey};
use super::policy::Credentials;
use super::provider::Provider;
use super::signature::SignatureVerifier;
use super::token::{self, Token};
use super::token_cache::Binding;
use super::validity;
use super::{AuthPolicy, KeyRing, ProviderIndex, Providers, TokenCache};
use crate::clock::Moment;
use crate::edge::{Identity, RequestView};
use crate::fault::Reject;

/// Why a caller is not (yet) known.
#[derive(Debug)]
pub enum Denied {
    /// The credentials are missing or not good.
    Reject(Reject),
    /// The token names a key that the provider's set does not hold; ask
    /// [`KeySource::refetch`](super::KeySource::refetch) and try once more if it says so.
    UnknownKey(UnknownKey),
}

impl From<Reject> for Denied {
    fn from(reject: Reject) -> Self {
        Self::Reject(reject)
    }
}

impl From<TokenError> for Denied {
    fn from(error: TokenError) -> Self {
        Self::Reject(error.into())
    }
}

/// The answer to a caller who stays unknown: an unknown key, once nothing newer can be had, is
/// one that is not trusted.
impl From<Denied> for Reject {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Reject(reject) => reject,
            Denied::UnknownKey(_) => TokenError::KeyUnknown.into(),
        }
    }
}

/// Who the caller is; `Ok(None)` where the policy asks for nobody.
///
/// A bearer token decides alone where the route takes tokens: an API key beside it is not
/// looked at, so that two credentials can never be mixed (RFC 6750, section 2). A client
/// certificate counts last: it belongs to the connection, the others to the request.
///
/// # Errors
/// 401 with a challenge (RFC 6750), 503 when no key can be had, or an unknown key id.
pub fn authenticate(
    policy: &AuthPolicy,
    providers: &Providers,
    view: &RequestView<'_>,
    keys: &KeyRing,
    cache: &TokenCache,
    now: Moment,
) -> Result<Option<Arc<Identity>>, Denied> {
    let Some(credentials) = policy.credentials() else { return Ok(None) };
    if !credentials.providers.is_empty()
        && let Some(text) = token::bearer(view.headers)?
    {
        let check = TokenCheck { credentials, providers, keys, cache, now };
        return check.identify(text).map(Some);
    }
    if credentials.api_keys
        && let Some(identity) = providers.api_keys.find(view.headers)?
    {
        return Ok(Some(identity));
    }
    if credentials.certificates
        && let Some(certificate) = view.certificate
    {
        return Ok(Some(certificate::identify(certificate, providers, now)?));
    }
    Err(challenge::missing(credentials.scheme()).into())
}

struct TokenCheck<'a> {
    credentials: &'a Credentials,
    providers: &'a Providers,
    keys: &'a KeyRing,
    cache: &'a TokenCache,
    now: Moment,
}

impl TokenCheck<'_> {
    fn identify(&self, text: &str) -> Result<Arc<Identity>, Denied> {
        if let Some(identity) = self.cache.get(text, self.now, |binding| self.is_in_force(binding))
        {
            return Ok(identity);
        }
        let token = Token::read(text)?;
        let (index, provider) = self.provider(&token)?;
        if !provider.algorithms.contains(&token.algorithm) {
            return Err(TokenError::Algorithm.into());
        }
        let set = provider.keys(self.keys).ok_or_else(challenge::keys_unavailable)?;
        let verifier = verifier(provider, set, &token)?;
        verifier.verify(token.signed, &token.signature).map_err(|_| TokenError::Signature)?;

        // From here on the claims are the issuer's words.
        let good_until = validity::check(&token.claims, provider, self.now)?;
        let reading = claims::Reading {
            provider: &provider.name,
            names: &provider.claims,
            tenants: &self.providers.tenants,
            headers: &self.providers.headers,
        };
        let identity = Arc::new(Identity::prove(claims::facts(token.claims, &reading)?));
        let binding = Binding {
            provider: index,
            fingerprint: provider.fingerprint,
            generation: set.generation(),
        };
        self.cache.put(text, binding, good_until, &identity);
        Ok(identity)
    }

    /// Whether what was proved earlier still holds for this route: its provider is accepted
    /// here and unchanged, and so is the key set.
    fn is_in_force(&self, binding: &Binding) -> bool {
        let Some(provider) = self.providers.get(binding.provider) else { return false };
        self.credentials.accepts(binding.provider)
            && provider.fingerprint == binding.fingerprint
            && provider.keys(self.keys).is_some_and(|set| set.generation() == binding.generation)
    }

    /// The accepted provider that a token claims to be from. Unverified: it only chooses whose
    /// keys and rules apply, and no other provider's key can then make the token good.
    fn provider(&self, token: &Token<'_>) -> Result<(ProviderIndex, &Provider), TokenError> {
        let issuer = token.claims.get("iss").and_then(Value::as_str).ok_or(TokenError::Issuer)?;
        self.credentials
            .providers
            .iter()
            .filter_map(|index| Some((*index, self.providers.get(*index)?)))
            .find(|(_, provider)| provider.issuer == issuer)
            .ok_or(TokenError::Issuer)
    }
}

fn verifier<'a>(
    provider: &Provider,
    set: &'a KeySet,
    token: &Token<'_>,
) -> Result<&'a SignatureVerifier, Denied> {
    set.select(token.kid.as_deref(), token.algorithm).map_err(|none| match none {
        NoKey::Unfit => TokenError::KeyUnfit.into(),
        NoKey::Unnamed => TokenError::KeyUnnamed.into(),
        NoKey::Unknown => match provider.fetched() {
            Some((id, _)) => {
                Denied::UnknownKey(UnknownKey { set: id.clone(), generation: set.generation() })
            }
            None => TokenError::KeyUnknown.into(),
        },
    })
}

#[cfg(test)]
mod tests;
