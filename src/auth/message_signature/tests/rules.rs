//! What the configuration may say, the body's digest, and nonces without Redis.

use http::{HeaderMap, HeaderValue, Method};

use super::super::body::BodyDigest;
use super::super::{NonceVerdict, Nonces, SignatureError};
use super::{DIGEST, Parties, good};
use crate::auth::keyset::keyring::KeyRing;
use crate::auth::testing::{self, Gate, RSA_PUBLIC, Signer, compile, lines, now, said};
use crate::auth::{Answers, AuthPolicy, Denied, Question, authenticate};
use crate::fault::{Fault, Reject};
use crate::model::{Policies, Problems, Resolved};
use crate::telemetry::Metrics;

const SECRET: &str = "a secret of tests, which is long enough for HMAC";

fn problems(yaml: &str) -> Vec<String> {
    let (_, problems) = compile(yaml, &Resolved::default());
    problems.into_iter().filter(|line| !line.starts_with("secret.literal")).collect()
}

/// One party with these settings.
fn party(settings: &str) -> Vec<String> {
    problems(&format!("signers:\n  p: {{{settings}}}\n"))
}

#[test]
#[expect(clippy::too_many_lines, reason = "it is a table")]
fn a_party_has_one_key_that_fits_its_algorithm() {
    let text = |pem: String| serde_json::to_string(&pem).unwrap();
    let ed = text(Signer::new("EdDSA").pem());
    let ec = text(Signer::new("ES256").pem());
    let p384 = text(Signer::new("ES384").pem());
    let rsa = text(RSA_PUBLIC.to_owned());
    let private = text("-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----".to_owned());
    let good = [
        format!("keyId: k, algorithm: hmac-sha256, secret: '{SECRET}'"),
        format!("keyId: k, algorithm: hmac-sha256, secret: '{}'", "x".repeat(32)),
        format!("keyId: k, algorithm: ed25519, publicKeyPem: {ed}"),
        format!("keyId: k, algorithm: ecdsa-p256-sha256, publicKeyPem: {ec}"),
        // Reported by whoever reads files.
        "keyId: k, algorithm: ed25519, publicKeyFile: /none".to_owned(),
    ];
    for settings in good {
        assert_eq!(party(&settings), [""; 0], "{settings}");
    }
    for (settings, expected) in [
        ("keyId: k, algorithm: hmac-sha256".to_owned(), "signer.key signers.p"),
        (
            format!("keyId: k, algorithm: ed25519, publicKeyPem: {ed}, publicKeyFile: /x"),
            "signer.key signers.p",
        ),
        (
            format!("keyId: k, algorithm: hmac-sha256, secret: '{SECRET}', publicKeyPem: {ed}"),
            "signer.key signers.p",
        ),
        (
            format!("keyId: k, algorithm: hmac-sha256, publicKeyPem: {ed}"),
            "signer.algorithm signers.p.algorithm",
        ),
        (
            format!("keyId: k, algorithm: ed25519, secret: '{SECRET}'"),
            "signer.algorithm signers.p.algorithm",
        ),
        (
            format!("keyId: k, algorithm: hmac-sha256, secret: '{}'", "x".repeat(31)),
            "secret.short signers.p.secret",
        ),
        (
            format!("keyId: k, algorithm: ed25519, publicKeyPem: {ec}"),
            "signer.key signers.p.publicKeyPem",
        ),
        (
            format!("keyId: k, algorithm: ecdsa-p256-sha256, publicKeyPem: {ed}"),
            "signer.key signers.p.publicKeyPem",
        ),
        (
            format!("keyId: k, algorithm: ecdsa-p256-sha256, publicKeyPem: {p384}"),
            "signer.key signers.p.publicKeyPem",
        ),
        (
            format!("keyId: k, algorithm: ed25519, publicKeyPem: {rsa}"),
            "signer.key signers.p.publicKeyPem",
        ),
        (
            format!("keyId: k, algorithm: ed25519, publicKeyPem: {private}"),
            "signer.key signers.p.publicKeyPem",
        ),
        (
            format!("keyId: '', algorithm: ed25519, publicKeyPem: {ed}"),
            "signer.key_id signers.p.keyId",
        ),
        (
            format!("keyId: 'ä', algorithm: ed25519, publicKeyPem: {ed}"),
            "signer.key_id signers.p.keyId",
        ),
        (
            format!("keyId: {}, algorithm: ed25519, publicKeyPem: {ed}", "k".repeat(257)),
            "signer.key_id signers.p.keyId",
        ),
        (
            format!("keyId: k, algorithm: ed25519, publicKeyPem: {ed}, plan: \"a\\nb\""),
            "signer.unsendable signers.p",
        ),
    ] {
        assert_eq!(party(&settings), [expected], "{settings}");
    }
    let two = format!(
        "signers:\n  a: {{keyId: k, algorithm: ed25519, publicKeyPem: {ed}}}\n  \
         b: {{keyId: k, algorithm: ecdsa-p256-sha256, publicKeyPem: {ec}}}\n"
    );
    assert_eq!(problems(&two), ["signer.key_id signers.b.keyId"]);
}

