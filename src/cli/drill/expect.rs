//! What the failure table (`docs/failure-modes.md`) says of a drill, for a configuration and one
//! of its routes.

use std::time::Duration;

use super::probe::Outcome;
use crate::drill::{Dependency, Point, Trouble};
use crate::model::{Auth, Config, FailureMode, Policies, Route, Service};

/// What must be seen during a drill.
#[derive(Debug)]
pub(super) struct Expected {
    /// In words.
    pub(super) says: String,
    /// Answers that are right beside those from before.
    pub(super) may: Vec<Outcome>,
    /// At least one of them must be seen.
    pub(super) must: bool,
}

impl Expected {
    fn as_before(why: &str) -> Self {
        Self { says: format!("as before: {why}"), may: Vec::new(), must: false }
    }

    fn these(says: impl Into<String>, may: &[(u16, &str)], must: bool) -> Self {
        let may = may.iter().map(|(status, code)| Outcome::new(*status, code)).collect();
        Self { says: says.into(), may, must }
    }
}

/// A drill as it is to be judged.
#[derive(Clone, Copy, Debug)]
pub(super) struct Drill<'a> {
    pub(super) point: Point,
    pub(super) length: Duration,
    /// The one service that is meant.
    pub(super) service: Option<&'a str>,
}

/// How long tokens that a node holds in advance may last without Redis, with room.
const LEASES_LAST: Duration = Duration::from_secs(4);

/// Whether a configuration depends on what is drilled; if not, why there is nothing to see.
pub(super) fn depends(config: &Config, point: Point) -> Result<(), &'static str> {
    let asks = config.identity_providers.values().any(|one| one.introspection.is_some());
    let fetches = config.identity_providers.values().any(|one| {
        !one.is_only_asked()
            && one.jwks_file.is_none()
            && one.public_key_pem.is_none()
            && one.public_key_file.is_none()
            && one.secret.is_none()
            && one.development_key_file.is_none()
    });
    let (depends, why) = match point.dependency {
        Dependency::Redis => (config.redis.is_some(), "no Redis is configured"),
        Dependency::Idp => (fetches, "no keys are fetched"),
        Dependency::Introspection => (asks, "no issuer is asked about tokens"),
        Dependency::Database => (config.database.is_some(), "no database is configured"),
        Dependency::Registry => {
            (config.services.values().any(|one| looked_up(one).is_some()), "nothing is looked up")
        }
        Dependency::Upstream => (!config.services.is_empty(), "there are no services"),
        Dependency::Disk | Dependency::ControlPlane => (true, ""),
    };
    if depends { Ok(()) } else { Err(why) }
}

/// What the table says of requests that a route takes; of those that none takes, that nothing
/// changes.
pub(super) fn expected(config: &Config, route: Option<&Route>, drill: Drill<'_>) -> Expected {
    let Some(route) = route else { return Expected::as_before("no route takes it") };
    let facts = Facts { config, route };
    match drill.point.dependency {
        Dependency::Redis => facts.redis(drill),
        Dependency::Idp => Expected::as_before("keys in force stay in force"),
        Dependency::Introspection | Dependency::Database => facts.look_ups(drill.point),
        Dependency::Registry => facts.registry(drill),
        Dependency::Upstream => facts.upstream(drill),
        Dependency::Disk => Expected::as_before("lines that cannot be written are counted"),
        Dependency::ControlPlane => Expected::as_before("the configuration stays in force"),
    }
}

/// A route among the defaults of its configuration.
struct Facts<'a> {
    config: &'a Config,
    route: &'a Route,
}

