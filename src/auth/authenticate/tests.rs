mod hostile;
mod mutations;

use http::{HeaderMap, HeaderValue, Method};
use serde_json::{Value, json};

use super::*;
use crate::auth::question::Question;
use crate::auth::testing::{
    Gate, ISSUER, NOW, RSA_PUBLIC, SECRET, Signer, after, base64url, bearer, claims,
    fetched_provider, main_provider, now, policy, ring, said, view,
};
use crate::auth::{Answers, KeyRing};
use crate::edge::ClientCertificate;
use crate::fault::Reject;

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
        assert_eq!(gate.show(&format!("{head}.{body}.")).map(drop), refused(TokenError::Unsigned));
        assert_eq!(
            gate.show(&format!("{head}.{body}.AAAA")).map(drop),
            refused(TokenError::Algorithm)
        );
    }
}

#[test]
fn an_hmac_with_the_public_key_proves_nothing() {
    // The three spellings of the public key that an attacker would try as the secret.
    let der = crate::auth::testing::der(RSA_PUBLIC);
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
    let Denied::Ask(Question::Key(unknown)) = denied else { panic!("{denied:?}") };
    assert_eq!(&*unknown.set.provider, "main");
    assert_eq!(said(&Denied::Ask(Question::Key(unknown)).into()), error(TokenError::KeyUnknown));
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
        json!(["orders", 1]),
        json!(["orders", null]),
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
        (json!(-1), refused(TokenError::Time)),
        (json!(-0.5), refused(TokenError::Time)),
        (json!(1_799_999_970.5), Ok(())),
        (json!(1_799_999_969.9), refused(TokenError::Expired)),
        (json!(253_402_300_799_u64), Ok(())),
        (json!(253_402_300_800_u64), refused(TokenError::Time)),
        (json!(NOW * 1000), refused(TokenError::Time)),
        (json!(u64::MAX), refused(TokenError::Time)),
        (json!(1e300), refused(TokenError::Time)),
        (json!([NOW + 300]), refused(TokenError::Time)),
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
    for sub in [json!(null), json!(""), json!([]), json!({"id": 1}), json!(1.5), json!(1e20)] {
        assert_eq!(with_claims(&json!({ "sub": sub })), refused(TokenError::NoSubject), "{sub}");
    }
    assert_eq!(with_claims(&json!({"sub": u64::MAX})), Ok(()));
}

#[test]
fn access_tokens_are_whole() {
    let (gate, signer) = secret_gate();
    let show = |typ: &str, change: &Value| {
        let whole = json!({"client_id": "app", "jti": "t-1"});
        let mut written = claims(&whole);
        for (name, value) in change.as_object().unwrap() {
            written[name] = value.clone();
        }
        written.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        let header = json!({"alg": "HS256", "typ": typ});
        gate.show(&signer.token_with(&header, &written)).map(drop)
    };
    assert_eq!(show("at+jwt", &json!({})), Ok(()));
    for name in ["client_id", "jti", "iat"] {
        let without = json!({ name: null });
        assert_eq!(show("at+jwt", &without), refused(TokenError::Incomplete), "{name}");
        assert_eq!(show("application/AT+JWT", &without), refused(TokenError::Incomplete));
        assert_eq!(show("JWT", &without), Ok(()), "{name}");
    }
    for change in [json!({"client_id": ""}), json!({"jti": 7}), json!({"sub": 7})] {
        assert_eq!(show("at+jwt", &change), refused(TokenError::Incomplete), "{change}");
    }
    for (name, why) in [
        ("iss", TokenError::Issuer),
        ("exp", TokenError::NoExpiry),
        ("aud", TokenError::Audience),
        ("sub", TokenError::NoSubject),
    ] {
        assert_eq!(show("at+jwt", &json!({ name: null })), refused(why), "{name}");
    }
}

/// The caller of a request on a connection with this certificate.
fn ask_with(
    gate: &Gate,
    token: &str,
    certificate: Option<&ClientCertificate>,
) -> Result<(), String> {
    let headers = bearer(token);
    let view = RequestView { certificate, ..view(&Method::GET, &headers) };
    let answers = Answers::default();
    authenticate(&gate.policy, &view, &gate.evidence(&answers, now()))
        .map(drop)
        .map_err(|denied| said(&denied.into()))
}

