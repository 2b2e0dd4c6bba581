//! What the upstream is told about the client: `X-Forwarded-For`, `-Proto` and `-Host`.
//!
//! One family of headers is written, always: what a client sent under these names is replaced
//! unless the peer is a trusted proxy, and then the chain is continued.

use std::fmt::{self, Write};
use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::client_addr::X_FORWARDED_FOR;
use super::{RequestView, Scheme, read_host_port};

const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// The value of `X-Forwarded-For` for the upstream: the peer, behind the chain that it sent if
/// it is a trusted proxy. Without trust a chain is whatever the client made up, so it is dropped.
#[must_use]
pub fn forwarded_for(peer: IpAddr, headers: &HeaderMap, peer_trusted: bool) -> HeaderValue {
    let peer = AddressText::of(peer.to_canonical());
    let alone = || HeaderValue::from_bytes(peer.bytes()).unwrap_or(UNKNOWN);
    let chain = || headers.get_all(X_FORWARDED_FOR).iter().filter(|line| !line.is_empty());
    let chain_bytes: usize = chain().map(|line| line.len() + SEPARATOR.len()).sum();
    if !peer_trusted || chain_bytes == 0 {
        return alone();
    }
    let mut value = Vec::with_capacity(chain_bytes + peer.bytes().len());
    for line in chain() {
        value.extend_from_slice(line.as_bytes());
        value.extend_from_slice(SEPARATOR);
    }
    value.extend_from_slice(peer.bytes());
    HeaderValue::try_from(value).unwrap_or_else(|_| alone())
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

/// The text of an address on the stack.
struct AddressText {
    bytes: [u8; Self::BYTES_MAX],
    length: usize,
}

impl AddressText {
    /// `ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255`.
    const BYTES_MAX: usize = 45;

    fn of(address: IpAddr) -> Self {
        let mut text = Self { bytes: [0; Self::BYTES_MAX], length: 0 };
        // Cannot fail: no address is longer.
        let _ = write!(text, "{address}");
        text
    }

    fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

impl Write for AddressText {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.length + text.len();
        let room = self.bytes.get_mut(self.length..end).ok_or(fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use http::header::HOST;

    use super::*;

    fn headers(name: &HeaderName, lines: &[&str]) -> HeaderMap {
        lines.iter().map(|line| (name.clone(), HeaderValue::from_str(line).unwrap())).collect()
    }

    #[test]
    fn a_chain_is_continued_only_for_a_trusted_peer() {
        let told = |peer: &str, lines: &[&str], trusted| {
            let headers = headers(&X_FORWARDED_FOR, lines);
            forwarded_for(peer.parse().unwrap(), &headers, trusted).to_str().unwrap().to_owned()
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
