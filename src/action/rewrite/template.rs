//! A text with groups of an expression in it.

use regex::{Captures, Regex};

/// A compiled template.
#[derive(Debug)]
pub(super) struct Template(Box<[Piece]>);

#[derive(Debug)]
enum Piece {
    Text(Box<str>),
    Group(usize),
}

impl Template {
    /// Reads a template; groups are `${1}` and `${name}`, every other `$` is itself.
    ///
    /// # Errors
    /// Says which group the expression does not have.
    pub(super) fn parse(text: &str, expression: &Regex) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            let (name, behind) =
                after.split_once('}').ok_or_else(|| format!("`${{{after}` has no closing `}}`"))?;
            let group = match name.parse::<usize>() {
                Ok(number) => (number < expression.captures_len()).then_some(number),
                Err(_) => expression.capture_names().position(|known| known == Some(name)),
            };
            let group =
                group.ok_or_else(|| format!("the expression has no group `{name}` to put here"))?;
            if !before.is_empty() {
                pieces.push(Piece::Text(before.into()));
            }
            pieces.push(Piece::Group(group));
            rest = behind;
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.into()));
        }
        Ok(Self(pieces.into()))
    }

    /// The template with the groups of a match; a group that took no part is empty.
    pub(super) fn fill(&self, captures: &Captures<'_>) -> String {
        let mut filled = String::new();
        for piece in &self.0 {
            filled.push_str(match piece {
                Piece::Text(text) => text,
                Piece::Group(group) => captures.get(*group).map_or("", |found| found.as_str()),
            });
        }
        filled
    }

    /// The template with a plain word for each group, to see what is fixed about it. A group at
    /// its beginning may bring the first slash along.
    pub(super) fn sample(&self) -> String {
        let mut sample = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => sample.push_str(text),
                Piece::Group(_) if sample.is_empty() => sample.push_str("/x"),
                Piece::Group(_) => sample.push('x'),
            }
        }
        sample
    }
}
