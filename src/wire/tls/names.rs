//! Which certificate a client gets, by the name of the server that it asks for.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use x509_parser::extensions::GeneralName;

use crate::model::{Problem, UnknownServerName};

/// Certificates by the names that they are for. A handshake costs one look-up, a second one
/// where the name may be a wildcard's, and no allocation.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// Whole names, in lower case.
    exact: HashMap<Box<str>, Arc<CertifiedKey>>,
    /// What stands behind `*.`, in lower case: for names with one label more.
    wildcard: HashMap<Box<str>, Arc<CertifiedKey>>,
    /// What clients get that name no server.
    first: Option<Arc<CertifiedKey>>,
    unknown: UnknownServerName,
}

impl Names {
    pub(super) fn new(unknown: UnknownServerName) -> Self {
        Self { unknown, ..Self::default() }
    }

    /// Adds a certificate for the names it is for; a name that an earlier one is for stays with
    /// that one. Returns warnings, at `place`; `file` is the one that the certificate is in.
    pub(super) fn add(
        &mut self,
        file: &str,
        certificate: Arc<CertifiedKey>,
        place: &str,
    ) -> Vec<Problem> {
        let mut warnings = Vec::new();
        let names = certificate.cert.first().map_or_else(Vec::new, |leaf| names_of(leaf));
        if names.is_empty() {
            let what = format!("the certificate in `{file}` is for no host name");
            warnings.push(
                Problem::warning("tls.names", place, what)
                    .help("clients read the names of a server from `subjectAltName` only"),
            );
        }
        for name in names {
            let (map, key) = match name.strip_prefix("*.") {
                Some(rest) => (&mut self.wildcard, rest),
                None => (&mut self.exact, name.as_str()),
            };
            if map.contains_key(key) {
                let what = format!("an earlier certificate is for `{name}` already, and is used");
                warnings.push(Problem::warning("tls.names", place, what));
                continue;
            }
            map.insert(key.into(), Arc::clone(&certificate));
        }
        self.first.get_or_insert(certificate);
        warnings
    }

    /// The certificate for a name in lower case; none if the client is to be refused.
    pub(super) fn find(&self, name: Option<&str>) -> Option<&Arc<CertifiedKey>> {
        let Some(name) = name else { return self.first.as_ref() };
        let wildcard = || name.split_once('.').and_then(|(_, rest)| self.wildcard.get(rest));
        self.exact.get(name).or_else(wildcard).or(match self.unknown {
            UnknownServerName::Refuse => None,
            UnknownServerName::First => self.first.as_ref(),
        })
    }
}

impl ResolvesServerCert for Names {
    /// Rustls gives the name in lower case.
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.find(hello.server_name()).map(Arc::clone)
    }
}

/// The host names that a certificate is for, in lower case.
fn names_of(certificate: &[u8]) -> Vec<String> {
    let Ok((_, parsed)) = x509_parser::parse_x509_certificate(certificate) else {
        return Vec::new();
    };
    let Ok(Some(names)) = parsed.subject_alternative_name() else { return Vec::new() };
    let names = names.value.general_names.iter().filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(name.trim_end_matches('.').to_ascii_lowercase()),
        _ => None,
    });
    names.collect()
}
