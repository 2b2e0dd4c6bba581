//! What is known of a connection before its first request.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, OnceLock};

use http::HeaderValue;

use super::Identity;
use super::forwarded::address_value;

/// A client's connection.
#[derive(Clone, Debug)]
pub struct Connection {
    /// The address that it came in on.
    pub local: SocketAddr,
    /// The other end, as the PROXY protocol told where it is spoken, else the socket's.
    pub peer: SocketAddr,
    /// Whether TLS ended here.
    pub tls: bool,
    /// The name of the server that the client asked for in its TLS handshake.
    pub server_name: Option<Box<str>>,
    /// The client's certificate, verified.
    pub certificate: Option<Arc<ClientCertificate>>,
    /// The address of the peer as services are told of it, written once for all requests.
    told: OnceLock<HeaderValue>,
}

impl Connection {
    /// A connection without TLS between two addresses.
    #[must_use]
    pub const fn cleartext(local: SocketAddr, peer: SocketAddr) -> Self {
        let told = OnceLock::new();
        Self { local, peer, tls: false, server_name: None, certificate: None, told }
    }

    /// The address of the peer, for `X-Forwarded-For`. It must not change afterwards.
    pub(crate) fn peer_value(&self) -> &HeaderValue {
        self.told.get_or_init(|| address_value(self.peer.ip()))
    }
}

impl Default for Connection {
    /// What is assumed where nothing is known: this machine, in clear text.
    fn default() -> Self {
        let here = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
        Self::cleartext(here, here)
    }
}

/// What a verified client certificate says. Names are as written in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The whole subject, RFC 4514.
    pub subject: Box<str>,
    /// The subject's common name.
    pub common_name: Option<Box<str>>,
    /// The whole issuer, RFC 4514.
    pub issuer: Box<str>,
    /// Serial number, in lower-case hexadecimal.
    pub serial: Box<str>,
    /// SHA-256 of the certificate, in lower-case hexadecimal.
    pub fingerprint: Box<str>,
    /// Alternative names that are host names.
    pub dns_names: Box<[Box<str>]>,
    /// Alternative names that are URIs, as SPIFFE's.
    pub uris: Box<[Box<str>]>,
    /// Alternative names that are e-mail addresses.
    pub emails: Box<[Box<str>]>,
    /// End of validity, Unix seconds.
    pub not_after: i64,
    /// Whom it proved its holder to be.
    pub proved: Proved,
}

/// Whom a certificate proved its holder to be, so that the requests of a connection share one
/// [`Identity`]. Only `auth` makes one; here it is only kept. Says nothing about what the
/// certificate is: all are equal.
#[derive(Clone, Debug, Default)]
pub struct Proved(OnceLock<([u8; 32], Arc<Identity>)>);

impl Proved {
    /// What was proved under this context, a digest of all that the proof depends on.
    #[must_use]
    pub fn get(&self, context: &[u8; 32]) -> Option<&Arc<Identity>> {
        self.0.get().filter(|(known, _)| known == context).map(|(_, identity)| identity)
    }

    /// Keeps what was proved first.
    pub fn keep(&self, context: &[u8; 32], identity: &Arc<Identity>) {
        let _ = self.0.set((*context, Arc::clone(identity)));
    }
}

impl PartialEq for Proved {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Proved {}
