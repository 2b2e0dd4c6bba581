//! `tidegate check`.

use std::process::ExitCode;
use std::sync::Arc;

use super::args::CheckArgs;
use super::{err, out};
use crate::live::{Judged, Missing, judge};
use crate::model::{Loaded, Problems};
use crate::telemetry::Metrics;
use crate::upstream::Upstreams;

pub(super) fn check(args: &CheckArgs) -> ExitCode {
    let Ok(metrics) = Metrics::new().map(Arc::new) else { return ExitCode::FAILURE };
    let health = Upstreams::default();
    let Judged { loaded, problems, candidate, .. } =
        judge(&args.file, Missing::Noted, &metrics, &health, 1);
    let routes = candidate.map(|candidate| candidate.config.routes.len());
    let tolerable = problems.0.is_empty() || !args.strict;
    let good = routes.is_some() && tolerable;
    if args.json {
        out(&as_json(&loaded, &problems, good));
    } else {
        out(&as_text(&loaded, &problems));
        let file = args.file.display();
        match routes {
            Some(routes) if good => err(&format!("{file}: good, {routes} routes\n")),
            _ => err(&format!("{file}: not good\n")),
        }
    }
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn as_text(loaded: &Loaded, problems: &Problems) -> String {
    if problems.0.is_empty() { String::new() } else { loaded.render(problems) }
}

fn as_json(loaded: &Loaded, problems: &Problems, good: bool) -> String {
    let report = serde_json::json!({
        "good": good,
        "checksum": format!("sha256:{}", loaded.sha256),
        "problems": problems.0,
    });
    format!("{report:#}\n")
}
