//! The path and host that a service sees.
//!
//! A rewrite reads the path in its normal form and must give one in normal form: what it writes
//! could otherwise mean to the service what no route and no policy has seen. What is fixed about
//! the result is checked when the configuration is compiled, the rest for each request.

mod template;

use std::borrow::Cow;

use http::HeaderValue;
use regex::{Regex, RegexBuilder};

use self::template::Template;
use crate::edge::{normalise_path, read_host_port};
use crate::fault::{Fault, Hint, Reject};
use crate::model::{self, Problem, Problems};

/// A compiled rewrite.
#[derive(Debug, Default)]
pub struct Rewrite {
    /// The `Host` that the service sees, instead of the client's.
    pub host: Option<HeaderValue>,
    path: Option<Rule>,
}

/// How a path is rewritten.
#[derive(Debug)]
enum Rule {
    /// First segments, without a final slash, give way to others, without one too.
    Prefix { from: Box<str>, to: Box<str> },
    /// A path that the expression matches whole is written anew.
    Regex { expression: Regex, with: Template },
}

/// Largest compiled expression, in bytes.
const REGEX_BYTES_MAX: usize = 1 << 20;

impl Rewrite {
    /// Compiles the rewrite of a route; problems carry `path` (`routes[3].rewrite`).
    pub fn compile(model: &model::Rewrite, path: &str, problems: &mut Problems) -> Option<Self> {
        let before = problems.0.len();
        let host = model.host.as_deref().and_then(|host| {
            let place = format!("{path}.host");
            let value = HeaderValue::try_from(host).ok().filter(|_| read_host_port(host).is_ok());
            if value.is_none() {
                let what = format!("`{host}` is not a host name, with or without a port");
                problems.push(Problem::error("rewrite.host", place, what));
            }
            value
        });
        let rules = [
            model.strip_prefix.as_deref().map(|prefix| strip(prefix, path, problems)),
            model.replace_prefix.as_ref().map(|rule| replace(rule, path, problems)),
            model.regex.as_ref().map(|rule| regex(rule, path, problems)),
        ];
        let mut rules: Vec<Option<Rule>> = rules.into_iter().flatten().collect();
        if rules.len() > 1 {
            problems.push(
                Problem::error("rewrite.several", path, "a path can be rewritten in one way only")
                    .help("give one of `stripPrefix`, `replacePrefix` and `regex`"),
            );
        }
        if rules.is_empty() && model.host.is_none() {
            let what = "the rewrite does nothing: it has neither a rule for the path nor `host`";
            problems.push(Problem::error("rewrite.nothing", path, what));
        }
        (problems.0.len() == before).then(|| Self { host, path: rules.pop().flatten() })
    }

    /// The path that the service sees; none where it is the client's. `path` is in normal form.
    ///
    /// # Errors
    /// 400 where the rewritten path has another normal form than itself: parts of the client's
    /// path have made of it what the configuration cannot have meant.
    pub fn path(&self, path: &str) -> Result<Option<String>, Reject> {
        let Some(rule) = &self.path else { return Ok(None) };
        let Some(new) = rule.apply(path) else { return Ok(None) };
        if matches!(rule, Rule::Regex { .. }) && !is_normal(&new) {
            return Err(Reject::new(Fault::PathRefused).with_hint(NOT_SOUND));
        }
        Ok((new != path).then_some(new))
    }
}

const NOT_SOUND: Hint = Hint::literal("the path cannot be rewritten as this route asks");

impl Rule {
    /// The new path; none where the rule does not apply.
    fn apply(&self, path: &str) -> Option<String> {
        match self {
            Self::Prefix { from, to } => {
                let rest = path.strip_prefix(&**from)?;
                // Whole segments only: `/api` is not the beginning of `/apiary`.
                if !rest.is_empty() && !rest.starts_with('/') {
                    return None;
                }
                let new = format!("{to}{rest}");
                Some(if new.is_empty() { "/".to_owned() } else { new })
            }
            Self::Regex { expression, with } => {
                expression.captures(path).map(|captures| with.fill(&captures))
            }
        }
    }
}

fn is_normal(path: &str) -> bool {
    matches!(normalise_path(path), Ok(Cow::Borrowed(_)))
}

/// Segments as configured, without a final slash; the root is empty.
fn segments(text: &str, place: String, problems: &mut Problems) -> Option<Box<str>> {
    match normalise_path(text) {
        Ok(Cow::Borrowed(normal)) => Some(normal.strip_suffix('/').unwrap_or(normal).into()),
        Ok(Cow::Owned(normal)) => {
            problems.push(
                Problem::error("rewrite.path", place, format!("`{text}` is not in normal form"))
                    .help(format!("write `{normal}`")),
            );
            None
        }
        Err(why) => {
            let what = format!("`{text}` is not a path: {}", why.0);
            problems.push(Problem::error("rewrite.path", place, what));
            None
        }
    }
}

fn strip(prefix: &str, path: &str, problems: &mut Problems) -> Option<Rule> {
    let place = format!("{path}.stripPrefix");
    let from = segments(prefix, place.clone(), problems)?;
    if from.is_empty() {
        let what = "taking `/` away changes no path";
        problems.push(Problem::error("rewrite.nothing", place, what));
        return None;
    }
    Some(Rule::Prefix { from, to: "".into() })
}

fn replace(model: &model::ReplacePrefix, path: &str, problems: &mut Problems) -> Option<Rule> {
    let from = segments(&model.prefix, format!("{path}.replacePrefix.prefix"), problems);
    let to = segments(&model.with, format!("{path}.replacePrefix.with"), problems);
    let (from, to) = (from?, to?);
    if from == to {
        let what = format!("`{}` is replaced by itself", model.prefix);
        problems.push(Problem::error("rewrite.nothing", format!("{path}.replacePrefix"), what));
        return None;
    }
    Some(Rule::Prefix { from, to })
}

fn regex(model: &model::RegexRewrite, path: &str, problems: &mut Problems) -> Option<Rule> {
    // Alone first: `a)|(b` is only an expression between our parentheses.
    let sized = |pattern: &str| RegexBuilder::new(pattern).size_limit(REGEX_BYTES_MAX).build();
    let whole = sized(&model.pattern).and_then(|_| sized(&format!(r"\A(?:{})\z", model.pattern)));
    let expression = match whole {
        Ok(expression) => expression,
        Err(error) => {
            let text = error.to_string();
            let last = text.lines().last().unwrap_or_default();
            let why = last.strip_prefix("error: ").unwrap_or(last);
            let what = format!("`{}` is not a regular expression: {why}", model.pattern);
            problems.push(Problem::error("rewrite.regex", format!("{path}.regex.pattern"), what));
            return None;
        }
    };
    let place = format!("{path}.regex.with");
    let with = match Template::parse(&model.with, &expression) {
        Ok(with) => with,
        Err(why) => {
            problems.push(Problem::error("rewrite.template", place, why));
            return None;
        }
    };
    if !is_normal(&with.sample()) {
        let what = format!("`{}` cannot be a path in normal form", model.with);
        problems.push(
            Problem::error("rewrite.path", place, what)
                .help("it begins with `/` and holds no `..`, `//`, `?`, `#` or space"),
        );
        return None;
    }
    Some(Rule::Regex { expression, with })
}

#[cfg(test)]
mod tests;
