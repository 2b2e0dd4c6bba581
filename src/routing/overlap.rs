//! Routes that nothing tells apart, and routes that never take a request.
//!
//! Both are looked for within one level: routes of different levels always have an order.

use std::collections::BTreeMap;

use http::Method;

use super::expression;
use super::join::{self, Member};
use super::method::MethodSet;
use super::{CredentialSet, PathPattern, RouteSpec};
use crate::model::{Problem, Problems};

/// Most pairs reported: whoever has more has copied a block and needs to see one of them.
const PAIRS_MAX: usize = 200;

/// What has been found so far.
#[derive(Debug, Default)]
pub(super) struct Overlaps<'a> {
    tied: Vec<(&'a RouteSpec, &'a RouteSpec, Method)>,
    shadowed: Vec<(&'a RouteSpec, &'a RouteSpec)>,
}

impl<'a> Overlaps<'a> {
    /// Searches a level, whose routes come best rank first.
    pub(super) fn search(&mut self, level: &[&'a RouteSpec]) {
        if level.len() < 2 {
            return;
        }
        for equals in level.chunk_by(|a, b| a.rank() == b.rank()) {
            self.search_equals(equals);
        }
        self.search_shadows(level);
    }

    /// Searches routes of equal rank.
    fn search_equals(&mut self, equals: &[&'a RouteSpec]) {
        if equals.len() < 2 {
            return;
        }
        let members: Vec<Member<'a>> = equals.iter().copied().map(Member::new).collect();
        join::each_pair(&members, &mut |one, other| {
            self.compare(one, other);
            self.tied.len() < PAIRS_MAX
        });
    }

    fn compare(&mut self, one: &Member<'a>, other: &Member<'a>) {
        let Some(method) = one.methods.common(&other.methods) else { return };
        if one.is_apart(other) {
            return;
        }
        let (first, second) = if one.spec.index <= other.spec.index {
            (one.spec, other.spec)
        } else {
            (other.spec, one.spec)
        };
        self.tied.push((first, second, method));
    }

    /// Searches routes of lower priority whose every request goes to an otherwise equal route.
    fn search_shadows(&mut self, level: &[&'a RouteSpec]) {
        type Key<'a> = (bool, Vec<String>, Option<CredentialSet>, Option<&'a str>);
        let mut seen: BTreeMap<Key<'a>, (&'a RouteSpec, MethodSet)> = BTreeMap::new();
        for &spec in level {
            let mut conditions: Vec<String> =
                spec.conditions.iter().map(ToString::to_string).collect();
            conditions.sort_unstable();
            let source = match &spec.path {
                PathPattern::Regex(regex) => Some(expression::source(regex)),
                PathPattern::Exact(_) | PathPattern::Prefix(_) => None,
            };
            let methods = spec.method_set();
            let key = (spec.methods.is_empty(), conditions, spec.asks(), source);
            let Some((first, taken)) = seen.get_mut(&key) else {
                seen.insert(key, (spec, methods));
                continue;
            };
            if taken.covers(&methods) && first.priority > spec.priority {
                self.shadowed.push((spec, first));
            }
            taken.add(&methods);
        }
    }

    /// Reports everything found, in the order of the document.
    pub(super) fn report(mut self, problems: &mut Problems) {
        self.tied.sort_by_key(|(first, second, _)| (second.index, first.index));
        self.shadowed.sort_by_key(|(spec, _)| spec.index);
        for (first, second, method) in &self.tied {
            let message = format!(
                "routes `{}` and `{}` both take {}, and nothing tells them apart",
                first.name,
                second.name,
                example(first, second, method)
            );
            problems.push(Problem::error("route.ambiguous", place(second), message).help(
                "narrow the match of one of them, or give the one that should win a higher \
                     `priority`",
            ));
        }
        for (spec, by) in self.shadowed {
            let message = format!(
                "route `{}` never takes a request: its match is that of `{}`, whose priority is \
                 higher",
                spec.name, by.name
            );
            problems.push(Problem::warning("route.shadowed", place(spec), message));
        }
    }
}

/// A request that both routes take, in words.
fn example(first: &RouteSpec, second: &RouteSpec, method: &Method) -> String {
    let host = first.host.example();
    let both = |path: &str| first.path.takes(path) && second.path.takes(path);
    let path =
        [first, second].into_iter().filter_map(|spec| spec.path.example()).find(|path| both(path));
    let target = match path {
        Some(path) => format!("`{method} {host}{path}`"),
        None => format!("`{method}` on `{host}` for a {} and {}", first.path, second.path),
    };
    let mut conditions: Vec<String> =
        first.conditions.iter().chain(&second.conditions).map(ToString::to_string).collect();
    conditions.sort_unstable();
    conditions.dedup();
    if conditions.is_empty() {
        return target;
    }
    format!("{target} where {}", conditions.join(" and "))
}

fn place(spec: &RouteSpec) -> String {
    format!("routes[{}].match", spec.index.0)
}

#[cfg(test)]
mod tests;
