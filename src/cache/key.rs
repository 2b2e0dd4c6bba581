//! The key of an answer.
//!
//! A key is a list of factors, each a name and a value, in a fixed order. It is made from the
//! request as the client sent it and from verified identity; what a client claims about itself
//! is never a factor (T12). The list is encoded with every length in front, so that two lists
//! share bytes only if they are the same list (T10, R145). A header that is absent has no
//! factor; one that is there and empty has one with an empty value.

use http::header;
use pingora_cache::CacheKey;
use pingora_cache::key::HashBinary;
use sha2::{Digest, Sha256};

use super::rules::control::RequestControl;
use super::{CachePolicy, KeyHash};
use crate::edge::{Facts, hex};

mod body;
pub(super) mod language;
pub(super) mod query;

pub use body::{QUERY_BODY_MAX, is_query};

/// One factor of a key, in words, for explanations.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Factor {
    /// What it is, for example `query` or `header:accept`.
    pub name: String,
    /// Its value for this request.
    pub value: String,
}

/// How a request uses the cache.
#[derive(Clone, Copy, Debug)]
pub struct CachePlan {
    /// The SHA-256 of the encoded key: every factor with its length before it (R145).
    pub key: KeyHash,
    /// Whether the key still lacks the request's body: see [`with_body`](Self::with_body).
    pub lacks_body: bool,
    /// What the client asks of kept answers.
    pub(super) wants: RequestControl,
}

impl CachePlan {
    /// The plan of a QUERY request with this body. Its key is made from the one that it has so far
    /// and from the body's SHA-256: both are of fixed length, and no other key is made so.
    #[must_use]
    pub fn with_body(self, body: &[u8]) -> Self {
        let mut hash = Sha256::new_with_prefix(b"tidegate, a key with a body");
        hash.update(self.key);
        hash.update(Sha256::digest(body));
        Self { key: hash.finalize().into(), lacks_body: false, ..self }
    }

    /// The plan of somebody who knows the key and asks for nothing else.
    #[must_use]
    pub fn of(key: KeyHash) -> Self {
        Self { key, lacks_body: false, wants: RequestControl::default() }
    }

    /// The key in Pingora's form. Entries are filed under the first half of it, given to Pingora
    /// ready made, and compared by the whole.
    #[must_use]
    pub fn pingora_key(&self) -> CacheKey {
        let mut key = CacheKey::new(self.key.as_slice(), "");
        let half: HashBinary = std::array::from_fn(|at| self.key.get(at).copied().unwrap_or(0));
        key.set_primary_bin_override(half);
        key
    }

    /// A part of the key, for counting how many there are.
    #[must_use]
    pub fn short(&self) -> u64 {
        self.key.last_chunk().map_or(0, |last| u64::from_be_bytes(*last))
    }

    /// Whether the client wants nothing but what is kept (`only-if-cached`).
    #[must_use]
    pub const fn is_only_if_cached(&self) -> bool {
        self.wants.only_if_cached
    }

    /// The key as it is shown: 64 hexadecimal digits.
    #[must_use]
    pub fn digest(&self) -> String {
        hex(&self.key)
    }
}

/// How a request uses the cache; none when it does not, for one of the reasons that [`bypass`]
/// gives.
#[must_use]
pub fn consider(policy: &CachePolicy, facts: &Facts<'_>) -> Option<CachePlan> {
    if bypass(policy, facts).is_some() {
        return None;
    }
    let mut encoder = Encoder::new();
    policy.visit(facts, |name, value| encoder.push(name, value));
    let wants = RequestControl::of(facts.view.headers);
    let lacks_body = is_query(facts.view.method);
    Some(CachePlan { key: Sha256::digest(encoder.finish()).into(), lacks_body, wants })
}

/// Why a request does not use the cache, in words for explanations; none when it does.
#[must_use]
pub fn bypass(policy: &CachePolicy, facts: &Facts<'_>) -> Option<&'static str> {
    let headers = facts.view.headers;
    let query = is_query(facts.view.method);
    if !query && !matches!(*facts.view.method, http::Method::GET | http::Method::HEAD) {
        return Some("only GET, HEAD and QUERY are answered from the cache");
    }
    if headers.contains_key(header::UPGRADE) {
        return Some("the request asks to change the protocol");
    }
    let is_empty = |length: &http::HeaderValue| length.as_bytes() == b"0";
    if query {
        if let Some(reason) = body::unfit(headers) {
            return Some(reason);
        }
    } else if headers.contains_key(header::TRANSFER_ENCODING)
        || headers.get(header::CONTENT_LENGTH).is_some_and(|length| !is_empty(length))
    {
        return Some("the request has a body, which the answer may depend on");
    }
    // RFC 9111 section 4.3.2: these are for the origin to evaluate.
    if headers.contains_key(header::IF_MATCH) || headers.contains_key(header::IF_UNMODIFIED_SINCE) {
        return Some("the request has a precondition that only the service can check");
    }
    if RequestControl::of(headers).no_store && policy.terms.heeds_client {
        return Some("the request says no-store");
    }
    // Never share by absence: a caller without the fact is nobody, not one of many.
    if policy.tenant && tenant(facts).is_none() {
        return Some("the key holds the tenant, and the caller has none");
    }
    if policy.user && user(facts).is_none() {
        return Some("the key holds the user, and the caller is not known");
    }
    if query::is_ambiguous(&policy.query, facts.view.query) {
        return Some("the query holds `;`, which some services read as a separator");
    }
    None
}

fn tenant<'a>(facts: &Facts<'a>) -> Option<&'a str> {
    facts.identity?.tenant_id.as_deref().filter(|tenant| !tenant.is_empty())
}

