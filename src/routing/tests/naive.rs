//! Routes as plain data, and the rules of the table written down as a comparison of every route
//! with every other. Knows nothing of the table.

use std::cmp::Reverse;
use std::sync::LazyLock;

use regex::Regex;
use serde_json::{Value, json};

/// Expressions with the literals that they begin with, counted by hand.
pub(super) const EXPRESSIONS: [(&str, usize); 8] = [
    ("/a/[^/]+", 3),
    ("^/a.*", 2),
    ("/[ab]+(/c)?", 1),
    (".*", 0),
    ("/a/(b|c)/?", 3),
    ("/ab?$", 2),
    ("/a/b+", 4),
    ("/a/b/.*|/b", 0),
];
static COMPILED: LazyLock<Vec<Regex>> = LazyLock::new(|| {
    EXPRESSIONS.iter().map(|(text, _)| Regex::new(&format!("^({text})$")).unwrap()).collect()
});

#[derive(Clone, Copy, Debug)]
pub(super) enum Path {
    All,
    Exact(&'static str),
    Prefix(&'static str),
    /// Index into [`EXPRESSIONS`].
    Regex(usize),
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Test {
    Exact(&'static str),
    Contains(&'static str),
    Present(bool),
    /// The values `1` and `2`.
    Regex,
}

#[derive(Clone, Debug)]
pub(super) enum When {
    Header(&'static str, Test, bool),
    Query(Test),
    Version(&'static str),
    Region(Vec<&'static str>),
    Claim(&'static str, Test),
    Tenant(Vec<&'static str>),
}

/// Which credentials a route accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Auth {
    None,
    Required,
    KeyOnly,
}

/// A route.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    pub(super) name: String,
    pub(super) host: Option<&'static str>,
    pub(super) path: Path,
    pub(super) methods: Vec<&'static str>,
    pub(super) conditions: Vec<When>,
    pub(super) auth: Auth,
    pub(super) priority: i32,
}

/// Somebody who calls.
#[derive(Clone, Debug, Default)]
pub(super) struct Who {
    pub(super) tenant: Option<&'static str>,
    pub(super) plan: Option<&'static str>,
    pub(super) roles: Vec<&'static str>,
}

/// A request.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    pub(super) method: &'static str,
    pub(super) host: &'static str,
    pub(super) path: &'static str,
    pub(super) a: Option<&'static str>,
    pub(super) b: Option<&'static str>,
    pub(super) q: Option<&'static str>,
    pub(super) version: Option<&'static str>,
    pub(super) client: &'static str,
    pub(super) trusted: bool,
    pub(super) token: Option<Who>,
    pub(super) key: Option<Who>,
}

/// Clients and where the world puts them: country and continent.
pub(super) const CLIENTS: [(&str, &str, &str); 6] = [
    ("192.0.2.7", "DE", "EU"),
    ("198.51.100.200", "US", "NA"),
    ("2001:db8:2::1", "JP", "AS"),
    ("203.0.113.5", "CH", "EU"),
    ("203.0.113.70", "", "EU"),
    ("127.0.0.1", "", ""),
];

impl Ask {
    /// Who calls, by the credentials of a route.
    pub(super) fn proved(&self, auth: Auth) -> Option<&Who> {
        match auth {
            Auth::None => None,
            Auth::Required => self.token.as_ref().or(self.key.as_ref()),
            Auth::KeyOnly => self.key.as_ref(),
        }
    }
}

impl Test {
    fn holds(self, value: Option<&str>) -> bool {
        match (self, value) {
            (Self::Present(present), value) => present == value.is_some(),
            (_, None) => false,
            (Self::Exact(exact), Some(value)) => exact == value,
            (Self::Contains(item), Some(value)) => value.split(',').any(|part| part == item),
            (Self::Regex, Some(value)) => value == "1" || value == "2",
        }
    }

    fn holds_for_list(self, list: &[&str]) -> bool {
        match self {
            Self::Present(present) => present != list.is_empty(),
            Self::Contains(item) => list.contains(&item),
            Self::Exact(_) | Self::Regex => false,
        }
    }

    fn json(self, name: &str) -> Value {
        match self {
            Self::Exact(value) => json!({"name": name, "exact": value}),
            Self::Contains(item) => json!({"name": name, "contains": item}),
            Self::Present(present) => json!({"name": name, "present": present}),
            Self::Regex => json!({"name": name, "regex": "[12]"}),
        }
    }
}

/// How a request stands with a rule.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    Holds,
    Fails,
    Foreign,
}

fn host_tenant(host: &str) -> Option<&'static str> {
    match host {
        "a.x" => Some("acme"),
        "c.x" | "c.b.a.x" => Some("globex"),
        _ => None,
    }
}

impl Rule {
    /// The route as it is written.
    pub(super) fn json(&self) -> Value {
        let mut route = json!({"name": self.name, "priority": self.priority});
        route["auth"] = match self.auth {
            Auth::None => json!("none"),
            Auth::Required => json!("required"),
            Auth::KeyOnly => json!({"anyOf": ["apiKey"]}),
        };
        if let Some(host) = self.host {
            route["host"] = json!(host);
        }
        match self.path {
            Path::All => {}
            Path::Exact(path) => route["path"] = json!(path),
            Path::Prefix(path) => route["pathPrefix"] = json!(path),
            Path::Regex(index) => route["pathRegex"] = json!(EXPRESSIONS[index].0),
        }
        route["methods"] = json!(self.methods);
        let mut lists = [("headers", vec![]), ("query", vec![]), ("claims", vec![])];
        for condition in &self.conditions {
            match condition {
                When::Header(name, test, trusted) => {
                    let mut field = test.json(name);
                    field["trustedOnly"] = json!(trusted);
                    lists[0].1.push(field);
                }
                When::Query(test) => lists[1].1.push(test.json("q")),
                When::Claim(name, test) => lists[2].1.push(test.json(name)),
                When::Version(version) => route["acceptVersion"] = json!(version),
                When::Region(places) => route["region"] = json!(places),
                When::Tenant(names) => route["tenant"] = json!(names),
            }
        }
        for (key, list) in lists {
            route[key] = json!(list);
        }
        route
    }

    /// How specific host and path are, where they take those of the request.
    pub(super) fn level(&self, ask: &Ask) -> Option<[usize; 5]> {
        let host = match self.host {
            None => [0, 0],
            Some(wild) if wild.starts_with('*') => {
                ask.host.ends_with(&wild[1..]).then_some([1, wild.len()])?
            }
            Some(name) => (name == ask.host).then_some([2, 0])?,
        };
        let below = |prefix: &str| {
            let slashed = format!("{}/", ask.path);
            slashed.starts_with(&format!("{}/", prefix.trim_end_matches('/')))
                && ask.path.len() >= prefix.len()
        };
        let path = match self.path {
            Path::All => [0, 1, 0],
            Path::Exact(path) => (path == ask.path).then_some([1, 0, 0])?,
            Path::Prefix(prefix) => below(prefix).then_some([0, prefix.len(), 0])?,
            Path::Regex(index) => {
                COMPILED[index].is_match(ask.path).then_some([0, EXPRESSIONS[index].1, 1])?
            }
        };
        Some([host[0], host[1], path[0], path[1], path[2]])
    }

    fn standing(&self, ask: &Ask) -> Standing {
        let mut standing = Standing::Holds;
        for condition in &self.conditions {
            match self.judge(condition, ask) {
                Standing::Holds => {}
                Standing::Foreign => standing = Standing::Foreign,
                Standing::Fails => return Standing::Fails,
            }
        }
        standing
    }

    fn judge(&self, condition: &When, ask: &Ask) -> Standing {
        let who = ask.proved(self.auth);
        let holds = match condition {
            When::Header(name, test, trusted_only) => {
                let value = if *name == "x-a" { ask.a } else { ask.b };
                test.holds(value) && (ask.trusted || !trusted_only)
            }
            When::Query(test) => test.holds(ask.q),
            When::Version(wanted) => ask.version.is_some_and(|version| {
                version.trim_start_matches('v') == wanted.trim_start_matches('v')
            }),
            When::Region(places) => {
                let (_, country, continent) =
                    CLIENTS.iter().find(|(client, ..)| *client == ask.client).unwrap();
                places.iter().any(|place| match place.strip_prefix("continent:") {
                    Some(place) => place == *continent,
                    None => place == country,
                })
            }
            When::Claim(name, test) => who.is_some_and(|who| match *name {
                "plan" => test.holds(who.plan),
                _ => test.holds_for_list(&who.roles),
            }),
            When::Tenant(names) => {
                let own = who.and_then(|who| who.tenant);
                let host = host_tenant(ask.host);
                let wanted = |tenant: Option<&'static str>| {
                    tenant.is_some_and(|tenant| names.contains(&tenant))
                };
                if own.is_some() && host.is_some() && own != host {
                    if wanted(own) || wanted(host) {
                        return Standing::Foreign;
                    }
                    return Standing::Fails;
                }
                wanted(own.or(host))
            }
        };
        if holds { Standing::Holds } else { Standing::Fails }
    }

    /// Whether everything of the rule suits the request.
    pub(super) fn matches(&self, ask: &Ask) -> bool {
        let methods = &self.methods;
        let takes = methods.is_empty()
            || methods.contains(&ask.method)
            || ask.method == "HEAD" && methods.contains(&"GET");
        takes && self.standing(ask) != Standing::Fails && self.level(ask).is_some()
    }
}

pub(super) const TIE: &str = "tie";

/// What becomes of a request.
pub(super) fn decide(rules: &[Rule], ask: &Ask) -> String {
    let candidates: Vec<_> = rules
        .iter()
        .filter_map(|rule| Some((rule.level(ask)?, rule.standing(ask), rule)))
        .filter(|(_, standing, _)| *standing != Standing::Fails)
        .collect();
    let Some(best) = candidates.iter().map(|(level, ..)| *level).max() else {
        return "404".to_owned();
    };
    let best = || candidates.iter().filter(|(level, ..)| *level == best);
    let mut method = ask.method;
    if method == "HEAD" && !best().any(|(.., rule)| rule.methods.contains(&"HEAD")) {
        method = "GET";
    }
    let mut takers: Vec<_> = best()
        .filter(|(.., rule)| rule.methods.is_empty() || rule.methods.contains(&method))
        .map(|(_, standing, rule)| {
            let lists = !rule.methods.is_empty();
            (Reverse((lists, rule.conditions.len(), rule.priority)), *standing, rule)
        })
        .collect();
    takers.sort_by_key(|(rank, ..)| *rank);
    match takers.as_slice() {
        [] => {
            let mut allowed: Vec<&str> =
                best().flat_map(|(.., rule)| rule.methods.iter().copied()).collect();
            allowed.sort_unstable();
            allowed.dedup();
            format!("405 {}", allowed.join(", "))
        }
        // Two that refuse for the same reason say the same.
        [(first, one, _), (second, other, _), ..]
            if first == second && !(*one == Standing::Foreign && one == other) =>
        {
            TIE.to_owned()
        }
        [(_, Standing::Foreign, _), ..] => "403".to_owned(),
        [(.., rule), ..] => rule.name.clone(),
    }
}
