//! A party that signs its requests (RFC 9421), as a partner's program would: text put together
//! by hand, knowing nothing of how the gateway reads it.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};
use ring::{digest, hmac};

use crate::{Context, Error, Request, Result};

/// A key with its id.
pub struct RequestSigner {
    id: String,
    key: Key,
}

enum Key {
    Shared(String),
    Ed25519(Ed25519KeyPair),
    P256(EcdsaKeyPair),
}

impl RequestSigner {
    /// `hmac-sha256` with a secret.
    #[must_use]
    pub fn hmac(id: &str, secret: &str) -> Self {
        Self { id: id.to_owned(), key: Key::Shared(secret.to_owned()) }
    }

    /// `ed25519` with a new key.
    pub fn ed25519(id: &str) -> Result<Self> {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(unspecified)?;
        let pair = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).context("Ed25519")?;
        Ok(Self { id: id.to_owned(), key: Key::Ed25519(pair) })
    }

    /// `ecdsa-p256-sha256` with a new key.
    pub fn p256(id: &str) -> Result<Self> {
        let (kind, random) = (&ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(kind, &random).map_err(unspecified)?;
        let pair = EcdsaKeyPair::from_pkcs8(kind, pkcs8.as_ref(), &random).context("P-256")?;
        Ok(Self { id: id.to_owned(), key: Key::P256(pair) })
    }

    /// Its entry in `signers`, for a flow mapping: `keyId: …, algorithm: …, publicKeyPem: …`.
    #[must_use]
    pub fn yaml(&self) -> String {
        let id = &self.id;
        match &self.key {
            Key::Shared(secret) => {
                format!("keyId: {id}, algorithm: hmac-sha256, secret: {secret:?}")
            }
            Key::Ed25519(pair) => {
                let pem = pem(&ED25519_PREFIX, pair.public_key().as_ref());
                format!("keyId: {id}, algorithm: ed25519, publicKeyPem: {pem:?}")
            }
            Key::P256(pair) => {
                let pem = pem(&P256_PREFIX, pair.public_key().as_ref());
                format!("keyId: {id}, algorithm: ecdsa-p256-sha256, publicKeyPem: {pem:?}")
            }
        }
    }

    /// A request to be signed; `target` is path and query. Covers method, authority, path and
    /// query, now, with a new nonce.
    #[must_use]
    pub fn request(&self, method: &str, authority: &str, target: &str) -> ToSign<'_> {
        ToSign {
            signer: self,
            method: method.to_owned(),
            authority: authority.to_owned(),
            scheme: "http".to_owned(),
            target: target.to_owned(),
            components: ["@method", "@authority", "@path", "@query"].map(str::to_owned).into(),
            headers: Vec::new(),
            body: None,
            created: unix_now(),
            parameters: String::new(),
            nonce: nonce(),
        }
    }

    fn sign(&self, text: &[u8]) -> Result<Vec<u8>> {
        Ok(match &self.key {
            Key::Shared(secret) => {
                let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
                hmac::sign(&key, text).as_ref().to_vec()
            }
            Key::Ed25519(pair) => pair.sign(text).as_ref().to_vec(),
            Key::P256(pair) => {
                pair.sign(&SystemRandom::new(), text).map_err(unspecified)?.as_ref().to_vec()
            }
        })
    }
}

/// A request before it is signed.
#[derive(Clone)]
pub struct ToSign<'a> {
    signer: &'a RequestSigner,
    method: String,
    authority: String,
    scheme: String,
    target: String,
    components: Vec<String>,
    headers: Vec<(String, String)>,
    body: Option<Vec<u8>>,
    created: i64,
    parameters: String,
    nonce: String,
}

