//! What operators see: metrics, the access log, the process log.
//!
//! Metric names and labels stand in one table; a label value is a word of the configuration or
//! of a closed set, never something a client sent. Counters of routes are resolved when they are
//! first used and kept in the compiled route, so that a request only adds.

mod access_log;
mod distinct;
mod listener_meters;
mod log_bounds;
mod log_file;
mod logging;
mod memory;
mod metrics;
mod phases;
mod route_meters;
mod services;

pub use access_log::{AccessLine, AccessLogWriter};
pub use distinct::Distinct;
pub use listener_meters::{ListenerMeters, Refused};
pub use log_bounds::tell_left_out;
pub use logging::init_logging;
pub use memory::resident_bytes;
pub use metrics::Metrics;
pub use phases::{Phase, PhaseMeters};
pub use route_meters::{InFlight, RouteMeters};
pub use services::ServiceGauges;
