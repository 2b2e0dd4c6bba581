//! The cache against its rules, over real sockets: RFC 9111, and what goes with it.
//!
//! The `.case` files hold the cases by subject; `table.rs` says how they are written. Every case
//! says what the client sends, what the service answers or that it must not be asked, what the
//! client must get and what the service must have seen. One gateway and one origin serve all of
//! them at once; each case has paths of its own. What every answer must keep to, whatever the
//! case, is in `invariants.rs`.
//!
//! `TIDEGATE_CASES=text` runs the cases whose subject or name holds the text.

#![allow(
    clippy::indexing_slicing,
    clippy::format_push_string,
    reason = "these are tests, and reports are for people"
)]

mod check;
mod invariants;
mod origin;
mod play;
mod table;
mod values;

use std::sync::Arc;

use tidegate_kit::{Error, Gateway, Issuer, Outcome, Result, Setup};
use tokio::sync::Semaphore;
use tokio::task::{JoinSet, LocalSet};

use crate::origin::ScriptedOrigin;
use crate::play::Stage;
use crate::table::Case;

/// The cases by subject.
const TABLES: [(&str, &str); 14] = [
    ("storing", include_str!("storing.case")),
    ("sharing", include_str!("sharing.case")),
    ("freshness", include_str!("freshness.case")),
    ("serving", include_str!("serving.case")),
    ("requests", include_str!("requests.case")),
    ("vary", include_str!("vary.case")),
    ("validation", include_str!("validation.case")),
    ("head", include_str!("head.case")),
    ("ranges", include_str!("ranges.case")),
    ("invalidation", include_str!("invalidation.case")),
    ("staleness", include_str!("staleness.case")),
    ("query", include_str!("query.case")),
    ("keys", include_str!("keys.case")),
    ("status", include_str!("status.case")),
];

/// Fewer would mean that the tables were not read to their end.
const CASES_MIN: usize = 200;

/// Cases under way at the same time: most of them wait, if they wait at all, for time to pass.
const AT_ONCE: usize = 48;

#[tokio::test]
async fn every_case_holds() -> Outcome {
    let mut cases = Vec::new();
    for (subject, text) in TABLES {
        cases.extend(table::read(subject, text)?);
    }
    assert!(cases.len() >= CASES_MIN, "{} cases", cases.len());
    let wanted = std::env::var("TIDEGATE_CASES").unwrap_or_default();
    cases.retain(|case| case.title().contains(&wanted));
    let count = cases.len();

    let origin = ScriptedOrigin::start().await?;
    let issuer = Issuer::start().await?;
    let gateway = start(&origin, &issuer).await?;
    let stage = Arc::new(Stage::new(&gateway, origin, issuer));
    let failed = LocalSet::new().run_until(play_all(&stage, cases)).await?;
    if failed.is_empty() {
        return Ok(());
    }
    let subjects = TABLES.map(|(subject, _)| subject).into_iter().filter_map(|subject| {
        let count = failed.iter().filter(|(of, _)| of == subject).count();
        (count > 0).then(|| format!("{subject} {count}"))
    });
    let subjects: Vec<String> = subjects.collect();
    let reports: Vec<&str> = failed.iter().map(|(_, report)| report.as_str()).collect();
    Err(Error::new(format!(
        "\n{}\n{} of {count} cases failed: {}\n",
        reports.join("\n"),
        failed.len(),
        subjects.join(", ")
    )))?
}

/// Plays all cases; returns the subject and the report of each that failed, in their order.
async fn play_all(stage: &Arc<Stage>, cases: Vec<Case>) -> Result<Vec<(String, String)>> {
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut under_way = JoinSet::new();
    for (number, case) in cases.into_iter().enumerate() {
        let (stage, places) = (Arc::clone(stage), Arc::clone(&places));
        under_way.spawn_local(async move {
            let _place = places.acquire_owned().await;
            let report = stage.play(number, &case).await.err().map(|error| error.to_string());
            (number, case.subject.clone(), report)
        });
    }
    let mut failed = Vec::new();
    while let Some(ended) = under_way.join_next().await {
        let (number, subject, report) =
            ended.map_err(|error| Error::new(format!("a case ended in a panic: {error}")))?;
        failed.extend(report.map(|report| (number, subject, report)));
    }
    failed.sort_unstable();
    Ok(failed.into_iter().map(|(_, subject, report)| (subject, report)).collect())
}

