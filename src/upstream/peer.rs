//! How connections to the endpoints of a service are made: protocol, TLS, deadlines.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use pingora::protocols::ALPN;
use pingora::upstreams::peer::{HttpPeer, Scheme};
use rustls::pki_types::ServerName;
use sha2::{Digest, Sha256};

use super::credentials::{CredentialStore, Credentials};
use super::endpoint::Shared;
use super::findings::Findings;
use super::{Endpoint, HealthBoard, Instance, split_address};
use crate::model::{self, Problem, UpstreamProtocol, UpstreamTls};

/// Requests at once on one HTTP/2 connection to an endpoint; an endpoint that allows fewer gets
/// fewer. Pingora's own value is 1.
const STREAMS: usize = 100;

/// What an endpoint may send of one answer before the client has taken it, and of all answers on
/// one connection together: a few slow clients must not stop the others on their connection, and
/// none may make the gateway hold much.
const STREAM_WINDOW: u32 = 1024 * 1024;
const CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;

/// How often an HTTP/2 connection is asked whether the endpoint is still there.
const PING: Duration = Duration::from_secs(30);

/// How connections to the endpoints of a service are made.
#[derive(Debug)]
pub(super) struct PeerTemplate {
    service: Arc<str>,
    connect_timeout: Duration,
    idle_timeout: Duration,
    alpn: ALPN,
    tls: Option<Tls>,
    /// Connections are shared where this is the same, see [`group`].
    group: u64,
}

#[derive(Debug)]
struct Tls {
    /// The name that certificates must be for; without it, the host of the endpoint.
    server_name: Option<String>,
    credentials: Arc<Credentials>,
}

impl PeerTemplate {
    /// Reads the settings of a service.
    pub(super) fn new(
        shared: &Shared<'_>,
        service: &model::Service,
        store: &CredentialStore,
        findings: &mut Findings<'_>,
    ) -> Self {
        let mut digest = [0; 32];
        let tls = service.tls.as_ref().map(|settings| {
            let place = format!("services.{}", shared.name);
            check_names(settings, service, &place, findings);
            let place = format!("{place}.tls");
            let (credentials, of) = store.of(settings, shared.resolved, &place, findings);
            digest = of;
            Tls { server_name: settings.server_name.clone(), credentials }
        });
        Self {
            service: shared.name.into(),
            connect_timeout: service.connect_timeout.get(),
            idle_timeout: service.idle_timeout.get(),
            alpn: match (service.protocol, &tls) {
                (UpstreamProtocol::Http2, _) => ALPN::H2,
                (UpstreamProtocol::Auto, Some(_)) => ALPN::H2H1,
                (UpstreamProtocol::Http1, _) | (UpstreamProtocol::Auto, None) => ALPN::H1,
            },
            group: group(shared.name, service.protocol, tls.is_some(), &digest),
            tls,
        }
    }

    /// The endpoint of an instance.
    pub(super) fn endpoint(&self, instance: &Instance, health: &HealthBoard) -> Endpoint {
        let address = instance.address;
        // An address, not a name: nothing is resolved, nothing can fail.
        let mut peer = HttpPeer::new(address, false, String::new());
        peer.group_key = self.group;
        peer.options.connection_timeout = Some(self.connect_timeout);
        peer.options.total_connection_timeout = Some(self.connect_timeout);
        peer.options.idle_timeout = Some(self.idle_timeout);
        peer.options.alpn = self.alpn.clone();
        if self.alpn != ALPN::H1 {
            peer.options.max_h2_streams = STREAMS;
            peer.options.h2_stream_window_size = Some(STREAM_WINDOW);
            peer.options.h2_connection_window_size = Some(CONNECTION_WINDOW);
            peer.options.h2_ping_interval = Some(PING);
        }
        if let Some(tls) = &self.tls {
            peer.scheme = Scheme::HTTPS;
            peer.sni = tls.name_of(instance);
            peer.options.ca.clone_from(&tls.credentials.authorities);
            peer.client_cert_key.clone_from(&tls.credentials.own);
        }
        Endpoint {
            service: Arc::clone(&self.service),
            name: address.to_string().into(),
            address,
            peer,
            weight: instance.weight,
            authority: authority(instance),
            health: health.of(&self.service, address),
        }
    }
}

impl Tls {
    /// The name that an endpoint's certificate must be for. Never empty and always one that can
    /// be verified: Pingora verifies nothing where there is no name. An instance that was found
    /// by its address alone must have a certificate for this address.
    fn name_of(&self, instance: &Instance) -> String {
        let host = self.server_name.as_deref().unwrap_or(&instance.host);
        let host = host.strip_suffix('.').unwrap_or(host);
        if is_name(host) { host.to_owned() } else { instance.address.ip().to_string() }
    }
}

fn authority(instance: &Instance) -> Arc<str> {
    let (host, port) = (&instance.host, instance.address.port());
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }.into()
}

/// What can be asked for and verified as it stands: no `_`, which Pingora would turn into `-`.
fn is_name(host: &str) -> bool {
    !host.contains('_') && ServerName::try_from(host).is_ok()
}

/// Holds the names that certificates must be for: `serverName`, else each endpoint's host.
fn check_names(
    settings: &UpstreamTls,
    service: &model::Service,
    place: &str,
    findings: &mut Findings<'_>,
) {
    let wrong = |at: String, what: String| {
        Problem::error("tls.server_name", at, what)
            .help(format!("give `{place}.tls.serverName`, as in `serverName: orders.internal`"))
    };
    if let Some(name) = &settings.server_name {
        if !is_name(name.strip_suffix('.').unwrap_or(name)) {
            let what = format!("`{name}` is not a name that a certificate can be for");
            findings.error(wrong(format!("{place}.tls.serverName"), what));
        }
        return;
    }
    let versions = service.versions.iter().enumerate().flat_map(|(index, version)| {
        let place = format!("{place}.versions[{index}].endpoints");
        version.endpoints.iter().enumerate().map(move |(at, one)| (format!("{place}[{at}]"), one))
    });
    let own = service.endpoints.iter().enumerate();
    let own = own.map(|(at, one)| (format!("{place}.endpoints[{at}]"), one));
    for (at, endpoint) in own.chain(versions) {
        // An address that cannot be read is reported where it is compiled.
        let Ok((host, _)) = split_address(&endpoint.address) else { continue };
        let why = if host.parse::<IpAddr>().is_ok() {
            "is an address: which name must its certificate be for?"
        } else if is_name(host.strip_suffix('.').unwrap_or(host)) {
            continue;
        } else {
            "is not a name that a certificate can be for"
        };
        findings.error(wrong(format!("{at}.address"), format!("`{host}` {why}")));
    }
}

/// Connections are shared within a service only, even where two services have one address, and
/// only between connections that were made in the same way: a new authority, certificate or key
/// (`credentials` is the digest of their files) means new connections.
fn group(service: &str, protocol: UpstreamProtocol, tls: bool, credentials: &[u8; 32]) -> u64 {
    let protocol = match protocol {
        UpstreamProtocol::Http1 => 0,
        UpstreamProtocol::Http2 => 1,
        UpstreamProtocol::Auto => 2,
    };
    let mut hasher = Sha256::new();
    hasher.update([protocol, u8::from(tls)]);
    hasher.update(credentials);
    hasher.update(service.as_bytes());
    let digest: [u8; 32] = hasher.finalize().into();
    digest.iter().take(8).fold(0, |key, byte| key << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests;
