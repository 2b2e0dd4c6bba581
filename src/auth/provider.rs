//! One identity provider, compiled: what its tokens must look like and where its keys are.

use std::sync::Arc;

use jsonwebtoken::Algorithm;
use jsonwebtoken::AlgorithmFamily;
use reqwest::Url;
use ring::digest::{Context, SHA256};

use super::api_key::{self, secret_value};
use super::certificate;
use super::jwks;
use super::key::Key;
use super::keyring::{KeyRing, KeySet, SetId};
use crate::model::{
    self, ClaimNames, IdentityProvider, JwksSettings, Problem, Problems, Resolved, Secret,
};

/// Shortest secret for HMAC, in bytes: that of its digest (RFC 7518, 3.2).
const SECRET_BYTES_MIN: usize = 32;

/// Keys of which exactly one says where a provider's keys are.
const SOURCES: &str = "`jwksUrl`, `jwksFile`, `publicKeyPem`, `publicKeyFile` or `secret`";

/// Stands for everything that decides what a token of a provider proves: its settings, its
/// static keys, the identity headers and the tenants. Whatever was proved under one fingerprint
/// says nothing under another.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Fingerprint([u8; 32]);

/// Shows nothing: a digest of settings that include secrets.
impl std::fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Fingerprint(..)")
    }
}

impl Fingerprint {
    /// Digests parts, each with its length, so that no two lists of parts are alike.
    pub(super) fn of(parts: &[&[u8]]) -> Self {
        let mut context = Context::new(&SHA256);
        for part in parts {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        Self(digest_bytes(context.finish().as_ref()))
    }

    /// The digest.
    pub(super) const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// A SHA-256 digest as an array.
pub(super) fn digest_bytes(digest: &[u8]) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.iter_mut().zip(digest).for_each(|(to, from)| *to = *from);
    bytes
}

/// An identity provider.
#[derive(Debug)]
pub(super) struct Provider {
    pub(super) name: Arc<str>,
    pub(super) issuer: String,
    pub(super) audience: Vec<String>,
    pub(super) algorithms: Vec<Algorithm>,
    pub(super) leeway_seconds: u64,
    pub(super) claims: ClaimNames,
    pub(super) fingerprint: Fingerprint,
    keys: Keys,
}

/// Where a provider's keys are.
#[derive(Debug)]
enum Keys {
    /// In the configuration.
    Static(Arc<KeySet>),
    /// At a URL; the key ring has what was fetched last.
    Fetched(SetId, JwksSettings),
    /// Nowhere: the configuration has an error that refuses it.
    Absent,
}

impl Provider {
    /// Compiles a provider; `context` is what else decides what its tokens prove.
    pub(super) fn compile(
        name: &str,
        written: &IdentityProvider,
        context: &[u8],
        resolved: &Resolved,
        problems: &mut Problems,
    ) -> Self {
        let path = format!("identityProviders.{name}");
        check_words(name, written, &path, problems);
        let mut material = Vec::new();
        let keys = match source(written, &path, problems) {
            Some(source) => {
                check_algorithms(&written.algorithms, &source, &path, problems);
                let mut reading =
                    Reading { name, path: &path, resolved, problems, material: &mut material };
                reading.keys(&source, written)
            }
            None => Keys::Absent,
        };
        let settings = serde_json::to_vec(written).unwrap_or_default();
        let provider = Self {
            name: name.into(),
            issuer: written.issuer.clone(),
            audience: written.audience.0.clone(),
            algorithms: written
                .algorithms
                .iter()
                .map(|algorithm| algorithm_of(*algorithm))
                .collect(),
            leeway_seconds: written.clock_tolerance_seconds,
            claims: written.claims.clone(),
            fingerprint: Fingerprint::of(&[name.as_bytes(), &settings, &material, context]),
            keys,
        };
        provider.check_usable(&path, problems);
        provider
    }

    /// The keys in force; none if no set was ever had.
    pub(super) fn keys<'a>(&'a self, ring: &'a KeyRing) -> Option<&'a KeySet> {
        match &self.keys {
            Keys::Static(set) => Some(set),
            Keys::Fetched(id, _) => ring.get(id).map(|set| &**set),
            Keys::Absent => None,
        }
    }

    /// Which set is to be fetched, and how; none for providers with keys of their own.
    pub(super) const fn fetched(&self) -> Option<(&SetId, &JwksSettings)> {
        match &self.keys {
            Keys::Fetched(id, settings) => Some((id, settings)),
            Keys::Static(_) | Keys::Absent => None,
        }
    }

