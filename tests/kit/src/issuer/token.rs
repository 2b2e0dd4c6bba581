//! Tokens, sound ones and every kind of unsound one.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use serde_json::{Map, Value, json};

use super::{AUDIENCE, Algorithm, Issuer};
use crate::Result;

/// How a token is signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signature {
    /// With the issuer's newest key of this algorithm.
    Key(Algorithm),
    /// With HMAC-SHA-256 under this secret.
    Hmac(Vec<u8>),
    /// Not at all: the third part is empty.
    Empty,
    /// With the issuer's key, then the first bit of the signature is flipped.
    Broken(Algorithm),
}

/// Builds a token.
pub struct TokenBuilder<'a> {
    issuer: &'a Issuer,
    header: Map<String, Value>,
    claims: Map<String, Value>,
    signature: Signature,
    kid: Option<String>,
}

impl<'a> TokenBuilder<'a> {
    pub(super) fn new(issuer: &'a Issuer) -> Self {
        let claims = json!({
            "iss": issuer.name(),
            "aud": AUDIENCE,
            "sub": "alice",
            "iat": unix_now(),
            "exp": unix_now() + 3600,
        });
        let Value::Object(claims) = claims else { unreachable!("an object was written") };
        let signature = Signature::Key(Algorithm::Es256);
        Self { issuer, header: Map::new(), claims, signature, kid: None }
    }

    /// Sets the subject.
    #[must_use]
    pub fn subject(self, subject: &str) -> Self {
        self.claim("sub", subject)
    }

    /// Sets the scopes: names with spaces between.
    #[must_use]
    pub fn scopes(self, scopes: &str) -> Self {
        self.claim("scope", scopes)
    }

    /// Sets the tenant.
    #[must_use]
    pub fn tenant(self, tenant: &str) -> Self {
        self.claim("tenant_id", tenant)
    }

    /// Sets any claim.
    #[must_use]
    pub fn claim(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.claims.insert(name.to_owned(), value.into());
        self
    }

    /// Leaves a claim out.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.claims.remove(name);
        self
    }

    /// Sets `exp` this many seconds from now; negative is in the past.
    #[must_use]
    pub fn expires_in(self, seconds: i64) -> Self {
        self.claim("exp", unix_now() + seconds)
    }

    /// Sets a field of the header over what the signature says: `alg`, `kid`, `typ`.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.header.insert(name.to_owned(), value.into());
        self
    }

    /// Chooses the issuer's algorithm.
    #[must_use]
    pub fn algorithm(self, algorithm: Algorithm) -> Self {
        self.signature(Signature::Key(algorithm))
    }

    /// Chooses the key by its id, instead of the newest; it must be in the set.
    #[must_use]
    pub fn signed_by(mut self, kid: &str) -> Self {
        self.kid = Some(kid.to_owned());
        self
    }

    /// Chooses how it is signed.
    #[must_use]
    pub fn signature(mut self, signature: Signature) -> Self {
        self.signature = signature;
        self
    }

    /// The token.
    pub fn sign(self) -> Result<String> {
        let key = match &self.signature {
            Signature::Key(algorithm) | Signature::Broken(algorithm) => {
                Some(self.issuer.key(*algorithm, self.kid.as_deref())?)
            }
            Signature::Hmac(_) | Signature::Empty => None,
        };
        let mut header = Map::new();
        header.insert("typ".to_owned(), json!("JWT"));
        let name = match (&key, &self.signature) {
            (Some(key), _) => {
                header.insert("kid".to_owned(), json!(key.kid));
                key.algorithm.name()
            }
            (None, Signature::Hmac(_)) => "HS256",
            (None, _) => "none",
        };
        header.insert("alg".to_owned(), json!(name));
        header.extend(self.header);

        let part = |map: Map<String, Value>| {
            URL_SAFE_NO_PAD.encode(Value::Object(map).to_string().as_bytes())
        };
        let message = format!("{}.{}", part(header), part(self.claims));
        let mut signature = match (&key, &self.signature) {
            (Some(key), _) => key.sign(message.as_bytes())?,
            (None, Signature::Hmac(secret)) => {
                let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
                hmac::sign(&key, message.as_bytes()).as_ref().to_vec()
            }
            (None, _) => Vec::new(),
        };
        if let (Signature::Broken(_), Some(first)) = (&self.signature, signature.first_mut()) {
            *first ^= 0x80;
        }
        Ok(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

/// Now, in seconds since 1970: what `iat` and `exp` are counted in.
#[expect(clippy::disallowed_methods, reason = "tokens carry the time of day; this is no data path")]
pub(super) fn unix_now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}
