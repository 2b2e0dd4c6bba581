//! What holds for every answer, whatever the case.

use tidegate_kit::Response;

use crate::check::Wrong;

/// Fields that are for the gateway and for no client.
const INWARD: [&str; 5] =
    ["cache-tag", "surrogate-key", "surrogate-control", "cache-groups", "cache-group-invalidation"];

/// Fields that end with the connection to the service (RFC 9110 section 7.6.1).
const HOP_BY_HOP: [&str; 3] = ["keep-alive", "proxy-connection", "upgrade"];

/// Checks an answer.
pub(crate) fn check(response: &Response, wrong: &mut Wrong) {
    for name in INWARD.iter().chain(&HOP_BY_HOP) {
        if let Some(value) = response.header(name) {
            wrong.note(format!("{name}: {value} reached the client"));
        }
    }
    let word = response.header("x-cache");
    let count = |name: &str| response.headers.iter().filter(|(known, _)| known == name).count();
    let kept = matches!(word, Some("HIT" | "STALE"));
    for name in ["x-cache", "date", "content-length", "etag"] {
        if count(name) > 1 {
            wrong.note(format!("{name} is there {} times", count(name)));
        }
    }
    // RFC 9111 section 5.1: whatever comes out of the cache says its age, as a number. What a
    // service says of its own age is passed on as it came.
    let ages = response.headers.iter().filter(|(name, _)| name == "age");
    let ages: Vec<&str> = ages.map(|(_, age)| age.as_str()).collect();
    let is_number = |age: &&str| !age.is_empty() && age.bytes().all(|byte| byte.is_ascii_digit());
    if kept && !(ages.len() == 1 && ages.iter().all(is_number)) {
        wrong.note(format!("an answer from the cache, and Age is {ages:?}"));
    }
    let lines = response.headers.iter().filter(|(name, _)| name == "cache-status");
    let lines: Vec<&str> = lines.map(|(_, line)| line.as_str()).collect();
    if !lines.is_empty() {
        check_status(&lines.join(", "), word, wrong);
    } else if word.is_some() {
        wrong.note("X-Cache without Cache-Status".to_owned());
    }
}

/// RFC 9211 section 2: a list of caches, each a token or a string, each with parameters.
fn check_status(status: &str, word: Option<&str>, wrong: &mut Wrong) {
    // Ours is the last member: it is nearest to the client. A comma within a string would be one
    // too many here, but no value that is said has one.
    let Some(member) = status.rsplit(',').next() else { return };
    let mut pieces = member.split(';').map(str::trim);
    if pieces.next() != Some("tidegate") {
        wrong.note(format!("cache-status: {status} does not end with this cache"));
    }
    let (mut hit, mut forward) = (false, false);
    for piece in pieces {
        let (name, value) = match piece.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (piece, None),
        };
        let good = match (name, value) {
            ("hit", None) => {
                hit = true;
                true
            }
            ("fwd", Some(value)) => {
                forward = true;
                REASONS.contains(&value)
            }
            ("fwd-status", Some(value)) => {
                value.parse().is_ok_and(|v: u16| (100..600).contains(&v))
            }
            ("ttl", Some(value)) => value.parse::<i64>().is_ok(),
            ("stored" | "collapsed", None | Some("?0" | "?1")) => true,
            ("key", Some(value)) => {
                value.len() > 2 && value.starts_with('"') && value.ends_with('"')
            }
            ("detail", Some(value)) => !value.is_empty(),
            _ => false,
        };
        if !good {
            wrong.note(format!("cache-status: {status}: {piece:?} is no parameter of RFC 9211"));
        }
    }
    // Nothing was used and nobody asked where the client wanted nothing but what is kept.
    let refused = !hit && !forward && status.contains("detail=not-kept");
    if hit == forward && !refused {
        wrong.note(format!("cache-status: {status}: one of hit and fwd, never both or none"));
    }
    if word == Some("HIT") && !hit || hit && !matches!(word, Some("HIT" | "STALE")) {
        wrong.note(format!("x-cache: {word:?} does not go with cache-status: {status}"));
    }
}

/// RFC 9211 section 2.2.
const REASONS: [&str; 8] =
    ["bypass", "method", "uri-miss", "vary-miss", "miss", "request", "stale", "partial"];
