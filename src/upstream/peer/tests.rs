use std::collections::HashMap;
use std::sync::Arc;

use pingora::protocols::ALPN;
use pingora::upstreams::peer::{HttpPeer, Peer};
use rcgen::{CertificateParams, KeyPair};

use crate::model::{Problems, Resolved};
use crate::upstream::fixtures::{codes, compile, config};
use crate::upstream::{EndpointSet, Upstream, Upstreams};

/// A self-signed certificate and its key, in PEM.
fn pair(name: &str) -> (Vec<u8>, Vec<u8>) {
    let key = KeyPair::generate().unwrap();
    let cert = CertificateParams::new([name.to_owned()]).unwrap().self_signed(&key).unwrap();
    (cert.pem().into_bytes(), key.serialize_pem().into_bytes())
}

fn files(list: &[(&str, &[u8])]) -> Resolved {
    let files: HashMap<_, _> =
        list.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.to_vec())).collect();
    let mut resolved = Resolved { files, ..Resolved::default() };
    for host in ["orders.internal", "or_ders.internal.a"] {
        resolved.hosts.insert(host.to_owned(), vec!["127.0.0.9".parse().unwrap()]);
    }
    resolved
}

/// The peer of the first endpoint of `api` with these settings.
fn peer_with(settings: &str, resolved: &Resolved) -> (Option<HttpPeer>, Problems) {
    let service = format!("  api: {{endpoints: [{{address: \"orders.internal:1\"}}], {settings}}}");
    let (upstream, problems) = compile("{service: api}", &config(&service), resolved);
    let first = |set: &EndpointSet| set.endpoints[0].peer.clone();
    (upstream.map(|upstream| first(&upstream.versions[0].pool.current())), problems)
}

fn peer(settings: &str, resolved: &Resolved) -> HttpPeer {
    let (peer, problems) = peer_with(settings, resolved);
    assert_eq!(problems, Problems::default());
    peer.unwrap()
}

#[test]
fn the_protocol_depends_on_tls() {
    let resolved = files(&[]);
    for (settings, alpn, streams) in [
        ("protocol: http1", ALPN::H1, 1),
        ("protocol: auto", ALPN::H1, 1),
        ("protocol: http2", ALPN::H2, 100),
        ("protocol: http1, tls: {}", ALPN::H1, 1),
        ("protocol: auto, tls: {}", ALPN::H2H1, 100),
        ("protocol: http2, tls: {}", ALPN::H2, 100),
    ] {
        let peer = peer(settings, &resolved);
        assert_eq!((&peer.options.alpn, peer.options.max_h2_streams), (&alpn, streams));
        assert_eq!(peer.is_tls(), settings.contains("tls"), "{settings}");
        assert!(peer.verify_cert() && peer.verify_hostname());
    }
}

#[test]
fn the_name_is_the_one_of_the_settings_or_the_host() {
    let resolved = files(&[]);
    assert_eq!(peer("tls: {}", &resolved).sni(), "orders.internal");
    assert_eq!(peer("tls: {serverName: a.example.}", &resolved).sni(), "a.example");
    assert_eq!(peer("protocol: http1", &resolved).sni(), "");
}

#[test]
fn an_address_needs_a_name() {
    for (host, name, ok) in [
        ("10.0.0.1:80", "", false),
        ("\"[::1]:80\"", "", false),
        ("or_ders.internal.a:80", "", false),
        ("10.0.0.1:80", "serverName: a.example", true),
        ("10.0.0.1:80", "serverName: 10.0.0.1", true),
        ("10.0.0.1:80", "serverName: a_b.example.com", false),
        ("10.0.0.1:80", "serverName: ''", false),
    ] {
        let service = format!("  api: {{endpoints: [{{address: {host}}}], tls: {{{name}}}}}");
        let (upstream, problems) = compile("{service: api}", &config(&service), &files(&[]));
        assert_eq!(upstream.is_some(), ok, "{host} {name}: {problems:?}");
        if !ok {
            assert_eq!(codes(&problems)[0].0, "tls.server_name");
            assert!(problems.0[0].help.as_ref().unwrap().contains("services.api.tls.serverName"));
        }
    }
}

