//! Who is calling, and may they.
//!
//! [`authenticate()`] is the order of checks in one function; it is pure: keys, cached tokens and
//! time are arguments. [`KeySource`] is the one part that talks to identity providers, in the
//! background, so that no request waits for one (R086, R089).
//!
//! What is decided here, in reading order: what a route asks ([`AuthPolicy`]), who may vouch
//! for callers ([`Providers`]), how a token is read and checked (`token`, `validity`,
//! `signature`), what it proves (`claims`, `headers`), and which keys are in force
//! ([`KeyRing`]). A token that fails any check gets 401 with a challenge, one that lacks a scope
//! 403 (RFC 6750; T7). Nothing here knows routes, limits or caches.

mod assume;
mod authenticate;
mod authorize;
mod challenge;
mod describe;

mod policy;
mod provider;
mod providers;

mod api_key;
mod certificate;
mod claims;
mod headers;
mod token;
mod token_cache;
mod validity;

mod jwks;
mod key;
mod keyring;
mod signature;

mod feed;
mod fetch;
mod source;

#[cfg(test)]
mod testing;

pub use api_key::API_KEY_HEADER;
pub use assume::assume;
pub use authenticate::{Denied, authenticate};
pub use authorize::authorize;
pub use keyring::{KeyRing, UnknownKey};
pub use policy::AuthPolicy;
pub use providers::{ProviderIndex, Providers};
pub use source::KeySource;
pub use token_cache::TokenCache;
