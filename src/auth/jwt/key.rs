//! One verification key: its id, and a verifier for every algorithm it can be used with.

use std::sync::Arc;

use jsonwebtoken::{Algorithm, DecodingKey};

use super::proof::KeyDigest;
use super::signature::{KeyRefused, SignatureVerifier};

/// A key as tokens refer to it.
#[derive(Clone, Debug)]
pub(in crate::auth) struct Key {
    /// The `kid` that tokens name it by; keys from PEM and secrets have none.
    pub(in crate::auth) kid: Option<Arc<str>>,
    verifiers: Vec<SignatureVerifier>,
}

/// Why a PEM text is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::auth) enum PemRefused {
    /// It holds a secret that the gateway has no business with.
    #[error("it holds a private key; the gateway needs the public key only")]
    Private,
    /// It holds a certificate, whose dates and issuer nobody would check.
    #[error("it holds a certificate; extract the public key from it")]
    Certificate,
    /// It holds more than one key, and which is meant would be a guess.
    #[error("it holds more than one key; give one")]
    Several,
    /// It is not PEM, or of no known type.
    #[error("it is not a public key of RSA, P-256, P-384 or Ed25519 in PEM")]
    Unknown,
    /// The key in it is refused.
    #[error(transparent)]
    Key(#[from] KeyRefused),
}

impl Key {
    /// Prepares a key for `only`, or for every algorithm that fits it.
    ///
    /// # Errors
    /// Returns why it fits none.
    pub(in crate::auth) fn prepare(
        kid: Option<&str>,
        key: &DecodingKey,
        only: Option<Algorithm>,
    ) -> Result<Self, KeyRefused> {
        let mut verifiers = Vec::new();
        let mut refused = KeyRefused::Family;
        for algorithm in key.family().algorithms() {
            if only.is_some_and(|only| only != *algorithm) {
                continue;
            }
            match SignatureVerifier::new(*algorithm, key) {
                Ok(verifier) => verifiers.push(verifier.named(kid)),
                Err(why) => refused = why,
            }
        }
        if verifiers.is_empty() {
            return Err(refused);
        }
        Ok(Self { kid: kid.map(Arc::from), verifiers })
    }

    /// Prepares the one public key of a PEM text.
    ///
    /// # Errors
    /// Returns why the text is not used.
    pub(in crate::auth) fn from_pem(pem: &[u8]) -> Result<Self, PemRefused> {
        let text = String::from_utf8_lossy(pem);
        if text.contains("PRIVATE KEY-----") {
            return Err(PemRefused::Private);
        }
        if text.contains("-----BEGIN CERTIFICATE") {
            return Err(PemRefused::Certificate);
        }
        if text.matches("-----BEGIN ").count() > 1 {
            return Err(PemRefused::Several);
        }
        let key = DecodingKey::from_rsa_pem(pem)
            .or_else(|_| DecodingKey::from_ec_pem(pem))
            .or_else(|_| DecodingKey::from_ed_pem(pem))
            .map_err(|_| PemRefused::Unknown)?;
        Ok(Self::prepare(None, &key, None)?)
    }

    /// Prepares a shared secret for HMAC.
    ///
    /// # Errors
    /// None that is known; the type is that of the other sources.
    pub(in crate::auth) fn from_secret(secret: &[u8]) -> Result<Self, KeyRefused> {
        Self::prepare(None, &DecodingKey::from_secret(secret), None)
    }

    /// Whether both have the same id and could be meant by the same token.
    pub(in crate::auth) fn is_mistakable_for(&self, other: &Self) -> bool {
        use jsonwebtoken::crypto::JwtVerifier;
        self.kid.is_some()
            && self.kid == other.kid
            && self.verifiers.iter().any(|mine| other.verifier(mine.algorithm()).is_some())
    }

    /// Whether one of its verifiers is this one, in this set or in an earlier one.
    pub(in crate::auth) fn has(&self, digest: &KeyDigest) -> bool {
        self.verifiers.iter().any(|verifier| verifier.digest() == *digest)
    }

    /// The verifier for an algorithm, if the key can be used with it.
    pub(in crate::auth) fn verifier(&self, algorithm: Algorithm) -> Option<&SignatureVerifier> {
        use jsonwebtoken::crypto::JwtVerifier;
        self.verifiers.iter().find(|verifier| verifier.algorithm() == algorithm)
    }
}
