//! Where and how an issuer is asked, compiled.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use reqwest::{Certificate, Url};

use crate::auth::api_key::secret_value;
use crate::auth::jwt::provider::{Fingerprint, is_loopback};
use crate::model::{Introspection, Problem, Problems, Resolved, pem};

/// An introspection endpoint.
pub(in crate::auth) struct Endpoint {
    /// None where the configuration has an error that refuses it.
    pub(super) url: Option<Url>,
    /// HTTP Basic with the gateway's own credentials.
    pub(super) authorization: HeaderValue,
    /// Who vouches for the issuer's TLS; the system's certificates where there is none.
    pub(super) authorities: Option<Vec<Certificate>>,
    pub(super) timeout: Duration,
    pub(super) cache_ttl: Duration,
    pub(super) negative_ttl: Duration,
    /// Stands for everything that a connection to it depends on.
    pub(super) id: Fingerprint,
}

/// Shows no credentials; a URL may hold some too.
impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Endpoint(timeout {:?})", self.timeout)
    }
}

impl Endpoint {
    /// Compiles `introspection` at `path`. What decides answers and is not in the written
    /// settings themselves, the secret and the certificates, is added to `material`.
    pub(in crate::auth) fn compile(
        written: &Introspection,
        path: &str,
        resolved: &Resolved,
        problems: &mut Problems,
        material: &mut Vec<u8>,
    ) -> Self {
        let path = format!("{path}.introspection");
        let url = url(&written.url, &format!("{path}.url"), problems);
        if written.client_id.is_empty() {
            let message = "the gateway needs a name of its own at the issuer";
            let path = format!("{path}.clientId");
            problems.push(Problem::error("introspection.client", path, message));
        }
        if written.timeout.get().is_zero() {
            let message = "a question needs some time; 2s is usual";
            let path = format!("{path}.timeout");
            problems.push(Problem::error("introspection.timeout", path, message));
        }
        let place = format!("{path}.clientSecret");
        let secret = secret_value(&written.client_secret, &place, resolved, problems);
        let secret = secret.unwrap_or_default();
        let place = format!("{path}.caFile");
        let authorities =
            written.ca_file.as_deref().map(|file| authorities(file, &place, resolved, problems));
        let before = material.len();
        material.extend_from_slice(secret.as_bytes());
        material.push(0);
        let ca = written.ca_file.as_deref().and_then(|file| resolved.file(file));
        material.extend_from_slice(ca.unwrap_or_default());
        let settings = serde_json::to_vec(written).unwrap_or_default();
        Self {
            url,
            authorization: basic(&written.client_id, secret),
            authorities,
            timeout: written.timeout.get(),
            cache_ttl: written.cache_ttl.get(),
            negative_ttl: written.negative_ttl.get(),
            id: Fingerprint::of(&[&settings, material.get(before..).unwrap_or_default()]),
        }
    }
}

/// The URL, if an issuer can be asked there at all; warns where anybody on the way could read
/// the tokens and answer in the issuer's place.
fn url(written: &str, path: &str, problems: &mut Problems) -> Option<Url> {
    let parsed = Url::parse(written).ok().filter(|url| {
        let has_user = !url.username().is_empty() || url.password().is_some();
        matches!(url.scheme(), "https" | "http") && url.has_host() && !has_user
    });
    let Some(url) = parsed else {
        let message = "this is not an http or https URL without user and password";
        problems.push(Problem::error("introspection.url", path, message));
        return None;
    };
    if url.scheme() == "http" && !is_loopback(&url) {
        let message = "tokens go over cleartext, and whoever is on the way can answer for the \
                       issuer";
        let help = "use https; http is for 127.0.0.1, ::1 and localhost";
        problems.push(Problem::warning("introspection.cleartext", path, message).help(help));
    }
    Some(url)
}

fn authorities(
    file: &str,
    place: &str,
    resolved: &Resolved,
    problems: &mut Problems,
) -> Vec<Certificate> {
    let found = match pem::certificates(resolved, file, place) {
        Ok(found) => found.unwrap_or_default(),
        Err(problem) => {
            problems.push(*problem);
            return Vec::new();
        }
    };
    found.iter().filter_map(|one| Certificate::from_der(one).ok()).collect()
}

