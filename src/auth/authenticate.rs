//! The order of checks.

use std::sync::Arc;

use super::api_key;
use super::certificate;
use super::challenge::{self, TokenError};
use super::credentials::{Credentials, Kind};
use super::introspection;
use super::jwt::proof::Binding;
use super::jwt::provider::Provider;
use super::jwt::token::{self, Decoded};
use super::jwt::verify::{Verification, Verified, on_every_request};
use super::message_signature;
use super::question::Denied;
use super::{AuthPolicy, Evidence};
use crate::edge::{Identity, RequestView};

impl From<TokenError> for Denied {
    fn from(error: TokenError) -> Self {
        Self::Reject(error.into())
    }
}

/// Who the caller is; `Ok(None)` where the policy asks for nobody.
///
/// The request is searched for credentials in the order of the route; the first kind that it
/// carries decides alone, so that two credentials can never be mixed (RFC 6750, section 2).
///
/// # Errors
/// 401 with a challenge (RFC 6750), 503 when nothing can be known about the caller at the
/// moment, or a question that has to be asked first.
pub fn authenticate(
    policy: &AuthPolicy,
    view: &RequestView<'_>,
    evidence: &Evidence<'_>,
) -> Result<Option<Arc<Identity>>, Denied> {
    let Some(credentials) = policy.credentials() else { return Ok(None) };
    for kind in &credentials.order {
        let proved = match kind {
            Kind::Token => match token::bearer(view.headers)? {
                Some(text) => {
                    let identity = TokenCheck { credentials, evidence }.identify(text)?;
                    on_every_request(&identity, view.certificate, &mut |_| ())?;
                    Some(identity)
                }
                None => None,
            },
            Kind::ApiKey => api_key::identify(view, evidence, credentials.takes_stale())?,
            Kind::Signature => message_signature::identify(view, evidence)?,
            Kind::Certificate => match view.certificate {
                Some(certificate) => {
                    Some(certificate::identify(certificate, evidence.providers, evidence.now)?)
                }
                None => None,
            },
        };
        if let Some(identity) = proved {
            if evidence.memory.revoked.names(&identity, evidence.now) {
                return Err(challenge::revoked(*kind, evidence.providers).into());
            }
            return Ok(Some(identity));
        }
    }
    if credentials.order == [Kind::Signature] {
        return Err(evidence.providers.signers.missing().into());
    }
    Err(challenge::missing(credentials.scheme(), evidence.providers).into())
}

struct TokenCheck<'a> {
    credentials: &'a Credentials,
    evidence: &'a Evidence<'a>,
}

impl TokenCheck<'_> {
    fn identify(&self, text: &str) -> Result<Arc<Identity>, Denied> {
        let Evidence { keys, memory, now, .. } = *self.evidence;
        let is_asked_about = !self.credentials.introspected.is_empty();
        if !is_asked_about || introspection::may_be_jwt(text) {
            let proved = memory.tokens.get(text, now, |binding| {
                self.accepted(binding).is_some_and(|provider| binding.proves(provider, keys))
            });
            if let Some(identity) = proved {
                return Ok(identity);
            }
        }
        if is_asked_about
            && let Some(identity) = introspection::identify(text, self.credentials, self.evidence)?
        {
            return Ok(identity);
        }
        let refused = memory.refusals.recall(text, now, |binding| {
            self.accepted(binding).is_some_and(|provider| binding.refuses(provider, keys))
        });
        if let Some(error) = refused {
            return Err(error.into());
        }
        let Self { credentials, evidence } = *self;
        let verification = Verification { credentials, evidence };
        let decoded = Decoded::of(text)?;
        let selected = verification.select(&decoded, &mut |_| ())?;
        let binding = selected.binding;
        match verification.prove(selected, &mut |_| ()) {
            Ok(Verified { identity, good_until }) => {
                memory.tokens.put(text, binding, good_until, &identity, now);
                Ok(identity)
            }
            Err(error) => {
                memory.refusals.note(text, binding, error, now);
                Err(error.into())
            }
        }
    }

    /// The provider of an earlier verdict, where this route accepts it: a verdict reached for
    /// one provider says nothing to a route that asks for another.
    fn accepted(&self, binding: &Binding) -> Option<&Provider> {
        let is_accepted = self.credentials.accepts(binding.provider);
        is_accepted.then(|| self.evidence.providers.get(binding.provider)).flatten()
    }
}

#[cfg(test)]
mod tests;
