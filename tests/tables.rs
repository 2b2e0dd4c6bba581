//! Documents that are written from tables: they say what the code says, or this test fails.
//! `UPDATE=1 cargo test --test tables` rewrites them.
#![allow(clippy::panic, clippy::unwrap_used, reason = "this is a test")]

use std::fmt::Write as _;
use std::fs;

use tidegate::fault::Fault;
use tidegate::model::json_schema;
use tidegate::telemetry::Metrics;

const BEGIN: &str = "<!-- table: written by tests/tables.rs -->";
const END: &str = "<!-- end of table -->";

#[test]
fn faults_are_documented() {
    let mut table = String::from("| Code | Status | Title |\n|---|---|---|\n");
    for fault in Fault::ALL {
        writeln!(table, "| `{}` | {} | {} |", fault.code(), fault.status(), fault.title()).unwrap();
    }
    hold("docs/faults.md", &table);
}

#[test]
fn metrics_are_documented() {
    let mut table = String::from("| Metric | Labels | Meaning |\n|---|---|---|\n");
    for (name, labels, help) in Metrics::TABLE {
        writeln!(table, "| `{name}` | {} | {help} |", labels.join(", ")).unwrap();
    }
    hold("docs/metrics.md", &table);
}

#[test]
fn the_schema_is_the_one_of_the_code() {
    let schema = format!("{:#}\n", json_schema());
    if std::env::var_os("UPDATE").is_some() {
        fs::write("docs/schema.json", &schema).unwrap();
    }
    let kept = fs::read_to_string("docs/schema.json").unwrap_or_default();
    assert!(kept == schema, "docs/schema.json is old: run `make schema`");
}

#[test]
fn codes_are_unique() {
    let mut codes: Vec<&str> = Fault::ALL.iter().map(|fault| fault.code()).collect();
    codes.sort_unstable();
    codes.dedup();
    assert_eq!(codes.len(), Fault::ALL.len());
}

/// What `docs/requirements.md` names exists: files, and the functions that prove a row.
#[test]
fn the_proofs_of_requirements_exist() {
    let text = fs::read_to_string("docs/requirements.md").unwrap();
    let mut missing = Vec::new();
    let mut last = String::new();
    for word in text.split('`').skip(1).step_by(2) {
        let (file, function) = word.split_once("::").unwrap_or((word, ""));
        let file = if file.is_empty() { last.as_str() } else { file };
        let is_code = file.ends_with("rs");
        let has_end = [".rs", ".lua", ".md"].iter().any(|end| file.ends_with(end));
        if !has_end {
            continue;
        }
        let places = [format!("src/{file}"), format!("tests/{file}"), file.to_owned()];
        let found = places.iter().find_map(|place| fs::read_to_string(place).ok());
        let proved = found.is_some_and(|code| code.contains(&format!("fn {function}")));
        if !proved && (is_code || !fs::exists(file).unwrap()) {
            missing.push(word.to_owned());
        }
        last = file.to_owned();
    }
    assert!(missing.is_empty(), "docs/requirements.md names what is not there: {missing:#?}");
}

/// Compares, or with `UPDATE` rewrites, the table between the marks of a document.
fn hold(document: &str, table: &str) {
    let text = fs::read_to_string(document).unwrap_or_default();
    let parts = text.split_once(BEGIN).and_then(|(before, rest)| {
        let (kept, after) = rest.split_once(END)?;
        Some((before, kept, after))
    });
    let Some((before, kept, after)) = parts else { panic!("{document} lacks the table's marks") };
    if std::env::var_os("UPDATE").is_some() {
        let text = format!("{before}{BEGIN}\n\n{table}\n{END}{after}");
        assert!(fs::write(document, text).is_ok(), "{document} cannot be written");
        return;
    }
    assert_eq!(kept.trim(), table.trim(), "{document} is old: UPDATE=1 cargo test --test tables");
}
