//! The gateway's signature over what it tells services about callers (R109): RFC 9421 with
//! HMAC-SHA256.
//!
//! It covers the request as the service sees it, after rewriting: method, path, query, request id
//! and the identity headers, and the time. `@authority` is not among it: the gateway may send
//! another `Host` than the client's, and services behind more proxies see yet another. Nor is the
//! body: a service that must know it unchanged asks its callers to sign it.

use std::collections::HashSet;
use std::fmt::{self, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use ring::hmac;

use crate::auth::api_key::secret_value;
use crate::edge::X_REQUEST_ID;
use crate::model::{IdentitySignature, Problem, Problems, Resolved};

const SIGNATURE: HeaderName = HeaderName::from_static("signature");
const SIGNATURE_INPUT: HeaderName = HeaderName::from_static("signature-input");

/// The headers of a signature; where the gateway signs, those of clients are removed.
pub const SIGNATURE_HEADERS: [HeaderName; 2] = [SIGNATURE, SIGNATURE_INPUT];

/// The shortest secret: as long as the hash (RFC 2104, section 3).
const SECRET_BYTES_MIN: usize = 32;
/// The longest key id.
const KEY_ID_BYTES_MAX: usize = 64;

/// Signs requests to services.
pub struct IdentitySigner {
    key: hmac::Key,
    /// What follows the time: `;keyid="…";alg="hmac-sha256"`.
    parameters: Box<str>,
}

/// Says which key signs and nothing about it.
impl fmt::Debug for IdentitySigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IdentitySigner({})", self.parameters)
    }
}

impl IdentitySigner {
    /// Compiles `identitySignature`; none where the first key cannot sign.
    pub(in crate::auth) fn compile(
        model: &IdentitySignature,
        resolved: &Resolved,
        problems: &mut Problems,
    ) -> Option<Self> {
        if model.keys.is_empty() {
            let path = "identitySignature.keys";
            let message = "there is no key to sign with";
            problems.push(Problem::error("identity_signature.keys", path, message));
        }
        if model.max_age.get().as_secs() == 0 {
            let path = "identitySignature.maxAge";
            let message = "services would refuse every signature: it counts whole seconds";
            problems.push(Problem::error("identity_signature.max_age", path, message));
        }
        let (mut ids, mut secrets) = (HashSet::new(), HashSet::new());
        let mut signer = None;
        for (index, key) in model.keys.iter().enumerate() {
            let path = format!("identitySignature.keys[{index}]");
            check_id(&key.id, &path, &mut ids, problems);
            let path = format!("{path}.secret");
            let Some(secret) = secret_value(&key.secret, &path, resolved, problems) else {
                continue;
            };
            if secret.len() < SECRET_BYTES_MIN {
                let message =
                    format!("the secret has {} bytes, at least 32 are needed", secret.len());
                let help = "for example `openssl rand -hex 32`";
                problems.push(Problem::error("secret.short", path, message).help(help));
                continue;
            }
            if !secrets.insert(secret) {
                let message = "another key has the same secret: changing over would change nothing";
                problems.push(Problem::error("identity_signature.repeated", path, message));
            }
            if index == 0 {
                signer = Some(Self::new(&key.id, secret.as_bytes()));
            }
        }
        signer
    }

