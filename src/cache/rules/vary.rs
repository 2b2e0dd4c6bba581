//! `Vary`: one URL, several answers.

use http::header::{ACCEPT, ACCEPT_CHARSET, ACCEPT_ENCODING, ACCEPT_LANGUAGE, VARY};
use http::{HeaderMap, HeaderName};
use pingora_cache::VarianceBuilder;
use pingora_cache::key::HashBinary;

use crate::edge::weighted::all_members;

/// Names of request headers that one `Vary` may hold; more tell so many requests apart that
/// hardly any would be answered from the cache.
pub(in crate::cache) const MAX_NAMES: usize = 8;

/// The request headers that an answer varies by, each once.
///
/// # Errors
/// Why such an answer cannot be kept.
pub(in crate::cache) fn names(response: &HeaderMap) -> Result<Vec<HeaderName>, &'static str> {
    let mut names: Vec<HeaderName> = Vec::new();
    for value in response.get_all(VARY) {
        let value = value.to_str().map_err(|_| MALFORMED)?;
        for name in value.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            if name == "*" {
                return Err("Vary is *");
            }
            let name = HeaderName::try_from(name).map_err(|_| MALFORMED)?;
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    if names.len() > MAX_NAMES { Err("Vary holds too many names") } else { Ok(names) }
}

const MALFORMED: &str = "Vary cannot be read";

/// What tells this request's answer apart from others under the same key: a hash over the
/// request's values of the headers that the answer's `Vary` names. None where there are none.
///
/// Values are compared as they were sent, but for `Accept-Encoding`, which is reduced to the set
/// of codings that it accepts, or to `coding`, where the gateway chose that for this request and
/// the service was asked for nothing else. A header that is absent differs from one that is empty.
pub(in crate::cache) fn hash(
    response: &HeaderMap,
    request: &HeaderMap,
    coding: Option<&str>,
) -> Option<HashBinary> {
    let names = names(response).ok()?;
    let mut builder = VarianceBuilder::new();
    for name in &names {
        let value = match coding {
            _ if *name != ACCEPT_ENCODING => joined(request, name),
            // Unlike anything that a list of codings begins with.
            Some(coding) => [b"+", coding.as_bytes()].concat(),
            None => codings(request),
        };
        builder.add_owned_value(name.as_str(), value);
    }
    builder.finalize()
}

/// Nothing for an absent header, else a mark and its fields joined (RFC 9110 section 5.3). White
/// space around the separators of a list of preferences means nothing.
fn joined(request: &HeaderMap, name: &HeaderName) -> Vec<u8> {
    let mut value = fields(request, name);
    if matches!(*name, ACCEPT | ACCEPT_LANGUAGE | ACCEPT_CHARSET) && !value.contains(&b'"') {
        value.retain(|byte| !matches!(byte, b' ' | b'\t'));
    }
    value
}

fn fields(request: &HeaderMap, name: &HeaderName) -> Vec<u8> {
    let mut value = Vec::new();
    for field in request.get_all(name) {
        value.extend_from_slice(if value.is_empty() { b"=" } else { b", " });
        value.extend_from_slice(field.as_bytes().trim_ascii());
    }
    value
}

