//! Problems with the line of the text that they are about, for people.
//!
//! Lines are shown without what is or may be a secret. Where the text is YAML throughout, the
//! places of secrets are known, and only comments beside them are left to guess about. Where it is
//! not, only what follows a key that is known to hold no secret is shown.

use std::collections::HashMap;
use std::fmt::Write;

use super::locate::{Extent, Point, Tree};
use super::path::{self, Step};
use super::shape::{Keys, Shape};
use super::{Problem, Problems};

/// Stands where a secret would.
const HIDDEN: &str = "(hidden)";

/// The longest line that is shown whole, in characters, and how much of a longer one is shown
/// before and behind the place.
const LINE_MAX: usize = 160;
const BEFORE: usize = 60;
const BEHIND: usize = 80;

/// Renders problems, a blank line between them. `tree` is that of the text, and `sound` says
/// whether the text is YAML throughout.
pub(super) fn render(problems: &Problems, text: &str, tree: &Tree, sound: bool) -> String {
    let view = View::of(text, tree, sound);
    let mut out = String::new();
    for problem in &problems.0 {
        if !out.is_empty() {
            out.push('\n');
        }
        view.one(&mut out, problem);
    }
    out
}

/// A text as it may be shown.
struct View<'a> {
    lines: Vec<&'a str>,
    tree: &'a Tree,
    sound: bool,
    hidden: Vec<Extent>,
    /// Every known key, and whether a value that may stand there holds a secret.
    known: HashMap<String, bool>,
}

impl<'a> View<'a> {
    fn of(text: &'a str, tree: &'a Tree, sound: bool) -> Self {
        let shape = Shape::of_config();
        let mut known = HashMap::new();
        collect_keys(&shape, &mut known);
        Self { lines: lines(text), tree, sound, hidden: tree.secrets(&shape), known }
    }

    fn one(&self, out: &mut String, problem: &Problem) {
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{}[{}]: {}", problem.severity, problem.code, problem.message);
        let place = match (problem.line, problem.column) {
            (Some(line), Some(column)) => Some(Point { line, column }),
            _ => None,
        };
        // Two columns of line numbers at least, so that problems of short files line up.
        let width = place.map_or(0, |place| place.line.to_string().len()).max(2);
        if let Some(file) = &problem.file {
            let _ = match place {
                Some(Point { line, column }) => {
                    writeln!(out, "{:width$}--> {file}:{line}:{column}", "")
                }
                None => writeln!(out, "{:width$}--> {file}", ""),
            };
        }
        if let Some((line, caret)) = place.and_then(|place| self.excerpt(problem, place)) {
            let number = place.map_or(0, |place| place.line);
            let _ = writeln!(out, "{:width$} |", "");
            let _ = writeln!(out, "{number:width$} | {line}");
            let _ = writeln!(out, "{:width$} | {caret}", "");
        }
        if !problem.path.is_empty() {
            let _ = writeln!(out, "{:width$} = at: {}", "", problem.path);
        }
        if let Some(help) = &problem.help {
            let _ = writeln!(out, "{:width$} = help: {help}", "");
        }
    }

    /// The line of a place, and below it the marks under what is meant.
    fn excerpt(&self, problem: &Problem, place: Point) -> Option<(String, String)> {
        let line = self.lines.get(place.line.checked_sub(1)?)?;
        let (first, last) = match line.chars().nth(LINE_MAX) {
            None => (1, LINE_MAX),
            Some(_) => (place.column.saturating_sub(BEFORE).max(1), place.column + BEHIND),
        };
        let end = self.end_of(problem, place, line);
        let mut hidden = self.hidden_in(place.line);
        hidden.retain(|(from, to)| *from <= last && *to > first);
        let mut shown = Shown::default();
        shown.text.push_str(if first > 1 { "…" } else { "" });
        for (column, c) in (1..).zip(line.chars()).skip(first - 1) {
            if column == place.column {
                shown.from = Some(shown.text.chars().count());
            }
            if column == end {
                shown.to = Some(shown.text.chars().count());
            }
            if column > last {
                shown.text.push('…');
                break;
            }
            shown.add(c, hidden.iter().any(|(from, to)| (*from..*to).contains(&column)));
        }
        Some(shown.marked())
    }

