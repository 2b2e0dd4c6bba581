//! Connections to what gateways share.
//!
//! Policies that share something through Redis call it by a [`Redis`]; none of them makes
//! connections of its own. A [`Breaker`] says when to leave one alone that does not answer.
//!
//! It may be one server, a Redis Cluster, or the primary that Sentinels name. Which, only
//! `target` knows; a connection is found wanting in `slot`. Nothing here knows what is called.

mod address;
mod breaker;
mod connection;
mod failure;
mod meters;
mod redis;
mod sentinel;
mod settings;
mod slot;
mod target;

pub use address::{Address, Flaw, Place, Tls};
pub use breaker::Breaker;
pub use connection::Connection;
pub use failure::Failure;
pub use meters::Meters;
pub use redis::{Redis, next_message};
pub use settings::Settings;
