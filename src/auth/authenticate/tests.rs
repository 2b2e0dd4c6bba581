use http::{HeaderMap, HeaderValue, Method};
use serde_json::{Value, json};

use super::super::API_KEY_HEADER;
use super::super::testing::{
    Gate, ISSUER, NOW, RSA_PUBLIC, SECRET, Signer, after, base64url, bearer, claims,
    fetched_provider, main_provider, now, policy, ring, said, view,
};
use super::*;

const ASYMMETRIC: [&str; 9] =
    ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"];

/// A gate whose provider has one fetched key `k1` for an algorithm.
fn gate(algorithm: &str) -> (Gate, Signer) {
    let signer = Signer::new(algorithm);
    let gate = Gate::new(&fetched_provider(&format!("[{algorithm}]")), ring(&[signer.jwk("k1")]));
    (gate, signer)
}

fn secret_gate() -> (Gate, Signer) {
    let rest = format!("    algorithms: [HS256]\n    secret: {SECRET}\n");
    (Gate::new(&main_provider(&rest), KeyRing::default()), Signer::new("HS256"))
}

fn good() -> Value {
    claims(&json!({}))
}

/// The outcome for a token whose claims differ from a good one's.
fn with_claims(change: &Value) -> Result<(), String> {
    let (gate, signer) = secret_gate();
    gate.show(&signer.token("HS256", None, &claims(change))).map(drop)
}

fn error(error: TokenError) -> String {
    said(&Reject::from(error))
}

fn refused<T>(why: TokenError) -> Result<T, String> {
    Err(error(why))
}

#[test]
fn each_algorithm_proves_its_callers() {
    for algorithm in ASYMMETRIC {
        let (gate, signer) = gate(algorithm);
        let identity = gate.show(&signer.token(algorithm, Some("k1"), &good())).unwrap();
        assert_eq!((&*identity.provider, &*identity.subject), ("main", "user-1"), "{algorithm}");
        assert_eq!(identity.headers[0].1, "user-1", "{algorithm}");
    }
    for algorithm in ["HS256", "HS384", "HS512"] {
        let rest = format!("    algorithms: [{algorithm}]\n    secret: {SECRET}\n");
        let gate = Gate::new(&main_provider(&rest), KeyRing::default());
        let token = Signer::new(algorithm).token(algorithm, None, &good());
        assert_eq!(&*gate.show(&token).unwrap().subject, "user-1", "{algorithm}");
    }
}

#[test]
fn any_changed_part_is_refused() {
    for algorithm in ASYMMETRIC {
        let (gate, signer) = gate(algorithm);
        let token = signer.token(algorithm, Some("k1"), &good());
        let parts: Vec<&str> = token.split('.').collect();
        let payload = base64url(claims(&json!({"sub": "root"})).to_string());
        let header = base64url(json!({"alg": algorithm, "kid": "k1", "x": 1}).to_string());
        let other = Signer::new(algorithm).token(algorithm, Some("k1"), &claims(&json!({"n": 1})));
        let signature = other.rsplit('.').next().unwrap();
        for changed in [
            format!("{}.{payload}.{}", parts[0], parts[2]),
            format!("{header}.{}.{}", parts[1], parts[2]),
            format!("{}.{}.{signature}", parts[0], parts[1]),
            format!("{}.{}.AAAA", parts[0], parts[1]),
        ] {
            assert_eq!(
                gate.show(&changed).map(drop),
                refused(TokenError::Signature),
                "{algorithm}"
            );
        }
        assert!(gate.show(&token).is_ok(), "{algorithm}");
    }
}

#[test]
fn algorithm_none_is_refused_in_every_spelling() {
    let (gate, _) = gate("RS256");
    for alg in ["none", "None", "NONE", "nOnE"] {
        let head = base64url(json!({"alg": alg, "kid": "k1"}).to_string());
        let body = base64url(good().to_string());
        assert_eq!(
            gate.show(&format!("{head}.{body}.")).map(drop),
            refused(TokenError::NotCompact)
        );
        assert_eq!(
            gate.show(&format!("{head}.{body}.AAAA")).map(drop),
            refused(TokenError::Algorithm)
        );
    }
}

