//! `tidegate run`.

use std::process::ExitCode;
use std::sync::Arc;

use super::args::RunArgs;
use super::err;
use crate::clock;
use crate::live::{Live, Missing, judge};
use crate::server::{self, Start};
use crate::telemetry::{Metrics, init_logging};
use crate::upstream::Upstreams;

pub(super) fn run(args: &RunArgs) -> ExitCode {
    init_logging(args.log_json);
    // Rustls asks for one provider for the process; the JWT signatures use the same library.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        tracing::debug!("a TLS provider is installed already");
    }
    match serve(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            err(&why);
            ExitCode::FAILURE
        }
    }
}

fn serve(args: &RunArgs) -> Result<(), String> {
    let metrics = Arc::new(Metrics::new().map_err(|error| format!("{error}\n"))?);
    metrics.build_info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
    let health = Upstreams::default();
    let judged = judge(&args.file, Missing::Refused, &metrics, &health, 1);
    if !judged.problems.0.is_empty() {
        err(&judged.loaded.render(&judged.problems));
    }
    let Some(candidate) = judged.candidate else {
        return Err(format!("{}: not good, nothing is served\n", args.file.display()));
    };
    let config = candidate.config.clone();
    watch_panics(&metrics);
    let live = Live::start(&args.file, candidate, metrics, health, clock::now())
        .map_err(|error| format!("the access log `{}`: {error}\n", config.access_log.path))?;
    let start = if args.upgrade { Start::Upgrade } else { Start::Fresh };
    server::run(&Arc::new(live), &config, start)
        .map_err(|error| format!("the gateway cannot start: {error}\n"))
}

/// A panic drops its request and nothing else; it must not go unnoticed.
fn watch_panics(metrics: &Arc<Metrics>) {
    let counter = metrics.panics.clone();
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        counter.inc();
        tracing::error!("a defect: {info}");
        usual(info);
    }));
}
