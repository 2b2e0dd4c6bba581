//! Tokens that are verified here (RFC 7519): their form, their signature, what they prove.

pub(in crate::auth) mod cache;
pub(in crate::auth) mod claims;
pub(in crate::auth) mod confirmation;
pub(in crate::auth) mod jwks;
pub(in crate::auth) mod key;
mod newcomers;
mod places;
pub(in crate::auth) mod proof;
pub(in crate::auth) mod provider;
pub(in crate::auth) mod refusals;
pub(in crate::auth) mod signature;
pub(in crate::auth) mod strict_json;
pub(in crate::auth) mod token;
pub(in crate::auth) mod validity;
pub(in crate::auth) mod verify;