/// HTTP Basic as OAuth wants it: both parts are form-encoded first (RFC 6749, 2.3.1).
fn basic(id: &str, secret: &str) -> HeaderValue {
    let pair = format!("{}:{}", form_encode(id), form_encode(secret));
    let value = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(pair)));
    // Base64 is always a header value.
    let mut value = value.unwrap_or_else(|_| HeaderValue::from_static(""));
    value.set_sensitive(true);
    value
}

/// `application/x-www-form-urlencoded` (URL standard, 5.2).
pub(super) fn form_encode(text: &str) -> String {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let digit = |nibble: u8| HEX.get(usize::from(nibble)).copied().map_or('0', char::from);
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'*' | b'-' | b'.' | b'_' => {
                encoded.push(char::from(byte));
            }
            b' ' => encoded.push('+'),
            _ => {
                encoded.push('%');
                encoded.push(digit(byte >> 4));
                encoded.push(digit(byte & 15));
            }
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::testing::{compile, main_provider};

    fn problems(introspection: &str) -> Vec<String> {
        let yaml = main_provider(&format!("    introspection: {introspection}\n"));
        compile(&yaml, &Resolved::default()).1
    }

    #[test]
    fn what_cannot_work_is_said_with_its_place() {
        let good = "clientId: g, clientSecret: '${env:S}'";
        assert_eq!(problems(&format!("{{url: 'https://a/i', {good}}}")), [""; 0]);
        assert_eq!(problems(&format!("{{url: 'http://127.0.0.1:1/i', {good}}}")), [""; 0]);
        let at = |key: &str| format!("identityProviders.main.introspection.{key}");
        for url in ["ftp://a/", "a", "https://u:p@a/", "https://u@a/", "https://"] {
            let found = problems(&format!("{{url: '{url}', {good}}}"));
            assert_eq!(found, [format!("introspection.url {}", at("url"))], "{url}");
        }
        let found = problems(&format!("{{url: 'http://a.example/i', {good}}}"));
        assert_eq!(found, [format!("introspection.cleartext {}", at("url"))]);
        let found = problems("{url: 'https://a/', clientId: '', clientSecret: x, timeout: 0s}");
        let expected = [
            format!("introspection.client {}", at("clientId")),
            format!("introspection.timeout {}", at("timeout")),
            format!("secret.literal {}", at("clientSecret")),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn keys_and_algorithms_may_be_absent_only_beside_introspection() {
        let rest = "{url: 'https://a/', clientId: g, clientSecret: '${env:S}'}";
        let with = main_provider(&format!("    introspection: {rest}\n    algorithms: [RS256]\n"));
        let (_, found) = compile(&with, &Resolved::default());
        assert_eq!(found, ["provider.algorithms identityProviders.main.algorithms"]);
        let (_, found) = compile(&main_provider(""), &Resolved::default());
        assert!(found.contains(&"provider.keys identityProviders.main".to_owned()), "{found:?}");
    }

    #[test]
    fn credentials_are_form_encoded_before_base64() {
        assert_eq!(form_encode("aZ0*-._ :/%+é~"), "aZ0*-._+%3A%2F%25%2B%C3%A9%7E");
        let value = basic("a:b", "s p");
        assert_eq!(value, format!("Basic {}", STANDARD.encode("a%3Ab:s+p")));
        assert!(value.is_sensitive());
    }

    #[test]
    fn the_id_follows_the_secret_and_debug_shows_neither() {
        let yaml = "{url: 'https://a/', clientId: g, clientSecret: '${env:S}'}";
        let written: Introspection = serde_yaml::from_str(yaml).unwrap();
        let with = |value: &str| {
            let mut resolved = Resolved::default();
            resolved.secrets.insert(written.client_secret.clone(), value.to_owned());
            let mut problems = Problems::default();
            let mut material = Vec::new();
            let endpoint =
                Endpoint::compile(&written, "p", &resolved, &mut problems, &mut material);
            assert!(problems.0.is_empty() && material.starts_with(value.as_bytes()));
            endpoint
        };
        assert_eq!(with("one").id, with("one").id);
        assert_ne!(with("one").id, with("two").id);
        assert!(!format!("{:?}", with("one")).contains("one"));
    }
}