    fn new(id: &str, secret: &[u8]) -> Self {
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, secret),
            parameters: format!(";keyid=\"{id}\";alg=\"hmac-sha256\"").into(),
        }
    }

    /// Signs a request that is complete but for this: sets `Signature-Input` and `Signature`.
    /// `told` are the identity headers that it carries, in the order of their names; `created` is
    /// the time in Unix seconds. Both headers are missing where a value cannot be signed, which
    /// the gateway's own never are: services then refuse the request.
    pub fn sign(
        &self,
        (method, target): (&Method, &Uri),
        told: &[(HeaderName, HeaderValue)],
        created: u64,
        headers: &mut HeaderMap,
    ) {
        for name in &SIGNATURE_HEADERS {
            headers.remove(name);
        }
        if let Some((input, signature)) = self.signature(method, target, told, created, headers) {
            headers.insert(SIGNATURE_INPUT, input);
            headers.insert(SIGNATURE, signature);
        }
    }

    fn signature(
        &self,
        method: &Method,
        target: &Uri,
        told: &[(HeaderName, HeaderValue)],
        created: u64,
        headers: &HeaderMap,
    ) -> Option<(HeaderValue, HeaderValue)> {
        let request_id = (&X_REQUEST_ID, headers.get(X_REQUEST_ID)?);
        let covered =
            || std::iter::once(request_id).chain(told.iter().map(|(name, value)| (name, value)));

        let mut input = String::with_capacity(INPUT_BYTES + 24 * told.len());
        input.push_str("tidegate=(\"@method\" \"@path\" \"@query\"");
        for (name, _) in covered() {
            write!(input, " \"{name}\"").ok()?;
        }
        write!(input, ");created={created}{}", self.parameters).ok()?;

        let (path, query) = (target.path(), target.query().unwrap_or_default());
        let mut base = String::with_capacity(BASE_BYTES + input.len() + path.len() + query.len());
        write!(base, "\"@method\": {method}\n\"@path\": {path}\n\"@query\": ?{query}\n").ok()?;
        for (name, value) in covered() {
            writeln!(base, "\"{name}\": {}", value.to_str().ok()?.trim_matches([' ', '\t']))
                .ok()?;
        }
        write!(base, "\"@signature-params\": {}", input.strip_prefix(LABEL)?).ok()?;

        let tag = hmac::sign(&self.key, base.as_bytes());
        let mut signature = String::with_capacity(64);
        signature.push_str("tidegate=:");
        STANDARD.encode_string(tag.as_ref(), &mut signature);
        signature.push(':');
        Some((HeaderValue::try_from(input).ok()?, HeaderValue::try_from(signature).ok()?))
    }
}

const LABEL: &str = "tidegate=";
/// Room for what is the same in every `Signature-Input`.
const INPUT_BYTES: usize = 160;
/// Room for a signature base, beside what is counted.
const BASE_BYTES: usize = 512;

