use std::net::IpAddr;

use http::{HeaderMap, HeaderValue};

use super::{Scheme, TrustedProxies, X_FORWARDED_FOR, X_FORWARDED_PROTO};

fn trusted(entries: &[&str]) -> TrustedProxies {
    let entries: Vec<String> = entries.iter().map(ToString::to_string).collect();
    TrustedProxies::parse(&entries).unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn forwarded(lines: &[&str]) -> HeaderMap {
    lines.iter().map(|line| (X_FORWARDED_FOR, HeaderValue::from_str(line).unwrap())).collect()
}

#[test]
fn blocks_and_addresses_are_trusted() {
    let proxies = trusted(&["10.0.0.0/8", "192.0.2.7", "2001:db8::/32", "::1"]);
    for inside in ["10.0.0.0", "10.255.255.255", "192.0.2.7", "2001:db8::9", "::1"] {
        assert!(proxies.contains(ip(inside)), "{inside}");
    }
    for outside in ["9.255.255.255", "11.0.0.0", "192.0.2.8", "2001:db9::", "::2"] {
        assert!(!proxies.contains(ip(outside)), "{outside}");
    }
    assert!(!TrustedProxies::default().contains(ip("127.0.0.1")));
}

#[test]
fn ipv4_inside_ipv6_is_ipv4() {
    assert!(trusted(&["10.0.0.0/8"]).contains(ip("::ffff:10.1.2.3")));
    assert!(trusted(&["::ffff:10.0.0.0/104"]).contains(ip("10.1.2.3")));
    assert!(!trusted(&["::ffff:10.0.0.0/104"]).contains(ip("11.1.2.3")));
    let client = trusted(&["10.0.0.1"]).client(&HeaderMap::new(), ip("::ffff:192.0.2.1"));
    assert_eq!(client, ip("192.0.2.1"));
}

#[test]
fn the_first_wrong_entry_is_named() {
    let entries = ["10.0.0.0/8".to_owned(), "10.0.0.0/33".to_owned(), "x".to_owned()];
    let (index, why) = TrustedProxies::parse(&entries).unwrap_err();
    assert_eq!(index, 1);
    assert!(why.contains("10.0.0.0/33"), "{why}");
    let (_, why) = TrustedProxies::parse(&["10.1.2.3/8".to_owned()]).unwrap_err();
    assert!(why.contains("`10.0.0.0/8`") && why.contains("`10.1.2.3`"), "{why}");
    for wrong in ["", "localhost", "10.0.0.0/", "10.0.0.1:80", "[::1]"] {
        assert!(TrustedProxies::parse(&[wrong.to_owned()]).is_err(), "{wrong}");
    }
}

#[test]
fn an_untrusted_peer_is_the_client() {
    let headers = forwarded(&["203.0.113.9"]);
    assert_eq!(trusted(&["10.0.0.1"]).client(&headers, ip("10.0.0.2")), ip("10.0.0.2"));
    assert_eq!(TrustedProxies::default().client(&headers, ip("127.0.0.1")), ip("127.0.0.1"));
}

#[test]
fn the_walk_ends_at_the_first_untrusted_address() {
    let proxies = trusted(&["10.0.0.0/8", "fd00::/8"]);
    let client = |lines: &[&str]| proxies.client(&forwarded(lines), ip("10.0.0.1"));
    assert_eq!(client(&[]), ip("10.0.0.1"));
    assert_eq!(client(&["203.0.113.9"]), ip("203.0.113.9"));
    assert_eq!(client(&["1.1.1.1, 203.0.113.9, 10.0.0.2"]), ip("203.0.113.9"));
    assert_eq!(client(&["1.1.1.1,203.0.113.9", "10.0.0.3 , 10.0.0.2"]), ip("203.0.113.9"));
    assert_eq!(client(&["1.1.1.1", "203.0.113.9"]), ip("203.0.113.9"));
    assert_eq!(client(&["10.0.0.3, 10.0.0.2"]), ip("10.0.0.3"), "all trusted: the left-most");
    assert_eq!(client(&["203.0.113.9,, ,10.0.0.2,"]), ip("203.0.113.9"), "empty members");
}

#[test]
fn an_unreadable_entry_ends_the_walk() {
    let proxies = trusted(&["10.0.0.0/8"]);
    let client = |line: &str| proxies.client(&forwarded(&[line]), ip("10.0.0.1"));
    assert_eq!(client("203.0.113.9, unknown"), ip("10.0.0.1"));
    assert_eq!(client("203.0.113.9, _hidden, 10.0.0.2"), ip("10.0.0.2"));
    assert_eq!(client("203.0.113.9, 10.0.0.256, 10.0.0.2"), ip("10.0.0.2"));
    let mut binary = HeaderMap::new();
    binary.insert(X_FORWARDED_FOR, HeaderValue::from_bytes(b"203.0.113.9\xff").unwrap());
    assert_eq!(proxies.client(&binary, ip("10.0.0.1")), ip("10.0.0.1"));
}

#[test]
fn entries_may_carry_ports_and_brackets() {
    let proxies = trusted(&["10.0.0.0/8"]);
    let client = |line: &str| proxies.client(&forwarded(&[line]), ip("10.0.0.1"));
    assert_eq!(client("203.0.113.9:4711"), ip("203.0.113.9"));
    assert_eq!(client("2001:db8::1"), ip("2001:db8::1"));
    assert_eq!(client("[2001:db8::1]"), ip("2001:db8::1"));
    assert_eq!(client("[2001:db8::1]:80"), ip("2001:db8::1"));
    assert_eq!(client("203.0.113.9, ::ffff:10.0.0.2"), ip("203.0.113.9"));
    assert_eq!(client("[203.0.113.9]"), ip("10.0.0.1"));
}

#[test]
fn only_a_trusted_peer_names_the_scheme() {
    let proxies = trusted(&["10.0.0.0/8"]);
    let scheme = |lines: &[&str], peer_trusted| {
        let headers: HeaderMap = lines
            .iter()
            .map(|line| (X_FORWARDED_PROTO, HeaderValue::from_str(line).unwrap()))
            .collect();
        proxies.scheme(&headers, peer_trusted)
    };
    assert_eq!(scheme(&["https"], true), Some(Scheme::Https));
    assert_eq!(scheme(&["https"], false), None);
    assert_eq!(scheme(&["HTTPS"], true), Some(Scheme::Https));
    assert_eq!(scheme(&["https, http"], true), Some(Scheme::Http));
    assert_eq!(scheme(&["http", "https"], true), Some(Scheme::Https));
    assert_eq!(scheme(&["wss"], true), None);
    assert_eq!(scheme(&["https,"], true), None);
    assert_eq!(scheme(&[], true), None);
}
