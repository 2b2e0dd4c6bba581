//! JSON Web Key Sets (RFC 7517), read with distrust.
//!
//! A key that cannot be used is skipped and logged at debug, because real sets also carry
//! encryption keys and algorithms of tomorrow; it must not spoil the others. A set that leaves
//! no key at all is refused, so that an issuer's bad day does not replace a good set. What a key
//! says about certificates (`x5c`, `x5u`, `x5t`) is not looked at.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::{Map, Value};

use super::key::Key;
use super::strict_json::{self, Bounds, JsonRefused};
use super::token::is_key_id;

/// Most keys in the set of a file; issuers have two or three.
pub(in crate::auth) const KEYS_MAX: usize = 64;

/// What a document may hold. Certificate chains, which are left alone, count too.
const BOUNDS: Bounds = Bounds { depth: 8, values: 8192 };

/// Members that only the private half of a key has (RFC 7518, 6.2.2 and 6.3.2).
const PRIVATE: [&str; 7] = ["d", "p", "q", "dp", "dq", "qi", "oth"];

/// Bytes of one coordinate on P-256, P-384, and of a key of Ed25519.
const P256_BYTES: usize = 32;
const P384_BYTES: usize = 48;
const ED25519_BYTES: usize = 32;

/// Why a whole set is refused.
#[derive(Debug, thiserror::Error)]
pub(in crate::auth) enum SetRefused {
    /// The document is not a key set.
    #[error("it is not a JSON Web Key Set: {0}")]
    Malformed(#[from] JsonRefused),
    /// The document has no list of keys.
    #[error("it is not a JSON Web Key Set: it has no list `keys`")]
    NoList,
    /// The set has more keys than anybody needs.
    #[error("it has {count} keys; at most {max} are read")]
    TooMany {
        /// How many it has.
        count: usize,
        /// How many it may have.
        max: usize,
    },
    /// Not one key can be used.
    #[error("none of its {0} keys can be used to check signatures")]
    NoUsableKey(usize),
}

/// Reads the keys of a set.
///
/// # Errors
/// Returns why the document is refused as a whole.
pub(in crate::auth) fn read(document: &[u8]) -> Result<Vec<Key>, SetRefused> {
    read_up_to(document, KEYS_MAX)
}

/// Reads the keys of a set of at most so many.
///
/// # Errors
/// Returns why the document is refused as a whole.
pub(in crate::auth) fn read_up_to(document: &[u8], max: usize) -> Result<Vec<Key>, SetRefused> {
    let mut document = Map::from(strict_json::object(document, BOUNDS)?);
    let Some(Value::Array(list)) = document.remove("keys") else {
        return Err(SetRefused::NoList);
    };
    let count = list.len();
    if count > max {
        return Err(SetRefused::TooMany { count, max });
    }
    let mut keys = Vec::with_capacity(count);
    for value in &list {
        match read_key(value) {
            Ok(key) => keys.push(key),
            Err(reason) => {
                let kid = value.get("kid").and_then(Value::as_str).unwrap_or_default();
                tracing::debug!(kid, reason, "a key of the set is skipped");
            }
        }
    }
    let keys = unmistakable(keys);
    if keys.is_empty() {
        return Err(SetRefused::NoUsableKey(count));
    }
    Ok(keys)
}

/// A key with what tells it from others, whatever else is said of it.
struct Read {
    key: Key,
    material: Vec<u8>,
}

/// Leaves out keys of which it is not clear which one a token means: those that share id and
/// algorithm. Ids ought to be unique (RFC 7517, 4.5); where they are not, neither key is used,
/// so that the order of a document decides nothing. One key that is listed twice is one key.
fn unmistakable(read: Vec<Read>) -> Vec<Key> {
    let is_ambiguous = |one: &Read| {
        let others = read.iter().filter(|other| other.key.is_mistakable_for(&one.key));
        others.into_iter().any(|other| other.material != one.material)
    };
    let is_repeated = |(at, one): (usize, &Read)| {
        let mut before = read.iter().take(at);
        before.any(|other| other.material == one.material && other.key.is_mistakable_for(&one.key))
    };
    let kept: Vec<bool> = read
        .iter()
        .enumerate()
        .map(|(at, one)| {
            let ambiguous = is_ambiguous(one);
            if ambiguous {
                let kid = one.key.kid.as_deref().unwrap_or_default();
                tracing::warn!(kid, "two keys of the set have one id; neither is used");
            }
            !ambiguous && !is_repeated((at, one))
        })
        .collect();
    let kept = read.into_iter().zip(kept).filter(|(_, kept)| *kept);
    kept.map(|(read, _)| read.key).collect()
}

fn read_key(value: &Value) -> Result<Read, &'static str> {
    let jwk = value.as_object().ok_or("it is not an object")?;
    let kid = match jwk.get("kid") {
        None => None,
        Some(Value::String(kid)) if is_key_id(kid) => Some(kid.as_str()),
        Some(_) => return Err("its kid is not text, too long or not printable"),
    };
    check_purpose(jwk)?;
    if PRIVATE.iter().any(|name| jwk.contains_key(*name)) {
        return Err("its private half is published with it: it is nobody's any more");
    }
    let (key, of_curve) = public_key(jwk)?;
    let declared = match jwk.get("alg") {
        None => None,
        Some(Value::String(name)) => {
            Some(name.parse::<Algorithm>().map_err(|_| "its alg is not supported")?)
        }
        Some(_) => return Err("its alg is not text"),
    };
    let only = match (of_curve, declared) {
        (Some(curve), Some(declared)) if curve != declared => {
            return Err("its alg is not that of its curve");
        }
        (curve, declared) => declared.or(curve),
    };
    let prepared = Key::prepare(kid, &key, only).map_err(|refused| {
        tracing::debug!(%refused, "a key of the set cannot be used");
        "it cannot be used with its algorithm"
    })?;
    let mut material = Vec::new();
    for name in ["kty", "crv", "n", "e", "x", "y"] {
        let text = jwk.get(name).and_then(Value::as_str).unwrap_or_default();
        material.extend_from_slice(text.as_bytes());
        material.push(b'.');
    }
    Ok(Read { key: prepared, material })
}

