//! What the tests of this module have in common.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr};

/// A header of another name than usual that carries API keys.
pub(super) const API_KEY: http::HeaderName = http::HeaderName::from_static("x-partner-key");

use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::CachePolicy;
use crate::edge::{Facts, Identity, IdentityFacts, RequestView, Scheme};
use crate::model::Problems;

/// Compiles `policies.cache`, given in YAML, of a route named `orders`.
pub(super) fn compile(yaml: &str, authenticated: bool) -> (Option<CachePolicy>, Problems) {
    let mut problems = Problems::default();
    let model = serde_yaml::from_str(yaml).unwrap();
    let compiled =
        CachePolicy::compile(&model, "orders", authenticated, &API_KEY, "cache", &mut problems);
    (compiled, problems)
}

/// Compiles a policy that has nothing wrong with it.
pub(super) fn policy(yaml: &str) -> CachePolicy {
    let (compiled, problems) = compile(yaml, yaml.contains("user") || yaml.contains("tenant"));
    assert_eq!(problems, Problems::default());
    compiled.unwrap()
}

/// Header fields in order.
pub(super) fn headers(fields: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(
            HeaderName::try_from(*name).unwrap(),
            HeaderValue::from_bytes(value.as_bytes()).unwrap(),
        );
    }
    headers
}

/// A request, reduced to what keys are made of.
pub(super) struct Request {
    pub(super) method: Method,
    pub(super) scheme: Scheme,
    pub(super) host: &'static str,
    pub(super) path: &'static str,
    pub(super) query: Option<&'static str>,
    pub(super) headers: HeaderMap,
    pub(super) identity: Option<Identity>,
}

impl Default for Request {
    fn default() -> Self {
        Self {
            method: Method::GET,
            scheme: Scheme::Https,
            host: "api.example.com",
            path: "/v1/orders",
            query: None,
            headers: HeaderMap::new(),
            identity: None,
        }
    }
}

impl Request {
    /// Calls `read` with the facts of this request.
    pub(super) fn with<T>(&self, read: impl FnOnce(&Facts<'_>) -> T) -> T {
        let view = RequestView {
            method: &self.method,
            scheme: self.scheme,
            host: Cow::Borrowed(self.host),
            port: None,
            path: Cow::Borrowed(self.path),
            query: self.query,
            headers: &self.headers,
            client: IpAddr::V4(Ipv4Addr::LOCALHOST),
            peer_trusted: false,
            certificate: None,
        };
        read(&Facts {
            view: &view,
            identity: self.identity.as_ref(),
            request_id: "request-1",
            route: "orders",
            service: "api",
        })
    }
}

/// A caller; an empty tenant is none.
pub(super) fn caller(provider: &str, subject: &str, tenant: &str) -> Identity {
    Identity::prove(IdentityFacts {
        provider: provider.into(),
        subject: subject.into(),
        tenant_id: (!tenant.is_empty()).then(|| tenant.into()),
        ..IdentityFacts::default()
    })
}
