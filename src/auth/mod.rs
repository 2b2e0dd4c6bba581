//! Who is calling, and may they.
//!
//! [`authenticate()`] is the order of checks in one function; it is pure: what it rests on is
//! its [`Evidence`]. Where that does not suffice it ends with a [`Question`], which the
//! [`Authenticator`] asks before it has it decided again. Key sets are fetched in the background
//! by [`KeySource`], so that no request waits for an issuer (R086, R089).
//!
//! What is decided here, in reading order: what a route asks ([`AuthPolicy`]), who may vouch
//! for callers ([`Providers`]), how each kind of credentials is judged (`jwt`, `introspection`,
//! `api_key`, `message_signature`, `certificate`), what is found out elsewhere
//! (`lookup`, `database`), what services are told (`headers`), and which
//! keys are in force ([`KeyRing`]). A token that fails any check gets 401 with a challenge, one
//! that lacks a scope 403 (RFC 6750; T7). Nothing here knows routes, limits or caches.

mod address;
mod assume;
mod authenticate;
mod authenticator;
mod authorize;
mod challenge;
mod demands;
mod describe;
mod inspect;
mod memory;
mod mint;
mod question;
mod reserved;

mod credentials;
mod policy;
mod providers;

mod api_key;
mod certificate;
mod database;
mod headers;
mod introspection;
mod jwt;
mod keyset;
mod lookup;
mod message_signature;
mod news;
mod revocation;
mod tenants;

#[cfg(feature = "fuzz")]
#[doc(hidden)]
pub mod fuzz;

#[cfg(test)]
mod testing;

pub use address::admit_address;
pub use assume::{assume, imagine};
pub use authenticate::authenticate;
pub use authenticator::{Authenticator, Evidence, Proof};
pub use authorize::authorize;
pub use database::{
    Database, DatabaseError, DatabaseSettings, Happened, HashKey, Issued, KeyFilter, KeyRecord,
    KeyText, NewKey, Registry, RegistryError, Rotated, StoredKey, TenantRecord,
};
pub use headers::{Contract, ContractHeader, ContractSignature, IdentitySigner, SIGNATURE_HEADERS};
pub use inspect::{CheckReport, Outcome, TokenReport, inspect};
pub use jwt::cache::TokenCache;
pub use keyset::development::DevelopmentKey;
pub use keyset::keyring::{KeyRing, UnknownKey};
pub use keyset::source::KeySource;
pub use memory::Memory;
pub use message_signature::{BodyDigest, parse as parse_message_signature};
pub use mint::{mint, new_development_key};
pub use news::{Purge, announce};
pub use policy::AuthPolicy;
pub use providers::{ProviderIndex, Providers};
pub use question::{Answers, Denied, Question};
pub use revocation::{Ordered, Refused, Revocations};
