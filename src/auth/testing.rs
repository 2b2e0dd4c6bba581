//! Keys, tokens and configurations for the tests of this module.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Method};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384,
    RSA_PSS_SHA512, RsaKeyPair, RsaPublicKeyComponents,
};
use ring::{hmac, signature};
use serde_json::{Value, json};

use super::jwt::jwks;
use super::{Answers, AuthPolicy, Denied, Evidence, Memory, Providers, authenticate, authorize};
use crate::auth::keyset::keyring::{KeyRing, KeySet, SetId};
use crate::clock::{Moment, Tick};
use crate::edge::{Identity, RequestView, Scheme};
use crate::fault::Reject;
use crate::model::{Config, Policies, Problems, Resolved};
use crate::telemetry::Metrics;

pub(super) const RSA_PRIVATE: &str = include_str!("testdata/rsa2048-test-only.private.pem");
pub(super) const RSA_PUBLIC: &str = include_str!("testdata/rsa2048-test-only.public.pem");
pub(super) const RSA_SHORT: &str = include_str!("testdata/rsa1024-test-only.public.pem");

/// The Unix time at which tests take place.
pub(super) const NOW: i64 = 1_800_000_000;
pub(super) const SECRET: &str =
    "a secret of tests, which is long enough for every HMAC that there is";
pub(super) const ISSUER: &str = "https://issuer.test/";
pub(super) const URL: &str = "https://issuer.test/keys";

pub(super) fn now() -> Moment {
    Moment { tick: Tick::from_nanos(1), unix_ms: u64::try_from(NOW).unwrap() * 1000 }
}

pub(super) fn after(seconds: u64) -> Moment {
    now().plus(Duration::from_secs(seconds))
}

pub(super) fn base64url(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The bytes between the lines of a PEM text.
pub(super) fn der(pem: &str) -> Vec<u8> {
    let body: String = pem
        .lines()
        .skip_while(|line| !line.starts_with("-----BEGIN"))
        .skip(1)
        .take_while(|line| !line.starts_with("-----END"))
        .collect();
    STANDARD.decode(body).unwrap()
}

pub(super) fn pem(der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    format!("-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n")
}

/// A private key.
pub(super) enum Signer {
    Rsa(RsaKeyPair),
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Secret(Vec<u8>),
}

impl Signer {
    /// A key for an algorithm; new but for RSA, which takes too long to make.
    pub(super) fn new(algorithm: &str) -> Self {
        let random = SystemRandom::new();
        let ecdsa = |kind| {
            let pkcs8 = EcdsaKeyPair::generate_pkcs8(kind, &random).unwrap();
            EcdsaKeyPair::from_pkcs8(kind, pkcs8.as_ref(), &random).unwrap()
        };
        match algorithm {
            "ES256" => Self::P256(ecdsa(&ECDSA_P256_SHA256_FIXED_SIGNING)),
            "ES384" => Self::P384(ecdsa(&ECDSA_P384_SHA384_FIXED_SIGNING)),
            "EdDSA" => {
                let pkcs8 = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
                Self::Ed25519(Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap())
            }
            "HS256" | "HS384" | "HS512" => Self::Secret(SECRET.into()),
            _ => Self::Rsa(RsaKeyPair::from_pkcs8(&der(RSA_PRIVATE)).unwrap()),
        }
    }

    pub(super) fn sign(&self, algorithm: &str, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Self::Rsa(pair) => {
                let padding: &'static dyn signature::RsaEncoding = match algorithm {
                    "RS256" => &RSA_PKCS1_SHA256,
                    "RS384" => &RSA_PKCS1_SHA384,
                    "RS512" => &RSA_PKCS1_SHA512,
                    "PS256" => &RSA_PSS_SHA256,
                    "PS384" => &RSA_PSS_SHA384,
                    _ => &RSA_PSS_SHA512,
                };
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(padding, &random, message, &mut signature).unwrap();
                signature
            }
            Self::P256(pair) | Self::P384(pair) => {
                pair.sign(&random, message).unwrap().as_ref().to_vec()
            }
            Self::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
            Self::Secret(secret) => {
                let digest = match algorithm {
                    "HS384" => hmac::HMAC_SHA384,
                    "HS512" => hmac::HMAC_SHA512,
                    _ => hmac::HMAC_SHA256,
                };
                hmac::sign(&hmac::Key::new(digest, secret), message).as_ref().to_vec()
            }
        }
    }

    /// A signed token with any header.
    pub(super) fn token_with(&self, header: &Value, claims: &Value) -> String {
        let algorithm = header["alg"].as_str().unwrap_or_default().to_owned();
        let signed = format!("{}.{}", base64url(header.to_string()), base64url(claims.to_string()));
        let signature = self.sign(&algorithm, signed.as_bytes());
        format!("{signed}.{}", base64url(signature))
    }

    /// A signed token of the kind that issuers make.
    pub(super) fn token(&self, algorithm: &str, kid: Option<&str>, claims: &Value) -> String {
        let mut header = json!({"alg": algorithm, "typ": "JWT"});
        if let Some(kid) = kid {
            header["kid"] = kid.into();
        }
        self.token_with(&header, claims)
    }

    /// The public half as a JSON Web Key.
    pub(super) fn jwk(&self, kid: &str) -> Value {
        let point = |pair: &EcdsaKeyPair, curve: &str| {
            let point = &pair.public_key().as_ref()[1..];
            let (x, y) = point.split_at(point.len() / 2);
            json!({"kty": "EC", "crv": curve, "x": base64url(x), "y": base64url(y)})
        };
        let mut jwk = match self {
            Self::Rsa(pair) => {
                let parts = RsaPublicKeyComponents::<Vec<u8>>::from(pair.public());
                json!({"kty": "RSA", "n": base64url(parts.n), "e": base64url(parts.e)})
            }
            Self::P256(pair) => point(pair, "P-256"),
            Self::P384(pair) => point(pair, "P-384"),
            Self::Ed25519(pair) => {
                json!({"kty": "OKP", "crv": "Ed25519", "x": base64url(pair.public_key())})
            }
            Self::Secret(secret) => json!({"kty": "oct", "k": base64url(secret)}),
        };
        jwk["kid"] = kid.into();
        jwk
    }

    /// The public half as PEM (`SubjectPublicKeyInfo`, RFC 5480 and RFC 8410).
    pub(super) fn pem(&self) -> String {
        match self {
            Self::Rsa(_) => RSA_PUBLIC.to_owned(),
            Self::P256(pair) => pem(&[&SPKI_P256[..], pair.public_key().as_ref()].concat()),
            Self::P384(pair) => pem(&[&SPKI_P384[..], pair.public_key().as_ref()].concat()),
            Self::Ed25519(pair) => pem(&[&SPKI_ED25519[..], pair.public_key().as_ref()].concat()),
            Self::Secret(_) => panic!("a secret has no public half"),
        }
    }
}

