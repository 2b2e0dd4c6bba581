//! Where a request goes: the version by split, the endpoint by rotation and health.
//!
//! Two decisions, one after the other. The *version* is a matter of the caller: a hash of who
//! they are falls into one of 10,000 buckets, the same on every node and after every restart
//! (R042, R043). The *endpoint* within the version is a matter of the moment: the next one in
//! rotation that this node has not seen failing. Neither knows the network: addresses come in
//! resolved, time and entropy are arguments, and connecting is the proxy's business.

mod affinity;
mod choose;
mod endpoint;
mod findings;
mod health;
mod murmur3;
mod probe;
mod service;
mod split;

pub use choose::{Tried, choose};
pub use endpoint::{Endpoint, split_address};
pub use health::{EndpointHealth, FAILURES_TO_OUT, HealthBoard, OUT_FOR};
pub use murmur3::murmur3_32;
pub use service::{Upstream, Version};
pub use split::{BUCKETS, Bucket};

#[cfg(test)]
mod fixtures;