#[test]
fn a_token_that_is_bound_to_a_certificate_needs_it_every_time() {
    let (gate, signer) = secret_gate();
    let has = |byte: &str| ClientCertificate {
        fingerprint: byte.repeat(32).into(),
        ..ClientCertificate::default()
    };
    let (own, other) = (has("ab"), has("cd"));
    let cnf = json!({"cnf": {"x5t#S256": base64url([0xab; 32])}});
    let token = signer.token("HS256", None, &claims(&cnf));
    // Nobody has shown it yet; then it is remembered, and still nobody else can use it.
    for (round, hits) in [(1, 0), (2, 3)] {
        let wrong = refused(TokenError::OtherCertificate);
        assert_eq!(ask_with(&gate, &token, None), wrong.clone(), "{round}");
        assert_eq!(ask_with(&gate, &token, Some(&other)), wrong, "{round}");
        assert_eq!(ask_with(&gate, &token, Some(&own)), Ok(()), "{round}");
        assert!(gate.lookups("hit") >= hits, "{round}");
    }
    // A token that is bound to nothing goes with any certificate.
    let free = signer.token("HS256", None, &good());
    for certificate in [None, Some(&own), Some(&other)] {
        assert_eq!(ask_with(&gate, &free, certificate), Ok(()));
    }
}

#[test]
fn bindings_that_are_not_checked_are_refused() {
    assert_eq!(with_claims(&json!({"cnf": {"jkt": "a"}})), refused(TokenError::ProofKey));
    for cnf in [json!({}), json!("a"), json!({"jwk": {}}), json!({"x5t#S256": "a"})] {
        let outcome = with_claims(&json!({ "cnf": cnf }));
        assert_eq!(outcome, refused(TokenError::BoundOtherwise), "{cnf}");
    }
    // DPoP's own scheme is not ours either.
    let (gate, signer) = secret_gate();
    let token = signer.token("HS256", None, &good());
    let value = HeaderValue::try_from(format!("DPoP {token}")).unwrap();
    let headers = HeaderMap::from_iter([(http::header::AUTHORIZATION, value)]);
    let reject = Reject::from(gate.ask(&headers, now()).unwrap_err());
    assert_eq!(said(&reject), "auth.credentials_missing: ");
    assert_eq!(reject.headers[0].1, "Bearer realm=\"tidegate\"");
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
        with_key(HeaderMap::new(), "some-key"),
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
    let found = authenticate(&gate.policy, &view, &gate.evidence(&Answers::default(), now()));
    assert!(matches!(found, Ok(None)));
}

const PARTNER: &str = "apiKeys: [{id: partner, key: partner-key-0123456789}]\n";

