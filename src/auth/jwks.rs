//! JSON Web Key Sets (RFC 7517), read with distrust.
//!
//! A key that cannot be used is skipped and logged at debug, because real sets also carry
//! encryption keys and algorithms of tomorrow; it must not spoil the others. A set that leaves
//! no key at all is refused, so that an issuer's bad day does not replace a good set.

use jsonwebtoken::jwk::{
    AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse,
};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::Value;

use super::key::Key;

/// Most keys in one set; issuers have two or three.
pub(super) const KEYS_MAX: usize = 64;

/// Why a whole set is refused.
#[derive(Debug, thiserror::Error)]
pub(super) enum SetRefused {
    /// The document is not a key set.
    #[error("it is not a JSON Web Key Set: {0}")]
    Malformed(#[from] serde_json::Error),
    /// The set has more keys than anybody needs.
    #[error("it has {0} keys; at most 64 are read")]
    TooMany(usize),
    /// Not one key can be used.
    #[error("none of its {0} keys can be used to check signatures")]
    NoUsableKey(usize),
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<Value>,
}

/// Reads the keys of a set.
///
/// # Errors
/// Returns why the document is refused as a whole.
pub(super) fn read(document: &[u8]) -> Result<Vec<Key>, SetRefused> {
    let document: Document = serde_json::from_slice(document)?;
    let count = document.keys.len();
    if count > KEYS_MAX {
        return Err(SetRefused::TooMany(count));
    }
    let mut keys = Vec::with_capacity(count);
    for value in document.keys {
        let kid = value.get("kid").and_then(Value::as_str).unwrap_or_default().to_owned();
        match read_key(value) {
            Ok(key) => keys.push(key),
            Err(reason) => tracing::debug!(kid, reason, "a key of the set is skipped"),
        }
    }
    if keys.is_empty() {
        return Err(SetRefused::NoUsableKey(count));
    }
    Ok(keys)
}

fn read_key(value: Value) -> Result<Key, String> {
    let jwk: Jwk = serde_json::from_value(value).map_err(|error| error.to_string())?;
    if jwk.common.public_key_use.as_ref().is_some_and(|r#use| *r#use != PublicKeyUse::Signature) {
        return Err("its use is not `sig`".to_owned());
    }
    let operations = jwk.common.key_operations.as_ref();
    if operations.is_some_and(|operations| !operations.contains(&KeyOperations::Verify)) {
        return Err("its key_ops lack `verify`".to_owned());
    }
    let of_curve = algorithm_of_curve(&jwk)?;
    let declared = jwk.common.key_algorithm.map(declared_algorithm).transpose()?;
    let only = match (of_curve, declared) {
        (Some(curve), Some(declared)) if curve != declared => {
            return Err("its alg is not that of its curve".to_owned());
        }
        (curve, declared) => declared.or(curve),
    };
    let key = DecodingKey::from_jwk(&jwk).map_err(|error| error.to_string())?;
    Key::prepare(jwk.common.key_id.as_deref(), &key, only).map_err(|refused| refused.to_string())
}

fn declared_algorithm(algorithm: KeyAlgorithm) -> Result<Algorithm, String> {
    Algorithm::try_from(algorithm).map_err(|_| "its alg is not supported".to_owned())
}

/// The one algorithm of an elliptic curve; none for RSA, where several share a key.
fn algorithm_of_curve(jwk: &Jwk) -> Result<Option<Algorithm>, String> {
    let curve = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => return Ok(None),
        AlgorithmParameters::EllipticCurve(key) => &key.curve,
        AlgorithmParameters::OctetKeyPair(key) => &key.curve,
        AlgorithmParameters::OctetKey(_) => {
            return Err("symmetric keys have no place in a public set".to_owned());
        }
        _ => return Err("its kty or crv is not supported".to_owned()),
    };
    let is_pair = matches!(jwk.algorithm, AlgorithmParameters::OctetKeyPair(_));
    match (curve, is_pair) {
        (EllipticCurve::P256, false) => Ok(Some(Algorithm::ES256)),
        (EllipticCurve::P384, false) => Ok(Some(Algorithm::ES384)),
        (EllipticCurve::Ed25519, true) => Ok(Some(Algorithm::EdDSA)),
        _ => Err("its crv is not supported".to_owned()),
    }
}

#[cfg(test)]
mod tests;
