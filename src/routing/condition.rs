//! Conditions on a request beyond host, path and method: headers, parameters, version, region,
//! and on its caller: claims, tenant.
//!
//! A field has one value here, so that two routes that demand different values of it can never
//! both take a request: several lines of a header are one list (RFC 9110 5.3), and of several
//! parameters of one name the first counts.

use std::fmt;
use std::sync::Arc;

use http::{HeaderName, HeaderValue};

use super::Caller;
use super::caller::CredentialSet;
use super::claim::Claim;
use super::demand::{Demand, INVALID};
use super::geo::{Geo, Place};
use super::tenant::{self, TenantHosts};
use crate::edge::{RequestView, decode, decodes_to, raw_parameters};
use crate::model::{FieldMatch, Problem, Problems};

/// A compiled condition.
#[derive(Clone, Debug)]
pub struct Condition(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Header { name: HeaderName, demand: Demand, trusted_only: bool },
    Parameter { name: Box<str>, demand: Demand },
    Version(Box<str>),
    Region { places: Box<[Place]>, geo: Option<Arc<Geo>> },
    Claim { set: CredentialSet, claim: Claim, demand: Demand },
    Tenant { set: Option<CredentialSet>, names: Box<[Arc<str>]>, hosts: Arc<TenantHosts> },
}

