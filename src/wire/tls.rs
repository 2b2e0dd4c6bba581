//! How a listener ends TLS, compiled into the configuration of rustls.
//!
//! TLS 1.2 and 1.3 with the suites that rustls has on by default: all of them with forward
//! secrecy and authenticated encryption. What goes wrong here leaves a configuration whose every
//! handshake fails; a listener with `tls` never speaks clear text.

mod names;

use std::sync::Arc;

use rustls::crypto::{self, CryptoProvider};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, ProducesTickets, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, RootCertStore, ServerConfig};

use self::names::Names;
use crate::model::{
    Certificate, ClientCertificate, ClientCertificateMode, ListenerTls, Problem, Problems,
    Protocol, Resolved, TlsVersion, pem,
};

/// Compiles `listeners[].tls`; `path` is its place (`listeners[0].tls`), `protocols` are those of
/// the listener. What cannot be used is a problem, and the handshakes of the result fail.
pub fn server_config(
    tls: &ListenerTls,
    protocols: &[Protocol],
    resolved: &Resolved,
    path: &str,
    problems: &mut Problems,
) -> Option<Arc<ServerConfig>> {
    let provider = Arc::new(crypto::ring::default_provider());
    let mut compile = Compile { provider: &provider, resolved, path, problems };
    let names = compile.names(tls);
    let verifier = tls.client_certificate.as_ref().map(|asked| compile.verifier(asked));
    let (verifier, names) = match verifier {
        // Whoever cannot be verified is not let in.
        Some(None) => (None, Names::default()),
        Some(verifier) => (verifier, names),
        None => (None, names),
    };
    let versions: &[_] = match tls.min_version {
        TlsVersion::V12 => &[&rustls::version::TLS13, &rustls::version::TLS12],
        TlsVersion::V13 => &[&rustls::version::TLS13],
    };
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .map_err(|error| compile.defect(&error))
        .ok()?;
    let resumes = verifier.is_none();
    let builder = match verifier {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(Arc::new(names));
    config.alpn_protocols = alpn(protocols);
    if resumes {
        config.ticketer = compile.tickets()?;
    } else {
        // A resumed session would be trusted without another look at its certificate, which may
        // have expired since.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    }
    Some(Arc::new(config))
}

/// The protocols to agree on, best first: HTTP/2 wherever it is spoken.
fn alpn(protocols: &[Protocol]) -> Vec<Vec<u8>> {
    let speaks = |protocol| protocols.is_empty() || protocols.contains(&protocol);
    let offers = [(Protocol::Http2, &b"h2"[..]), (Protocol::Http1, b"http/1.1")];
    let offers = offers.into_iter().filter(|(protocol, _)| speaks(*protocol));
    offers.map(|(_, name)| name.to_vec()).collect()
}

struct Compile<'a> {
    provider: &'a Arc<CryptoProvider>,
    resolved: &'a Resolved,
    path: &'a str,
    problems: &'a mut Problems,
}

impl Compile<'_> {
    /// The certificates, by the names that they are for.
    fn names(&mut self, tls: &ListenerTls) -> Names {
        let mut names = Names::new(tls.unknown_server_name);
        if tls.certificates.is_empty() {
            let place = format!("{}.certificates", self.path);
            self.problems.push(
                Problem::error("tls.certificates", place, "there is no certificate")
                    .help("add `{certFile: tls.crt, keyFile: tls.key}`"),
            );
        }
        for (index, certificate) in tls.certificates.iter().enumerate() {
            let place = format!("{}.certificates[{index}]", self.path);
            let Some(key) = self.certified(certificate, &place) else { continue };
            for problem in names.add(&certificate.cert_file, key, &format!("{place}.certFile")) {
                self.problems.push(problem);
            }
        }
        names
    }

    /// A certificate with its key, both of them usable and made for each other.
    fn certified(&mut self, files: &Certificate, place: &str) -> Option<Arc<CertifiedKey>> {
        let (cert, key) = (&files.cert_file, &files.key_file);
        let cert_place = format!("{place}.certFile");
        let key_place = format!("{place}.keyFile");
        let chain = pem::certificates(self.resolved, cert, &cert_place);
        let private = pem::private_key(self.resolved, key, &key_place);
        let (chain, private) = (self.note(chain), self.note(private));
        let (chain, private) = (chain?, private?);
        if let Some(leaf) = chain.first() {
            let warning = pem::out_of_date(leaf, self.resolved, cert, &cert_place);
            self.problems.0.extend(warning);
        }
        let certified = CertifiedKey::from_der(chain, private, self.provider);
        let what = match certified {
            Ok(certified) => return Some(Arc::new(certified)),
            Err(rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
                format!("the key in `{key}` does not belong to the certificate in `{cert}`")
            }
            Err(error) => {
                format!("`{cert}` and `{key}` cannot be used: {error}")
            }
        };
        self.problems.push(
            Problem::error("tls.key", key_place, what)
                .help("keys may be RSA from 2048 bits, ECDSA on P-256 or P-384, or Ed25519"),
        );
        None
    }

    fn verifier(&mut self, asked: &ClientCertificate) -> Option<Arc<dyn ClientCertVerifier>> {
        let place = format!("{}.clientCertificate.caFile", self.path);
        let found = pem::certificates(self.resolved, &asked.ca_file, &place);
        let mut roots = RootCertStore::empty();
        for authority in self.note(found)? {
            if let Err(error) = roots.add(authority) {
                let what = format!("an authority in `{}` cannot be used: {error}", asked.ca_file);
                self.problems.push(Problem::error("tls.certificate", place, what));
                return None;
            }
        }
        let builder =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(self.provider));
        let builder = match asked.mode {
            ClientCertificateMode::Required => builder,
            ClientCertificateMode::Optional => builder.allow_unauthenticated(),
        };
        builder
            .build()
            .map_err(|error| {
                let what = format!("clients cannot be verified: {error}");
                self.problems.push(Problem::error("tls.certificate", place, what));
            })
            .ok()
    }

    /// Tickets with which clients come back, under a key that only this configuration has and
    /// that changes every six hours: no session outlives what it was agreed under, and none a
    /// restart.
    fn tickets(&mut self) -> Option<Arc<dyn ProducesTickets>> {
        crypto::ring::Ticketer::new().map_err(|error| self.defect(&error)).ok()
    }

    fn note<T>(&mut self, read: Result<Option<T>, Box<Problem>>) -> Option<T> {
        read.unwrap_or_else(|problem| {
            self.problems.push(*problem);
            None
        })
    }

    fn defect(&mut self, error: &rustls::Error) {
        let what = format!("TLS cannot be set up: {error}");
        self.problems.push(Problem::error("tls.setup", self.path, what));
    }
}

#[cfg(test)]
mod tests;