/// The accepted codings in one spelling, each once, in alphabetical order; a coding with quality
/// 0 stands there as refused. Any answer that suits one request of a set suits all of it, which
/// would not hold for the preferred coding alone.
fn codings(request: &HeaderMap) -> Vec<u8> {
    if !request.contains_key(ACCEPT_ENCODING) {
        return Vec::new();
    }
    let Some(members) = all_members(request, &ACCEPT_ENCODING) else {
        // What we cannot read, a service may read: keep it apart as it is.
        return [b"?", joined(request, &ACCEPT_ENCODING).as_slice()].concat();
    };
    let mut codings: Vec<String> = members
        .into_iter()
        .map(|(coding, quality)| {
            let coding = coding.to_ascii_lowercase();
            let coding = coding.strip_prefix("x-").unwrap_or(&coding);
            if quality == 0 { format!("!{coding}") } else { coding.to_owned() }
        })
        // Always accepted unless refused (RFC 9110 section 12.5.3).
        .filter(|coding| coding != "identity")
        .collect();
    codings.sort_unstable();
    codings.dedup();
    format!("={}", codings.join(",")).into_bytes()
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderName, HeaderValue};

    use super::{MAX_NAMES, names};

    fn hash(response: &HeaderMap, request: &HeaderMap) -> Option<super::HashBinary> {
        super::hash(response, request, None)
    }

    fn headers(fields: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(
                HeaderName::try_from(*name).unwrap(),
                HeaderValue::from_str(value).unwrap(),
            );
        }
        headers
    }

    #[test]
    fn names_are_read_in_any_spelling() {
        let response = headers(&[("vary", " Accept ,origin,,ACCEPT"), ("vary", "Accept-Encoding")]);
        let read = names(&response).unwrap();
        let read: Vec<&str> = read.iter().map(HeaderName::as_str).collect();
        assert_eq!(read, ["accept", "origin", "accept-encoding"]);
        assert_eq!(names(&headers(&[])), Ok(vec![]));
    }

    #[test]
    fn some_cannot_be_kept() {
        assert!(names(&headers(&[("vary", "*")])).is_err());
        assert!(names(&headers(&[("vary", "accept"), ("vary", "origin, *")])).is_err());
        assert!(names(&headers(&[("vary", "no spaces")])).is_err());
        let list = |count: usize| {
            let names: Vec<String> = (0..count).map(|n| format!("x-{n}")).collect();
            headers(&[("vary", &names.join(","))])
        };
        assert!(names(&list(MAX_NAMES)).is_ok());
        assert!(names(&list(MAX_NAMES + 1)).is_err());
    }

    #[test]
    fn without_vary_there_is_no_variance() {
        assert_eq!(hash(&headers(&[]), &headers(&[("accept", "a")])), None);
        assert_eq!(hash(&headers(&[("vary", "")]), &headers(&[("accept", "a")])), None);
    }

    #[test]
    fn only_named_headers_count_and_all_of_them() {
        let vary = headers(&[("vary", "accept, origin")]);
        let base = headers(&[("accept", "a"), ("origin", "b"), ("x", "1")]);
        let same = [
            headers(&[("accept", "a"), ("origin", "b"), ("x", "2")]),
            headers(&[("origin", " b "), ("accept", "a")]),
        ];
        for request in &same {
            assert_eq!(hash(&vary, &base), hash(&vary, request), "{request:?}");
        }
        let others = [
            headers(&[("accept", "a"), ("origin", "c")]),
            headers(&[("accept", "b"), ("origin", "a")]),
            headers(&[("accept", "a")]),
            headers(&[("accept", "a"), ("origin", "")]),
            headers(&[("accept", "ab"), ("origin", "")]),
        ];
        for request in &others {
            assert_ne!(hash(&vary, &base), hash(&vary, request), "{request:?}");
        }
        assert_eq!(hash(&vary, &base), hash(&headers(&[("vary", "Origin,Accept")]), &base));
    }

    #[test]
    fn repeated_fields_are_one_list() {
        let vary = headers(&[("vary", "accept")]);
        let twice = headers(&[("accept", "a"), ("accept", "b")]);
        assert_eq!(hash(&vary, &twice), hash(&vary, &headers(&[("accept", "a, b")])));
        let absent = hash(&vary, &headers(&[]));
        assert_ne!(absent, hash(&vary, &headers(&[("accept", "")])));
    }

    /// On routes that compress.
    #[test]
    fn a_negotiated_coding_stands_for_what_is_accepted() {
        let vary = headers(&[("vary", "accept-encoding")]);
        let hash = |value: &str, coding| {
            super::hash(&vary, &headers(&[("accept-encoding", value)]), coding)
        };
        assert_eq!(hash("gzip, br", Some("br")), hash("br;q=0.1", Some("br")));
        assert_ne!(hash("gzip, br", Some("br")), hash("gzip, br", Some("gzip")));
        assert_ne!(hash("gzip", Some("gzip")), hash("gzip", Some("identity")));
        assert_ne!(hash("gzip", Some("gzip")), hash("gzip", None));
        let others = headers(&[("vary", "accept")]);
        let plain = headers(&[]);
        assert_eq!(super::hash(&others, &plain, Some("br")), super::hash(&others, &plain, None));
    }

    #[test]
    fn accept_encoding_is_a_set() {
        let vary = headers(&[("vary", "accept-encoding")]);
        let hash = |value: &str| hash(&vary, &headers(&[("accept-encoding", value)]));
        for (one, other) in [
            ("gzip, br", "br;q=0.5,GZIP"),
            ("gzip, identity", "gzip"),
            ("x-gzip", "gzip"),
            ("gzip, gzip;q=0.3", "gzip"),
        ] {
            assert_eq!(hash(one), hash(other), "{one}; {other}");
        }
        for (one, other) in [
            ("gzip, br", "br"),
            ("gzip", "gzip, deflate"),
            ("gzip, br;q=0", "gzip"),
            ("*", "gzip"),
            ("gzip, identity;q=0", "gzip"),
            ("", "gzip"),
            ("gzip;q=5", "identity"),
            ("gzip;q=5", "br;q=5"),
        ] {
            assert_ne!(hash(one), hash(other), "{one}; {other}");
        }
        assert_ne!(hash(""), super::hash(&vary, &headers(&[]), None));
    }
}