/// What a condition looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Field<'a> {
    Header(&'a HeaderName),
    Parameter(&'a str),
    Version,
    Region,
    /// A claim, as credentials of a set prove it: others may prove another value of it.
    Claim(CredentialSet, &'a Claim),
    Tenant(Option<CredentialSet>),
}

/// How a request stands with a condition, or with all conditions of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It meets them.
    Holds,
    /// It does not.
    Fails,
    /// It meets them, and must be refused for its tenant.
    Refused,
    /// Only its caller decides, and that is not known yet.
    Asks,
}

/// The header that asks for a version of an API.
const ACCEPT_VERSION: HeaderName = HeaderName::from_static("accept-version");

impl Condition {
    /// Compiles a condition on a header; problems carry `path`.
    pub fn header(model: &FieldMatch, path: &str, problems: &mut Problems) -> Option<Self> {
        let name = &model.name;
        let header = HeaderName::try_from(name.as_str()).ok();
        let problem = match header {
            None => Problem::error(INVALID, path, format!("`{name}` is not a header name")),
            Some(http::header::HOST) => {
                Problem::error(INVALID, path, "the host is not matched as a header")
                    .help("use `match.host`")
            }
            Some(name) => {
                let demand = Demand::compile(model, path, problems)?;
                let trusted_only = model.trusted_only;
                return Some(Self(Kind::Header { name, demand, trusted_only }));
            }
        };
        problems.push(problem);
        None
    }

    /// Compiles a condition on a query parameter; problems carry `path`.
    pub fn query(model: &FieldMatch, path: &str, problems: &mut Problems) -> Option<Self> {
        if model.name.is_empty() {
            problems.push(Problem::error(INVALID, path, "the parameter has no name"));
            return None;
        }
        let demand = Demand::compile(model, path, problems)?;
        Some(Self(Kind::Parameter { name: model.name.as_str().into(), demand }))
    }

    /// Compiles `match.acceptVersion`; problems carry `path`.
    pub fn version(text: &str, path: &str, problems: &mut Problems) -> Option<Self> {
        let number = version_number(text);
        let is_version = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
        if number.is_empty() || !number.bytes().all(is_version) {
            let message = format!("`{text}` is not a version");
            problems.push(Problem::error(INVALID, path, message).help("write one as in `v2`"));
            return None;
        }
        Some(Self(Kind::Version(number.into())))
    }

    /// A condition on where the client is; without a database it holds for nobody.
    pub(super) fn region(places: Vec<Place>, geo: Option<Arc<Geo>>) -> Self {
        Self(Kind::Region { places: places.into(), geo })
    }

    /// Compiles a condition on a claim of the caller that credentials of the set prove; problems
    /// carry `path`.
    pub(super) fn claim(
        model: &FieldMatch,
        set: CredentialSet,
        path: &str,
        problems: &mut Problems,
    ) -> Option<Self> {
        let Some(claim) = Claim::read(&model.name) else {
            problems.push(Problem::error(INVALID, path, "the claim has no name"));
            return None;
        };
        let demand = Demand::compile(model, path, problems)?;
        if claim.is_list() && matches!(demand, Demand::Exact(_) | Demand::Regex(_)) {
            let message = format!("`{claim}` is a list, which is never one value");
            problems.push(
                Problem::error(INVALID, path, message)
                    .help("demand one of its elements with `contains`"),
            );
            return None;
        }
        Some(Self(Kind::Claim { set, claim, demand }))
    }

    /// A condition on the tenant of the caller that credentials of the set prove, or of the
    /// host; without a set, of the host alone.
    pub(super) fn tenant(
        names: Vec<Arc<str>>,
        set: Option<CredentialSet>,
        hosts: Arc<TenantHosts>,
    ) -> Self {
        Self(Kind::Tenant { set, names: names.into(), hosts })
    }

    /// The credentials that decide it, where its caller does.
    pub(super) const fn credentials(&self) -> Option<CredentialSet> {
        match &self.0 {
            Kind::Claim { set, .. } => Some(*set),
            Kind::Tenant { set, .. } => *set,
            _ => None,
        }
    }

    /// How a request stands with it. Allocates only to decode a parameter that is searched, to
    /// join the lines of a header that is searched, and for claims that are numbers.
    pub(super) fn judge(&self, view: &RequestView<'_>, caller: &Caller) -> Standing {
        match &self.0 {
            Kind::Header { name, demand, trusted_only } => {
                Standing::of((!trusted_only || view.peer_trusted) && header(view, name, demand))
            }
            Kind::Parameter { name, demand } => Standing::of(parameter(view.query, name, demand)),
            Kind::Version(wanted) => Standing::of(version(view) == Some(wanted)),
            Kind::Region { places, geo } => Standing::of(geo.as_ref().is_some_and(|geo| {
                let there = caller.whereabouts(geo, view.client);
                places.iter().any(|place| place.holds(there))
            })),
            Kind::Claim { set, claim, demand } => match caller.proof(*set) {
                None => Standing::Asks,
                Some(None) => Standing::Fails,
                Some(Some(identity)) => Standing::of(claim.meets(demand, identity)),
            },
            Kind::Tenant { set, names, hosts } => {
                let proof = match set {
                    None => None,
                    Some(set) => match caller.proof(*set) {
                        None => return Standing::Asks,
                        Some(proof) => proof,
                    },
                };
                match hosts.judge(names, view, proof.map(|identity| &**identity)) {
                    tenant::Fit::Yes => Standing::Holds,
                    tenant::Fit::No => Standing::Fails,
                    tenant::Fit::Foreign => Standing::Refused,
                }
            }
        }
    }

    /// What it looks at.
    pub(super) fn field(&self) -> Field<'_> {
        match &self.0 {
            Kind::Header { name, .. } => Field::Header(name),
            Kind::Parameter { name, .. } => Field::Parameter(name),
            Kind::Version(_) => Field::Version,
            Kind::Region { .. } => Field::Region,
            Kind::Claim { set, claim, .. } => Field::Claim(*set, claim),
            Kind::Tenant { set, .. } => Field::Tenant(*set),
        }
    }

    /// The one value that it demands of its field, where it demands one.
    pub(super) fn demanded(&self) -> Option<&str> {
        match &self.0 {
            Kind::Header { demand: Demand::Exact(value), .. }
            | Kind::Parameter { demand: Demand::Exact(value), .. }
            | Kind::Claim { demand: Demand::Exact(value), .. }
            | Kind::Version(value) => Some(value),
            Kind::Region { places, .. } => match &**places {
                // Not a continent: whoever demands a country may be on it.
                [place @ Place::Country(_)] => Some(place.code()),
                _ => None,
            },
            Kind::Tenant { names, .. } => match &**names {
                [name] => Some(name),
                _ => None,
            },
            _ => None,
        }
    }

    /// Whether no request can meet both this and the other condition, as far as can be told.
    pub(super) fn excludes(&self, other: &Self) -> bool {
        if self.field() != other.field() {
            return false;
        }
        match (&self.0, &other.0) {
            (Kind::Header { demand: one, .. }, Kind::Header { demand: other, .. })
            | (Kind::Parameter { demand: one, .. }, Kind::Parameter { demand: other, .. })
            | (Kind::Claim { demand: one, .. }, Kind::Claim { demand: other, .. }) => {
                one.excludes(other)
            }
            (Kind::Version(one), Kind::Version(other)) => one != other,
            (Kind::Region { places: one, .. }, Kind::Region { places: other, .. }) => {
                one.iter().all(|one| other.iter().all(|other| one.is_apart(*other)))
            }
            (Kind::Tenant { names: one, .. }, Kind::Tenant { names: other, .. }) => {
                !one.iter().any(|name| other.contains(name))
            }
            _ => false,
        }
    }
}

