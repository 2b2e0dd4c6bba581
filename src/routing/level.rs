//! One level of specificity: routes of the same host and path patterns.

use http::HeaderValue;
use regex::Regex;

use super::method::{Asked, Fit, MethodSet};
use super::{Condition, PathPattern, RouteIndex, RouteSpec};
use crate::edge::RequestView;

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
}

/// What a level says to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// This route takes it.
    Take(RouteIndex),
    /// The level takes it, but not its method.
    Refuse,
    /// No condition of the level holds.
    Pass,
}

impl Level {
    /// A level of these routes, best rank first.
    pub(super) fn new<'a>(specs: impl Iterator<Item = &'a RouteSpec>) -> Self {
        let entries: Box<[Entry]> = specs.map(Entry::new).collect();
        let allow = allow_value(entries.iter());
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

    /// What the level says. Expressions are evaluated last, and only where they matter.
    pub(super) fn decide(&self, view: &RequestView<'_>, asked: Asked<'_>) -> Decision {
        let mut held = false;
        let mut instead = None;
        for entry in &self.entries {
            let fit = entry.methods.fit(asked);
            let matters = match fit {
                Fit::Full => true,
                Fit::Instead => instead.is_none(),
                Fit::No => !held,
            };
            if !matters || !entry.holds(view) {
                continue;
            }
            held = true;
            match fit {
                Fit::Full => return Decision::Take(entry.route),
                Fit::Instead if !self.lists_head => return Decision::Take(entry.route),
                Fit::Instead => instead = Some(entry.route),
                Fit::No => {}
            }
        }
        match instead {
            Some(route) => Decision::Take(route),
            None if held => Decision::Refuse,
            None => Decision::Pass,
        }
    }

    /// The value of `Allow` for a request that the level refused: the methods that its routes
    /// list, HEAD only where it is listed. Allocates only where routes count for some requests.
    pub(super) fn allow(&self, view: &RequestView<'_>) -> HeaderValue {
        if !self.conditional {
            return self.allow.clone();
        }
        allow_value(self.entries.iter().filter(|entry| entry.holds(view)))
    }
}

fn allow_value<'a>(entries: impl Iterator<Item = &'a Entry>) -> HeaderValue {
    let mut all = MethodSet::default();
    for entry in entries {
        all.add(&entry.methods);
    }
    // Methods are tokens, which are valid in a header.
    HeaderValue::try_from(all.names()).unwrap_or(HeaderValue::from_static(""))
}

impl Entry {
    fn new(spec: &RouteSpec) -> Self {
        let regex = match &spec.path {
            PathPattern::Regex(regex) => Some(regex.clone()),
            PathPattern::Exact(_) | PathPattern::Prefix(_) => None,
        };
        Self {
            route: spec.index,
            methods: spec.method_set(),
            conditions: spec.conditions.as_slice().into(),
            regex,
        }
    }

    fn is_conditional(&self) -> bool {
        self.regex.is_some() || !self.conditions.is_empty()
    }

    fn holds(&self, view: &RequestView<'_>) -> bool {
        self.conditions.iter().all(|condition| condition.holds(view))
            && self.regex.as_ref().is_none_or(|regex| {
                #[cfg(test)]
                EVALUATIONS.with(|count| count.set(count.get() + 1));
                regex.is_match(&view.path)
            })
    }
}

#[cfg(test)]
thread_local! {
    /// Path expressions evaluated by this thread.
    pub(super) static EVALUATIONS: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}
