//! Host and path patterns, parsed.

use std::borrow::Cow;
use std::fmt;
use std::net::Ipv4Addr;

use super::expression::{self, Shape};
use crate::edge::{normalise_path, read_host_port};
use crate::model::{Match, Problem, Problems};

/// Which hosts a route takes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HostPattern {
    /// This host.
    Exact(Box<str>),
    /// Every name below this one (`*.example.com` holds `example.com`).
    Wildcard(Box<str>),
    /// Any host.
    Any,
}

/// Which paths a route takes.
#[derive(Clone, Debug)]
pub enum PathPattern {
    /// This path.
    Exact(Box<str>),
    /// This path and those below it, by whole segments.
    Prefix(Box<str>),
    /// Paths that match as a whole.
    Regex(regex::Regex),
}

impl HostPattern {
    /// Compiles `match.host`; problems carry `path`, the place of the match.
    pub fn compile(model: &Match, path: &str, problems: &mut Problems) -> Option<Self> {
        let Some(text) = model.host.as_deref() else { return Some(Self::Any) };
        Self::read(text)
            .map_err(|(why, help)| {
                let message = format!("`{text}` is not a host: {why}");
                problems.push(
                    Problem::error("route.host_invalid", format!("{path}.host"), message)
                        .help(help),
                );
            })
            .ok()
    }

    fn read(text: &str) -> Result<Self, (&'static str, &'static str)> {
        const HELP: &str = "write `api.example.com`, or `*.example.com` for every name below it";
        if text == "*" {
            return Err(("it names none", "leave `host` out to take any host"));
        }
        let (suffix, wildcard) =
            text.strip_prefix("*.").map_or((text, false), |suffix| (suffix, true));
        let read = read_host_port(suffix).map_err(|refused| (refused.0, HELP))?;
        if read.port.is_some() {
            return Err(("it has a port", "leave the port out: routes take every port"));
        }
        let host = Box::from(&*read.host);
        if !wildcard {
            return Ok(Self::Exact(host));
        }
        if host.starts_with('[') || host.parse::<Ipv4Addr>().is_ok() {
            return Err(("there are no names below an address", HELP));
        }
        Ok(Self::Wildcard(host))
    }

    /// Whether it takes a host in normal form.
    pub(super) fn takes(&self, host: &str) -> bool {
        match self {
            Self::Exact(name) => **name == *host,
            Self::Wildcard(suffix) => host
                .strip_suffix(&**suffix)
                .and_then(|below| below.strip_suffix('.'))
                .is_some_and(|label| !label.is_empty()),
            Self::Any => true,
        }
    }

    /// A host that it takes.
    pub(super) fn example(&self) -> Cow<'_, str> {
        match self {
            Self::Exact(name) => Cow::Borrowed(name),
            Self::Wildcard(suffix) => Cow::Owned(format!("any.{suffix}")),
            Self::Any => Cow::Borrowed("any.example"),
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => write!(f, "`{name}`"),
            Self::Wildcard(suffix) => write!(f, "`*.{suffix}`"),
            Self::Any => f.write_str("any host"),
        }
    }
}

/// A key of `match` that makes a path pattern.
#[derive(Clone, Copy)]
enum Kind {
    Exact,
    Prefix,
    Regex,
}

impl Kind {
    const fn key(self) -> &'static str {
        match self {
            Self::Exact => "path",
            Self::Prefix => "pathPrefix",
            Self::Regex => "pathRegex",
        }
    }
}

impl PathPattern {
    /// Compiles `match.path`, `pathPrefix` or `pathRegex`; problems carry `path`, the place of
    /// the match. Without any of them it is the prefix `/`.
    pub fn compile(model: &Match, path: &str, problems: &mut Problems) -> Option<Self> {
        let mut given = [
            (Kind::Exact, &model.path),
            (Kind::Prefix, &model.path_prefix),
            (Kind::Regex, &model.path_regex),
        ]
        .into_iter()
        .filter_map(|(kind, text)| Some((kind, text.as_deref()?)));
        let first = given.next();
        if let (Some((first, _)), Some((second, _))) = (first, given.next()) {
            let message = format!("`{}` and `{}` are both given", first.key(), second.key());
            problems.push(
                Problem::error("route.path_kinds", path, message)
                    .help("give at most one of `path`, `pathPrefix` and `pathRegex`"),
            );
            return None;
        }
        let Some((kind, text)) = first else { return Some(Self::Prefix("/".into())) };
        let read = match kind {
            Kind::Exact => read_literal(text).map(Self::Exact),
            Kind::Prefix => read_literal(text).map(Self::Prefix),
            Kind::Regex => read_regex(text).map(Self::Regex),
        };
        read.map_err(|refused| {
            let place = format!("{path}.{}", kind.key());
            problems.push(Problem::error(refused.code, place, refused.why).help(refused.help));
        })
        .ok()
    }

    /// Whether it takes a path in normal form.
    pub(super) fn takes(&self, path: &str) -> bool {
        match self {
            Self::Exact(exact) => **exact == *path,
            Self::Prefix(prefix) => path.strip_prefix(&**prefix).is_some_and(|below| {
                below.is_empty() || below.starts_with('/') || prefix.ends_with('/')
            }),
            Self::Regex(regex) => regex.is_match(path),
        }
    }

    /// What every path that it takes begins with.
    pub(super) fn literal(&self) -> Cow<'_, str> {
        match self {
            Self::Exact(path) | Self::Prefix(path) => Cow::Borrowed(path),
            Self::Regex(regex) => Cow::Owned(Shape::of(regex).literal),
        }
    }

    /// A path that it takes, where one is easy to make up.
    pub(super) fn example(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Exact(path) | Self::Prefix(path) => Some(Cow::Borrowed(path)),
            Self::Regex(regex) => expression::example_path(regex).map(Cow::Owned),
        }
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(path) => write!(f, "path `{path}`"),
            Self::Prefix(path) => write!(f, "path prefix `{path}`"),
            Self::Regex(regex) => write!(f, "path expression `{}`", expression::source(regex)),
        }
    }
}

/// Why a text is no pattern.
struct Refused {
    code: &'static str,
    why: String,
    help: String,
}

fn read_literal(text: &str) -> Result<Box<str>, Refused> {
    let refused = |why, help| Err(Refused { code: "route.path_invalid", why, help });
    if !text.starts_with('/') {
        return refused(format!("`{text}` does not begin with `/`"), format!("write `/{text}`"));
    }
    match normalise_path(text) {
        Ok(normal) if normal == text => Ok(text.into()),
        // Requests come in normal form, so this would never match.
        Ok(normal) => refused(
            format!("`{text}` is not in the form in which paths are matched"),
            format!("write `{normal}`"),
        ),
        Err(why) => refused(
            format!("`{text}` cannot be matched: {}", why.0),
            "requests with such a path are refused before routing".to_owned(),
        ),
    }
}

fn read_regex(text: &str) -> Result<regex::Regex, Refused> {
    let regex = expression::compile(text).map_err(|help| Refused {
        code: "route.regex_invalid",
        why: format!("`{text}` is not a regular expression"),
        help,
    })?;
    let literal = Shape::of(&regex).literal;
    if !literal.is_empty() && !literal.starts_with('/') {
        return Err(Refused {
            code: "route.path_invalid",
            why: format!("`{text}` matches no path, since every path begins with `/`"),
            help: format!("write `/{}`", text.trim_start_matches('^')),
        });
    }
    Ok(regex)
}

#[cfg(test)]
mod tests;
