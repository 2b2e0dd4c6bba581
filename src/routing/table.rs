//! The compiled match table.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::BTreeMap;

use http::HeaderValue;

use super::context::Context;
use super::hash::NameMap;
use super::level::{Decision, Level, Request};
use super::method::Asked;
use super::overlap;
use super::trie::{Root, Tries};
use super::{Caller, CredentialSet, HostPattern, PathPattern, RouteIndex, RouteSpec};
use crate::edge::RequestView;
use crate::model::{Config, Problems, Resolved};

/// What the table says to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// This route takes it.
    Route(RouteIndex),
    /// Whether this route takes it is for the caller to decide: authenticate as this route
    /// does, note the outcome in the [`Caller`], and ask again.
    AskCaller(RouteIndex),
    /// This route takes it, and it must be refused: the caller is of one tenant, the host of
    /// another.
    TenantRefused(RouteIndex),
    /// Routes take the path, none the method; the value of `Allow`.
    MethodNotAllowed(HeaderValue),
    /// No route takes it.
    Nothing,
}

/// The compiled table.
///
/// Hosts are found in hash maps that clients cannot slow down (`NameMap`); paths in tries, one
/// for each host pattern, whose nodes lead to a stop.
#[derive(Debug, Default)]
pub struct Table {
    exact_hosts: NameMap<Root>,
    wildcards: Wildcards,
    any_host: Option<Root>,
    tries: Tries,
    stops: Vec<Stop>,
    specs: Vec<RouteSpec>,
}

/// A literal of a trie: the levels whose paths begin with it.
#[derive(Debug, Default)]
struct Stop {
    literal_bytes: usize,
    exact: Option<Level>,
    regex: Option<Level>,
    prefix: Option<Level>,
    /// The next shorter literal of the same trie that this one begins with.
    shorter: Option<u32>,
}

impl Table {
    /// Compiles every route of a configuration. Reports every invalid pattern and every pair of
    /// routes that nothing tells apart (with an example request that both take). The database
    /// of countries is taken from what the configuration's references were resolved to.
    pub fn compile(config: &Config, resolved: &Resolved, problems: &mut Problems) -> Self {
        let mut context = Context::new(config, resolved, problems);
        let routes = config.routes.iter().zip(0..);
        let specs = routes
            .filter_map(|(route, index)| {
                RouteSpec::compile(RouteIndex(index), route, &mut context, problems)
            })
            .collect();
        Self::new(specs, problems)
    }

    /// A table of compiled routes. Reports every pair that nothing tells apart.
    fn new(specs: Vec<RouteSpec>, problems: &mut Problems) -> Self {
        let mut drafts: BTreeMap<&HostPattern, BTreeMap<Cow<'_, str>, Draft<'_>>> = BTreeMap::new();
        for spec in &specs {
            let draft = drafts.entry(&spec.host).or_default();
            draft.entry(spec.path.literal()).or_default().add(spec);
        }
        let mut table = Self::default();
        let mut overlaps = overlap::Overlaps::default();
        for (host, literals) in drafts {
            let root = table.add_host(literals, &mut overlaps);
            match host {
                HostPattern::Exact(name) => {
                    table.exact_hosts.insert(name.clone(), root);
                }
                HostPattern::Wildcard(suffix) => table.wildcards.insert(suffix, root),
                HostPattern::Any => table.any_host = Some(root),
            }
        }
        overlaps.report(problems);
        table.specs = specs;
        table
    }

