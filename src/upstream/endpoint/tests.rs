use std::time::Duration;

use pingora::protocols::ALPN;
use pingora::upstreams::peer::Peer;

use super::split_address;
use crate::upstream::fixtures::sound;

#[test]
fn addresses_that_can_be_read() {
    for (address, host, port) in [
        ("orders", "orders", None),
        ("orders:8080", "orders", Some(8080)),
        ("orders.internal.:65535", "orders.internal.", Some(65535)),
        ("10.0.0.1", "10.0.0.1", None),
        ("10.0.0.1:1", "10.0.0.1", Some(1)),
        ("[::1]", "::1", None),
        ("[2001:db8::7]:8080", "2001:db8::7", Some(8080)),
    ] {
        assert_eq!(split_address(address), Ok((host, port)), "{address}");
    }
}

#[test]
fn addresses_that_cannot() {
    for address in [
        "",
        ":8080",
        "orders:",
        "orders:0",
        "orders:65536",
        "orders:+80",
        "orders:http",
        "orders:80:80",
        "http://orders",
        "orders/path",
        "or ders",
        "::1",
        "2001:db8::7:8080",
        "[::1",
        "[::1]8080",
        "[::1]:",
        "[orders]:80",
    ] {
        assert!(split_address(address).is_err(), "{address}");
    }
    assert!(split_address("::1").unwrap_err().contains("`[::1]`"));
}

#[test]
fn the_peer_is_ready_but_for_the_timeouts_of_the_route() {
    let upstream = sound(
        "{service: orders}",
        "  orders:
    connectTimeout: 700ms
    idleTimeout: 20s
    endpoints: [{address: '[::1]:8080'}]",
    );
    let set = upstream.versions[0].pool.current();
    let endpoint = &set.endpoints[0];
    assert_eq!(&*endpoint.name, "[::1]:8080");
    assert_eq!(endpoint.peer.address().as_inet(), Some(&endpoint.address));
    assert!(!endpoint.peer.is_tls());
    assert_eq!(endpoint.peer.sni(), "");
    let options = &endpoint.peer.options;
    assert_eq!(options.connection_timeout, Some(Duration::from_millis(700)));
    assert_eq!(options.total_connection_timeout, Some(Duration::from_millis(700)));
    assert_eq!(options.idle_timeout, Some(Duration::from_secs(20)));
    assert_eq!(options.alpn, ALPN::H1);
}

#[test]
fn endpoints_on_this_machine_are_those_of_the_loopback() {
    for (address, is_local) in [
        ("127.0.0.1:80", true),
        ("127.9.0.7:80", true),
        ("[::1]:80", true),
        ("[::ffff:127.0.0.1]:80", true),
        ("10.0.0.1:80", false),
        ("[2001:db8::1]:80", false),
    ] {
        let service = format!("  orders: {{endpoints: [{{address: '{address}'}}]}}");
        let upstream = sound("{service: orders}", &service);
        let endpoint = &upstream.versions[0].pool.current().endpoints[0];
        assert_eq!(endpoint.is_on_this_machine(), is_local, "{address}");
    }
}

#[test]
fn services_do_not_share_connections() {
    let services = "  orders: {endpoints: [{address: 10.0.0.1:80}]}
  users: {endpoints: [{address: 10.0.0.1:80}]}";
    let reuse = |service: &str| {
        let upstream = sound(&format!("{{service: {service}}}"), services);
        upstream.versions[0].pool.current().endpoints[0].peer.reuse_hash()
    };
    assert_eq!(reuse("orders"), reuse("orders"));
    assert_ne!(reuse("orders"), reuse("users"));
}
