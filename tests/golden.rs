//! What the gateway says about configurations, word for word.
//!
//! Each `tests/golden/*.case` holds a configuration, a line `---- problems` and what is to be
//! said about it. `UPDATE=1 cargo test --test golden` writes what is said now; read the difference
//! before committing it. A case whose name ends in `-crlf` is read with Windows line endings.

use std::path::{Path, PathBuf};

use tidegate::model::{
    self, Auth, Authorization, KeyPart, LimitAlgorithm, Loaded, Method, RetryOn, Split,
};

const LINE: &str = "---- problems\n";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn said(loaded: &Loaded) -> String {
    if loaded.problems.0.is_empty() { "none\n".to_owned() } else { loaded.render(&loaded.problems) }
}

#[test]
fn every_case_says_what_it_should() {
    let mut cases: Vec<PathBuf> =
        folder().read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.retain(|path| path.extension().is_some_and(|extension| extension == "case"));
    cases.sort();
    assert!(cases.len() >= 20, "the cases are gone");
    let mut wrong = Vec::new();
    for path in cases {
        let case = std::fs::read_to_string(&path).unwrap();
        let (input, expected) = case.rsplit_once(LINE).unwrap_or((&case, ""));
        let crlf = path.file_stem().unwrap().to_str().unwrap().ends_with("-crlf");
        let text = if crlf { input.replace('\n', "\r\n") } else { input.to_owned() };
        let said = said(&model::load_text(&text, "gateway.yaml"));
        if said == expected {
            continue;
        }
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&path, format!("{input}{LINE}{said}")).unwrap();
        } else {
            wrong.push(format!("{}\nexpected:\n{expected}\nsaid:\n{said}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The configuration snippets of the documents that this gateway was built from load as they
/// stand there.
#[test]
fn the_words_of_the_seeds_load() {
    let loaded = model::load_file(&folder().join("seed.yaml"));
    assert_eq!(said(&loaded), "none\n");
    let config = loaded.config.unwrap();

    let route = &config.routes[0];
    assert_eq!(route.name, "checkout-orders");
    assert_eq!(route.r#match.host.as_deref(), Some("api.example.com"));
    assert_eq!(route.r#match.path_prefix.as_deref(), Some("/v1/orders"));
    assert_eq!(route.r#match.methods, [Method("GET".to_owned()), Method("POST".to_owned())]);
    assert_eq!(
        (route.upstream.as_ref().unwrap().service.as_str(), route.upstream.as_ref().unwrap().port),
        ("checkout-api", Some(8080))
    );
    assert_eq!(route.policies.auth, Some(Auth::Required));
    assert_eq!(route.policies.rate_limit.as_ref().unwrap().0, ["checkout-default"]);
    assert_eq!((route.policies.timeout_ms, route.policies.retries), (Some(1500), Some(1)));

    let limit = &config.rate_limits["checkout-default"];
    assert_eq!(limit.algorithm, LimitAlgorithm::TokenBucket);
    assert_eq!((limit.capacity, limit.refill_per_second), (Some(1000), Some(100.0)));
    assert_eq!(limit.key, [KeyPart::TenantId, KeyPart::RouteName]);

    let canary = &config.routes[1];
    assert_eq!(
        canary.policies.authorization,
        Some(Authorization {
            required_scopes: vec!["orders:write".to_owned()],
            tenant_status: vec!["ACTIVE".to_owned()],
            ..Authorization::default()
        })
    );
    let all = [RetryOn::ConnectFailure, RetryOn::Reset, RetryOn::Status(503)];
    assert_eq!(canary.policies.retry_on.as_deref(), Some(&all[..]));
    let shares = canary
        .upstream
        .as_ref()
        .unwrap()
        .splits
        .iter()
        .map(|Split { version, weight }| (&**version, *weight));
    assert_eq!(shares.collect::<Vec<_>>(), [("stable", 9500), ("canary", 500)]);
    let policy = &canary.request_policy;
    assert_eq!(policy.max_body_bytes.unwrap().get(), 1_048_576);
    assert_eq!(policy.allowed_content_types.as_deref().unwrap(), ["application/json"]);
    assert_eq!(policy.require_headers.as_deref().unwrap(), ["x-request-id"]);
}
