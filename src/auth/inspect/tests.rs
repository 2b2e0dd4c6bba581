use http::{HeaderMap, HeaderValue, Method};
use serde_json::json;

use super::*;
use crate::auth::testing::{
    Gate, NOW, SECRET, Signer, base64url, bearer, claims, fetched_provider, main_provider, now,
    policy, ring, view,
};
use crate::auth::{Answers, KeyRing};
use crate::edge::ClientCertificate;
use crate::fault::Hint;

fn gate() -> (Gate, Signer) {
    let signer = Signer::new("EdDSA");
    (Gate::new(&fetched_provider("[EdDSA]"), ring(&[signer.jwk("k1")])), signer)
}

fn report(gate: &Gate, headers: &HeaderMap) -> Option<TokenReport> {
    let answers = Answers::default();
    inspect(&gate.policy, &view(&Method::GET, headers), &gate.evidence(&answers, now()))
}

/// The check that failed, after checking that those before it passed and those after it were
/// not reached.
fn failed(report: &TokenReport) -> Option<&'static str> {
    let at = report.checks.iter().position(|check| check.outcome == Outcome::Failed)?;
    let (before, rest) = report.checks.split_at(at);
    assert!(before.iter().all(|check| check.outcome == Outcome::Passed), "{report:#?}");
    assert!(rest[1..].iter().all(|check| check.outcome == Outcome::NotReached), "{report:#?}");
    assert!(rest.iter().all(|check| check.reason.is_some() == (check.check == rest[0].check)));
    Some(rest[0].check)
}

#[test]
fn a_good_token_passes_every_check_in_order() {
    let (gate, signer) = gate();
    let token = signer.token("EdDSA", Some("k1"), &claims(&json!({"roles": ["clerk"]})));
    let report = report(&gate, &bearer(&token)).unwrap();
    let names: Vec<&str> = report.checks.iter().map(|check| check.check).collect();
    assert_eq!(
        names,
        [
            "form",
            "issuer",
            "algorithm",
            "key",
            "signature",
            "exp",
            "nbf",
            "iat",
            "aud",
            "subject",
            "access token",
            "cnf",
            "headers",
            "certificate",
            "revocation"
        ]
    );
    assert!(report.checks[..14].iter().all(|check| check.outcome == Outcome::Passed));
    assert_eq!(report.checks[14].outcome, Outcome::NotKnown);
    assert_eq!(report.provider.as_deref(), Some("main"));
    assert_eq!(report.claims.as_ref().unwrap()["roles"][0], "clerk");
    assert_eq!(report.header.as_ref().unwrap()["kid"], "k1");
    let signature = token.rsplit('.').next().unwrap();
    assert!(!format!("{report:?}").contains(signature));
}

#[test]
fn the_first_check_that_fails_ends_it() {
    let (gate, signer) = gate();
    let header = |change: serde_json::Value| {
        let mut header = json!({"alg": "EdDSA", "typ": "JWT", "kid": "k1"});
        header.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        signer.token_with(&header, &claims(&json!({})))
    };
    let with = |change: serde_json::Value| signer.token("EdDSA", Some("k1"), &claims(&change));
    let good = with(json!({}));
    let cases = [
        ("form", "abc".to_owned()),
        ("form", format!("{good}=")),
        ("form", header(json!({"crit": ["x"]}))),
        ("issuer", with(json!({"iss": "https://evil.test/"}))),
        ("algorithm", Signer::new("RS256").token("RS256", Some("k1"), &claims(&json!({})))),
        ("key", header(json!({"kid": "k9"}))),
        ("signature", Signer::new("EdDSA").token("EdDSA", Some("k1"), &claims(&json!({})))),
        ("exp", with(json!({"exp": NOW - 31}))),
        ("exp", with(json!({"exp": "soon"}))),
        ("nbf", with(json!({"nbf": NOW + 31}))),
        ("iat", with(json!({"iat": NOW + 31}))),
        ("aud", with(json!({"aud": ["users"]}))),
        ("subject", with(json!({"sub": null}))),
        ("access token", header(json!({"typ": "at+jwt"}))),
        ("cnf", with(json!({"cnf": {"jkt": "x"}}))),
        ("headers", with(json!({"sub": "a\r\nb"}))),
        ("certificate", with(json!({"cnf": {"x5t#S256": base64url([0xab; 32])}}))),
    ];
    for (check, token) in cases {
        let headers = bearer(&token);
        let report = report(&gate, &headers).unwrap();
        assert_eq!(failed(&report), Some(check), "{report:#?}");
        // An explanation says what the request is told.
        let denied = Reject::from(gate.ask(&headers, now()).unwrap_err());
        let reason = report.checks.iter().find_map(|check| check.reason.clone());
        assert_eq!(reason.as_deref(), denied.hint.as_ref().map(Hint::as_str), "{check}");
    }
}

