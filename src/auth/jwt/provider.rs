//! One identity provider, compiled: what its tokens must look like and where its keys are.

use std::sync::Arc;

use jsonwebtoken::Algorithm;
use jsonwebtoken::{AlgorithmFamily, DecodingKey};
use reqwest::Url;
use ring::digest::{Context, SHA256};

use super::jwks;
use super::key::Key;
use super::places::{Source, check_url, source};
use crate::auth::api_key::{self, secret_value};
use crate::auth::certificate;
use crate::auth::introspection::Endpoint;
use crate::auth::keyset::development::DevelopmentKey;
use crate::auth::keyset::keyring::{KeyRing, KeySet, SetId};
use crate::auth::keyset::settings::{self, FetchSettings};
use crate::model::{self, ClaimNames, IdentityProvider, Problem, Problems, Resolved, Secret};

/// Shortest secret for an HMAC, in bytes: that of its digest (RFC 7518, 3.2).
const fn secret_bytes_min(algorithm: Algorithm) -> usize {
    match algorithm {
        Algorithm::HS512 => 64,
        Algorithm::HS384 => 48,
        _ => 32,
    }
}

/// Stands for everything that decides what a token of a provider proves: its settings, its
/// static keys, the identity headers and the tenants. Whatever was proved under one fingerprint
/// says nothing under another.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::auth) struct Fingerprint([u8; 32]);

/// Shows nothing: a digest of settings that include secrets.
impl std::fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Fingerprint(..)")
    }
}

