//! What the processes of a test wrote, for the report of its failure.
//!
//! Kept by thread: a test and everything it starts live on one thread, and its temporary
//! folders are gone by the time anybody could look.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// How much of each file is shown.
const LINES_MAX: usize = 40;

thread_local! {
    static FILES: RefCell<Vec<(String, PathBuf)>> = const { RefCell::new(Vec::new()) };
}

/// Adds a file to the reports of this thread.
pub(crate) fn add(name: &str, path: &Path) {
    FILES.with_borrow_mut(|files| files.push((name.to_owned(), path.to_owned())));
}

/// Forgets a file.
pub(crate) fn remove(path: &Path) {
    FILES.with_borrow_mut(|files| files.retain(|(_, known)| known != path));
}

/// The last lines of every file of this thread.
pub(crate) fn report() -> String {
    FILES.with_borrow(|files| {
        let mut report = String::new();
        for (name, path) in files {
            let _ = writeln!(report, "--- last lines of {name} ---\n{}", tail(path));
        }
        report
    })
}

/// The last lines of a file.
pub(crate) fn tail(path: &Path) -> String {
    let bytes = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES_MAX)..].join("\n")
}
