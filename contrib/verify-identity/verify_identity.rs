//! Verifies Tidegate's signature over identity headers (RFC 9421, HMAC-SHA256).
//!
//! Needs the crates `ring`, `base64` and, for [`main`] alone, `serde_json`. Call [`verify`] before
//! you trust any identity header. As a program (`cargo run --example verify_identity`) it reads
//! requests as JSON, one on each line, and writes "ok" or why not, line by line.

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;

const FUTURE_SECONDS: i64 = 5;

/// A request as received. Path and query are those of the request line, not decoded; the query is
/// without `?`.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The method.
    pub method: &'a str,
    /// The path.
    pub path: &'a str,
    /// The query; none where there is none.
    pub query: Option<&'a str>,
    /// All headers, name and value.
    pub headers: &'a [(String, String)],
}

/// What a service knows of the gateway; `tidegate headers` prints it, but for the secrets.
#[derive(Clone, Copy, Debug)]
pub struct Trust<'a> {
    /// Secrets by key id; during rotation there are two.
    pub keys: &'a HashMap<String, String>,
    /// The headers that clients cannot send.
    pub stripped: &'a [String],
    /// How old a signature may be, in seconds.
    pub max_age: i64,
}

/// Checks that a request comes from the gateway, as it is. `now` is Unix seconds.
///
/// # Errors
/// Why it does not.
pub fn verify(request: Request<'_>, trust: Trust<'_>, now: i64) -> Result<(), &'static str> {
    let mut received: HashMap<String, Vec<&str>> = HashMap::new();
    for (name, value) in request.headers {
        received.entry(fold(name)).or_default().push(value.trim_matches([' ', '\t']));
    }
    let one = |name: &str| match received.get(name).map(Vec::as_slice) {
        Some([value]) => Some(*value),
        _ => None,
    };
    let (Some(input), Some(signature)) = (one("signature-input"), one("signature")) else {
        return Err("not signed");
    };
    let foreign = "not a signature of the gateway";
    let parsed = Input::parse(input).ok_or(foreign)?;
    let tag = signature.strip_prefix("tidegate=:").and_then(|rest| rest.strip_suffix(':'));
    let tag = tag.and_then(|tag| STANDARD.decode(tag).ok());
    let tag = tag.filter(|tag| tag.len() == 32).ok_or(foreign)?;

    let mut folded: Vec<String> = parsed.covered.iter().map(|name| fold(name)).collect();
    let is_unsigned = |name: &String| received.contains_key(name) && !folded.contains(name);
    if trust.stripped.iter().map(|name| fold(name)).any(|name| is_unsigned(&name)) {
        return Err("a header of identity is not signed");
    }
    let is_one = folded.iter().all(|name| one(name).is_some());
    folded.sort_unstable();
    folded.dedup();
    if !is_one || folded.len() < parsed.covered.len() {
        return Err("a signed header is missing or repeated");
    }
    let age = now - parsed.created;
    if age > trust.max_age {
        return Err("too old");
    }
    if age < -FUTURE_SECONDS {
        return Err("from the future");
    }
    let secret = trust.keys.get(parsed.key_id).ok_or("unknown key")?;

    let Request { method, path, query, .. } = request;
    let query = query.unwrap_or_default();
    let mut base = format!("\"@method\": {method}\n\"@path\": {path}\n\"@query\": ?{query}\n");
    for name in &parsed.covered {
        let value = one(&fold(name)).unwrap_or_default();
        base.extend(["\"", name, "\": ", value, "\n"]);
    }
    base.extend(["\"@signature-params\": ", parsed.parameters]);
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    // Compares in constant time.
    hmac::verify(&key, base.as_bytes(), &tag).map_err(|_| "wrong signature")
}

/// `Signature-Input`, exactly as the gateway writes it; whatever else could be a signature is
/// not the gateway's.
struct Input<'a> {
    parameters: &'a str,
    /// Names of headers.
    covered: Vec<&'a str>,
    created: i64,
    key_id: &'a str,
}

impl<'a> Input<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let parameters = text.strip_prefix("tidegate=")?;
        let rest = parameters.strip_prefix("(\"@method\" \"@path\" \"@query\" ")?;
        let (names, rest) = rest.split_once(");created=")?;
        let (created, rest) = rest.split_once(";keyid=\"")?;
        let key_id = rest.strip_suffix("\";alg=\"hmac-sha256\"")?;
        let quoted = |name: &'a str| {
            let name = name.strip_prefix('"')?.strip_suffix('"')?;
            (!name.is_empty() && !name.contains(['"', '\\'])).then_some(name)
        };
        let covered: Vec<&str> = names.split(' ').map(quoted).collect::<Option<_>>()?;
        let is_number =
            (1..=12).contains(&created.len()) && created.bytes().all(|byte| byte.is_ascii_digit());
        let is_id = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let is_known = (1..=64).contains(&key_id.len()) && key_id.bytes().all(is_id);
        (is_number && is_known && covered.first() == Some(&"x-request-id")).then_some(()).and_then(
            |()| Some(Self { parameters, covered, created: created.parse().ok()?, key_id }),
        )
    }
}

/// Some servers cannot tell `_` from `-`, so neither does this.
fn fold(name: &str) -> String {
    name.to_ascii_lowercase().replace('_', "-")
}

/// Verifies one request in JSON, as [`main`] does with each line.
#[must_use]
pub fn verdict(line: &str) -> String {
    let Ok(asked) = serde_json::from_str::<serde_json::Value>(line) else {
        return "not JSON".to_owned();
    };
    let read = |name: &str| asked.get(name).cloned().unwrap_or_default();
    let text = |name: &str| asked.get(name).and_then(serde_json::Value::as_str);
    let headers: Vec<(String, String)> =
        serde_json::from_value(read("headers")).unwrap_or_default();
    let keys = serde_json::from_value(read("keys")).unwrap_or_default();
    let stripped: Vec<String> = serde_json::from_value(read("stripped")).unwrap_or_default();
    let request = Request {
        method: text("method").unwrap_or_default(),
        path: text("path").unwrap_or_default(),
        query: text("query"),
        headers: &headers,
    };
    let max_age = read("maxAge").as_i64().unwrap_or_default();
    let trust = Trust { keys: &keys, stripped: &stripped, max_age };
    match verify(request, trust, read("now").as_i64().unwrap_or_default()) {
        Ok(()) => "ok".to_owned(),
        Err(why) => why.to_owned(),
    }
}

#[allow(dead_code, clippy::print_stdout, reason = "only the program needs it")]
fn main() {
    for line in std::io::stdin().lines().map_while(Result::ok) {
        println!("{}", verdict(&line));
    }
}
