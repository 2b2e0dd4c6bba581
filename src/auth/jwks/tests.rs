use serde_json::json;

use super::super::testing::{Signer, key_set};
use super::*;

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
        with(rsa(), &json!({"e": ""})),
        with(p256(), &json!({"crv": "P-384"})),
        with(p256(), &json!({"crv": "P-521"})),
        with(p256(), &json!({"crv": "secp256k1"})),
        with(p256(), &json!({"alg": "ES384"})),
        with(p256(), &json!({"y": "AQAB"})),
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
    for text in ["", "{}", "[]", "null", "{\"keys\": {}}", "<html>", "{\"keys\": []"] {
        assert!(matches!(read(text.as_bytes()), Err(SetRefused::Malformed(_))), "{text}");
    }
    assert!(matches!(read(b"{\"keys\": []}"), Err(SetRefused::NoUsableKey(0))));
}

#[test]
fn a_set_has_at_most_64_keys() {
    let jwk = Signer::new("EdDSA").jwk("k");
    assert_eq!(read(&key_set(&vec![jwk.clone(); 64])).unwrap().len(), 64);
    assert!(matches!(read(&key_set(&vec![jwk; 65])), Err(SetRefused::TooMany(65))));
}
