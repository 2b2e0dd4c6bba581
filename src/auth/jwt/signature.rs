//! Signatures on tokens: `jsonwebtoken`'s verifier interface, on AWS-LC and ring.
//!
//! `jsonwebtoken` reads headers, keys and key sets and leaves the arithmetic to a backend. Ours
//! is ring, which TLS uses here as well, and for RSA AWS-LC, which keeps a key prepared
//! (ADR 0022). The backend is deliberately not installed as the crate's process-wide provider:
//! its factory is called for every token and would copy the key each time, and its `decode`
//! reads the wall clock, which policies may not. A [`SignatureVerifier`] is made once per key
//! and algorithm and lives in the key ring.

use std::sync::Arc;

use aws_lc_rs::signature::{
    ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384,
    RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384,
    RSA_PSS_2048_8192_SHA512, RsaParameters, RsaPublicKeyComponents,
};
use jsonwebtoken::crypto::JwtVerifier;
use jsonwebtoken::signature::{Error, Verifier};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind};
use ring::hmac;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, ED25519_PUBLIC_KEY_LEN,
    UnparsedPublicKey, VerificationAlgorithm,
};

use super::proof::KeyDigest;

/// Smallest RSA modulus accepted, in bits (RFC 7518, 3.3).
const RSA_BITS_MIN: usize = 2048;
/// Largest RSA modulus that is checked; larger ones would be a way to burn our time.
const RSA_BITS_MAX: usize = 8192;
/// An uncompressed point of P-256: a tag byte and two coordinates.
const P256_POINT_BYTES: usize = 65;
/// An uncompressed point of P-384.
const P384_POINT_BYTES: usize = 97;

/// Why a key cannot be used with an algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::auth) enum KeyRefused {
    /// The key is for another family of algorithms, for example an HMAC with a public key.
    #[error("the key is of another type than the algorithm")]
    Family,
    /// The RSA modulus is too short or too long.
    #[error("an RSA key must have 2048 to 8192 bits, this one has {0}")]
    RsaBits(usize),
    /// The RSA key's numbers cannot be those of an RSA key.
    #[error("the modulus and exponent of an RSA key are odd, and the exponent is 3 to 2^33 - 1")]
    RsaNumbers,
    /// The key's length is not that of the algorithm's curve.
    #[error("the key is not on the curve of the algorithm")]
    Curve,
    /// The key cannot be read.
    #[error("the key cannot be read")]
    Malformed,
}

/// One key prepared for one algorithm.
#[derive(Clone, Debug)]
pub(in crate::auth) struct SignatureVerifier {
    algorithm: Algorithm,
    key: Prepared,
    digest: KeyDigest,
}

#[derive(Clone)]
enum Prepared {
    Rsa(ParsedPublicKey),
    Curve(UnparsedPublicKey<Arc<[u8]>>),
    Secret(hmac::Key),
}

/// Says what kind of key it is and nothing of its bytes.
impl std::fmt::Debug for Prepared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Rsa(_) => "Rsa(..)",
            Self::Curve(_) => "Curve(..)",
            Self::Secret(_) => "Secret(..)",
        })
    }
}

impl SignatureVerifier {
    /// Prepares a key for an algorithm.
    ///
    /// # Errors
    /// Returns why the two do not fit: this is what makes a public key useless as an HMAC
    /// secret, whatever a token's header says (R092).
    pub(in crate::auth) fn new(
        algorithm: Algorithm,
        key: &DecodingKey,
    ) -> Result<Self, KeyRefused> {
        if key.family() != algorithm.family() {
            return Err(KeyRefused::Family);
        }
        let digest = KeyDigest::of(algorithm, key);
        let key = match algorithm {
            Algorithm::RS256 => rsa(&RSA_PKCS1_2048_8192_SHA256, key)?,
            Algorithm::RS384 => rsa(&RSA_PKCS1_2048_8192_SHA384, key)?,
            Algorithm::RS512 => rsa(&RSA_PKCS1_2048_8192_SHA512, key)?,
            Algorithm::PS256 => rsa(&RSA_PSS_2048_8192_SHA256, key)?,
            Algorithm::PS384 => rsa(&RSA_PSS_2048_8192_SHA384, key)?,
            Algorithm::PS512 => rsa(&RSA_PSS_2048_8192_SHA512, key)?,
            Algorithm::ES256 => curve(&ECDSA_P256_SHA256_FIXED, P256_POINT_BYTES, key)?,
            Algorithm::ES384 => curve(&ECDSA_P384_SHA384_FIXED, P384_POINT_BYTES, key)?,
            Algorithm::EdDSA => curve(&ED25519, ED25519_PUBLIC_KEY_LEN, key)?,
            Algorithm::HS256 => secret(hmac::HMAC_SHA256, key)?,
            Algorithm::HS384 => secret(hmac::HMAC_SHA384, key)?,
            Algorithm::HS512 => secret(hmac::HMAC_SHA512, key)?,
            // The crate may learn algorithms that we have not looked at.
            _ => return Err(KeyRefused::Family),
        };
        Ok(Self { algorithm, key, digest })
    }

