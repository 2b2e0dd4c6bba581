//! The process and its doors: server, listeners, admin, access log.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ByteSize, Span};

/// Settings of the process.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Server {
    /// Worker threads of the data plane; 0 means one per processor.
    pub threads: usize,
    /// Unix socket over which a new process takes over the listening sockets.
    pub upgrade_socket: String,
    /// File that holds the process id while the gateway runs.
    pub pid_file: Option<String>,
    /// How long requests in flight may take to finish after SIGTERM or an upgrade.
    pub grace_period: Span,
    /// Connections kept open to endpoints, per thread.
    pub upstream_keepalive: usize,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            threads: 0,
            upgrade_socket: "/run/tidegate/upgrade.sock".to_owned(),
            pid_file: None,
            grace_period: Span::from_secs(30),
            upstream_keepalive: 256,
        }
    }
}

/// An address that clients connect to.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Listener {
    /// Name of the listener in logs and metrics.
    pub name: String,
    /// `host:port` to listen on.
    pub address: String,
    /// Peers (CIDR) whose `X-Forwarded-For`, `X-Forwarded-Proto` and `X-Forwarded-Host` are
    /// believed. Nobody's by default.
    #[serde(default)]
    pub trusted_proxies: Vec<String>,
    /// Largest header block accepted; more gives 431.
    #[serde(default = "default_header_bytes")]
    pub max_header_bytes: ByteSize,
    /// Most header fields accepted; more gives 431.
    #[serde(default = "default_headers")]
    pub max_headers: usize,
    /// Longest request target accepted; more gives 414.
    #[serde(default = "default_uri_bytes")]
    pub max_uri_bytes: ByteSize,
    /// How long a client may pause inside a request.
    #[serde(default = "default_read_timeout")]
    pub read_timeout: Span,
    /// How long an idle keep-alive connection stays open.
    #[serde(default = "default_keepalive")]
    pub keepalive_timeout: Span,
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
const fn default_read_timeout() -> Span {
    Span::from_secs(30)
}
const fn default_keepalive() -> Span {
    Span::from_secs(75)
}

/// The operator's listener.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Admin {
    /// `host:port` of health, metrics and configuration version.
    pub address: String,
}

impl Default for Admin {
    fn default() -> Self {
        Self { address: "127.0.0.1:9901".to_owned() }
    }
}

/// Where access log lines go.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct AccessLog {
    /// `stdout`, `stderr`, `off`, or a file that lines are appended to.
    pub path: String,
    /// Lines that may wait for the writer; further lines are dropped and counted.
    pub buffer_lines: usize,
}

impl Default for AccessLog {
    fn default() -> Self {
        Self { path: "stdout".to_owned(), buffer_lines: 8192 }
    }
}
