//! The examples that the standards print: RFC 7515, RFC 7520, RFC 8037.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use jsonwebtoken::signature::Verifier;
use serde_json::Value;

use crate::auth::challenge::TokenError;
use crate::auth::jwt::jwks::{self, SetRefused};
use crate::auth::jwt::key::Key;
use crate::auth::jwt::token::{Decoded, Token};
use crate::auth::testing::key_set;

const PUBLISHED: &str = include_str!("../../../testdata/published.json");

fn examples(kind: &str) -> Vec<Value> {
    let all: Value = serde_json::from_str(PUBLISHED).unwrap();
    all[kind].as_array().unwrap().clone()
}

fn text<'a>(example: &'a Value, name: &str) -> &'a str {
    example[name].as_str().unwrap()
}

fn key(example: &Value) -> Key {
    if let Some(secret) = example["key"]["k"].as_str() {
        return Key::from_secret(&URL_SAFE_NO_PAD.decode(secret).unwrap()).unwrap();
    }
    jwks::read(&key_set(&[example["key"].clone()])).unwrap().remove(0)
}

#[test]
fn every_published_signature_is_good_and_only_that() {
    let examples = examples("supported");
    assert_eq!(examples.len(), 7);
    for example in examples {
        let (source, token) = (text(&example, "source"), text(&example, "token"));
        let algorithm: Algorithm = text(&example, "algorithm").parse().unwrap();
        let key = key(&example);
        let verifier = key.verifier(algorithm).unwrap();
        let (message, signature) = token.rsplit_once('.').unwrap();
        let mut signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        assert!(verifier.verify(message.as_bytes(), &signature).is_ok(), "{source}");
        assert!(verifier.verify(&message.as_bytes()[1..], &signature).is_err(), "{source}");
        signature[9] ^= 1;
        assert!(verifier.verify(message.as_bytes(), &signature).is_err(), "{source}");
    }
}

#[test]
fn published_tokens_are_read_and_published_texts_are_no_tokens() {
    for example in examples("supported") {
        let (source, token) = (text(&example, "source"), text(&example, "token"));
        let decoded = Decoded::of(token).unwrap();
        if !source.starts_with("RFC 7515") {
            // What they sign are words of Tolkien's and the like.
            let refused = Token::read(&decoded).unwrap_err();
            assert_eq!(refused, TokenError::Payload, "{source}");
            continue;
        }
        let read = Token::read(&decoded).unwrap();
        assert_eq!(read.algorithm, text(&example, "algorithm").parse().unwrap(), "{source}");
        let claims = read.kept();
        assert_eq!((&claims["iss"], &claims["exp"]), (&"joe".into(), &1_300_819_380.into()));
    }
}

#[test]
fn what_is_not_supported_is_refused_by_name() {
    for example in examples("unsupported") {
        let source = text(&example, "source");
        let decoded = Decoded::of(text(&example, "token")).unwrap();
        assert_eq!(Token::read(&decoded).unwrap_err(), TokenError::Algorithm, "{source}");
        let refused = jwks::read(&key_set(&[example["key"].clone()]));
        assert!(matches!(refused, Err(SetRefused::NoUsableKey(1))), "{source}");
    }
}
