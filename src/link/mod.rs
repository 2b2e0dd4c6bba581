//! Connections to what gateways share.
//!
//! Policies that share something through Redis call it by a [`Redis`]; none of them makes
//! connections of its own. A [`Breaker`] says when to leave one alone that does not answer.

mod breaker;
mod redis;

pub use breaker::Breaker;
pub use redis::{Failure, Redis, check_redis_url};
