//! From a file or text to a [`Config`], or to every problem it has.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt::{self, Write};
use std::path::Path;
use std::sync::{Arc, OnceLock};

use sha2::{Digest, Sha256};

use super::locate::Tree;
use super::path::{self, Step};
use super::recover::recover;
use super::{Config, Problem, Problems, parse, render};

/// A configuration as read, with its identity.
#[derive(Clone)]
pub struct Loaded {
    /// The configuration; none when it has errors that leave nothing to compile. If `problems`
    /// has errors it is what is left after repair: good for finding further problems, never to
    /// be run.
    pub config: Option<Config>,
    /// Everything found so far; `Loaded::place` gives later problems their line.
    pub problems: Problems,
    /// SHA-256 of the bytes of the file, in lower-case hexadecimal.
    pub sha256: String,
    /// Name of the file, for problems.
    file: String,
    /// The text, for lines.
    text: Arc<str>,
    /// The positions in the text, read when the first problem asks for them.
    tree: Arc<OnceLock<Tree>>,
    /// Whether the text is one YAML document throughout.
    sound: bool,
    /// What reading already complained about, and what it took out.
    repaired: Arc<Repaired>,
}

/// The traces of repair, which later problems are compared with.
#[derive(Default)]
struct Repaired {
    /// Paths with an error.
    at: HashSet<String>,
    /// Paths above those, as far as an error below may well be the reason for one there.
    above: HashSet<String>,
    /// Indexes of the items that were taken out, by the path of their list.
    dropped: BTreeMap<String, BTreeSet<usize>>,
}

/// Problems of form that are told at once.
const PROBLEMS_MAX: usize = 100;

/// Reads a configuration file.
///
/// A file that cannot be read, or is not UTF-8, gives a `Loaded` without a configuration and with
/// that one problem.
#[must_use]
pub fn load_file(path: &Path) -> Loaded {
    let file = path.display().to_string();
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) => {
            let message = format!("the file cannot be read: {error}");
            return Loaded::refused(&[], &file, "", Problem::error("file.unreadable", "", message));
        }
    };
    match std::str::from_utf8(&bytes) {
        Ok(text) => Loaded::of(text, &file),
        Err(error) => {
            let valid = bytes.get(..error.valid_up_to()).unwrap_or_default();
            let valid = String::from_utf8_lossy(valid);
            let mut problem =
                Problem::error("file.encoding", "", "the file is not UTF-8 from here on")
                    .help("save it as UTF-8");
            problem.line = Some(valid.matches('\n').count() + 1);
            problem.column = valid.rsplit('\n').next().map(|line| line.chars().count() + 1);
            Loaded::refused(&bytes, &file, &valid, problem)
        }
    }
}

/// Reads a configuration from text; `file` names it in problems.
#[must_use]
pub fn load_text(text: &str, file: &str) -> Loaded {
    Loaded::of(text, file)
}

impl Loaded {
    fn of(source: &str, file: &str) -> Self {
        let text = source.strip_prefix('\u{FEFF}').unwrap_or(source);
        let parsed = parse::parse(text);
        let second = |problem: &Problem| problem.code == "yaml.documents";
        let mut loaded = Self {
            config: None,
            problems: Problems::default(),
            sha256: sha256(source.as_bytes()),
            file: file.to_owned(),
            text: text.into(),
            tree: Arc::default(),
            sound: parsed.whole && !parsed.problems.iter().any(second),
            repaired: Arc::default(),
        };
        let mut problems = Problems(parsed.problems);
        let mut repaired = Repaired::default();
        if let Some(document) = parsed.document {
            let recovered = recover(document);
            repaired = Repaired::of(&recovered.problems, recovered.dropped);
            problems.0.extend(recovered.problems);
            loaded.config = recovered.config.filter(|_| parsed.whole);
        }
        loaded.locate(&mut problems, true);
        loaded.problems = problems;
        loaded.repaired = Arc::new(repaired);
        loaded.tidy();
        loaded
    }

    /// A file of which nothing could be read.
    fn refused(bytes: &[u8], file: &str, text: &str, mut problem: Problem) -> Self {
        problem.file = Some(file.to_owned());
        Self {
            config: None,
            problems: Problems(vec![problem]),
            sha256: sha256(bytes),
            file: file.to_owned(),
            text: text.into(),
            tree: Arc::default(),
            sound: false,
            repaired: Arc::default(),
        }
    }

