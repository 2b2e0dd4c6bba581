use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair};
use rustls::ServerConfig;

use super::names::Names;
use super::{alpn, server_config};
use crate::model::{Problems, Protocol, Resolved, UnknownServerName, pem};

struct Pair {
    cert: String,
    key: String,
}

fn pair(names: &[&str], expires: i32) -> Pair {
    let key = KeyPair::generate().unwrap();
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(expires, 1, 1);
    Pair { cert: params.self_signed(&key).unwrap().pem(), key: key.serialize_pem() }
}

fn files(list: &[(&str, &str)]) -> Resolved {
    let files = list.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec()));
    Resolved { files: files.collect(), ..Resolved::default() }
}

fn compile(tls: &str, resolved: &Resolved) -> (Option<Arc<ServerConfig>>, Problems) {
    let mut problems = Problems::default();
    let tls = serde_yaml::from_str(tls).unwrap();
    let config = server_config(&tls, &[], resolved, "tls", &mut problems);
    (config, problems)
}

fn codes(problems: &Problems) -> Vec<(&str, &str)> {
    problems.0.iter().map(|problem| (problem.code, problem.path.as_str())).collect()
}

/// Names with certificates for these lists of names, and which of them a client gets.
fn chosen(lists: &[&[&str]], unknown: UnknownServerName, asked: Option<&str>) -> Option<usize> {
    let mut names = Names::new(unknown);
    let provider = rustls::crypto::ring::default_provider();
    let certified: Vec<_> = lists
        .iter()
        .map(|list| {
            let pair = pair(list, 2999);
            let resolved = files(&[("cert", &pair.cert), ("key", &pair.key)]);
            let chain = pem::certificates(&resolved, "cert", "").unwrap().unwrap();
            let key = pem::private_key(&resolved, "key", "").unwrap().unwrap();
            Arc::new(rustls::sign::CertifiedKey::from_der(chain, key, &provider).unwrap())
        })
        .collect();
    for one in &certified {
        names.add("cert", Arc::clone(one), "");
    }
    let found = names.find(asked)?;
    certified.iter().position(|one| Arc::ptr_eq(one, found))
}

#[test]
fn the_name_chooses_the_certificate() {
    let lists: [&[&str]; 3] =
        [&["first.example"], &["*.Example.com", "example.com"], &["api.EXAMPLE.com"]];
    for (asked, found) in [
        (None, Some(0)),
        (Some("first.example"), Some(0)),
        (Some("example.com"), Some(1)),
        (Some("www.example.com"), Some(1)),
        (Some("api.example.com"), Some(2)),
        // A wildcard stands for one label, neither for none nor for two.
        (Some("a.b.example.com"), None),
        (Some("www.first.example"), None),
        (Some("com"), None),
        (Some("*.example.com"), Some(1)),
        (Some(""), None),
    ] {
        assert_eq!(chosen(&lists, UnknownServerName::Refuse, asked), found, "{asked:?}");
        let first = found.or(Some(0));
        assert_eq!(chosen(&lists, UnknownServerName::First, asked), first, "{asked:?}");
    }
}

#[test]
fn an_earlier_certificate_keeps_its_names() {
    let (a, b) = (pair(&["a.example", "*.b.example"], 2999), pair(&["*.b.example"], 2999));
    let resolved = files(&[("a", &a.cert), ("ak", &a.key), ("b", &b.cert), ("bk", &b.key)]);
    let tls = "certificates: [{certFile: a, keyFile: ak}, {certFile: b, keyFile: bk}]";
    let (config, problems) = compile(tls, &resolved);
    assert!(config.is_some() && !problems.has_errors());
    assert_eq!(codes(&problems), [("tls.names", "tls.certificates[1].certFile")]);
    assert!(problems.0[0].message.contains("`*.b.example`"));
    let lists: [&[&str]; 2] = [&["a.example", "*.b.example"], &["*.b.example"]];
    assert_eq!(chosen(&lists, UnknownServerName::Refuse, Some("x.b.example")), Some(0));
}