    /// The column just behind what is meant.
    fn end_of(&self, problem: &Problem, place: Point, line: &str) -> usize {
        let steps = path::parse(&problem.path);
        let extent = self.tree.find(&steps).filter(|extent| {
            extent.start == place && extent.end.line == place.line && !steps.is_empty()
        });
        if let Some(extent) = extent {
            return extent.end.column;
        }
        // Of a key that stands twice the tree finds the first.
        let rest: String = line.chars().skip(place.column.saturating_sub(1)).collect();
        match steps.last() {
            Some(Step::Key(key)) if rest.starts_with(key) => place.column + key.chars().count(),
            _ => place.column + 1,
        }
    }

    /// The columns of a line that are hidden, each from its first to just behind its last.
    fn hidden_in(&self, line: usize) -> Vec<(usize, usize)> {
        let within = |extent: &&Extent| (extent.start.line..=extent.end.line).contains(&line);
        let columns = |extent: &Extent| {
            let start = if extent.start.line == line { extent.start.column } else { 1 };
            let end = if extent.end.line == line { extent.end.column } else { usize::MAX };
            (start, end)
        };
        let mut hidden: Vec<_> = self.hidden.iter().filter(within).map(columns).collect();
        hidden.extend(self.guess_hidden(line).map(|start| (start, usize::MAX)));
        hidden
    }

    /// The column from which a line may hold a secret that the tree does not know of.
    fn guess_hidden(&self, line: usize) -> Option<usize> {
        let index = line.checked_sub(1)?;
        let own = self.lines.get(index)?;
        let revealing = self.revealing(own);
        if self.sound {
            // A value that is commented out has no place in the tree.
            return revealing.and_then(|_| comment(own));
        }
        if !keys(own).is_empty() {
            return revealing;
        }
        // A line without a key belongs to the last key above it. If that is harmless, a known word
        // may still be shown: it is a key without its `:`.
        let mut above = self.lines.get(..index)?.iter().rev();
        let key_line = above.find(|line| !keys(line).is_empty());
        let start = own.chars().take_while(|c| c.is_whitespace() || *c == '-').count() + 1;
        let word: String =
            own.chars().skip(start - 1).take_while(|c| c.is_alphanumeric()).collect();
        if key_line.is_some_and(|line| self.revealing(line).is_some())
            || !self.known.contains_key(&word)
        {
            return Some(start);
        }
        Some(start + word.chars().count())
    }

    /// The column from which a line has the value of a key that is not known to be harmless.
    fn revealing(&self, line: &str) -> Option<usize> {
        let harmless = |key: &String| self.known.get(key) == Some(&false);
        keys(line).into_iter().find(|(key, _)| !harmless(key)).map(|(_, at)| at)
    }
}

/// The column of the first thing in a line that may be a comment.
fn comment(line: &str) -> Option<usize> {
    let before = [' '].into_iter().chain(line.chars());
    let mut chars = (1..).zip(line.chars().zip(before));
    chars.find(|(_, (c, before))| *c == '#' && before.is_whitespace()).map(|(column, _)| column)
}

/// What looks like a key of a mapping in a line, with the column where its value begins.
fn keys(line: &str) -> Vec<(String, usize)> {
    let chars: Vec<char> = line.chars().collect();
    let mut keys = Vec::new();
    let mut word = String::new();
    for (at, c) in chars.iter().enumerate() {
        let after = chars.get(at + 1);
        match c {
            ':' if after.is_none_or(|c| c.is_whitespace()) => {
                let blanks = chars.iter().skip(at + 1).take_while(|c| c.is_whitespace()).count();
                keys.push((std::mem::take(&mut word), at + blanks + 2));
            }
            '"' | '\'' => {}
            c if c.is_whitespace() || "{[,".contains(*c) => word.clear(),
            c => word.push(*c),
        }
    }
    keys
}

