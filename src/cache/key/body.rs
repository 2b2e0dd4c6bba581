//! Requests whose body is part of the key: QUERY (RFC 10008).

use http::{HeaderMap, Method, header};

use crate::edge::hex;

/// Longest body that can be part of a key, in bytes: what Pingora can send again once it was read.
pub const QUERY_BODY_MAX: u64 = 64 * 1024;

/// Whether a request asks with its body, and changes nothing.
#[must_use]
pub fn is_query(method: &Method) -> bool {
    method.as_str() == "QUERY"
}

/// Why the body of a QUERY cannot be part of a key, judged by the header alone: the body is read
/// only if all of it can be sent on afterwards. None when it can.
pub(super) fn unfit(headers: &HeaderMap) -> Option<&'static str> {
    if !headers.contains_key(header::CONTENT_TYPE) {
        return Some("the request does not say what its body is");
    }
    if headers.contains_key(header::EXPECT) {
        return Some("the client waits with its body");
    }
    let length = headers.get(header::CONTENT_LENGTH);
    if headers.contains_key(header::TRANSFER_ENCODING) || length.is_none() {
        return Some("the request does not say how long its body is");
    }
    let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
    let fits = length.is_some_and(|length: u64| length <= QUERY_BODY_MAX);
    (!fits).then_some("the request's body is too long to be part of a key")
}

/// Shows the factors that say how to read the body. The body is no factor of this list, which is
/// made before it is read.
pub(super) fn visit(headers: &HeaderMap, factor: &mut impl FnMut(&str, &str)) {
    for name in [header::CONTENT_TYPE, header::CONTENT_ENCODING, header::CONTENT_LANGUAGE] {
        for value in headers.get_all(&name) {
            match value.to_str() {
                Ok(text) => factor(name.as_str(), text),
                // Under another name, so that no text can look like it.
                Err(_) => factor(&format!("{name} (hex)"), &hex(value.as_bytes())),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::fixtures::{Request, headers, policy};
    use super::super::{CachePlan, bypass, consider};
    use super::*;

    const QUERY: [(&str, &str); 2] = [("content-type", "application/sql"), ("content-length", "9")];

    fn query(fields: &[(&str, &str)]) -> Request {
        let method = Method::from_bytes(b"QUERY").unwrap();
        Request { method, headers: headers(fields), ..Request::default() }
    }

    fn plan(request: &Request) -> Option<CachePlan> {
        request.with(|facts| consider(&policy("{}"), facts))
    }

    #[test]
    fn a_body_that_can_be_read_and_sent_again_is_part_of_the_key() {
        let plan = plan(&query(&QUERY)).unwrap();
        assert!(plan.lacks_body);
        let (one, other) = (plan.with_body(b"select 1\n"), plan.with_body(b"select 2\n"));
        assert!(!one.lacks_body && one.key != other.key && one.key != plan.key);
        assert_eq!(one.key, plan.with_body(b"select 1\n").key);
        assert_ne!(plan.with_body(b"").key, plan.key);
        assert!(!self::plan(&Request::default()).unwrap().lacks_body);
    }

    #[test]
    fn how_to_read_the_body_counts() {
        let key = |more: &[(&str, &str)]| {
            plan(&query(&[&QUERY[..], more].concat())).unwrap().with_body(b"select 1\n").key
        };
        let plain = key(&[]);
        assert_eq!(plain, key(&[("accept", "text/csv")]));
        for more in [("content-encoding", "gzip"), ("content-language", "de")] {
            assert_ne!(plain, key(&[more]), "{more:?}");
        }
        let csv = query(&[("content-type", "text/plain"), QUERY[1]]);
        assert_ne!(plain, plan(&csv).unwrap().with_body(b"select 1\n").key);
        let get = Request { method: Method::GET, ..query(&QUERY[..1]) };
        assert_ne!(plan(&get).unwrap().key, plan(&query(&QUERY)).unwrap().key);
    }

    #[test]
    fn other_bodies_are_left_alone() {
        let (kind, most) = (QUERY[0], QUERY_BODY_MAX.to_string());
        let more = (QUERY_BODY_MAX + 1).to_string();
        assert!(plan(&query(&[kind, ("content-length", &most)])).is_some());
        assert!(plan(&query(&[kind, ("content-length", "0")])).is_some());
        for fields in [
            &[QUERY[1]][..],
            &[kind],
            &[kind, ("content-length", &more)],
            &[kind, ("content-length", "x")],
            &[kind, ("transfer-encoding", "chunked")],
            &[kind, QUERY[1], ("expect", "100-continue")],
        ] {
            let request = query(fields);
            assert!(plan(&request).is_none(), "{fields:?}");
            assert!(request.with(|facts| bypass(&policy("{}"), facts)).is_some());
        }
    }
}
