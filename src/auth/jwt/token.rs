//! A token's form: found in the request, split, its header read and judged (RFC 7515, RFC 8725).
//!
//! Nothing here is believed yet. What the header says about where keys can be found (`jku`,
//! `x5u`, `x5c`, `jwk`) is never looked at: keys come from the configuration only.

use std::borrow::Cow;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use jsonwebtoken::Algorithm;
use serde_json::Map;

use super::strict_json::{self, Bounds, JsonRefused, Object, Value};
use crate::auth::challenge::TokenError;
use crate::edge::Claims;

/// Longest token read, in bytes.
pub(in crate::auth) const TOKEN_BYTES_MAX: usize = 8 * 1024;
/// Longest header of a token, in bytes of JSON.
const HEADER_BYTES_MAX: usize = 2 * 1024;
/// Longest key id of a token or a key, in bytes.
pub(in crate::auth) const KID_BYTES_MAX: usize = 256;
/// Parts of an encrypted token (RFC 7516).
const JWE_PARTS: usize = 5;
/// What a header may hold; certificate chains that nobody reads are the longest lists in it.
const HEADER_BOUNDS: Bounds = Bounds { depth: 8, values: 128 };
/// What claims may hold: some issuers list hundreds of groups.
const CLAIMS_BOUNDS: Bounds = Bounds { depth: 16, values: 1024 };

/// The bearer token of a request; none where there is no `Authorization: Bearer` with something
/// after it. The scheme's case does not matter (RFC 9110, 11.1).
///
/// # Errors
/// More than one `Authorization` header, or a token that is too long or not text.
pub(in crate::auth) fn bearer(headers: &HeaderMap) -> Result<Option<&str>, TokenError> {
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

/// A token in compact form, its parts decoded and none of them read yet.
pub(in crate::auth) struct Decoded<'t> {
    /// What the signature is over: the first two parts with their dot.
    signed: &'t str,
    header: Vec<u8>,
    claims: Vec<u8>,
    signature: Vec<u8>,
}

/// Leaves all of it out: it is a credential.
impl fmt::Debug for Decoded<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Decoded(..)")
    }
}

impl<'t> Decoded<'t> {
    /// Decodes a token.
    ///
    /// # Errors
    /// Returns what is wrong with its form.
    pub(in crate::auth) fn of(text: &'t str) -> Result<Self, TokenError> {
        let [header, claims, signature] = split(text)?;
        let signed = text.get(..header.len() + 1 + claims.len()).ok_or(TokenError::NotCompact)?;
        let header = Header::decode(header)?;
        Ok(Self { signed, header, claims: decode(claims)?, signature: decode(signature)? })
    }
}

/// A token whose parts have been read, unverified.
#[derive(Debug)]
pub(in crate::auth) struct Token<'a> {
    pub(in crate::auth) algorithm: Algorithm,
    pub(in crate::auth) kid: Option<Cow<'a, str>>,
    /// Whether it says that it is an access token of RFC 9068 (`typ: at+jwt`).
    pub(in crate::auth) follows_rfc9068: bool,
    /// The claims as the token states them. Believe them only after the signature.
    pub(in crate::auth) claims: Object<'a>,
    decoded: &'a Decoded<'a>,
}

impl<'a> Token<'a> {
    /// Reads a token.
    ///
    /// # Errors
    /// Returns what its header or its claims have that rules it out.
    pub(in crate::auth) fn read(decoded: &'a Decoded<'a>) -> Result<Self, TokenError> {
        let Header { algorithm, kid, follows_rfc9068 } = Header::read(&decoded.header)?;
        let claims = read_claims(&decoded.claims)?;
        Ok(Self { algorithm, kid, follows_rfc9068, claims, decoded })
    }

    /// What the signature is over.
    pub(in crate::auth) const fn signed(&self) -> &'a [u8] {
        self.decoded.signed.as_bytes()
    }

    /// The signature.
    pub(in crate::auth) const fn signature(&self) -> &'a Vec<u8> {
        &self.decoded.signature
    }

    /// The claims as they are kept once they are believed.
    pub(in crate::auth) fn kept(&self) -> Claims {
        Claims::written(&self.decoded.claims, self.claims.count())
    }
}

/// Header and claims of a token as far as they can be read at all, to be shown in an
/// explanation. Nobody may rest a decision on them.
pub(in crate::auth) fn glance(text: &str) -> [Option<Map<String, serde_json::Value>>; 2] {
    let Ok([header, claims, _]) = split(text) else { return [None, None] };
    [(header, HEADER_BOUNDS), (claims, CLAIMS_BOUNDS)].map(|(part, bounds)| {
        let json = decode(part).ok()?;
        strict_json::object(&json, bounds).ok().map(Map::from)
    })
}

