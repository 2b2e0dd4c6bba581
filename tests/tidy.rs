//! The house rules, as a test: whoever breaks one sees the line and the rule.
//! `docs/ARCHITECTURE.md` says why each of them is there.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "this is a test")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Layer 0: words, facts, the request as data.
const GROUND: &[&str] = &["clock", "fault", "model", "edge", "telemetry", "link", "drill"];
/// Layer 1: one policy each. Siblings are strangers.
const POLICIES: &[&str] =
    &["wire", "routing", "action", "shape", "auth", "limit", "cache", "compress", "upstream"];

/// Which module may import which. An arrow that is not here goes up.
fn may_import() -> BTreeMap<&'static str, Vec<&'static str>> {
    let mut allowed = BTreeMap::from([
        ("clock", vec![]),
        ("fault", vec![]),
        ("model", vec![]),
        ("edge", vec!["fault", "model"]),
        ("drill", vec![]),
        ("telemetry", vec!["fault", "drill"]),
        ("link", vec!["clock", "telemetry", "drill"]),
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
    (
        "redis::",
        &[
            "src/limit/redis",
            "src/limit/script.rs",
            "src/limit/fleet.rs",
            "src/limit/desk.rs",
            "src/limit/news.rs",
            "src/link/",
            "src/auth/",
            "src/cache/shared/calls.rs",
            "src/cache/purge/fleet.rs",
        ],
    ),
    ("sqlx::", &["src/auth/database/"]),
    (
        "sfv::",
        &[
            "src/cache/",
            "src/auth/message_signature/",
            "src/auth/headers/",
            "src/limit/headers/tests.rs",
        ],
    ),
    (
        "reqwest::",
        &["src/auth/", "src/upstream/discovery/", "src/cli/client.rs", "src/cli/drill/probe.rs"],
    ),
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
            "src/link/target.rs",
            "src/snapshot/listeners.rs",
            "src/auth/keyset/fetch.rs",
            "src/auth/introspection/client.rs",
            "src/cli/",
        ],
    ),
    ("x509_parser::", &["src/wire/", "src/model/pem.rs"]),
    ("clap::", &["src/cli/"]),
    ("clap_complete::", &["src/cli/generate.rs"]),
    ("clap_mangen::", &["src/cli/generate.rs"]),
    ("sd_notify::", &["src/server/notify.rs"]),
    ("serde_yaml::", &["src/model/"]),
    ("maxminddb::", &["src/routing/geo.rs"]),
    ("socket2::", &["src/server/sockets.rs"]),
    ("listenfd::", &["src/server/activation.rs"]),
    ("notify::", &["src/live/watch.rs", "src/upstream/discovery/file.rs"]),
    ("flate2::", &["src/compress/"]),
    ("brotli::", &["src/compress/"]),
    ("zstd::", &["src/compress/", "src/cache/shared/codec/body.rs"]),
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
            "src/cache/shared/",
            "src/upstream/discovery/",
        ],
    ),
    (
        "with_label_values",
        &[
            "src/telemetry/",
            "src/live/drills.rs",
            "src/live/reload.rs",
            "src/cli/run.rs",
            "src/auth/",
            "src/limit/",
            "src/cache/",
            "src/link/meters.rs",
            "src/server/desk.rs",
            "src/server/desk/",
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

/// Commands that scripts may use: Redis from 6.2 on, Valkey, `KeyDB` and Dragonfly have them all.
const LUA_COMMANDS: &[&str] = &[
    "DEL",
    "EXISTS",
    "GET",
    "PEXPIRE",
    "PTTL",
    "SET",
    "TIME",
    "TYPE",
    "ZADD",
    "ZCARD",
    "ZCOUNT",
    "ZRANGE",
    "ZRANGEBYSCORE",
    "ZREM",
    "ZREMRANGEBYSCORE",
    "ZSCORE",
];

/// What only some of them offer, or what a script must not depend on.
const LUA_FORBIDDEN: &[&str] = &[
    "#!lua",
    "bit.",
    "cjson",
    "cmsgpack",
    "loadstring",
    "os.",
    "redis.REDIS",
    "redis.acl_check_cmd",
    "redis.breakpoint",
    "redis.debug",
    "redis.replicate_commands",
    "redis.set_repl",
    "redis.setresp",
    "redis.sha1hex",
];

/// What calls a command, or a function whose first argument is a key.
const LUA_CALLS: &[&str] = &["redis.call(", "redis.pcall(", " read("];
const LUA_KEY_CALLS: &[&str] = &[" open(", "entries_of("];

/// T1: in a cluster a script is sent where its `KEYS` are, and Dragonfly locks these alone. So
/// every key is one of them, by name, and never put together from parts.
#[test]
fn lua_scripts_run_on_every_redis() {
    let mut broken = Vec::new();
    for entry in fs::read_dir("lua").unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|end| end == "lua") {
            check_script(
                &path.display().to_string(),
                &fs::read_to_string(&path).unwrap(),
                &mut broken,
            );
        }
    }
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
    for (script, what) in [
        ("redis.call('GET', 'a')", "a key that is not of KEYS"),
        ("redis.call('GET', ARGV[1])", "an argument as a key"),
        ("redis.call('GET', KEYS[1] .. 'a')", "a key put together"),
        ("local key = ARGV[1]\nredis.call('GET', key)", "an argument under another name"),
        ("redis.call('KEYS', KEYS[1])", "a command that is not for scripts"),
        ("redis.call(name, KEYS[1])", "a command that is not a word"),
        ("redis.setresp(3)", "a function that not all have"),
    ] {
        let mut broken = Vec::new();
        check_script("test", script, &mut broken);
        assert!(!broken.is_empty(), "{what} is found");
    }
    let mut broken = Vec::new();
    let good = "for i, key in ipairs(KEYS) do\nredis.call('GET', key)\nend\nredis.call('TIME')";
    check_script("test", good, &mut broken);
    assert!(broken.is_empty(), "{broken:?}");
}

