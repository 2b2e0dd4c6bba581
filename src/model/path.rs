//! Places in the document, as people read them: `routes[3].policies.rateLimit`.
//!
//! A key that is not a plain word stands in quotes: `rateLimits."a.b"`. Reading a path back never
//! fails: whatever does not fit the grammar counts as part of a key, because the worst that a
//! misread path can do is point at a line further up.

use std::fmt::{self, Write};

/// One step down the document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// To the value of a key.
    Key(String),
    /// To an item of a list, from 0.
    Item(usize),
}

/// The way from the root to a place, kept on the stack while the document is walked, so that a
/// path costs nothing until there is something to say about it.
#[derive(Clone, Copy)]
pub(super) enum Trail<'a> {
    /// The whole document.
    Root,
    /// The value of a key.
    Key(&'a Self, &'a str),
    /// An item of a list, from 0.
    Item(&'a Self, usize),
}

impl fmt::Display for Trail<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Root => Ok(()),
            Self::Key(Self::Root, key) => write_key(f, key),
            Self::Key(above, key) => {
                write!(f, "{above}.")?;
                write_key(f, key)
            }
            Self::Item(above, index) => write!(f, "{above}[{index}]"),
        }
    }
}

/// Writes steps as a path.
pub(super) fn render(steps: &[Step]) -> String {
    let mut path = String::new();
    for step in steps {
        // Writing to a string cannot fail.
        let _ = match step {
            Step::Item(index) => write!(path, "[{index}]"),
            Step::Key(key) => {
                if !path.is_empty() {
                    path.push('.');
                }
                write_key(&mut path, key)
            }
        };
    }
    path
}

fn write_key(out: &mut impl Write, key: &str) -> fmt::Result {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !key.is_empty() && key.chars().all(plain) {
        return out.write_str(key);
    }
    out.write_char('"')?;
    for c in key.chars() {
        if matches!(c, '"' | '\\') {
            out.write_char('\\')?;
        }
        out.write_char(c)?;
    }
    out.write_char('"')
}

/// Reads a path back into its steps.
pub(super) fn parse(path: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        let (step, after) = first_step(rest);
        steps.push(step);
        rest = after.strip_prefix('.').unwrap_or(after);
    }
    steps
}

/// The first step of a path that is not empty, and what follows it.
fn first_step(path: &str) -> (Step, &str) {
    if let Some((index, after)) = item(path) {
        return (Step::Item(index), after);
    }
    if let Some((key, after)) = path.strip_prefix('"').and_then(quoted) {
        return (Step::Key(key), after);
    }
    let end = path
        .char_indices()
        .skip(1)
        .find(|(at, c)| *c == '.' || path.get(*at..).and_then(item).is_some())
        .map_or(path.len(), |(at, _)| at);
    let (key, after) = path.split_at_checked(end).unwrap_or((path, ""));
    (Step::Key(key.to_owned()), after)
}

/// `[12]` at the start of a path.
fn item(path: &str) -> Option<(usize, &str)> {
    let (digits, after) = path.strip_prefix('[')?.split_once(']')?;
    Some((digits.parse().ok()?, after))
}

/// The rest of a quoted key, after its opening quote.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut key = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((key, text.get(at + 1..)?)),
            '\\' => key.push(chars.next()?.1),
            other => key.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Step {
        Step::Key(name.to_owned())
    }

    #[test]
    fn trail_and_steps_write_the_same_path() {
        let limits = Trail::Key(&Trail::Root, "rateLimits");
        let odd = Trail::Key(&limits, "a.\"b\\");
        let item = Trail::Item(&odd, 12);
        let path = r#"rateLimits."a.\"b\\"[12].x-1"#;
        assert_eq!(Trail::Key(&item, "x-1").to_string(), path);
        let steps = [key("rateLimits"), key("a.\"b\\"), Step::Item(12), key("x-1")];
        assert_eq!(render(&steps), path);
        assert_eq!(parse(path), steps);
        assert_eq!(Trail::Root.to_string(), "");
        assert_eq!(Trail::Key(&Trail::Root, "").to_string(), "\"\"");
    }

    #[test]
    fn paths_are_read_back() {
        assert_eq!(parse(""), []);
        assert_eq!(parse("routes[3].policies"), [key("routes"), Step::Item(3), key("policies")]);
        assert_eq!(parse("a[1][2]"), [key("a"), Step::Item(1), Step::Item(2)]);
        assert_eq!(parse("[0].a"), [Step::Item(0), key("a")]);
    }

    #[test]
    fn a_path_outside_the_grammar_is_still_read() {
        assert_eq!(parse("a[x].b"), [key("a[x]"), key("b")]);
        assert_eq!(parse("a[99999999999999999999]"), [key("a[99999999999999999999]")]);
        assert_eq!(parse("\"open"), [key("\"open")]);
        assert_eq!(parse("a..b"), [key("a"), key(".b")]);
        assert_eq!(parse("é[0]"), [key("é"), Step::Item(0)]);
        assert_eq!(parse("."), [key(".")]);
    }
}
