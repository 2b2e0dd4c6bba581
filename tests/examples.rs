//! Every configuration that the documents show is one that the gateway accepts.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "this is a test")]

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidegate::live::{Missing, judge};
use tidegate::model::Severity;
use tidegate::telemetry::Metrics;
use tidegate::upstream::Upstreams;

/// Blocks that show a part have no `routes`, or no `listeners`: what every configuration has is
/// added to them.
const LISTENERS: &str = "listeners: [{name: public, address: 127.0.0.1:8080}]\n";
const ROUTES: &str = "routes: [{name: all, match: {}, upstream: {service: any}, \
                      policies: {auth: none}}]\nservices: {any: {endpoints: [{address: 127.0.0.1:80}]}}\n";

#[test]
fn the_configurations_in_the_documents_are_good() {
    let folder = tempfile::tempdir().unwrap();
    let mut wrong = String::new();
    let mut count = 0;
    for document in documents() {
        let text = fs::read_to_string(&document).unwrap();
        for (line, block) in blocks(&text) {
            count += 1;
            let file = folder.path().join("gateway.yaml");
            fs::write(&file, completed(block)).unwrap();
            for problem in problems(&file) {
                let _ = writeln!(wrong, "{}:{line}: {problem}", document.display());
            }
        }
    }
    assert!(count >= 5, "only {count} blocks were found");
    assert!(wrong.is_empty(), "\n{wrong}");
}

fn documents() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let docs = fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
    docs.filter(|path| path.extension().is_some_and(|end| end == "md"))
        .chain([root.join("README.md")])
        .collect()
}

/// The YAML blocks of a document with the line that each begins on.
fn blocks(text: &str) -> Vec<(usize, &str)> {
    let mut blocks = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("```yaml\n") {
        let (block, after) = after.split_once("```").expect("a block ends");
        let start = text.len() - rest.len() + before.len();
        let line = text.get(..start).unwrap().lines().count() + 1;
        blocks.push((line, block));
        rest = after;
    }
    blocks
}

fn completed(block: &str) -> String {
    let mut whole = block.to_owned();
    let has = |key: &str| block.lines().any(|line| line.starts_with(key));
    if !has("listeners:") {
        whole.push_str(LISTENERS);
    }
    if !has("routes:") {
        whole.push_str(ROUTES);
    }
    whole
}

fn problems(file: &Path) -> Vec<String> {
    let metrics = Arc::new(Metrics::new().unwrap());
    let judged = judge(file, Missing::Noted, &metrics, &Upstreams::default(), 1);
    let errors = judged.problems.0.iter().filter(|problem| problem.severity == Severity::Error);
    errors.map(ToString::to_string).collect()
}