#[test]
fn connections_are_not_shared_across_protocols_authorities_and_certificates() {
    let ((ca, _), (other, _)) = (pair("a"), pair("a"));
    let ((cert, key), (cert2, key2)) = (pair("me"), pair("me"));
    let all = |ca: &[u8], cert: &[u8], key: &[u8]| {
        files(&[("ca.pem", ca), ("me.pem", cert), ("me.key", key)])
    };
    let settings = "tls: {caFile: ca.pem, certFile: me.pem, keyFile: me.key}";
    let hashes = [
        peer("protocol: http1", &files(&[])).reuse_hash(),
        peer("protocol: http2", &files(&[])).reuse_hash(),
        peer("tls: {}", &files(&[])).reuse_hash(),
        peer("protocol: auto, tls: {}", &files(&[])).reuse_hash(),
        peer("tls: {caFile: ca.pem}", &all(&ca, &cert, &key)).reuse_hash(),
        peer("tls: {caFile: ca.pem}", &all(&other, &cert, &key)).reuse_hash(),
        peer(settings, &all(&ca, &cert, &key)).reuse_hash(),
        peer(settings, &all(&other, &cert, &key)).reuse_hash(),
        peer(settings, &all(&ca, &cert2, &key2)).reuse_hash(),
    ];
    for (index, hash) in hashes.iter().enumerate() {
        assert!(!hashes[..index].contains(hash), "{index}");
    }
    let again = peer(settings, &all(&ca, &cert, &key)).reuse_hash();
    assert_eq!(again, hashes[6], "the same contents share connections");
}

#[test]
fn files_that_will_not_do_are_named() {
    let ((ca, key), (_, other)) = (pair("a"), pair("b"));
    let resolved = files(&[("ca", &ca), ("key", &key), ("other", &other), ("junk", b"junk")]);
    let half = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let resolved = {
        let mut resolved = resolved;
        resolved.files.insert("half".to_owned(), half.to_vec());
        resolved
    };
    for (settings, code, place) in [
        ("caFile: junk", "tls.certificate", "caFile"),
        ("caFile: half", "tls.certificate", "caFile"),
        ("certFile: ca", "tls.key", "certFile"),
        ("keyFile: key", "tls.key", "keyFile"),
        ("certFile: ca, keyFile: junk", "tls.key", "keyFile"),
        ("certFile: ca, keyFile: other", "tls.key", "keyFile"),
        ("certFile: junk, keyFile: key", "tls.certificate", "certFile"),
    ] {
        let (peer, problems) = peer_with(&format!("tls: {{{settings}}}"), &resolved);
        assert!(peer.is_none(), "{settings}");
        assert_eq!(codes(&problems), [(code, &*format!("services.api.tls.{place}"))], "{settings}");
    }
    assert!(peer("tls: {certFile: ca, keyFile: key}", &resolved).client_cert_key.is_some());
}

/// What could not be had was reported by whoever looked; nothing is trusted in its place.
#[test]
fn a_missing_authority_file_trusts_nobody() {
    let peer = peer("tls: {caFile: absent}", &files(&[]));
    assert_eq!(peer.options.ca.as_ref().map(|list| list.len()), Some(0));
}

#[test]
fn an_expired_certificate_of_the_gateway_is_a_warning() {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(["me".to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    let cert = params.self_signed(&key).unwrap().pem();
    let mut resolved = files(&[("cert", cert.as_bytes()), ("key", key.serialize_pem().as_bytes())]);
    let expiry = 1_577_836_800;
    for (now, warnings) in [(expiry, 0), (expiry + 1, 1)] {
        resolved.unix_seconds = Some(now);
        let (peer, problems) = peer_with("tls: {certFile: cert, keyFile: key}", &resolved);
        assert!(peer.is_some());
        assert_eq!(problems.0.len(), warnings, "{problems:?}");
    }
}

#[test]
fn many_routes_read_a_file_once() {
    let (ca, _) = pair("a");
    let resolved = files(&[("ca.pem", &ca)]);
    let services = "  api: {endpoints: [{address: \"orders.internal:1\"}], tls: {caFile: ca.pem}}";
    let config = config(services);
    let upstreams = Upstreams::default();
    let model = serde_yaml::from_str("{service: api}").unwrap();
    let mut problems = Problems::default();
    let mut route = || {
        Upstream::compile(
            &model,
            &config,
            &resolved,
            &upstreams,
            &crate::telemetry::Metrics::new().unwrap(),
            "routes[0]",
            &mut problems,
        )
        .unwrap()
    };
    let trusted = |upstream: &Upstream| {
        let set = upstream.versions[0].pool.current();
        set.endpoints[0].peer.options.ca.clone().unwrap()
    };
    let (first, second) = (route(), route());
    assert!(Arc::ptr_eq(&trusted(&first), &trusted(&second)));
}
