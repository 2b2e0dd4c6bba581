//! Problems of a service, told once however many routes lead to it.

use crate::model::{Problem, Problems};

/// Collects what is wrong with an upstream, and whether it can be used.
pub(super) struct Findings<'a> {
    problems: &'a mut Problems,
    refused: bool,
}

impl<'a> Findings<'a> {
    pub(super) const fn new(problems: &'a mut Problems) -> Self {
        Self { problems, refused: false }
    }

    /// Notes an error: the upstream cannot be used.
    pub(super) fn error(&mut self, problem: Problem) {
        self.refused = true;
        self.push(problem);
    }

    /// Notes a warning.
    pub(super) fn warning(&mut self, problem: Problem) {
        self.push(problem);
    }

    /// Whether an error was noted here, even one that another route had led to before.
    pub(super) const fn refused(&self) -> bool {
        self.refused
    }

    fn push(&mut self, problem: Problem) {
        if !self.problems.0.contains(&problem) {
            self.problems.push(problem);
        }
    }
}