/// `use` and `key_ops` (RFC 7517, 4.2 and 4.3): the key is there to check signatures.
fn check_purpose(jwk: &Map<String, Value>) -> Result<(), &'static str> {
    if jwk.get("use").is_some_and(|purpose| purpose != "sig") {
        return Err("its use is not `sig`");
    }
    let Some(operations) = jwk.get("key_ops") else { return Ok(()) };
    let operations = operations.as_array().ok_or("its key_ops are no list")?;
    if !operations.iter().any(|operation| operation == "verify") {
        return Err("its key_ops lack `verify`");
    }
    let is_repeated = |(at, operation)| operations.iter().take(at).any(|other| other == operation);
    if operations.iter().enumerate().any(is_repeated) {
        return Err("its key_ops name an operation twice");
    }
    Ok(())
}

/// The public key, and the one algorithm of its curve; none for RSA, where several share a key.
fn public_key(jwk: &Map<String, Value>) -> Result<(DecodingKey, Option<Algorithm>), &'static str> {
    let text = |name: &str| jwk.get(name).and_then(Value::as_str);
    let bytes = |name: &str| {
        let text = text(name).ok_or("a number of it is missing")?;
        URL_SAFE_NO_PAD.decode(text).map_err(|_| "a number of it is not base64url")
    };
    let sized = |name: &str, length: usize| {
        let bytes: Vec<u8> = bytes(name)?;
        if bytes.len() == length { Ok(bytes) } else { Err("a number of it has another length") }
    };
    let point = |length: usize| {
        // A point with both coordinates is marked by a 4 (SEC 1, 2.3.3).
        Ok::<_, &'static str>([vec![4], sized("x", length)?, sized("y", length)?].concat())
    };
    match (text("kty").ok_or("it has no kty")?, text("crv")) {
        ("RSA", _) => Ok((DecodingKey::from_rsa_raw_components(&bytes("n")?, &bytes("e")?), None)),
        ("EC", Some("P-256")) => {
            Ok((DecodingKey::from_ec_der(&point(P256_BYTES)?), Some(Algorithm::ES256)))
        }
        ("EC", Some("P-384")) => {
            Ok((DecodingKey::from_ec_der(&point(P384_BYTES)?), Some(Algorithm::ES384)))
        }
        ("OKP", Some("Ed25519")) => {
            let key = DecodingKey::from_ed_der(&sized("x", ED25519_BYTES)?);
            Ok((key, Some(Algorithm::EdDSA)))
        }
        ("oct", _) => Err("symmetric keys have no place in a public set"),
        _ => Err("its kty or crv is not supported"),
    }
}

#[cfg(test)]
mod tests;
