//! Random routes and requests, made to collide.

use std::sync::Arc;

use serde_json::json;

use super::naive::{Ask, Auth, CLIENTS, EXPRESSIONS, Path, Rule, Test, When, Who};
use super::{Request, identity};
use crate::edge::Identity;

const HOSTS: [&str; 5] = ["a.x", "b.a.x", "*.x", "*.a.x", "x"];
const REQUEST_HOSTS: [&str; 6] = ["a.x", "b.a.x", "c.b.a.x", "c.x", "x", "ax"];
const LITERALS: [&str; 8] = ["/", "/a", "/a/", "/a/b", "/a/b/", "/ab", "/b", "/a/c"];
const REQUEST_PATHS: [&str; 13] = [
    "/", "/a", "/a/", "/a/b", "/a/bb", "/a/b/", "/a/b/c", "/a/c", "/ab", "/abb", "/b", "/b/c", "/c",
];
pub(super) const METHODS: [&str; 4] = ["GET", "POST", "HEAD", "PURGE"];
const REQUEST_METHODS: [&str; 5] = ["GET", "POST", "HEAD", "PURGE", "PUT"];
pub(super) const VALUES: [Option<&str>; 5] = [None, Some("1"), Some("2"), Some("1,2"), Some("")];
pub(super) const VERSIONS: [Option<&str>; 5] = [None, Some("v1"), Some("2"), Some("v2"), Some("3")];
pub(super) const TENANTS: [&str; 3] = ["acme", "globex", "initech"];
const PLACES: [&str; 5] = ["DE", "US", "CH", "continent:EU", "continent:AS"];

fn pick<T: Copy>(random: &mut fastrand::Rng, from: &[T]) -> T {
    from[random.usize(..from.len())]
}

/// One to two of these, without repetition.
fn some(random: &mut fastrand::Rng, from: &[&'static str]) -> Vec<&'static str> {
    let count = random.usize(1..3);
    let mut chosen = from.to_vec();
    random.shuffle(&mut chosen);
    chosen.truncate(count);
    chosen
}

fn test(random: &mut fastrand::Rng) -> Test {
    match random.u8(..6) {
        0 | 1 => Test::Exact(pick(random, &["1", "2"])),
        2 => Test::Contains(pick(random, &["1", "2"])),
        3 => Test::Present(true),
        4 => Test::Present(false),
        _ => Test::Regex,
    }
}

/// A route of any kind.
pub(super) fn rule(random: &mut fastrand::Rng, index: usize) -> Rule {
    let host = (random.u8(..3) > 0).then(|| pick(random, &HOSTS));
    let path = match random.u8(..8) {
        0 => Path::All,
        1 | 2 => Path::Exact(pick(random, &LITERALS)),
        3..=5 => Path::Prefix(pick(random, &LITERALS)),
        _ => Path::Regex(random.usize(..EXPRESSIONS.len())),
    };
    let methods = if random.bool() { some(random, &METHODS) } else { Vec::new() };
    let auth = pick(random, &[Auth::None, Auth::Required, Auth::Required, Auth::KeyOnly]);
    let conditions = conditions(random, auth);
    let priority = random.i32(0..3);
    Rule { name: format!("r{index}"), host, path, methods, conditions, auth, priority }
}

/// Conditions that a route with these credentials may have, each kind now and then.
pub(super) fn conditions(random: &mut fastrand::Rng, auth: Auth) -> Vec<When> {
    let mut all = Vec::new();
    for name in ["x-a", "x-b"] {
        if random.u8(..5) == 0 {
            all.push(When::Header(name, test(random), random.u8(..3) == 0));
        }
    }
    if random.u8(..6) == 0 {
        all.push(When::Query(test(random)));
    }
    if random.u8(..6) == 0 {
        all.push(When::Version(pick(random, &["v1", "v2"])));
    }
    if random.u8(..6) == 0 {
        all.push(When::Region(some(random, &PLACES)));
    }
    if random.u8(..5) == 0 {
        let known = if auth == Auth::None { &TENANTS[..2] } else { &TENANTS[..] };
        all.push(When::Tenant(some(random, known)));
    }
    if auth != Auth::None && random.u8(..4) == 0 {
        all.push(When::Claim("plan", test(random)));
    }
    if auth != Auth::None && random.u8(..6) == 0 {
        let demands = [Test::Contains("1"), Test::Contains("2"), Test::Present(true)];
        all.push(When::Claim("roles", pick(random, &demands)));
    }
    all
}

fn who(random: &mut fastrand::Rng) -> Option<Who> {
    random.bool().then(|| Who {
        tenant: random.bool().then(|| pick(random, &TENANTS)),
        plan: pick(random, &VALUES),
        roles: if random.bool() { some(random, &["1", "2", "3"]) } else { Vec::new() },
    })
}

/// A request of any kind.
pub(super) fn request(random: &mut fastrand::Rng) -> Ask {
    Ask {
        method: pick(random, &REQUEST_METHODS),
        host: pick(random, &REQUEST_HOSTS),
        path: pick(random, &REQUEST_PATHS),
        a: pick(random, &VALUES),
        b: pick(random, &VALUES),
        q: pick(random, &VALUES),
        version: pick(random, &VERSIONS),
        client: pick(random, &CLIENTS).0,
        trusted: random.bool(),
        token: who(random),
        key: who(random),
    }
}

impl Ask {
    /// The request as the table sees it. Headers named like claims say what no token says.
    pub(super) fn to_request(&self) -> Request {
        let mut request = Request::new(&format!("{} {}{}", self.method, self.host, self.path))
            .from(self.client)
            .header("plan", "1")
            .header("x-tenant-id", "acme");
        let headers = [("x-a", self.a), ("x-b", self.b), ("accept-version", self.version)];
        for (name, value) in headers {
            if let Some(value) = value {
                request = request.header(name, value);
            }
        }
        request.query = self.q.map(|value| format!("z&q={value}"));
        if self.trusted { request.trusted() } else { request }
    }
}

impl Who {
    /// The caller as credentials prove it.
    pub(super) fn identity(&self) -> Arc<Identity> {
        let mut claims = json!({});
        if let Some(plan) = self.plan {
            claims["plan"] = json!(plan);
        }
        claims["roles"] = json!(self.roles);
        identity(self.tenant, claims)
    }
}
