//! `tidegate explain --token`: every check of a token, in order, and the first that failed.

use std::path::Path;
use std::process::Output;

use serde_json::{Value, json};
use tidegate_kit::{Algorithm, Context as _, Issuer, Origin, Outcome, Request, Result, Signature};
use tokio::process::Command;

use crate::{BINARY, api, gateway, has_keys, provider};

const ROUTES: &str = "routes:
  - {name: private, match: {pathPrefix: /private}, upstream: {service: api},
     policies: {auth: required}}
  - {name: public, match: {pathPrefix: /public}, upstream: {service: api},
     policies: {auth: none}}
";

async fn explain(file: &Path, token: &str, more: &[&str]) -> Result<Output> {
    let mut command = Command::new(BINARY);
    command.arg("explain").arg(file).args(["--host", "a", "--path", "/private", "--token", token]);
    let run = command.args(more).kill_on_drop(true).output();
    Ok(tidegate_kit::wait::within("the command's end", run).await??)
}

fn checks(told: &Value) -> Result<Vec<(String, String)>> {
    let text = |check: &Value, name: &str| {
        check.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let list = told.pointer("/token/checks").and_then(Value::as_array).context("checks")?;
    Ok(list.iter().map(|check| (text(check, "check"), text(check, "outcome"))).collect())
}

/// The explanation names the check that the running gateway refuses the token for.
#[tokio::test]
async fn the_first_check_that_failed_is_what_the_gateway_says() -> Outcome {
    let (origin, issuer) = (Origin::start("api").await?, Issuer::start().await?);
    let config = api(&[origin.address()]) + &provider(&issuer) + ROUTES;
    let gateway = gateway(config).start().await?;
    has_keys(&gateway).await?;
    let token = || issuer.token();
    let ec = Algorithm::Es256;
    let cases = [
        ("", token().sign()?),
        ("form", "not a token".to_owned()),
        ("form", token().header("crit", json!(["x"])).sign()?),
        ("issuer", token().claim("iss", "http://other").sign()?),
        ("algorithm", token().header("alg", "PS512").sign()?),
        ("key", token().header("kid", "unknown").sign()?),
        ("signature", token().signature(Signature::Broken(ec)).sign()?),
        ("exp", token().expires_in(-60).sign()?),
        ("nbf", token().claim("nbf", 32_503_680_000_i64).sign()?),
        ("iat", token().claim("iat", 32_503_680_000_i64).sign()?),
        ("aud", token().claim("aud", "other").sign()?),
        ("subject", token().without("sub").sign()?),
        ("access token", token().header("typ", "at+jwt").sign()?),
        ("cnf", token().claim("cnf", json!({"jkt": "x"})).sign()?),
        ("certificate", token().claim("cnf", json!({"x5t#S256": "A".repeat(43)})).sign()?),
    ];
    for (failed, token) in cases {
        let output = explain(gateway.file(), &token, &["--json"]).await?;
        let text = String::from_utf8_lossy(&output.stdout);
        let told: Value = serde_json::from_str(&text).context(format_args!("{failed}: {text}"))?;
        let answer = gateway.send(&Request::get("/private").bearer(&token)).await?;
        let checks = checks(&told)?;
        assert_eq!(checks.len(), 15, "{failed}: {told:#}");
        let found = checks.iter().position(|(_, outcome)| outcome == "failed");
        if failed.is_empty() {
            assert_eq!((found, answer.status), (None, 200), "{told:#}");
            assert_eq!(checks[14], ("revocation".to_owned(), "notKnown".to_owned()));
            assert!(checks[..14].iter().all(|(_, outcome)| outcome == "passed"), "{told:#}");
            assert_eq!(told["token"]["provider"], "main");
            assert_eq!(told["token"]["claims"]["sub"], "alice");
        } else {
            let at = found.context(format_args!("{failed}: nothing failed in {told:#}"))?;
            assert_eq!(checks[at].0, failed, "{told:#}");
            assert!(checks[..at].iter().all(|(_, outcome)| outcome == "passed"), "{told:#}");
            assert!(checks[at + 1..].iter().all(|(_, outcome)| outcome == "notReached"));
            let problem = answer.json()?;
            assert_eq!(told["token"]["checks"][at]["reason"], problem["detail"], "{failed}");
            assert_eq!(told["refusal"]["code"], problem["code"], "{failed}");
        }
        let signature = token.rsplit('.').next().filter(|last| last.len() > 20);
        assert!(signature.is_none_or(|signature| !text.contains(signature)), "{failed}");
    }
    Ok(())
}

#[tokio::test]
async fn the_text_lists_checks_and_claims() -> Outcome {
    let (origin, issuer) = (Origin::start("api").await?, Issuer::start().await?);
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("gateway.yaml");
    let listener = "listeners: [{name: public, address: \"127.0.0.1:8080\"}]\n";
    let config = listener.to_owned() + &api(&[origin.address()]) + &provider(&issuer) + ROUTES;
    std::fs::write(&file, config)?;
    let token = issuer.token().scopes("orders:read").expires_in(-60).sign()?;
    let output = explain(&file, &token, &[]).await?;
    let text = String::from_utf8_lossy(&output.stdout);
    for words in [
        "token      of provider main",
        "passed      signature",
        "FAILED      exp: the token has expired",
        "expected not before ",
        "not reached aud",
        "\"scope\": \"orders:read\"",
        "\"sub\": \"alice\"",
    ] {
        assert!(text.contains(words), "no {words:?} in\n{text}");
    }
    assert!(!text.contains(token.rsplit('.').next().unwrap_or("?")), "{text}");

    // A route that takes no token has nothing to say about it.
    let mut command = Command::new(BINARY);
    command.arg("explain").arg(&file).args(["--host", "a", "--path", "/public", "--json"]);
    let run = command.args(["--token", &token]).kill_on_drop(true).output();
    let output = tidegate_kit::wait::within("the command's end", run).await??;
    let told: Value = serde_json::from_slice(&output.stdout)?;
    assert!(told["token"].is_null(), "{told:#}");
    Ok(())
}