    fn add_host<'a>(
        &mut self,
        literals: BTreeMap<Cow<'a, str>, Draft<'a>>,
        overlaps: &mut overlap::Overlaps<'a>,
    ) -> Root {
        let mut keys: Vec<(Cow<'a, str>, u32)> = Vec::with_capacity(literals.len());
        // Literals come sorted, so those that the next begins with form a stack.
        let mut beginnings: Vec<(usize, u32)> = Vec::new();
        for (literal, draft) in literals {
            let begins_with = |at: usize| keys.get(at).is_some_and(|k| literal.starts_with(&*k.0));
            while beginnings.last().is_some_and(|(at, _)| !begins_with(*at)) {
                beginnings.pop();
            }
            let stop = u32::try_from(self.stops.len()).unwrap_or(u32::MAX);
            self.stops.push(Stop {
                literal_bytes: literal.len(),
                exact: level(draft.exact, overlaps),
                regex: level(draft.regex, overlaps),
                prefix: level(draft.prefix, overlaps),
                shorter: beginnings.last().map(|(_, stop)| *stop),
            });
            beginnings.push((keys.len(), stop));
            keys.push((literal, stop));
        }
        let keys: Vec<_> = keys.iter().map(|(key, stop)| (key.as_bytes(), *stop)).collect();
        self.tries.add(&keys)
    }

    /// Which route takes the request. Takes time by the length of host and path, not by the
    /// number of routes, and no lock. Allocates nothing, except for `Allow` where the routes
    /// have conditions, and where a condition does.
    ///
    /// The answer is the one that a fully known caller would get: who asks, learns and asks
    /// again comes to it whatever the order of the questions.
    #[must_use]
    pub fn find(&self, view: &RequestView<'_>, caller: &Caller) -> Found {
        let request = Request { view, asked: Asked::new(view.method), caller };
        self.roots(&view.host)
            .find_map(|root| self.find_below(root, &request))
            .unwrap_or(Found::Nothing)
    }

    /// The places of some of the routes: where one of them may take a request, whatever else it
    /// asks of it than host and path.
    #[must_use]
    pub fn places(&self, of: impl Fn(RouteIndex) -> bool) -> Places {
        let open = |spec: &RouteSpec| RouteSpec {
            methods: Vec::new(),
            conditions: Vec::new(),
            credentials: None,
            ..spec.clone()
        };
        let specs = self.specs.iter().filter(|spec| of(spec.index)).map(open).collect();
        // That nothing tells some of them apart any more does not matter: it is not asked which.
        Places(Self::new(specs, &mut Problems::default()))
    }

    /// Which credentials a route accepts; none where it is open or not in the table.
    #[must_use]
    pub fn credentials(&self, route: RouteIndex) -> Option<CredentialSet> {
        self.spec(route)?.credentials
    }

    /// A route of the table.
    pub(super) fn spec(&self, route: RouteIndex) -> Option<&RouteSpec> {
        // Compiled in the order of the document, so sorted.
        let at = self.specs.binary_search_by_key(&route, |spec| spec.index).ok()?;
        self.specs.get(at)
    }

    /// The tries of the patterns that take a host, most specific first.
    fn roots(&self, host: &str) -> impl Iterator<Item = Root> {
        let exact = self.exact_hosts.get(host).copied();
        exact.into_iter().chain(self.wildcards.roots(host)).chain(self.any_host)
    }

    fn find_below(&self, root: Root, request: &Request<'_>) -> Option<Found> {
        let path = request.view.path.as_bytes();
        let mut next = self.tries.longest(root, path);
        while let Some(stop) = next.and_then(|stop| self.stops.get(stop as usize)) {
            for level in stop.levels(path).into_iter().flatten() {
                return Some(match level.decide(request) {
                    Decision::Pass => continue,
                    Decision::Take(route) => Found::Route(route),
                    Decision::RefuseTenant(route) => Found::TenantRefused(route),
                    Decision::AskCaller(route) => Found::AskCaller(route),
                    Decision::RefuseMethod => {
                        level.allow(request).map_or_else(Found::AskCaller, Found::MethodNotAllowed)
                    }
                });
            }
            next = stop.shorter;
        }
        None
    }

    /// The routes of the table, in the order of the document.
    pub(super) fn specs(&self) -> &[RouteSpec] {
        &self.specs
    }
}

/// Where some routes may take requests.
#[derive(Debug)]
pub struct Places(Table);

impl Places {
    /// Whether a path of this request's host is one of them. Costs what [`Table::find`] does.
    #[must_use]
    pub fn hold(&self, view: &RequestView<'_>, path: &str) -> bool {
        let view = RequestView { path: path.into(), ..view.clone() };
        self.0.find(&view, &Caller::default()) != Found::Nothing
    }
}

impl Stop {
    /// The levels that may take a path that begins with the literal, most specific first.
    fn levels(&self, path: &[u8]) -> [Option<&Level>; 3] {
        let whole = path.len() == self.literal_bytes;
        // A prefix ends with a segment: at the end, before a slash, or behind one.
        let last = self.literal_bytes.checked_sub(1).and_then(|at| path.get(at));
        let at_segment =
            whole || path.get(self.literal_bytes) == Some(&b'/') || last == Some(&b'/');
        [
            self.exact.as_ref().filter(|_| whole),
            self.regex.as_ref(),
            self.prefix.as_ref().filter(|_| at_segment),
        ]
    }
}

/// Wildcard hosts by suffix.
#[derive(Debug, Default)]
struct Wildcards {
    suffixes: NameMap<Root>,
    /// Longest suffix: longer ones of a request are not worth hashing.
    bytes_max: usize,
}

impl Wildcards {
    fn insert(&mut self, suffix: &str, root: Root) {
        self.bytes_max = self.bytes_max.max(suffix.len());
        self.suffixes.insert(suffix.into(), root);
    }

    /// The tries of the suffixes of a host, longest first.
    fn roots(&self, host: &str) -> impl Iterator<Item = Root> {
        let host = if self.suffixes.is_empty() { "" } else { host };
        host.match_indices('.')
            .filter_map(|(dot, _)| host.get(dot + 1..))
            .filter(|suffix| suffix.len() <= self.bytes_max)
            .filter_map(|suffix| self.suffixes.get(suffix).copied())
    }
}

/// The routes of a literal, on their way into levels.
#[derive(Default)]
struct Draft<'a> {
    exact: Vec<&'a RouteSpec>,
    regex: Vec<&'a RouteSpec>,
    prefix: Vec<&'a RouteSpec>,
}

impl<'a> Draft<'a> {
    fn add(&mut self, spec: &'a RouteSpec) {
        match &spec.path {
            PathPattern::Exact(_) => self.exact.push(spec),
            PathPattern::Regex(_) => self.regex.push(spec),
            PathPattern::Prefix(_) => self.prefix.push(spec),
        }
    }
}

fn level<'a>(mut specs: Vec<&'a RouteSpec>, overlaps: &mut overlap::Overlaps<'a>) -> Option<Level> {
    if specs.is_empty() {
        return None;
    }
    // Equal ranks that can meet are errors; the name only keeps the order of others the same
    // whatever the order of the document.
    specs.sort_by(|a, b| (Reverse(a.rank()), &a.name).cmp(&(Reverse(b.rank()), &b.name)));
    overlaps.search(&specs);
    Some(Level::new(specs.into_iter()))
}
