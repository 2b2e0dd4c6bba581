//! A compiled route.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::header::{self, HeaderName};

use super::compile::Parts;
use super::{Action, DeadlinePolicy, Forward, HedgePolicy, RetryPolicy, merge};
use crate::action::Local;
use crate::auth::{AuthPolicy, IdentitySigner, Providers, SIGNATURE_HEADERS};
use crate::cache::{CachePolicy, TagTemplates};
use crate::compress::CompressionPolicy;
use crate::edge::NameSet;
use crate::limit::{Applied, LimitRule};
use crate::model::{self, Config, Policies, Problem, Problems};
use crate::routing::{PathPattern, RouteIndex};
use crate::shape::RequestShape;
use crate::telemetry::RouteMeters;
use crate::upstream::Upstream;

/// Time for the whole exchange where the configuration does not say (R125).
const DEFAULT_TIMEOUT_MS: u64 = 10_000;
/// Longest timeout of a route (R177).
const MAX_TIMEOUT_MS: u64 = 30_000;

/// A route with its policies, ready to be applied.
#[derive(Debug)]
pub struct Route {
    /// Its place in the snapshot and in the document.
    pub index: RouteIndex,
    /// Its name.
    pub name: Arc<str>,
    /// Which requests are refused for their shape.
    pub shape: RequestShape,
    /// What is asked of callers.
    pub auth: AuthPolicy,
    /// Limits, in the order of the document.
    pub limits: Box<[Applied]>,
    /// Whether and how answers are kept.
    pub cache: Option<CachePolicy>,
    /// Which answers are compressed.
    pub compression: Option<CompressionPolicy>,
    /// What it does with a request.
    pub action: Action,
    /// Time for the whole exchange with the service.
    pub timeout: Duration,
    /// Time limits within that.
    pub deadline: DeadlinePolicy,
    /// What is repeated.
    pub retry: RetryPolicy,
    /// When a second attempt is begun beside the first.
    pub hedge: Option<HedgePolicy>,
    /// Whether `Authorization`, `Cookie` and API keys reach the service.
    pub forward_credentials: bool,
    /// Headers that never reach the service as a client sent them.
    pub removed: NameSet,
    /// What signs requests to the service, where they are signed.
    pub signer: Option<Arc<IdentitySigner>>,
    /// The query parameter with an API key, which neither policies see nor, without
    /// `forward_credentials`, the service; none where it is a parameter like others.
    pub key_parameter: Option<Arc<str>>,
    /// Its meters.
    pub meters: RouteMeters,
}

/// What routes are compiled against.
pub(super) struct Shared<'a> {
    pub(super) config: &'a Config,
    pub(super) parts: &'a Parts<'a>,
    pub(super) providers: &'a Providers,
    pub(super) limits: &'a BTreeMap<&'a str, Arc<LimitRule>>,
}