fn check_script(name: &str, text: &str, broken: &mut Vec<String>) {
    let code = text.lines().map(|line| line.split("--").next().unwrap_or(""));
    let code = code.collect::<Vec<_>>().join("\n");
    for word in LUA_FORBIDDEN {
        if code.contains(word) {
            broken.push(format!("{name}: `{word}`"));
        }
    }
    for call in LUA_CALLS {
        for (at, _) in code.match_indices(call) {
            let arguments = arguments(&code[at + call.len()..]);
            // The definition of a function that hands its arguments on.
            if arguments == ["..."] {
                continue;
            }
            let command = arguments.first().map_or("", |word| word.trim_matches('\''));
            if !LUA_COMMANDS.contains(&command) {
                broken.push(format!("{name}: `{call}{command}`: not a command for scripts"));
            }
            let key = arguments.get(1).copied();
            if command != "TIME" && !key.is_some_and(|key| is_of_keys(key, &code)) {
                broken.push(format!("{name}: {command} of {key:?}: not of KEYS"));
            }
        }
    }
    for call in LUA_KEY_CALLS {
        for (at, _) in code.match_indices(call) {
            let is_definition = code[..at].trim_end().ends_with("function");
            let arguments = arguments(&code[at + call.len()..]);
            if !is_definition && !arguments.first().is_some_and(|key| is_of_keys(key, &code)) {
                broken.push(format!("{name}: `{call}{arguments:?}`: not of KEYS"));
            }
        }
    }
}

/// The arguments of a call, where none of the first two is a call itself.
fn arguments(rest: &str) -> Vec<&str> {
    let end = rest.find([')', '\n']).unwrap_or(rest.len());
    rest[..end].split(',').map(str::trim).collect()
}

/// Whether an expression is one of `KEYS`, or a name for one.
fn is_of_keys(expression: &str, code: &str) -> bool {
    let is_name = |c: char| c.is_alphanumeric() || c == '_' || c == '.';
    if let Some(index) = expression.strip_prefix("KEYS[").and_then(|rest| rest.strip_suffix(']')) {
        return index.chars().all(is_name);
    }
    if !expression.chars().all(is_name) {
        return false;
    }
    // A parameter named so: those who call are looked at too. A field holds what it was given.
    let names = expression.rsplit('.').next() == Some("key");
    let is_loop = code.lines().any(|line| {
        line.contains("in ipairs(KEYS)") && line.split([' ', ',']).any(|word| word == expression)
    });
    let mut bindings = code.lines().filter_map(|line| {
        let (left, right) = line.trim_start().strip_prefix("local ")?.split_once(" = ")?;
        let place = left.split(',').position(|name| name.trim() == expression)?;
        Some(right.split(',').nth(place).is_some_and(|value| value.trim().starts_with("KEYS[")))
    });
    match bindings.next() {
        None => names || is_loop,
        Some(first) => first && bindings.all(|is_key| is_key),
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
