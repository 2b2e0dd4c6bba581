//! Is this request clean HTTP? What has not been judged before Pingora saw it is judged here.
//!
//! HTTP/1 was read along byte by byte (`wire::framing`); what is left of it is `Host`. Of HTTP/2
//! (RFC 9113 sections 8.2 and 8.3) the library below refuses connection-specific fields, names in
//! upper case, control characters in values, missing, repeated and misplaced pseudo-header
//! fields, and a `content-length` that the frames disagree with; Pingora refuses an `:authority`
//! that `host` disagrees with. `edge` judges host and path for both.

use http::{HeaderMap, Method, Uri, Version, header};
use pingora::http::RequestHeader;

use crate::fault::{Fault, Hint, Reject};
use crate::wire::Violation;

/// Checks a request before anything is decided on it.
///
/// # Errors
/// 400 with what is wrong.
pub(super) fn check(header: &RequestHeader, violation: Option<Violation>) -> Result<(), Reject> {
    if let Some(violation) = violation {
        return Err(malformed(violation));
    }
    match header.version {
        Version::HTTP_2 => check_http2(&header.method, &header.uri, &header.headers),
        // An absolute target names a host too, but HTTP/1.1 wants the field all the same
        // (RFC 9112 section 3.2).
        Version::HTTP_11 if !header.headers.contains_key(header::HOST) => {
            Err(Fault::HostInvalid.into())
        }
        _ => Ok(()),
    }
}

/// The refusal of what cannot be read in one way only.
pub(super) fn malformed(violation: Violation) -> Reject {
    Reject::new(Fault::MalformedRequest).with_hint(Hint::literal(violation.0))
}

/// What an HTTP/2 request may not hold though the library let it pass.
fn check_http2(method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<(), Reject> {
    let refused = |why| Err(malformed(Violation(why)));
    if method == Method::CONNECT {
        return refused("CONNECT is not served here.");
    }
    if uri.scheme_str().is_some_and(|scheme| scheme != "http" && scheme != "https") {
        return refused("`:scheme` is neither `http` nor `https`.");
    }
    let target = uri.path_and_query().map_or("", http::uri::PathAndQuery::as_str);
    let is_server = target == "*" && method == Method::OPTIONS;
    if !target.starts_with('/') && !is_server {
        return refused("`:path` does not begin with a slash.");
    }
    if !target.bytes().all(|byte| matches!(byte, b'!'..=b'~')) {
        return refused("`:path` holds a character that no URI holds.");
    }
    // Equal lengths pass the library, but the services behind speak HTTP/1.
    if headers.get_all(header::CONTENT_LENGTH).iter().nth(1).is_some() {
        return refused("`content-length` is given more than once.");
    }
    for (name, value) in headers {
        if is_of_connection(name) {
            return refused("A field of the connection has no place in HTTP/2.");
        }
        if name == header::TE && value != "trailers" {
            return refused("`te` is anything but `trailers`.");
        }
        if let [b' ' | b'\t', ..] | [.., b' ' | b'\t'] = value.as_bytes() {
            return refused("A value begins or ends with white space.");
        }
    }
    Ok(())
}

/// Fields that concern one HTTP/1 connection (RFC 9113 section 8.2.2), also as servers read them
/// that keep headers as environment variables.
fn is_of_connection(name: &http::HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection"
            | "keep-alive"
            | "proxy-connection"
            | "transfer-encoding"
            | "transfer_encoding"
            | "content_length"
            | "upgrade"
    )
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue, Request};

    use super::*;

    fn request(method: &str, uri: &str, fields: &[(&'static str, &'static [u8])]) -> RequestHeader {
        let request = Request::builder().method(method).uri(uri).version(Version::HTTP_2);
        let mut parts = request.body(()).unwrap().into_parts().0;
        for (name, value) in fields {
            parts
                .headers
                .append(HeaderName::from_static(name), HeaderValue::from_bytes(value).unwrap());
        }
        parts.into()
    }

    #[test]
    fn clean_requests_pass() {
        for (method, uri) in
            [("GET", "https://a/"), ("GET", "http://a:8080/b?c=d"), ("get", "/b"), ("OPTIONS", "*")]
        {
            assert_eq!(check(&request(method, uri, &[]), None), Ok(()), "{method} {uri}");
        }
        let fields: &[(&str, &[u8])] = &[
            ("te", b"trailers"),
            ("content-length", b"5"),
            ("x-empty", b""),
            ("x-inner", b"a b\tc"),
            ("x-obs-text", b"\xe9"),
            ("cookie", b"a=1"),
            ("cookie", b"b=2"),
        ];
        assert_eq!(check(&request("POST", "https://a/", fields), None), Ok(()));
    }

    #[test]
    fn what_http2_has_no_place_for_is_refused() {
        for (method, uri, fields, why) in [
            ("CONNECT", "a:443", &[][..], "CONNECT"),
            ("GET", "ftp://a/", &[], ":scheme"),
            ("GET", "*", &[], ":path"),
            ("GET", "/\u{e9}", &[], "no URI holds"),
            ("GET", "/?\u{e9}", &[], "no URI holds"),
            ("GET", "/", &[("connection", &b"close"[..])], "of the connection"),
            ("GET", "/", &[("keep-alive", b"timeout=5")], "of the connection"),
            ("GET", "/", &[("proxy-connection", b"close")], "of the connection"),
            ("GET", "/", &[("transfer-encoding", b"chunked")], "of the connection"),
            ("GET", "/", &[("transfer_encoding", b"chunked")], "of the connection"),
            ("GET", "/", &[("content_length", b"5")], "of the connection"),
            ("GET", "/", &[("upgrade", b"websocket")], "of the connection"),
            ("GET", "/", &[("te", b"gzip")], "`te`"),
            ("GET", "/", &[("te", b"trailers, gzip")], "`te`"),
            ("GET", "/", &[("te", b"trailers"), ("te", b"gzip")], "`te`"),
            ("POST", "/", &[("content-length", b"5"), ("content-length", b"5")], "more than once"),
            ("GET", "/", &[("x", b" a")], "white space"),
            ("GET", "/", &[("x", b"a\t")], "white space"),
        ] {
            let reject = check(&request(method, uri, fields), None).unwrap_err();
            assert_eq!(reject.fault, Fault::MalformedRequest);
            let hint = reject.hint.unwrap();
            assert!(hint.as_str().contains(why), "{method} {uri} {fields:?}: {hint:?}");
        }
    }

    #[test]
    fn a_violation_comes_first_and_http1_names_its_host() {
        let mut header = request("GET", "/", &[]);
        header.set_version(Version::HTTP_11);
        let violation = Violation("Said by the framing.");
        let reject = check(&header, Some(violation)).unwrap_err();
        assert_eq!(reject.hint, Some(Hint::literal("Said by the framing.")));
        assert_eq!(check(&header, None).unwrap_err().fault, Fault::HostInvalid);
        header.set_version(Version::HTTP_10);
        assert_eq!(check(&header, None), Ok(()));
    }
}
