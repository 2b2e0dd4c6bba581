//! The upstream of a route, compiled: versions, their endpoints, the split between them.
//!
//! A version is a name in the configuration with endpoints of its own; nothing is derived from
//! how a host is spelled (T29).

use std::sync::Arc;

use super::discovery::{Listed, Source};
use super::endpoint::Shared;
use super::findings::Findings;
use super::peer::PeerTemplate;
use super::selection::HashKey;
use super::settings;
use super::split::SplitPlan;
use super::{Bucket, Instance, Pool, Rollout, ServiceState, Upstreams};
use crate::edge::Facts;
use crate::model::{self, Balance, Config, Problem, Problems, Resolved};
use crate::telemetry::Metrics;

/// The upstream of a route.
#[derive(Debug)]
pub struct Upstream {
    /// Name of the service.
    pub service: Arc<str>,
    /// Its versions; a service without versions has one, named `default`.
    pub versions: Box<[Version]>,
    /// How traffic is shared between them; without a split the first takes it all.
    pub(super) split: Option<SplitPlan>,
    /// What keeps a caller on one endpoint, where something does.
    pub(super) hash_key: Option<HashKey>,
}

/// A version and its endpoints.
#[derive(Debug)]
pub struct Version {
    /// Its name.
    pub name: Arc<str>,
    /// Its endpoints.
    pub pool: Arc<Pool>,
    /// Where endpoints are looked up, as `dns:orders.internal`; empty where all are written down.
    pub sources: Box<[Arc<str>]>,
}

impl Upstream {
    /// Compiles the upstream of a route; problems carry `path` (`routes[3].upstream`), those of
    /// the service itself its own place (`services.orders`). None when there was an error.
    ///
    /// What is looked up may be unknown yet: it comes into the pools as it is found.
    pub fn compile(
        model: &model::Upstream,
        config: &Config,
        resolved: &Resolved,
        upstreams: &Upstreams,
        metrics: &Metrics,
        path: &str,
        problems: &mut Problems,
    ) -> Option<Self> {
        let mut findings = Findings::new(problems);
        let name = model.service.as_str();
        let Some(service) = config.services.get(name) else {
            unknown_service(name, config, path, &mut findings);
            return None;
        };
        if model.port == Some(0) {
            let place = format!("{path}.port");
            findings.error(Problem::error("endpoint.port", place, "0 is not a port"));
        }
        let shared = Shared { name, port: model.port, path, resolved };
        let place = format!("services.{name}");
        settings::judge(service, &place, &mut findings);
        let balancing = &service.load_balancing;
        let hash_key = (balancing.algorithm == Balance::ConsistentHash)
            .then(|| HashKey::compile(balancing, &format!("{place}.loadBalancing"), &mut findings));
        let outlines = outline(service, name, &place, &mut findings)?;
        let state = Arc::new(ServiceState::new(name, service, &upstreams.health));
        let versions: Vec<Version> = outlines
            .iter()
            .map(|outline| outline.compile(&shared, service, &state, upstreams, &mut findings))
            .collect();

        if service.versions.is_empty() && !model.splits.is_empty() {
            findings.error(
                Problem::error(
                    "split.versions",
                    format!("{path}.splits"),
                    format!("service `{name}` has no versions to split between"),
                )
                .help(format!("move the endpoints of `{name}` into `versions`")),
            );
            return None;
        }
        let names: Vec<&str> = outlines.iter().map(|outline| outline.name).collect();
        let headers = &config.identity_headers;
        let mut split = SplitPlan::compile(model, &names, headers, path, &mut findings);
        match &mut split {
            Some(split) => {
                split.roll_out(model, metrics, &upstreams.rollouts, path, &mut findings);
            }
            None if model.rollout.is_some() => findings.error(
                Problem::error("rollout", format!("{path}.rollout"), "there is nothing to raise")
                    .help("list the old version and the new one in `splits`"),
            ),
            None => {}
        }
        (!findings.refused()).then(|| Self {
            service: name.into(),
            versions: versions.into(),
            split,
            hash_key,
        })
    }

    /// The rollout that is under way, where there is one.
    #[must_use]
    pub fn rollout(&self) -> Option<&Arc<Rollout>> {
        self.split.as_ref()?.rollout.as_ref()
    }

    /// Notes how a request ended: its version, its status and the time it took.
    pub fn observe(&self, version: usize, status: u16, took: std::time::Duration) {
        if let Some(split) = &self.split {
            split.observe(version, status, took);
        }
    }

    /// Which version takes the request, and why. `entropy` serves splits keyed by `random`.
    #[must_use]
    pub fn version(&self, facts: &Facts<'_>, entropy: u64) -> Bucket {
        self.split.as_ref().map_or(Bucket { version: 0, bucket: None, part: None }, |split| {
            split.choose(facts, entropy)
        })
    }
}

impl Upstream {
    /// The hash of what keeps a request's caller on one endpoint; 0 where nothing does.
    #[must_use]
    pub fn hash(&self, facts: &Facts<'_>) -> u64 {
        self.hash_key.as_ref().map_or(0, |key| key.hash(facts))
    }
}

