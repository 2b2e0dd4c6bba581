//! What each listener accepts, found by the address a request came in on.

use std::net::SocketAddr;
use std::time::Duration;

use crate::edge::{EdgeLimits, TrustedProxies};
use crate::model::{self, Problem, Problems};

/// What one listener accepts.
#[derive(Debug)]
pub struct Listener {
    /// Name of the listener.
    pub name: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// What it accepts.
    pub limits: EdgeLimits,
    /// How long a client may pause inside a request.
    pub read_timeout: Duration,
    /// How long an idle connection stays open, in seconds.
    pub keepalive_s: u64,
}

/// All listeners. There is always at least one; an unknown address takes the first.
#[derive(Debug)]
pub struct Listeners {
    first: Listener,
    others: Box<[Listener]>,
}

impl Listeners {
    /// Compiles the listeners; without any there is a problem and nothing.
    pub fn compile(listeners: &[model::Listener], problems: &mut Problems) -> Option<Self> {
        if listeners.is_empty() {
            problems.push(
                Problem::error("listener.missing", "listeners", "there is no listener")
                    .help("add `listeners: [{name: public, address: 0.0.0.0:8080}]`"),
            );
        }
        let mut compiled = Vec::with_capacity(listeners.len());
        for (index, listener) in listeners.iter().enumerate() {
            compiled.extend(compile(listener, &format!("listeners[{index}]"), problems));
        }
        for (index, listener) in compiled.iter().enumerate() {
            let before = || compiled.iter().take(index);
            if before().any(|other: &Listener| other.address == listener.address) {
                problems.push(Problem::error(
                    "listener.duplicate",
                    format!("listeners[{index}].address"),
                    format!("another listener has the address {} already", listener.address),
                ));
            }
        }
        let mut compiled = compiled.into_iter();
        Some(Self { first: compiled.next()?, others: compiled.collect() })
    }

    /// The listener that accepted a connection, by its local address, which is asked for only
    /// where there is more than one listener: it may cost a system call.
    #[must_use]
    pub fn accepting(&self, local: impl FnOnce() -> Option<SocketAddr>) -> &Listener {
        if self.others.is_empty() {
            return &self.first;
        }
        let local = local();
        let accepted_on = |listener: &&Listener| {
            local.is_some_and(|local| {
                let address = listener.address;
                address.port() == local.port()
                    && (address.ip().is_unspecified() || address.ip() == local.ip())
            })
        };
        self.others.iter().find(accepted_on).unwrap_or(&self.first)
    }

    /// Every listener.
    pub fn all(&self) -> impl Iterator<Item = &Listener> {
        std::iter::once(&self.first).chain(&self.others)
    }
}

fn compile(listener: &model::Listener, path: &str, problems: &mut Problems) -> Option<Listener> {
    let trusted = TrustedProxies::parse(&listener.trusted_proxies)
        .map_err(|(index, why)| {
            let place = format!("{path}.trustedProxies[{index}]");
            problems.push(Problem::error("listener.trusted_proxy", place, why));
        })
        .ok();
    let address = listener
        .address
        .parse()
        .map_err(|_| {
            let what = format!("`{}` is not an address to listen on", listener.address);
            problems.push(
                Problem::error("listener.address", format!("{path}.address"), what)
                    .help("write an IP address and a port, as in `0.0.0.0:8080` or `[::]:8080`"),
            );
        })
        .ok();
    Some(Listener {
        name: listener.name.clone(),
        address: address?,
        limits: EdgeLimits {
            header_bytes: listener.max_header_bytes.get(),
            headers: listener.max_headers,
            uri_bytes: listener.max_uri_bytes.get(),
            trusted: trusted?,
        },
        read_timeout: listener.read_timeout.get(),
        keepalive_s: listener.keepalive_timeout.get().as_secs(),
    })
}