    fn check_usable(&self, path: &str, problems: &mut Problems) {
        let Keys::Static(set) = &self.keys else { return };
        let unusable: Vec<String> = self
            .algorithms
            .iter()
            .filter(|algorithm| !set.serves(**algorithm))
            .map(|algorithm| format!("{algorithm:?}"))
            .collect();
        if !unusable.is_empty() {
            let message =
                format!("no key of this provider can be used with {}", unusable.join(", "));
            problems.push(Problem::error(
                "provider.algorithms",
                format!("{path}.algorithms"),
                message,
            ));
        }
    }
}

/// A key source as written.
enum Source<'a> {
    Url(&'a str),
    JwksFile(&'a str),
    Pem(&'a str),
    PemFile(&'a str),
    Secret(&'a Secret),
}

impl Source<'_> {
    const fn key(&self) -> &'static str {
        match self {
            Self::Url(_) => "jwksUrl",
            Self::JwksFile(_) => "jwksFile",
            Self::Pem(_) => "publicKeyPem",
            Self::PemFile(_) => "publicKeyFile",
            Self::Secret(_) => "secret",
        }
    }
}

fn source<'a>(
    written: &'a IdentityProvider,
    path: &str,
    problems: &mut Problems,
) -> Option<Source<'a>> {
    let mut given: Vec<Source<'_>> = [
        written.jwks_url.as_deref().map(Source::Url),
        written.jwks_file.as_deref().map(Source::JwksFile),
        written.public_key_pem.as_deref().map(Source::Pem),
        written.public_key_file.as_deref().map(Source::PemFile),
        written.secret.as_ref().map(Source::Secret),
    ]
    .into_iter()
    .flatten()
    .collect();
    if given.len() == 1 {
        return given.pop();
    }
    let message = if given.is_empty() {
        "the provider has no keys".to_owned()
    } else {
        let keys: Vec<&str> = given.iter().map(Source::key).collect();
        format!("the provider has more than one source of keys: {}", keys.join(", "))
    };
    let help = format!("give exactly one of {SOURCES}");
    problems.push(Problem::error("provider.keys", path, message).help(help));
    None
}

fn check_words(name: &str, written: &IdentityProvider, path: &str, problems: &mut Problems) {
    let mut error = |code, key: &str, message: &str| {
        problems.push(Problem::error(code, format!("{path}{key}"), message));
    };
    if name == api_key::PROVIDER {
        error("provider.name", "", "`apiKeys` is the name under which API keys are reported");
    }
    if name == certificate::PROVIDER {
        let message = "`clientCertificate` is the name under which certificates are reported";
        error("provider.name", "", message);
    }
    if written.issuer.is_empty() {
        error("provider.issuer", ".issuer", "the issuer is empty; it is the `iss` of the tokens");
    }
    if written.audience.0.is_empty() || written.audience.0.iter().any(String::is_empty) {
        let message = "an audience is missing or empty; without it, tokens that were issued for \
                       other services would be accepted";
        error("provider.audience", ".audience", message);
    }
    if written.algorithms.is_empty() {
        let message = "no algorithm is accepted; list those that the issuer signs with";
        error("provider.algorithms", ".algorithms", message);
    }
    if written.jwks.refresh.get().as_secs() == 0 {
        error("provider.refresh", ".jwks.refresh", "a key set is fetched at most once a second");
    }
    if written.jwks.timeout.get().is_zero() {
        error("provider.timeout", ".jwks.timeout", "a fetch needs some time; 5s is usual");
    }
}

/// A secret goes with HMAC and public keys with signatures; mixing them lets whoever knows the
/// public key sign tokens (T22).
fn check_algorithms(
    algorithms: &[model::Algorithm],
    source: &Source<'_>,
    path: &str,
    problems: &mut Problems,
) {
    let is_secret = matches!(source, Source::Secret(_));
    for (index, algorithm) in algorithms.iter().enumerate() {
        let is_hmac = algorithm_of(*algorithm).family() == AlgorithmFamily::Hmac;
        if is_hmac == is_secret {
            continue;
        }
        let message = if is_hmac {
            format!("{algorithm} needs a `secret`, and the keys here are public")
        } else {
            format!("{algorithm} needs a public key, and the source here is a `secret`")
        };
        let path = format!("{path}.algorithms[{index}]");
        problems.push(Problem::error("provider.algorithms", path, message));
    }
}

