//! Tags that the configuration gives to answers: `products:{path.id}`.
//!
//! | Variable | Is |
//! |---|---|
//! | `{path.NAME}` | a named group of the route's `pathRegex` |
//! | `{path.N}` | a segment of the path, counted from 1 |
//! | `{query.NAME}` | the first query parameter of that name |
//! | `{tenant}`, `{user}` | the caller's verified tenant, subject |
//! | `{host}`, `{route}` | the request's host, the route's name |
//!
//! Values are decoded, so that `/products/caf%C3%A9` is tagged `products:café`. A template whose
//! variable has no value for a request, or an empty one, gives no tag.

use std::borrow::Cow;

use regex::Regex;

use super::answer::{ANSWER_TAGS_MAX, TAG_BYTES_MAX};
use crate::edge::{Facts, decode, parameters};
use crate::model::{Problem, Problems};

/// The templates of a route.
#[derive(Debug, Default)]
pub struct TagTemplates {
    templates: Box<[Box<[Piece]>]>,
    /// The route's expression, where a template needs its groups.
    expression: Option<Regex>,
}

#[derive(Debug, PartialEq, Eq)]
enum Piece {
    Text(Box<str>),
    Group(usize),
    Segment(usize),
    Query(Box<str>),
    Tenant,
    User,
    Host,
    Route,
}

impl TagTemplates {
    /// Compiles `policies.cache.tags`; problems carry `path`, the place of the list. `expression`
    /// is the route's `pathRegex`, compiled for whole paths, where it has one.
    #[must_use]
    pub fn compile(
        written: &[String],
        expression: Option<&Regex>,
        authenticated: bool,
        path: &str,
        problems: &mut Problems,
    ) -> Self {
        let mut templates = Vec::with_capacity(written.len());
        for (index, text) in written.iter().enumerate() {
            let place = || format!("{path}[{index}]");
            match read(text, expression) {
                Err(wrong) => problems.push(Problem::error("cache.tag", place(), wrong).help(
                    "a tag is text with variables: `{path.NAME}`, `{path.1}`, `{query.NAME}`, \
                         `{tenant}`, `{user}`, `{host}`, `{route}`",
                )),
                Ok(pieces) => {
                    let of_caller = |piece| matches!(piece, &Piece::Tenant | &Piece::User);
                    if !authenticated && pieces.iter().any(of_caller) {
                        let what = format!("`{text}` is never given: this route knows no callers");
                        problems.push(
                            Problem::warning("cache.tag", place(), what)
                                .help("leave it out, or set `policies.auth`"),
                        );
                    }
                    templates.push(pieces);
                }
            }
        }
        if written.len() > TEMPLATES_MAX {
            let what = format!("at most {TEMPLATES_MAX} tags, there are {}", written.len());
            problems.push(Problem::error("cache.tag", path, what));
        }
        let needs = templates.iter().flatten().any(|piece| matches!(piece, Piece::Group(_)));
        Self { templates: templates.into(), expression: expression.filter(|_| needs).cloned() }
    }

    /// The tags of the answer to a request.
    pub(super) fn of(&self, facts: &Facts<'_>) -> Vec<String> {
        if self.templates.is_empty() {
            return Vec::new();
        }
        let captures =
            self.expression.as_ref().and_then(|expression| expression.captures(&facts.view.path));
        let value = |piece: &'_ Piece| -> Option<String> {
            let view = facts.view;
            let found: Cow<'_, str> = match piece {
                Piece::Text(text) => Cow::Borrowed(text),
                Piece::Group(group) => in_path(captures.as_ref()?.get(*group)?.as_str()),
                Piece::Segment(number) => in_path(view.path.split('/').nth(*number)?),
                Piece::Query(name) => {
                    parameters(view.query?).find(|(known, _)| **known == **name)?.1
                }
                Piece::Tenant => Cow::Borrowed(facts.identity?.tenant_id.as_deref()?),
                Piece::User => Cow::Borrowed(&*facts.identity?.subject),
                Piece::Host => Cow::Borrowed(&*view.host),
                Piece::Route => Cow::Borrowed(facts.route),
            };
            (!found.is_empty()).then(|| found.into_owned())
        };
        let fill = |pieces: &[Piece]| pieces.iter().map(value).collect::<Option<String>>();
        self.templates.iter().filter_map(|pieces| fill(pieces)).collect()
    }
}

/// Decoded, but for `+`: in a path that is no space.
fn in_path(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    Cow::Owned(decode(&text.replace('+', "%2B")).into_owned())
}

fn read(text: &str, expression: Option<&Regex>) -> Result<Box<[Piece]>, String> {
    if text.trim().is_empty() {
        return Err("a tag cannot be empty".to_owned());
    }
    if text.len() > TAG_BYTES_MAX {
        return Err(format!("a tag has at most {TAG_BYTES_MAX} bytes"));
    }
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, behind) =
            after.split_once('}').ok_or_else(|| format!("`{{{after}` has no closing brace"))?;
        literal(before, &mut pieces)?;
        pieces.push(variable(name, expression)?);
        rest = behind;
    }
    literal(rest, &mut pieces)?;
    Ok(pieces.into())
}

