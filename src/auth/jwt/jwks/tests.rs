use serde_json::json;

use super::*;
use crate::auth::testing::{Signer, base64url, key_set};

fn kids(document: &[u8]) -> Vec<String> {
    read(document).unwrap().iter().map(|key| key.kid.as_deref().unwrap_or("-").into()).collect()
}

fn with(mut jwk: Value, change: &Value) -> Value {
    for (name, value) in change.as_object().unwrap() {
        jwk[name] = value.clone();
    }
    jwk
}

#[test]
fn keys_of_every_type_are_read_for_their_algorithms() {
    for (name, others) in [("RS256", 5), ("ES256", 0), ("ES384", 0), ("EdDSA", 0)] {
        let algorithm: Algorithm = name.parse().unwrap();
        let keys = read(&key_set(&[Signer::new(name).jwk("k")])).unwrap();
        assert!(keys[0].verifier(algorithm).is_some(), "{name}");
        let family = algorithm.family();
        let fitting = family.algorithms().iter();
        let count = fitting.filter(|a| keys[0].verifier(**a).is_some()).count();
        assert_eq!(count, others + 1, "{name}");
    }
}

#[test]
fn a_declared_algorithm_binds_the_key() {
    let jwk = with(Signer::new("RS256").jwk("k"), &json!({"alg": "PS256", "use": "sig"}));
    let keys = read(&key_set(&[jwk])).unwrap();
    assert!(keys[0].verifier(Algorithm::PS256).is_some());
    assert!(keys[0].verifier(Algorithm::RS256).is_none());
}

#[test]
fn keys_that_cannot_be_used_are_skipped_and_spoil_nothing() {
    let rsa = || Signer::new("RS256").jwk("bad");
    let p256 = || Signer::new("ES256").jwk("bad");
    let bad = [
        with(rsa(), &json!({"use": "enc"})),
        with(rsa(), &json!({"use": "tls"})),
        with(rsa(), &json!({"key_ops": ["encrypt"]})),
        with(rsa(), &json!({"key_ops": []})),
        with(rsa(), &json!({"alg": "RSA-OAEP"})),
        with(rsa(), &json!({"alg": "ES256"})),
        with(rsa(), &json!({"alg": "HS256"})),
        with(rsa(), &json!({"n": "AQAB"})),
        with(rsa(), &json!({"n": "not base64!"})),
        with(rsa(), &json!({"n": 5})),
        with(rsa(), &json!({"e": ""})),
        with(rsa(), &json!({"e": "AQ"})),
        with(rsa(), &json!({"e": "Ag"})),
        with(rsa(), &json!({"e": "AQAA"})),
        with(rsa(), &json!({"e": "AgAAAAE"})),
        with(rsa(), &json!({"e": "AQAB="})),
        with(rsa(), &json!({"kty": "rsa"})),
        with(rsa(), &json!({"kty": "EC"})),
        with(rsa(), &json!({"kty": ["RSA"]})),
        with(rsa(), &json!({"kid": 5})),
        with(rsa(), &json!({"kid": null})),
        with(rsa(), &json!({"kid": "k".repeat(257)})),
        with(rsa(), &json!({"kid": "k\u{0}"})),
        with(rsa(), &json!({"use": ["sig"]})),
        with(rsa(), &json!({"key_ops": "verify"})),
        with(rsa(), &json!({"key_ops": ["verify", "verify"]})),
        with(rsa(), &json!({"use": "sig", "key_ops": ["encrypt"]})),
        with(rsa(), &json!({"alg": ["RS256"]})),
        with(rsa(), &json!({"alg": "none"})),
        with(rsa(), &json!({"d": "AQAB"})),
        with(rsa(), &json!({"p": "AQAB"})),
        with(p256(), &json!({"crv": "P-384"})),
        with(p256(), &json!({"crv": "P-521"})),
        with(p256(), &json!({"crv": "secp256k1"})),
        with(p256(), &json!({"alg": "ES384"})),
        with(p256(), &json!({"y": "AQAB"})),
        with(p256(), &json!({"x": base64url([1; 31]), "y": base64url([1; 33])})),
        with(p256(), &json!({"d": base64url([1; 32])})),
        with(p256(), &json!({"kty": "OKP"})),
        with(Signer::new("EdDSA").jwk("bad"), &json!({"crv": "Ed448"})),
        with(Signer::new("EdDSA").jwk("bad"), &json!({"x": "AQAB"})),
        Signer::new("HS256").jwk("bad"),
        json!({"kty": "AKP", "kid": "bad", "pub": "AQAB"}),
        json!({"kid": "bad"}),
        json!("bad"),
        json!(null),
    ];
    for jwk in bad {
        let good = Signer::new("EdDSA").jwk("good");
        assert_eq!(kids(&key_set(&[jwk.clone(), good])), ["good"], "{jwk}");
        let refused = read(&key_set(std::slice::from_ref(&jwk))).unwrap_err();
        assert!(matches!(refused, SetRefused::NoUsableKey(1)), "{jwk}");
    }
}

