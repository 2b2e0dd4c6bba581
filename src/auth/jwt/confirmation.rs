//! Tokens that are good in one sender's hands only (`cnf`; RFC 7800, RFC 8705, RFC 9449).
//!
//! A token may be bound to the client certificate of its connection; that is checked on every
//! request, remembered token or not. Any other way of binding is refused: a token that is stolen
//! in spite of it must not be good here because we looked away.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::strict_json::{Object, Value};
use crate::auth::challenge::TokenError;
use crate::edge::ClientCertificate;
use crate::edge::hex;

/// The member of `cnf` that names a certificate by its SHA-256 (RFC 8705, 3.1).
const CERTIFICATE: &str = "x5t#S256";
/// The member that names a key of `DPoP` (RFC 9449, 6.1).
const PROOF_KEY: &str = "jkt";
/// Bytes of a SHA-256.
const DIGEST_BYTES: usize = 32;

/// The certificate that claims bind their token to: its SHA-256 in lower-case hexadecimal, as
/// [`ClientCertificate::fingerprint`] has it; none where they bind it to nothing.
///
/// # Errors
/// They bind it in a way that is not checked here, or cannot be read.
pub(in crate::auth) fn read(claims: &Object<'_>) -> Result<Option<Box<str>>, TokenError> {
    let Some(confirmation) = claims.get("cnf") else { return Ok(None) };
    let members = confirmation.as_object().ok_or(TokenError::BoundOtherwise)?;
    if members.contains_key(PROOF_KEY) {
        return Err(TokenError::ProofKey);
    }
    let digest = members.get(CERTIFICATE).and_then(Value::as_str);
    let digest = digest.filter(|_| members.len() == 1).ok_or(TokenError::BoundOtherwise)?;
    let digest = URL_SAFE_NO_PAD.decode(digest).map_err(|_| TokenError::BoundOtherwise)?;
    if digest.len() != DIGEST_BYTES {
        return Err(TokenError::BoundOtherwise);
    }
    Ok(Some(hex(&digest).into()))
}

/// Whether a token that is bound to a certificate comes on a connection that has it. Allocates
/// nothing: this runs for every request of such a token.
///
/// # Errors
/// The connection has another one, or none.
pub(in crate::auth) fn check(
    bound: Option<&str>,
    certificate: Option<&ClientCertificate>,
) -> Result<(), TokenError> {
    let Some(bound) = bound else { return Ok(()) };
    match certificate {
        Some(certificate) if *certificate.fingerprint == *bound => Ok(()),
        _ => Err(TokenError::OtherCertificate),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::auth::testing::base64url;

    fn bound(cnf: &serde_json::Value) -> Result<Option<Box<str>>, TokenError> {
        read(&Object::of(json!({ "cnf": cnf }).as_object().unwrap()))
    }

    fn certificate(fingerprint: &str) -> ClientCertificate {
        ClientCertificate { fingerprint: fingerprint.into(), ..ClientCertificate::default() }
    }

    #[test]
    fn a_certificate_is_named_by_its_digest() {
        let cnf = json!({ "x5t#S256": base64url([0xab; 32]) });
        assert_eq!(bound(&cnf), Ok(Some("ab".repeat(32).into())));
        assert_eq!(read(&Object::default()), Ok(None));
    }

    #[test]
    fn other_bindings_are_never_overlooked() {
        let digest = base64url([0xab; 32]);
        for cnf in [json!({"jkt": "a"}), json!({"jkt": 1}), json!({"jkt": "a", "x5t#S256": digest})]
        {
            assert_eq!(bound(&cnf), Err(TokenError::ProofKey), "{cnf}");
        }
        for cnf in [
            json!(null),
            json!({}),
            json!([]),
            json!("x5t#S256"),
            json!({"jwk": {}}),
            json!({"kid": "a"}),
            json!({"x5t#S256": digest, "kid": "a"}),
            json!({"x5t#S256": null}),
            json!({"x5t#S256": ""}),
            json!({"x5t#S256": [digest]}),
            json!({"x5t#S256": base64url([0xab; 31])}),
            json!({"x5t#S256": base64url([0xab; 33])}),
            json!({"x5t#S256": format!("{digest}=")}),
            json!({"x5t#S256": "ab".repeat(32)}),
            json!({"X5T#S256": digest}),
        ] {
            assert_eq!(bound(&cnf), Err(TokenError::BoundOtherwise), "{cnf}");
        }
    }

    #[test]
    fn a_bound_token_needs_exactly_its_certificate() {
        let (one, two) = (certificate("aa"), certificate("ab"));
        assert_eq!(check(None, None), Ok(()));
        assert_eq!(check(None, Some(&one)), Ok(()));
        assert_eq!(check(Some("aa"), Some(&one)), Ok(()));
        assert_eq!(check(Some("aa"), Some(&two)), Err(TokenError::OtherCertificate));
        assert_eq!(check(Some("aa"), None), Err(TokenError::OtherCertificate));
    }
}
