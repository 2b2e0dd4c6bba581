//! Certificates and keys in PEM files that a configuration names.
//!
//! The contents come in resolved. What is wrong with them is a problem at the place that names
//! the file; a file that could not be read at all is `None`, for the resolver has reported it.

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use rustls::sign::CertifiedKey;

use super::{Problem, Resolved};

/// The certificates of a file, in their order; at least one.
///
/// Each can be read as X.509 too: Pingora takes that for granted and would panic.
///
/// # Errors
/// The problem, at `place`.
pub fn certificates(
    resolved: &Resolved,
    file: &str,
    place: &str,
) -> Result<Option<Vec<CertificateDer<'static>>>, Box<Problem>> {
    let Some(pem) = resolved.file(file) else { return Ok(None) };
    let wrong = |what: String| {
        let problem = Problem::error("tls.certificate", place, what);
        Box::new(problem.help("a PEM file has `-----BEGIN CERTIFICATE-----` and base64 below it"))
    };
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found = found.map_err(|_| wrong(format!("`{file}` is not a PEM file")))?;
    if found.is_empty() {
        return Err(wrong(format!("there is no certificate in `{file}`")));
    }
    for (index, certificate) in found.iter().enumerate() {
        if x509_parser::parse_x509_certificate(certificate).is_err() {
            let number = index + 1;
            return Err(wrong(format!("certificate {number} in `{file}` cannot be read")));
        }
    }
    Ok(Some(found))
}

/// The first private key of a file.
///
/// # Errors
/// The problem, at `place`. It says nothing of what is in the file.
pub fn private_key(
    resolved: &Resolved,
    file: &str,
    place: &str,
) -> Result<Option<PrivateKeyDer<'static>>, Box<Problem>> {
    let Some(pem) = resolved.file(file) else { return Ok(None) };
    PrivateKeyDer::from_pem_slice(pem).map(Some).map_err(|_| {
        let what = format!("there is no private key in `{file}`");
        let problem = Problem::error("tls.key", place, what);
        Box::new(problem.help("a PEM file has `-----BEGIN PRIVATE KEY-----` and base64 below it"))
    })
}

/// Whether a private key belongs to the first certificate of a chain, and is of a kind that can
/// be used.
#[must_use]
pub fn fits(chain: Vec<CertificateDer<'static>>, key: &PrivateKeyDer<'static>) -> bool {
    let provider = rustls::crypto::ring::default_provider();
    CertifiedKey::from_der(chain, key.clone_key(), &provider).is_ok()
}

/// The first private key in PKCS #8 of a PEM text; none where there is none.
#[must_use]
pub fn pkcs8(pem: &[u8]) -> Option<PrivatePkcs8KeyDer<'static>> {
    PrivatePkcs8KeyDer::from_pem_slice(pem).ok()
}

/// A warning if a certificate is not valid at the time of resolving; nothing where the time is
/// not known.
#[must_use]
pub fn out_of_date(
    certificate: &CertificateDer<'_>,
    resolved: &Resolved,
    file: &str,
    place: &str,
) -> Option<Problem> {
    let now = i64::try_from(resolved.unix_seconds?).unwrap_or(i64::MAX);
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let validity = parsed.validity();
    let what = if validity.not_after.timestamp() < now {
        format!("the certificate in `{file}` expired on {}", validity.not_after)
    } else if validity.not_before.timestamp() > now {
        format!("the certificate in `{file}` is not valid before {}", validity.not_before)
    } else {
        return None;
    };
    Some(
        Problem::warning("tls.expired", place, what)
            .help("put a renewed certificate there: it comes into force by itself"),
    )
}
