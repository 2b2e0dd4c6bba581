//! The body of a signed request: `Content-Digest` (RFC 9530), checked piece by piece.
//!
//! Only the header is signed, so the body counts for as much as the digest that the signature
//! covers. Without a digest the body must be empty, or anybody on the way could add one.

use http::{HeaderMap, HeaderValue};
use ring::digest::{Algorithm, Context, SHA256, SHA512};

use super::parse::{FIELD_BYTES_MAX, read_values};
use super::{CONTENT_DIGEST, SignatureError};
use crate::fault::Reject;

/// What a body must be, and what it is so far.
#[derive(Clone, Debug)]
pub struct BodyDigest {
    /// One for each algorithm that is known; all must agree.
    hashes: Vec<Hash>,
    bytes: u64,
}

#[derive(Clone)]
struct Hash {
    algorithm: &'static Algorithm,
    expected: Box<[u8]>,
    context: Context,
}

impl std::fmt::Debug for Hash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Hash({:?})", self.algorithm)
    }
}

impl BodyDigest {
    /// What `Content-Digest` says of the body; without one it must be empty. Algorithms that are
    /// not known here or not safe are passed over beside one that is.
    ///
    /// # Errors
    /// When there is one without SHA-256 and SHA-512, or that cannot be read.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, SignatureError> {
        let mut lines = headers.get_all(CONTENT_DIGEST).iter();
        let mut hashes = Vec::new();
        if let Some(first) = lines.next() {
            let text = join(first, lines).ok_or(SignatureError::DigestUnreadable)?;
            let values = read_values(&text).map_err(|_| SignatureError::DigestUnreadable)?;
            for value in &values {
                let (name, bytes) = value.parts();
                let algorithm = match name {
                    "sha-256" => &SHA256,
                    "sha-512" => &SHA512,
                    _ => continue,
                };
                let expected = bytes.filter(|bytes| bytes.len() == algorithm.output_len());
                let expected = expected.ok_or(SignatureError::DigestUnreadable)?.into();
                hashes.push(Hash { algorithm, expected, context: Context::new(algorithm) });
            }
            if hashes.is_empty() {
                return Err(SignatureError::DigestUnreadable);
            }
        }
        Ok(Self { hashes, bytes: 0 })
    }

    /// The same for a request that was found to be signed.
    ///
    /// # Errors
    /// 401, which whoever found it signed has given already.
    pub fn expected(headers: &HeaderMap) -> Result<Self, Reject> {
        Self::of(headers).map_err(Reject::from)
    }

    /// Whether the request says anything about its body.
    pub(super) const fn is_declared(&self) -> bool {
        !self.hashes.is_empty()
    }

    /// Takes the next piece of the body.
    ///
    /// # Errors
    /// 401 where there should be none; that is known before the end.
    pub fn update(&mut self, piece: &[u8]) -> Result<(), Reject> {
        self.bytes += piece.len() as u64;
        for hash in &mut self.hashes {
            hash.context.update(piece);
        }
        if self.bytes > 0 && !self.is_declared() {
            return Err(SignatureError::Body.into());
        }
        Ok(())
    }

    /// Judges the body, once all of it was taken.
    ///
    /// # Errors
    /// 401 when it is not the one that was signed.
    pub fn judge(&self) -> Result<(), Reject> {
        let fits = |hash: &Hash| hash.context.clone().finish().as_ref() == &*hash.expected;
        let is_right =
            if self.is_declared() { self.hashes.iter().all(fits) } else { self.bytes == 0 };
        if is_right { Ok(()) } else { Err(SignatureError::Body.into()) }
    }

    /// Forgets all pieces: the body is sent once more from its beginning.
    pub fn restart(&mut self) {
        self.bytes = 0;
        for hash in &mut self.hashes {
            hash.context = Context::new(hash.algorithm);
        }
    }
}

/// The lines of a field as one text; none where they are not ASCII or longer than is read.
pub(super) fn join<'a>(
    first: &HeaderValue,
    rest: impl Iterator<Item = &'a HeaderValue>,
) -> Option<String> {
    let mut text = first.to_str().ok()?.to_owned();
    for line in rest {
        text.push_str(", ");
        text.push_str(line.to_str().ok()?);
        if text.len() > FIELD_BYTES_MAX {
            return None;
        }
    }
    Some(text)
}
