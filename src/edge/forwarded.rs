//! What the upstream is told about the client: `X-Forwarded-For`, `-Proto` and `-Host`.
//!
//! One family of headers is written, always: what a client sent under these names is replaced
//! unless the peer is a trusted proxy, and then the chain is continued.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::client_addr::X_FORWARDED_FOR;
use super::{Connection, RequestView, Scheme, read_host_port};

const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// The value of `X-Forwarded-For` for the upstream: the peer, behind the chain that it sent if
/// it is a trusted proxy. Without trust a chain is whatever the client made up, so it is dropped.
#[must_use]
pub fn forwarded_for(
    connection: &Connection,
    headers: &HeaderMap,
    peer_trusted: bool,
) -> HeaderValue {
    let peer = connection.peer_value();
    if !peer_trusted {
        return peer.clone();
    }
    let chain = || headers.get_all(X_FORWARDED_FOR).iter().filter(|line| !line.is_empty());
    let chain_bytes: usize = chain().map(|line| line.len() + SEPARATOR.len()).sum();
    if chain_bytes == 0 {
        return peer.clone();
    }
    let mut value = Vec::with_capacity(chain_bytes + peer.len());
    for line in chain() {
        value.extend_from_slice(line.as_bytes());
        value.extend_from_slice(SEPARATOR);
    }
    value.extend_from_slice(peer.as_bytes());
    HeaderValue::try_from(value).unwrap_or_else(|_| peer.clone())
}

/// An address as the value of a header.
pub(super) fn address_value(address: IpAddr) -> HeaderValue {
    HeaderValue::try_from(address.to_canonical().to_string()).unwrap_or(UNKNOWN)
}

/// The value of `X-Forwarded-Proto` for the upstream.
#[must_use]
pub const fn forwarded_proto(scheme: Scheme) -> HeaderValue {
    HeaderValue::from_static(scheme.as_str())
}

/// The value of `X-Forwarded-Host` for the upstream: what a trusted peer says, if it is one
/// host, else the host of this request. Shares the received bytes where it can.
#[must_use]
pub fn forwarded_host(view: &RequestView<'_>) -> Option<HeaderValue> {
    let is_host = |value: &&HeaderValue| value.to_str().is_ok_and(|t| read_host_port(t).is_ok());
    let mut sent = view.headers.get_all(X_FORWARDED_HOST).iter();
    match (view.peer_trusted, sent.next(), sent.next()) {
        (true, Some(one), None) if is_host(&one) => Some(one.clone()),
        _ => match view.headers.get(http::header::HOST) {
            Some(host) => Some(host.clone()),
            None => HeaderValue::from_str(&view.host).ok(),
        },
    }
}

const SEPARATOR: &[u8] = b", ";
/// What RFC 7239 writes for an address that cannot be told; no address fails to print.
const UNKNOWN: HeaderValue = HeaderValue::from_static("unknown");

#[cfg(test)]
mod tests {
    use std::borrow::Cow;
    use std::net::SocketAddr;

    use http::header::HOST;

    use super::*;

    fn headers(name: &HeaderName, lines: &[&str]) -> HeaderMap {
        lines.iter().map(|line| (name.clone(), HeaderValue::from_str(line).unwrap())).collect()
    }

    #[test]
    fn a_chain_is_continued_only_for_a_trusted_peer() {
        let told = |peer: &str, lines: &[&str], trusted| {
            let headers = headers(&X_FORWARDED_FOR, lines);
            let peer = SocketAddr::new(peer.parse().unwrap(), 1);
            let connection = Connection::cleartext(peer, peer);
            forwarded_for(&connection, &headers, trusted).to_str().unwrap().to_owned()
        };
        assert_eq!(told("10.0.0.1", &["203.0.113.9"], true), "203.0.113.9, 10.0.0.1");
        assert_eq!(told("10.0.0.1", &["a, b", "", "c"], true), "a, b, c, 10.0.0.1");
        assert_eq!(told("10.0.0.1", &[], true), "10.0.0.1");
        assert_eq!(told("10.0.0.1", &[""], true), "10.0.0.1");
        assert_eq!(told("10.0.0.1", &["203.0.113.9"], false), "10.0.0.1");
        assert_eq!(told("::ffff:10.0.0.1", &[], false), "10.0.0.1");
        let longest = "1111:2222:3333:4444:5555:6666:7777:8888";
        assert_eq!(told(longest, &["x"], true), format!("x, {longest}"));
    }

    #[test]
    fn the_scheme_is_told() {
        assert_eq!(forwarded_proto(Scheme::Http), "http");
        assert_eq!(forwarded_proto(Scheme::Https), "https");
    }

    #[test]
    fn the_host_is_that_of_the_request_unless_a_trusted_peer_knows_better() {
        let told = |sent: &[&str], host: Option<&str>, peer_trusted| {
            let mut headers = headers(&X_FORWARDED_HOST, sent);
            if let Some(host) = host {
                headers.insert(HOST, HeaderValue::from_str(host).unwrap());
            }
            let view = RequestView {
                method: &http::Method::GET,
                scheme: Scheme::Http,
                host: Cow::Borrowed("a.example"),
                port: None,
                path: Cow::Borrowed("/"),
                query: None,
                headers: &headers,
                client: IpAddr::from([127, 0, 0, 1]),
                peer_trusted,
                certificate: None,
            };
            forwarded_host(&view).unwrap().to_str().unwrap().to_owned()
        };
        assert_eq!(told(&["b.example"], Some("A.example:80"), true), "b.example");
        assert_eq!(told(&["b.example"], Some("A.example:80"), false), "A.example:80");
        assert_eq!(told(&["b.example", "c"], Some("A.example:80"), true), "A.example:80");
        assert_eq!(told(&["b, c"], Some("A.example:80"), true), "A.example:80");
        assert_eq!(told(&[], None, true), "a.example");
    }
}
