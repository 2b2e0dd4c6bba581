//! Who does which job with which configuration, and who is left out.

use super::scenario::{Protocol, Scenario};
use super::server::Server;

/// A server with a configuration for a job.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Its name in the table.
    pub name: &'static str,
    /// The server.
    pub server: Server,
    /// What to know about it here; empty where there is nothing.
    pub note: &'static str,
    /// Its files: name, template.
    pub files: &'static [(&'static str, &'static str)],
    /// Values that only this entry has.
    pub values: &'static [(&'static str, &'static str)],
}

impl Entry {
    const fn new(
        server: Server,
        note: &'static str,
        files: &'static [(&'static str, &'static str)],
    ) -> Self {
        Self { name: server.name(), server, note, files, values: &[] }
    }

    const fn named(
        self,
        name: &'static str,
        values: &'static [(&'static str, &'static str)],
    ) -> Self {
        Self { name, values, ..self }
    }
}

macro_rules! template {
    ($($part:literal),+) => {
        include_str!(concat!("../../peers/", $($part),+))
    };
}

macro_rules! entry {
    (bare) => {
        Entry::new(Server::Bare, "proxies, and does nothing of the rest of the job", &[])
    };
    (tidegate, $file:literal, $note:literal) => {
        Entry::new(
            Server::Tidegate,
            $note,
            &[("tidegate.yaml", template!("tidegate/", $file, ".yaml"))],
        )
    };
    (nginx, $file:literal, $note:literal) => {
        Entry::new(Server::Nginx, $note, &[("nginx.conf", template!("nginx/", $file, ".conf"))])
    };
    (haproxy, $file:literal, $note:literal) => {
        Entry::new(
            Server::Haproxy,
            $note,
            &[("haproxy.cfg", template!("haproxy/", $file, ".cfg")), ("routes.map", "@ROUTES@\n")],
        )
    };
    (envoy, $file:literal, $note:literal) => {
        Entry::new(Server::Envoy, $note, &[("envoy.yaml", template!("envoy/", $file, ".yaml"))])
    };
    (traefik, $file:literal, $note:literal) => {
        Entry::new(
            Server::Traefik,
            $note,
            &[
                ("static.yaml", template!("traefik/static.yaml")),
                ("dynamic.yaml", template!("traefik/", $file, ".yaml")),
            ],
        )
    };
    (caddy, $file:literal, $note:literal) => {
        Entry::new(Server::Caddy, $note, &[("Caddyfile", template!("caddy/", $file, ".caddyfile"))])
    };
}

/// Nothing in place of this name.
const SLOW: &[(&str, &str)] = &[("FAST", "")];
const FAST: &[(&str, &str)] = &[("FAST", "experimental: {fastProxy: {}}")];
const UNCACHED: &[(&str, &str)] = &[("TOKEN_CACHE", "")];
const CACHED: &[(&str, &str)] =
    &[("TOKEN_CACHE", "jwt_cache_config: {jwt_cache_size: 1000, jwt_max_token_size: 4096}")];

/// Who does a job, the yardstick first.
#[must_use]
pub fn entries(scenario: Scenario) -> Vec<Entry> {
    match scenario {
        Scenario::Plain => vec![
            entry!(bare),
            entry!(tidegate, "plain", "adds a request id and `X-Forwarded-For`"),
            entry!(nginx, "plain", ""),
            entry!(haproxy, "plain", ""),
            entry!(envoy, "plain", "request id switched off"),
            entry!(traefik, "plain", "adds `X-Forwarded-*`").named("traefik", SLOW),
            entry!(traefik, "plain", "with its experimental FastProxy").named("traefik-fast", FAST),
            entry!(caddy, "plain", "adds `X-Forwarded-*`"),
        ],
        Scenario::Routes => vec![
            entry!(bare),
            entry!(tidegate, "routes", ""),
            entry!(nginx, "routes", "prefix locations"),
            entry!(haproxy, "routes", "a map of prefixes, one backend"),
            entry!(envoy, "routes", "a matcher tree; a plain list of routes costs far more"),
            entry!(traefik, "routes", "rules are tried one by one").named("traefik", SLOW),
            entry!(caddy, "routes", "matchers are tried one by one"),
        ],
        Scenario::Jwt | Scenario::JwtNew => token_entries(scenario),
        Scenario::Whole | Scenario::WholeNew => whole_entries(scenario),
        Scenario::Redis => vec![
            entry!(bare),
            entry!(tidegate, "redis", "mode `exact`: Redis is asked for every request")
                .named("tidegate", &[("MODE", "exact")]),
            entry!(tidegate, "redis", "mode `leased`: Redis lends, the node spends")
                .named("tidegate-leased", &[("MODE", "leased")]),
            entry!(nginx, "redis", "Lua: a fixed window, one script call for every request"),
            entry!(traefik, "redis", "a token bucket, one script call for every request")
                .named("traefik", SLOW),
        ],
        Scenario::Hit1k | Scenario::Hit64k => vec![
            entry!(bare),
            entry!(tidegate, "hit", "from memory; adds `Age`, `X-Cache`, `Cache-Status`, an id"),
            entry!(nginx, "hit", "files in the page cache, `sendfile`; adds nothing"),
            entry!(haproxy, "hit", "from memory; adds `Age`"),
            entry!(envoy, "hit", "simple cache in memory, work in progress; adds `Age`"),
        ],
        Scenario::Tls | Scenario::H2 => vec![
            entry!(bare),
            entry!(tidegate, "tls", ""),
            entry!(nginx, "tls", ""),
            entry!(haproxy, "tls", ""),
            entry!(envoy, "tls", ""),
            entry!(traefik, "tls", "").named("traefik", SLOW),
            entry!(caddy, "tls", ""),
        ],
    }
}

