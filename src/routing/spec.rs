//! One route as the table sees it, and its rank among others.

use std::sync::Arc;

use http::Method;

use super::caller::CredentialSet;
use super::context::Context;
use super::method::MethodSet;
use super::{Condition, HostPattern, PathPattern};
use crate::model::{Match, Problem, Problems, Route};

/// Index of a route in the snapshot and in the document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RouteIndex(pub u32);

/// One route as the table sees it.
#[derive(Clone, Debug)]
pub struct RouteSpec {
    /// Which route.
    pub index: RouteIndex,
    /// Its name, for explanations.
    pub name: Arc<str>,
    /// Its hosts.
    pub host: HostPattern,
    /// Its paths.
    pub path: PathPattern,
    /// Its methods; empty for any.
    pub methods: Vec<Method>,
    /// Its conditions, those on the request before those on the caller.
    pub conditions: Vec<Condition>,
    /// Which credentials it accepts; none where it is open.
    pub credentials: Option<CredentialSet>,
    /// Decides last.
    pub priority: i32,
}

impl RouteSpec {
    /// Compiles the match of a route, reporting everything that is wrong with it.
    pub(super) fn compile<'a>(
        index: RouteIndex,
        route: &'a Route,
        context: &mut Context<'a>,
        problems: &mut Problems,
    ) -> Option<Self> {
        let place = format!("routes[{}].match", index.0);
        let model = &route.r#match;
        let host = HostPattern::compile(model, &place, problems);
        let path = PathPattern::compile(model, &place, problems);
        let methods = compile_methods(model, &place, problems);
        let credentials = context.credentials(route);
        let conditions = context.conditions(route, credentials, &place, problems);
        let spec = Self {
            index,
            name: route.name.as_str().into(),
            host: host?,
            path: path?,
            methods: methods?,
            conditions: conditions?,
            credentials,
            priority: route.priority,
        };
        spec.warn_if_contradictory(&place, problems);
        Some(spec)
    }

    fn warn_if_contradictory(&self, place: &str, problems: &mut Problems) {
        let mut rest = self.conditions.as_slice();
        while let Some((one, others)) = rest.split_first() {
            rest = others;
            if let Some(other) = others.iter().find(|other| one.excludes(other)) {
                let message = format!("no request can meet both: {one}, {other}");
                problems.push(Problem::warning("route.never", place, message));
            }
        }
    }

    /// The credentials that decide it, where its caller does.
    pub(super) fn asks(&self) -> Option<CredentialSet> {
        self.conditions.iter().find_map(Condition::credentials)
    }

    pub(super) fn method_set(&self) -> MethodSet {
        MethodSet::new(&self.methods)
    }

    /// Where the route stands within its level.
    pub(super) fn rank(&self) -> Rank {
        Rank {
            lists_methods: !self.methods.is_empty(),
            conditions: self.conditions.len(),
            priority: self.priority,
        }
    }

    /// How specific its level is; the greatest level goes first.
    pub(super) fn specificity(&self) -> Specificity {
        let host = match &self.host {
            HostPattern::Any => (0, 0),
            HostPattern::Wildcard(suffix) => (1, suffix.len()),
            HostPattern::Exact(_) => (2, 0),
        };
        let literal_bytes = self.path.literal().len();
        let path = match &self.path {
            PathPattern::Prefix(_) => (0, literal_bytes, 0),
            PathPattern::Regex(_) => (0, literal_bytes, 1),
            PathPattern::Exact(_) => (1, 0, 0),
        };
        Specificity { host, path }
    }
}

/// Rank of a route among those of its level; the greatest goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    /// Listed methods go before any.
    pub lists_methods: bool,
    /// Number of conditions.
    pub conditions: usize,
    /// What the configuration says.
    pub priority: i32,
}

/// How specific host and path of a route are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Specificity {
    /// Kind of pattern, then length of the suffix.
    pub host: (u8, usize),
    /// Exact or not, then length of the literal beginning, then expression or prefix.
    pub path: (u8, usize, u8),
}

fn compile_methods(model: &Match, place: &str, problems: &mut Problems) -> Option<Vec<Method>> {
    let mut methods = Vec::with_capacity(model.methods.len());
    for (at, method) in model.methods.iter().enumerate() {
        let name = &method.0;
        let in_capitals = !name.bytes().any(|byte| byte.is_ascii_lowercase());
        match Method::from_bytes(name.as_bytes()) {
            Ok(method) if in_capitals => methods.push(method),
            _ => {
                let place = format!("{place}.methods[{at}]");
                let message = format!("`{name}` is not a method in capitals");
                let problem = Problem::error("route.method_invalid", place, message);
                let capitals = name.trim().to_ascii_uppercase();
                let known = Method::from_bytes(capitals.as_bytes());
                problems.push(match known {
                    Ok(known) => problem.help(format!("write `{known}`")),
                    Err(_) => problem.help("write one such as `GET` or `POST`"),
                });
            }
        }
    }
    (methods.len() == model.methods.len()).then_some(methods)
}
