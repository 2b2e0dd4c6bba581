//! The gateway configurations that are measured.
//!
//! The benches and the run against the bare proxy use the same documents, so that nanoseconds
//! of one and microseconds of the other speak of the same route.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::token::{AUDIENCE, ISSUER, SCOPE, TENANT};

/// The host that the measured requests name.
pub const HOST: &str = "api.example.com";

/// Name of the limit of the full route.
pub const LIMIT: &str = "per-user";

/// Routes beside the measured one, so that finding it is no foregone conclusion.
pub const NEIGHBOURS: usize = 100;

/// Routes of [`many`], beside the measured one.
pub const MANY: usize = 10_000;

/// Routes of [`guarded`], beside the measured one.
pub const GUARDED: usize = 1_000;

/// Where a gateway listens, and what it is given.
#[derive(Clone, Debug)]
pub struct Place {
    /// Name of the gateway: of its files.
    pub name: &'static str,
    /// Folder of its files.
    pub folder: PathBuf,
    /// Where clients connect.
    pub address: SocketAddr,
    /// Its admin listener.
    pub admin: SocketAddr,
    /// The service behind it.
    pub origin: SocketAddr,
    /// The Redis that its limits use.
    pub redis: Option<SocketAddr>,
}

impl Place {
    /// A file of this gateway.
    #[must_use]
    pub fn file(&self, ending: &str) -> PathBuf {
        self.folder.join(format!("{}.{ending}", self.name))
    }

    /// The public key of the tokens' issuer, shared by all gateways of a run.
    #[must_use]
    pub fn public_key(folder: &Path) -> PathBuf {
        folder.join("issuer.pem")
    }

    fn process(&self, access_log: &str) -> String {
        format!(
            "server: {{threads: 1, upgradeSocket: '{socket}', gracePeriod: 1s}}\n\
             listeners: [{{name: public, address: '{address}'}}]\n\
             admin: {{address: '{admin}'}}\n\
             accessLog: {{path: '{access_log}'}}\n",
            socket = self.file("sock").display(),
            address = self.address,
            admin = self.admin,
        )
    }
}

/// One route, no policy, no log: what it costs that the gateway is there.
#[must_use]
pub fn plain(place: &Place) -> String {
    let process = place.process("off");
    let origin = place.origin;
    format!(
        "{process}\
services:
  orders: {{endpoints: [{{address: '{origin}'}}]}}
routes:
  - name: everything
    match: {{pathPrefix: /}}
    upstream: {{service: orders}}
    policies: {{auth: none}}
"
    )
}

/// The same for callers who prove who they are, by tokens that a key of the configuration signed.
#[must_use]
pub fn auth(place: &Place) -> String {
    let key = Place::public_key(&place.folder);
    let key = key.display();
    let provider = format!(
        "\
identityProviders:
  bench:
    issuer: {ISSUER}
    audience: {AUDIENCE}
    algorithms: [RS256]
    publicKeyFile: '{key}'
"
    );
    provider + &plain(place).replace("auth: none", "auth: required")
}

/// The same with a limit of each client that is far away, in this mode; without Redis it is
/// counted on the node.
#[must_use]
pub fn limited(place: &Place, mode: &str) -> String {
    let redis = place.redis.map_or_else(String::new, |redis| {
        format!("redis: {{url: 'redis://{redis}', timeout: 1s}}\n")
    });
    let limits = format!(
        "rateLimits:\n  per-client: {{limit: 10000000, window: 1m, mode: {mode}, \
         key: ['header:x-client']}}\n"
    );
    redis + &limits + &plain(place).replace("{auth: none}", "{auth: none, rateLimit: per-client}")
}

/// A token and a limit of each user, which nobody reaches, among a thousand routes; the limit is
/// in Redis where there is one, asked for every request (R007).
#[must_use]
pub fn guarded(place: &Place) -> String {
    let redis = place.redis.map(redis).unwrap_or_default();
    let limits = "rateLimits:\n  per-user: {limit: 10000000, window: 1m, mode: exact, \
                  key: [tenantId, userId]}\n";
    let route = auth(place).replace("auth: required", "auth: required, rateLimit: per-user");
    let open = "policies: {auth: none}\n";
    format!("{redis}{limits}{open}{route}{}", neighbours(GUARDED))
}

/// The same among ten thousand routes on as many paths, as version `version`.
#[must_use]
pub fn many(place: &Place, version: u32) -> String {
    let mut text = format!("configVersion: {version}\n{}", plain(place));
    for number in 0..MANY {
        let (team, area) = (number % 97, number % 13);
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "  - {{name: route-{number}, match: {{host: '{HOST}', \
             pathPrefix: /team-{team}/area-{area}/service-{number}}}, \
             upstream: {{service: orders}}, policies: {{auth: none}}}}"
        );
    }
    text
}

