//! Regular expressions over whole texts, and what can be told about them beforehand.

use regex::Regex;
use regex_syntax::hir::{Class, Hir, HirKind, Look};

use crate::edge::normalise_path;

/// What is put around an expression so that it matches the whole text; the group keeps its
/// alternatives and flags inside.
const BEFORE: &str = r"\A(?:";
const AFTER: &str = r")\z";

/// Compiles an expression that must match the whole text. Matching takes linear time.
///
/// # Errors
/// Says in one line what is wrong with it.
pub(super) fn compile(pattern: &str) -> Result<Regex, String> {
    // Alone first: `a)|(b` is only an expression between our parentheses, and messages should
    // speak of what was written.
    Regex::new(pattern)
        .and_then(|_| Regex::new(&format!("{BEFORE}{pattern}{AFTER}")))
        .map_err(|e| one_line(&e))
}

/// The last line of a message; the lines before it draw the place.
fn one_line(e: &regex::Error) -> String {
    let text = e.to_string();
    let last = text.lines().last().unwrap_or_default();
    last.strip_prefix("error: ").unwrap_or(last).to_owned()
}

/// The expression as it was written.
pub(super) fn source(regex: &Regex) -> &str {
    let whole = regex.as_str();
    whole.strip_prefix(BEFORE).and_then(|rest| rest.strip_suffix(AFTER)).unwrap_or(whole)
}

/// What every path that an expression matches looks like.
#[derive(Clone, Debug, Default)]
pub(super) struct Shape {
    /// Every match begins with this.
    pub literal: String,
    /// Every match has exactly these segments, where that can be told.
    segments: Option<Vec<Segment>>,
}

/// A segment of every match.
#[derive(Clone, Debug, Default)]
struct Segment {
    /// It begins with this; it is this when closed.
    prefix: Vec<u8>,
    /// It ends with this, behind the open part.
    suffix: Vec<u8>,
    /// Whether something else stands between.
    open: bool,
}

impl Shape {
    /// Reads the shape off a compiled expression.
    pub(super) fn of(regex: &Regex) -> Self {
        let Ok(hir) = regex_syntax::parse(regex.as_str()) else { return Self::default() };
        let mut literal = Vec::new();
        push_literal(&hir, &mut literal);
        let mut segments = vec![Segment::default()];
        let segments = push_segments(&hir, &mut segments).then_some(segments);
        Self { literal: String::from_utf8(literal).unwrap_or_default(), segments }
    }

    /// The number of segments of every match, where that can be told.
    pub(super) fn segment_count(&self) -> Option<usize> {
        self.segments.as_ref().map(Vec::len)
    }

    /// The segments that are the same in every match, each with its place. Shapes that differ in
    /// one of them, or in the number of segments, are apart.
    pub(super) fn fixed_segments(&self) -> impl Iterator<Item = (usize, &[u8])> {
        let segments = self.segments.iter().flatten().enumerate();
        segments.filter(|(_, segment)| !segment.open).map(|(at, segment)| (at, &*segment.prefix))
    }

    /// Whether it is certain that no path matches both.
    pub(super) fn apart(&self, other: &Self) -> bool {
        let (Some(mine), Some(theirs)) = (&self.segments, &other.segments) else { return false };
        mine.len() != theirs.len()
            || mine.iter().zip(theirs).any(|(mine, theirs)| !mine.meets(theirs))
    }
}

/// Where reading a literal stops, in bytes: no longer path is matched.
const LITERAL_BYTES_MAX: usize = 8 * 1024;

/// Pushes the literal beginning; says whether the whole expression was literal.
fn push_literal(hir: &Hir, out: &mut Vec<u8>) -> bool {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(Look::Start) => true,
        HirKind::Literal(literal) => {
            out.extend_from_slice(&literal.0);
            true
        }
        HirKind::Capture(capture) => push_literal(&capture.sub, out),
        HirKind::Concat(parts) => parts.iter().all(|part| push_literal(part, out)),
        HirKind::Repetition(repetition) => {
            let certain = (0..repetition.min)
                .all(|_| out.len() < LITERAL_BYTES_MAX && push_literal(&repetition.sub, out));
            certain && repetition.max == Some(repetition.min)
        }
        HirKind::Look(_) | HirKind::Class(_) | HirKind::Alternation(_) => false,
    }
}

