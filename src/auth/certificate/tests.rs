use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::identify;
use crate::auth::Providers;
use crate::clock::{Moment, Tick};
use crate::edge::ClientCertificate;
use crate::fault::Fault;
use crate::model::{Config, Problems, Resolved};

const NOW: u64 = 1_700_000_000;

fn at(seconds: u64) -> Moment {
    Moment { tick: Tick::default(), unix_ms: seconds * 1000 }
}

fn providers(headers: &[(&str, &str)]) -> Providers {
    let mut config: Config = serde_yaml::from_str("{}").unwrap();
    let list = headers.iter().map(|(name, fact)| ((*name).to_owned(), (*fact).into()));
    config.identity_headers = list.collect::<BTreeMap<_, _>>();
    let mut problems = Problems::default();
    let providers = Providers::compile(&config, &Resolved::default(), &mut problems);
    assert_eq!(problems, Problems::default());
    providers
}

fn certificate() -> ClientCertificate {
    let names = |list: &[&str]| list.iter().map(|name| Box::from(*name)).collect();
    ClientCertificate {
        subject: "CN=shop,O=Example".into(),
        common_name: Some("shop".into()),
        issuer: "CN=ca".into(),
        serial: "01ab".into(),
        fingerprint: "ff00".into(),
        dns_names: names(&["shop.example", "b.example"]),
        uris: names(&["spiffe://example/shop"]),
        emails: names(&["shop@example.com"]),
        not_after: i64::try_from(NOW).unwrap(),
        ..ClientCertificate::default()
    }
}

#[test]
fn the_first_name_of_the_most_exact_kind_is_the_subject() {
    let providers = providers(&[]);
    let subject = |change: fn(&mut ClientCertificate)| {
        let mut certificate = certificate();
        change(&mut certificate);
        identify(&certificate, &providers, at(NOW)).map(|one| one.subject.to_string())
    };
    assert_eq!(subject(|_| {}).unwrap(), "spiffe://example/shop");
    assert_eq!(subject(|c| c.uris = Box::default()).unwrap(), "shop.example");
    let no_names = |c: &mut ClientCertificate| {
        c.uris = Box::default();
        c.dns_names = Box::default();
    };
    assert_eq!(subject(no_names).unwrap(), "shop");
    let only_subject = |c: &mut ClientCertificate| {
        (c.uris, c.dns_names, c.common_name) = (Box::default(), Box::default(), None);
    };
    assert_eq!(subject(only_subject).unwrap(), "CN=shop,O=Example");
    let nobody = subject(|c| *c = ClientCertificate { not_after: i64::MAX, ..Default::default() });
    assert_eq!(nobody.unwrap_err().fault, Fault::CertificateMissing);
}

#[test]
fn everything_it_says_is_a_claim() {
    let providers = providers(&[("x-user", "subject"), ("x-org", "claim:issuer")]);
    let identity = identify(&certificate(), &providers, at(NOW)).unwrap();
    assert_eq!(&*identity.provider, "clientCertificate");
    assert!(identity.scopes.is_empty() && identity.tenant_id.is_none());
    let expected = serde_json::json!({
        "subject": "CN=shop,O=Example", "issuer": "CN=ca", "serial": "01ab",
        "fingerprint": "ff00", "commonName": "shop",
        "dnsNames": ["shop.example", "b.example"], "uris": ["spiffe://example/shop"],
        "spiffeId": "spiffe://example/shop", "emails": ["shop@example.com"],
    });
    assert_eq!(serde_json::Value::Object(identity.claims.clone()), expected);
    let sent: Vec<_> =
        identity.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
    assert_eq!(sent.len(), 2);
    assert!(sent.contains(&("x-user", b"spiffe://example/shop")));
    assert!(sent.contains(&("x-org", b"CN=ca")));
}

#[test]
fn an_expired_certificate_proves_nothing() {
    let (providers, certificate) = (providers(&[]), certificate());
    assert!(identify(&certificate, &providers, at(NOW)).is_ok());
    let later = at(NOW).plus(Duration::from_secs(1));
    let refused = identify(&certificate, &providers, later).unwrap_err();
    assert_eq!(refused.fault, Fault::CertificateMissing);
    assert_eq!(refused.headers.len(), 1, "a 401 has a challenge");
}

#[test]
fn it_is_built_once_for_a_connection_and_never_outlives_its_context() {
    let certificate = certificate();
    let (old, new) = (providers(&[("x-a", "subject")]), providers(&[("x-b", "subject")]));
    let first = identify(&certificate, &old, at(NOW)).unwrap();
    assert!(Arc::ptr_eq(&first, &identify(&certificate, &old, at(NOW)).unwrap()));
    let second = identify(&certificate, &new, at(NOW)).unwrap();
    assert_eq!(second.headers[0].0, "x-b");
    let again = identify(&certificate, &old, at(NOW)).unwrap();
    assert_eq!(again.headers[0].0, "x-a");
}

#[test]
fn a_name_that_would_forge_a_header_is_refused() {
    let mut certificate = certificate();
    certificate.uris = [Box::from("https://a\r\nx-user-id: root")].into();
    let refused = identify(&certificate, &providers(&[("x-user", "subject")]), at(NOW));
    assert_eq!(refused.unwrap_err().fault, Fault::CertificateMissing);
}