/// Answers from the cache: public, so that no token is looked at.
#[must_use]
pub fn hit(place: &Place) -> String {
    let process = place.process("off");
    let origin = place.origin;
    format!(
        "{process}\
services:
  catalog: {{endpoints: [{{address: '{origin}'}}]}}
routes:
  - name: catalog
    match: {{pathPrefix: /cacheable}}
    upstream: {{service: catalog}}
    policies:
      auth: none
      cache: {{ttl: 1h}}
"
    )
}

/// Everything switched on for the route `orders`, which is one of many: token, scope, tenant
/// status, limit by tenant and user, cache by tenant and user, split that keeps a user on one
/// version, request policy, retries, access log.
#[must_use]
pub fn full(place: &Place) -> String {
    let process = place.process(&place.file("access.log").display().to_string());
    let redis = place.redis.map(redis).unwrap_or_default();
    let key = Place::public_key(&place.folder);
    let (key, origin) = (key.display(), place.origin);
    let neighbours = neighbours(NEIGHBOURS);
    format!(
        "{process}{redis}\
identityProviders:
  bench:
    issuer: {ISSUER}
    audience: {AUDIENCE}
    algorithms: [RS256]
    publicKeyFile: '{key}'
tenants:
  {TENANT}: {{status: ACTIVE}}
# High enough that no request of a run is refused.
rateLimits:
  {LIMIT}:
    algorithm: token_bucket
    capacity: 1000000000
    refillPerSecond: 1000000
    key: [tenantId, userId]
    failureMode: local
services:
  orders:
    versions:
      - {{name: stable, endpoints: [{{address: '{origin}'}}]}}
      - {{name: canary, endpoints: [{{address: '{origin}'}}]}}
policies: {{auth: none, timeoutMs: 5000}}
routes:
  - name: orders
    match: {{host: {HOST}, pathPrefix: /v1/orders, methods: [GET, HEAD]}}
    upstream:
      service: orders
      splits: [{{version: stable, weight: 9000}}, {{version: canary, weight: 1000}}]
      splitKey: [userId]
    policies:
      auth: required
      authorization: {{requiredScopes: ['{SCOPE}'], tenantStatus: [ACTIVE]}}
      rateLimit: {LIMIT}
      retries: 1
      cache: {{ttl: 60s, key: {{query: all, tenant: true, user: true}}}}
    requestPolicy: {{maxBodyBytes: 64KiB, allowedContentTypes: [application/json]}}
{neighbours}"
    )
}

/// Everything in memory: a table of that many routes and the service behind them, for benches.
#[must_use]
pub fn table(place: &Place, routes: usize) -> String {
    let process = place.process("off");
    let origin = place.origin;
    let neighbours = neighbours(routes);
    format!(
        "{process}\
services:
  orders: {{endpoints: [{{address: '{origin}'}}]}}
policies: {{auth: none}}
routes:
{neighbours}"
    )
}

/// The limit of 20 ms that suits a network would be missed here at times, where the load
/// generator, the origin and Redis share a processor; that would measure the breaker.
fn redis(address: SocketAddr) -> String {
    format!("redis: {{url: 'redis://{address}', timeout: 500ms}}\n")
}

/// Routes of every kind, in a fixed mixture: of ten, six are prefixes on the host, one a whole
/// path, one a wildcard host, one a prefix with method and header, one a regular expression.
fn neighbours(count: usize) -> String {
    let mut text = String::new();
    for n in 0..count {
        let conditions = match n % 10 {
            6 => format!("host: {HOST}, path: /v1/exact-{n}/status"),
            7 => format!("host: '*.tenant-{n}.example.com', pathPrefix: /v1"),
            8 => format!(
                "host: {HOST}, pathPrefix: /v1/beta-{n}, methods: [GET], \
                 headers: [{{name: x-channel, exact: beta}}]"
            ),
            9 => format!("host: regex-{n}.example.com, pathRegex: '/v1/[a-z]+/[0-9]+'"),
            _ => format!("host: {HOST}, pathPrefix: /v1/service-{n}"),
        };
        // Writing into a string cannot fail.
        let _ = writeln!(
            text,
            "  - {{name: neighbour-{n}, match: {{{conditions}}}, upstream: {{service: orders}}}}"
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_as_many_as_asked_and_of_every_kind() {
        let text = neighbours(20);
        assert_eq!(text.lines().count(), 20);
        for kind in ["path: /v1/exact-6/", "'*.tenant-17.", "x-channel", "pathRegex", "service-10"]
        {
            assert!(text.contains(kind), "{kind}");
        }
    }

    #[test]
    fn redis_is_named_only_where_there_is_one() {
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        let place = Place {
            name: "full",
            folder: "/tmp/x".into(),
            address,
            admin: address,
            origin: address,
            redis: None,
        };
        assert!(!full(&place).contains("redis://"));
        let text = full(&Place { redis: Some(address), ..place });
        assert!(text.contains("redis: {url: 'redis://127.0.0.1:1', timeout: 500ms}\n"));
        assert!(text.contains("accessLog: {path: '/tmp/x/full.access.log'}\n"));
    }
}
