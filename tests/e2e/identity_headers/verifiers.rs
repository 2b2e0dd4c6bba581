//! R109: requests of the real gateway, judged by the verifiers of `contrib/verify-identity`.

use std::process::Stdio;

use serde_json::{Value, json};
use tidegate_kit::{
    Context as _, Gateway, Issuer, Origin, Outcome, Request, Result, Seen, Speaks, wait,
};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::{api, gateway, has_keys, provider};

#[path = "../../../contrib/verify-identity/verify_identity.rs"]
#[allow(unreachable_pub, reason = "a program of its own")]
mod rust;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/contrib/verify-identity");
const OLD: &str = "the old secret, of thirty-two bytes or more";
const NEW: &str = "the new secret, of thirty-two bytes or more";

/// Signs with the first of these keys, old or new.
fn config(origin: &Origin, issuer: &Issuer, version: u64, first: [&str; 2]) -> String {
    let key = |id: &str| format!("{{id: {id}, secret: \"${{env:{}}}\"}}", id.to_uppercase());
    format!("configVersion: {version}\n")
        + &api(&[origin.address()])
        + &provider(issuer)
        + &format!("identitySignature: {{keys: [{}, {}]}}\n", key(first[0]), key(first[1]))
        + "identityHeaders:\n  x-user-id: subject\n  x-tenant-id: tenantId\n  x-roles: roles\n  \
             x-profile: {fact: \"claim:profile\", encoding: json}\n\
           routes:\n  \
           - {name: orders, match: {pathPrefix: /api}, upstream: {service: api}, \
              rewrite: {stripPrefix: /api}, policies: {auth: required}}\n  \
           - {name: public, match: {pathPrefix: /public}, upstream: {service: api}, \
              policies: {auth: none}}\n"
}

/// A request as a verifier gets it, with what it is expected to say.
struct Case {
    what: String,
    request: Value,
    says: &'static str,
}

struct Cases {
    all: Vec<Case>,
}

impl Cases {
    /// Adds a request, changed so.
    fn add(
        &mut self,
        what: &str,
        request: &Value,
        says: &'static str,
        change: impl FnOnce(&mut Value),
    ) {
        let mut request = request.clone();
        change(&mut request);
        self.all.push(Case { what: what.to_owned(), request, says });
    }
}

/// What a service received, as its verifier gets it.
fn received(seen: &Seen) -> Result<Value> {
    let (path, query) = match seen.target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (seen.target.as_str(), None),
    };
    let input = seen.header("signature-input").context("a signature")?;
    let created = input.split(";created=").nth(1).and_then(|rest| rest.split(';').next());
    let created: i64 = created.context("created")?.parse().context("created")?;
    Ok(json!({
        "method": seen.method,
        "path": path,
        "query": query,
        "headers": seen.headers,
        "now": created,
        "keys": {"old": OLD, "new": NEW},
        "stripped":
            ["x-user-id", "x-tenant-id", "x-roles", "x-profile", "x-user-roles"],
        "maxAge": 60,
    }))
}

/// Changes the values of a header; `None` takes it away.
fn set(request: &mut Value, name: &str, value: Option<&str>) {
    let Some(headers) = request["headers"].as_array_mut() else { return };
    headers.retain(|pair| pair[0] != name);
    if let Some(value) = value {
        headers.push(json!([name, value]));
    }
}

fn header(request: &Value, name: &str) -> String {
    let headers = request["headers"].as_array();
    let found = headers.and_then(|all| all.iter().find(|pair| pair[0] == name));
    found.and_then(|pair| pair[1].as_str()).unwrap_or_default().to_owned()
}

const WRONG: &str = "wrong signature";
const FOREIGN: &str = "not a signature of the gateway";
const UNSIGNED: &str = "a header of identity is not signed";
const MISSING: &str = "a signed header is missing or repeated";

