//! Listeners: where clients connect, and how far a connection is trusted.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ByteSize, Span};

/// An address that clients connect to.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Listener {
    /// Name of the listener in logs and metrics.
    pub name: String,
    /// `host:port` to listen on.
    pub address: String,
    /// What is spoken here. Without it `[http1, http2]` behind TLS, agreed on by ALPN, and
    /// `[http1]` without. `http2` without TLS is taken with prior knowledge only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub protocols: Vec<Protocol>,
    /// Ends TLS here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<ListenerTls>,
    /// Connections begin with a PROXY protocol header, version 1 or 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_protocol: Option<ProxyProtocol>,
    /// Peers (CIDR) whose `X-Forwarded-For`, `X-Forwarded-Proto` and `X-Forwarded-Host` are
    /// believed. Nobody's by default.
    #[serde(default)]
    pub trusted_proxies: Vec<String>,
    /// Most connections at once; more are closed as they come.
    #[serde(default = "default_connections")]
    pub max_connections: usize,
    /// Most connections at once of one client address (an IPv6 client is its /64). Without it,
    /// as many as the listener takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_connections_per_client: Option<usize>,
    /// Requests served on one connection before it is closed.
    #[serde(default = "default_requests")]
    pub max_requests_per_connection: u32,
    /// Largest header block accepted; more gives 431.
    #[serde(default = "default_header_bytes")]
    pub max_header_bytes: ByteSize,
    /// Most header fields accepted; more gives 431.
    #[serde(default = "default_headers")]
    pub max_headers: usize,
    /// Longest request target accepted; more gives 414.
    #[serde(default = "default_uri_bytes")]
    pub max_uri_bytes: ByteSize,
    /// Time for a whole request header, from its first byte, and for what comes before the first:
    /// the PROXY protocol header and the TLS handshake each.
    #[serde(default = "default_header_timeout")]
    pub header_timeout: Span,
    /// How long a client may pause inside the body of a request.
    #[serde(default = "default_read_timeout")]
    pub read_timeout: Span,
    /// How long an idle keep-alive connection stays open.
    #[serde(default = "default_keepalive")]
    pub keepalive_timeout: Span,
    /// Bytes per second that a client must send of a body and take of an answer, on average over
    /// `readTimeout` of time in which it was waited for. 0 asks for nothing. Over HTTP/2, calls
    /// of gRPC may send less.
    #[serde(default = "default_rate")]
    pub min_rate: ByteSize,
    /// Limits of HTTP/2 connections.
    #[serde(default)]
    pub http2: Http2,
}

const fn default_connections() -> usize {
    65_536
}
const fn default_requests() -> u32 {
    10_000
}
const fn default_header_bytes() -> ByteSize {
    ByteSize::new(32 * 1024)
}
const fn default_headers() -> usize {
    100
}
const fn default_uri_bytes() -> ByteSize {
    ByteSize::new(8 * 1024)
}
const fn default_header_timeout() -> Span {
    Span::from_secs(10)
}
const fn default_read_timeout() -> Span {
    Span::from_secs(30)
}
const fn default_keepalive() -> Span {
    Span::from_secs(75)
}
const fn default_rate() -> ByteSize {
    ByteSize::new(100)
}

/// A protocol that a listener speaks.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// HTTP/1.1 and HTTP/1.0.
    Http1,
    /// HTTP/2.
    Http2,
}

/// How a listener ends TLS. Changed files come into force by themselves, for new connections.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ListenerTls {
    /// Certificates; the names that each is for are read from it. A client that names no server
    /// gets the first.
    pub certificates: Vec<Certificate>,
    /// What happens to a client that names a server which no certificate is for.
    #[serde(default)]
    pub unknown_server_name: UnknownServerName,
    /// Oldest version of TLS that is accepted.
    #[serde(default)]
    pub min_version: TlsVersion,
    /// Whether clients show certificates of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_certificate: Option<ClientCertificate>,
}

/// A certificate and its key, in PEM files.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Certificate {
    /// The certificate, followed by those that it is signed with.
    pub cert_file: String,
    /// Its private key.
    pub key_file: String,
}

/// What happens to a client that names an unknown server.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum UnknownServerName {
    /// The handshake fails.
    #[default]
    Refuse,
    /// It gets the first certificate.
    First,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
pub enum TlsVersion {
    /// TLS 1.2.
    #[default]
    #[serde(rename = "1.2")]
    V12,
    /// TLS 1.3.
    #[serde(rename = "1.3")]
    V13,
}

/// Whether clients show certificates of their own.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClientCertificate {
    /// Whether a client without one is served.
    pub mode: ClientCertificateMode,
    /// Authorities that client certificates are signed with, in a PEM file.
    pub ca_file: String,
}

/// Whether a client without a certificate is served.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum ClientCertificateMode {
    /// Its handshake fails.
    Required,
    /// It is served, by routes that do not ask for one.
    Optional,
}

/// Connections begin with a PROXY protocol header.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProxyProtocol {
    /// Peers (CIDR) that send it. All others are closed, for a client that is believed could
    /// claim any address.
    pub trusted_peers: Vec<String>,
}

/// Limits of HTTP/2 connections.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Http2 {
    /// Requests at once on one connection.
    pub max_concurrent_streams: u32,
    /// Streams that a client may reset in ten seconds, beyond as many as it lets go on. More
    /// close the connection.
    pub max_resets: u32,
    /// PING, SETTINGS and PRIORITY frames, and frames without content, in ten seconds; and as
    /// many `WINDOW_UPDATE` frames. Answers excuse those that they cause. More close the
    /// connection.
    pub max_control_frames: u32,
}

impl Default for Http2 {
    fn default() -> Self {
        Self { max_concurrent_streams: 128, max_resets: 100, max_control_frames: 200 }
    }
}
