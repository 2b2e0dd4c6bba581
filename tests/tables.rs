//! Documents that are written from tables: they say what the code says, or this test fails.
//! `UPDATE=1 cargo test --test tables` rewrites them.
#![allow(clippy::panic, clippy::unwrap_used, reason = "this is a test")]

use std::fmt::Write as _;
use std::fs;

use tidegate::drill::Point;
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

/// What `docs/failure-modes.md` says is so: every dependency has its four cells, every cell says
/// something and has a test that is there, and codes, metrics and log lines exist.
#[test]
fn failure_modes_are_whole_and_proved() {
    const ROWS: [&str; 4] = ["down", "slow", "wrong", "back again"];
    let text = fs::read_to_string("docs/failure-modes.md").unwrap();
    let source = sources();
    let mut broken = Vec::new();
    let mut dependencies = 0;
    let (tables, drills) = text.split_once("## Drills").unwrap();
    for section in tables.split("\n## ").skip(1) {
        let name = section.lines().next().unwrap();
        dependencies += 1;
        let rows: Vec<Vec<&str>> = section
            .lines()
            .filter(|line| line.starts_with("| ") && !line.starts_with("| |"))
            .map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect())
            .collect();
        let first: Vec<&str> = rows.iter().map(|row| row[0]).collect();
        if first != ROWS {
            broken.push(format!("{name}: rows are {first:?}"));
        }
        for row in &rows {
            if row.len() != 5 || row.iter().any(|cell| cell.is_empty()) {
                broken.push(format!("{name}, {}: {} cells", row[0], row.len()));
                continue;
            }
            let tests: Vec<&str> = row[4].split('`').skip(1).step_by(2).collect();
            let lacks = |test: &&&str| !is_test(test);
            broken.extend(tests.iter().filter(lacks).map(|test| format!("{name}: no {test}")));
            if tests.is_empty() {
                broken.push(format!("{name}, {}: no test", row[0]));
            }
            for said in row[1].split('"').skip(1).step_by(2).filter(|said| said.contains(' ')) {
                if !source.contains(said) {
                    broken.push(format!("{name}, {}: nobody logs {said:?}", row[0]));
                }
            }
        }
    }
    for word in text.split('`').skip(1).step_by(2) {
        let metric = word.split('{').next().unwrap();
        let is_known = Metrics::TABLE.iter().any(|(known, ..)| *known == metric);
        if metric.starts_with("tidegate_") && !is_known {
            broken.push(format!("no metric {metric}"));
        }
        let family = ["auth.", "limit.", "upstream.", "overload."];
        let is_code = family.iter().any(|family| word.starts_with(family));
        if is_code && !Fault::ALL.iter().any(|fault| fault.code() == word) {
            broken.push(format!("no code {word}"));
        }
    }
    for point in Point::ALL {
        if !drills.contains(&format!("`{}`", point.name)) {
            broken.push(format!("nothing is said of the drill {}", point.name));
        }
    }
    assert!(broken.is_empty(), "docs/failure-modes.md: {broken:#?}");
    assert!(dependencies > 15, "{dependencies}");
}

/// Whether `file.rs::function` is a test.
fn is_test(name: &str) -> bool {
    let Some((file, function)) = name.split_once("::") else { return false };
    let places = [format!("src/{file}"), format!("tests/{file}")];
    let code = places.iter().find_map(|place| fs::read_to_string(place).ok());
    let code = code.unwrap_or_default();
    let Some(at) = code.find(&format!("fn {function}(")) else { return false };
    // The attribute stands above, with comments and further attributes between at most.
    let above = code[..at].rsplit("\n}").next().unwrap_or_default();
    above.contains("#[test]") || above.contains("#[tokio::test")
}

/// The text of the whole source, with the line breaks inside strings taken out.
fn sources() -> String {
    fn gather(folder: &std::path::Path, all: &mut String) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                gather(&path, all);
            } else {
                all.push_str(&fs::read_to_string(&path).unwrap());
            }
        }
    }
    let mut all = String::new();
    gather(std::path::Path::new("src"), &mut all);
    let mut joined = String::with_capacity(all.len());
    for piece in all.split("\\\n") {
        joined.push_str(if joined.is_empty() { piece } else { piece.trim_start() });
    }
    joined
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