/// What can be done to a good request, and what verifiers say to it.
fn alter(cases: &mut Cases, good: &Value) {
    cases.add("as it came", good, "ok", |_| {});
    for (part, value) in
        [("method", "GET"), ("path", "/orders/8"), ("query", "a=1&b=%21"), ("query", "")]
    {
        cases.add(part, good, WRONG, |request| request[part] = value.into());
    }
    for name in ["x-user-id", "x-tenant-id", "x-request-id", "x-profile"] {
        cases.add(name, good, WRONG, |request| set(request, name, Some("mallory")));
        cases.add(name, good, MISSING, |request| set(request, name, None));
        cases.add(name, good, MISSING, |request| {
            if let Some(headers) = request["headers"].as_array_mut() {
                headers.push(json!([name.replace('-', "_"), "mallory"]));
            }
        });
    }
    for name in ["x-user-roles", "X_User_Roles"] {
        cases.add(name, good, UNSIGNED, |request| set(request, name, Some("admin")));
    }
    cases.add("another header", good, "ok", |request| set(request, "accept", Some("text/html")));
    for name in ["signature", "signature-input"] {
        cases.add("unsigned", good, "not signed", |request| set(request, name, None));
        cases.add("signed twice", good, "not signed", |request| {
            if let Some(headers) = request["headers"].as_array_mut() {
                headers.push(json!([name, "sig1=:AAAA:"]));
            }
        });
    }
    let shift = |request: &mut Value, by: i64| {
        request["now"] = (request["now"].as_i64().unwrap_or_default() + by).into();
    };
    for (by, says) in [(60, "ok"), (61, "too old"), (-5, "ok"), (-6, "from the future")] {
        cases.add(&format!("at {by} s"), good, says, |request| shift(request, by));
    }
    cases.add("keys of others", good, "unknown key", |request| {
        request["keys"] = json!({"other": NEW, "toString": NEW});
    });
    cases.add("another secret", good, WRONG, |request| {
        request["keys"] = json!({"new": "guessed", "old": "guessed"});
    });
    let input = header(good, "signature-input");
    let signature = header(good, "signature");
    let replaced = |from: &str, to: &str| input.replace(from, to);
    for (what, text, says) in [
        ("made younger", replaced("created=1", "created=2"), "from the future"),
        ("another key", replaced("\"new\"", "\"old\""), WRONG),
        ("a component twice", replaced("\"x-user-id\"", "\"x-user-id\" \"x-user-id\""), MISSING),
        ("a component of nobody", replaced("\"x-user-id\"", "\"x-user-id\" \"x-no\""), MISSING),
        ("without the path", replaced("\"@path\" ", ""), FOREIGN),
        ("another algorithm", replaced("hmac-sha256", "none"), FOREIGN),
        ("another label", replaced("tidegate=", "sig1="), FOREIGN),
        ("two labels", format!("{input}, sig1=()"), FOREIGN),
        ("empty", String::new(), FOREIGN),
    ] {
        cases.add(what, good, says, |request| set(request, "signature-input", Some(&text)));
    }
    cases.add("uncovered", good, UNSIGNED, |request| {
        set(request, "signature-input", Some(&replaced(" \"x-user-id\"", "")));
    });
    cases.add("uncovered and gone", good, WRONG, |request| {
        set(request, "signature-input", Some(&replaced(" \"x-user-id\"", "")));
        set(request, "x-user-id", None);
    });
    for text in ["tidegate=:AAAA:", "tidegate=::", "x", &signature.replace(':', "")] {
        cases.add("a tag", good, FOREIGN, |request| set(request, "signature", Some(text)));
    }
    let zeros = format!("tidegate=:{}=:", "A".repeat(43));
    cases.add("a tag of zeros", good, WRONG, |request| set(request, "signature", Some(&zeros)));
}

/// The command for a verifier; Rust's is a part of this test.
const PROGRAMS: [(&str, &[&str]); 3] = [
    ("python3", &["verify_identity.py"]),
    ("node", &["verify_identity.mjs"]),
    ("java", &["VerifyIdentity.java"]),
];

/// What a verifier says to each line; none where its language is not on this machine.
async fn judged(program: &str, arguments: &[&str], lines: &str) -> Result<Option<Vec<String>>> {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(FOLDER).kill_on_drop(true);
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let mut input = child.stdin.take().context("standard input")?;
    let lines = lines.to_owned();
    let write = tokio::spawn(async move { input.write_all(lines.as_bytes()).await });
    let output = wait::within(&format!("{program}'s verdicts"), child.wait_with_output()).await??;
    write.await.context(program)??;
    let text = String::from_utf8(output.stdout).context(program)?;
    Ok(Some(text.lines().map(str::to_owned).collect()))
}

fn check(language: &str, cases: &[Case], verdicts: &[String]) {
    assert_eq!(verdicts.len(), cases.len(), "{language} says {verdicts:?}");
    for (case, verdict) in cases.iter().zip(verdicts) {
        assert_eq!(verdict, case.says, "{language}, {}: {:#}", case.what, case.request);
    }
}