#[test]
fn an_hmac_with_the_public_key_proves_nothing() {
    // The three spellings of the public key that an attacker would try as the secret.
    let der = super::super::testing::der(RSA_PUBLIC);
    let secrets = [RSA_PUBLIC.as_bytes().to_vec(), RSA_PUBLIC.trim().into(), der];
    let pem = RSA_PUBLIC.replace('\n', "\n      ");
    let inline = format!("    algorithms: [RS256]\n    publicKeyPem: |\n      {pem}\n");
    for secret in secrets {
        let token = Signer::Secret(secret).token("HS256", Some("k1"), &good());
        let (fetched, _) = gate("RS256");
        assert_eq!(fetched.show(&token).map(drop), refused(TokenError::Algorithm));
        let inline = Gate::new(&main_provider(&inline), KeyRing::default());
        assert_eq!(inline.show(&token).map(drop), refused(TokenError::Algorithm));
    }
}

#[test]
fn an_algorithm_outside_the_list_is_refused_even_if_the_key_could_do_it() {
    let signer = Signer::new("RS256");
    let gate = Gate::new(&fetched_provider("[RS256]"), ring(&[signer.jwk("k1")]));
    for algorithm in ["RS384", "RS512", "PS256", "PS384", "PS512"] {
        let token = signer.token(algorithm, Some("k1"), &good());
        assert_eq!(gate.show(&token).map(drop), refused(TokenError::Algorithm), "{algorithm}");
    }
}

#[test]
fn an_algorithm_of_the_list_is_refused_for_a_key_of_another_type() {
    let (rsa, curve) = (Signer::new("RS256"), Signer::new("ES256"));
    let keys = ring(&[rsa.jwk("rsa"), curve.jwk("curve")]);
    let gate = Gate::new(&fetched_provider("[RS256, ES256]"), keys);
    assert!(gate.show(&rsa.token("RS256", Some("rsa"), &good())).is_ok());
    assert!(gate.show(&curve.token("ES256", Some("curve"), &good())).is_ok());
    let crossed = curve.token("ES256", Some("rsa"), &good());
    assert_eq!(gate.show(&crossed).map(drop), refused(TokenError::KeyUnfit));
}

#[test]
fn a_key_is_named_or_the_only_one() {
    let (one, two) = (Signer::new("EdDSA"), Signer::new("EdDSA"));
    let unnamed = one.token("EdDSA", None, &good());
    let alone = Gate::new(&fetched_provider("[EdDSA]"), ring(&[one.jwk("k1")]));
    assert!(alone.show(&unnamed).is_ok());
    let both = Gate::new(&fetched_provider("[EdDSA]"), ring(&[one.jwk("k1"), two.jwk("k2")]));
    assert_eq!(both.show(&unnamed).map(drop), refused(TokenError::KeyUnnamed));
    // Keys are never tried in turn: a good signature under the wrong name is not good.
    let misnamed = one.token("EdDSA", Some("k2"), &good());
    assert_eq!(both.show(&misnamed).map(drop), refused(TokenError::Signature));
    // A key of another type does not make the only fitting one ambiguous.
    let mixed = ring(&[one.jwk("k1"), Signer::new("RS256").jwk("k2")]);
    let mixed = Gate::new(&fetched_provider("[EdDSA, RS256]"), mixed);
    assert!(mixed.show(&unnamed).is_ok());
}

#[test]
fn an_unknown_key_of_a_fetched_set_asks_for_a_newer_set() {
    let (gate, signer) = gate("EdDSA");
    let token = signer.token("EdDSA", Some("k9"), &good());
    let denied = gate.ask(&bearer(&token), now()).unwrap_err();
    let Denied::UnknownKey(unknown) = denied else { panic!("{denied:?}") };
    assert_eq!(&*unknown.set.provider, "main");
    assert_eq!(said(&Denied::UnknownKey(unknown).into()), error(TokenError::KeyUnknown));
    // What cannot be good asks nobody.
    for bad in [
        signer.token("EdDSA", Some("k9"), &claims(&json!({"iss": "https://evil.test/"}))),
        Signer::new("RS256").token("RS256", Some("k9"), &good()),
    ] {
        assert!(matches!(gate.ask(&bearer(&bad), now()), Err(Denied::Reject(_))));
    }
}

