//! Pairs of routes that might meet, without looking at all pairs.
//!
//! Routes that demand different values of one field never meet. So they are sorted by the field
//! that most of them demand a value of, then within each value by the next, and only what no
//! field tells apart is compared. Ten thousand tenants of one path cost ten thousand steps, not
//! fifty million.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};

use super::condition::Field;
use super::expression::{self, Shape};
use super::method::MethodSet;
use super::{PathPattern, RouteSpec};

/// A route with what comparing it needs.
pub(super) struct Member<'a> {
    pub(super) spec: &'a RouteSpec,
    pub(super) methods: MethodSet,
    shape: Option<(&'a str, Shape)>,
    demands: Vec<(Key<'a>, Cow<'a, [u8]>)>,
}

/// Something that a route may demand one value of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Key<'a> {
    Field(Field<'a>),
    /// How many segments a path has.
    Segments,
    /// One of its segments.
    Segment(usize),
}

impl<'a> Member<'a> {
    pub(super) fn new(spec: &'a RouteSpec) -> Self {
        let shape = match &spec.path {
            PathPattern::Regex(regex) => Some((expression::source(regex), Shape::of(regex))),
            PathPattern::Exact(_) | PathPattern::Prefix(_) => None,
        };
        let of_conditions = spec.conditions.iter().filter_map(|condition| {
            let value = Cow::Borrowed(condition.demanded()?.as_bytes());
            Some((Key::Field(condition.field()), value))
        });
        let mut demands: Vec<_> = of_conditions.collect();
        if let Some((_, shape)) = &shape {
            let count = shape.segment_count();
            let count = count.map(|count| (Key::Segments, count.to_string().into_bytes().into()));
            demands.extend(count);
            let fixed = shape.fixed_segments();
            demands.extend(fixed.map(|(at, text)| (Key::Segment(at), text.to_vec().into())));
        }
        Self { spec, methods: spec.method_set(), shape, demands }
    }

    /// Whether it is certain that no request meets both.
    pub(super) fn is_apart(&self, other: &Self) -> bool {
        let paths_apart = match (&self.shape, &other.shape) {
            (Some((mine, shape)), Some((theirs, other))) => mine != theirs && shape.apart(other),
            _ => false,
        };
        let mut conditions = self.spec.conditions.iter();
        paths_apart || conditions.any(|mine| other.spec.conditions.iter().any(|c| mine.excludes(c)))
    }

    fn demanded(&self, key: Key<'a>) -> Option<&[u8]> {
        self.demands.iter().find(|(known, _)| *known == key).map(|(_, value)| &**value)
    }
}

/// Calls `visit` with every pair that no single value tells apart, until it returns false.
pub(super) fn each_pair<'a>(
    members: &[Member<'a>],
    visit: &mut impl FnMut(&Member<'a>, &Member<'a>) -> bool,
) {
    let mut join = Join { visit, used: Vec::new(), goes_on: true };
    join.within(&members.iter().collect::<Vec<_>>());
}

/// So few routes are compared with each other as they are.
const FEW: usize = 8;

struct Join<'v, 'a, V> {
    visit: &'v mut V,
    /// What the members at hand are sorted by already.
    used: Vec<Key<'a>>,
    goes_on: bool,
}

impl<'a, V: FnMut(&Member<'a>, &Member<'a>) -> bool> Join<'_, 'a, V> {
    fn pair(&mut self, one: &Member<'a>, other: &Member<'a>) {
        #[cfg(test)]
        COMPARISONS.with(|count| count.set(count.get() + 1));
        self.goes_on = self.goes_on && (self.visit)(one, other);
    }

    /// All pairs of these.
    fn within(&mut self, members: &[&Member<'a>]) {
        let key = if members.len() > FEW { self.best_key(members, None) } else { None };
        let Some(key) = key else {
            let mut rest = members;
            while let Some((one, others)) = rest.split_first().filter(|_| self.goes_on) {
                rest = others;
                for other in others {
                    self.pair(one, other);
                }
            }
            return;
        };
        let (groups, others) = split(members, key);
        self.used.push(key);
        for group in groups.values().filter(|group| group.len() > 1) {
            self.within(group);
        }
        self.within(&others);
        if !others.is_empty() {
            self.between(&groups.into_values().flatten().collect::<Vec<_>>(), &others);
        }
        self.used.pop();
    }

    /// All pairs of one member on the left and one on the right.
    fn between(&mut self, left: &[&Member<'a>], right: &[&Member<'a>]) {
        let few = left.len().min(right.len()) <= 1 || left.len() * right.len() <= FEW * FEW;
        let key = if few { None } else { self.best_key(left, Some(right)) };
        let Some(key) = key else {
            for one in left {
                for other in right {
                    if !self.goes_on {
                        return;
                    }
                    self.pair(one, other);
                }
            }
            return;
        };
        let (groups, others) = split(left, key);
        let (right_groups, right_others) = split(right, key);
        self.used.push(key);
        for (value, group) in &groups {
            if let Some(same) = right_groups.get(value) {
                self.between(group, same);
            }
        }
        if !right_others.is_empty() {
            self.between(&groups.into_values().flatten().collect::<Vec<_>>(), &right_others);
        }
        if !others.is_empty() {
            self.between(&others, right);
        }
        self.used.pop();
    }

    /// What most members demand a value of; where there are two sides, of both.
    fn best_key(&self, left: &[&Member<'a>], right: Option<&[&Member<'a>]>) -> Option<Key<'a>> {
        let mine = self.count(left);
        let theirs = right.map(|right| self.count(right));
        let counts = mine.into_iter().filter_map(|(key, (count, seen))| {
            let count = match &theirs {
                Some(theirs) => count.min(theirs.get(&key)?.0),
                None => count,
            };
            Some((count, Reverse(seen), key))
        });
        let best = counts.max_by_key(|(count, seen, _)| (*count, *seen));
        best.filter(|(count, ..)| *count > 1 || theirs.is_some()).map(|(.., key)| key)
    }

    /// How many members demand a value of each key, and which key was seen first.
    fn count(&self, members: &[&Member<'a>]) -> HashMap<Key<'a>, (usize, usize)> {
        let mut counts = HashMap::new();
        for (key, _) in members.iter().flat_map(|member| &member.demands) {
            if !self.used.contains(key) {
                let seen = counts.len();
                counts.entry(*key).or_insert((0, seen)).0 += 1;
            }
        }
        counts
    }
}

type Groups<'m, 'a> = BTreeMap<&'m [u8], Vec<&'m Member<'a>>>;

/// Members by the value that they demand of a key, and those that demand none.
fn split<'m, 'a>(
    members: &[&'m Member<'a>],
    key: Key<'a>,
) -> (Groups<'m, 'a>, Vec<&'m Member<'a>>) {
    let mut groups = Groups::new();
    let mut others = Vec::new();
    for member in members {
        match member.demanded(key) {
            Some(value) => groups.entry(value).or_default().push(member),
            None => others.push(*member),
        }
    }
    (groups, others)
}

#[cfg(test)]
thread_local! {
    /// Pairs of routes compared by this thread.
    pub(super) static COMPARISONS: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}