    /// Gives problems found later (by `snapshot::compile`) their file, line and column.
    ///
    /// In a configuration with errors of form it also takes out problems that only follow from
    /// one of them, and corrects the indexes of list items behind one that had to be left out.
    pub fn place(&self, problems: &mut Problems) {
        let fresh = |problem: &Problem| problem.line.is_none() && problem.file.is_none();
        problems.0.retain_mut(|problem| {
            if !fresh(problem) {
                return true;
            }
            let mut steps = path::parse(&problem.path);
            if self.repaired.shift(&mut steps) {
                problem.path = path::render(&steps);
            }
            !self.repaired.explains(&steps)
        });
        self.locate(problems, false);
    }

    /// Gives problems their file, and the line and column of their path. What concerns the whole
    /// document has a place only if it is about the text itself.
    fn locate(&self, problems: &mut Problems, about_text: bool) {
        let unplaced =
            |problem: &Problem| problem.line.is_none() && (about_text || !problem.path.is_empty());
        for problem in &mut problems.0 {
            if unplaced(problem)
                && let Some(extent) = self.tree().find(&path::parse(&problem.path))
            {
                problem.line = Some(extent.start.line);
                problem.column = Some(extent.start.column);
            }
            problem.file.get_or_insert_with(|| self.file.clone());
        }
    }

    /// Renders problems for people: each with its line of the file, a mark below the place, and
    /// what would be right. Secrets in those lines are hidden.
    #[must_use]
    pub fn render(&self, problems: &Problems) -> String {
        render::render(problems, &self.text, self.tree(), self.sound)
    }

    fn tree(&self) -> &Tree {
        self.tree.get_or_init(|| Tree::read(&self.text))
    }

    /// Puts the problems into the order of the text, says the same thing about the same place
    /// once, and keeps the first hundred.
    fn tidy(&mut self) {
        let problems = &mut self.problems.0;
        problems.sort_by_key(|problem| {
            (problem.line.unwrap_or(usize::MAX), problem.column.unwrap_or(usize::MAX))
        });
        // An anchor is checked wherever it is used.
        problems.dedup_by(|again, first| {
            first.line.is_some()
                && (again.line, again.column, again.code) == (first.line, first.column, first.code)
                && again.message == first.message
        });
        let more = problems.len().saturating_sub(PROBLEMS_MAX);
        if more > 0 {
            problems.truncate(PROBLEMS_MAX);
            let message = format!("there are {more} more problems, which are not shown");
            let mut last = Problem::error("file.problems", "", message).help("correct these first");
            last.file = Some(self.file.clone());
            problems.push(last);
        }
    }
}

/// The text of a configuration may hold secrets, so it is not shown.
impl fmt::Debug for Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loaded")
            .field("file", &self.file)
            .field("sha256", &self.sha256)
            .field("config", &self.config)
            .field("problems", &self.problems)
            .finish_non_exhaustive()
    }
}

impl Repaired {
    fn of(problems: &[Problem], dropped: BTreeMap<String, BTreeSet<usize>>) -> Self {
        let mut repaired = Self { dropped, ..Self::default() };
        for problem in problems.iter().filter(|problem| problem.code != "key.unknown") {
            let steps = path::parse(&problem.path);
            for length in 1..steps.len() {
                // Its own mapping, and above that whatever is only a part of an item: a list of
                // shares with a bad one adds up wrongly, but a route stays judged.
                if length + 1 == steps.len() || length >= 3 {
                    repaired.above.insert(path::render(steps.get(..length).unwrap_or_default()));
                }
            }
            if !steps.is_empty() {
                repaired.at.insert(path::render(&steps));
            }
        }
        repaired
    }

    /// Turns indexes of the repaired document into those of the text; whether any changed.
    fn shift(&self, steps: &mut [Step]) -> bool {
        let mut changed = false;
        for at in 0..steps.len() {
            let Some((above, [Step::Item(index), ..])) = steps.split_at_mut_checked(at) else {
                continue;
            };
            let Some(dropped) = self.dropped.get(&path::render(above)) else { continue };
            for gone in dropped {
                if gone <= index {
                    *index += 1;
                    changed = true;
                }
            }
        }
        changed
    }

    /// Whether a later problem at a place only follows from an earlier error.
    fn explains(&self, steps: &[Step]) -> bool {
        if self.at.is_empty() || steps.is_empty() {
            return false;
        }
        let within = |length: usize| {
            steps.get(..length).is_some_and(|above| self.at.contains(&path::render(above)))
        };
        self.above.contains(&path::render(steps)) || (1..=steps.len()).any(within)
    }
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::with_capacity(64), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests;