/// What reading keys takes along.
struct Reading<'a> {
    name: &'a str,
    path: &'a str,
    resolved: &'a Resolved,
    problems: &'a mut Problems,
    /// Bytes that the keys were read from.
    material: &'a mut Vec<u8>,
}

impl Reading<'_> {
    fn keys(&mut self, source: &Source<'_>, written: &IdentityProvider) -> Keys {
        let path = format!("{}.{}", self.path, source.key());
        let set = match source {
            Source::Url(url) => {
                if !check_url(url, &path, self.problems) {
                    return Keys::Absent;
                }
                let id = SetId { provider: self.name.into(), url: (*url).into() };
                return Keys::Fetched(id, written.jwks.clone());
            }
            // A file that could not be read has been reported where references are resolved.
            Source::JwksFile(file) => self.resolved.file(file).and_then(|set| self.jwks(set, path)),
            Source::PemFile(file) => self.resolved.file(file).and_then(|pem| self.pem(pem, path)),
            Source::Pem(pem) => self.pem(pem.as_bytes(), path),
            Source::Secret(secret) => self.secret(secret, path),
        };
        set.map_or(Keys::Absent, |set| Keys::Static(Arc::new(set)))
    }

    fn jwks(&mut self, document: &[u8], path: String) -> Option<KeySet> {
        self.material.extend_from_slice(document);
        match jwks::read(document) {
            Ok(keys) => Some(KeySet::fixed(keys)),
            Err(refused) => self.refuse(path, format!("the key set is not used: {refused}")),
        }
    }

    fn pem(&mut self, pem: &[u8], path: String) -> Option<KeySet> {
        self.material.extend_from_slice(pem);
        match Key::from_pem(pem) {
            Ok(key) => Some(KeySet::single(key)),
            Err(refused) => self.refuse(path, format!("the key is not used: {refused}")),
        }
    }

    fn secret(&mut self, secret: &Secret, path: String) -> Option<KeySet> {
        let value = secret_value(secret, &path, self.resolved, self.problems)?;
        self.material.extend_from_slice(value.as_bytes());
        if value.len() < SECRET_BYTES_MIN {
            let message = format!(
                "the secret has {} bytes; with fewer than 32 it can be found from any token",
                value.len()
            );
            let help = "make one with `openssl rand -hex 32`";
            self.problems.push(Problem::error("secret.short", path, message).help(help));
            return None;
        }
        match Key::from_secret(value.as_bytes()) {
            Ok(key) => Some(KeySet::single(key)),
            Err(refused) => self.refuse(path, refused.to_string()),
        }
    }

    fn refuse(&mut self, path: String, message: String) -> Option<KeySet> {
        self.problems.push(Problem::error("provider.keys", path, message));
        None
    }
}

/// Whether keys can be fetched from a URL at all; warns where anybody on the way could swap
/// them.
fn check_url(url: &str, path: &str, problems: &mut Problems) -> bool {
    let Some(url) = Url::parse(url).ok().filter(|url| matches!(url.scheme(), "https" | "http"))
    else {
        let message = "this is not an http or https URL";
        problems.push(Problem::error("provider.url", path, message));
        return false;
    };
    if url.scheme() == "http" && !is_loopback(&url) {
        let message = "keys come over cleartext: whoever is on the way can put in their own";
        let help = "use https; http is for 127.0.0.1, ::1 and localhost";
        problems.push(Problem::warning("provider.cleartext", path, message).help(help));
    }
    true
}

/// Whether a URL names this machine.
pub(super) fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// The library's word for an algorithm of the configuration.
pub(super) const fn algorithm_of(algorithm: model::Algorithm) -> Algorithm {
    match algorithm {
        model::Algorithm::RS256 => Algorithm::RS256,
        model::Algorithm::RS384 => Algorithm::RS384,
        model::Algorithm::RS512 => Algorithm::RS512,
        model::Algorithm::PS256 => Algorithm::PS256,
        model::Algorithm::PS384 => Algorithm::PS384,
        model::Algorithm::PS512 => Algorithm::PS512,
        model::Algorithm::ES256 => Algorithm::ES256,
        model::Algorithm::ES384 => Algorithm::ES384,
        model::Algorithm::EdDSA => Algorithm::EdDSA,
        model::Algorithm::HS256 => Algorithm::HS256,
        model::Algorithm::HS384 => Algorithm::HS384,
        model::Algorithm::HS512 => Algorithm::HS512,
    }
}