fn with_key(mut headers: HeaderMap, key: &'static str) -> HeaderMap {
    headers.insert("x-api-key", HeaderValue::from_static(key));
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
    gate.policy = policy(&gate.providers, "auth: {anyOf: [apiKey]}");
    let headers = bearer(&Signer::new("HS256").token("HS256", None, &good()));
    let reject = Reject::from(gate.ask(&headers, now()).unwrap_err());
    assert_eq!(said(&reject), "auth.credentials_missing: ");
    assert_eq!(reject.headers[0].1, "ApiKey realm=\"tidegate\", header=\"x-api-key\"");
    gate.policy = policy(&gate.providers, "auth: {anyOf: [jwt]}");
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
fn a_rotation_keeps_what_was_proved_with_keys_that_stay() {
    let signer = Signer::new("EdDSA");
    let (stays, goes) = (signer.jwk("stays"), Signer::new("EdDSA"));
    let mut gate =
        Gate::new(&fetched_provider("[EdDSA]"), ring(&[stays.clone(), goes.jwk("goes")]));
    let kept = signer.token("EdDSA", Some("stays"), &good());
    let lost = goes.token("EdDSA", Some("goes"), &good());
    assert!(gate.show(&kept).is_ok() && gate.show(&lost).is_ok());
    gate.ring = ring(&[Signer::new("EdDSA").jwk("comes"), stays]);
    assert!(gate.show(&kept).is_ok());
    assert_eq!(gate.lookups("hit"), 1);
    assert_eq!(gate.show(&lost).map(drop), refused(TokenError::KeyUnknown));
    // The same key under another name is another key: the token does not name it.
    gate.ring = ring(&[signer.jwk("renamed")]);
    assert_eq!(gate.show(&kept).map(drop), refused(TokenError::KeyUnknown));
    assert_eq!((gate.lookups("hit"), gate.lookups("refused")), (1, 2));
}

#[test]
fn a_token_that_names_no_key_is_judged_anew_by_another_set() {
    let signer = Signer::new("EdDSA");
    let mut gate = Gate::new(&fetched_provider("[EdDSA]"), ring(&[signer.jwk("k1")]));
    let token = signer.token("EdDSA", None, &good());
    assert!(gate.show(&token).is_ok());
    // Now two keys could be meant.
    gate.ring = ring(&[signer.jwk("k1"), Signer::new("EdDSA").jwk("k2")]);
    assert_eq!(gate.show(&token).map(drop), refused(TokenError::KeyUnnamed));
}

#[test]
fn a_key_that_may_no_longer_serve_an_algorithm_proves_nothing_with_it() {
    let signer = Signer::new("RS256");
    let mut gate = Gate::new(&fetched_provider("[RS256, RS512]"), ring(&[signer.jwk("k1")]));
    let token = signer.token("RS512", Some("k1"), &good());
    assert!(gate.show(&token).is_ok());
    let mut only = signer.jwk("k1");
    only["alg"] = "RS256".into();
    gate.ring = ring(&[only]);
    assert_eq!(gate.show(&token).map(drop), refused(TokenError::KeyUnfit));
}

fn refusals(gate: &Gate, outcome: &str) -> u64 {
    gate.metrics.token_refusals.with_label_values(&[outcome]).get()
}

#[test]
fn a_bad_token_that_comes_again_costs_no_further_check() {
    let (gate, signer) = secret_gate();
    let token = |claims| signer.token("HS256", None, &claims);
    let forged = Signer::Secret(b"another secret".to_vec()).token("HS256", None, &good());
    let cases = [
        (forged, TokenError::Signature),
        (token(claims(&json!({"exp": NOW - 99}))), TokenError::Expired),
        (token(claims(&json!({"aud": "users"}))), TokenError::Audience),
    ];
    for (at, (token, why)) in cases.iter().enumerate() {
        for _ in 0..10 {
            assert_eq!(gate.show(token).map(drop), refused(*why));
        }
        let times = at as u64 + 1;
        assert_eq!((refusals(&gate, "checked"), refusals(&gate, "recalled")), (times, 9 * times));
    }
    // Later it is checked again.
    assert_eq!(gate.show_at(&cases[0].0, after(5)).map(drop), refused(TokenError::Signature));
    assert_eq!(refusals(&gate, "checked"), 4);
    assert_eq!(gate.lookups("hit"), 0);
}

#[test]
fn what_can_turn_good_by_itself_is_not_remembered() {
    let (gate, signer) = secret_gate();
    let soon = signer.token("HS256", None, &claims(&json!({"nbf": NOW + 31})));
    assert_eq!(gate.show(&soon).map(drop), refused(TokenError::NotYetValid));
    assert!(gate.show_at(&soon, after(1)).is_ok());
}

#[test]
fn a_new_key_set_or_provider_makes_a_refusal_void() {
    let (old, new) = (Signer::new("EdDSA"), Signer::new("EdDSA"));
    let mut gate = Gate::new(&fetched_provider("[EdDSA]"), ring(&[old.jwk("k1")]));
    let token = new.token("EdDSA", Some("k1"), &good());
    assert_eq!(gate.show(&token).map(drop), refused(TokenError::Signature));
    gate.ring = ring(&[new.jwk("k1")]);
    assert!(gate.show(&token).is_ok());
    let other = new.token("EdDSA", Some("k1"), &claims(&json!({"aud": "users"})));
    assert_eq!(gate.show(&other).map(drop), refused(TokenError::Audience));
    let yaml = fetched_provider("[EdDSA]").replace("orders", "users");
    gate.providers = Gate::new(&yaml, KeyRing::default()).providers;
    assert!(gate.show(&other).is_ok());
}

#[test]
fn a_token_refused_for_one_provider_is_judged_anew_for_another() {
    // Two providers with one issuer, on different routes.
    let rest = format!(
        "    algorithms: [HS256]\n    secret: {SECRET}\n  other:\n    issuer: {ISSUER}\n    \
         audience: orders\n    algorithms: [HS256]\n    secret: another {SECRET}\n"
    );
    let (providers, _) =
        crate::auth::testing::compile(&main_provider(&rest), &crate::model::Resolved::default());
    let (mut gate, signer) = secret_gate();
    gate.providers = providers;
    let token = signer.token("HS256", None, &good());
    gate.policy = policy(&gate.providers, "auth: {providers: [other]}");
    assert_eq!(gate.show(&token).map(drop), refused(TokenError::Signature));
    gate.policy = policy(&gate.providers, "auth: {providers: [main]}");
    assert!(gate.show(&token).is_ok());
    gate.policy = policy(&gate.providers, "auth: {providers: [other]}");
    assert_eq!(gate.show(&token).map(drop), refused(TokenError::Signature));
}

#[test]
fn a_flood_of_bad_tokens_displaces_no_good_one() {
    let (gate, signer) = secret_gate();
    let regular = signer.token("HS256", None, &good());
    assert!(gate.show(&regular).is_ok());
    let (parts, _) = regular.rsplit_once('.').unwrap();
    for n in 0..10_000_u32 {
        let forged = format!("{parts}.{}", base64url([&n.to_be_bytes()[..], &[7; 28]].concat()));
        assert_eq!(gate.show(&forged).map(drop), refused(TokenError::Signature));
    }
    assert!(gate.show(&regular).is_ok());
    assert_eq!((gate.lookups("hit"), refusals(&gate, "checked")), (1, 10_000));
    assert_eq!(gate.metrics.token_cache_entries.get(), 1);
}
