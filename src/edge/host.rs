//! The host that a request names.

use std::borrow::Cow;
use std::net::{Ipv4Addr, Ipv6Addr};

use http::header::HOST;
use http::{HeaderMap, Uri};

use crate::fault::{Fault, Hint, Reject};

/// Why a text names no host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostRefused(pub &'static str);

/// A host and the port that stood behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort<'a> {
    /// The host in lower case, without final dot; IPv6 addresses in brackets and in the short
    /// form of RFC 5952.
    pub host: Cow<'a, str>,
    /// The port, 1 to 65535, where one was given.
    pub port: Option<u16>,
}

/// The host in lower case, without port and final dot, from `:authority` / an absolute target
/// or the one `Host` header.
///
/// # Errors
/// `HostInvalid` when it is missing, repeated, a list, or not a host name or address, or when
/// an absolute target and `Host` disagree.
pub fn normalise_host<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Result<Cow<'a, str>, Reject> {
    normalise_authority(uri, headers).map(|authority| authority.host)
}

/// The same with the port, where the client named one: that of the target before that of `Host`.
///
/// # Errors
/// As above.
pub fn normalise_authority<'a>(
    uri: &'a Uri,
    headers: &'a HeaderMap,
) -> Result<HostPort<'a>, Reject> {
    read_both(uri, headers)
        .map_err(|why| Reject::new(Fault::HostInvalid).with_hint(Hint::literal(why.0)))
}

fn read_both<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Result<HostPort<'a>, HostRefused> {
    let mut lines = headers.get_all(HOST).iter();
    let line = lines.next();
    if lines.next().is_some() {
        return Err(HostRefused("Host is repeated"));
    }
    let target = uri.authority().map(|authority| read_host_port(authority.as_str())).transpose()?;
    let header =
        line.map(|line| read_host_port(line.to_str().map_err(|_| NOT_A_NAME)?)).transpose()?;
    match (target, header) {
        (None, None) => Err(HostRefused("Host is missing")),
        (Some(one), None) | (None, Some(one)) => Ok(one),
        (Some(target), Some(header)) => {
            let default = uri.scheme_str().and_then(default_port);
            let same_port = target.port.or(default) == header.port.or(default);
            if target.host == header.host && same_port {
                return Ok(target);
            }
            Err(HostRefused("the request target and Host name different hosts"))
        }
    }
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

/// Longest host name, RFC 1035 2.3.4 in text form.
const HOST_BYTES_MAX: usize = 253;
/// Longest label of a host name, RFC 1035 2.3.4.
const LABEL_BYTES_MAX: usize = 63;

const NOT_A_NAME: HostRefused = HostRefused("the host holds a character that no host name has");

/// Reads `host` or `host:port` as it stands in `Host` (RFC 9110 7.2), narrower than there:
/// letters, digits, `-`, `_` and dots, or an IP address. An empty port is refused.
///
/// # Errors
/// Says what is wrong with it.
pub fn read_host_port(text: &str) -> Result<HostPort<'_>, HostRefused> {
    if let Some(rest) = text.strip_prefix('[') {
        let (address, after) = rest
            .split_once(']')
            .ok_or(HostRefused("the host has an opening bracket without a closing one"))?;
        return Ok(HostPort { host: read_ipv6(text, address)?, port: read_port(after)? });
    }
    let (name, port) = text.split_at(text.find(':').unwrap_or(text.len()));
    Ok(HostPort { host: read_name(name)?, port: read_port(port)? })
}

fn read_port(text: &str) -> Result<Option<u16>, HostRefused> {
    const INVALID: HostRefused = HostRefused("the port is not a number from 1 to 65535");
    if text.is_empty() {
        return Ok(None);
    }
    let digits = text.strip_prefix(':').ok_or(INVALID)?;
    // `u16::from_str` takes a sign and any number of zeros; a port has neither.
    if digits.len() > 5 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(INVALID);
    }
    digits.parse().ok().filter(|port| *port != 0).map(Some).ok_or(INVALID)
}

fn read_ipv6<'a>(text: &'a str, address: &str) -> Result<Cow<'a, str>, HostRefused> {
    let parsed: Ipv6Addr =
        address.parse().map_err(|_| HostRefused("the host is not an IPv6 address"))?;
    let normal = format!("[{parsed}]");
    let as_sent = text.get(..address.len() + 2).unwrap_or_default();
    Ok(if normal == as_sent { Cow::Borrowed(as_sent) } else { Cow::Owned(normal) })
}

fn read_name(text: &str) -> Result<Cow<'_, str>, HostRefused> {
    let name = text.strip_suffix('.').unwrap_or(text);
    if name.is_empty() {
        return Err(HostRefused("the host is empty"));
    }
    if name.len() > HOST_BYTES_MAX {
        return Err(HostRefused("the host is longer than 253 characters"));
    }
    let mut capitals = false;
    let mut label = 0;
    for byte in name.bytes() {
        match byte {
            b'.' if label == 0 => return Err(HostRefused("the host has an empty label")),
            b'.' => {
                label = 0;
                continue;
            }
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => {}
            b'A'..=b'Z' => capitals = true,
            _ => return Err(NOT_A_NAME),
        }
        label += 1;
        if label > LABEL_BYTES_MAX {
            return Err(HostRefused("the host has a label longer than 63 characters"));
        }
    }
    if label == 0 {
        return Err(HostRefused("the host has an empty label"));
    }
    let last = name.rsplit('.').next().unwrap_or_default();
    // A name that ends in a number is an address or a trick (`127.1`, `0x7f.1`).
    if last.bytes().all(|byte| byte.is_ascii_digit()) && name.parse::<Ipv4Addr>().is_err() {
        return Err(HostRefused("the host is not an IPv4 address"));
    }
    Ok(if capitals { Cow::Owned(name.to_ascii_lowercase()) } else { Cow::Borrowed(name) })
}

#[cfg(test)]
mod tests;
