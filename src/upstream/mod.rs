//! Where a request goes: the version by split, the endpoint by rotation and health.
//!
//! Two decisions, one after the other. The *version* is a matter of the caller: a hash of who
//! they are falls into one of 10,000 buckets, the same on every node and after every restart
//! (R042, R043). The *endpoint* within the version is a matter of the moment: the next one in
//! rotation that this node has not seen failing. Neither knows the network: addresses come in
//! resolved, time and entropy are arguments, and connecting is the proxy's business.

mod adaptive;
mod affinity;
mod attempt;
mod board;
mod budget;
mod check;
mod choose;
mod circuit;
mod credentials;
mod discovery;
pub mod drilled;
mod ejection;
mod endpoint;
mod findings;
mod gate;
mod health;
mod in_force;
mod latency;
mod murmur3;
mod peer;
mod pool;
mod probe;
mod report;
mod rollout;
mod scale;
mod selection;
mod service;
mod settings;
mod split;
mod state;
mod window;

pub use attempt::Attempt;
pub use board::HealthBoard;
pub use budget::RetryBudget;
pub use choose::{Tried, choose};
pub use circuit::CircuitState;
pub use credentials::CredentialStore;
pub use discovery::{Directory, Known};
pub use endpoint::{Endpoint, split_address};
pub use health::{Checked, EndpointHealth, FAILURES_TO_OUT, OUT_FOR};
pub use in_force::InForce;
pub use latency::Latency;
pub use murmur3::murmur3_32;
pub use pool::{EndpointSet, Instance, Pool};
pub use report::{
    BudgetReport, CircuitReport, ConcurrencyReport, EndpointReport, ServiceReport, VersionReport,
};
pub use rollout::{Rollout, Rollouts, State as RolloutState};
pub use selection::Draw;
pub use service::{Upstream, Version};
pub use split::{BUCKETS, Bucket};
pub use state::{Passage, ServiceState};

use arc_swap::ArcSwap;
use tokio::sync::Notify;

#[cfg(test)]
mod fixtures;

/// What outlives configurations about upstream services.
#[derive(Debug, Default)]
pub struct Upstreams {
    /// Health of endpoints, memories of services.
    pub health: HealthBoard,
    /// Where endpoints are.
    pub directory: Directory,
    /// Versions whose share is being raised.
    pub rollouts: Rollouts,
    /// What connections with TLS are made with.
    pub credentials: CredentialStore,
    /// The services of the configuration in force.
    in_force: ArcSwap<InForce>,
    /// Told when another configuration is in force.
    changed: Notify,
}