/// The three parts, none of them empty.
fn split(text: &str) -> Result<[&str; 3], TokenError> {
    if text.len() > TOKEN_BYTES_MAX {
        return Err(TokenError::TooLong);
    }
    // RFC 7519 knows tokens in compact form only.
    if text.starts_with('{') {
        return Err(TokenError::JsonForm);
    }
    let mut parts = text.split('.');
    let (Some(header), Some(payload), Some(signature), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        return Err(match text.split('.').count() {
            _ if !text.bytes().all(is_part) => TokenError::Encoding,
            JWE_PARTS => TokenError::Encrypted,
            _ => TokenError::NotCompact,
        });
    };
    if header.is_empty() || payload.is_empty() {
        return Err(TokenError::NotCompact);
    }
    if signature.is_empty() {
        return Err(TokenError::Unsigned);
    }
    Ok([header, payload, signature])
}

/// Decodes base64url strictly: no padding, no stray bits, no other characters. One token then
/// has one spelling.
fn decode(part: &str) -> Result<Vec<u8>, TokenError> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::Encoding)
}

fn read_claims(json: &[u8]) -> Result<Object<'_>, TokenError> {
    strict_json::object(json, CLAIMS_BOUNDS).map_err(|refused| blame(&refused, TokenError::Payload))
}

/// Why a part is refused; `part` where it is no JSON object to begin with.
const fn blame(refused: &JsonRefused, part: TokenError) -> TokenError {
    match refused {
        JsonRefused::Malformed(_) | JsonRefused::NotAnObject => part,
        JsonRefused::Repetition => TokenError::Repetition,
        JsonRefused::TooDeep | JsonRefused::TooMany => TokenError::Nesting,
    }
}

/// What counts in a header. Everything else in it is left unread.
struct Header<'a> {
    algorithm: Algorithm,
    kid: Option<Cow<'a, str>>,
    follows_rfc9068: bool,
}

impl<'a> Header<'a> {
    fn decode(part: &str) -> Result<Vec<u8>, TokenError> {
        if part.len().div_ceil(4) * 3 > HEADER_BYTES_MAX + 3 {
            return Err(TokenError::HeaderTooLong);
        }
        let json = decode(part)?;
        if json.len() > HEADER_BYTES_MAX {
            return Err(TokenError::HeaderTooLong);
        }
        Ok(json)
    }

    fn read(json: &'a [u8]) -> Result<Self, TokenError> {
        let mut members = strict_json::object(json, HEADER_BOUNDS)
            .map_err(|refused| blame(&refused, TokenError::Header))?;
        let algorithm = members.get("alg").and_then(Value::as_str);
        let algorithm = algorithm.ok_or(TokenError::Header)?;
        // `none` and whatever comes have no place in the library's list.
        let algorithm = algorithm.parse().map_err(|_| TokenError::Algorithm)?;
        check_extensions(&members)?;
        let follows_rfc9068 = read_type(members.get("typ"))?;
        let kid = match members.remove("kid") {
            None => None,
            Some(Value::String(kid)) if is_key_id(&kid) => Some(kid),
            Some(Value::String(_)) => return Err(TokenError::KeyName),
            Some(_) => return Err(TokenError::Header),
        };
        Ok(Self { algorithm, kid, follows_rfc9068 })
    }
}

/// Refuses what would change how the payload is to be read, or asks us to understand something
/// that we do not (RFC 7515, 4.1.11; RFC 7797; RFC 7516).
fn check_extensions(members: &Object<'_>) -> Result<(), TokenError> {
    if members.contains_key("crit") {
        return Err(TokenError::Critical);
    }
    if members.get("b64").is_some_and(|encoded| !matches!(encoded, Value::Bool(true))) {
        return Err(TokenError::Unencoded);
    }
    if members.contains_key("zip") {
        return Err(TokenError::Compressed);
    }
    if members.contains_key("enc") {
        return Err(TokenError::Encrypted);
    }
    match members.get("cty") {
        Some(Value::String(cty)) if is_token_type(cty).is_some() => Err(TokenError::Nested),
        None | Some(Value::String(_)) => Ok(()),
        Some(_) => Err(TokenError::Header),
    }
}

/// Whether a type says that the token is an access token of RFC 9068. Other types than those of
/// tokens are other things that happen to be signed by the same issuer (RFC 8725, 3.11).
fn read_type(typ: Option<&Value<'_>>) -> Result<bool, TokenError> {
    match typ {
        None => Ok(false),
        Some(Value::String(typ)) => is_token_type(typ).ok_or(TokenError::Type),
        Some(_) => Err(TokenError::Header),
    }
}

/// `JWT` (RFC 7519, 5.1) and `at+jwt` (RFC 9068, 2.1), with or without `application/`: whether
/// it is the latter; none for other types.
fn is_token_type(typ: &str) -> Option<bool> {
    const PREFIX: &str = "application/";
    let bare = match typ.split_at_checked(PREFIX.len()) {
        Some((prefix, bare)) if prefix.eq_ignore_ascii_case(PREFIX) => bare,
        _ => typ,
    };
    match bare {
        _ if bare.eq_ignore_ascii_case("jwt") => Some(false),
        _ if bare.eq_ignore_ascii_case("at+jwt") => Some(true),
        _ => None,
    }
}

/// Whether a text will do as a key's id. It is only ever compared; the bound is for those who
/// log and count.
pub(in crate::auth) fn is_key_id(kid: &str) -> bool {
    kid.len() <= KID_BYTES_MAX && !kid.chars().any(char::is_control)
}

#[cfg(test)]
mod tests;
