use std::borrow::Cow;

use http::header::HOST;
use http::{HeaderMap, HeaderValue, Uri};

use super::{normalise_host, read_host_port};
use crate::fault::Fault;

fn headers(hosts: &[&str]) -> HeaderMap {
    hosts.iter().map(|host| (HOST, HeaderValue::from_str(host).unwrap())).collect()
}

fn host_of(target: &'static str, hosts: &[&str]) -> Result<String, Fault> {
    normalise_host(&Uri::from_static(target), &headers(hosts))
        .map(Cow::into_owned)
        .map_err(|reject| reject.fault)
}

#[test]
fn hosts_have_one_spelling() {
    for (sent, host) in [
        ("api.example.com", "api.example.com"),
        ("API.Example.COM", "api.example.com"),
        ("api.example.com.", "api.example.com"),
        ("api.example.com.:8080", "api.example.com"),
        ("api.example.com:1", "api.example.com"),
        ("api.example.com:65535", "api.example.com"),
        ("localhost", "localhost"),
        ("my_service-1", "my_service-1"),
        ("127.0.0.1:80", "127.0.0.1"),
        ("[::1]", "[::1]"),
        ("[::1]:8080", "[::1]"),
        ("[0:0:0::1]:8080", "[::1]"),
        ("[2001:DB8::A]", "[2001:db8::a]"),
        ("1e100.net", "1e100.net"),
        ("1.example", "1.example"),
    ] {
        assert_eq!(host_of("/", &[sent]), Ok(host.to_owned()), "{sent}");
    }
}

#[test]
fn a_normal_host_is_borrowed() {
    for sent in ["api.example.com", "api.example.com:80", "[::1]:80", "10.0.0.1"] {
        let headers = headers(&[sent]);
        let uri = Uri::from_static("/");
        assert!(matches!(normalise_host(&uri, &headers), Ok(Cow::Borrowed(_))), "{sent}");
    }
}

#[test]
fn what_is_no_host_is_refused() {
    for sent in [
        "",
        ".",
        "..",
        "a..b",
        ".a",
        "a..",
        "a,b",
        "a, b",
        "a b",
        " ",
        "user@a",
        "user:password@a",
        "a:",
        "a:0",
        "a:65536",
        "a:+80",
        "a:80:80",
        "a:000080",
        "a:8o",
        "::1",
        "[::1",
        "[::1]80",
        "[::g]",
        "[127.0.0.1]",
        "[fe80::1%25eth0]",
        "a/b",
        "a\\b",
        "a%2eb",
        "http://a",
        "127.1",
        "256.0.0.1",
        "1.2.3.4.5",
        "01.2.3.4",
        "0x7f.1",
        "*.a",
    ] {
        assert_eq!(host_of("/", &[sent]), Err(Fault::HostInvalid), "{sent}");
    }
    let mut binary = HeaderMap::new();
    binary.insert(HOST, HeaderValue::from_bytes(b"caf\xc3\xa9").unwrap());
    assert!(normalise_host(&Uri::from_static("/"), &binary).is_err());
}

#[test]
fn lengths_end_where_dns_ends() {
    let label = "a".repeat(63);
    assert!(read_host_port(&label).is_ok());
    assert!(read_host_port(&format!("{label}a")).is_err());
    let longest = format!("{label}.{label}.{label}.{}", "a".repeat(61));
    assert_eq!(longest.len(), 253);
    assert!(read_host_port(&longest).is_ok());
    assert!(read_host_port(&format!("{longest}.")).is_ok(), "the final dot does not count");
    assert!(read_host_port(&format!("{longest}a")).is_err());
}

#[test]
fn exactly_one_host_is_named() {
    assert_eq!(host_of("/", &[]), Err(Fault::HostInvalid));
    assert_eq!(host_of("/", &["a", "a"]), Err(Fault::HostInvalid));
    assert_eq!(host_of("http://A.b/x", &[]), Ok("a.b".to_owned()));
}

#[test]
fn an_absolute_target_and_host_agree() {
    assert_eq!(host_of("http://a/x", &["A."]), Ok("a".to_owned()));
    assert_eq!(host_of("http://a:80/x", &["a"]), Ok("a".to_owned()));
    assert_eq!(host_of("https://a/x", &["a:443"]), Ok("a".to_owned()));
    assert_eq!(host_of("http://a:8080/x", &["a:8080"]), Ok("a".to_owned()));
    assert_eq!(host_of("http://a/x", &["b"]), Err(Fault::HostInvalid));
    assert_eq!(host_of("http://a/x", &["a:8080"]), Err(Fault::HostInvalid));
    assert_eq!(host_of("http://a:81/x", &["a:82"]), Err(Fault::HostInvalid));
    assert_eq!(host_of("http://a/x", &[""]), Err(Fault::HostInvalid));
    assert_eq!(host_of("http://user@a/x", &["a"]), Err(Fault::HostInvalid));
}