    /// The same, as the key that tokens name so.
    pub(in crate::auth) fn named(mut self, kid: Option<&str>) -> Self {
        if let Some(kid) = kid {
            self.digest = self.digest.named(kid);
        }
        self
    }

    /// Stands for key, name and algorithm.
    pub(in crate::auth) const fn digest(&self) -> KeyDigest {
        self.digest
    }
}

impl Verifier<Vec<u8>> for SignatureVerifier {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), Error> {
        let is_good = match &self.key {
            Prepared::Rsa(key) => key.verify_sig(message, signature).is_ok(),
            Prepared::Curve(key) => key.verify(message, signature).is_ok(),
            // Compares in constant time.
            Prepared::Secret(key) => hmac::verify(key, message, signature).is_ok(),
        };
        if is_good { Ok(()) } else { Err(Error::new()) }
    }
}

impl JwtVerifier for SignatureVerifier {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

fn rsa(parameters: &'static RsaParameters, key: &DecodingKey) -> Result<Prepared, KeyRefused> {
    let (n, e) = match key.kind() {
        DecodingKeyKind::RsaModulusExponent { n, e } => (n.as_slice(), e.as_slice()),
        DecodingKeyKind::SecretOrDer(der) => pkcs1(der).ok_or(KeyRefused::Malformed)?,
    };
    // Numbers are wanted without leading zeros; some issuers publish the sign byte of DER.
    let (n, e) = (without_zeros(n), without_zeros(e));
    let bits = n.first().map_or(0, |top| n.len() * 8 - top.leading_zeros() as usize);
    if !(RSA_BITS_MIN..=RSA_BITS_MAX).contains(&bits) {
        return Err(KeyRefused::RsaBits(bits));
    }
    // An exponent of 1 makes every signature good that says what it signs.
    if !is_odd(n) || !is_odd(e) || !is_exponent(e) {
        return Err(KeyRefused::RsaNumbers);
    }
    let key = RsaPublicKeyComponents { n, e }.to_parsed_public_key(parameters);
    key.map(Prepared::Rsa).map_err(|_| KeyRefused::RsaNumbers)
}

fn is_odd(number: &[u8]) -> bool {
    number.last().is_some_and(|last| last & 1 == 1)
}

/// Whether a number without leading zeros is in the bounds of a public exponent.
fn is_exponent(number: &[u8]) -> bool {
    const BYTES_MAX: usize = 5;
    let value = number.iter().fold(0_u64, |sum, byte| (sum << 8) | u64::from(*byte));
    number.len() <= BYTES_MAX && (3..1 << 33).contains(&value)
}

fn curve(
    algorithm: &'static dyn VerificationAlgorithm,
    bytes: usize,
    key: &DecodingKey,
) -> Result<Prepared, KeyRefused> {
    let point = key.try_get_as_bytes().map_err(|_| KeyRefused::Malformed)?;
    if point.len() != bytes {
        return Err(KeyRefused::Curve);
    }
    Ok(Prepared::Curve(UnparsedPublicKey::new(algorithm, point.into())))
}

fn secret(algorithm: hmac::Algorithm, key: &DecodingKey) -> Result<Prepared, KeyRefused> {
    let bytes = key.try_get_as_bytes().map_err(|_| KeyRefused::Malformed)?;
    Ok(Prepared::Secret(hmac::Key::new(algorithm, bytes)))
}

fn without_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.get(zeros..).unwrap_or_default()
}

/// Modulus and exponent of a PKCS#1 `RSAPublicKey` (RFC 8017, A.1.1). A private key has more
/// members and is refused here.
fn pkcs1(der: &[u8]) -> Option<(&[u8], &[u8])> {
    const SEQUENCE: u8 = 0x30;
    const INTEGER: u8 = 0x02;
    let (members, after) = element(SEQUENCE, der)?;
    let (n, members) = element(INTEGER, members)?;
    let (e, members) = element(INTEGER, members)?;
    (after.is_empty() && members.is_empty()).then_some((n, e))
}

/// The content of the DER element that `input` starts with, and what follows it.
fn element(tag: u8, input: &[u8]) -> Option<(&[u8], &[u8])> {
    const LENGTH_BYTES_MAX: usize = 4;
    let (first, rest) = input.split_first()?;
    let (length, rest) = rest.split_first()?;
    if *first != tag {
        return None;
    }
    if *length < 0x80 {
        return rest.split_at_checked(usize::from(*length));
    }
    let count = usize::from(*length & 0x7f);
    if !(1..=LENGTH_BYTES_MAX).contains(&count) {
        return None;
    }
    let (length, rest) = rest.split_at_checked(count)?;
    let length = length.iter().fold(0_usize, |sum, byte| (sum << 8) | usize::from(*byte));
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests;
