//! Routes that nothing tells apart, and routes that never take a request.
//!
//! Both are looked for within one level: routes of different levels always have an order.

use std::collections::{BTreeMap, HashMap};

use http::Method;

use super::expression::{self, Shape};
use super::method::MethodSet;
use super::{Condition, PathPattern, RouteSpec};
use crate::model::{Problem, Problems};

/// Most pairs reported: whoever has more has copied a block and needs to see one of them.
const PAIRS_MAX: usize = 200;

/// What has been found so far.
#[derive(Debug, Default)]
pub(super) struct Overlaps<'a> {
    tied: Vec<(&'a RouteSpec, &'a RouteSpec, Method)>,
    shadowed: Vec<(&'a RouteSpec, &'a RouteSpec)>,
}

/// A route with what comparing it needs.
struct Member<'a> {
    spec: &'a RouteSpec,
    methods: MethodSet,
    shape: Option<(&'a str, Shape)>,
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

    /// Searches routes of equal rank. Routes that demand different values of one field never
    /// meet, so they are sorted by the field that most of them demand a value of; ten thousand
    /// tenants told apart by a header are then not compared with each other.
    fn search_equals(&mut self, equals: &[&'a RouteSpec]) {
        if equals.len() < 2 {
            return;
        }
        let field = most_demanded(equals);
        let mut by_value: BTreeMap<&str, Vec<Member<'a>>> = BTreeMap::new();
        let mut others = Vec::new();
        for &spec in equals {
            let demands = || spec.conditions.iter().filter_map(Condition::demanded);
            match demands().find(|(demanded, _)| Some(*demanded) == field) {
                Some((_, value)) => by_value.entry(value).or_default().push(Member::new(spec)),
                None => others.push(Member::new(spec)),
            }
        }
        self.search_within(&others);
        for members in by_value.values() {
            self.search_within(members);
            for member in members {
                self.compare_all(member, &others);
            }
        }
    }

    fn search_within(&mut self, members: &[Member<'a>]) {
        let mut rest = members;
        while let Some((one, others)) = rest.split_first() {
            rest = others;
            self.compare_all(one, others);
        }
    }

    fn compare_all(&mut self, one: &Member<'a>, others: &[Member<'a>]) {
        for other in others {
            if self.tied.len() >= PAIRS_MAX {
                return;
            }
            self.compare(one, other);
        }
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
        type Key<'a> = (bool, Vec<String>, Option<&'a str>);
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
            let key = (spec.methods.is_empty(), conditions, source);
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

impl<'a> Member<'a> {
    fn new(spec: &'a RouteSpec) -> Self {
        let shape = match &spec.path {
            PathPattern::Regex(regex) => Some((expression::source(regex), Shape::of(regex))),
            PathPattern::Exact(_) | PathPattern::Prefix(_) => None,
        };
        Self { spec, methods: spec.method_set(), shape }
    }

    /// Whether it is certain that no request meets both.
    fn is_apart(&self, other: &Self) -> bool {
        let paths_apart = match (&self.shape, &other.shape) {
            (Some((mine, shape)), Some((theirs, other))) => mine != theirs && shape.apart(other),
            _ => false,
        };
        let mut conditions = self.spec.conditions.iter();
        paths_apart || conditions.any(|mine| other.spec.conditions.iter().any(|c| mine.excludes(c)))
    }
}

fn most_demanded<'a>(specs: &[&'a RouteSpec]) -> Option<&'a super::condition::Field> {
    let mut counts = HashMap::new();
    for spec in specs {
        for (field, _) in spec.conditions.iter().filter_map(Condition::demanded) {
            *counts.entry(field).or_insert(0_usize) += 1;
        }
    }
    counts.into_iter().max_by_key(|(_, count)| *count).map(|(field, _)| field)
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
