//! What each listener accepts, found by the address a request came in on.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ServerConfig;

use crate::edge::{EdgeLimits, TrustedProxies};
use crate::model::{self, Problem, Problems, Protocol, Resolved};
use crate::wire::{self, HEADER_BYTES_MAX, Rules, Speaks};

/// What one listener accepts.
#[derive(Debug)]
pub struct Listener {
    /// Name of the listener.
    pub name: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// What it accepts.
    pub limits: EdgeLimits,
    /// What holds for its connections.
    pub rules: Arc<Rules>,
    /// Most connections at once.
    pub connections: usize,
    /// Most connections at once of one client address.
    pub connections_per_client: Option<usize>,
    /// Peers whose PROXY protocol header is wanted; none where no header is.
    pub proxy_protocol: Option<TrustedProxies>,
    /// How TLS ends here; none where clear text is spoken.
    pub tls: Option<Arc<ServerConfig>>,
}

/// All listeners. There is always at least one; an unknown address takes the first.
#[derive(Debug)]
pub struct Listeners {
    first: Arc<Listener>,
    others: Box<[Arc<Listener>]>,
}

impl Listeners {
    /// Compiles the listeners; without any there is a problem and nothing.
    pub fn compile(
        listeners: &[model::Listener],
        resolved: &Resolved,
        problems: &mut Problems,
    ) -> Option<Self> {
        if listeners.is_empty() {
            problems.push(
                Problem::error("listener.missing", "listeners", "there is no listener")
                    .help("add `listeners: [{name: public, address: 0.0.0.0:8080}]`"),
            );
        }
        let mut compiled = Vec::with_capacity(listeners.len());
        for (index, listener) in listeners.iter().enumerate() {
            compiled.extend(compile(listener, resolved, &format!("listeners[{index}]"), problems));
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
        let mut compiled = compiled.into_iter().map(Arc::new);
        Some(Self { first: compiled.next()?, others: compiled.collect() })
    }

    /// The listener that accepted a connection, by its local address.
    #[must_use]
    pub fn accepting(&self, local: Option<SocketAddr>) -> &Arc<Listener> {
        let accepted_on = |listener: &&Arc<Listener>| {
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
        std::iter::once(&self.first).chain(&self.others).map(Arc::as_ref)
    }
}

fn compile(
    listener: &model::Listener,
    resolved: &Resolved,
    path: &str,
    problems: &mut Problems,
) -> Option<Listener> {
    let tls = listener.tls.as_ref().map(|tls| {
        wire::server_config(tls, &listener.protocols, resolved, &format!("{path}.tls"), problems)
    });
    let tls = match tls {
        None => None,
        // Never a listener in clear text in its place.
        Some(compiled) => Some(compiled?),
    };
    let trusted = peers(&listener.trusted_proxies, &format!("{path}.trustedProxies"), problems);
    let proxy_protocol = listener.proxy_protocol.as_ref().map(|proxy| {
        peers(&proxy.trusted_peers, &format!("{path}.proxyProtocol.trustedPeers"), problems)
    });
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
    let rules = rules(listener, path, problems);
    check_header_limits(listener, path, problems);
    Some(Listener {
        name: listener.name.clone(),
        address: address?,
        limits: EdgeLimits {
            header_bytes: listener.max_header_bytes.get(),
            headers: listener.max_headers,
            uri_bytes: listener.max_uri_bytes.get(),
            trusted: trusted?,
        },
        rules: Arc::new(rules),
        connections: listener.max_connections,
        connections_per_client: listener.max_connections_per_client,
        // A list that cannot be read is an error, so that `None` never stands for one.
        proxy_protocol: proxy_protocol.flatten(),
        tls,
    })
}

fn peers(entries: &[String], path: &str, problems: &mut Problems) -> Option<TrustedProxies> {
    TrustedProxies::parse(entries)
        .map_err(|(index, why)| {
            let place = format!("{path}[{index}]");
            problems.push(Problem::error("listener.trusted_proxy", place, why));
        })
        .ok()
}

fn rules(listener: &model::Listener, path: &str, problems: &mut Problems) -> Rules {
    let (header, read) = (listener.header_timeout.get(), listener.read_timeout.get());
    let idle = listener.keepalive_timeout.get();
    let http2 = &listener.http2;
    let per_client = listener.max_connections_per_client;
    let useless = [
        ("headerTimeout", header.is_zero()),
        ("readTimeout", read.is_zero()),
        ("keepaliveTimeout", idle.is_zero()),
        ("maxConnections", listener.max_connections == 0),
        ("maxConnectionsPerClient", per_client == Some(0)),
        ("maxRequestsPerConnection", listener.max_requests_per_connection == 0),
        ("http2.maxConcurrentStreams", http2.max_concurrent_streams == 0),
    ];
    for (key, _) in useless.iter().filter(|(_, zero)| *zero) {
        let what = "with 0, no request could be served".to_owned();
        problems.push(Problem::error("listener.zero", format!("{path}.{key}"), what));
    }
    Rules {
        speaks: speaks(listener),
        header,
        read,
        idle,
        min_rate: listener.min_rate.get(),
        requests: listener.max_requests_per_connection,
        header_bytes: listener.max_header_bytes.get(),
        streams: http2.max_concurrent_streams,
        resets: http2.max_resets,
        control_frames: http2.max_control_frames,
    }
}

fn speaks(listener: &model::Listener) -> Speaks {
    let spoken = |protocol| listener.protocols.contains(&protocol);
    match (spoken(Protocol::Http1), spoken(Protocol::Http2)) {
        (true, true) => Speaks::Both,
        (false, true) => Speaks::Http2,
        (false, false) if listener.tls.is_some() => Speaks::Both,
        (true | false, false) => Speaks::Http1,
    }
}

/// No limit may be larger than what is read at all (`wire::framing`).
fn check_header_limits(listener: &model::Listener, path: &str, problems: &mut Problems) {
    let wanted = listener.max_header_bytes.get().saturating_add(listener.max_uri_bytes.get());
    if wanted > HEADER_BYTES_MAX as u64 {
        let what = "`maxHeaderBytes` and `maxUriBytes` together are more than 64KiB";
        let help = "no longer header is ever read; the defaults are 32KiB and 8KiB";
        let place = format!("{path}.maxHeaderBytes");
        problems.push(Problem::error("listener.header_limits", place, what).help(help));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener(json: &str) -> (Option<Listeners>, Vec<String>) {
        let listener: model::Listener = serde_json::from_str(json).unwrap();
        let mut problems = Problems::default();
        let compiled = Listeners::compile(&[listener], &Resolved::default(), &mut problems);
        let found = problems.0.iter().map(|problem| format!("{} {}", problem.code, problem.path));
        (compiled, found.collect())
    }

    #[test]
    fn what_is_spoken_follows_from_protocols_and_tls() {
        let tls = r#", "tls": {"certificates": []}"#;
        for (more, speaks) in [
            ("", Speaks::Http1),
            (tls, Speaks::Both),
            (r#", "protocols": ["http2"]"#, Speaks::Http2),
            (r#", "protocols": ["http2", "http1"]"#, Speaks::Both),
            (&format!(r#"{tls}, "protocols": ["http1"]"#), Speaks::Http1),
        ] {
            let json = format!(r#"{{"name": "a", "address": "127.0.0.1:80"{more}}}"#);
            let (listeners, _) = listener(&json);
            assert_eq!(listeners.unwrap().accepting(None).rules.speaks, speaks, "{more}");
        }
    }

    #[test]
    fn what_would_serve_nobody_is_refused() {
        let (_, problems) = listener(
            r#"{"name": "a", "address": "127.0.0.1:80", "headerTimeout": "0s",
                "readTimeout": "0s", "keepaliveTimeout": "0s", "maxConnections": 0,
                "maxConnectionsPerClient": 0, "maxRequestsPerConnection": 0,
                "http2": {"maxConcurrentStreams": 0},
                "proxyProtocol": {"trustedPeers": ["10.0.0.0/8", "lb"]}}"#,
        );
        let zero = |key: &str| format!("listener.zero listeners[0].{key}");
        let expected = vec![
            "listener.trusted_proxy listeners[0].proxyProtocol.trustedPeers[1]".to_owned(),
            zero("headerTimeout"),
            zero("readTimeout"),
            zero("keepaliveTimeout"),
            zero("maxConnections"),
            zero("maxConnectionsPerClient"),
            zero("maxRequestsPerConnection"),
            zero("http2.maxConcurrentStreams"),
        ];
        assert_eq!(problems, expected);
    }

    #[test]
    fn values_of_one_are_enough() {
        let (listeners, problems) = listener(
            r#"{"name": "a", "address": "127.0.0.1:80", "headerTimeout": "1ms",
                "readTimeout": "1ms", "keepaliveTimeout": "1ms", "maxConnections": 1,
                "maxConnectionsPerClient": 1, "maxRequestsPerConnection": 1, "minRate": 0}"#,
        );
        assert!(problems.is_empty(), "{problems:?}");
        assert_eq!(listeners.unwrap().accepting(None).connections_per_client, Some(1));
    }

    #[test]
    fn no_limit_is_larger_than_what_is_read() {
        let problems = |header: u64, uri: u64| {
            let text = r#"{"name": "a", "address": "127.0.0.1:1"}"#;
            let mut listener: model::Listener = serde_json::from_str(text).unwrap();
            listener.max_header_bytes = model::ByteSize::new(header);
            listener.max_uri_bytes = model::ByteSize::new(uri);
            let mut problems = Problems::default();
            Listeners::compile(&[listener], &Resolved::default(), &mut problems);
            format!("{problems:?}")
        };
        assert!(!problems(56 * 1024, 8 * 1024).contains("listener.header_limits"));
        assert!(problems(56 * 1024 + 1, 8 * 1024).contains("listener.header_limits"));
        assert!(problems(u64::MAX, 1).contains("listener.header_limits"));
    }
}
