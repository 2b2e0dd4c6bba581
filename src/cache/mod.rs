//! Which answers are kept, under which key, and where.
//!
//! The key is made from the client-facing request and verified identity only, each factor
//! length-prefixed, so that no two factor lists share an entry (T10). What may be stored is
//! judged on the original request and the upstream's answer. The store keeps whole answers,
//! status and header included (T13), within a bound that holds at every moment.
//!
//! Three questions, in the order of a request: [`consider`] (does it use the cache, and under
//! which key), [`variance`] (which of several answers under that key), [`admit_response`] (is the
//! answer kept). Pingora does the rest: looking up, waiting for another request's fill,
//! revalidating, ranges.

mod admit;
mod entry;
mod fill;
mod key;
mod language;
mod policy;
mod query;
mod shard;
mod status;
mod store;
mod vary;
mod weighted;

pub use admit::{admit_response, variance};
pub use key::{CachePlan, Factor, bypass, consider};
pub use policy::CachePolicy;
pub use status::CacheStatus;
pub use store::{CacheBackend, MAX_OBJECT_BYTES, MemoryStore};

#[cfg(test)]
mod fixtures;
