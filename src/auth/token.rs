//! A token's form: found in the request, split, its header read and judged (RFC 7515, RFC 8725).
//!
//! Nothing here is believed yet. What the header says about where keys can be found (`jku`,
//! `x5u`, `x5c`, `jwk`) is never looked at: keys come from the configuration only.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use jsonwebtoken::{Algorithm, Header};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::challenge::TokenError;

/// Longest token read, in bytes.
pub(super) const TOKEN_BYTES_MAX: usize = 8 * 1024;
/// Longest header of a token, in bytes of JSON.
const HEADER_BYTES_MAX: usize = 2 * 1024;
/// Parts of an encrypted token (RFC 7516).
const JWE_PARTS: usize = 5;

/// The bearer token of a request; none where there is no `Authorization: Bearer` with something
/// after it. The scheme's case does not matter (RFC 9110, 11.1).
///
/// # Errors
/// More than one `Authorization` header, or a token that is too long or not text.
pub(super) fn bearer(headers: &HeaderMap) -> Result<Option<&str>, TokenError> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(TokenError::Repeated);
    }
    let value = value.as_bytes();
    let scheme = value.split(|byte| *byte == b' ').next().unwrap_or_default();
    if !scheme.eq_ignore_ascii_case(b"bearer") {
        return Ok(None);
    }
    let token = value.get(scheme.len()..).unwrap_or_default().trim_ascii();
    if token.is_empty() {
        return Ok(None);
    }
    if token.len() > TOKEN_BYTES_MAX {
        return Err(TokenError::TooLong);
    }
    std::str::from_utf8(token).map(Some).map_err(|_| TokenError::NotCompact)
}

/// A token in its three parts, unverified.
#[derive(Debug)]
pub(super) struct Token<'a> {
    pub(super) algorithm: Algorithm,
    pub(super) kid: Option<String>,
    /// What the signature is over: the first two parts with their dot.
    pub(super) signed: &'a [u8],
    pub(super) signature: Vec<u8>,
    /// The claims as the token states them. Believe them only after the signature.
    pub(super) claims: Map<String, Value>,
}

impl<'a> Token<'a> {
    /// Reads a token in compact form.
    ///
    /// # Errors
    /// Returns what is wrong with its form, or what in its header rules it out.
    pub(super) fn read(text: &'a str) -> Result<Self, TokenError> {
        let mut parts = text.split('.');
        let (Some(header), Some(payload), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(match text.split('.').count() {
                JWE_PARTS => TokenError::Encrypted,
                _ => TokenError::NotCompact,
            });
        };
        if header.is_empty() || payload.is_empty() || signature.is_empty() {
            return Err(TokenError::NotCompact);
        }
        let (signed, _) = text.rsplit_once('.').ok_or(TokenError::NotCompact)?;
        let header = read_header(header)?;
        let claims = serde_json::from_slice(&decode(payload)?).map_err(|_| TokenError::Payload)?;
        Ok(Self {
            algorithm: header.alg,
            kid: header.kid,
            signed: signed.as_bytes(),
            signature: decode(signature)?,
            claims,
        })
    }
}

/// Decodes base64url strictly: no padding, no stray bits, no other characters. One token then
/// has one spelling.
fn decode(part: &str) -> Result<Vec<u8>, TokenError> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::Encoding)
}

fn read_header(part: &str) -> Result<Header, TokenError> {
    if part.len().div_ceil(4) * 3 > HEADER_BYTES_MAX + 3 {
        return Err(TokenError::HeaderTooLong);
    }
    let json = decode(part)?;
    if json.len() > HEADER_BYTES_MAX {
        return Err(TokenError::HeaderTooLong);
    }
    let header: Header = serde_json::from_slice(&json).map_err(|_| unreadable(&json))?;
    if header.crit.is_some() {
        return Err(TokenError::Critical);
    }
    if header.typ.as_deref().is_some_and(|typ| !is_accepted_type(typ)) {
        return Err(TokenError::Type);
    }
    Ok(header)
}

/// Tells an algorithm that nobody may use (`none`, and whatever comes) from plain nonsense.
fn unreadable(json: &[u8]) -> TokenError {
    #[derive(Deserialize)]
    struct Algorithmic<'a> {
        alg: &'a str,
    }
    match serde_json::from_slice::<Algorithmic<'_>>(json) {
        Ok(header) if header.alg.parse::<Algorithm>().is_err() => TokenError::Algorithm,
        _ => TokenError::Header,
    }
}

/// `JWT` (RFC 7519, 5.1) and `at+jwt` (RFC 9068, 2.1), with or without `application/`. Other
/// types are other things that happen to be signed by the same issuer (RFC 8725, 3.11).
fn is_accepted_type(typ: &str) -> bool {
    const PREFIX: &str = "application/";
    let bare = match typ.split_at_checked(PREFIX.len()) {
        Some((prefix, bare)) if prefix.eq_ignore_ascii_case(PREFIX) => bare,
        _ => typ,
    };
    bare.eq_ignore_ascii_case("jwt") || bare.eq_ignore_ascii_case("at+jwt")
}

#[cfg(test)]
mod tests;