/// The identity provider and the subject: two providers may both know an `alice`.
fn user<'a>(facts: &Facts<'a>) -> Option<(&'a str, &'a str)> {
    let identity = facts.identity?;
    (!identity.subject.is_empty()).then_some((&*identity.provider, &*identity.subject))
}

impl CachePolicy {
    /// The factors of a request's key, for explanations, in the order of encoding. For a request
    /// that does not use the cache, those that it has.
    #[must_use]
    pub fn factors(&self, facts: &Facts<'_>) -> Vec<Factor> {
        let mut factors = Vec::new();
        self.visit(facts, |name, value| {
            factors.push(Factor { name: name.to_owned(), value: value.to_owned() });
        });
        factors
    }

    /// The one of the route's languages that a request is answered in; none where the route
    /// tells no languages apart. The service must be sent this as `Accept-Language`: were it to
    /// see the client's own, it could choose a language that the key does not know.
    #[must_use]
    pub fn language(&self, headers: &http::HeaderMap) -> Option<&http::HeaderValue> {
        self.languages.prefer(headers).map(|language| &language.value)
    }

    /// Shows every factor, name and value, in the order of the key.
    fn visit(&self, facts: &Facts<'_>, mut factor: impl FnMut(&str, &str)) {
        let view = facts.view;
        if is_query(view.method) {
            factor("method", "QUERY");
            body::visit(view.headers, &mut factor);
        } else {
            // These share: Pingora fills with GET and answers HEAD from the same entry.
            factor("method", "GET");
        }
        factor("scheme", view.scheme.as_str());
        factor("host", &view.host);
        factor("path", &view.path);
        for parameter in query::parameters(&self.query, view.query) {
            factor("query", &parameter);
        }
        factor("route", &self.route);
        if self.tenant
            && let Some(tenant) = tenant(facts)
        {
            factor("tenant", tenant);
        }
        if self.user
            && let Some((provider, subject)) = user(facts)
        {
            factor("provider", provider);
            factor("user", subject);
        }
        if self.scopes
            && let Some(identity) = facts.identity
        {
            let mut scopes: Vec<&str> = identity.scopes.iter().map(AsRef::as_ref).collect();
            scopes.sort_unstable();
            scopes.dedup();
            factor("scopes", &scopes.join(" "));
        }
        if let Some(language) = self.languages.prefer(view.headers) {
            factor("language", &language.tag);
        }
        for header in &self.headers {
            for value in view.headers.get_all(&header.name) {
                match std::str::from_utf8(value.as_bytes()) {
                    Ok(text) => factor(&header.label, text),
                    // Under another name, so that no text can look like it.
                    Err(_) => factor(&header.hex_label, &hex(value.as_bytes())),
                }
            }
        }
    }
}

/// Encodes a list of factors: their number, then each name and value behind its length.
struct Encoder {
    bytes: Vec<u8>,
    count: u64,
}

impl Encoder {
    fn new() -> Self {
        let mut bytes = Vec::with_capacity(TYPICAL_KEY_BYTES);
        bytes.extend_from_slice(&0_u64.to_be_bytes());
        Self { bytes, count: 0 }
    }

    fn push(&mut self, name: &str, value: &str) {
        self.count += 1;
        for text in [name, value] {
            self.bytes.extend_from_slice(&(text.len() as u64).to_be_bytes());
            self.bytes.extend_from_slice(text.as_bytes());
        }
    }

    fn finish(mut self) -> Vec<u8> {
        if let Some(front) = self.bytes.first_chunk_mut() {
            *front = self.count.to_be_bytes();
        }
        self.bytes
    }
}

/// Room for the keys of most requests without growing.
const TYPICAL_KEY_BYTES: usize = 384;

#[cfg(test)]
mod tests;