#[test]
fn keys_that_stand_in_the_configuration_serve_any_kid() {
    let (gate, signer) = secret_gate();
    assert!(gate.show(&signer.token("HS256", Some("whatever"), &good())).is_ok());
}

#[test]
fn without_any_key_set_the_gateway_says_that_it_cannot_tell() {
    let (mut gate, signer) = gate("EdDSA");
    gate.ring = KeyRing::default();
    let denied = gate.ask(&bearer(&signer.token("EdDSA", Some("k1"), &good())), now());
    let reject = Reject::from(denied.unwrap_err());
    assert_eq!((reject.fault.status(), reject.retry_after_seconds()), (503, Some(5)));
}

#[test]
fn issuers_are_matched_exactly() {
    for iss in [json!(null), json!(""), json!("https://issuer.test"), json!([ISSUER]), json!(1)] {
        let outcome = with_claims(&json!({ "iss": iss }));
        assert_eq!(outcome, refused(TokenError::Issuer), "{iss}");
    }
}

#[test]
fn audiences_match_as_string_or_list() {
    for aud in [json!("orders"), json!(["orders"]), json!(["users", "orders"])] {
        assert_eq!(with_claims(&json!({ "aud": aud })), Ok(()), "{aud}");
    }
    for aud in [
        json!(null),
        json!(""),
        json!("order"),
        json!("orders "),
        json!("ORDERS"),
        json!([]),
        json!(["users"]),
        json!([["orders"]]),
        json!({"orders": 1}),
        json!(1),
    ] {
        let outcome = with_claims(&json!({ "aud": aud }));
        assert_eq!(outcome, refused(TokenError::Audience), "{aud}");
    }
}

#[test]
fn expiry_forgives_the_leeway_and_no_more() {
    for (exp, outcome) in [
        (json!(NOW - 29), Ok(())),
        (json!(NOW - 30), Ok(())),
        (json!(NOW - 31), refused(TokenError::Expired)),
        (json!(0), refused(TokenError::Expired)),
        (json!(-1), refused(TokenError::Expired)),
        (json!(1_799_999_970.5), Ok(())),
        (json!(1_799_999_969.9), refused(TokenError::Expired)),
        (json!(u64::MAX), Ok(())),
        (json!(1e300), Ok(())),
        (json!("1800000300"), refused(TokenError::Time)),
        (json!(true), refused(TokenError::Time)),
        (json!(null), refused(TokenError::NoExpiry)),
    ] {
        assert_eq!(with_claims(&json!({ "exp": exp })), outcome, "{exp}");
    }
    assert!(error(TokenError::Expired).contains("expired"));
}

#[test]
fn tokens_of_the_future_wait_for_the_leeway() {
    for (claim, why) in [("nbf", TokenError::NotYetValid), ("iat", TokenError::IssuedLater)] {
        assert_eq!(with_claims(&json!({ claim: NOW + 29 })), Ok(()), "{claim}");
        assert_eq!(with_claims(&json!({ claim: NOW + 30 })), Ok(()), "{claim}");
        assert_eq!(with_claims(&json!({ claim: NOW + 31 })), refused(why), "{claim}");
        assert_eq!(with_claims(&json!({ claim: "x" })), refused(TokenError::Time), "{claim}");
        assert_eq!(with_claims(&json!({ claim: null })), Ok(()), "{claim}");
    }
}

#[test]
fn a_subject_is_needed() {
    for sub in [json!(null), json!(""), json!([]), json!({"id": 1})] {
        assert_eq!(with_claims(&json!({ "sub": sub })), refused(TokenError::NoSubject), "{sub}");
    }
}

#[test]
fn a_claim_that_would_forge_a_header_is_refused() {
    for change in [
        json!({"sub": "a\r\nx-user-roles: admin"}),
        json!({"roles": ["a,admin"]}),
        json!({"scope": ["a admin:full"]}),
        json!({"tenant_id": "a\u{0}"}),
    ] {
        assert_eq!(with_claims(&change), refused(TokenError::Unsendable), "{change}");
    }
}

