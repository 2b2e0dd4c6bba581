//! What a client's certificate says.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};
use x509_parser::der_parser::asn1_rs::ToDer;
use x509_parser::extensions::GeneralName;
use x509_parser::oid_registry as oid;
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

use crate::edge::{ClientCertificate, hex};

/// Reads a certificate in DER, which the listener has verified; none where it cannot be read
/// whole: half of what a certificate says is not what it says.
#[must_use]
pub fn certificate_of(der: &[u8]) -> Option<ClientCertificate> {
    let (rest, certificate) = x509_parser::parse_x509_certificate(der).ok()?;
    if !rest.is_empty() {
        return None;
    }
    let mut read = ClientCertificate {
        subject: rfc4514(certificate.subject())?,
        common_name: certificate
            .subject()
            .iter_common_name()
            .next()
            .and_then(|name| name.as_str().ok())
            .map(Into::into),
        issuer: rfc4514(certificate.issuer())?,
        serial: serial(certificate.raw_serial()),
        fingerprint: hex(&Sha256::digest(der)).into(),
        not_after: certificate.validity().not_after.timestamp(),
        ..ClientCertificate::default()
    };
    let names = certificate.subject_alternative_name().ok()?;
    let names = names.map_or(&[][..], |names| names.value.general_names.as_slice());
    let pick = |wanted: for<'a> fn(&'a GeneralName<'a>) -> Option<&'a str>| {
        names.iter().filter_map(wanted).map(Box::from).collect()
    };
    read.dns_names = pick(|name| if let GeneralName::DNSName(n) = name { Some(n) } else { None });
    read.uris = pick(|name| if let GeneralName::URI(n) = name { Some(n) } else { None });
    read.emails = pick(|name| if let GeneralName::RFC822Name(n) = name { Some(n) } else { None });
    Some(read)
}

/// A serial number without the zero that marks it as positive.
fn serial(raw: &[u8]) -> Box<str> {
    match raw {
        [0, rest @ ..] if !rest.is_empty() => hex(rest).into(),
        raw => hex(raw).into(),
    }
}

/// A distinguished name as text: last part first, `CN=shop,O=Example` (RFC 4514).
fn rfc4514(name: &X509Name<'_>) -> Option<Box<str>> {
    let mut text = String::new();
    let parts: Vec<_> = name.iter().collect();
    for (index, part) in parts.into_iter().rev().enumerate() {
        if index > 0 {
            text.push(',');
        }
        for (index, attribute) in part.iter().enumerate() {
            if index > 0 {
                text.push('+');
            }
            write_attribute(attribute, &mut text)?;
        }
    }
    Some(text.into())
}

fn write_attribute(attribute: &AttributeTypeAndValue<'_>, text: &mut String) -> Option<()> {
    let kind = attribute.attr_type();
    let short = SHORT.iter().find(|(known, _)| known == kind).map(|(_, short)| *short);
    if let (Some(short), Ok(value)) = (short, attribute.as_str()) {
        text.push_str(short);
        text.push('=');
        escape(value, text);
        return Some(());
    }
    // Without a short name, or a value that is no text, the value is shown as it is encoded.
    let value = attribute.attr_value().to_der_vec().ok()?;
    write!(text, "{}=#{}", kind.to_id_string(), hex(&value)).ok()
}

/// Names that every reader of RFC 4514 knows, and that of e-mail addresses.
static SHORT: [(oid::Oid<'static>, &str); 10] = [
    (oid::OID_X509_COMMON_NAME, "CN"),
    (oid::OID_X509_LOCALITY_NAME, "L"),
    (oid::OID_X509_STATE_OR_PROVINCE_NAME, "ST"),
    (oid::OID_X509_ORGANIZATION_NAME, "O"),
    (oid::OID_X509_ORGANIZATIONAL_UNIT, "OU"),
    (oid::OID_X509_COUNTRY_NAME, "C"),
    (oid::OID_X509_STREET_ADDRESS, "STREET"),
    (oid::OID_DOMAIN_COMPONENT, "DC"),
    (oid::OID_USERID, "UID"),
    (oid::OID_PKCS9_EMAIL_ADDRESS, "emailAddress"),
];

/// Writes a value so that it cannot be taken for more of the name than it is.
fn escape(value: &str, text: &mut String) {
    let last = value.len().saturating_sub(1);
    for (at, character) in value.char_indices() {
        match character {
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' | '=' => text.extend(['\\', character]),
            '#' if at == 0 => text.push_str("\\#"),
            ' ' if at == 0 || at == last => text.push_str("\\ "),
            '\0' => text.push_str("\\00"),
            character => text.push(character),
        }
    }
}

#[cfg(test)]
mod tests;