const SPKI_P256: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
const SPKI_P384: [u8; 23] = [
    0x30, 0x76, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b,
    0x81, 0x04, 0x00, 0x22, 0x03, 0x62, 0x00,
];
const SPKI_ED25519: [u8; 12] =
    [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// Claims of a good token, changed by `change` (a member set to null is removed).
pub(super) fn claims(change: &Value) -> Value {
    let mut claims = json!({
        "iss": ISSUER, "aud": "orders", "sub": "user-1", "exp": NOW + 300, "iat": NOW - 10,
    });
    for (name, value) in change.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    claims
}

pub(super) fn key_set(keys: &[Value]) -> Vec<u8> {
    json!({ "keys": keys }).to_string().into_bytes()
}

pub(super) fn config(yaml: &str) -> Config {
    serde_yaml::from_str(yaml).unwrap()
}

/// Compiles providers; whatever is wrong comes back as `code path` lines.
pub(super) fn compile(yaml: &str, resolved: &Resolved) -> (Providers, Vec<String>) {
    let mut problems = Problems::default();
    let providers = Providers::compile(&config(yaml), resolved, &mut problems);
    (providers, lines(&problems))
}

pub(super) fn lines(problems: &Problems) -> Vec<String> {
    problems.0.iter().map(|problem| format!("{} {}", problem.code, problem.path)).collect()
}

/// A provider `main` with the usual issuer and audience and whatever else is said of it.
pub(super) fn main_provider(rest: &str) -> String {
    format!("identityProviders:\n  main:\n    issuer: {ISSUER}\n    audience: orders\n{rest}")
}

pub(super) fn fetched_provider(algorithms: &str) -> String {
    main_provider(&format!("    algorithms: {algorithms}\n    jwksUrl: {URL}\n"))
}

/// A ring in which `main` has fetched keys.
pub(super) fn ring(keys: &[Value]) -> KeyRing {
    let id = SetId::at("main", URL);
    let keys = jwks::read(&key_set(keys)).unwrap();
    KeyRing::default().with(&id, &Arc::new(KeySet::fetched(keys, [0; 32], now())))
}

pub(super) fn policy(providers: &Providers, yaml: &str) -> AuthPolicy {
    let policies: Policies = serde_yaml::from_str(yaml).unwrap();
    let mut problems = Problems::default();
    let policy = AuthPolicy::compile(&policies, providers, "policies", &mut problems);
    assert_eq!(lines(&problems), [""; 0]);
    policy
}

pub(super) fn bearer(token: &str) -> HeaderMap {
    let value = HeaderValue::try_from(format!("Bearer {token}")).unwrap();
    HeaderMap::from_iter([(AUTHORIZATION, value)])
}

pub(super) fn view<'a>(method: &'a Method, headers: &'a HeaderMap) -> RequestView<'a> {
    RequestView {
        method,
        scheme: Scheme::Https,
        host: "api.test".into(),
        port: None,
        path: "/".into(),
        query: None,
        headers,
        client: [192, 0, 2, 1].into(),
        peer_trusted: false,
        certificate: None,
    }
}

/// A gateway of one route, as far as callers are concerned.
pub(super) struct Gate {
    pub(super) providers: Providers,
    pub(super) policy: AuthPolicy,
    pub(super) ring: KeyRing,
    pub(super) memory: Memory,
    pub(super) metrics: Metrics,
}

impl Gate {
    /// A route with `auth: required` over the given configuration.
    pub(super) fn new(yaml: &str, ring: KeyRing) -> Self {
        let (providers, problems) = compile(yaml, &Resolved::default());
        assert!(problems.iter().all(|line| line.starts_with("secret.")), "{problems:?}");
        let metrics = Metrics::new().unwrap();
        Self {
            policy: policy(&providers, "auth: required"),
            memory: Memory::with_tokens(64, &metrics),
            providers,
            ring,
            metrics,
        }
    }

    pub(super) fn ask(&self, headers: &HeaderMap, now: Moment) -> Result<Arc<Identity>, Denied> {
        let view = view(&Method::GET, headers);
        let answers = Answers::default();
        authenticate(&self.policy, &view, &self.evidence(&answers, now)).map(Option::unwrap)
    }

    pub(super) fn evidence<'a>(&'a self, answers: &'a Answers, now: Moment) -> Evidence<'a> {
        let Self { providers, ring: keys, memory, .. } = self;
        Evidence { providers, keys, memory, answers, now }
    }

    /// Shows a token; a refusal comes back as its code and hint.
    pub(super) fn show(&self, token: &str) -> Result<Arc<Identity>, String> {
        self.show_at(token, now())
    }

    pub(super) fn show_at(&self, token: &str, now: Moment) -> Result<Arc<Identity>, String> {
        self.ask(&bearer(token), now).map_err(|denied| said(&Reject::from(denied)))
    }

    pub(super) fn lookups(&self, outcome: &str) -> u64 {
        self.metrics.token_cache.with_label_values(&[outcome]).get()
    }
}

/// What `authorize` says of a caller who comes to a route of this policy.
pub(super) fn authorized(
    policy: &AuthPolicy,
    providers: &Providers,
    identity: Option<&Identity>,
) -> Result<(), Reject> {
    authorized_for(policy, providers, identity, &Method::GET)
}

/// The same for a method.
pub(super) fn authorized_for(
    policy: &AuthPolicy,
    providers: &Providers,
    identity: Option<&Identity>,
    method: &Method,
) -> Result<(), Reject> {
    let metrics = Metrics::new().unwrap();
    let (memory, keys) = (Memory::with_tokens(1, &metrics), KeyRing::default());
    let (answers, headers) = (Answers::default(), HeaderMap::new());
    let evidence =
        Evidence { providers, keys: &keys, memory: &memory, answers: &answers, now: now() };
    authorize(policy, identity, &view(method, &headers), &evidence).map_err(Reject::from)
}

/// What a client is told, in one line.
pub(super) fn said(reject: &Reject) -> String {
    let hint = reject.hint.as_ref().map_or("", |hint| hint.as_str());
    format!("{}: {hint}", reject.fault.code())
}
