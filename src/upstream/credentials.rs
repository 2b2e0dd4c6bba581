//! What a connection with TLS is made with: whom to trust, and how the gateway proves itself.
//!
//! Read once from the PEM files, however many routes lead to a service and however often the
//! configuration is loaded: the same contents are the same value. Pingora builds its TLS
//! configuration from it for every connection that it opens, so nothing of it is needed per
//! request.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use pingora::protocols::tls::CaType;
use pingora::utils::tls::{CertKey, WrappedX509, parse_x509};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use sha2::{Digest, Sha256};

use super::findings::Findings;
use crate::model::{Problem, Resolved, UpstreamTls, pem};

/// Trust and proof for the connections of a service.
#[derive(Debug, Default)]
pub(super) struct Credentials {
    /// Authorities to trust; the system's where there are none.
    pub(super) authorities: Option<Arc<CaType>>,
    /// The gateway's own certificate and key.
    pub(super) own: Option<Arc<CertKey>>,
}

/// Every `Credentials` in use, by the digest of what it was read from.
#[derive(Debug, Default)]
pub struct CredentialStore(Mutex<HashMap<[u8; 32], Weak<Credentials>>>);

impl CredentialStore {
    /// The credentials that the settings of a service name, and a digest that changes with the
    /// contents of their files. `place` is that of the settings (`services.orders.tls`).
    pub(super) fn of(
        &self,
        settings: &UpstreamTls,
        resolved: &Resolved,
        place: &str,
        findings: &mut Findings<'_>,
    ) -> (Arc<Credentials>, [u8; 32]) {
        let digest = digest(settings, resolved);
        let mut known = self.0.lock();
        if let Some(same) = known.get(&digest).and_then(Weak::upgrade) {
            return (same, digest);
        }
        let read = Reading { settings, resolved, place }.credentials(findings);
        let read = Arc::new(read);
        if !findings.refused() {
            known.retain(|_, credentials| credentials.strong_count() > 0);
            known.insert(digest, Arc::downgrade(&read));
        }
        (read, digest)
    }
}

/// A digest of the files' contents. A file that is missing counts as such.
fn digest(settings: &UpstreamTls, resolved: &Resolved) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for file in [&settings.ca_file, &settings.cert_file, &settings.key_file] {
        let contents = file.as_ref().map(|file| resolved.digest(file).unwrap_or_default());
        hasher.update([u8::from(contents.is_some())]);
        hasher.update(contents.unwrap_or_default());
    }
    hasher.finalize().into()
}

struct Reading<'a> {
    settings: &'a UpstreamTls,
    resolved: &'a Resolved,
    place: &'a str,
}

impl Reading<'_> {
    fn credentials(&self, findings: &mut Findings<'_>) -> Credentials {
        let authorities = self.settings.ca_file.as_ref().map(|file| {
            // Without any authority every handshake fails: nothing else is safe to assume of a
            // file that could not be had, and which only `check` goes on without.
            let place = format!("{}.caFile", self.place);
            let read = pem::certificates(self.resolved, file, &place);
            wrapped(note(read, findings).unwrap_or_default())
        });
        let own = match (&self.settings.cert_file, &self.settings.key_file) {
            (None, None) => None,
            (Some(cert), Some(key)) => self.own(cert, key, findings),
            (cert, _) => {
                let (given, other) =
                    if cert.is_some() { ("certFile", "keyFile") } else { ("keyFile", "certFile") };
                let what = format!("`{given}` has no effect without `{other}`");
                findings.error(
                    Problem::error("tls.key", format!("{}.{given}", self.place), what)
                        .help("the gateway's own certificate needs its private key"),
                );
                None
            }
        };
        Credentials { authorities: authorities.map(Arc::from), own }
    }

    fn own(&self, cert: &str, key: &str, findings: &mut Findings<'_>) -> Option<Arc<CertKey>> {
        let place = format!("{}.certFile", self.place);
        let chain = note(pem::certificates(self.resolved, cert, &place), findings)?;
        if let Some(warning) =
            chain.first().and_then(|leaf| pem::out_of_date(leaf, self.resolved, cert, &place))
        {
            findings.warning(warning);
        }
        let place = format!("{}.keyFile", self.place);
        let private = note(pem::private_key(self.resolved, key, &place), findings)?;
        // Pingora reads the key again for every connection, and panics if it cannot.
        let bytes = private.secret_der().to_vec();
        let provider = rustls::crypto::ring::default_provider();
        let fits = PrivateKeyDer::try_from(bytes.clone()).is_ok_and(|key| {
            CertifiedKey::from_der(chain.clone(), key.clone_key(), &provider).is_ok()
        });
        if !fits {
            let what = format!("the key in `{key}` does not belong to the certificate in `{cert}`");
            findings.error(Problem::error("tls.key", place, what));
            return None;
        }
        let chain = chain.into_iter().map(|certificate| certificate.to_vec()).collect();
        Some(Arc::new(CertKey::new(chain, bytes)))
    }
}

fn note<T>(read: Result<Option<T>, Box<Problem>>, findings: &mut Findings<'_>) -> Option<T> {
    read.unwrap_or_else(|problem| {
        findings.error(*problem);
        None
    })
}

/// Certificates as Pingora wants them. They were read as X.509 before, so that this cannot fail.
fn wrapped(certificates: Vec<CertificateDer<'static>>) -> Vec<WrappedX509> {
    let wrap = |certificate: CertificateDer<'_>| WrappedX509::new(certificate.to_vec(), parse_x509);
    certificates.into_iter().map(wrap).collect()
}
