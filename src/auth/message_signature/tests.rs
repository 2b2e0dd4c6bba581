//! Good and bad signatures, and the published examples of RFC 9421.

mod cases;
mod fields;
mod published;
mod rules;

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::SignatureError;
use super::signers::Signers;
use super::verify::{Verified, verify};
use crate::auth::testing::{self, NOW, SECRET, Signer, compile};
use crate::clock::Moment;
use crate::edge::{Identity, RequestView, Scheme, normalise_path};
use crate::model::Resolved;

/// Three parties, one for each algorithm, with the keys `hmac-key`, `ed-key` and `ec-key`.
pub(super) struct Parties {
    hmac: Signer,
    ed: Signer,
    ec: Signer,
}

impl Parties {
    pub(super) fn new() -> Self {
        Self { hmac: Signer::new("HS256"), ed: Signer::new("EdDSA"), ec: Signer::new("ES256") }
    }

    pub(super) fn yaml(&self, more: &str) -> String {
        let text = |pem: String| serde_json::to_string(&pem).unwrap();
        format!(
            "signers:
  hmac: {{keyId: hmac-key, algorithm: hmac-sha256, secret: {SECRET:?}, tenantId: acme,
    plan: gold, scopes: ['orders:read'], roles: [partner], products: [orders]}}
  ed: {{keyId: ed-key, algorithm: ed25519, publicKeyPem: {}}}
  ec: {{keyId: ec-key, algorithm: ecdsa-p256-sha256, publicKeyPem: {}}}
tenants: {{acme: {{status: ACTIVE}}}}
{more}",
            text(self.ed.pem()),
            text(self.ec.pem())
        )
    }

    pub(super) fn signers(&self, more: &str) -> Signers {
        let (providers, problems) = compile(&self.yaml(more), &Resolved::default());
        assert!(problems.iter().all(|line| line.starts_with("secret.literal")), "{problems:?}");
        providers.signers
    }

    fn sign(&self, key: &str, text: &str) -> Vec<u8> {
        match key {
            "ed-key" => self.ed.sign("EdDSA", text.as_bytes()),
            "ec-key" => self.ec.sign("ES256", text.as_bytes()),
            _ => self.hmac.sign("HS256", text.as_bytes()),
        }
    }
}

/// A request as its client sends it.
#[derive(Clone)]
pub(super) struct Sent {
    pub(super) method: Method,
    pub(super) scheme: Scheme,
    pub(super) host: &'static str,
    pub(super) port: Option<u16>,
    pub(super) path: &'static str,
    pub(super) query: Option<&'static str>,
    pub(super) headers: Vec<(&'static str, String)>,
}

/// How it is signed.
#[derive(Clone)]
pub(super) struct Signing {
    pub(super) key: &'static str,
    pub(super) label: &'static str,
    /// As they stand in the list.
    pub(super) components: Vec<&'static str>,
    /// What stands behind the list.
    pub(super) parameters: String,
}

/// A good request: a POST with a body.
pub(super) fn good() -> (Sent, Signing) {
    let sent = Sent {
        method: Method::POST,
        scheme: Scheme::Https,
        host: "api.test",
        port: None,
        path: "/orders/7",
        query: Some("a=1&b=%20"),
        headers: vec![
            ("content-length", "18".to_owned()),
            ("content-digest", DIGEST.to_owned()),
            ("content-type", "application/json".to_owned()),
        ],
    };
    let components = vec!["@method", "@authority", "@path", "@query", "content-digest"];
    let parameters = parameters(NOW, "");
    (sent, Signing { key: "hmac-key", label: "sig1", components, parameters })
}

/// The usual parameters, and others behind them.
pub(super) fn parameters(created: i64, more: &str) -> String {
    format!(";created={created};nonce=\"{NONCE}\";keyid=\"KEY\"{more}")
}

pub(super) const NONCE: &str = "0123456789abcdef";
/// The SHA-256 of `{"hello": "world"}`, RFC 9530, B.1.
pub(super) const DIGEST: &str = "sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:";

impl Sent {
    /// Signs it as its client would: with text made by hand, not by the code that is tested.
    pub(super) fn sign(&mut self, parties: &Parties, signing: &Signing) {
        let parameters = signing.parameters.replace("KEY", signing.key);
        let names: Vec<String> =
            signing.components.iter().map(|name| format!("\"{name}\"")).collect();
        let input = format!("({}){parameters}", names.join(" "));
        let lines = signing.components.iter().map(|n| format!("\"{n}\": {}\n", self.value(n)));
        let text = lines.collect::<String>() + "\"@signature-params\": " + &input;
        let signature = STANDARD.encode(parties.sign(signing.key, &text));
        self.headers.push(("signature-input", format!("{}={input}", signing.label)));
        self.headers.push(("signature", format!("{}=:{signature}:", signing.label)));
    }

    fn value(&self, name: &str) -> String {
        let scheme = if self.scheme == Scheme::Https { "https" } else { "http" };
        let usual = if self.scheme == Scheme::Https { 443 } else { 80 };
        let port = self.port.filter(|port| *port != usual);
        let authority = self.host.to_owned() + &port.map_or(String::new(), |p| format!(":{p}"));
        let query = self.query.map_or(String::new(), |query| format!("?{query}"));
        match name {
            "@method" => self.method.to_string(),
            "@authority" => authority,
            "@scheme" => scheme.to_owned(),
            "@path" => self.path.to_owned(),
            "@query" if query.is_empty() => "?".to_owned(),
            "@query" => query,
            "@request-target" => format!("{}{query}", self.path),
            "@target-uri" => format!("{scheme}://{authority}{}{query}", self.path),
            _ => {
                let lines = self.headers.iter().filter(|(known, _)| *known == name);
                lines.map(|(_, value)| value.trim()).collect::<Vec<_>>().join(", ")
            }
        }
    }

    pub(super) fn header(&mut self, name: &str) -> &mut String {
        &mut self.headers.iter_mut().find(|(known, _)| *known == name).unwrap().1
    }

    pub(super) fn fields(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
            headers.append(HeaderName::from_static(name), value);
        }
        headers
    }

    pub(super) fn view<'a>(&'a self, headers: &'a HeaderMap) -> RequestView<'a> {
        RequestView {
            scheme: self.scheme,
            host: self.host.into(),
            port: self.port,
            path: normalise_path(self.path).unwrap(),
            query: self.query,
            ..testing::view(&self.method, headers)
        }
    }

    pub(super) fn verify(
        &self,
        signers: &Signers,
        now: Moment,
    ) -> Result<Verified, SignatureError> {
        let headers = self.fields();
        verify(&self.view(&headers), signers, now)
    }

    pub(super) fn caller(
        &self,
        signers: &Signers,
        now: Moment,
    ) -> Result<Arc<Identity>, SignatureError> {
        self.verify(signers, now).map(|verified| verified.identity)
    }
}