impl Facts<'_> {
    /// A policy of the route, or else the default.
    fn policy<T>(&self, of: impl Fn(&Policies) -> Option<&T>) -> Option<&T> {
        of(&self.route.policies).or_else(|| of(&self.config.policies))
    }

    fn redis(&self, drill: Drill<'_>) -> Expected {
        let names = self.policy(|policies| policies.rate_limit.as_ref());
        let names = names.map(|names| names.0.as_slice()).unwrap_or_default();
        let limits = names.iter().filter_map(|name| self.config.rate_limits.get(name));
        let modes: Vec<FailureMode> =
            limits.filter(|limit| !limit.shadow).map(|limit| limit.failure_mode).collect();
        if modes.contains(&FailureMode::Closed) {
            let says = "503 limit.unavailable (failureMode: closed), once what this node holds in \
                        advance is spent";
            let must = drill.length >= LEASES_LAST;
            return Expected::these(says, &[(503, "limit.unavailable")], must);
        }
        if modes.contains(&FailureMode::Local) {
            let says = "as before, counted on this node (failureMode: local)";
            return Expected::these(says, &[(429, "limit.exceeded")], false);
        }
        Expected::as_before(if modes.is_empty() {
            "nothing that this route does needs Redis"
        } else {
            "requests pass uncounted (failureMode: open)"
        })
    }

    fn look_ups(&self, point: Point) -> Expected {
        let is_open = matches!(self.policy(|policies| policies.auth.as_ref()), Some(Auth::None));
        if is_open && self.policy(|policies| policies.authorization.as_ref()).is_none() {
            return Expected::as_before("callers are not looked at");
        }
        let who = if point.dependency == Dependency::Database { "callers" } else { "tokens" };
        let says = format!("as before for {who} that are known, else 503 auth.unavailable");
        Expected::these(says, &[(503, "auth.unavailable")], false)
    }

    fn service(&self) -> Option<(&str, &Service)> {
        let name = self.route.upstream.as_ref()?.service.as_str();
        Some((name, self.config.services.get(name)?))
    }

    fn registry(&self, drill: Drill<'_>) -> Expected {
        let slowest = self.service().and_then(|(_, service)| looked_up(service));
        let Some(believed_after) = slowest else {
            return Expected::as_before("its endpoints are not looked up");
        };
        if drill.point.trouble != Trouble::Wrong {
            return Expected::as_before("the last good answer stays in force");
        }
        let says = format!(
            "503 upstream.no_endpoint, once the empty answer is believed: after {} s",
            believed_after.as_secs()
        );
        let must = drill.length > believed_after;
        Expected::these(says, &[(503, "upstream.no_endpoint")], must)
    }

    fn upstream(&self, drill: Drill<'_>) -> Expected {
        let Some((name, _)) = self.service() else {
            return Expected::as_before("the gateway answers by itself");
        };
        if drill.service.is_some_and(|only| only != name) {
            return Expected::as_before("another service is meant");
        }
        let failed: &[(u16, &str)] = match drill.point.trouble {
            Trouble::Down => &[(502, "upstream.connect_failed")],
            Trouble::Slow => {
                &[(504, "upstream.response_timeout"), (504, "upstream.connect_timeout")]
            }
            Trouble::Wrong => &[(500, "")],
        };
        let given_up = [
            (503, "upstream.no_endpoint"),
            (503, "upstream.circuit_open"),
            (503, "upstream.overloaded"),
        ];
        let keeps = self.policy(|policies| policies.cache.as_ref()).is_some();
        let words: Vec<String> =
            failed.iter().map(|(status, code)| Outcome::new(*status, code).to_string()).collect();
        let says = format!(
            "{}, then 503 while endpoints or the circuit are given a pause{}",
            words.join(" or "),
            if keeps { "; kept answers are served" } else { "" }
        );
        Expected::these(says, &[failed, &given_up].concat(), !keeps)
    }
}

/// How long it takes until an empty answer about a service is believed; none where nothing is
/// looked up. A look-up may come a tenth late.
fn looked_up(service: &Service) -> Option<Duration> {
    let versions = service.versions.iter();
    let sources = versions.clone().filter_map(|version| version.discovery.as_ref());
    let slowest = service.discovery.iter().chain(sources).map(|source| {
        source.refresh.get().saturating_mul(source.empty_answers.saturating_add(1)).mul_f64(1.1)
    });
    slowest.max()
}

/// What an operator is alarmed by: metrics, each with a part of the labels that counts, of which
/// one must move where it is sure that somebody asks.
pub(super) fn alarms(point: Point) -> (&'static [(&'static str, &'static str)], bool) {
    match point.dependency {
        Dependency::Redis => (
            &[
                ("tidegate_limit_redis_failures_total", ""),
                ("tidegate_limit_upkeep_failures_total", ""),
                ("tidegate_limit_breaker_open", ""),
                ("tidegate_limit_counting_locally", ""),
                ("tidegate_lookup_redis_failures_total", ""),
                ("tidegate_revocations_read_total", "outcome=\"failed\""),
            ],
            true,
        ),
        Dependency::Idp => (&[("tidegate_keyring_failures_total", "")], true),
        Dependency::Introspection => (
            &[
                ("tidegate_introspection_questions_total", "outcome=\"unreachable\""),
                ("tidegate_introspection_questions_total", "outcome=\"timeout\""),
                ("tidegate_introspection_questions_total", "outcome=\"malformed\""),
            ],
            false,
        ),
        Dependency::Database => (
            &[
                ("tidegate_database_up", ""),
                ("tidegate_database_duration_seconds_count", "outcome=\"failed\""),
                ("tidegate_lookups_total", "outcome=\"unavailable\""),
            ],
            false,
        ),
        Dependency::Registry => (
            &[
                ("tidegate_discovery_lookups_total", "outcome=\"failed\""),
                ("tidegate_discovery_lookups_total", "outcome=\"empty\""),
                ("tidegate_discovery_instances", ""),
            ],
            false,
        ),
        Dependency::Upstream => (
            &[
                ("tidegate_rejects_total", "code=\"upstream."),
                ("tidegate_requests_total", "status=\"500\""),
                ("tidegate_upstream_endpoint_up", ""),
                ("tidegate_upstream_circuit_state", ""),
            ],
            false,
        ),
        Dependency::Disk => {
            (&[("tidegate_access_log_dropped_total", "")], point.trouble == Trouble::Down)
        }
        Dependency::ControlPlane => (
            &[
                ("tidegate_config_last_apply_successful", ""),
                ("tidegate_config_applies_total", "outcome=\"refused\""),
            ],
            true,
        ),
    }
}

#[cfg(test)]
mod tests;
