//! The upstream of a route, compiled: versions, their endpoints, the split between them.
//!
//! A version is a name in the configuration with endpoints of its own; nothing is derived from
//! how a host is spelled (T29).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::endpoint::Shared;
use super::findings::Findings;
use super::split::SplitPlan;
use super::{Bucket, Endpoint, HealthBoard, split_address};
use crate::edge::Facts;
use crate::model::{self, Config, Problem, Problems, Resolved};

/// The upstream of a route.
#[derive(Debug)]
pub struct Upstream {
    /// Name of the service.
    pub service: Arc<str>,
    /// Its versions; a service without versions has one, named `default`.
    pub versions: Box<[Version]>,
    /// How traffic is shared between them; without a split the first takes it all.
    pub(super) split: Option<SplitPlan>,
}

/// A version and its endpoints.
#[derive(Debug)]
pub struct Version {
    /// Its name.
    pub name: Arc<str>,
    /// Its endpoints.
    pub endpoints: Box<[Endpoint]>,
    /// Attempts so far, which the rotation counts on. A new snapshot starts at 0 again: only
    /// the order of the next picks changes, never anybody's share.
    turns: AtomicUsize,
}

impl Version {
    pub(super) fn new(name: &str, endpoints: Vec<Endpoint>) -> Self {
        Self { name: name.into(), endpoints: endpoints.into(), turns: AtomicUsize::new(0) }
    }

    /// The number of this turn; wraps around, which shifts the rotation once in 2^64 picks.
    pub(super) fn next_turn(&self) -> usize {
        self.turns.fetch_add(1, Ordering::Relaxed)
    }
}

impl Upstream {
    /// Compiles the upstream of a route; problems carry `path` (`routes[3].upstream`), those of
    /// the service itself its own place (`services.orders`). None when there was an error.
    ///
    /// A host without addresses is left out: whoever resolved it has reported it.
    pub fn compile(
        model: &model::Upstream,
        config: &Config,
        resolved: &Resolved,
        health: &HealthBoard,
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
        let shared = Shared { name, service, port: model.port, path, resolved, health };
        let place = format!("services.{name}");
        let outlines = outline(service, name, &place, &mut findings)?;
        let versions: Vec<Version> =
            outlines.iter().map(|outline| outline.compile(&shared, &mut findings)).collect();

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
        let split = SplitPlan::compile(model, &names, headers, path, &mut findings);
        (!findings.refused()).then(|| Self {
            service: name.into(),
            versions: versions.into(),
            split,
        })
    }

    /// Which version takes the request, and why. `entropy` serves splits keyed by `random`.
    #[must_use]
    pub fn version(&self, facts: &Facts<'_>, entropy: u64) -> Bucket {
        self.split.as_ref().map_or(Bucket { version: 0, bucket: None, part: None }, |split| {
            split.choose(facts, entropy)
        })
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
    place: String,
}

impl Outline<'_> {
    fn compile(&self, shared: &Shared<'_>, findings: &mut Findings<'_>) -> Version {
        let mut compiled = Vec::with_capacity(self.endpoints.len());
        for (index, endpoint) in self.endpoints.iter().enumerate() {
            let place = format!("{}[{index}]", self.place);
            compiled.extend(shared.endpoints(endpoint, &place, findings));
        }
        if compiled.is_empty() {
            self.report_empty(shared, findings);
        }
        Version::new(self.name, compiled)
    }

    /// A version that ends up without endpoints is an error of its own only where nobody has
    /// said why.
    fn report_empty(&self, shared: &Shared<'_>, findings: &mut Findings<'_>) {
        let told = findings.refused()
            || self.endpoints.iter().enumerate().any(|(index, endpoint)| {
                let host = split_address(&endpoint.address).map_or("", |(host, _)| host);
                findings.mentions(&format!("{}[{index}]", self.place), host)
            });
        if !told {
            findings.error(Problem::error(
                "endpoint.unresolved",
                self.place.as_str(),
                format!("no endpoint of service `{}` has an address", shared.name),
            ));
        }
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
    match (service.endpoints.as_slice(), service.versions.as_slice()) {
        ([], []) => findings.error(
            layout(format!("service `{name}` has neither endpoints nor versions"))
                .help("give it `endpoints`, or `versions` that have them"),
        ),
        (endpoints @ [_, ..], []) => {
            let place = format!("{place}.endpoints");
            return Some(vec![Outline { name: DEFAULT_VERSION, endpoints, place }]);
        }
        ([], versions) => return Some(outline_versions(versions, place, findings)),
        (_, _) => findings.error(
            layout(format!("service `{name}` has both endpoints and versions"))
                .help("move the endpoints into a version, or leave the versions out"),
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
        if version.endpoints.is_empty() {
            findings.error(Problem::error(
                "service.version",
                format!("{place}.endpoints"),
                format!("version `{}` has no endpoints", version.name),
            ));
        }
        outlines.push(Outline {
            name: &version.name,
            endpoints: &version.endpoints,
            place: format!("{place}.endpoints"),
        });
    }
    outlines
}

/// The name of the only version of a service without versions.
const DEFAULT_VERSION: &str = "default";

#[cfg(test)]
mod tests;