fn literal(text: &str, pieces: &mut Vec<Piece>) -> Result<(), String> {
    if text.contains('}') {
        return Err(format!("`{text}` has a closing brace and no opening one"));
    }
    if !text.is_empty() {
        pieces.push(Piece::Text(text.into()));
    }
    Ok(())
}

fn variable(name: &str, expression: Option<&Regex>) -> Result<Piece, String> {
    if let Some(parameter) = name.strip_prefix("query.").filter(|name| !name.is_empty()) {
        return Ok(Piece::Query(parameter.into()));
    }
    if let Some(part) = name.strip_prefix("path.").filter(|name| !name.is_empty()) {
        if let Ok(number) = part.parse::<usize>() {
            return match number {
                1..=SEGMENT_MAX => Ok(Piece::Segment(number)),
                _ => Err(format!("segments are counted from 1 to {SEGMENT_MAX}")),
            };
        }
        let Some(expression) = expression else {
            return Err(format!(
                "`{{path.{part}}}` is a group of an expression, and the route has no `pathRegex`"
            ));
        };
        let group = expression.capture_names().position(|known| known == Some(part));
        return group
            .map(Piece::Group)
            .ok_or_else(|| format!("the route's `pathRegex` has no group `{part}`"));
    }
    match name {
        "tenant" => Ok(Piece::Tenant),
        "user" => Ok(Piece::User),
        "host" => Ok(Piece::Host),
        "route" => Ok(Piece::Route),
        _ => Err(format!("`{{{name}}}` is no variable of tags")),
    }
}

/// Most templates of a route: their tags leave room for as many of the service.
const TEMPLATES_MAX: usize = ANSWER_TAGS_MAX / 4;

/// Last segment that can be named.
const SEGMENT_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use super::super::super::fixtures::{Request, caller};
    use super::*;

    fn compile(
        written: &[&str],
        expression: Option<&str>,
        authenticated: bool,
    ) -> (TagTemplates, Problems) {
        let mut problems = Problems::default();
        let written: Vec<String> = written.iter().map(|&text| text.to_owned()).collect();
        let expression = expression.map(|text| Regex::new(&format!(r"\A(?:{text})\z")).unwrap());
        let place = "cache.tags";
        let templates = TagTemplates::compile(
            &written,
            expression.as_ref(),
            authenticated,
            place,
            &mut problems,
        );
        (templates, problems)
    }

    fn good(written: &[&str], expression: Option<&str>) -> TagTemplates {
        let (templates, problems) = compile(written, expression, true);
        assert_eq!(problems, Problems::default());
        templates
    }

    #[test]
    fn variables_have_the_values_of_the_request() {
        let request = Request {
            path: "/v1/products/caf%C3%A9+1",
            query: Some("page=2&page=3&q=a%20b"),
            identity: Some(caller("main", "alice", "acme")),
            ..Request::default()
        };
        let written = [
            "products:{path.id}",
            "second:{path.2}",
            "page:{query.page}",
            "q:{query.q}",
            "{tenant}/{user}",
            "{host}:{route}",
            "plain",
        ];
        let templates = good(&written, Some("/v1/products/(?<id>[^/]+)"));
        let tags = request.with(|facts| templates.of(facts));
        assert_eq!(
            tags,
            [
                "products:café+1",
                "second:products",
                "page:2",
                "q:a b",
                "acme/alice",
                "api.example.com:orders",
                "plain"
            ]
        );
    }

    #[test]
    fn what_has_no_value_gives_no_tag() {
        let written =
            ["a:{path.id}", "{tenant}", "{query.x}", "{path.9}", "e:{query.e}", "{user}", "b"];
        let templates = good(&written, Some("/(?:x/(?<id>.+)|.*)"));
        let request = Request { query: Some("e="), ..Request::default() };
        assert_eq!(request.with(|facts| templates.of(facts)), ["b"]);
        let templates = good(&["{tenant}"], None);
        let nobody = Request { identity: Some(caller("main", "a", "")), ..Request::default() };
        assert!(nobody.with(|facts| templates.of(facts)).is_empty());
    }

    #[test]
    fn mistakes_are_named_all_at_once() {
        let long = "x".repeat(TAG_BYTES_MAX + 1);
        let written = [
            "",
            " ",
            "a:{path.id}",
            "a:{path.0}",
            "a:{path.33}",
            "a:{path.}",
            "{who}",
            "{tenant",
            "tenant}",
            "{}",
            &long,
            "ok:{path.1}",
        ];
        let (_, problems) = compile(&written, None, true);
        let places: Vec<&str> = problems.0.iter().map(|problem| problem.path.as_str()).collect();
        let expected: Vec<String> = (0..11).map(|n| format!("cache.tags[{n}]")).collect();
        assert_eq!(places, expected);
        let (_, problems) = compile(&["a:{path.name}"], Some("/(?<id>.+)"), true);
        assert!(problems.has_errors());
        let many = ["x"; TEMPLATES_MAX + 1];
        assert!(compile(&many, None, true).1.has_errors());
        assert!(!compile(&many[1..], None, true).1.has_errors());
    }

    #[test]
    fn a_caller_that_is_never_known_is_a_warning() {
        let (_, problems) = compile(&["tenant:{tenant}"], None, false);
        assert_eq!(problems.0.len(), 1);
        assert!(!problems.has_errors());
        assert!(compile(&["tenant:{tenant}"], None, true).1.0.is_empty());
    }
}
