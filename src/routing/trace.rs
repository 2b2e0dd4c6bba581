//! Why a route was chosen and each other one was not.

use std::sync::Arc;

use http::Method;

use super::condition::Standing;
use super::method::{Asked, Fit};
use super::{Caller, Condition, Found, HostPattern, PathPattern, RouteIndex, RouteSpec, Table};
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
    /// people who ask why: looks at every route and allocates. Where a route's caller is not
    /// known, nobody had to ask for it: another route decides.
    #[must_use]
    pub fn trace(&self, view: &RequestView<'_>, caller: &Caller) -> Vec<Candidate> {
        let found = self.find(view, caller);
        let mut candidates: Vec<Candidate> = self
            .specs()
            .iter()
            .map(|spec| Candidate {
                index: spec.index,
                name: spec.name.clone(),
                verdict: self.verdict(spec, &found, view, caller),
            })
            .collect();
        candidates.sort_by_key(|candidate| match candidate.verdict {
            Verdict::Chosen => 0,
            Verdict::Outranked(_) => 1,
            Verdict::Failed(_) => 2,
        });
        candidates
    }

    fn verdict(
        &self,
        spec: &RouteSpec,
        found: &Found,
        view: &RequestView<'_>,
        caller: &Caller,
    ) -> Verdict {
        if *found == Found::Route(spec.index) {
            return Verdict::Chosen;
        }
        if let Some(why) = failure(spec, view, caller) {
            return Verdict::Failed(why);
        }
        Verdict::Outranked(match found {
            Found::Route(index) => self
                .spec(*index)
                .map_or_else(String::new, |chosen| advantage(chosen, spec, view.method)),
            Found::TenantRefused(index) if *index == spec.index => {
                "it takes this request, but the caller is of another tenant than the host"
                    .to_owned()
            }
            Found::AskCaller(_) => "the caller decides".to_owned(),
            Found::TenantRefused(_) => {
                "a more specific route takes this request, but not its tenant".to_owned()
            }
            Found::MethodNotAllowed(_) | Found::Nothing => {
                "a more specific host or path takes this request, but not its method".to_owned()
            }
        })
    }
}

/// The first part of the match that fails, in words.
fn failure(spec: &RouteSpec, view: &RequestView<'_>, caller: &Caller) -> Option<String> {
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
    let fails = |condition: &&Condition| condition.judge(view, caller) == Standing::Fails;
    if let Some(failed) = spec.conditions.iter().find(fails) {
        let proof = failed.credentials().and_then(|set| caller.proof(set));
        let without = if matches!(proof, Some(None)) { " without a verified caller" } else { "" };
        return Some(format!("not met{without}: {failed}"));
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
            "`{name}` has more conditions ({} before {})",
            mine.conditions, theirs.conditions
        );
    }
    format!("`{name}` has the higher priority ({} before {})", mine.priority, theirs.priority)
}
