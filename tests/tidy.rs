//! The house rules, as a test: whoever breaks one sees the line and the rule.
//! `docs/ARCHITECTURE.md` says why each of them is there.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "this is a test")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Layer 0: words, facts, the request as data.
const GROUND: &[&str] = &["clock", "fault", "model", "edge", "telemetry", "link"];
/// Layer 1: one policy each. Siblings are strangers.
const POLICIES: &[&str] =
    &["wire", "routing", "action", "shape", "auth", "limit", "cache", "upstream"];

/// Which module may import which. An arrow that is not here goes up.
fn may_import() -> BTreeMap<&'static str, Vec<&'static str>> {
    let mut allowed = BTreeMap::from([
        ("clock", vec![]),
        ("fault", vec![]),
        ("model", vec![]),
        ("edge", vec!["fault", "model"]),
        ("telemetry", vec!["fault"]),
        ("link", vec!["clock"]),
        ("snapshot", [GROUND, POLICIES].concat()),
        ("decide", [GROUND, POLICIES, &["snapshot"]].concat()),
        ("live", [GROUND, POLICIES, &["snapshot"]].concat()),
        ("admin", [GROUND, &["live"]].concat()),
        ("proxy", [GROUND, POLICIES, &["snapshot", "decide", "live"]].concat()),
        ("server", [GROUND, &["wire", "live", "admin", "proxy"]].concat()),
        ("cli", [GROUND, POLICIES, &["snapshot", "decide", "live", "server"]].concat()),
        ("lib", vec![]),
        ("main", vec!["cli"]),
    ]);
    for policy in POLICIES {
        allowed.insert(policy, GROUND.to_vec());
    }
    allowed
}

/// Libraries that only some modules may know, so that replacing one stays a local change.
const CONFINED: &[(&str, &[&str])] = &[
    ("redis::", &["src/limit/redis.rs", "src/limit/script.rs", "src/link/", "src/auth/"]),
    ("sqlx::", &["src/auth/database/"]),
    ("sfv::", &["src/auth/message_signature/", "src/auth/headers/"]),
    ("reqwest::", &["src/auth/", "src/upstream/discovery/"]),
    ("hickory_resolver::", &["src/upstream/discovery/"]),
    ("jsonwebtoken::", &["src/auth/"]),
    ("ring::", &["src/auth/"]),
    (
        "rustls::",
        &[
            "src/wire/tls",
            "src/upstream/credentials.rs",
            "src/upstream/peer.rs",
            "src/upstream/discovery/consul.rs",
            "src/model/pem.rs",
            "src/snapshot/listeners.rs",
            "src/auth/keyset/fetch.rs",
            "src/auth/introspection/client.rs",
            "src/cli/",
        ],
    ),
    ("x509_parser::", &["src/wire/", "src/model/pem.rs"]),
    ("clap::", &["src/cli/"]),
    ("serde_yaml::", &["src/model/"]),
    ("maxminddb::", &["src/routing/geo.rs"]),
    ("notify::", &["src/live/watch.rs", "src/upstream/discovery/file.rs"]),
    ("pingora_limits::", &["src/limit/"]),
    ("pingora_ketama::", &["src/upstream/selection/"]),
    ("pingora_load_balancing::", &["src/upstream/"]),
    ("Identity::prove(", &["src/auth/"]),
    ("respond_error", &[]),
    (
        "clock::now()",
        &[
            "src/proxy/",
            "src/live/",
            "src/server/",
            "src/cli/",
            "src/admin/",
            "src/auth/keyset/source",
            "src/auth/revocation/upkeep.rs",
            "src/upstream/discovery/",
        ],
    ),
    (
        "with_label_values",
        &[
            "src/telemetry/",
            "src/live/reload.rs",
            "src/cli/run.rs",
            "src/auth/",
            "src/limit/",
            "src/cache/",
            "src/upstream/discovery/",
        ],
    ),
];

const LINES_MAX: usize = 400;
const COLUMNS_MAX: usize = 100;

