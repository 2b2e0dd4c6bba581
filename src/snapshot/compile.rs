//! From a configuration to a snapshot, or to every problem it has.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::route::Shared;
use super::{Listeners, Route, Snapshot, Unproved, store};
use crate::auth::Providers;
use crate::cache::check_store;
use crate::edge::AddressSet;
use crate::limit::LimitRule;
use crate::limit::fair::Overload;
use crate::model::{Config, Problem, Problems, Resolved, Server};
use crate::routing::{RouteIndex, Table};
use crate::telemetry::Metrics;
use crate::upstream::Upstreams;

/// What a configuration is compiled with: what it refers to, and what outlives it.
pub struct Parts<'a> {
    /// Values of its references.
    pub resolved: &'a Resolved,
    /// Where its meters are registered.
    pub metrics: &'a Arc<Metrics>,
    /// What outlives it about upstream services.
    pub upstreams: &'a Upstreams,
    /// Version number where the document has none.
    pub version: u64,
    /// SHA-256 of the document.
    pub sha256: &'a str,
}

/// Compiles a configuration. Adds every problem found; the snapshot is there only when none of
/// all problems is an error.
pub fn compile(config: &Config, parts: &Parts<'_>, problems: &mut Problems) -> Option<Snapshot> {
    let listeners = Listeners::compile(&config.listeners, parts.resolved, problems);
    check_upgrades(&config.server, problems);
    check_admin(config, problems);
    if let Some(model) = &config.redis {
        store::check(model, parts.resolved, problems);
    }
    check_store(&config.cache, config.redis.is_some(), problems);
    let providers = Providers::compile(config, parts.resolved, problems);
    let unproved = Unproved::compile(config, &providers, problems);
    let limits = limits(config, parts, problems);
    let cache_key_visible_to =
        networks("cache.networks", "cache.keyVisibleTo", &config.cache.key_visible_to, problems);
    let told = config.server_timing.as_ref().map_or(&[][..], |timing| &timing.visible_to);
    let timing_visible_to =
        networks("server_timing.networks", "serverTiming.visibleTo", told, problems);
    let overload = config.overload.as_ref();
    let overload = overload.and_then(|overload| Overload::compile(overload, problems));
    let table = Table::compile(config, parts.resolved, problems);
    unique_names(config, problems);
    if config.routes.is_empty() {
        problems.push(Problem::warning("route.none", "routes", "there is no route: all is 404"));
    }
    let shared = Shared { config, parts, providers: &providers, limits: &limits };
    let routes: Vec<Option<Route>> = config
        .routes
        .iter()
        .enumerate()
        .map(|(index, route)| Route::compile(index, route, &shared, problems))
        .collect();
    if problems.has_errors() {
        return None;
    }
    let hedges = routes.iter().flatten().any(|route| route.hedge.is_some());
    let keeps = |index: RouteIndex| {
        let route = routes.get(index.0 as usize).and_then(Option::as_ref);
        route.is_some_and(|route| route.cache.is_some())
    };
    let some = routes.iter().flatten().any(|route| route.cache.is_some());
    let kept = some.then(|| table.places(keeps));
    Some(Snapshot {
        hedges,
        kept,
        version: config.config_version.unwrap_or(parts.version),
        sha256: parts.sha256.to_owned(),
        listeners: listeners?,
        table,
        routes: routes.into_iter().map(|route| route.map(Arc::new)).collect::<Option<_>>()?,
        providers: Arc::new(providers),
        unproved,
        limits: limits.into_values().collect(),
        overload,
        cache_key_visible_to,
        timing_visible_to,
    })
}

fn limits<'a>(
    config: &'a Config,
    parts: &Parts<'_>,
    problems: &mut Problems,
) -> BTreeMap<&'a str, Arc<LimitRule>> {
    let mut limits = BTreeMap::new();
    for (name, model) in &config.rate_limits {
        let path = format!("rateLimits.{name}");
        if let Some(rule) = LimitRule::compile(name, model, &path, parts.metrics, problems) {
            limits.insert(name.as_str(), Arc::new(rule));
        }
    }
    limits
}

/// Route names are labels, log fields and keys: two routes of one name could not be told apart.
fn unique_names(config: &Config, problems: &mut Problems) {
    let mut seen: HashMap<&str, usize> = HashMap::with_capacity(config.routes.len());
    for (index, route) in config.routes.iter().enumerate() {
        if let Some(first) = seen.insert(&route.name, index) {
            let what = format!("the name `{}` belongs to routes[{first}] already", route.name);
            problems.push(Problem::error("route.duplicate", format!("routes[{index}].name"), what));
        }
    }
}

/// A new process warms up first and must be heard of within the time that an upgrade has.
fn check_upgrades(server: &Server, problems: &mut Problems) {
    let (warm, whole) = (server.warm_up_timeout.get(), server.upgrade_timeout.get());
    if warm >= whole {
        let message = format!(
            "a new process may warm up for {} and is cut off after {}: one that stays cold never \
             takes over",
            humantime::format_duration(warm),
            humantime::format_duration(whole)
        );
        let help = "set `upgradeTimeout` to some seconds more than `warmUpTimeout`";
        problems
            .push(Problem::warning("server.warm_up", "server.warmUpTimeout", message).help(help));
    }
}

fn check_admin(config: &Config, problems: &mut Problems) {
    if config.admin.drills {
        problems.push(
            Problem::warning(
                "admin.drills",
                "admin.drills",
                "operators may switch faults of this node's dependencies on: it is for staging",
            )
            .help("leave `drills` out on nodes that serve customers"),
        );
    }
    match config.admin.address.parse::<std::net::SocketAddr>() {
        Ok(address) if !address.ip().is_loopback() => problems.push(
            Problem::warning(
                "admin.exposed",
                "admin.address",
                format!("the admin listener at {address} can be reached from other machines"),
            )
            .help("anybody may read there: use a loopback address, or protect the network"),
        ),
        Ok(_) => {}
        Err(_) => problems.push(Problem::error(
            "admin.address",
            "admin.address",
            format!("`{}` is not an IP address and a port", config.admin.address),
        )),
    }
}
/// Who is told the keys of kept answers.
fn networks(
    code: &'static str,
    place: &str,
    networks: &[String],
    problems: &mut Problems,
) -> AddressSet {
    let (set, wrong) = AddressSet::read(networks);
    for (index, why) in wrong {
        problems.push(Problem::error(code, format!("{place}[{index}]"), why));
    }
    set
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Span;

    fn codes(upgrade: u64, warm_up: u64) -> Vec<&'static str> {
        let (upgrade_timeout, warm_up_timeout) =
            (Span::from_secs(upgrade), Span::from_secs(warm_up));
        let server = Server { upgrade_timeout, warm_up_timeout, ..Server::default() };
        let mut problems = Problems::default();
        check_upgrades(&server, &mut problems);
        problems.0.iter().map(|problem| problem.code).collect()
    }

    #[test]
    fn a_process_must_be_able_to_warm_up_in_time() {
        assert_eq!(codes(60, 10), [""; 0]);
        assert_eq!(codes(11, 10), [""; 0]);
        assert_eq!(codes(10, 10), ["server.warm_up"]);
    }
}
