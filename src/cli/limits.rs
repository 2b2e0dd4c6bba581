//! `tidegate limits`.

mod simulate;

use std::fmt::Write;
use std::process::ExitCode;

use serde_json::Value;

use super::args::{LimitsArgs, LimitsCommand, OneCounter, Running};
use super::client::{Client, Method};
use super::done;
use super::page::{at, facts, table, text};
use crate::limit::script::KEY_VERSION;

pub(super) fn limits(args: &LimitsArgs) -> ExitCode {
    match &args.command {
        None => done(list(&args.running)),
        Some(LimitsCommand::List(running)) => done(list(running)),
        Some(LimitsCommand::Show(one)) => done(show(one)),
        Some(LimitsCommand::Reset(one)) => done(reset(one)),
        Some(LimitsCommand::Simulate(args)) => simulate::simulate(args),
    }
}

fn list(running: &Running) -> Result<String, String> {
    let told = &Client::of(running)?.ask(Method::Get, "/admin/limits")?;
    if running.json {
        return Ok(format!("{told:#}\n"));
    }
    let mut rows = Vec::new();
    for limit in items(at(told, "limits")) {
        for tier in items(at(limit, "tiers")) {
            rows.push(vec![
                text(at(limit, "name")),
                text(at(tier, "plan")),
                words(at(limit, "key"), " "),
                text(at(tier, "counts")),
                if *at(limit, "shadow") == true { "shadow" } else { "-" }.to_owned(),
                words(at(limit, "routes"), " "),
            ]);
        }
    }
    let page = table(&["LIMIT", "PLAN", "KEY", "COUNTS", "SHADOW", "ROUTES"], &rows);
    Ok(format!("{page}\n{}", limiter(at(told, "limiter"))))
}

/// How the limiter does, in a line or two.
fn limiter(told: &Value) -> String {
    let redis = match (at(at(told, "redis"), "breaker"), at(at(told, "redis"), "failures")) {
        (Value::Null, _) => "none, limits count on this node alone".to_owned(),
        (breaker, failures) => format!("breaker {}, {failures} failures", text(breaker)),
    };
    let mut rows = vec![("redis", redis)];
    for (key, title) in
        [("nodes", "nodes"), ("localKeys", "counted here"), ("held", "held in advance")]
    {
        rows.push((title, at(told, key).to_string()));
    }
    facts(&rows)
}

fn show(one: &OneCounter) -> Result<String, String> {
    let told = &Client::of(&one.running)?.ask(Method::Get, &address(one))?;
    if one.running.json {
        return Ok(format!("{told:#}\n"));
    }
    let redis = match (at(told, "redis"), at(told, "redisError")) {
        (Value::Null, Value::Null) => "none is configured".to_owned(),
        (Value::Null, why) => format!("cannot be asked: {}", text(why)),
        (stand, _) => standing(stand),
    };
    let mut rows = vec![
        ("limit", text(at(told, "limit"))),
        ("counts", text(at(told, "counts"))),
        ("key", text(at(told, "key"))),
        ("in redis", redis),
    ];
    if *at(told, "node") != Value::Null {
        rows.push(("this node", standing(at(told, "node"))));
    }
    if let Some(ms) = at(told, "refusedForMs").as_u64() {
        rows.push(("refused", format!("here without asking, for {}", span(ms))));
    }
    if let Some(held) = at(told, "held").as_u64() {
        rows.push(("held", format!("{held} taken in advance by this node")));
    }
    Ok(facts(&rows))
}

fn reset(one: &OneCounter) -> Result<String, String> {
    let told = &Client::of(&one.running)?.ask(Method::Delete, &address(one))?;
    if one.running.json {
        return Ok(format!("{told:#}\n"));
    }
    let heard = match at(told, "told").as_u64() {
        Some(1) => ", one node heard of it".to_owned(),
        Some(nodes) => format!(", {nodes} nodes heard of it"),
        None if *at(told, "redis") == true => ", the other nodes could not be told".to_owned(),
        None => " on this node".to_owned(),
    };
    Ok(format!("{} starts afresh{heard}\n", text(at(told, "key"))))
}