fn check_id<'a>(id: &'a str, path: &str, ids: &mut HashSet<&'a str>, problems: &mut Problems) {
    let path = format!("{path}.id");
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if id.is_empty() || id.len() > KEY_ID_BYTES_MAX || !id.bytes().all(allowed) {
        let message = format!("`{id}` is not a key id");
        problems.push(
            Problem::error("identity_signature.id", path, message)
                .help("use letters, digits, `-`, `_` and `.`, at most 64"),
        );
    } else if !ids.insert(id) {
        let message = format!("another key has the id `{id}`");
        problems.push(Problem::error("identity_signature.repeated", path, message));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::testing::{config, lines};

    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    fn signed(target: &str, told: &[(&'static str, &'static str)]) -> HeaderMap {
        let signer = IdentitySigner::new("k-1", SECRET.as_bytes());
        let told: Vec<(HeaderName, HeaderValue)> = told
            .iter()
            .map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v)))
            .collect();
        let mut headers = HeaderMap::new();
        headers.insert(X_REQUEST_ID, HeaderValue::from_static("req-1"));
        headers.append(SIGNATURE, HeaderValue::from_static("sig1=:AAAA:"));
        headers.append(SIGNATURE, HeaderValue::from_static("tidegate=:AAAA:"));
        let target = target.parse().unwrap();
        signer.sign((&Method::POST, &target), &told, 1_800_000_000, &mut headers);
        headers
    }

    fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
        assert_eq!(headers.get_all(name).iter().count(), 1, "{name}");
        headers[name].to_str().unwrap()
    }

    /// The signature base is written out by hand here, after RFC 9421, 2.5.
    #[test]
    fn the_signature_is_that_of_the_rfc() {
        let told = [("x-tenant-id", "acme"), ("x-user-id", "a b")];
        let headers = signed("/orders/7?a=1&b=%20", &told);
        let parameters = "(\"@method\" \"@path\" \"@query\" \"x-request-id\" \"x-tenant-id\" \
                          \"x-user-id\");created=1800000000;keyid=\"k-1\";alg=\"hmac-sha256\"";
        assert_eq!(text(&headers, "signature-input"), format!("tidegate={parameters}"));
        let base = format!(
            "\"@method\": POST\n\"@path\": /orders/7\n\"@query\": ?a=1&b=%20\n\
             \"x-request-id\": req-1\n\"x-tenant-id\": acme\n\"x-user-id\": a b\n\
             \"@signature-params\": {parameters}"
        );
        let tag =
            hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes()), base.as_bytes());
        let expected = format!("tidegate=:{}:", STANDARD.encode(tag));
        assert_eq!(text(&headers, "signature"), expected);
    }

    #[test]
    fn nobodys_request_is_signed_too() {
        let headers = signed("/", &[]);
        let input = text(&headers, "signature-input");
        assert!(input.contains("\"@query\" \"x-request-id\");created="), "{input}");
        // An empty query and none are one to RFC 9421, 2.2.7.
        assert_eq!(signed("/", &[]), signed("/?", &[]));
        assert_ne!(text(&signed("/a", &[]), "signature"), text(&headers, "signature"));
    }

    #[test]
    fn what_cannot_be_signed_has_no_signature() {
        let signer = IdentitySigner::new("k-1", SECRET.as_bytes());
        let mut headers = HeaderMap::new();
        headers.insert(SIGNATURE, HeaderValue::from_static("tidegate=:AAAA:"));
        signer.sign((&Method::GET, &Uri::from_static("/")), &[], 1, &mut headers);
        assert!(headers.is_empty(), "{headers:?}");
    }

    fn problems(signature: &str) -> (Option<String>, Vec<String>) {
        let model = config(&format!("identitySignature: {signature}")).identity_signature;
        let (mut problems, mut resolved) = (Problems::default(), Resolved::default());
        for (name, value) in [("A", SECRET), ("B", &SECRET.replace('0', "x")), ("SHORT", "short")] {
            let name = crate::model::Secret::Env(name.to_owned());
            resolved.secrets.insert(name, value.to_owned());
        }
        let signer = IdentitySigner::compile(&model.unwrap(), &resolved, &mut problems);
        (signer.map(|signer| format!("{signer:?}")), lines(&problems))
    }

    #[test]
    fn the_first_key_signs_and_no_secret_is_shown() {
        let keys = "{keys: [{id: new, secret: '${env:A}'}, {id: old, secret: '${env:B}'}]}";
        let shown = "IdentitySigner(;keyid=\"new\";alg=\"hmac-sha256\")".to_owned();
        assert_eq!(problems(keys), (Some(shown), vec![]));
    }

    #[test]
    fn keys_that_cannot_do_are_errors() {
        let at = "identitySignature";
        let found = |signature: &str| problems(signature).1;
        assert_eq!(found("{keys: []}"), [format!("identity_signature.keys {at}.keys")]);
        let twice = "{keys: [{id: a, secret: '${env:A}'}, {id: a, secret: '${env:B}'}]}";
        assert_eq!(found(twice), [format!("identity_signature.repeated {at}.keys[1].id")]);
        let same = "{keys: [{id: a, secret: '${env:A}'}, {id: b, secret: '${env:A}'}]}";
        assert_eq!(found(same), [format!("identity_signature.repeated {at}.keys[1].secret")]);
        for id in ["''", "'a\"b'", "'a b'", "ä"] {
            let keys = format!("{{keys: [{{id: {id}, secret: '${{env:A}}'}}]}}");
            assert_eq!(found(&keys), [format!("identity_signature.id {at}.keys[0].id")], "{id}");
        }
        let short = problems("{keys: [{id: a, secret: '${env:SHORT}'}]}");
        assert_eq!(short, (None, vec![format!("secret.short {at}.keys[0].secret")]));
        let age = "{keys: [{id: a, secret: '${env:A}'}], maxAge: 10ms}";
        assert_eq!(found(age), [format!("identity_signature.max_age {at}.maxAge")]);
        let literal = format!("{{keys: [{{id: a, secret: {SECRET}}}]}}");
        assert_eq!(found(&literal), [format!("secret.literal {at}.keys[0].secret")]);
    }
}