/// Splits an expression at its slashes; says whether it could. Assertions are skipped: without
/// them it matches more, and what more does not meet does not meet.
fn push_segments(hir: &Hir, out: &mut Vec<Segment>) -> bool {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => true,
        HirKind::Capture(capture) => push_segments(&capture.sub, out),
        HirKind::Concat(parts) => parts.iter().all(|part| push_segments(part, out)),
        HirKind::Literal(literal) => {
            for &byte in &literal.0 {
                match out.last_mut() {
                    Some(segment) if byte != b'/' => segment.push(byte),
                    _ => out.push(Segment::default()),
                }
            }
            true
        }
        HirKind::Class(_) | HirKind::Repetition(_) | HirKind::Alternation(_) => {
            if let Some(segment) = out.last_mut() {
                segment.open = true;
                segment.suffix.clear();
            }
            !may_hold_slash(hir)
        }
    }
}

fn may_hold_slash(hir: &Hir) -> bool {
    match hir.kind() {
        HirKind::Literal(literal) => literal.0.contains(&b'/'),
        HirKind::Class(class) => class_holds(class, '/'),
        kind => kind.subs().iter().any(may_hold_slash),
    }
}

fn class_holds(class: &Class, wanted: char) -> bool {
    match class {
        Class::Unicode(class) => {
            class.iter().any(|range| (range.start()..=range.end()).contains(&wanted))
        }
        Class::Bytes(class) => u8::try_from(wanted).is_ok_and(|wanted| {
            class.iter().any(|range| (range.start()..=range.end()).contains(&wanted))
        }),
    }
}

impl Segment {
    fn push(&mut self, byte: u8) {
        if self.open {
            self.suffix.push(byte);
        } else {
            self.prefix.push(byte);
        }
    }

    /// Whether a segment could be both.
    fn meets(&self, other: &Self) -> bool {
        match (self.open, other.open) {
            (false, false) => self.prefix == other.prefix,
            (false, true) => other.holds(&self.prefix),
            (true, false) => self.holds(&other.prefix),
            (true, true) => {
                let (short, long) = by_length(&self.prefix, &other.prefix);
                let (end, longer_end) = by_length(&self.suffix, &other.suffix);
                long.starts_with(short) && longer_end.ends_with(end)
            }
        }
    }

    fn holds(&self, text: &[u8]) -> bool {
        text.len() >= self.prefix.len() + self.suffix.len()
            && text.starts_with(&self.prefix)
            && text.ends_with(&self.suffix)
    }
}

fn by_length<'a>(a: &'a [u8], b: &'a [u8]) -> (&'a [u8], &'a [u8]) {
    if a.len() <= b.len() { (a, b) } else { (b, a) }
}

/// Longest example made up, in bytes.
const EXAMPLE_BYTES_MAX: usize = 200;

/// A path that the expression matches, where one is easy to make up.
pub(super) fn example_path(regex: &Regex) -> Option<String> {
    let hir = regex_syntax::parse(regex.as_str()).ok()?;
    let mut example = String::new();
    push_example(&hir, &mut example);
    let is_normal = normalise_path(&example).is_ok_and(|normal| *normal == *example);
    (is_normal && regex.is_match(&example)).then_some(example)
}

fn push_example(hir: &Hir, out: &mut String) {
    if out.len() > EXAMPLE_BYTES_MAX {
        return;
    }
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => {}
        HirKind::Literal(literal) => out.push_str(&String::from_utf8_lossy(&literal.0)),
        HirKind::Class(class) => {
            out.extend(
                ['a', '0', 'A', '-', '/'].into_iter().find(|&char| class_holds(class, char)),
            );
        }
        HirKind::Capture(capture) => push_example(&capture.sub, out),
        HirKind::Concat(parts) => parts.iter().for_each(|part| push_example(part, out)),
        HirKind::Alternation(parts) => {
            parts.iter().take(1).for_each(|part| push_example(part, out));
        }
        HirKind::Repetition(repetition) => {
            (0..repetition.min)
                .take(EXAMPLE_BYTES_MAX)
                .for_each(|_| push_example(&repetition.sub, out));
        }
    }
}

#[cfg(test)]
mod tests;
