//! What a route asks callers to be allowed to do, compiled: scopes and roles, by method.
//!
//! Everything that a refusal says is made here, when the configuration is compiled; a caller who
//! has what is asked costs comparisons and nothing else.

use std::sync::Arc;

use http::Method;

use super::challenge::{insufficient, is_scope_token, scope_challenge};
use super::policy::holds;
use crate::edge::IdentityFacts;
use crate::fault::{Fault, Reject};
use crate::model::{self, Authorization, MethodAuthorization, Problem, Problems};

/// What every request of a route needs, and what those of some methods need besides.
#[derive(Debug, Default)]
pub(super) struct Demands {
    usual: Needs,
    /// The whole of it for methods that need more, `usual` included.
    methods: Box<[(Method, Needs)]>,
}

/// What a request needs.
#[derive(Debug, Default)]
pub(super) struct Needs(Box<[Need]>);

/// One thing that a caller must have, and the refusal of those who lack it.
#[derive(Debug)]
pub(super) struct Need {
    pub(super) kind: Kind,
    /// Any of these will do.
    pub(super) names: Box<[Box<str>]>,
    refusal: Reject,
}

/// What a name in [`Need`] is the name of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Scope,
    Role,
}

impl Kind {
    /// The word for it.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Scope => "scope",
            Self::Role => "role",
        }
    }
}

impl Demands {
    /// Compiles scopes, roles and `methods` of `authorization`; problems carry `path`
    /// (`routes[3].policies.authorization`).
    pub(super) fn compile(written: &Authorization, path: &str, problems: &mut Problems) -> Self {
        let usual = Asked::of_route(written);
        usual.check(path, problems);
        let mut methods = Vec::with_capacity(written.methods.len());
        for (name, more) in &written.methods {
            let path = format!("{path}.methods.{name}");
            let more = Asked::of_method(more);
            more.check(&path, problems);
            if more.is_empty() {
                let message = format!("`{name}` needs nothing besides");
                problems.push(Problem::warning("auth.methods_empty", &*path, message));
            }
            if let Some(method) = method(name, &path, problems) {
                methods.push((method, Needs::compile(&[&usual, &more])));
            }
        }
        Self { usual: Needs::compile(&[&usual]), methods: methods.into() }
    }

    /// What a request of a method needs. HEAD is judged as GET: it tells as much.
    pub(super) fn of(&self, method: &Method) -> &Needs {
        let method = if *method == Method::HEAD { &Method::GET } else { method };
        let own = self.methods.iter().find(|(known, _)| known == method);
        own.map_or(&self.usual, |(_, needs)| needs)
    }

    /// What every request needs.
    pub(super) const fn usual(&self) -> &Needs {
        &self.usual
    }

    /// The methods that need more, with all that they need.
    pub(super) fn methods(&self) -> impl Iterator<Item = (&Method, &Needs)> {
        self.methods.iter().map(|(method, needs)| (method, needs))
    }

    /// Adds a problem for every method of `methods` that a route never sees; `taken` are those
    /// that it takes, any where there are none. One of nobody's making is a mistake in writing.
    pub(super) fn check_taken(&self, taken: &[model::Method], path: &str, problems: &mut Problems) {
        let is_taken = |wanted: &str| taken.iter().any(|method| method.0 == wanted);
        for (method, _) in &self.methods {
            let (name, place) = (method.as_str(), format!("{path}.methods.{method}"));
            // HEAD is judged as GET.
            if is_taken(name) || (*method == Method::GET && is_taken("HEAD")) {
                continue;
            }
            if !USUAL_METHODS.contains(&name) {
                let message = format!("`{name}` is not a method that this route takes");
                let help = Problems::did_you_mean(name, USUAL_METHODS);
                let mut problem = Problem::error("auth.method", place, message);
                problem.help = help;
                problems.push(problem);
            } else if !taken.is_empty() {
                let message = format!("the route does not take {name}");
                problems.push(Problem::warning("auth.method_unused", place, message));
            }
        }
    }
}