impl ToSign<'_> {
    /// Gives it a body, whose SHA-256 is covered.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        let digest = digest::digest(&digest::SHA256, &body);
        let value = format!("sha-256=:{}:", STANDARD.encode(digest));
        self.body = Some(body);
        self.covered("content-digest", &value)
    }

    /// Adds a header field that is covered.
    #[must_use]
    pub fn covered(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self.component(name)
    }

    /// Covers a component more.
    #[must_use]
    pub fn component(mut self, name: &str) -> Self {
        self.components.push(name.to_owned());
        self
    }

    /// Covers a component less.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.components.retain(|known| known != name);
        self
    }

    /// The scheme that the client used; `http` without it.
    #[must_use]
    pub fn scheme(mut self, scheme: &str) -> Self {
        scheme.clone_into(&mut self.scheme);
        self
    }

    /// Signs it so many seconds ago, or in the future where they are negative.
    #[must_use]
    pub fn ago(mut self, seconds: i64) -> Self {
        self.created -= seconds;
        self
    }

    /// Sets the nonce.
    #[must_use]
    pub fn nonce(mut self, nonce: &str) -> Self {
        nonce.clone_into(&mut self.nonce);
        self
    }

    /// Adds parameters: `;tag="x"`.
    #[must_use]
    pub fn parameters(mut self, text: &str) -> Self {
        self.parameters.push_str(text);
        self
    }

    /// The header fields that the signed request carries, `Host` not among them.
    pub fn fields(&self) -> Result<Vec<(String, String)>> {
        let names: Vec<String> = self.components.iter().map(|name| format!("\"{name}\"")).collect();
        let list = format!(
            "({});created={};nonce=\"{}\";keyid=\"{}\"{}",
            names.join(" "),
            self.created,
            self.nonce,
            self.signer.id,
            self.parameters
        );
        let mut lines = Vec::new();
        for name in &self.components {
            lines.push(format!("\"{name}\": {}", self.value(name)));
        }
        lines.push(format!("\"@signature-params\": {list}"));
        let signature = STANDARD.encode(self.signer.sign(lines.join("\n").as_bytes())?);
        let mut fields = self.headers.clone();
        fields.push(("signature-input".to_owned(), format!("sig1={list}")));
        fields.push(("signature".to_owned(), format!("sig1=:{signature}:")));
        Ok(fields)
    }

    /// The signed request, over HTTP/1.1.
    pub fn sign(&self) -> Result<Request> {
        let request = self.head()?;
        Ok(match &self.body {
            Some(body) => request.body(body.clone()),
            None => request,
        })
    }

    /// The signed request without its body, which is sent by other means.
    pub fn head(&self) -> Result<Request> {
        let mut request = Request::new(&self.method, &self.target).host(&self.authority);
        for (name, value) in self.fields()? {
            request = request.header(&name, &value);
        }
        Ok(request)
    }

    /// The signed request over HTTP/2; its body goes apart.
    pub fn http2(&self) -> Result<http::Request<()>> {
        let uri = format!("{}://{}{}", self.scheme, self.authority, self.target);
        let mut request = http::Request::builder().method(self.method.as_str()).uri(uri);
        for (name, value) in self.fields()? {
            request = request.header(name, value);
        }
        request.body(()).context("request")
    }

    fn value(&self, component: &str) -> String {
        let (path, query) = match self.target.split_once('?') {
            Some((path, query)) => (path, format!("?{query}")),
            None => (self.target.as_str(), "?".to_owned()),
        };
        match component {
            "@method" => self.method.clone(),
            "@authority" => self.authority.clone(),
            "@scheme" => self.scheme.clone(),
            "@target-uri" => format!("{}://{}{}", self.scheme, self.authority, self.target),
            "@request-target" => self.target.clone(),
            "@path" => path.to_owned(),
            "@query" => query,
            name => {
                let values = self.headers.iter().filter(|(known, _)| known == name);
                values.map(|(_, value)| value.as_str()).collect::<Vec<_>>().join(", ")
            }
        }
    }
}

fn unspecified(_: ring::error::Unspecified) -> Error {
    Error::new("no key could be made")
}

#[expect(clippy::disallowed_methods, reason = "signatures carry the time of day")]
fn unix_now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_secs()).unwrap_or(i64::MAX)
}

/// 128 random bits.
fn nonce() -> String {
    let mut bytes = [0; 16];
    // Without random numbers the keys above could not be had either.
    let _ = ring::rand::SecureRandom::fill(&SystemRandom::new(), &mut bytes);
    STANDARD.encode(bytes)
}

fn pem(prefix: &[u8], point: &[u8]) -> String {
    let body = STANDARD.encode([prefix, point].concat());
    format!("-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n")
}

/// What stands before an Ed25519 key in `SubjectPublicKeyInfo` (RFC 8410).
const ED25519_PREFIX: [u8; 12] =
    [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// The same for a point of P-256 (RFC 5480).
const P256_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