#[test]
fn what_is_wanted_stands_beside_what_is_there() {
    let (gate, signer) = gate();
    let token = signer.token("EdDSA", Some("k1"), &claims(&json!({"exp": NOW - 31})));
    let report = report(&gate, &bearer(&token)).unwrap();
    let find = |name: &str| report.checks.iter().find(|check| check.check == name).unwrap();
    assert_eq!(find("exp").expected, "not before 1799999970 (2027-01-15T07:59:30Z)");
    assert_eq!(find("exp").found, "1799999969 (2027-01-15T07:59:29Z)");
    assert_eq!((&*find("key").expected, &*find("key").found), ("k1", "\"k1\""));
    assert_eq!((&*find("aud").expected, &*find("aud").found), ("orders", "\"orders\""));
    assert_eq!((&*find("nbf").found, &*find("cnf").found), ("(absent)", "(absent)"));
}

#[test]
fn the_certificate_of_the_connection_counts() {
    let (gate, signer) = gate();
    let cnf = json!({"cnf": {"x5t#S256": base64url([0xab; 32])}});
    let headers = bearer(&signer.token("EdDSA", Some("k1"), &claims(&cnf)));
    let certificate =
        ClientCertificate { fingerprint: "ab".repeat(32).into(), ..ClientCertificate::default() };
    let view = RequestView { certificate: Some(&certificate), ..view(&Method::GET, &headers) };
    let answers = Answers::default();
    let report = inspect(&gate.policy, &view, &gate.evidence(&answers, now())).unwrap();
    assert_eq!(failed(&report), None);
}

#[test]
fn without_keys_the_key_cannot_be_judged() {
    let (mut gate, signer) = gate();
    gate.ring = KeyRing::default();
    let headers = bearer(&signer.token("EdDSA", Some("k1"), &claims(&json!({}))));
    let report = report(&gate, &headers).unwrap();
    assert_eq!(failed(&report), Some("key"));
}

#[test]
fn no_secret_is_shown() {
    let rest = format!("    algorithms: [HS256]\n    secret: {SECRET}\n");
    let gate = Gate::new(&main_provider(&rest), KeyRing::default());
    let token = Signer::new("HS256").token("HS256", None, &claims(&json!({})));
    let report = report(&gate, &bearer(&token)).unwrap();
    assert_eq!(failed(&report), None);
    let shown = serde_json::to_string(&report).unwrap();
    assert!(!shown.contains(SECRET) && !shown.contains(token.rsplit('.').next().unwrap()));
}

#[test]
fn there_is_a_report_only_where_a_token_is_taken() {
    let (mut gate, signer) = gate();
    assert!(report(&gate, &HeaderMap::new()).is_none());
    let headers = bearer(&signer.token("EdDSA", Some("k1"), &claims(&json!({}))));
    let mut twice = headers.clone();
    twice.append(http::header::AUTHORIZATION, HeaderValue::from_static("Bearer x"));
    assert_eq!(failed(&report(&gate, &twice).unwrap()), Some("form"));
    gate.policy = policy(&gate.providers, "auth: none");
    assert!(report(&gate, &headers).is_none());
}
