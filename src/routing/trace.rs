//! Why a route was chosen and each other one was not.

use std::sync::Arc;

use http::Method;

use super::method::{Asked, Fit};
use super::{Found, HostPattern, PathPattern, RouteIndex, RouteSpec, Table};
use crate::edge::RequestView;

/// How one route fared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Which route.
    pub index: RouteIndex,
    /// Its name.
    pub name: Arc<str>,
    /// What became of it.
    pub verdict: Verdict,
}

/// What became of a candidate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It takes the request.
    Chosen,
    /// It does not match: the first condition that failed, in words.
    Failed(String),
    /// It matches but is less specific than the chosen route: why, in words.
    Outranked(String),
}

impl Table {
    /// How every route fared, the chosen one first, then those that match, then the rest. For
    /// people who ask why: looks at every route and allocates.
    #[must_use]
    pub fn trace(&self, view: &RequestView<'_>) -> Vec<Candidate> {
        let chosen = match self.find(view) {
            Found::Route(index) => self.specs().iter().find(|spec| spec.index == index),
            Found::MethodNotAllowed(_) | Found::Nothing => None,
        };
        let mut candidates: Vec<Candidate> = self
            .specs()
            .iter()
            .map(|spec| Candidate {
                index: spec.index,
                name: spec.name.clone(),
                verdict: verdict(spec, chosen, view),
            })
            .collect();
        candidates.sort_by_key(|candidate| match candidate.verdict {
            Verdict::Chosen => 0,
            Verdict::Outranked(_) => 1,
            Verdict::Failed(_) => 2,
        });
        candidates
    }
}

fn verdict(spec: &RouteSpec, chosen: Option<&RouteSpec>, view: &RequestView<'_>) -> Verdict {
    match chosen {
        Some(chosen) if chosen.index == spec.index => Verdict::Chosen,
        _ => match (failure(spec, view), chosen) {
            (Some(why), _) => Verdict::Failed(why),
            (None, Some(chosen)) => Verdict::Outranked(advantage(chosen, spec, view.method)),
            (None, None) => Verdict::Outranked(
                "a more specific host or path takes this request, but not its method".to_owned(),
            ),
        },
    }
}

/// The first part of the match that fails, in words.
fn failure(spec: &RouteSpec, view: &RequestView<'_>) -> Option<String> {
    let (host, path) = (&view.host, &view.path);
    if !spec.host.takes(host) {
        return Some(match &spec.host {
            HostPattern::Wildcard(suffix) => format!("host `{host}` is not below `{suffix}`"),
            HostPattern::Exact(_) | HostPattern::Any => {
                format!("host `{host}` is not {}", spec.host)
            }
        });
    }
    if !spec.path.takes(path) {
        return Some(match &spec.path {
            PathPattern::Exact(exact) => format!("path `{path}` is not `{exact}`"),
            PathPattern::Prefix(prefix) => format!("path `{path}` is not below `{prefix}`"),
            PathPattern::Regex(_) => format!("path `{path}` does not match the {}", spec.path),
        });
    }
    if let Some(failed) = spec.conditions.iter().find(|condition| !condition.holds(view)) {
        return Some(format!("not met: {failed}"));
    }
    let methods = spec.method_set();
    (methods.fit(Asked::new(view.method)) == Fit::No)
        .then(|| format!("method {} is not one of {}", view.method, methods.names()))
}

/// Why one matching route goes before another, in words: the first step of the order in which
/// they differ.
fn advantage(chosen: &RouteSpec, other: &RouteSpec, method: &Method) -> String {
    let name = &chosen.name;
    let (mine, theirs) = (chosen.specificity(), other.specificity());
    if mine.host != theirs.host {
        return format!("`{name}` has the more specific host, {}", chosen.host);
    }
    if mine.path != theirs.path {
        return match &chosen.path {
            PathPattern::Exact(_) => format!("`{name}` has the exact path"),
            _ if mine.path.1 != theirs.path.1 => format!(
                "`{name}` has the longer literal path ({} before {} characters)",
                mine.path.1, theirs.path.1
            ),
            _ => format!("`{name}` has an expression, which goes before a prefix of its length"),
        };
    }
    let lists_head = |spec: &RouteSpec| spec.method_set().lists_head();
    if *method == Method::HEAD && lists_head(chosen) && !lists_head(other) {
        return format!("`{name}` lists HEAD");
    }
    let (mine, theirs) = (chosen.rank(), other.rank());
    if mine.lists_methods != theirs.lists_methods {
        return format!("`{name}` lists the method, this takes any");
    }
    if mine.conditions != theirs.conditions {
        return format!(
            "`{name}` has more conditions on headers and query ({} before {})",
            mine.conditions, theirs.conditions
        );
    }
    format!("`{name}` has the higher priority ({} before {})", mine.priority, theirs.priority)
}