/// Every key that a shape knows at any depth, and whether a secret may stand there: somewhere is
/// enough.
fn collect_keys(shape: &Shape, known: &mut HashMap<String, bool>) {
    if let Some(items) = &shape.list {
        collect_keys(items, known);
    }
    match &shape.mapping {
        Some(Keys::Free(values)) => collect_keys(values, known),
        Some(Keys::Known(fields)) => {
            for field in fields.iter() {
                *known.entry(field.name.clone()).or_default() |= field.shape.secret;
                collect_keys(&field.shape, known);
            }
        }
        None => {}
    }
}

/// A line on its way to the reader.
#[derive(Default)]
struct Shown {
    text: String,
    /// Where in `text` what is meant begins and ends, in characters.
    from: Option<usize>,
    to: Option<usize>,
    /// Whether the last character was hidden.
    covered: bool,
}

impl Shown {
    fn add(&mut self, c: char, cover: bool) {
        match c {
            _ if cover && self.covered => {}
            _ if cover => self.text.push_str(HIDDEN),
            '\t' => self.text.push('→'),
            // Nothing in a file gets to command the terminal.
            c if c.is_control() => self.text.push('\u{FFFD}'),
            c => self.text.push(c),
        }
        self.covered = cover;
    }

    /// The line, and a line with marks to stand below it.
    fn marked(self) -> (String, String) {
        let length = self.text.chars().count();
        let from = self.from.unwrap_or(length);
        let marks = self.to.unwrap_or(length).saturating_sub(from).max(1);
        (self.text.trim_end().to_owned(), format!("{:from$}{}", "", "^".repeat(marks)))
    }
}

/// The lines of a text, however they end.
fn lines(text: &str) -> Vec<&str> {
    text.split_inclusive(['\n', '\r'])
        // Of `\r\n` the `\n` is left alone.
        .scan(false, |after_return, line| {
            let tail = *after_return && line == "\n";
            *after_return = line.ends_with('\r');
            Some((!tail).then(|| line.trim_end_matches(['\n', '\r'])))
        })
        .flatten()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(text: &str, problem: Problem, place: (usize, usize)) -> String {
        let mut problem = problem;
        problem.file = Some("f.yaml".to_owned());
        (problem.line, problem.column) = (Some(place.0), Some(place.1));
        render(&Problems(vec![problem]), text, &Tree::read(text), true)
    }

    #[test]
    fn a_problem_without_a_place_has_no_line() {
        let problem = Problem::warning("a.b", "", "odd").help("even");
        let text = render(&Problems(vec![problem]), "x: 1\n", &Tree::default(), true);
        assert_eq!(text, "warning[a.b]: odd\n   = help: even\n");
    }

    #[test]
    fn places_outside_the_text_do_no_harm() {
        for place in [(0, 0), (1, 0), (1, 99), (99, 1), (usize::MAX, 1)] {
            let text = rendered("admin: {}\n", Problem::error("a.b", "admin", "odd"), place);
            assert!(text.starts_with("error[a.b]: odd\n"), "{text}");
        }
    }

    #[test]
    fn terminals_are_not_obeyed() {
        let text = "admin: {address: \"\u{1b}[31m\"}\n";
        let text = rendered(text, Problem::error("a.b", "admin", "odd"), (1, 1));
        assert!(text.contains("\u{FFFD}[31m") && !text.contains('\u{1b}'), "{text}");
    }

    #[test]
    fn lines_end_in_every_way() {
        assert_eq!(lines("a\nb\r\nc\rd"), ["a", "b", "c", "d"]);
        assert_eq!(lines("a\n\nb\r\n\r\nc\r\r"), ["a", "", "b", "", "c", ""]);
        assert_eq!(lines(""), [""; 0]);
    }

    #[test]
    fn keys_are_seen_in_block_and_flow() {
        let seen = |line| keys(line).into_iter().map(|(key, at)| format!("{key}@{at}"));
        assert_eq!(seen("  - key: v").collect::<Vec<_>>(), ["key@10"]);
        let flow = ["a@6", "b@14", "c@18"];
        assert_eq!(seen("{ a: 1, \"b\": {c: d:e}}").collect::<Vec<_>>(), flow.map(String::from));
        assert_eq!(seen("no key: ").count(), 1);
        assert_eq!(seen("no:key").count(), 0);
    }
}