fn unknown_service(name: &str, config: &Config, path: &str, findings: &mut Findings<'_>) {
    let mut problem = Problem::error(
        "reference.unknown",
        format!("{path}.service"),
        format!("there is no service `{name}`"),
    );
    let known = || config.services.keys().map(String::as_str);
    problem.help = Problems::did_you_mean(name, known()).or_else(|| {
        let names: Vec<&str> = known().collect();
        Some(match names.as_slice() {
            [] => "declare it under `services`".to_owned(),
            names => format!("the services are {}", names.join(", ")),
        })
    });
    findings.error(problem);
}

/// A version before its endpoints are compiled.
struct Outline<'a> {
    name: &'a str,
    endpoints: &'a [model::Endpoint],
    discovery: Option<&'a model::Discovery>,
    place: String,
}

impl Outline<'_> {
    fn compile(
        &self,
        shared: &Shared<'_>,
        service: &model::Service,
        state: &Arc<ServiceState>,
        upstreams: &Upstreams,
        findings: &mut Findings<'_>,
    ) -> Version {
        let mut listed = Vec::with_capacity(self.endpoints.len());
        for (index, endpoint) in self.endpoints.iter().enumerate() {
            let place = format!("{}[{index}]", self.place);
            listed.extend(shared.listed(endpoint, &place, findings));
        }
        if let Some(discovery) = self.discovery {
            let places = (self.place.as_str(), shared.path);
            let compiled =
                Source::compile(discovery, shared.port, places, shared.resolved, findings);
            listed.extend(compiled.map(|(source, port)| Listed::LookedUp {
                source,
                port,
                weight: None,
            }));
        }
        settings::judge_weights(self.endpoints, &self.place, findings);
        let template = PeerTemplate::new(shared, service, &upstreams.credentials, findings);
        let fixed: Vec<Instance> = listed.iter().filter_map(Listed::fixed).cloned().collect();
        let pool = Arc::new(Pool::new(state, template, &fixed, &upstreams.health));
        let sources = upstreams.directory.subscribe(&pool, listed, &upstreams.health);
        Version { name: self.name.into(), pool, sources }
    }
}

/// The versions of a service as written, or what is wrong with how it is laid out.
fn outline<'a>(
    service: &'a model::Service,
    name: &str,
    place: &str,
    findings: &mut Findings<'_>,
) -> Option<Vec<Outline<'a>>> {
    let layout = |message: String| Problem::error("service.layout", place, message);
    let given = (&service.discovery, service.endpoints.as_slice(), service.versions.as_slice());
    let only = |endpoints, discovery, key: &str| {
        let place = format!("{place}.{key}");
        Some(vec![Outline { name: DEFAULT_VERSION, endpoints, discovery, place }])
    };
    match given {
        (Some(source), [], []) => return only(&[], Some(source), "discovery"),
        (None, endpoints @ [_, ..], []) => return only(endpoints, None, "endpoints"),
        (None, [], versions @ [_, ..]) => {
            return Some(outline_versions(versions, place, findings));
        }
        (None, [], []) => findings.error(
            layout(format!("service `{name}` has neither endpoints nor versions"))
                .help("give it `endpoints`, `discovery`, or `versions` that have them"),
        ),
        (None, _, _) => findings.error(
            layout(format!("service `{name}` has both endpoints and versions"))
                .help("move the endpoints into a version, or leave the versions out"),
        ),
        (Some(_), _, _) => findings.error(
            layout(format!("service `{name}` has endpoints or versions beside `discovery`"))
                .help("give it one of them; a version can have a `discovery` of its own"),
        ),
    }
    None
}

fn outline_versions<'a>(
    versions: &'a [model::Version],
    place: &str,
    findings: &mut Findings<'_>,
) -> Vec<Outline<'a>> {
    let mut outlines: Vec<Outline<'a>> = Vec::with_capacity(versions.len());
    for (index, version) in versions.iter().enumerate() {
        let place = format!("{place}.versions[{index}]");
        if version.name.is_empty() {
            findings.error(Problem::error(
                "service.version",
                format!("{place}.name"),
                "a version needs a name",
            ));
        }
        if outlines.iter().any(|earlier| earlier.name == version.name) {
            findings.error(Problem::error(
                "service.version",
                format!("{place}.name"),
                format!("an earlier version is named `{}` too", version.name),
            ));
        }
        let wrong = match (version.endpoints.as_slice(), &version.discovery) {
            ([], None) => Some("has no endpoints"),
            ([_, ..], Some(_)) => Some("has both endpoints and `discovery`"),
            _ => None,
        };
        if let Some(wrong) = wrong {
            findings.error(Problem::error(
                "service.version",
                format!("{place}.endpoints"),
                format!("version `{}` {wrong}", version.name),
            ));
        }
        let key = if version.discovery.is_some() { "discovery" } else { "endpoints" };
        outlines.push(Outline {
            name: &version.name,
            endpoints: &version.endpoints,
            discovery: version.discovery.as_ref(),
            place: format!("{place}.{key}"),
        });
    }
    outlines
}

/// The name of the only version of a service without versions.
const DEFAULT_VERSION: &str = "default";

#[cfg(test)]
mod tests;
