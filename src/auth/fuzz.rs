//! Doors for the fuzz targets in `fuzz/`, open with the feature `fuzz` only.
//!
//! Each takes the bytes of a stranger to where the gateway would take them, and says what came
//! of it; the targets say what must never come of it.

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Method};
use serde_json::{Value, json};

use super::jwt::strict_json::{self, Bounds};
use super::jwt::{jwks, token};
use super::{Answers, AuthPolicy, Evidence, KeyRing, Memory, Providers, authenticate};
use crate::clock::{Moment, Tick};
use crate::edge::{RequestView, Scheme};
use crate::model::{Config, Policies, Problems, Resolved};
use crate::telemetry::Metrics;

/// A public key whose private half the fuzzer does not have.
const PUBLIC: &str = include_str!("testdata/rsa2048-test-only.public.pem");

/// Verified tokens that are remembered.
const TOKENS: usize = 64;

/// A route that wants a token, with an issuer of RSA and one of HMAC.
pub struct TokenTarget {
    providers: Providers,
    policy: AuthPolicy,
    keys: KeyRing,
    memory: Memory,
}

impl TokenTarget {
    /// Compiles the route; none where that fails, which is a defect of this file.
    #[must_use]
    pub fn new() -> Option<Self> {
        let config: Config = serde_json::from_value(json!({"identityProviders": {
            "rsa": {"issuer": "i", "audience": "a", "algorithms": ["RS256"],
                "publicKeyPem": PUBLIC},
            "hmac": {"issuer": "j", "audience": "a", "algorithms": ["HS256"],
                "secret": "a secret that no fuzzer is going to guess"},
        }}))
        .ok()?;
        let mut problems = Problems::default();
        let providers = Providers::compile(&config, &Resolved::default(), &mut problems);
        let policies: Policies = serde_json::from_value(json!({"auth": "required"})).ok()?;
        let policy = AuthPolicy::compile(&policies, &providers, "policies", &mut problems);
        let memory = Memory::with_tokens(TOKENS, &Metrics::new().ok()?);
        Some(Self { providers, policy, keys: KeyRing::default(), memory })
    }

    /// Whether a token is accepted.
    #[must_use]
    pub fn accepts(&self, token: &[u8]) -> bool {
        let Ok(value) = HeaderValue::from_bytes(&[b"Bearer ", token].concat()) else {
            return false;
        };
        if let Ok(text) = std::str::from_utf8(token) {
            let _ = token::glance(text);
        }
        let headers = HeaderMap::from_iter([(AUTHORIZATION, value)]);
        let view = RequestView {
            method: &Method::GET,
            scheme: Scheme::Https,
            host: "api.test".into(),
            path: "/".into(),
            query: None,
            headers: &headers,
            client: [192, 0, 2, 1].into(),
            port: None,
            peer_trusted: false,
            certificate: None,
        };
        let evidence = Evidence {
            providers: &self.providers,
            keys: &self.keys,
            memory: &self.memory,
            answers: &Answers::default(),
            now: Moment { tick: Tick::from_nanos(1), unix_ms: 1_800_000_000_000 },
        };
        let _ = super::inspect(&self.policy, &view, &evidence);
        authenticate(&self.policy, &view, &evidence).is_ok()
    }
}

/// How many keys of a set can be used; none where the set is refused.
#[must_use]
pub fn key_set(document: &[u8]) -> Option<usize> {
    jwks::read(document).ok().map(|keys| keys.len())
}

/// What the strict reader makes of a text.
#[must_use]
pub fn strict_json(text: &[u8]) -> Option<Value> {
    strict_json::object(text, Bounds { depth: 16, values: 1024 })
        .ok()
        .map(|members| Value::Object(members.into()))
}
