//! The command line: check, explain, schema, and how `run` refuses.

use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::Value;
use tidegate_kit::{Context as _, Origin, Outcome, Request, Result, murmur3_32};
use tokio::process::Command;

use crate::{BINARY, api, gateway};

/// Runs the binary to its end.
async fn tidegate(words: &[&str]) -> Result<Output> {
    let mut command = Command::new(BINARY);
    // The reference names a secret; only `run` needs its value.
    command.args(words).env("PARTNER_KEY", "0123456789abcdef0123");
    let run = command.kill_on_drop(true).output();
    Ok(tidegate_kit::wait::within("the command's end", run).await??)
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn all(output: &Output) -> String {
    stdout(output) + &String::from_utf8_lossy(&output.stderr)
}

/// A folder with one configuration in it.
struct File {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

impl File {
    fn new(text: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("gateway.yaml");
        std::fs::write(&path, text)?;
        Ok(Self { _folder: folder, path })
    }

    fn path(&self) -> &str {
        self.path.to_str().unwrap_or_default()
    }
}

/// Every configuration of the repository.
fn shipped() -> Result<Vec<PathBuf>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf");
    let mut files = Vec::new();
    for folder in [root.clone(), root.join("examples")] {
        for entry in std::fs::read_dir(folder)? {
            files.push(entry?.path());
        }
    }
    files.retain(|path| path.extension().is_some_and(|end| end == "yaml"));
    files.sort();
    Ok(files)
}

#[tokio::test]
async fn every_shipped_configuration_is_good() -> Outcome {
    let files = shipped()?;
    assert!(files.len() >= 6, "{files:?}");
    for file in files {
        let file = file.to_string_lossy();
        let output = tidegate(&["check", &file]).await?;
        assert_eq!(output.status.code(), Some(0), "{file}: {}", all(&output));
        let output = tidegate(&["check", &file, "--json"]).await?;
        assert_eq!(output.status.code(), Some(0), "{file}: {}", all(&output));
        let report: Value = serde_json::from_slice(&output.stdout)?;
        let errors = report["problems"].as_array().context("problems")?;
        assert!(errors.iter().all(|problem| problem["severity"] != "error"), "{report:#}");
    }
    Ok(())
}

/// Three mistakes in three places.
const WRONG: &str = "listeners: [{name: public, address: \"127.0.0.1:8080\"}]
services:
  orders: {endpoints: [{address: \"127.0.0.1:9000\"}]}
rateLimits:
  by-user: {algorithm: token_bucket, capacity: 10, refillPerSecond: 1, key: [userId]}
routes:
  - name: one
    match: {pathPrefix: /one}
    upstream: {service: order}
    policies: {auth: none}
  - name: two
    match: {pathPrfix: /two}
    upstream: {service: orders}
    policies: {auth: none}
  - name: three
    match: {pathPrefix: /three}
    upstream: {service: orders}
    policies:
      auth: none
      rateLimit: by-usr
";

/// D3, R179 to R182: all problems at once, each with its place and what would be right.
#[tokio::test]
async fn every_problem_is_reported_with_its_place_and_a_way_out() -> Outcome {
    let file = File::new(WRONG)?;
    let output = tidegate(&["check", file.path()]).await?;
    assert_eq!(output.status.code(), Some(1));
    let text = all(&output);
    for words in [
        "gateway.yaml:9:",
        "gateway.yaml:12:",
        "gateway.yaml:20:",
        "did you mean `orders`?",
        "did you mean `pathPrefix`?",
        "did you mean `by-user`?",
    ] {
        assert!(text.contains(words), "no {words:?} in\n{text}");
    }

    let output = tidegate(&["check", file.path(), "--json"]).await?;
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&output.stdout)?;
    assert_eq!(report["good"], false);
    let problems = report["problems"].as_array().context("problems")?;
    assert_eq!(problems.len(), 3, "{report:#}");
    for (path, line) in [
        ("routes[0].upstream.service", 9),
        ("routes[1].match.pathPrfix", 12),
        ("routes[2].policies.rateLimit", 20),
    ] {
        let found = problems.iter().any(|problem| {
            problem["path"] == path && problem["line"] == line && problem["severity"] == "error"
        });
        assert!(found, "no {path} at line {line} in {report:#}");
    }
    Ok(())
}

#[tokio::test]
async fn run_refuses_what_check_refuses() -> Outcome {
    let file = File::new(WRONG)?;
    let output = tidegate(&["run", file.path()]).await?;
    assert_eq!(output.status.code(), Some(1));
    assert!(all(&output).contains("did you mean `orders`?"), "{}", all(&output));
    let output = tidegate(&["run", "/nowhere/gateway.yaml"]).await?;
    assert_eq!(output.status.code(), Some(1));
    assert!(all(&output).contains("/nowhere/gateway.yaml"), "{}", all(&output));
    let output = tidegate(&["check", "/nowhere/gateway.yaml"]).await?;
    assert_eq!(output.status.code(), Some(1));
    Ok(())
}

#[tokio::test]
async fn a_wrong_command_line_is_2() -> Outcome {
    for words in
        [&["serve"][..], &["check", "a", "b"], &["explain", "x"], &["run", "x", "--fast"], &[]]
    {
        let output = tidegate(words).await?;
        assert_eq!(output.status.code(), Some(2), "{words:?}: {}", all(&output));
    }
    let output = tidegate(&["--version"]).await?;
    assert_eq!(output.status.code(), Some(0));
    assert!(stdout(&output).contains(env!("CARGO_PKG_VERSION")));
    Ok(())
}

/// Secrets are never shown, neither resolved nor as a mistake.
#[tokio::test]
async fn secrets_are_not_printed() -> Outcome {
    let file = File::new(
        "redis: {url: \"redis://user:hunter22@127.0.0.1:1\"}\n\
         apiKeys: [{id: a, key: \"literal-key-hunter22\"}]\n\
         services: {api: {endpoints: [{address: \"127.0.0.1:1\"}]}}\n\
         routes:\n  - {name: all, match: {pathPrefix: /}, upstream: {service: api}, \
         policies: {auth: required}}\n",
    )?;
    for words in [
        &["check", file.path()][..],
        &["check", file.path(), "--json"],
        &["explain", file.path(), "--host", "a", "--path", "/", "--json"],
    ] {
        let output = tidegate(words).await?;
        assert!(!all(&output).contains("hunter22"), "{words:?}: {}", all(&output));
    }
    Ok(())
}

#[tokio::test]
async fn the_schema_is_a_json_schema_of_the_configuration() -> Outcome {
    let output = tidegate(&["schema"]).await?;
    assert_eq!(output.status.code(), Some(0));
    let schema: Value = serde_json::from_slice(&output.stdout)?;
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    for key in ["routes", "services", "rateLimits", "identityProviders", "listeners", "redis"] {
        assert!(schema["properties"][key].is_object(), "{key}");
    }
    assert_eq!(schema["additionalProperties"], false);
    Ok(())
}

const DEMO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/conf/demo.yaml");
const READER: &str = "sub=alice,tenant=acme,scope=orders:read";

/// Explains a request against the demo's configuration.
async fn explain(words: &[&str]) -> Result<Value> {
    let mut line = vec!["explain", DEMO, "--json", "--host", "127.0.0.1"];
    line.extend_from_slice(words);
    let output = tidegate(&line).await?;
    if output.status.code() != Some(0) {
        return Err(tidegate_kit::Error::new(all(&output)));
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

#[tokio::test]
async fn each_demo_route_is_explained() -> Outcome {
    let bucket = murmur3_32(b"alice", 0) % 10_000;
    let orders = explain(&["--path", "/v1/orders/1", "--as", READER]).await?;
    assert_eq!((&orders["decision"], &orders["route"]), (&"forward".into(), &"orders-read".into()));
    assert_eq!(orders["upstream"]["service"], "orders");
    assert_eq!(orders["upstream"]["bucket"], bucket);
    assert_eq!(orders["upstream"]["version"], if bucket < 9000 { "stable" } else { "canary" });
    assert_eq!(orders["upstream"]["splitKey"], "userId");
    assert_eq!(orders["caller"]["subject"], "alice");
    assert_eq!(orders["limits"][0]["name"], "orders-by-user");
    assert!(orders["limits"][0]["key"].as_str().is_some_and(|key| !key.is_empty()));
    let added = orders["sent"]["added"].to_string();
    assert!(added.contains("x-user-id") && added.contains("x-tenant-id"), "{added}");

    let catalog = explain(&["--path", "/v1/catalog/lamps?b=1&a=2"]).await?;
    assert_eq!((&catalog["decision"], &catalog["route"]), (&"forward".into(), &"catalog".into()));
    assert!(catalog["cache"]["key"].as_str().is_some_and(|key| !key.is_empty()), "{catalog:#}");
    let factors = catalog["cache"]["factors"].as_array().context("factors")?;
    assert!(factors.iter().any(|factor| factor["name"] == "path"), "{catalog:#}");

    let search = explain(&["--path", "/v1/search?q=lamp", "--client", "203.0.113.9"]).await?;
    assert_eq!(search["route"], "search");
    assert!(search["limits"][0]["parts"].to_string().contains("203.0.113.9"), "{search:#}");

    let writer = "sub=alice,tenant=acme,scope=orders:write";
    let write = explain(&["--path", "/v1/orders", "--method", "POST", "--as", writer]).await?;
    assert_eq!((&write["decision"], &write["route"]), (&"forward".into(), &"orders-write".into()));
    Ok(())
}

#[tokio::test]
async fn refusals_are_explained() -> Outcome {
    let suspended = "sub=bob,tenant=initech,scope=orders:read";
    for (words, status, code) in [
        (&["--path", "/v1/orders"][..], 401, "auth.credentials_missing"),
        (&["--path", "/v1/orders", "-X", "POST", "--as", READER], 403, "auth.scope_insufficient"),
        (&["--path", "/v1/orders", "--as", suspended], 403, "auth.tenant_refused"),
        (&["--path", "/v2"], 404, "route.not_found"),
        (&["--path", "/v1/orders", "-X", "DELETE"], 405, "route.method_not_allowed"),
        (&["--path", "/v1/orders/..%2fx"], 400, "request.path_refused"),
        (
            &[
                "--path",
                "/v1/orders",
                "-X",
                "POST",
                "--as",
                "sub=a,tenant=acme,scope=orders:write",
                "-H",
                "content-type: text/plain",
                "-H",
                "content-length: 2",
            ],
            415,
            "request.content_type",
        ),
    ] {
        let told = explain(words).await?;
        assert_eq!(told["decision"], "refuse", "{words:?}: {told:#}");
        assert_eq!(told["refusal"]["status"], status, "{words:?}: {told:#}");
        assert_eq!(told["refusal"]["code"], code, "{words:?}: {told:#}");
    }
    Ok(())
}

/// Why this route and not another one, for people.
#[tokio::test]
async fn the_text_says_who_lost_and_why() -> Outcome {
    let words = ["explain", DEMO, "--host", "127.0.0.1", "--path", "/v1/orders", "--as", READER];
    let output = tidegate(&words).await?;
    assert_eq!(output.status.code(), Some(0), "{}", all(&output));
    let text = stdout(&output);
    for words in ["orders-read", "orders-write", "catalog", "alice", "orders-by-user", "bucket"] {
        assert!(text.contains(words), "no {words:?} in\n{text}");
    }
    Ok(())
}

/// An explanation cannot drift from behaviour: the running gateway does what it says.
#[tokio::test]
async fn the_gateway_does_what_explain_says() -> Outcome {
    let origin = Origin::start("api").await?;
    let routes = "routes:\n  \
        - {name: exact, match: {path: /a/b}, upstream: {service: api}}\n  \
        - {name: prefix, match: {pathPrefix: /a}, upstream: {service: api}}\n  \
        - {name: regex, match: {pathRegex: \"/a/[0-9]+\"}, upstream: {service: api}}\n  \
        - {name: host, match: {host: b.example.com, pathPrefix: /a}, upstream: {service: api}}\n  \
        - {name: wild, match: {host: \"*.example.com\"}, upstream: {service: api}}\n  \
        - {name: posts, match: {pathPrefix: /p, methods: [POST]}, upstream: {service: api}}\n  \
        - {name: beta, match: {pathPrefix: /a, query: [{name: beta, present: true}]}, \
           upstream: {service: api}}\n\
        policies: {auth: none}\n";
    let gateway = gateway(api(&[origin.address()]) + routes).start().await?;
    let file = gateway.file().to_string_lossy().into_owned();
    let mut taken = std::collections::BTreeSet::new();
    for (method, host, target) in [
        ("GET", "a", "/a/b"),
        ("GET", "a", "/a/b/"),
        ("GET", "a", "/a/17"),
        ("GET", "a", "/a?beta"),
        ("GET", "a", "/ab"),
        ("GET", "b.example.com", "/a/b"),
        ("GET", "c.example.com", "/a/b"),
        ("GET", "example.com", "/a/../a/%62"),
        ("GET", "a", "/p"),
        ("POST", "a", "/p"),
        ("GET", "a", "/a%2fb"),
    ] {
        let words =
            ["explain", &file, "--json", "--method", method, "--host", host, "--path", target];
        let told: Value = serde_json::from_slice(&tidegate(&words).await?.stdout)?;
        let response = gateway.send(&Request::new(method, target).host(host)).await?;
        let expected = told["refusal"]["status"].as_u64().unwrap_or(200);
        assert_eq!(u64::from(response.status), expected, "{method} {host} {target}: {told:#}");
        let line = gateway.access_line(response.required("x-request-id")?).await?;
        assert_eq!(line["route"], told["route"], "{method} {host} {target}");
        taken.extend(told["route"].as_str().map(str::to_owned));
    }
    assert_eq!(taken.len(), 7, "every route was taken once: {taken:?}");
    Ok(())
}