#[test]
fn key_ops_with_verify_will_do() {
    let jwk = with(Signer::new("EdDSA").jwk("k"), &json!({"key_ops": ["sign", "verify"]}));
    assert_eq!(kids(&key_set(&[jwk])), ["k"]);
}

#[test]
fn documents_that_are_no_key_sets_are_refused() {
    for text in ["", "[]", "null", "<html>", "{\"keys\": []", "{\"keys\":[],\"keys\":[]}"] {
        assert!(matches!(read(text.as_bytes()), Err(SetRefused::Malformed(_))), "{text}");
    }
    for text in ["{}", "{\"keys\": {}}", "{\"keys\": null}", "{\"Keys\": []}"] {
        assert!(matches!(read(text.as_bytes()), Err(SetRefused::NoList)), "{text}");
    }
    assert!(matches!(read(b"{\"keys\": []}"), Err(SetRefused::NoUsableKey(0))));
    let deep = format!("{{\"keys\": [{}1{}]}}", "[".repeat(50), "]".repeat(50));
    assert!(matches!(read(deep.as_bytes()), Err(SetRefused::Malformed(JsonRefused::TooDeep))));
}

#[test]
fn a_member_that_comes_twice_spoils_the_document() {
    let jwk = Signer::new("EdDSA").jwk("k").to_string();
    let twice = jwk.replacen('{', "{\"kid\":\"other\",", 1);
    let set = |jwk: &str| format!("{{\"keys\":[{jwk}]}}");
    assert!(read(set(&jwk).as_bytes()).is_ok());
    let refused = read(set(&twice).as_bytes());
    assert!(matches!(refused, Err(SetRefused::Malformed(JsonRefused::Repetition))));
}

#[test]
fn a_set_has_at_most_64_keys() {
    let jwks: Vec<Value> = (0..65).map(|n| Signer::new("EdDSA").jwk(&format!("k{n}"))).collect();
    assert_eq!(read(&key_set(&jwks[1..])).unwrap().len(), 64);
    assert!(matches!(read(&key_set(&jwks)), Err(SetRefused::TooMany { count: 65, max: 64 })));
}

#[test]
fn of_keys_that_could_be_mistaken_for_each_other_neither_is_used() {
    let p256 = || Signer::new("ES256").jwk("same");
    let good = Signer::new("EdDSA").jwk("good");
    assert_eq!(kids(&key_set(&[p256(), good.clone(), p256()])), ["good"]);
    let both = read(&key_set(&[p256(), p256()]));
    assert!(matches!(both, Err(SetRefused::NoUsableKey(2))));
    // Another type, another algorithm, another id: no doubt which one is meant.
    let rsa = Signer::new("RS256").jwk("same");
    assert_eq!(kids(&key_set(&[p256(), rsa])), ["same", "same"]);
    assert_eq!(kids(&key_set(&[p256(), Signer::new("ES256").jwk("Same")])), ["same", "Same"]);
}

#[test]
fn one_key_that_is_listed_twice_is_one_key() {
    let jwk = Signer::new("ES256").jwk("k");
    assert_eq!(kids(&key_set(&[jwk.clone(), jwk.clone(), jwk])), ["k"]);
    let rsa = Signer::new("RS256").jwk("k");
    let by_algorithm =
        [with(rsa.clone(), &json!({"alg": "RS256"})), with(rsa, &json!({"alg": "PS256"}))];
    assert_eq!(kids(&key_set(&by_algorithm)), ["k", "k"]);
}

#[test]
fn what_a_key_says_about_certificates_is_not_looked_at() {
    let jwk = with(
        Signer::new("EdDSA").jwk("k"),
        &json!({"x5c": 5, "x5u": "http://127.0.0.1:1/", "x5t": [], "x5t#S256": {}, "nbf": "x"}),
    );
    assert_eq!(kids(&key_set(&[jwk])), ["k"]);
}
