//! Tokens for development, and keys for them. Nothing that serves requests comes here.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::{SecureRandom, SystemRandom};
use serde_json::{Map, Value};

use super::DevelopmentKey;
use super::jwt::token::TOKEN_BYTES_MAX;

/// What comes before the 32 bytes of an Ed25519 private key in PKCS #8 (RFC 8410, 7).
const PKCS8_PREFIX: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// The header of every token made here.
const HEADER: &str = r#"{"alg":"EdDSA","typ":"JWT"}"#;

/// A token with these claims, signed with `EdDSA`.
///
/// # Errors
/// The token would be too long to be read.
pub fn mint(key: &DevelopmentKey, claims: Map<String, Value>) -> Result<String, String> {
    let claims = Value::Object(claims).to_string();
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(HEADER), URL_SAFE_NO_PAD.encode(claims));
    let signature = URL_SAFE_NO_PAD.encode(key.sign(signed.as_bytes()));
    let token = format!("{signed}.{signature}");
    if token.len() > TOKEN_BYTES_MAX {
        return Err("the token would be longer than 8 KiB, and refused for it".to_owned());
    }
    Ok(token)
}

/// A new Ed25519 private key, in PEM (PKCS #8).
///
/// # Errors
/// The system has no random numbers.
pub fn new_development_key() -> Result<String, String> {
    let mut secret = [0_u8; 32];
    SystemRandom::new()
        .fill(&mut secret)
        .map_err(|_| "the system has no random numbers for a key".to_owned())?;
    let der = STANDARD.encode([&PKCS8_PREFIX[..], &secret].concat());
    Ok(format!("-----BEGIN PRIVATE KEY-----\n{der}\n-----END PRIVATE KEY-----\n"))
}

#[cfg(test)]
mod tests {
    use ring::signature::{ED25519, UnparsedPublicKey};
    use serde_json::json;

    use super::*;

    fn claims(value: &Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn a_new_key_signs_what_its_public_half_verifies() {
        let pem = new_development_key().unwrap();
        assert_ne!(pem, new_development_key().unwrap());
        let key = DevelopmentKey::read(pem.as_bytes()).unwrap();
        let token = mint(&key, claims(&json!({"sub": "alice", "n": 1}))).unwrap();
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let public = UnparsedPublicKey::new(&ED25519, key.public_key());
        public.verify(signed.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap()).unwrap();
        let (_, payload) = signed.split_once('.').unwrap();
        let payload = URL_SAFE_NO_PAD.decode(payload).unwrap();
        assert_eq!(
            serde_json::from_slice::<Value>(&payload).unwrap(),
            json!({"sub": "alice", "n": 1})
        );
    }

    #[test]
    fn a_token_that_nobody_would_read_is_not_made() {
        let key = DevelopmentKey::read(new_development_key().unwrap().as_bytes()).unwrap();
        let with = |bytes: usize| mint(&key, claims(&json!({"a": "x".repeat(bytes)})));
        assert!(with(5_000).is_ok());
        assert!(with(8_000).unwrap_err().contains("8 KiB"));
    }
}