#[test]
fn missing_credentials_are_told_apart_from_bad_ones() {
    let (gate, signer) = secret_gate();
    let ask = |headers: &HeaderMap| Reject::from(gate.ask(headers, now()).unwrap_err());
    let authorization = |value: &'static str| {
        HeaderMap::from_iter([(http::header::AUTHORIZATION, HeaderValue::from_static(value))])
    };
    for headers in [
        HeaderMap::new(),
        authorization("Basic dTpw"),
        authorization("Bearer "),
        HeaderMap::from_iter([(API_KEY_HEADER, HeaderValue::from_static("some-key"))]),
    ] {
        let reject = ask(&headers);
        assert_eq!(said(&reject), "auth.credentials_missing: ", "{headers:?}");
        assert_eq!(reject.headers[0].1, "Bearer realm=\"tidegate\"");
    }
    let mut twice = bearer(&signer.token("HS256", None, &good()));
    twice.append(http::header::AUTHORIZATION, twice["authorization"].clone());
    assert_eq!(said(&ask(&twice)), error(TokenError::Repeated));
    let long = format!("{}.{}.AAAA", "a".repeat(4096), "b".repeat(4096));
    assert_eq!(gate.show(&long).map(drop), refused(TokenError::TooLong));
}

#[test]
fn an_open_route_looks_at_no_credentials() {
    let (mut gate, _) = secret_gate();
    gate.policy = policy(&gate.providers, "auth: none");
    let headers = bearer("nonsense");
    let view = view(&Method::GET, &headers);
    let found = authenticate(&gate.policy, &gate.providers, &view, &gate.ring, &gate.cache, now());
    assert!(matches!(found, Ok(None)));
}

const PARTNER: &str = "apiKeys: [{id: partner, key: partner-key-0123456789}]\n";

fn with_key(mut headers: HeaderMap, key: &'static str) -> HeaderMap {
    headers.insert(API_KEY_HEADER, HeaderValue::from_static(key));
    headers
}

#[test]
fn an_api_key_does_where_there_is_no_token_and_never_mends_a_bad_one() {
    let rest = format!("    algorithms: [HS256]\n    secret: {SECRET}\n{PARTNER}");
    let gate = Gate::new(&main_provider(&rest), KeyRing::default());
    let ask = |headers| {
        let outcome = gate.ask(&headers, now());
        outcome.map(|who| who.subject.to_string()).map_err(|denied| said(&denied.into()))
    };
    let token = |exp| {
        let claims = claims(&json!({ "exp": exp }));
        bearer(&Signer::new("HS256").token("HS256", None, &claims))
    };
    let key = "partner-key-0123456789";
    assert_eq!(ask(with_key(HeaderMap::new(), key)), Ok("partner".into()));
    assert_eq!(ask(with_key(token(NOW + 9), key)), Ok("user-1".into()));
    assert_eq!(ask(with_key(token(NOW - 99), key)), Err(error(TokenError::Expired)));
    let wrong = ask(with_key(HeaderMap::new(), "wrong"));
    assert_eq!(wrong, Err("auth.api_key_unknown: ".into()));
}

#[test]
fn routes_for_keys_only_take_no_token() {
    let rest = format!("    algorithms: [HS256]\n    secret: {SECRET}\n{PARTNER}");
    let mut gate = Gate::new(&main_provider(&rest), KeyRing::default());
    gate.policy = policy(&gate.providers, "auth: {methods: [apiKey]}");
    let headers = bearer(&Signer::new("HS256").token("HS256", None, &good()));
    let reject = Reject::from(gate.ask(&headers, now()).unwrap_err());
    assert_eq!(said(&reject), "auth.credentials_missing: ");
    assert_eq!(reject.headers[0].1, "ApiKey realm=\"tidegate\", header=\"x-api-key\"");
    gate.policy = policy(&gate.providers, "auth: {methods: [jwt]}");
    let keyed = with_key(HeaderMap::new(), "partner-key-0123456789");
    let reject = Reject::from(gate.ask(&keyed, now()).unwrap_err());
    assert_eq!(said(&reject), "auth.credentials_missing: ");
}

