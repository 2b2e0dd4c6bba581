use http::HeaderValue;
use http::header::{COOKIE, HOST, HeaderName};

use super::*;

fn limits() -> EdgeLimits {
    EdgeLimits { header_bytes: 64, headers: 3, uri_bytes: 16, trusted: TrustedProxies::default() }
}

fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
    lines
        .iter()
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap()))
        .collect()
}

fn connection() -> &'static Connection {
    let peer = ([10, 0, 0, 1], 4711).into();
    Box::leak(Box::new(Connection::cleartext(peer, peer)))
}

fn fault(target: &str, lines: &[(&'static str, &str)]) -> Option<Fault> {
    let uri: Uri = target.parse().unwrap();
    RequestView::read(&Method::GET, &uri, &headers(lines), connection(), &limits())
        .err()
        .map(|reject| reject.fault)
}

#[test]
fn a_request_is_read_into_one_form() {
    let uri: Uri = "//a/%7ex?q=%7e".parse().unwrap();
    let headers = headers(&[("host", "A.example:80"), ("x-forwarded-proto", "https")]);
    let view = RequestView::read(&Method::GET, &uri, &headers, connection(), &limits()).unwrap();
    assert_eq!((&*view.host, &*view.path, view.query), ("a.example", "/a/~x", Some("q=%7e")));
    assert_eq!((view.scheme, view.peer_trusted), (Scheme::Http, false));
    assert_eq!(view.client, connection().peer.ip());
}

#[test]
fn a_trusted_peer_speaks_for_its_client() {
    let trusted = TrustedProxies::parse(&["10.0.0.0/8".to_owned()]).unwrap();
    let limits = EdgeLimits { headers: 4, header_bytes: 200, trusted, ..limits() };
    let headers = headers(&[
        ("host", "a"),
        ("x-forwarded-for", "192.0.2.1, 203.0.113.9"),
        ("x-forwarded-proto", "https"),
    ]);
    let uri = Uri::from_static("/");
    let view = RequestView::read(&Method::GET, &uri, &headers, connection(), &limits).unwrap();
    assert_eq!(view.client, IpAddr::from([203, 0, 113, 9]));
    assert_eq!((view.scheme, view.peer_trusted), (Scheme::Https, true));
}

#[test]
fn each_limit_holds_at_its_edge() {
    assert_eq!(fault("/23456789012?456", &[("host", "a")]), None);
    assert_eq!(fault("/23456789012?4567", &[("host", "a")]), Some(Fault::UriTooLong));

    // `host: a` and `x: …` cost 9 and 5 bytes beyond the value.
    let value = "v".repeat(64 - 9 - 5);
    assert_eq!(fault("/", &[("host", "a"), ("x", &value)]), None);
    let longer = format!("{value}v");
    assert_eq!(fault("/", &[("host", "a"), ("x", &longer)]), Some(Fault::HeadersTooLarge));

    assert_eq!(fault("/", &[("host", "a"), ("x", ""), ("y", "")]), None);
    let four = [("host", "a"), ("x", ""), ("x", ""), ("y", "")];
    assert_eq!(fault("/", &four), Some(Fault::HeadersTooLarge));
}

#[test]
fn what_cannot_be_one_thing_is_refused() {
    assert_eq!(fault("/", &[]), Some(Fault::HostInvalid));
    assert_eq!(fault("/", &[("host", "a,b")]), Some(Fault::HostInvalid));
    assert_eq!(fault("/a%2fb", &[("host", "a")]), Some(Fault::PathRefused));
    assert_eq!(fault("*", &[("host", "a")]), Some(Fault::PathRefused));
    assert_eq!(fault("a:443", &[("host", "a:443")]), Some(Fault::PathRefused), "CONNECT's form");
}

#[test]
fn the_first_cookie_of_a_name_is_found() {
    let mut headers = HeaderMap::new();
    for line in ["a=1; b = x", "b=2;c=3=4; a=5", "d"] {
        headers.append(COOKIE, HeaderValue::from_static(line));
    }
    headers.insert(HOST, HeaderValue::from_static("h"));
    let uri = Uri::from_static("/");
    let limits = EdgeLimits { headers: 9, header_bytes: 999, ..limits() };
    let view = RequestView::read(&Method::GET, &uri, &headers, connection(), &limits).unwrap();
    assert_eq!(view.cookie("a"), Some("1"));
    assert_eq!(view.cookie("b"), Some("2"), "`b ` is another name");
    assert_eq!(view.cookie("c"), Some("3=4"));
    assert_eq!(view.cookie("d"), None);
    assert_eq!(view.cookie("A"), None, "names of cookies have a case");
}