fn token_entries(scenario: Scenario) -> Vec<Entry> {
    let mut entries = vec![
        entry!(bare),
        entry!(tidegate, "jwt", "caches verified tokens (65,536); sends `X-User-Id`"),
        entry!(haproxy, "jwt", "no cache of tokens; sends `X-User-Id`"),
        entry!(envoy, "jwt", "without its cache of tokens; sends `X-User-Id`")
            .named("envoy", UNCACHED),
    ];
    if scenario == Scenario::Jwt {
        entries.push(
            entry!(envoy, "jwt", "with `jwt_cache_config` of 1,000 tokens")
                .named("envoy-cached", CACHED),
        );
    }
    entries
}

fn whole_entries(scenario: Scenario) -> Vec<Entry> {
    let mut entries = vec![
        entry!(bare),
        entry!(tidegate, "whole", "says `RateLimit` in its answers, which the others do not"),
        entry!(haproxy, "whole", "no cache of tokens; a sliding rate in a stick-table"),
        entry!(envoy, "whole", "without its cache of tokens; token buckets by dynamic descriptors")
            .named("envoy", UNCACHED),
    ];
    if scenario == Scenario::Whole {
        entries.push(
            entry!(envoy, "whole", "with `jwt_cache_config` of 1,000 tokens")
                .named("envoy-cached", CACHED),
        );
    }
    entries
}

/// Who is left out of a job, and why.
#[must_use]
pub const fn absent(scenario: Scenario) -> &'static [(&'static str, &'static str)] {
    const NO_TOKENS: &[(&str, &str)] = &[
        (
            "nginx",
            "verifies tokens only as NGINX Plus; Debian has no token library for its Lua, and its \
             njs would import the key anew for every request",
        ),
        ("traefik", "verifies tokens only in its commercial editions"),
        ("caddy", "verifies tokens only with plugins that the stock build does not have"),
    ];
    match scenario {
        Scenario::Plain | Scenario::Routes | Scenario::Tls | Scenario::H2 => &[],
        Scenario::Jwt | Scenario::JwtNew | Scenario::Whole | Scenario::WholeNew => NO_TOKENS,
        Scenario::Redis => &[
            ("haproxy", "counts in stick-tables, which peers copy; it has no client for Redis"),
            ("envoy", "asks a rate limit service of its own protocol, which asks Redis"),
            ("caddy", "limits only with plugins that the stock build does not have"),
        ],
        Scenario::Hit1k | Scenario::Hit64k => &[
            ("traefik", "caches only in its commercial editions"),
            ("caddy", "caches only with plugins that the stock build does not have"),
        ],
    }
}

/// Which HTTP a server is to offer, as it writes that.
#[must_use]
pub fn protocols(server: Server, protocol: Protocol) -> [(&'static str, String); 3] {
    let two = protocol == Protocol::H2;
    let names = match (server, two) {
        (Server::Tidegate, true) => "http1, http2",
        (Server::Tidegate, false) => "http1",
        (_, true) => "h1 h2",
        (_, false) => "h1",
    };
    [
        ("ALPN", if two { "h2,http/1.1" } else { "http/1.1" }.to_owned()),
        ("HTTP2", if two { " http2" } else { "" }.to_owned()),
        ("PROTOCOLS", names.to_owned()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_yardstick_is_first_and_names_are_told_apart() {
        for scenario in Scenario::ALL {
            let entries = entries(scenario);
            assert_eq!(entries[0].server, Server::Bare, "{scenario}");
            for (at, entry) in entries.iter().enumerate() {
                assert!(entries.iter().skip(at + 1).all(|other| other.name != entry.name));
                assert!(absent(scenario).iter().all(|(name, _)| *name != entry.name));
            }
        }
    }

    #[test]
    fn who_does_not_take_part_is_named() {
        for scenario in Scenario::ALL {
            for server in Server::ALL {
                let there = entries(scenario).iter().any(|entry| entry.server == server);
                let out = absent(scenario).iter().any(|(name, _)| *name == server.name());
                assert!(there != out, "{server} in {scenario}");
            }
        }
    }
}