impl Route {
    /// Compiles the route at `index` of the document; nothing where a problem leaves nothing.
    pub(super) fn compile(
        index: usize,
        model: &model::Route,
        shared: &Shared<'_>,
        problems: &mut Problems,
    ) -> Option<Self> {
        let path = format!("routes[{index}]");
        check_name(&model.name, &path, problems);
        let policies = merge::policies(&model.policies, &shared.config.policies);
        let request = merge::request_policy(&model.request_policy, &shared.config.request_policy);
        let place = format!("{path}.policies");
        let auth = AuthPolicy::compile(&policies, shared.providers, &place, problems);
        if model.policies.authorization.is_some() {
            auth.check_methods(&model.r#match.methods, &place, problems);
        }
        let cache = policies.cache.as_ref().map(|cache| {
            let place = format!("{place}.cache");
            let key_header = shared.providers.api_key_header();
            let required = auth.is_required();
            let tags = tags(cache, &model.r#match, required, &place, problems);
            CachePolicy::compile(cache, &model.name, required, key_header, &place, problems)
                .map(|policy| policy.with_tags(tags))
        });
        let limits = limits(&policies, shared, &place, problems);
        if model.policies.rate_limit_cost.is_some() {
            check_cost_counts(&policies, &limits, &place, problems);
        }
        let timeout = timeout(&policies, &place, problems);
        let deadline = DeadlinePolicy::compile(&policies, &place, problems);
        let retry = RetryPolicy::compile(&policies, &deadline, timeout, &place, problems);
        let shape = RequestShape::compile(&request, &format!("{path}.requestPolicy"), problems);
        let action =
            Action::compile(model, &policies, shared.config, shared.parts, &path, problems)?;
        let compression = compression(model, &policies, &action, &place, problems);
        let name: Arc<str> = model.name.as_str().into();
        let service = match &action {
            Action::Forward(forward) => Arc::clone(&forward.upstream.service),
            Action::Local(_) => Arc::from("_none"),
        };
        let meters = RouteMeters::new(shared.parts.metrics, &name, &service);
        let forward_credentials = policies.forward_credentials.unwrap_or(!auth.is_required());
        Some(Self {
            index: RouteIndex(u32::try_from(index).ok()?),
            removed: removed(shared.providers, forward_credentials),
            signer: shared.providers.signer().cloned(),
            key_parameter: shared
                .providers
                .api_key_parameter()
                .filter(|_| auth.accepts_api_keys() || !forward_credentials)
                .cloned(),
            meters,
            name,
            shape,
            forward_credentials,
            auth,
            limits,
            // What is answered here is made anew for nothing.
            cache: cache.flatten().filter(|_| matches!(action, Action::Forward(_))),
            compression,
            action,
            timeout,
            deadline,
            retry,
            hedge: HedgePolicy::compile(&policies, &place, problems),
        })
    }
}

impl Route {
    /// How requests are sent on, where they are.
    #[must_use]
    pub const fn forward(&self) -> Option<&Forward> {
        match &self.action {
            Action::Forward(forward) => Some(forward),
            Action::Local(_) => None,
        }
    }

    /// What the route answers by itself, where it does.
    #[must_use]
    pub const fn local(&self) -> Option<&Local> {
        match &self.action {
            Action::Forward(_) => None,
            Action::Local(local) => Some(local),
        }
    }

    /// The service, where requests are sent to one.
    #[must_use]
    pub fn upstream(&self) -> Option<&Upstream> {
        self.forward().map(|forward| &forward.upstream)
    }
}

/// What is compressed: nothing that flows (`stream`), nor what is answered here.
fn compression(
    model: &model::Route,
    policies: &Policies,
    action: &Action,
    path: &str,
    problems: &mut Problems,
) -> Option<CompressionPolicy> {
    let place = format!("{path}.compression");
    let compiled = CompressionPolicy::compile(policies.compression.as_ref()?, &place, problems)?;
    let Action::Forward(forward) = action else { return None };
    if forward.stream.is_some() && model.policies.compression.is_some() {
        let what =
            "`compression` has no effect: the route has `stream`, and what flows is not held";
        problems.push(Problem::warning("compression.stream", place, what));
    }
    forward.stream.is_none().then_some(compiled)
}

/// Headers that never reach a service as a client sent them: identity headers, forwarding headers,
/// which are not sent on or are written anew, a `tracestate` whose `traceparent` may be ours;
/// credentials too where they stay here, and signatures where the gateway signs.
fn removed(providers: &Providers, forward_credentials: bool) -> NameSet {
    let api_key = providers.api_key_header().clone();
    let credentials = [header::AUTHORIZATION, header::COOKIE, api_key];
    let credentials = credentials.into_iter().filter(|_| !forward_credentials);
    let signatures = SIGNATURE_HEADERS.into_iter().filter(|_| providers.signer().is_some());
    let own = REPLACED.map(HeaderName::from_static);
    let own = own.into_iter().chain([header::FORWARDED]);
    let identity = providers.stripped().iter().cloned();
    NameSet::new(identity.chain(own).chain(credentials).chain(signatures))
}

/// Headers that the gateway writes itself, or keeps to itself. They are set after the client's
/// are removed; removing them catches those that only a service takes for them (`x_request_id`).
const REPLACED: [&str; 6] = [
    "tracestate",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-real-ip",
    "x-request-id",
];

fn check_name(name: &str, path: &str, problems: &mut Problems) {
    let kebab = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if name.is_empty() || !name.chars().all(kebab) {
        let what = format!("`{name}` is not a route name");
        problems.push(
            Problem::error("route.name", format!("{path}.name"), what)
                .help("use lower-case letters, digits and `-`, as in `checkout-orders`"),
        );
    }
}

fn limits(
    policies: &Policies,
    shared: &Shared<'_>,
    path: &str,
    problems: &mut Problems,
) -> Box<[Applied]> {
    let written = &shared.config.rate_limits;
    let names = policies.rate_limit.as_ref().map_or(&[][..], |names| names.0.as_slice());
    let mut rules: Vec<Applied> = Vec::with_capacity(names.len());
    for name in names {
        let Some(rule) = shared.limits.get(name.as_str()) else {
            // One that is written and wrong has been reported where it stands.
            if !written.contains_key(name) {
                let known = || written.keys().map(String::as_str);
                let place = format!("{path}.rateLimit");
                let what = format!("there is no rate limit `{name}`");
                let help = Problems::did_you_mean(name, known()).unwrap_or_else(|| {
                    format!("known limits: {}", known().collect::<Vec<_>>().join(", "))
                });
                problems.push(Problem::error("reference.unknown", place, what).help(help));
            }
            continue;
        };
        if rules.iter().any(|other| Arc::ptr_eq(&other.rule, rule)) {
            let place = format!("{path}.rateLimit");
            let what = format!("the rate limit `{name}` is listed twice");
            problems.push(Problem::error("reference.duplicate", place, what));
        } else {
            let cost = rule.cost_on(policies.rate_limit_cost).unwrap_or_else(|(what, help)| {
                let place = format!("{path}.rateLimitCost");
                problems.push(Problem::error("limit.range", place, what).help(help));
                rule.cost
            });
            rules.push(Applied { rule: Arc::clone(rule), cost });
        }
    }
    rules.into()
}

/// A cost of the route's own must be one at a limit of it.
fn check_cost_counts(policies: &Policies, limits: &[Applied], path: &str, problems: &mut Problems) {
    let named = policies.rate_limit.as_ref().map_or(0, |names| names.0.len());
    let (what, help) = if named == 0 {
        ("a cost without a rate limit costs nothing", "name limits in `rateLimit`, or remove it")
    } else if named == limits.len() && limits.iter().all(|limit| !limit.rule.takes_costs()) {
        let help = "a request takes one place of `concurrency`, whatever it costs: remove it";
        ("no rate limit of this route counts costs", help)
    } else {
        return;
    };
    let place = format!("{path}.rateLimitCost");
    problems.push(Problem::error("limit.unused", place, what).help(help));
}

/// What answers are tagged with; the groups of the path's expression are theirs to use.
fn tags(
    cache: &model::Cache,
    matches: &model::Match,
    authenticated: bool,
    path: &str,
    problems: &mut Problems,
) -> TagTemplates {
    // What is wrong with the pattern is reported where routes are found.
    let pattern = PathPattern::compile(matches, path, &mut Problems::default());
    let expression = match &pattern {
        Some(PathPattern::Regex(expression)) => Some(expression),
        _ => None,
    };
    let place = format!("{path}.tags");
    TagTemplates::compile(&cache.tags, expression, authenticated, &place, problems)
}

fn timeout(policies: &Policies, path: &str, problems: &mut Problems) -> Duration {
    let ms = policies.timeout_ms.unwrap_or(DEFAULT_TIMEOUT_MS);
    if ms == 0 || ms > MAX_TIMEOUT_MS {
        let what = format!("a timeout of {ms} ms is not possible for a route");
        problems.push(
            Problem::error("timeout.range", format!("{path}.timeoutMs"), what)
                .help(format!("use 1 to {MAX_TIMEOUT_MS}")),
        );
    }
    Duration::from_millis(ms.clamp(1, MAX_TIMEOUT_MS))
}