#[test]
fn rules_are_checked_and_gaps_are_told() {
    let rules =
        |rules: &str| problems(&Parties::new().yaml(&format!("messageSignatures: {rules}")));
    let all = "['@method', '@authority', '@path', '@query'";
    assert_eq!(rules("{}"), [""; 0]);
    assert_eq!(rules(&format!("{{components: {all}, date, '@scheme']}}")), [""; 0]);
    assert_eq!(rules("{components: ['@method', '@target-uri']}"), [""; 0]);
    assert_eq!(rules("{components: ['@method', '@request-target', host]}"), [""; 0]);
    for name in ["@status", "@query-param", "@other", "Date", "a b", "signature", ""] {
        assert_eq!(
            rules(&format!("{{components: {all}, '{name}']}}")),
            ["signature.component messageSignatures.components[4]"],
            "{name}"
        );
    }
    assert_eq!(
        rules(&format!("{{components: {all}, '@path']}}")),
        ["signature.component messageSignatures.components[4]"]
    );
    for gap in ["['@method', '@authority', '@path']", "['@authority', '@path', '@query']", "[]"] {
        assert_eq!(
            rules(&format!("{{components: {gap}}}")),
            ["signature.gaps messageSignatures.components"],
            "{gap}"
        );
    }
    assert_eq!(rules("{maxAge: 1d}"), [""; 0]);
    for age in ["0s", "86401s"] {
        let expected = ["signature.max_age messageSignatures.maxAge"];
        assert_eq!(rules(&format!("{{maxAge: {age}}}")), expected, "{age}");
    }
    assert_eq!(rules("{clockToleranceSeconds: 3600}"), [""; 0]);
    assert_eq!(
        rules("{clockToleranceSeconds: 3601}"),
        ["signature.tolerance messageSignatures.clockToleranceSeconds"]
    );
    let provider = testing::fetched_provider("[RS256]").replace("main:", "signers:");
    assert_eq!(problems(&provider), ["provider.name identityProviders.signers"]);
}

#[test]
fn routes_take_signatures_only_by_name_and_only_if_anybody_signs() {
    let compile_policy = |yaml: &str, config: &str| {
        let (providers, _) = compile(config, &Resolved::default());
        let policies: Policies = serde_yaml::from_str(yaml).unwrap();
        let mut problems = Problems::default();
        let policy = AuthPolicy::compile(&policies, &providers, "policies", &mut problems);
        (policy, lines(&problems))
    };
    let parties = Parties::new().yaml("");
    let both = Parties::new().yaml(&testing::fetched_provider("[RS256]"));
    let (policy, problems) = compile_policy("auth: {anyOf: [signature]}", &parties);
    assert_eq!(problems, [""; 0]);
    assert!(policy.takes_signatures());
    assert_eq!(policy.to_string(), "required (signature)");
    assert!(!compile_policy("auth: required", &both).0.takes_signatures());
    assert!(compile_policy("auth: {anyOf: [jwt, signature]}", &both).0.takes_signatures());
    assert_eq!(compile_policy("auth: required", &parties).1, ["auth.nobody policies.auth"]);
    let (_, problems) =
        compile_policy("auth: {anyOf: [signature, jwt]}", &testing::fetched_provider("[RS256]"));
    assert_eq!(problems, ["auth.methods policies.auth.anyOf"]);
}

