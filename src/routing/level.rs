//! One level of specificity: routes of the same host and path patterns.

use http::HeaderValue;
use regex::Regex;

use super::condition::Standing;
use super::method::{Asked, Fit, MethodSet};
use super::{Caller, Condition, PathPattern, RouteIndex, RouteSpec};
use crate::edge::RequestView;

/// A request on its way through the table.
#[derive(Clone, Copy)]
pub(super) struct Request<'a> {
    pub(super) view: &'a RequestView<'a>,
    pub(super) asked: Asked<'a>,
    pub(super) caller: &'a Caller,
}

/// The routes of a level, best rank first.
#[derive(Debug)]
pub(super) struct Level {
    entries: Box<[Entry]>,
    /// Whether some entry lists HEAD; where none does, HEAD is served as GET.
    lists_head: bool,
    /// `Allow` where all entries count.
    allow: HeaderValue,
    /// Whether entries count for some requests only.
    conditional: bool,
}

#[derive(Debug)]
struct Entry {
    route: RouteIndex,
    methods: MethodSet,
    conditions: Box<[Condition]>,
    regex: Option<Regex>,
    /// Conditions that the caller decides; looked at last, for they may have to be asked.
    of_caller: Box<[Condition]>,
}

/// What a level says to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// This route takes it.
    Take(RouteIndex),
    /// This route would take it, and refuses it for its tenant.
    RefuseTenant(RouteIndex),
    /// Whether this route takes it is for the caller to decide, who is not known yet.
    AskCaller(RouteIndex),
    /// The level takes it, but not its method.
    RefuseMethod,
    /// No condition of the level holds.
    Pass,
}

impl Level {
    /// A level of these routes, best rank first.
    pub(super) fn new<'a>(specs: impl Iterator<Item = &'a RouteSpec>) -> Self {
        let entries: Box<[Entry]> = specs.map(Entry::new).collect();
        let mut all = MethodSet::default();
        for entry in &entries {
            all.add(&entry.methods);
        }
        let allow = allow_value(&all);
        // The first clone of a value makes its bytes shared, which allocates; done here, it is
        // not done while serving.
        drop(allow.clone());
        Self {
            lists_head: entries.iter().any(|entry| entry.methods.lists_head()),
            conditional: entries.iter().any(Entry::is_conditional),
            allow,
            entries,
        }
    }

    /// What the level says. Expressions are evaluated late, and only where they matter; the
    /// caller is asked for last, and only where nothing else decides.
    pub(super) fn decide(&self, request: &Request<'_>) -> Decision {
        let mut held = false;
        let mut instead = None;
        let mut asks = None;
        for entry in &self.entries {
            let fit = entry.methods.fit(request.asked);
            let matters = match fit {
                Fit::Full => true,
                Fit::Instead => instead.is_none(),
                Fit::No => !held,
            };
            if !matters {
                continue;
            }
            let decision = match entry.judge(request) {
                Standing::Fails => continue,
                Standing::Holds => Decision::Take(entry.route),
                Standing::Refused => Decision::RefuseTenant(entry.route),
                Standing::Asks => Decision::AskCaller(entry.route),
            };
            match (fit, decision) {
                (Fit::Full, _) => return decision,
                (Fit::Instead, _) if !self.lists_head => return decision,
                (Fit::Instead, _) => instead = Some(decision),
                (Fit::No, Decision::AskCaller(_)) => asks = asks.or(Some(decision)),
                (Fit::No, _) => held = true,
            }
        }
        let refused = held.then_some(Decision::RefuseMethod);
        instead.or(refused).or(asks).unwrap_or(Decision::Pass)
    }

    /// The value of `Allow` for a request whose method the level refused: the methods that its
    /// routes list, HEAD only where it is listed. Allocates only where routes count for some
    /// requests.
    ///
    /// # Errors
    /// A route that counts or does not as its caller decides, who is not known yet.
    pub(super) fn allow(&self, request: &Request<'_>) -> Result<HeaderValue, RouteIndex> {
        if !self.conditional {
            return Ok(self.allow.clone());
        }
        let mut all = MethodSet::default();
        for entry in &self.entries {
            match entry.judge(request) {
                Standing::Fails => {}
                Standing::Holds | Standing::Refused => all.add(&entry.methods),
                Standing::Asks => return Err(entry.route),
            }
        }
        Ok(allow_value(&all))
    }
}

fn allow_value(methods: &MethodSet) -> HeaderValue {
    // Methods are tokens, which are valid in a header.
    HeaderValue::try_from(methods.names()).unwrap_or(HeaderValue::from_static(""))
}

impl Entry {
    fn new(spec: &RouteSpec) -> Self {
        let regex = match &spec.path {
            PathPattern::Regex(regex) => Some(regex.clone()),
            PathPattern::Exact(_) | PathPattern::Prefix(_) => None,
        };
        let conditions = spec.conditions.iter().cloned();
        let (of_caller, conditions): (Vec<_>, Vec<_>) =
            conditions.partition(|condition| condition.credentials().is_some());
        Self {
            route: spec.index,
            methods: spec.method_set(),
            conditions: conditions.into(),
            regex,
            of_caller: of_caller.into(),
        }
    }

    fn is_conditional(&self) -> bool {
        self.regex.is_some() || !self.conditions.is_empty() || !self.of_caller.is_empty()
    }

    fn judge(&self, request: &Request<'_>) -> Standing {
        let Request { view, caller, .. } = request;
        let holds = |condition: &Condition| condition.judge(view, caller) == Standing::Holds;
        if !self.conditions.iter().all(holds) {
            return Standing::Fails;
        }
        if let Some(regex) = &self.regex {
            #[cfg(test)]
            EVALUATIONS.with(|count| count.set(count.get() + 1));
            if !regex.is_match(&view.path) {
                return Standing::Fails;
            }
        }
        let mut standing = Standing::Holds;
        for condition in &self.of_caller {
            match condition.judge(view, caller) {
                Standing::Holds => {}
                Standing::Refused => standing = Standing::Refused,
                other => return other,
            }
        }
        standing
    }
}

#[cfg(test)]
thread_local! {
    /// Path expressions evaluated by this thread.
    pub(super) static EVALUATIONS: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}
