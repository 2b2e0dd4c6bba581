//! What a condition demands of one value.

use std::fmt;

use regex::Regex;

use super::expression;
use crate::model::{FieldMatch, Problem, Problems};

/// What a condition demands of one value.
#[derive(Clone, Debug)]
pub(super) enum Demand {
    /// The whole value.
    Exact(Box<str>),
    /// One whole item of a comma-separated list.
    Contains(Box<str>),
    /// That there is one, or that there is none.
    Present(bool),
    /// An expression over the whole value.
    Regex(Regex),
}

/// Code of every problem with a condition.
pub(super) const INVALID: &str = "route.condition_invalid";

impl Demand {
    /// Compiles what a condition demands; problems carry `path`.
    pub(super) fn compile(model: &FieldMatch, path: &str, problems: &mut Problems) -> Option<Self> {
        let FieldMatch { name: _, exact, contains, present, regex, trusted_only: _ } = model;
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

    /// Whether there must be a value.
    pub(super) const fn wants_presence(&self) -> bool {
        !matches!(self, Self::Present(false))
    }

    /// Whether a value that is there will do.
    pub(super) fn is_met_by(&self, value: &str) -> bool {
        match self {
            Self::Exact(wanted) => **wanted == *value,
            Self::Contains(item) => value.split(',').any(|part| part.trim() == &**item),
            Self::Present(present) => *present,
            Self::Regex(regex) => regex.is_match(value),
        }
    }

    /// Whether no value can be as both demand, as far as can be told.
    pub(super) fn excludes(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Present(false), demand) | (demand, Self::Present(false)) => {
                demand.wants_presence()
            }
            (Self::Exact(value), demand) | (demand, Self::Exact(value)) => !demand.is_met_by(value),
            _ => false,
        }
    }
}

impl fmt::Display for Demand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(value) => write!(f, "is `{value}`"),
            Self::Contains(item) => write!(f, "lists `{item}`"),
            Self::Present(true) => f.write_str("is there"),
            Self::Present(false) => f.write_str("is not there"),
            Self::Regex(regex) => write!(f, "matches `{}`", expression::source(regex)),
        }
    }
}
