//! Conditions on headers and query parameters.
//!
//! A field has one value here, so that two routes that demand different values of it can never
//! both take a request: several lines of a header are one list (RFC 9110 5.3), and of several
//! parameters of one name the first counts.

use std::fmt;

use http::{HeaderName, HeaderValue};
use regex::Regex;

use super::expression;
use crate::edge::{RequestView, decode, decodes_to, raw_parameters};
use crate::model::{FieldMatch, Problem, Problems};

/// A compiled condition.
#[derive(Clone, Debug)]
pub struct Condition {
    field: Field,
    test: Test,
}

/// What a condition looks at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Field {
    /// A request header.
    Header(HeaderName),
    /// A query parameter.
    Parameter(Box<str>),
}

#[derive(Clone, Debug)]
enum Test {
    Exact(Box<str>),
    Contains(Box<str>),
    Present(bool),
    Regex(Regex),
}

impl Condition {
    /// Compiles a condition on a header; problems carry `path`.
    pub fn header(model: &FieldMatch, path: &str, problems: &mut Problems) -> Option<Self> {
        let name = &model.name;
        let header = HeaderName::try_from(name.as_str()).ok();
        let problem = match &header {
            None => Problem::error(INVALID, path, format!("`{name}` is not a header name")),
            Some(header) if header == http::header::HOST => {
                Problem::error(INVALID, path, "the host is not matched as a header")
                    .help("use `match.host`")
            }
            Some(header) => {
                let test = Test::compile(model, path, problems)?;
                return Some(Self { field: Field::Header(header.clone()), test });
            }
        };
        problems.push(problem);
        None
    }

    /// Compiles a condition on a query parameter; problems carry `path`.
    pub fn query(model: &FieldMatch, path: &str, problems: &mut Problems) -> Option<Self> {
        if model.name.is_empty() {
            problems.push(Problem::error(INVALID, path, "the parameter has no name"));
            return None;
        }
        let test = Test::compile(model, path, problems)?;
        Some(Self { field: Field::Parameter(model.name.as_str().into()), test })
    }

    /// Whether it holds. Allocates only to decode a parameter that is searched, or to join the
    /// lines of a header that an expression looks at.
    #[must_use]
    pub fn holds(&self, view: &RequestView<'_>) -> bool {
        match &self.field {
            Field::Header(name) => self.test.holds_for_header(view, name),
            Field::Parameter(name) => self.test.holds_for_parameter(view.query, name),
        }
    }

    /// What it looks at and the one value that it demands, where it demands one.
    pub(super) fn demanded(&self) -> Option<(&Field, &str)> {
        match &self.test {
            Test::Exact(value) => Some((&self.field, value)),
            _ => None,
        }
    }

    /// Whether no request can meet both this and the other condition, as far as can be told.
    pub(super) fn excludes(&self, other: &Self) -> bool {
        if self.field != other.field {
            return false;
        }
        match (&self.test, &other.test) {
            (Test::Present(false), test) | (test, Test::Present(false)) => test.demands_presence(),
            (Test::Exact(value), test) | (test, Test::Exact(value)) => !test.holds_for_value(value),
            _ => false,
        }
    }
}

/// Code of every problem with a condition.
const INVALID: &str = "route.condition_invalid";

impl Test {
    fn compile(model: &FieldMatch, path: &str, problems: &mut Problems) -> Option<Self> {
        let FieldMatch { name: _, exact, contains, present, regex } = model;
        let problem = match (exact, contains, present, regex) {
            (Some(value), None, None, None) => return Some(Self::Exact(value.as_str().into())),
            (None, None, Some(present), None) => return Some(Self::Present(*present)),
            (None, Some(item), None, None) => match item.trim() {
                "" => Problem::error(INVALID, path, "`contains` names no item"),
                trimmed if trimmed.contains(',') => {
                    Problem::error(INVALID, path, "`contains` names one item, without commas")
                }
                trimmed => return Some(Self::Contains(trimmed.into())),
            },
            (None, None, None, Some(pattern)) => match expression::compile(pattern) {
                Ok(regex) => return Some(Self::Regex(regex)),
                Err(why) => {
                    let message = format!("`{pattern}` is not a regular expression");
                    Problem::error("route.regex_invalid", path, message).help(why)
                }
            },
            _ => Problem::error(INVALID, path, "the condition does not say what it demands")
                .help("give exactly one of `exact`, `contains`, `present` and `regex`"),
        };
        problems.push(problem);
        None
    }

    fn demands_presence(&self) -> bool {
        !matches!(self, Self::Present(false))
    }

    fn holds_for_value(&self, value: &str) -> bool {
        match self {
            Self::Exact(wanted) => **wanted == *value,
            Self::Contains(item) => value.split(',').any(|part| part.trim() == &**item),
            Self::Present(present) => *present,
            Self::Regex(regex) => regex.is_match(value),
        }
    }

    fn holds_for_header(&self, view: &RequestView<'_>, name: &HeaderName) -> bool {
        let mut lines = view.headers.get_all(name).iter();
        let Some(first) = lines.next() else { return matches!(self, Self::Present(false)) };
        match (self, lines.next()) {
            (Self::Present(present), _) => *present,
            (Self::Exact(wanted), None) => first.as_bytes() == wanted.as_bytes(),
            (_, None) => {
                std::str::from_utf8(first.as_bytes()).is_ok_and(|value| self.holds_for_value(value))
            }
            (_, Some(_)) => joined(view.headers.get_all(name).iter())
                .is_some_and(|value| self.holds_for_value(&value)),
        }
    }

    fn holds_for_parameter(&self, query: Option<&str>, name: &str) -> bool {
        let mut parameters = query.into_iter().flat_map(raw_parameters);
        let value = parameters.find(|(raw, _)| decodes_to(raw, name)).map(|(_, value)| value);
        match (self, value) {
            (_, None) => matches!(self, Self::Present(false)),
            (Self::Present(present), Some(_)) => *present,
            (Self::Exact(wanted), Some(value)) => decodes_to(value, wanted),
            (_, Some(value)) => self.holds_for_value(&decode(value)),
        }
    }
}

/// The lines of a header as one list.
fn joined<'a>(lines: impl Iterator<Item = &'a HeaderValue>) -> Option<String> {
    let lines: Result<Vec<&str>, _> =
        lines.map(|line| std::str::from_utf8(line.as_bytes())).collect();
    Some(lines.ok()?.join(", "))
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(name) => write!(f, "header `{name}`"),
            Self::Parameter(name) => write!(f, "parameter `{name}`"),
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let field = &self.field;
        match &self.test {
            Test::Exact(value) => write!(f, "{field} is `{value}`"),
            Test::Contains(item) => write!(f, "{field} lists `{item}`"),
            Test::Present(true) => write!(f, "{field} is there"),
            Test::Present(false) => write!(f, "{field} is not there"),
            Test::Regex(regex) => write!(f, "{field} matches `{}`", expression::source(regex)),
        }
    }
}

#[cfg(test)]
mod tests;