async fn start(origin: &Origin, issuer: &Issuer) -> Result<Gateway> {
    let gateway = gateway(config(origin, issuer, 1, ["new", "old"]))
        .environment("OLD", OLD)
        .environment("NEW", NEW)
        .start()
        .await?;
    has_keys(&gateway).await?;
    Ok(gateway)
}

#[tokio::test]
async fn verifiers_accept_the_gateways_requests_and_nothing_else() -> Outcome {
    let (origin, issuer) = (Origin::start("api").await?, Issuer::start().await?);
    let gateway = start(&origin, &issuer).await?;
    let profile = json!({"name": "Zoë", "age": 7});
    let token = issuer.token().tenant("acme").claim("profile", profile).sign()?;
    let order = Request::post("/api/orders/7?a=1&b=%20", "body")
        .bearer(&token)
        .header("signature", "tidegate=:AAAA:")
        .header("Signature_Input", "tidegate=()")
        .header("x-user-id", "mallory");
    let sent = async |request: &Request| {
        gateway.send(request).await?.expect(200)?;
        origin.last().context("a request at the origin")
    };
    let seen = sent(&order).await?;
    assert_eq!(seen.target, "/orders/7?a=1&b=%20");
    let mut cases = Cases { all: Vec::new() };
    let good = received(&seen)?;
    assert!(header(&good, "signature-input").contains("keyid=\"new\""));
    alter(&mut cases, &good);

    let public = received(&sent(&Request::get("/public").header("x-user-id", "root")).await?)?;
    cases.add("nobody", &public, "ok", |_| {});
    cases.add("nobody, made somebody", &public, UNSIGNED, |request| {
        set(request, "x-user-id", Some("root"));
    });
    cases.add("an empty query", &public, "ok", |request| request["query"] = "".into());

    gateway.write_config(&config(&origin, &issuer, 2, ["old", "new"]))?;
    gateway.runs_version(2).await?;
    let rotated = received(&sent(&order).await?)?;
    assert!(header(&rotated, "signature-input").contains("keyid=\"old\""));
    cases.add("after rotation", &rotated, "ok", |_| {});

    let lines: String = cases.all.iter().map(|case| case.request.to_string() + "\n").collect();
    let verdicts: Vec<String> = lines.lines().map(rust::verdict).collect();
    check("rust", &cases.all, &verdicts);
    for (program, arguments) in PROGRAMS {
        match judged(program, arguments, &lines).await? {
            Some(verdicts) => check(program, &cases.all, &verdicts),
            None => eprintln!("!!! {program} IS NOT HERE: its verifier was NOT tested !!!"),
        }
    }
    Ok(())
}

/// Each attempt is signed as the service sees it, over HTTP/2 too, and what clients sign stays
/// away from services on every route.
#[tokio::test]
async fn every_request_has_the_gateways_signature_alone() -> Outcome {
    let origin = Origin::start_speaking("api", 0, Speaks::Http2).await?;
    let issuer = Issuer::start().await?;
    let setup =
        config(&origin, &issuer, 1, ["new", "old"]).replacen("}]}\n", "}], protocol: http2}\n", 1);
    assert!(setup.contains("protocol: http2"), "{setup}");
    let gateway = gateway(setup).environment("OLD", OLD).environment("NEW", NEW).start().await?;
    has_keys(&gateway).await?;
    let token = issuer.token().sign()?;
    let mut tags = Vec::new();
    for target in ["/api/a%20b?x", "/public", "/public?"] {
        let request = Request::get(target)
            .bearer(&token)
            .header("signature", "sig1=:AAAA:")
            .header("signature", "tidegate=:AAAA:")
            .header("SIGNATURE_INPUT", "tidegate=()")
            .header("signature-input", "tidegate=()");
        gateway.send(&request).await?.expect(200)?;
        let seen = origin.last().context("a request at the origin")?;
        for name in ["signature", "signature-input"] {
            let spelled = |known: &str| known.replace('_', "-") == name;
            let count = seen.headers.iter().filter(|(known, _)| spelled(known)).count();
            assert_eq!(count, 1, "{target} {name}");
        }
        assert_eq!(rust::verdict(&received(&seen)?.to_string()), "ok", "{target}: {seen:?}");
        tags.push(seen.header("signature").map(str::to_owned));
    }
    tags.dedup();
    assert_eq!(tags.len(), 3);
    let log = gateway.log();
    assert!(!log.contains(OLD) && !log.contains(NEW));
    Ok(())
}