impl Needs {
    fn compile(asked: &[&Asked<'_>]) -> Self {
        // A set of scopes that is enough: of alternatives, the first.
        let firsts = asked.iter().filter_map(|asked| asked.any_scope?.first());
        let all: Vec<&str> =
            asked.iter().flat_map(|asked| asked.scopes).chain(firsts).map(String::as_str).fold(
                Vec::new(),
                |mut all, scope| {
                    if !all.contains(&scope) {
                        all.push(scope);
                    }
                    all
                },
            );
        let challenge = scope_challenge(all);
        let need = |kind: Kind, names: &[String]| {
            let word = kind.as_str();
            let (fault, why) = match (kind, names) {
                (Kind::Scope, [one]) => {
                    (Fault::ScopeInsufficient, format!("missing required scope: {one}"))
                }
                (Kind::Role, [one]) => {
                    (Fault::RoleInsufficient, format!("missing required role: {one}"))
                }
                (kind, _) => (
                    match kind {
                        Kind::Scope => Fault::ScopeInsufficient,
                        Kind::Role => Fault::RoleInsufficient,
                    },
                    format!("missing any {word} of: {}", names.join(", ")),
                ),
            };
            let names = names.iter().map(|name| name.as_str().into()).collect();
            Need { kind, names, refusal: insufficient(fault, why, &challenge) }
        };
        let mut needs = Vec::new();
        for asked in asked {
            for (kind, names) in [(Kind::Scope, asked.scopes), (Kind::Role, asked.roles)] {
                needs.extend(names.iter().map(|name| need(kind, std::slice::from_ref(name))));
            }
            for (kind, names) in [(Kind::Scope, asked.any_scope), (Kind::Role, asked.any_role)] {
                needs.extend(names.map(|names| need(kind, names)));
            }
        }
        Self(needs.into())
    }

    /// Whether nothing is needed.
    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each thing that is needed.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Need> {
        self.0.iter()
    }

    /// The refusal for the first thing that a caller lacks, if any.
    pub(super) fn refusal(&self, caller: &IdentityFacts) -> Option<&Reject> {
        let lacking = self.0.iter().find(|need| {
            let has = match need.kind {
                Kind::Scope => &caller.scopes,
                Kind::Role => &caller.roles,
            };
            !need.names.iter().any(|name| holds(has, name))
        });
        lacking.map(|need| &need.refusal)
    }
}

/// What is written, of a route or of a method.
struct Asked<'a> {
    scopes: &'a [String],
    any_scope: Option<&'a [String]>,
    roles: &'a [String],
    any_role: Option<&'a [String]>,
}

impl<'a> Asked<'a> {
    fn of_route(written: &'a Authorization) -> Self {
        Self {
            scopes: &written.required_scopes,
            any_scope: written.any_scope.as_deref(),
            roles: &written.required_roles,
            any_role: written.any_role.as_deref(),
        }
    }

    fn of_method(written: &'a MethodAuthorization) -> Self {
        Self {
            scopes: &written.required_scopes,
            any_scope: written.any_scope.as_deref(),
            roles: &written.required_roles,
            any_role: written.any_role.as_deref(),
        }
    }

    const fn is_empty(&self) -> bool {
        self.scopes.is_empty()
            && self.any_scope.is_none()
            && self.roles.is_empty()
            && self.any_role.is_none()
    }

    fn check(&self, path: &str, problems: &mut Problems) {
        let lists = [
            ("requiredScopes", Kind::Scope, Some(self.scopes)),
            ("anyScope", Kind::Scope, self.any_scope),
            ("requiredRoles", Kind::Role, Some(self.roles)),
            ("anyRole", Kind::Role, self.any_role),
        ];
        for (key, kind, names) in lists {
            let names = names.unwrap_or_default();
            for (at, name) in names.iter().enumerate() {
                let place = || format!("{path}.{key}[{at}]");
                if kind == Kind::Scope && !is_scope_token(name) {
                    let message = "a scope is visible ASCII without spaces, `\"` and `\\`";
                    problems.push(Problem::error("auth.scope", place(), message));
                } else if name.is_empty() {
                    problems.push(Problem::error("auth.role", place(), "the role has no name"));
                }
            }
        }
        for (key, names) in [("anyScope", self.any_scope), ("anyRole", self.any_role)] {
            if names.is_some_and(<[String]>::is_empty) {
                let message = format!("nobody could pass: `{key}` names nothing to have one of");
                let place = format!("{path}.{key}");
                problems.push(
                    Problem::error("auth.empty", place, message).help("name some, or remove it"),
                );
            }
        }
    }
}

fn method(name: &str, path: &str, problems: &mut Problems) -> Option<Method> {
    let wrong = match name {
        "HEAD" => ("HEAD is judged as GET", Some("write `GET`".to_owned())),
        "CONNECT" | "TRACE" => ("this method is served nowhere", None),
        _ => match Method::from_bytes(name.as_bytes()) {
            Ok(method) if !name.bytes().any(|byte| byte.is_ascii_lowercase()) => {
                return Some(method);
            }
            _ => {
                let capitals = name.to_ascii_uppercase();
                ("this is not a method", Problems::did_you_mean(&capitals, USUAL_METHODS))
            }
        },
    };
    let mut problem = Problem::error("auth.method", path, wrong.0);
    problem.help = wrong.1;
    problems.push(problem);
    None
}

/// Methods that every route takes where it does not name some.
const USUAL_METHODS: [&str; 6] = ["DELETE", "GET", "OPTIONS", "PATCH", "POST", "PUT"];

/// The product that a route belongs to.
#[derive(Debug)]
pub(super) struct Product {
    pub(super) name: Box<str>,
    refusal: Reject,
}

impl Product {
    /// Compiles `authorization.product`; problems carry `path`.
    pub(super) fn compile(name: &str, path: &str, problems: &mut Problems) -> Self {
        if name.is_empty() {
            let place = format!("{path}.product");
            problems.push(Problem::error("auth.product", place, "the product has no name"));
        }
        let why = format!("not allowed to use the product: {name}");
        let hint = crate::fault::Hint::from_config(why);
        Self { name: name.into(), refusal: Reject::new(Fault::ProductRefused).with_hint(hint) }
    }

    /// The refusal, where a caller may not use it. Of whom no product is known, none is allowed.
    pub(super) fn refusal(&self, products: &[Arc<str>]) -> Option<&Reject> {
        (!holds(products, &self.name)).then_some(&self.refusal)
    }
}

#[cfg(test)]
mod tests;
