//! What is wrong with a configuration, in words that lead to the fix.

use std::fmt;

use serde::Serialize;

/// Whether a problem stops the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The configuration is refused.
    Error,
    /// The configuration runs, perhaps not as meant.
    Warning,
}

/// One problem.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Whether it stops the configuration.
    pub severity: Severity,
    /// Stable code, `subject.what`, for example `reference.unknown`.
    pub code: &'static str,
    /// Place in the document, `routes[3].policies.rateLimit`; empty for the whole document.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What would be right, if that can be said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// File, where the text came from one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Line, from 1, where known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// Column, from 1, where known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<usize>,
}

impl Problem {
    /// An error at a place of the document.
    pub fn error(code: &'static str, path: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            code,
            path: path.into(),
            message: message.into(),
            help: None,
            file: None,
            line: None,
            column: None,
        }
    }

    /// A warning at a place of the document.
    pub fn warning(
        code: &'static str,
        path: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, path, message) }
    }

    /// Adds what would be right.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// Collects problems while a configuration is read or compiled.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    /// Notes one more problem.
    pub fn push(&mut self, problem: Problem) {
        self.0.push(problem);
    }

    /// Whether any of them stops the configuration.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.0.iter().any(|problem| problem.severity == Severity::Error)
    }

    /// The known word that `word` was probably meant to be, as a help line.
    pub fn did_you_mean<'a>(
        word: &str,
        known: impl IntoIterator<Item = &'a str>,
    ) -> Option<String> {
        Self::nearest(word, known).map(|candidate| format!("did you mean `{candidate}`?"))
    }

    /// The known word that `word` was probably meant to be. Capitals do not count, and longer
    /// words may differ more.
    pub(super) fn nearest<'a>(
        word: &str,
        known: impl IntoIterator<Item = &'a str>,
    ) -> Option<&'a str> {
        let folded = word.to_lowercase();
        let length = folded.chars().count();
        // Words of another length are too far off; and where thousands are not, comparing each
        // of thousands of wrong words with all of them would take minutes.
        let is_near = |candidate: &&str| {
            candidate.chars().count().abs_diff(length) <= 1 + candidate.len() / 4
        };
        let known = known.into_iter().filter(is_near).take(COMPARED_MAX).map(|candidate| {
            (strsim::damerau_levenshtein(&folded, &candidate.to_lowercase()), candidate)
        });
        known
            // Of a word that was meant, more than half is right.
            .filter(|(distance, candidate)| {
                *distance <= 1 + candidate.len() / 4 && *distance * 2 < candidate.len()
            })
            .min()
            .map(|(_, candidate)| candidate)
    }
}

/// Most known words that one wrong word is compared with.
const COMPARED_MAX: usize = 1_000;

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}

/// One line, for logs: `error[key.unknown]: gateway.yaml:3:5: routes[0].nmae: unknown key ...`.
/// [`super::Loaded::render`] writes the form for people, with the line of the file.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]: ", self.severity, self.code)?;
        if let Some(file) = &self.file {
            write!(f, "{file}:")?;
            if let (Some(line), Some(column)) = (self.line, self.column) {
                write!(f, "{line}:{column}:")?;
            }
            f.write_str(" ")?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)?;
        if let Some(help) = &self.help {
            write!(f, " ({help})")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_suggested_and_far_ones_are_not() {
        let known = ["rateLimit", "retries", "auth"];
        let meant = |word: &str| Problems::nearest(word, known);
        assert_eq!(meant("ratelimit"), Some("rateLimit"));
        assert_eq!(meant("rate_limit"), Some("rateLimit"));
        assert_eq!(meant("retrys"), Some("retries"));
        assert_eq!(meant("atuh"), Some("auth"));
        assert_eq!(meant("cache"), None);
        assert_eq!(meant(""), None);
        assert_eq!(Problems::nearest("some", ["all", "none"]), None);
        assert_eq!(Problems::nearest("xy", ["ab", "a"]), None);
        let many: Vec<String> = (0..100_000).map(|i| format!("{i}-of-another-length")).collect();
        let many = many.iter().map(String::as_str).chain(known);
        assert_eq!(Problems::nearest("retrys", many), Some("retries"));
        assert_eq!(
            Problems::did_you_mean("retris", known).as_deref(),
            Some("did you mean `retries`?")
        );
    }

    #[test]
    fn a_problem_is_one_line_in_logs() {
        let mut problem = Problem::warning("route.shadowed", "routes[1]", "never matches");
        assert_eq!(problem.to_string(), "warning[route.shadowed]: routes[1]: never matches");
        problem.file = Some("a.yaml".to_owned());
        problem = problem.help("move it up");
        let place = "warning[route.shadowed]: a.yaml: routes[1]: never matches (move it up)";
        assert_eq!(problem.to_string(), place);
        (problem.line, problem.column) = (Some(3), Some(5));
        assert!(problem.to_string().starts_with("warning[route.shadowed]: a.yaml:3:5: routes[1]:"));
    }
}
