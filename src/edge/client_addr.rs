//! The client's address and scheme behind trusted proxies.
//!
//! Forwarding headers are written by whoever sends them, so they are believed only as far as
//! the chain of trusted peers reaches: from the right end to the first address that is not one.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::Scheme;

/// The chain of addresses that proxies extend.
pub(super) const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Peers whose forwarding headers are believed.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies {
    v4: Box<[Ipv4Net]>,
    v6: Box<[Ipv6Net]>,
}

impl TrustedProxies {
    /// Reads CIDR blocks or single addresses.
    ///
    /// # Errors
    /// The index of the first entry that is neither, and why.
    pub fn parse(entries: &[String]) -> Result<Self, (usize, String)> {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for (index, entry) in entries.iter().enumerate() {
            match parse_block(entry).map_err(|why| (index, why))? {
                IpNet::V4(block) => v4.push(block),
                IpNet::V6(block) => v6.push(block),
            }
        }
        Ok(Self { v4: v4.into(), v6: v6.into() })
    }

    /// Whether a peer is one of them. An IPv4 address inside IPv6 counts as the IPv4 address.
    #[must_use]
    pub fn contains(&self, peer: IpAddr) -> bool {
        match peer.to_canonical() {
            IpAddr::V4(address) => self.v4.iter().any(|block| block.contains(&address)),
            IpAddr::V6(address) => self.v6.iter().any(|block| block.contains(&address)),
        }
    }

    /// The client's address: the right-most entry of `X-Forwarded-For` that is not a trusted
    /// proxy, where the peer is one; else the peer. Where every entry is trusted, or one cannot
    /// be read, it is the last trusted address before the end.
    #[must_use]
    pub fn client(&self, headers: &HeaderMap, peer: IpAddr) -> IpAddr {
        let mut client = peer.to_canonical();
        if !self.contains(client) {
            return client;
        }
        for line in headers.get_all(X_FORWARDED_FOR).iter().rev() {
            let Ok(line) = line.to_str() else { return client };
            // Empty list members mean nothing, RFC 9110 5.6.1.
            for entry in line.rsplit(',').map(str::trim).filter(|entry| !entry.is_empty()) {
                let Some(address) = parse_entry(entry) else { return client };
                client = address;
                if !self.contains(client) {
                    return client;
                }
            }
        }
        client
    }

    /// The scheme that a trusted peer names in `X-Forwarded-Proto`: the last value of its last
    /// line, `http` or `https` in any case.
    #[must_use]
    pub fn scheme(&self, headers: &HeaderMap, peer_trusted: bool) -> Option<Scheme> {
        if !peer_trusted {
            return None;
        }
        let line = headers.get_all(X_FORWARDED_PROTO).iter().next_back()?.to_str().ok()?;
        let last = line.rsplit(',').next()?.trim();
        [Scheme::Http, Scheme::Https]
            .into_iter()
            .find(|scheme| last.eq_ignore_ascii_case(scheme.as_str()))
    }
}

/// Reads a CIDR block or a single address; one of IPv4 inside IPv6 becomes one of IPv4.
pub(super) fn parse_block(entry: &str) -> Result<IpNet, String> {
    let block = entry
        .parse::<IpNet>()
        .or_else(|_| entry.parse::<IpAddr>().map(IpNet::from))
        .map_err(|_| format!("`{entry}` is neither an IP address nor a CIDR block"))?;
    if block.addr() != block.network() {
        return Err(format!(
            "`{entry}` sets bits behind the prefix; the block is `{}`, the address alone `{}`",
            block.trunc(),
            block.addr()
        ));
    }
    // Peers are compared as IPv4 addresses when they are such inside IPv6.
    let IpNet::V6(v6) = block else { return Ok(block) };
    let mapped = v6.addr().to_ipv4_mapped().zip(v6.prefix_len().checked_sub(96));
    let v4 = mapped.and_then(|(address, prefix)| Ipv4Net::new(address, prefix).ok());
    Ok(v4.map_or(block, IpNet::V4))
}

/// Reads `1.2.3.4`, `1.2.3.4:567`, `::1`, `[::1]` or `[::1]:80`.
fn parse_entry(entry: &str) -> Option<IpAddr> {
    let address = entry
        .parse::<IpAddr>()
        .ok()
        .or_else(|| entry.parse::<SocketAddr>().ok().map(|address| address.ip()))
        .or_else(|| {
            let inside = entry.strip_prefix('[')?.strip_suffix(']')?;
            inside.parse().ok().map(IpAddr::V6)
        })?;
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests;
