//! What an issuer's discovery document says of its key set (OpenID Connect Discovery 1.0,
//! section 4.3), read with distrust: it decides whose keys are believed.

use reqwest::Url;
use serde::Deserialize;

use crate::auth::jwt::provider::is_loopback;

/// Why a discovery document is not followed. Shows nothing of it but what is wrong.
#[derive(Debug, thiserror::Error)]
pub(in crate::auth) enum DocumentRefused {
    /// It is not a discovery document.
    #[error("the discovery document cannot be read: {0}")]
    Malformed(#[from] serde_json::Error),
    /// It speaks for another issuer.
    #[error("the discovery document is of another issuer than the configured one")]
    Issuer,
    /// Where it says the keys are cannot be trusted.
    #[error("the discovery document names no key set at an https URL")]
    KeysUrl,
}

#[derive(Deserialize)]
struct Document {
    issuer: String,
    jwks_uri: String,
}

/// Where the key set is. The document's issuer must be the configured one, letter by letter.
/// `from` is where the document came from: only one of this machine may name a set in clear
/// text, and that on this machine, so that a stranger's document cannot send the gateway to its
/// neighbours.
///
/// # Errors
/// Why the document is not followed.
pub(super) fn keys_url(document: &[u8], issuer: &str, from: &Url) -> Result<Url, DocumentRefused> {
    let document: Document = serde_json::from_slice(document)?;
    if document.issuer != issuer {
        return Err(DocumentRefused::Issuer);
    }
    let url = Url::parse(&document.jwks_uri).map_err(|_| DocumentRefused::KeysUrl)?;
    let is_local = is_loopback(from) && is_loopback(&url);
    let is_safe = url.scheme() == "https" || (url.scheme() == "http" && is_local);
    let is_plain = url.username().is_empty() && url.password().is_none();
    if is_safe && is_plain { Ok(url) } else { Err(DocumentRefused::KeysUrl) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ISSUER: &str = "https://issuer.test";

    fn read(issuer: &str, keys: &str, from: &str) -> Result<String, String> {
        let document = serde_json::json!({"issuer": issuer, "jwks_uri": keys, "more": [1]});
        let from = Url::parse(from).unwrap();
        let url = keys_url(document.to_string().as_bytes(), ISSUER, &from);
        url.map(String::from).map_err(|refused| refused.to_string())
    }

    #[test]
    fn a_document_of_the_issuer_is_followed() {
        let away = "https://issuer.test/.well-known/openid-configuration";
        let here = "http://127.0.0.1:8080/.well-known/openid-configuration";
        for (keys, from) in [
            ("https://keys.elsewhere.test/set", away),
            ("https://issuer.test/set?a=b", away),
            ("https://issuer.test/set", here),
            ("http://localhost:8080/set", here),
        ] {
            assert_eq!(read(ISSUER, keys, from), Ok(keys.to_owned()));
        }
    }

    #[test]
    fn a_document_of_another_issuer_is_not() {
        let from = "https://issuer.test/.well-known/openid-configuration";
        for issuer in ["https://issuer.test/", "https://ISSUER.test", "", "https://other.test"] {
            let refused = read(issuer, "https://issuer.test/set", from).unwrap_err();
            assert!(refused.contains("another issuer"), "{issuer}: {refused}");
        }
        for document in ["", "[]", "{}", "<html>", r#"{"issuer": "https://issuer.test"}"#] {
            let refused = keys_url(document.as_bytes(), ISSUER, &Url::parse(from).unwrap());
            assert!(matches!(refused, Err(DocumentRefused::Malformed(_))), "{document}");
        }
    }

    #[test]
    fn a_key_set_in_clear_text_is_not_followed() {
        let away = "https://issuer.test/.well-known/openid-configuration";
        let here = "http://127.0.0.1:8080/.well-known/openid-configuration";
        for (keys, from) in [
            ("http://issuer.test/set", away),
            ("http://issuer.test/set", here),
            // Nobody outside has anything to say about this machine's servers.
            ("http://127.0.0.1:9901/set", away),
            ("http://localhost/set", away),
            ("file:///etc/passwd", here),
            ("ftp://127.0.0.1/set", here),
            ("https://user:word@issuer.test/set", away),
            ("/set", away),
            ("", away),
        ] {
            let refused = read(ISSUER, keys, from).unwrap_err();
            assert!(refused.contains("no key set"), "{keys}: {refused}");
        }
    }
}