#[test]
fn the_house_is_tidy() {
    let mut broken = Vec::new();
    let allowed = may_import();
    for file in rust_files(Path::new("src")) {
        let text = fs::read_to_string(&file).unwrap();
        let name = file.to_string_lossy().replace('\\', "/");
        if !is_test_code(&name) {
            check_imports(&name, &text, &allowed, &mut broken);
            check_confined(&name, &text, &mut broken);
        }
        check_shape(&name, &text, &mut broken);
    }
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
}

#[test]
fn the_map_names_every_module() {
    let map = fs::read_to_string("docs/ARCHITECTURE.md").unwrap();
    for module in may_import().keys().filter(|module| !["lib", "main"].contains(module)) {
        assert!(map.contains(&format!("`{module}`")), "docs/ARCHITECTURE.md lacks `{module}`");
    }
}

#[test]
fn lua_scripts_say_what_they_take() {
    for entry in fs::read_dir("lua").unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|end| end == "lua") {
            let text = fs::read_to_string(&path).unwrap();
            assert!(text.starts_with("-- "), "{}: begins with its contract", path.display());
            for word in ["math.random", "redis.log"] {
                assert!(!text.contains(word), "{}: {word}", path.display());
            }
        }
    }
}

fn module_of(name: &str) -> &str {
    let inside = name.trim_start_matches("src/");
    inside.split(['/', '.']).next().unwrap_or(inside)
}

fn check_imports(
    name: &str,
    text: &str,
    allowed: &BTreeMap<&str, Vec<&str>>,
    broken: &mut Vec<String>,
) {
    let module = module_of(name);
    let Some(targets) = allowed.get(module) else {
        broken.push(format!("{name}: the module `{module}` has no place in the layers"));
        return;
    };
    for (number, line) in code(text) {
        let mut rest = line;
        while let Some(at) = rest.find("crate::") {
            rest = &rest[at + "crate::".len()..];
            let target: String =
                rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            let known = allowed.contains_key(target.as_str());
            if known && target != module && !targets.contains(&target.as_str()) {
                broken.push(format!("{name}:{number}: `{module}` may not import `{target}`"));
            }
        }
    }
}

fn check_confined(name: &str, text: &str, broken: &mut Vec<String>) {
    for (word, places) in CONFINED {
        if places.iter().any(|place| name.starts_with(place)) {
            continue;
        }
        for (number, line) in code(text) {
            // `limit::redis::` is ours, `redis::` is the library's.
            let whole = line.match_indices(word).any(|(at, _)| {
                let before = line[..at].chars().next_back();
                !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':')
            });
            if whole {
                broken.push(format!("{name}:{number}: `{word}` belongs in {places:?} only"));
            }
        }
    }
}

fn check_shape(name: &str, text: &str, broken: &mut Vec<String>) {
    let own = text.split("#[cfg(test)]").next().unwrap_or(text);
    let lines = own.lines().count();
    let is_test = is_test_code(name);
    if lines > LINES_MAX && !is_test {
        broken.push(format!("{name}: {lines} lines without tests, at most {LINES_MAX}"));
    }
    if !is_test && !text.starts_with("//!") {
        broken.push(format!("{name}: begins with what it decides (`//!`)"));
    }
    for (number, line) in text.lines().enumerate() {
        let columns = line.chars().count();
        if columns > COLUMNS_MAX {
            broken.push(format!("{name}:{}: {columns} columns, at most {COLUMNS_MAX}", number + 1));
        }
        for word in ["TODO", "FIXME", "XXX"] {
            if line.contains(word) {
                broken.push(format!("{name}:{}: `{word}`", number + 1));
            }
        }
    }
}

/// Files that exist for unit tests only.
fn is_test_code(name: &str) -> bool {
    name.contains("/tests/")
        || ["/tests.rs", "/testing.rs", "/fixtures.rs"].iter().any(|end| name.ends_with(end))
}

/// Lines of code: comments and the unit tests at the end of a file do not count.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let own = text.split("#[cfg(test)]").next().unwrap_or(text);
    own.lines()
        .enumerate()
        .map(|(number, line)| (number + 1, line))
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|end| end == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}
