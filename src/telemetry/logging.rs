//! The process log: what the gateway says about itself, on standard error.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

/// What is logged when `RUST_LOG` does not say otherwise. Pingora logs an error for every client
/// that goes away; those are in the access log already.
const DEFAULT_FILTER: &str = "info,pingora_core=warn,pingora_proxy=off,h2=warn";

/// Starts logging to standard error: `json` for machines, else lines for people. Records of
/// libraries that use `log` are included. Later calls have no effect.
pub fn init_logging(json: bool) {
    let filter =
        EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    // An error here means that a subscriber is already there, which is what was wanted.
    let _ = if json {
        builder.json().flatten_event(true).finish().try_init()
    } else {
        builder.compact().finish().try_init()
    };
}
