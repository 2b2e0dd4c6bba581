//! What a decision about a caller may lack, and what was found out about it.
//!
//! Deciding is pure and never waits. Where the answer is somewhere else (at the issuer, in the
//! database, in Redis), the decision ends with a [`Question`]; the
//! [`Authenticator`](super::Authenticator) asks, notes the [`Answers`], and has it decided again.

use std::sync::Arc;

use super::api_key::{Holder, KeyHash};
use super::challenge::{self, TokenError};
use super::introspection::{self, OpaqueToken};
use super::keyset::keyring::UnknownKey;
use super::message_signature::{Nonce, NonceVerdict};
use crate::fault::Reject;

/// Why a caller is not (yet) known, or not (yet) let through.
#[derive(Debug)]
pub enum Denied {
    /// The credentials are missing or not good.
    Reject(Reject),
    /// Somebody else has to be asked first.
    Ask(Question),
}

impl From<Reject> for Denied {
    fn from(reject: Reject) -> Self {
        Self::Reject(reject)
    }
}

/// What a caller is told when nobody is asked, or the answer did not help: an unknown key, once
/// nothing newer can be had, is one that is not trusted; everything else cannot be known.
impl From<Denied> for Reject {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Reject(reject) => reject,
            Denied::Ask(Question::Key(_)) => TokenError::KeyUnknown.into(),
            Denied::Ask(_) => challenge::unavailable(),
        }
    }
}

/// What somebody else has to say before a request can be judged. Each is asked at most once for
/// a request.
#[derive(Debug)]
pub enum Question {
    /// Whether the issuer has published a key that a token names.
    Key(UnknownKey),
    /// Who holds an API key.
    ApiKey(KeyHash),
    /// Whether a token is good, and what it proves.
    Token(OpaqueToken),
    /// Whether a nonce was never used before.
    Nonce(Nonce),
    /// The status of a tenant.
    Tenant(Arc<str>),
}

/// Nobody could be asked, and nothing that was known before may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::auth) struct Unavailable;

/// What was found out about one request.
#[derive(Debug, Default)]
pub struct Answers {
    /// Whether the issuer was asked for a newer key set.
    pub(in crate::auth) key: bool,
    /// Who holds the API key.
    pub(in crate::auth) api_key: Option<Result<Option<Arc<Holder>>, Unavailable>>,
    /// What the token proves.
    pub(in crate::auth) token: Option<introspection::Outcome>,
    /// Whether the nonce is new.
    pub(in crate::auth) nonce: Option<NonceVerdict>,
    /// The tenant's status; none where nobody knows the tenant.
    pub(in crate::auth) tenant: Option<Result<Option<Arc<Box<str>>>, Unavailable>>,
}