impl Standing {
    const fn of(holds: bool) -> Self {
        if holds { Self::Holds } else { Self::Fails }
    }
}

/// `v2` and `2` are the same version.
fn version_number(text: &str) -> &str {
    text.strip_prefix(['v', 'V']).unwrap_or(text)
}

/// The version that a request asks for; one that is asked for twice is none.
fn version<'a>(view: &RequestView<'a>) -> Option<&'a str> {
    let mut lines = view.headers.get_all(ACCEPT_VERSION).iter();
    let line = lines.next().filter(|_| lines.next().is_none())?;
    Some(version_number(line.to_str().ok()?.trim()))
}

fn header(view: &RequestView<'_>, name: &HeaderName, demand: &Demand) -> bool {
    let mut lines = view.headers.get_all(name).iter();
    let Some(first) = lines.next() else { return !demand.wants_presence() };
    match (demand, lines.next()) {
        (Demand::Present(present), _) => *present,
        (Demand::Exact(wanted), None) => first.as_bytes() == wanted.as_bytes(),
        (_, None) => {
            std::str::from_utf8(first.as_bytes()).is_ok_and(|value| demand.is_met_by(value))
        }
        (_, Some(_)) => {
            joined(view.headers.get_all(name).iter()).is_some_and(|value| demand.is_met_by(&value))
        }
    }
}

fn parameter(query: Option<&str>, name: &str, demand: &Demand) -> bool {
    let mut parameters = query.into_iter().flat_map(raw_parameters);
    let value = parameters.find(|(raw, _)| decodes_to(raw, name)).map(|(_, value)| value);
    match (demand, value) {
        (_, None) => !demand.wants_presence(),
        (Demand::Present(present), Some(_)) => *present,
        (Demand::Exact(wanted), Some(value)) => decodes_to(value, wanted),
        (_, Some(value)) => demand.is_met_by(&decode(value)),
    }
}

/// The lines of a header as one list.
fn joined<'a>(lines: impl Iterator<Item = &'a HeaderValue>) -> Option<String> {
    let lines: Result<Vec<&str>, _> =
        lines.map(|line| std::str::from_utf8(line.as_bytes())).collect();
    Some(lines.ok()?.join(", "))
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Header { name, demand, trusted_only } => {
                let from = if *trusted_only { " from a trusted proxy" } else { "" };
                write!(f, "header `{name}`{from} {demand}")
            }
            Kind::Parameter { name, demand } => write!(f, "parameter `{name}` {demand}"),
            Kind::Version(version) => write!(f, "version is `{version}`"),
            Kind::Region { places, .. } => {
                let places: Vec<String> = places.iter().map(|p| format!("`{p}`")).collect();
                write!(f, "region is {}", places.join(" or "))
            }
            Kind::Claim { claim, demand, .. } => write!(f, "claim `{claim}` {demand}"),
            Kind::Tenant { names, .. } => {
                let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
                write!(f, "tenant is {}", names.join(" or "))
            }
        }
    }
}

#[cfg(test)]
mod tests;