#[test]
fn everything_wrong_is_said_with_its_place() {
    let (good, other) = (pair(&["a.example"], 2999), pair(&["b.example"], 2999));
    let resolved = files(&[
        ("cert", &good.cert),
        ("key", &good.key),
        ("other", &other.key),
        ("junk", "junk"),
        ("torn", "-----BEGIN CERTIFICATE-----\nAAAA"),
    ]);
    for (tls, expected) in [
        ("{certificates: []}", ("tls.certificates", "tls.certificates")),
        (
            "{certificates: [{certFile: junk, keyFile: key}]}",
            ("tls.certificate", "tls.certificates[0].certFile"),
        ),
        (
            "{certificates: [{certFile: torn, keyFile: key}]}",
            ("tls.certificate", "tls.certificates[0].certFile"),
        ),
        (
            "{certificates: [{certFile: cert, keyFile: junk}]}",
            ("tls.key", "tls.certificates[0].keyFile"),
        ),
        (
            "{certificates: [{certFile: cert, keyFile: other}]}",
            ("tls.key", "tls.certificates[0].keyFile"),
        ),
        (
            "{certificates: [{certFile: cert, keyFile: key}], \
             clientCertificate: {mode: required, caFile: junk}}",
            ("tls.certificate", "tls.clientCertificate.caFile"),
        ),
    ] {
        let (_, problems) = compile(tls, &resolved);
        assert_eq!(codes(&problems), [expected], "{tls}");
        assert!(problems.has_errors());
    }
}

#[test]
fn a_certificate_out_of_date_or_without_names_is_a_warning() {
    let (old, nameless) = (pair(&["a.example"], 2021), pair(&[], 2999));
    let mut resolved = files(&[
        ("old", &old.cert),
        ("old-key", &old.key),
        ("nameless", &nameless.cert),
        ("nameless-key", &nameless.key),
    ]);
    let tls = "certificates: [{certFile: old, keyFile: old-key}]";
    let expiry = 1_609_459_200; // 2021-01-01
    let start = 1_577_836_800; // 2020-01-01
    for (now, warns) in [(start - 1, true), (start, false), (expiry, false), (expiry + 1, true)] {
        resolved.unix_seconds = Some(now);
        let (config, problems) = compile(tls, &resolved);
        assert!(config.is_some() && !problems.has_errors());
        assert_eq!(!problems.0.is_empty(), warns, "{now}: {problems:?}");
    }
    let tls = "certificates: [{certFile: nameless, keyFile: nameless-key}]";
    let (_, problems) = compile(tls, &resolved);
    assert_eq!(codes(&problems), [("tls.names", "tls.certificates[0].certFile")]);
    assert!(!problems.has_errors());
}

/// The resolver has said so; what is compiled all the same lets nobody in.
#[test]
fn files_that_are_missing_leave_a_listener_that_refuses() {
    let good = pair(&["a.example"], 2999);
    let resolved = files(&[("cert", &good.cert), ("key", &good.key)]);
    for tls in [
        "{certificates: [{certFile: absent, keyFile: key}]}",
        "{certificates: [{certFile: cert, keyFile: key}], \
         clientCertificate: {mode: optional, caFile: absent}}",
    ] {
        let (config, problems) = compile(tls, &resolved);
        assert_eq!(problems, Problems::default());
        let shown = format!("{:?}", config.unwrap().cert_resolver);
        assert!(shown.contains("first: None"), "{tls}: {shown}");
    }
}

#[test]
fn http2_is_offered_first() {
    let (h1, h2) = (b"http/1.1".to_vec(), b"h2".to_vec());
    assert_eq!(alpn(&[]), [h2.clone(), h1.clone()]);
    assert_eq!(alpn(&[Protocol::Http1, Protocol::Http2]), [h2.clone(), h1.clone()]);
    assert_eq!(alpn(&[Protocol::Http1]), [h1]);
    assert_eq!(alpn(&[Protocol::Http2]), [h2]);
}

/// A session that is resumed would bring its certificate back unseen.
#[test]
fn sessions_are_not_resumed_where_clients_show_certificates() {
    let good = pair(&["a.example"], 2999);
    let resolved = files(&[("cert", &good.cert), ("key", &good.key)]);
    let tls = |client| format!("{{certificates: [{{certFile: cert, keyFile: key}}]{client}}}");
    let open = compile(&tls(""), &resolved).0.unwrap();
    assert!(open.ticketer.enabled() && open.send_tls13_tickets > 0);
    let client = ", clientCertificate: {mode: optional, caFile: cert}";
    let asked = compile(&tls(client), &resolved).0.unwrap();
    assert!(!asked.ticketer.enabled() && !asked.session_storage.can_cache());
    assert_eq!(asked.send_tls13_tickets, 0);
}

#[test]
fn the_oldest_version_is_the_one_asked_for() {
    let good = pair(&["a.example"], 2999);
    let resolved = files(&[("cert", &good.cert), ("key", &good.key)]);
    for (version, has_12) in [("1.2", true), ("1.3", false)] {
        let tls = format!(
            "{{certificates: [{{certFile: cert, keyFile: key}}], minVersion: \"{version}\"}}"
        );
        let config = compile(&tls, &resolved).0.unwrap();
        assert_eq!(format!("{config:?}").contains("TLSv1_2"), has_12, "{version}");
    }
}
