//! Key sets of issuers: which are in force, and how they are kept.
//!
//! Every identity provider with `jwksUrl` or `discoveryUrl` has one set, kept for as long as the
//! provider is configured: no set is evicted for another, since its tokens would then be refused
//! for a reason of the gateway's own (R087). What bounds them is the configuration: one set per
//! provider, `maxKeys` keys each, 1 MiB of document read at most.

pub(in crate::auth) mod development;
mod discovery;
mod disk;
pub(in crate::auth) mod feed;
pub(in crate::auth) mod fetch;
mod freshness;
pub(in crate::auth) mod keyring;
pub(in crate::auth) mod settings;
pub(in crate::auth) mod source;
