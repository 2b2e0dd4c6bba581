//! The process and its doors: server, listeners, admin, access log.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Secret, Span};

/// Settings of the process.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Server {
    /// Worker threads of the data plane; 0 means one per processor.
    pub threads: usize,
    /// Unix socket over which a new process takes over the listening sockets, and `tidegate
    /// upgrade` gives its orders. Its folder is made with mode 0700 where there is none.
    pub upgrade_socket: String,
    /// How long a new process that takes over may take to be ready. After that it is cut off, and
    /// the old one goes on serving.
    pub upgrade_timeout: Span,
    /// How long a new process that takes over waits for what the old one knows: key sets,
    /// revocations, endpoints and their health. After that it serves with what it has.
    pub warm_up_timeout: Span,
    /// File that holds the process id while the gateway runs.
    pub pid_file: Option<String>,
    /// How long requests in flight may take to finish after SIGTERM or an upgrade.
    pub grace_period: Span,
    /// Most connections of clients at once, on all listeners together; more are closed as they
    /// come. Without it, as many as the limit of file descriptors allows: about half of them, as
    /// a request may need a connection to a service beside that of its client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<usize>,
    /// How long `WebSocket`s and other upgraded connections may go on after SIGTERM or an upgrade.
    /// While one does, requests in flight are not cut off either.
    pub websocket_grace_period: Span,
    /// Connections kept open to endpoints, per thread.
    pub upstream_keepalive: usize,
    /// Keys of rate limits that are counted on this node, the most. See `docs/limits.md` for
    /// what they weigh.
    pub limit_keys: usize,
    /// Folder for what should survive a restart: the last good key sets and the revocations.
    /// A key set counts at a start if its issuer confirmed it within the last seven days.
    /// Without a folder nothing is kept on disk.
    pub state_directory: Option<String>,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            threads: 0,
            upgrade_socket: "/run/tidegate/upgrade.sock".to_owned(),
            upgrade_timeout: Span::from_secs(60),
            warm_up_timeout: Span::from_secs(10),
            pid_file: None,
            grace_period: Span::from_secs(30),
            max_connections: None,
            websocket_grace_period: Span::from_secs(300),
            upstream_keepalive: 256,
            limit_keys: 262_144,
            state_directory: None,
        }
    }
}

/// `Server-Timing` in answers: the phases of the request and the milliseconds that each took.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServerTiming {
    /// Networks of clients that are told. What a service says of its own time passes to all.
    pub visible_to: Vec<String>,
}

/// The operator's listener.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Admin {
    /// `host:port` of health, metrics and configuration version.
    pub address: String,
    /// What requests that change something must carry in `Authorization: Bearer`. Without it
    /// they are accepted where the address is a loopback one, and refused elsewhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<Secret>,
    /// Lets operators switch faults of dependencies on, for a while, by `tidegate drill`. For
    /// staging nodes only; `false` without it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub drills: bool,
}

impl Default for Admin {
    fn default() -> Self {
        Self { address: "127.0.0.1:9901".to_owned(), token: None, drills: false }
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

/// Where clients are.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Geo {
    /// A database of countries in the MMDB format, with `country.iso_code` and
    /// `continent.code`. A changed file comes into force by itself.
    pub database: String,
}
