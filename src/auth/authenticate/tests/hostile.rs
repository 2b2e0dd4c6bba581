//! Every case of `tests/hostile`, shown to the function that decides.

#[path = "../../../../tests/hostile/mod.rs"]
mod table;

use http::header::WWW_AUTHENTICATE;
use http::{HeaderMap, HeaderName, HeaderValue};
use table::{Table, World};

use crate::auth::testing::{Gate, NOW, compile, now, policy};
use crate::auth::{KeyRing, Memory};
use crate::fault::Reject;
use crate::model::Resolved;
use crate::telemetry::Metrics;

fn gate(world: &World) -> Gate {
    let mut resolved = Resolved::default();
    resolved.files.insert("/jwks".into(), world.jwks().into_bytes());
    resolved.files.insert("/pem".into(), World::PUBLIC_PEM.into());
    let (providers, problems) = compile(&World::providers("/jwks", "/pem"), &resolved);
    assert_eq!(problems, ["secret.literal identityProviders.secret.secret"]);
    let metrics = Metrics::new().unwrap();
    Gate {
        policy: policy(&providers, "auth: required"),
        memory: Memory::with_tokens(64, &metrics),
        providers,
        ring: KeyRing::default(),
        metrics,
    }
}

fn headers(written: &[(&'static str, Vec<u8>)]) -> HeaderMap {
    let fields = written.iter().map(|(name, value)| {
        (HeaderName::from_static(name), HeaderValue::from_bytes(value).unwrap())
    });
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(name, value);
    }
    headers
}

#[test]
fn every_hostile_token_is_refused_for_its_own_reason() {
    let world = World::new(NOW, "http://127.0.0.1:9/keys".into());
    let gate = gate(&world);
    let table = Table::of(&world);
    assert!(table.0.len() >= 300, "{} cases", table.0.len());
    let mut wrong = Vec::new();
    for case in &table.0 {
        let reject = match gate.ask(&headers(&case.headers), now()) {
            Err(denied) => Reject::from(denied),
            Ok(identity) => {
                wrong.push(format!("{}: passed as {}", case.name, identity.subject));
                continue;
            }
        };
        let words = reject.hint.as_ref().map_or("", |hint| hint.as_str());
        let told = (reject.fault.status(), reject.fault.code(), words);
        let expected = (401, case.expect.code, case.expect.words);
        let challenge = case.expect.challenge();
        let challenge = [(WWW_AUTHENTICATE, HeaderValue::try_from(challenge).unwrap())];
        if told != expected || reject.headers != challenge {
            wrong.push(format!("{}: {told:?} {:?}", case.name, reject.headers));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The table would prove nothing if nobody passed.
#[test]
fn sound_tokens_of_the_same_issuers_pass() {
    let world = World::new(NOW, String::new());
    let gate = gate(&world);
    for (name, value) in world.good() {
        let outcome = gate.ask(&headers(&[("authorization", value)]), now());
        assert_eq!(&*outcome.unwrap().subject, "mallory", "{name}");
    }
}

/// Each reason that a token can be refused for has a case, but for those that need more than a
/// token: several keys and no name, a list of revocations, an issuer that is asked.
#[test]
fn every_reason_is_in_the_table() {
    use crate::auth::challenge::TokenError;
    let table = Table::of(&World::new(NOW, String::new()));
    let elsewhere = [TokenError::KeyUnnamed, TokenError::Revoked, TokenError::Inactive];
    for error in TokenError::ALL.iter().filter(|error| !elsewhere.contains(error)) {
        let found = table.0.iter().any(|case| case.expect.words == error.words());
        assert!(found, "{error:?} has no case");
    }
}
