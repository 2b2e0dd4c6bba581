//! One request, read once.

use std::borrow::Cow;
use std::net::IpAddr;

use http::{HeaderMap, Method, Uri};

use super::{ClientCertificate, Connection, TrustedProxies, normalise_authority, normalise_path};
use crate::fault::{Fault, Hint, Reject};

/// The scheme that the client used, behind trusted proxies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Cleartext.
    Http,
    /// TLS.
    Https,
}

impl Scheme {
    /// The scheme as it stands in a URL.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// What a listener accepts before anything else is looked at.
#[derive(Clone, Debug)]
pub struct EdgeLimits {
    /// Largest sum of header names and values, in bytes.
    pub header_bytes: u64,
    /// Most header fields.
    pub headers: usize,
    /// Longest request target, in bytes.
    pub uri_bytes: u64,
    /// Peers whose forwarding headers are believed.
    pub trusted: TrustedProxies,
}

/// A request in the form that every policy reads. Borrowed from the wire; owned only where
/// normalising changed something.
#[derive(Clone, Debug)]
pub struct RequestView<'a> {
    /// The method as sent.
    pub method: &'a Method,
    /// The client's scheme.
    pub scheme: Scheme,
    /// The host in lower case, without port and final dot.
    pub host: Cow<'a, str>,
    /// The port that the client named behind the host.
    pub port: Option<u16>,
    /// The path in normal form: what routes match and what the upstream sees.
    pub path: Cow<'a, str>,
    /// The query as sent, without `?`; none when there is no `?`.
    pub query: Option<&'a str>,
    /// All headers.
    pub headers: &'a HeaderMap,
    /// The client's address, behind trusted proxies.
    pub client: IpAddr,
    /// Whether the peer is a trusted proxy, so that its forwarding headers were believed.
    pub peer_trusted: bool,
    /// The client's certificate, which the listener has verified.
    pub certificate: Option<&'a ClientCertificate>,
}

impl<'a> RequestView<'a> {
    /// Reads a request.
    ///
    /// # Errors
    /// 400, 414 or 431 when the request cannot be accepted as it is.
    pub fn read(
        method: &'a Method,
        uri: &'a Uri,
        headers: &'a HeaderMap,
        connection: &'a Connection,
        limits: &EdgeLimits,
    ) -> Result<Self, Reject> {
        check_sizes(uri, headers, limits)?;
        let peer_trusted = limits.trusted.contains(connection.peer.ip());
        let authority = normalise_authority(uri, headers)?;
        let path = normalise_path(uri.path()).map_err(|refused| {
            Reject::new(Fault::PathRefused).with_hint(Hint::literal(refused.0))
        })?;
        let scheme = if connection.tls { Scheme::Https } else { Scheme::Http };
        Ok(Self {
            method,
            scheme: limits.trusted.scheme(headers, peer_trusted).unwrap_or(scheme),
            host: authority.host,
            port: authority.port,
            path,
            query: uri.query(),
            headers,
            client: limits.trusted.client(headers, connection.peer.ip()),
            peer_trusted,
            certificate: connection.certificate.as_deref(),
        })
    }

    /// The value of a cookie, first of its name.
    #[must_use]
    pub fn cookie(&self, name: &str) -> Option<&'a str> {
        self.headers
            .get_all(http::header::COOKIE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value)
    }
}

/// Bytes that HTTP/1.1 spends on a field beyond its name and value: `: ` and the line break.
const FIELD_OVERHEAD: u64 = 4;

fn check_sizes(uri: &Uri, headers: &HeaderMap, limits: &EdgeLimits) -> Result<(), Reject> {
    let target = uri.path_and_query().map_or(0, |target| target.as_str().len());
    if target as u64 > limits.uri_bytes {
        return Err(Fault::UriTooLong.into());
    }
    let bytes: u64 = headers
        .iter()
        .map(|(name, value)| (name.as_str().len() + value.len()) as u64 + FIELD_OVERHEAD)
        .sum();
    if headers.len() > limits.headers || bytes > limits.header_bytes {
        return Err(Fault::HeadersTooLarge.into());
    }
    Ok(())
}

#[cfg(test)]
mod tests;