impl Fingerprint {
    /// Digests parts, each with its length, so that no two lists of parts are alike.
    pub(in crate::auth) fn of(parts: &[&[u8]]) -> Self {
        let mut context = Context::new(&SHA256);
        for part in parts {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        Self(digest_bytes(context.finish().as_ref()))
    }

    /// The digest.
    pub(in crate::auth) const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// A SHA-256 digest as an array.
pub(in crate::auth) fn digest_bytes(digest: &[u8]) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.iter_mut().zip(digest).for_each(|(to, from)| *to = *from);
    bytes
}

/// An identity provider.
#[derive(Debug)]
pub(in crate::auth) struct Provider {
    pub(in crate::auth) name: Arc<str>,
    pub(in crate::auth) issuer: String,
    pub(in crate::auth) audience: Vec<String>,
    pub(in crate::auth) algorithms: Vec<Algorithm>,
    pub(in crate::auth) leeway_seconds: u64,
    pub(in crate::auth) claims: ClaimNames,
    pub(in crate::auth) fingerprint: Fingerprint,
    pub(in crate::auth) introspection: Option<Endpoint>,
    keys: Keys,
}

/// Where a provider's keys are.
#[derive(Debug)]
enum Keys {
    /// In the configuration.
    Static(Arc<KeySet>),
    /// At a URL; the key ring has what was fetched last.
    Fetched(SetId, FetchSettings),
    /// Nowhere: the issuer is asked about every token, or the configuration has an error that
    /// refuses it.
    Absent,
    /// Nowhere: the issuer is asked about all of its tokens.
    Asked,
}

impl Provider {
    /// Compiles a provider; `context` is what else decides what its tokens prove.
    pub(in crate::auth) fn compile(
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
            None if written.is_only_asked() => Keys::Asked,
            None => Keys::Absent,
        };
        let introspection = written.introspection.as_ref().map(|introspection| {
            Endpoint::compile(introspection, &path, resolved, problems, &mut material)
        });
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
            introspection,
            keys,
        };
        provider.check_usable(&path, problems);
        provider
    }

    /// The keys in force; none if no set was ever had.
    pub(in crate::auth) fn keys<'a>(&'a self, ring: &'a KeyRing) -> Option<&'a KeySet> {
        match &self.keys {
            Keys::Static(set) => Some(set),
            Keys::Fetched(id, _) => ring.get(id).map(|set| &**set),
            Keys::Absent | Keys::Asked => None,
        }
    }

    /// Whether its tokens are verified here; if not, the issuer is asked about all of them.
    pub(in crate::auth) const fn has_keys(&self) -> bool {
        !matches!(self.keys, Keys::Asked)
    }

    /// Which set is to be fetched, and how; none for providers with keys of their own.
    pub(in crate::auth) const fn fetched(&self) -> Option<(&SetId, &FetchSettings)> {
        match &self.keys {
            Keys::Fetched(id, settings) => Some((id, settings)),
            Keys::Static(_) | Keys::Absent | Keys::Asked => None,
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
    let asked = written.is_only_asked();
    if asked && !written.algorithms.is_empty() {
        let message = "there is no key here with which tokens could be verified";
        error("provider.algorithms", ".algorithms", message);
    }
    if !asked && written.algorithms.is_empty() {
        let message = "no algorithm is accepted; list those that the issuer signs with";
        error("provider.algorithms", ".algorithms", message);
    }
    settings::check(&written.jwks, path, problems);
}

/// A secret goes with HMAC and public keys with signatures; mixing them lets whoever knows the
/// public key sign tokens (T22).
fn check_algorithms(
    algorithms: &[model::Algorithm],
    source: &Source<'_>,
    path: &str,
    problems: &mut Problems,
) {
    if matches!(source, Source::Development(_)) && algorithms != [model::Algorithm::EdDSA] {
        let message = "a development key signs with EdDSA alone: write `algorithms: [EdDSA]`";
        problems.push(Problem::error("provider.algorithms", format!("{path}.algorithms"), message));
        return;
    }
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
            Source::Discovery(url) => {
                let id = SetId::discovered(self.name, url, &written.issuer);
                return self.fetched(id, written, &path);
            }
            Source::Url(url) => {
                return self.fetched(SetId::at(self.name, url), written, &path);
            }
            // A file that could not be read has been reported where references are resolved.
            Source::JwksFile(file) => self.resolved.file(file).and_then(|set| self.jwks(set, path)),
            Source::PemFile(file) => self.resolved.file(file).and_then(|pem| self.pem(pem, path)),
            Source::Pem(pem) => self.pem(pem.as_bytes(), path),
            Source::Secret(secret) => self.secret(secret, written, path),
            Source::Development(file) => {
                self.resolved.file(file).and_then(|pem| self.development(pem, path))
            }
        };
        set.map_or(Keys::Absent, |set| Keys::Static(Arc::new(set)))
    }

    fn fetched(&mut self, id: SetId, written: &IdentityProvider, path: &str) -> Keys {
        if !check_url(&id.url, path, self.problems) {
            return Keys::Absent;
        }
        let settings = FetchSettings::compile(written, self.path, self.resolved, self.problems);
        Keys::Fetched(id, settings)
    }

    fn development(&mut self, pem: &[u8], path: String) -> Option<KeySet> {
        let read = DevelopmentKey::read(pem).and_then(|pair| {
            let public = pair.public_key();
            self.material.extend_from_slice(&public);
            let key = DecodingKey::from_ed_der(&public);
            Key::prepare(None, &key, Some(Algorithm::EdDSA)).map_err(|why| why.to_string())
        });
        match read {
            Ok(key) => Some(KeySet::single(key)),
            Err(refused) => self.refuse(path, format!("the key is not used: {refused}")),
        }
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

    fn secret(
        &mut self,
        secret: &Secret,
        written: &IdentityProvider,
        path: String,
    ) -> Option<KeySet> {
        let value = secret_value(secret, &path, self.resolved, self.problems)?;
        self.material.extend_from_slice(value.as_bytes());
        let needs = written.algorithms.iter().map(|name| secret_bytes_min(algorithm_of(*name)));
        let needs = needs.max().unwrap_or_default();
        if value.len() < needs {
            let message = format!(
                "the secret has {} bytes; with fewer than {needs} it is weaker than the algorithm, \
                 and can be found from any token",
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

/// Whether a URL names this machine.
pub(in crate::auth) fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// The library's word for an algorithm of the configuration.
pub(in crate::auth) const fn algorithm_of(algorithm: model::Algorithm) -> Algorithm {
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
