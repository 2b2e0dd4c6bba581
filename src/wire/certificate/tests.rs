use rcgen::string::Ia5String;
use rcgen::{CertificateParams, DnType, DnValue, KeyPair, SanType, SerialNumber};
use sha2::{Digest, Sha256};

use super::certificate_of;
use crate::edge::hex;

fn ia5(text: &str) -> Ia5String {
    Ia5String::try_from(text).unwrap()
}

fn der(prepare: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    prepare(&mut params);
    params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
}

#[test]
fn a_certificate_is_read_whole() {
    let der = der(|params| {
        let name = &mut params.distinguished_name;
        name.push(DnType::CountryName, "DE");
        name.push(DnType::OrganizationName, "Müller, Söhne");
        name.push(DnType::CommonName, " shop \"1\" #");
        params.serial_number = Some(SerialNumber::from(vec![0x8f, 0, 1]));
        params.not_after = rcgen::date_time_ymd(2040, 1, 1);
        params.subject_alt_names = vec![
            SanType::DnsName(ia5("Shop.example")),
            SanType::URI(ia5("spiffe://example/shop")),
            SanType::DnsName(ia5("b.example")),
            SanType::Rfc822Name(ia5("shop@example.com")),
            SanType::IpAddress("10.0.0.1".parse().unwrap()),
        ];
    });
    let read = certificate_of(&der).unwrap();
    assert_eq!(&*read.subject, "CN=\\ shop \\\"1\\\" #,O=Müller\\, Söhne,C=DE");
    assert_eq!(read.issuer, read.subject);
    assert_eq!(read.common_name.as_deref(), Some(" shop \"1\" #"));
    assert_eq!(&*read.serial, "8f0001");
    assert_eq!(*read.fingerprint, hex(&Sha256::digest(&der)));
    assert_eq!(read.not_after, 2_208_988_800);
    assert_eq!(read.dns_names.join(" "), "Shop.example b.example");
    assert_eq!(read.uris.join(" "), "spiffe://example/shop");
    assert_eq!(read.emails.join(" "), "shop@example.com");
}

#[test]
fn a_certificate_may_say_little() {
    let read = certificate_of(&der(|_| {})).unwrap();
    assert_eq!((&*read.subject, read.common_name), ("", None));
    assert!(read.dns_names.is_empty() && read.uris.is_empty() && read.emails.is_empty());
}

#[test]
fn what_is_no_text_is_shown_as_encoded() {
    let der = der(|params| {
        let name = &mut params.distinguished_name;
        name.push(DnType::CustomDnType(vec![1, 2, 3, 4]), "x");
        name.push(DnType::CommonName, DnValue::BmpString("ab".try_into().unwrap()));
    });
    let read = certificate_of(&der).unwrap();
    assert_eq!(&*read.subject, "2.5.4.3=#1e0400610062,1.2.3.4=#0c0178");
    assert_eq!(read.common_name, None);
}

#[test]
fn nothing_can_pretend_to_be_another_part_of_the_name() {
    for (value, shown) in [
        ("a,CN=admin", "CN=a\\,CN\\=admin"),
        ("a+UID=1", "CN=a\\+UID\\=1"),
        ("#01", "CN=\\#01"),
        ("a\\", "CN=a\\\\"),
        (" ", "CN=\\ "),
    ] {
        let read = certificate_of(&der(|params| {
            params.distinguished_name.push(DnType::CommonName, value);
        }));
        assert_eq!(&*read.unwrap().subject, shown);
    }
}

/// Every byte of a certificate changed, every length cut, and noise: answered without a panic.
#[test]
fn garbage_is_survived() {
    let good = der(|params| {
        params.distinguished_name.push(DnType::CommonName, "a");
        params.subject_alt_names = vec![SanType::DnsName(ia5("a.example"))];
    });
    assert!(certificate_of(&good).is_some());
    for length in 0..good.len() {
        assert!(certificate_of(&good[..length]).is_none(), "cut to {length}");
    }
    let mut longer = good.clone();
    longer.push(0);
    assert!(certificate_of(&longer).is_none());
    for at in 0..good.len() {
        for change in [0x01_u8, 0x80, 0xff, 0x20] {
            let mut bad = good.clone();
            bad[at] ^= change;
            let _ = certificate_of(&bad);
        }
    }
    let mut random = fastrand::Rng::with_seed(7);
    for length in 0..2000 {
        let noise: Vec<u8> = (0..length % 97).map(|_| random.u8(..)).collect();
        let _ = certificate_of(&noise);
        let mut bad = good.clone();
        for _ in 0..8 {
            let at = random.usize(..bad.len());
            bad[at] = random.u8(..);
        }
        let _ = certificate_of(&bad);
    }
}