/// Where the counter is at the admin listener.
fn address(one: &OneCounter) -> String {
    let plan = one.plan.as_ref().map(|plan| ("plan", plan.as_str()));
    let parts = one.parts.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let (limit, parts): (&str, Vec<_>) = match limit_of(&one.limit) {
        Some(limit) => {
            let key = std::iter::once(("key", one.limit.as_str()));
            (limit, key.chain(parts).chain(plan).collect())
        }
        None => (&one.limit, parts.chain(plan).collect()),
    };
    let query: Vec<String> =
        parts.iter().map(|(name, value)| format!("{}={}", escape(name), escape(value))).collect();
    let query = if query.is_empty() { String::new() } else { format!("?{}", query.join("&")) };
    format!("/admin/limits/{}{query}", escape(limit))
}

/// The limit of a counter's name, `PREFIX:rl2:LIMIT:FINGERPRINT:{TAG}:ID`; none where it is the
/// name of a limit.
fn limit_of(text: &str) -> Option<&str> {
    let (head, _) = text.rsplit_once(":{")?;
    let (head, _fingerprint) = head.rsplit_once(':')?;
    let version = format!("{KEY_VERSION}:");
    let at = head.find(&version)?;
    head.get(at + version.len()..)
}

/// For paths and queries: all but letters, digits and `-._~` as `%XX`.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            // Writing into a string cannot fail.
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}

fn standing(stand: &Value) -> String {
    let reset = at(stand, "resetMs").as_u64().unwrap_or(0);
    let more = if reset == 0 { String::new() } else { format!(", more in {}", span(reset)) };
    format!("{} used, {} left{more}", at(stand, "used"), at(stand, "remaining"))
}

fn span(ms: u64) -> String {
    humantime::format_duration(std::time::Duration::from_millis(ms)).to_string()
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

fn words(list: &Value, between: &str) -> String {
    let words: Vec<String> = items(list).map(text).collect();
    if words.is_empty() { "-".to_owned() } else { words.join(between) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(limit: &str, parts: &[(&str, &str)], plan: Option<&str>) -> OneCounter {
        OneCounter {
            running: Running { admin: None, config: None, json: false },
            limit: limit.to_owned(),
            parts: parts.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
            plan: plan.map(ToOwned::to_owned),
        }
    }

    #[test]
    fn a_counter_has_an_address() {
        assert_eq!(address(&one("burst", &[], None)), "/admin/limits/burst");
        let parts = [("tenantId", "a&b=c d+ü"), ("claim:n:", "5")];
        assert_eq!(
            address(&one("v1/orders:read@eu", &parts, Some("pro"))),
            "/admin/limits/v1%2Forders%3Aread%40eu\
             ?tenantId=a%26b%3Dc%20d%2B%C3%BC&claim%3An%3A=5&plan=pro"
        );
    }

    #[test]
    fn a_key_names_its_limit() {
        for (key, limit) in [
            ("rl2:burst:0a1b2c3d:{00112233}:aa", "burst"),
            ("tidegate:rl2:burst:0a1b2c3d:{00112233}:aa", "burst"),
            ("rl2:v1/orders:read:0a1b2c3d:{00112233}:aa", "v1/orders:read"),
        ] {
            let key = key.replace("rl2", KEY_VERSION);
            assert_eq!(limit_of(&key), Some(limit), "{key}");
            let address = address(&one(&key, &[], None));
            assert!(address.contains(&format!("?key={}", escape(&key))), "{address}");
        }
        for name in ["burst", "v1/orders:read@eu", "rl2", "rl2:x"] {
            assert_eq!(limit_of(name), None, "{name}");
        }
    }
}