#[test]
fn a_second_look_at_a_token_costs_no_signature() {
    let (gate, signer) = gate("EdDSA");
    let token = signer.token("EdDSA", Some("k1"), &good());
    let (one, two) = (gate.show(&token).unwrap(), gate.show(&token).unwrap());
    assert!(Arc::ptr_eq(&one, &two));
    assert_eq!((gate.lookups("miss"), gate.lookups("hit")), (1, 1));
}

#[test]
fn a_cached_token_dies_at_its_expiry_and_leeway() {
    let (gate, signer) = gate("EdDSA");
    let token = signer.token("EdDSA", Some("k1"), &claims(&json!({"exp": NOW + 10})));
    assert!(gate.show(&token).is_ok());
    assert!(gate.show_at(&token, after(40)).is_ok());
    assert_eq!(gate.lookups("hit"), 1);
    assert_eq!(gate.show_at(&token, after(41)).map(drop), refused(TokenError::Expired));
}

#[test]
fn a_cached_token_dies_with_its_key() {
    let (mut gate, signer) = gate("EdDSA");
    let token = signer.token("EdDSA", Some("k1"), &good());
    assert!(gate.show(&token).is_ok());
    gate.ring = ring(&[Signer::new("EdDSA").jwk("k2")]);
    assert_eq!(gate.show(&token).map(drop), refused(TokenError::KeyUnknown));
    // The same name for another key does not help either.
    gate.ring = ring(&[Signer::new("EdDSA").jwk("k1")]);
    assert_eq!(gate.show(&token).map(drop), refused(TokenError::Signature));
    assert_eq!((gate.lookups("hit"), gate.lookups("refused")), (0, 2));
}

#[test]
fn a_cached_token_dies_when_its_provider_changes() {
    let (mut gate, signer) = gate("EdDSA");
    let token = signer.token("EdDSA", Some("k1"), &claims(&json!({"tenant_id": "acme"})));
    assert_eq!(gate.show(&token).unwrap().tenant_status, None);
    let suspended =
        format!("{}tenants:\n  acme: {{status: SUSPENDED}}\n", fetched_provider("[EdDSA]"));
    gate.providers = Gate::new(&suspended, KeyRing::default()).providers;
    let status = gate.show(&token).unwrap().tenant_status.clone();
    assert_eq!(status.as_deref(), Some("SUSPENDED"));
    let other = fetched_provider("[EdDSA]").replace("orders", "users");
    gate.providers = Gate::new(&other, KeyRing::default()).providers;
    assert_eq!(gate.show(&token).map(drop), refused(TokenError::Audience));
}

#[test]
fn a_token_cached_on_one_route_is_judged_anew_on_another() {
    let rest = format!(
        "    algorithms: [HS256]\n    secret: {SECRET}\n  other:\n    issuer: https://o.test/\n    \
         audience: orders\n    algorithms: [HS256]\n    secret: another {SECRET}\n"
    );
    let mut gate = Gate::new(&main_provider(&rest), KeyRing::default());
    let token = Signer::new("HS256").token("HS256", None, &good());
    assert!(gate.show(&token).is_ok());
    gate.policy = policy(&gate.providers, "auth: {providers: [other]}");
    assert_eq!(gate.show(&token).map(drop), refused(TokenError::Issuer));
    gate.policy = policy(&gate.providers, "auth: {providers: [main]}");
    assert!(gate.show(&token).is_ok());
}

#[test]
fn one_provider_cannot_vouch_for_another() {
    let rest = format!(
        "    algorithms: [HS256]\n    secret: {SECRET}\n  other:\n    issuer: https://o.test/\n    \
         audience: orders\n    algorithms: [HS256]\n    secret: another {SECRET}\n"
    );
    let gate = Gate::new(&main_provider(&rest), KeyRing::default());
    let forged = claims(&json!({"iss": "https://o.test/"}));
    let token = Signer::new("HS256").token("HS256", None, &forged);
    assert_eq!(gate.show(&token).map(drop), refused(TokenError::Signature));
}

#[test]
fn refused_tokens_are_not_kept() {
    let (gate, signer) = secret_gate();
    let late = signer.token("HS256", None, &claims(&json!({"exp": NOW - 99})));
    for _ in 0..3 {
        assert!(gate.show(&late).is_err());
    }
    assert_eq!((gate.lookups("miss"), gate.lookups("hit")), (3, 0));
}