/// Routes by name, which is also the first part of their paths: `auth`, then `cache`, then further
/// policies.
const ROUTES: [(&str, &str, &str, &str); 27] = [
    ("open", "none", "{ttl: 60s}", ""),
    ("force", "none", "{ttl: 60s, forceTtl: 90s}", ""),
    ("negative", "none", "{ttl: 60s, statuses: {\"404\": 30s, \"503\": 20s, \"200\": 15s}}", ""),
    ("guess", "none", "{ttl: 60s, heuristicMax: 1h}", ""),
    ("brief", "none", "{ttl: 1s}", ""),
    ("swr", "none", "{ttl: 60s, staleWhileRevalidate: 60s}", ""),
    ("sie", "none", "{ttl: 60s, staleIfError: 60s}", ""),
    ("cookies", "none", "{ttl: 60s, dropSetCookie: true}", ""),
    ("deaf", "none", "{ttl: 60s, ignoreRequestControl: true}", ""),
    ("small", "none", "{ttl: 60s, maxBodyBytes: 1KiB}", ""),
    ("tagged", "none", "{ttl: 60s, tags: [things]}", ""),
    ("some", "none", "{ttl: 60s, key: {query: [page, \"a b\"]}}", ""),
    ("except", "none", "{ttl: 60s, key: {query: {except: [utm_source, sid]}}}", ""),
    ("noquery", "none", "{ttl: 60s, key: {query: none}}", ""),
    ("language", "none", "{ttl: 60s, key: {language: [en, de, fr-CA]}}", ""),
    ("device", "none", "{ttl: 60s, key: {headers: [x-device]}}", ""),
    ("users", "required", "{ttl: 60s, key: {user: true}}", ""),
    ("tenants", "required", "{ttl: 60s, key: {tenant: true}}", ""),
    ("scopes", "required", "{ttl: 60s, key: {user: true, scopes: true}}", ""),
    ("scoped", "required", "{ttl: 60s, shared: true, key: {scopes: true}}", ""),
    ("shared", "required", "{ttl: 60s, shared: true}", ""),
    ("devicetenant", "required", "{ttl: 60s, key: {tenant: true, headers: [x-device]}}", ""),
    ("slow", "none", "{ttl: 60s, staleIfError: 60s}", "timeoutMs: 300"),
    ("impatient", "none", "{ttl: 60s}", "timeoutMs: 300"),
    ("both", "none", "{ttl: 60s, staleWhileRevalidate: 20s, staleIfError: 60s}", ""),
    ("forceswr", "none", "{ttl: 60s, forceTtl: 1s, staleWhileRevalidate: 60s}", ""),
    ("plain", "none", "", ""),
];

/// The gateway that is tested, in front of the origin. Failing on purpose must not get the origin
/// left out, so nothing here looks at failures.
async fn start(origin: &ScriptedOrigin, issuer: &Issuer) -> Result<Gateway> {
    let mut config = format!(
        "cache: {{keyVisibleTo: [127.0.0.2/32]}}\n\
         identityProviders:\n  main:\n    issuer: {issuer}\n    audience: api.example.com\n    \
         algorithms: [ES256]\n    jwksUrl: {keys}\n\
         services:\n  api:\n    endpoints: [{{address: \"{api}\"}}]\n    \
         ejection: {{consecutiveFailures: 0}}\n\
         routes:\n",
        issuer = issuer.name(),
        keys = issuer.jwks_url(),
        api = origin.address(),
    );
    for (name, auth, cache, more) in ROUTES {
        let mut policies = format!("auth: {auth}");
        for (key, value) in [("cache: ", cache), ("", more)] {
            if !value.is_empty() {
                policies += &format!(", {key}{value}");
            }
        }
        config += &format!(
            "  - {{name: {name}, match: {{pathPrefix: /{name}}}, upstream: {{service: api}}, \
             policies: {{{policies}}}}}\n"
        );
    }
    let gateway = Setup::new(env!("CARGO_BIN_EXE_tidegate"), config).start().await?;
    let labels = [("provider", "main"), ("outcome", "changed")];
    gateway.metric_until("tidegate_keyring_fetches_total", &labels, |n| n >= 1.0).await?;
    Ok(gateway)
}
