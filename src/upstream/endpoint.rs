//! One address of a version.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use pingora::upstreams::peer::HttpPeer;

use super::discovery::{Listed, Source};
use super::findings::Findings;
use super::{EndpointHealth, Instance};
use crate::model::{self, Problem, Resolved};

/// One address, with everything that a request needs prepared.
#[derive(Debug)]
pub struct Endpoint {
    /// The service that it is one of.
    pub service: Arc<str>,
    /// The address as text, for logs.
    pub name: Arc<str>,
    /// Where to connect.
    pub address: SocketAddr,
    /// The peer to clone for each attempt; timeouts of the route are set on the clone.
    pub peer: HttpPeer,
    /// Its share beside the other endpoints.
    pub weight: u32,
    /// Host and port as configured or found: what `changeOrigin` makes the service see.
    pub authority: Arc<str>,
    /// Its health, which outlives the snapshot.
    pub health: Arc<EndpointHealth>,
}

impl Endpoint {
    /// What tells it from all other endpoints that there are; the same as long as it is used.
    #[must_use]
    pub fn id(&self) -> usize {
        Arc::as_ptr(&self.health).addr()
    }

    /// Whether it is reached without a network: its address is one of the loopback.
    #[must_use]
    pub const fn is_on_this_machine(&self) -> bool {
        self.address.ip().to_canonical().is_loopback()
    }
}

/// Splits `host`, `host:port`, `[v6]` or `[v6]:port`; the host of an IPv6 address keeps no
/// brackets. Whoever looks names up reads them with this too.
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
    /// The route's `upstream.port`.
    pub(super) port: Option<u16>,
    /// Place of the route's upstream in the document.
    pub(super) path: &'a str,
    /// Values of references; addresses of host names where they were looked up beforehand.
    pub(super) resolved: &'a Resolved,
}

impl Shared<'_> {
    /// Compiles one configured endpoint at `place`. A name is looked up by its source, unless
    /// its addresses are in `resolved` already: then there is one for each, none twice.
    pub(super) fn listed(
        &self,
        model: &model::Endpoint,
        place: &str,
        findings: &mut Findings<'_>,
    ) -> Vec<Listed> {
        let place = format!("{place}.address");
        let (host, own_port) = match split_address(&model.address) {
            Ok(parts) => parts,
            Err(wrong) => {
                findings.error(Problem::error("endpoint.address", place, wrong));
                return Vec::new();
            }
        };
        let Some(port) = self.port_of(&model.address, own_port, place.clone(), findings) else {
            return Vec::new();
        };
        let mut addresses = self.resolved.addresses(host);
        if addresses.is_empty() {
            let source = Source::of_host(host).map_err(|wrong| {
                findings.error(Problem::error("endpoint.address", place, wrong));
            });
            let looked_up =
                |source| Listed::LookedUp { source, port: Some(port), weight: Some(model.weight) };
            return source.ok().map(looked_up).into_iter().collect();
        }
        let mut seen: Vec<IpAddr> = Vec::with_capacity(addresses.len());
        addresses.retain(|address| {
            let new = !seen.contains(address);
            seen.push(*address);
            new
        });
        let host: Arc<str> = host.into();
        let fixed = |address| {
            Listed::Fixed(Instance {
                address: SocketAddr::new(address, port),
                host: Arc::clone(&host),
                weight: model.weight,
            })
        };
        addresses.into_iter().map(fixed).collect()
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
}

#[cfg(test)]
mod tests;