#[test]
fn nothing_shows_a_secret() {
    let signers = Parties::new().signers("");
    let shown = format!("{signers:?}");
    assert!(!shown.contains("long enough") && !shown.contains("[97, 32"), "{shown}");
}

#[test]
fn every_description_may_stand_in_a_quoted_string() {
    for error in SignatureError::ALL {
        let allowed = |byte: u8| matches!(byte, 0x20 | 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
        assert!(error.words().bytes().all(allowed), "{error:?}");
        let reject = Reject::from(*error);
        assert_eq!(reject.fault.status(), 401, "{error:?}");
        let challenge = reject.headers[0].1.to_str().unwrap();
        assert!(challenge.starts_with("Signature realm=\"tidegate\", error="), "{challenge}");
        assert!(challenge.contains(error.words()), "{challenge}");
    }
}

fn digest(value: &[&str]) -> Result<BodyDigest, SignatureError> {
    let mut headers = HeaderMap::new();
    for line in value {
        headers.append("content-digest", HeaderValue::from_str(line).unwrap());
    }
    BodyDigest::of(&headers)
}

const BODY: &[u8] = b"{\"hello\": \"world\"}";
/// RFC 9421, B.2: the SHA-512 of the same.
const DIGEST_512: &str = "sha-512=:WZDPaVn/7XgHaAy8pmojAkGWoRx2UFChF41A2svX+TaPm+AbwAgBWnrIiYllu7B\
                          NNyealdVLvRwEmTHWXvJwew==:";

#[test]
fn a_body_must_have_every_digest_that_is_known() {
    let wrong = DIGEST.replace("X48", "Y48");
    for (value, fits) in [
        (&[DIGEST][..], true),
        (&[DIGEST_512], true),
        (&[DIGEST, DIGEST_512], true),
        (&["md5=:AAAA:", DIGEST], true),
        (&["unixsum=12", DIGEST], true),
        (&[&wrong], false),
        (&[DIGEST_512, &wrong], false),
    ] {
        let mut body = digest(value).unwrap();
        assert!(body.is_declared());
        for pieces in [vec![BODY], BODY.chunks(1).collect(), vec![&b""[..], BODY, b""]] {
            body.restart();
            for piece in pieces {
                body.update(piece).unwrap();
            }
            assert_eq!(body.judge().is_ok(), fits, "{value:?}");
        }
        body.restart();
        assert!(body.judge().is_err(), "an empty body");
        body.update(&BODY[..BODY.len() - 1]).unwrap();
        assert!(body.judge().is_err(), "a piece is missing");
        body.update(b"}}").unwrap();
        assert_eq!(body.judge().unwrap_err().fault, Fault::DigestMismatch);
    }
    for bad in [
        &["md5=:AAAA:"][..],
        &[""],
        &["sha-256=:AAAA:"],
        &["sha-512=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:"],
        &["sha-256=X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE="],
        &["sha-256=(:AA==:)"],
        &["sha-256"],
        &[DIGEST, DIGEST],
        &[DIGEST, "sha-512=?1"],
        &["SHA-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:"],
    ] {
        assert_eq!(digest(bad).unwrap_err(), SignatureError::DigestUnreadable, "{bad:?}");
    }
}

#[test]
fn without_a_digest_the_body_is_empty() {
    let mut body = digest(&[]).unwrap();
    assert!(!body.is_declared());
    body.update(b"").unwrap();
    body.judge().unwrap();
    assert_eq!(body.update(b"x").unwrap_err().fault, Fault::DigestMismatch);
    assert!(body.judge().is_err());
}

/// A gateway whose one route takes signatures.
fn gate(parties: &Parties) -> Gate {
    let mut gate =
        Gate::new(&parties.yaml(&testing::fetched_provider("[RS256]")), KeyRing::default());
    gate.policy = testing::policy(&gate.providers, "auth: {anyOf: [signature]}");
    gate
}

#[tokio::test]
async fn a_good_signature_asks_about_its_nonce_and_counts_once() {
    let parties = Parties::new();
    let gate = gate(&parties);
    let (mut sent, signing) = good();
    sent.sign(&parties, &signing);
    let headers = sent.fields();
    let view = sent.view(&headers);
    let ask = || {
        let answers = Answers::default();
        match authenticate(&gate.policy, &view, &gate.evidence(&answers, now())) {
            Err(Denied::Ask(Question::Nonce(nonce))) => nonce,
            other => panic!("{other:?}"),
        }
    };
    let nonces = &gate.memory.nonces;
    let judge = |verdict| {
        let answers = Answers { nonce: Some(verdict), ..Answers::default() };
        authenticate(&gate.policy, &view, &gate.evidence(&answers, now()))
    };
    let first = judge(nonces.spend(ask(), now().tick).await).unwrap().unwrap();
    assert_eq!((&*first.subject, first.is_by_signature()), ("hmac", true));
    let second = judge(nonces.spend(ask(), now().tick).await).unwrap_err();
    assert!(said(&second.into()).starts_with("auth.signature_replayed: "));
    let unknown = Reject::from(judge(NonceVerdict::Unknown).unwrap_err());
    assert_eq!(unknown.fault, Fault::CallerUnavailable);
    let unasked = Reject::from(Denied::Ask(Question::Nonce(ask())));
    assert_eq!(unasked.fault, Fault::CallerUnavailable, "never let through unasked");
    let count = |outcome: &str| gate.metrics.signature_nonces.with_label_values(&[outcome]).get();
    assert_eq!((count("new"), count("replayed")), (1, 1));
}

#[tokio::test]
async fn a_full_memory_refuses_what_it_cannot_note() {
    let parties = Parties::new();
    let signers = parties.signers("");
    let metrics = Metrics::new().unwrap();
    let nonces = Nonces::with_room(1, &metrics);
    let mut verdicts = Vec::new();
    for number in 0..200 {
        let (mut sent, mut signing) = good();
        signing.parameters = signing.parameters.replace("0123456789", &format!("{number:010}"));
        sent.sign(&parties, &signing);
        let nonce = sent.verify(&signers, now()).unwrap().nonce.unwrap();
        verdicts.push(nonces.spend(nonce, now().tick).await);
    }
    let unknown = verdicts.iter().filter(|v| matches!(v, NonceVerdict::Unknown)).count();
    assert_eq!(unknown, 200 - 16, "one for each part of the table");
    assert_eq!(metrics.signature_nonces.with_label_values(&["full"]).get(), unknown as u64);
}

#[test]
fn who_sends_no_signature_is_told_what_one_must_cover() {
    let gate = gate(&Parties::new());
    let (headers, answers) = (HeaderMap::new(), Answers::default());
    let view = testing::view(&Method::GET, &headers);
    let denied = authenticate(&gate.policy, &view, &gate.evidence(&answers, now())).unwrap_err();
    let reject = Reject::from(denied);
    assert_eq!(reject.fault, Fault::CredentialsMissing);
    let value = |name: &str| {
        let found = reject.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.to_str().unwrap().to_owned()).unwrap()
    };
    assert_eq!(value("www-authenticate"), "Signature realm=\"tidegate\"");
    assert_eq!(
        value("accept-signature"),
        "sig1=(\"@method\" \"@authority\" \"@path\" \"@query\");created"
    );
}
