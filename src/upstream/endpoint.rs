//! One address of a version.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use pingora::protocols::ALPN;
use pingora::upstreams::peer::HttpPeer;

use super::findings::Findings;
use super::{EndpointHealth, HealthBoard, murmur3_32};
use crate::model::{self, Problem, Resolved};

/// One address, with everything that a request needs prepared.
#[derive(Debug)]
pub struct Endpoint {
    /// The address as text, for logs.
    pub name: Arc<str>,
    /// Where to connect.
    pub address: SocketAddr,
    /// The peer to clone for each attempt; timeouts of the route are set on the clone.
    pub peer: HttpPeer,
    /// Its health, which outlives the snapshot.
    pub health: Arc<EndpointHealth>,
}

/// Splits `host`, `host:port`, `[v6]` or `[v6]:port`; the host of an IPv6 address keeps no
/// brackets. Whoever resolves names reads them with this too.
///
/// # Errors
/// What is wrong with the address, in words.
pub fn split_address(address: &str) -> Result<(&str, Option<u16>), String> {
    if address.contains("://") {
        return Err("an address is `host` or `host:port`, without a scheme".to_owned());
    }
    let (host, port) = if let Some(rest) = address.strip_prefix('[') {
        let (host, rest) = rest.split_once(']').ok_or("the address has no closing `]`")?;
        host.parse::<Ipv6Addr>().map_err(|_| format!("`{host}` is not an IPv6 address"))?;
        let port = match rest {
            "" => None,
            rest => Some(rest.strip_prefix(':').ok_or("after `]` comes `:` and the port")?),
        };
        (host, port)
    } else if address.parse::<Ipv6Addr>().is_ok() {
        return Err(format!("an IPv6 address stands in brackets: `[{address}]`"));
    } else {
        let (host, port) =
            address.split_once(':').map_or((address, None), |(host, port)| (host, Some(port)));
        if host.is_empty() || !host.bytes().all(is_host_byte) {
            return Err(format!("`{host}` is not a host name"));
        }
        (host, port)
    };
    let port = port.map(|port| {
        port.parse()
            .ok()
            .filter(|number| *number != 0 && is_digits(port))
            .ok_or_else(|| format!("`{port}` is not a port: a whole number from 1 to 65535"))
    });
    Ok((host, port.transpose()?))
}

fn is_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

const fn is_host_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_')
}

/// What endpoints of one service, seen from one route, have in common.
pub(super) struct Shared<'a> {
    /// Name of the service.
    pub(super) name: &'a str,
    /// Its settings.
    pub(super) service: &'a model::Service,
    /// The route's `upstream.port`.
    pub(super) port: Option<u16>,
    /// Place of the route's upstream in the document.
    pub(super) path: &'a str,
    /// Addresses of host names.
    pub(super) resolved: &'a Resolved,
    /// Where health is kept.
    pub(super) health: &'a HealthBoard,
}

impl Shared<'_> {
    /// Compiles one configured endpoint at `place`: one for each address of its host, in no case
    /// twice the same. None where the host has no address, which the resolver has reported.
    pub(super) fn endpoints(
        &self,
        model: &model::Endpoint,
        place: &str,
        findings: &mut Findings<'_>,
    ) -> Vec<Endpoint> {
        let place = format!("{place}.address");
        let (host, own_port) = match split_address(&model.address) {
            Ok(parts) => parts,
            Err(wrong) => {
                findings.error(Problem::error("endpoint.address", place, wrong));
                return Vec::new();
            }
        };
        let Some(port) = self.port_of(&model.address, own_port, place, findings) else {
            return Vec::new();
        };
        let mut addresses = self.resolved.addresses(host);
        let mut seen: Vec<IpAddr> = Vec::with_capacity(addresses.len());
        addresses.retain(|address| {
            let new = !seen.contains(address);
            seen.push(*address);
            new
        });
        addresses.into_iter().map(|address| self.endpoint(address, port)).collect()
    }

    fn port_of(
        &self,
        address: &str,
        own: Option<u16>,
        place: String,
        findings: &mut Findings<'_>,
    ) -> Option<u16> {
        match (own, self.port) {
            (Some(own), Some(port)) if own != port => findings.error(
                Problem::error(
                    "endpoint.port",
                    format!("{}.port", self.path),
                    format!(
                        "endpoint `{address}` of service `{}` names port {own}, this route {port}",
                        self.name
                    ),
                )
                .help("leave the port out here, or at the endpoint"),
            ),
            (Some(port), _) | (None, Some(port)) => return Some(port),
            (None, None) => findings.error(
                Problem::error(
                    "endpoint.port",
                    place,
                    format!(
                        "`{address}` has no port, and neither has `{}`, which leads here",
                        self.path
                    ),
                )
                .help(format!("write `{address}:8080`, or give the route `upstream.port`")),
            ),
        }
        None
    }

    fn endpoint(&self, address: IpAddr, port: u16) -> Endpoint {
        let address = SocketAddr::new(address, port);
        // An address, not a name: nothing is resolved, nothing can fail.
        let mut peer = HttpPeer::new(address, false, String::new());
        peer.group_key = group_of(self.name);
        let connect = self.service.connect_timeout.get();
        peer.options.connection_timeout = Some(connect);
        peer.options.total_connection_timeout = Some(connect);
        peer.options.idle_timeout = Some(self.service.idle_timeout.get());
        peer.options.alpn = ALPN::H1;
        Endpoint {
            name: address.to_string().into(),
            address,
            peer,
            health: self.health.of(self.name, address),
        }
    }
}

/// Connections are shared within a service only, even where two services have one address.
fn group_of(service: &str) -> u64 {
    let half = |seed| u64::from(murmur3_32(service.as_bytes(), seed));
    half(0) << 32 | half(1)
}

#[cfg(test)]
mod tests;
