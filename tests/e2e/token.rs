//! `tidegate token`: a token for development, from a new key to the service.

use std::path::Path;
use std::process::Output;

use tidegate_kit::{Issuer, Origin, Outcome, Request, Result, wait};
use tokio::process::Command;

use crate::{BINARY, api, gateway, provider};

/// Runs `tidegate token` to its end.
async fn token(words: &[&str]) -> Result<Output> {
    let mut command = Command::new(BINARY);
    let run = command.arg("token").args(words).kill_on_drop(true).output();
    Ok(wait::within("the command's end", run).await??)
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap_or_default()
}

const ROUTES: &str = "routes:
  - {name: orders, match: {pathPrefix: /orders}, upstream: {service: api},
     policies: {auth: required, authorization: {requiredScopes: [orders:read]}}}
";

#[tokio::test]
async fn a_token_of_the_command_line_is_accepted_by_the_gateway() -> Outcome {
    let folder = tempfile::tempdir()?;
    let key = folder.path().join("development.pem");
    let made = token(&["--new-key", text(&key)]).await?;
    assert!(made.status.success() && made.stdout.is_empty(), "{made:?}");
    assert!(!token(&["--new-key", text(&key)]).await?.status.success(), "it is there");

    let origin = Origin::start("api").await?;
    let config = api(&[origin.address()])
        + &format!(
            "identityProviders:\n  dev: {{issuer: https://dev/, audience: orders, \
             algorithms: [EdDSA], developmentKeyFile: {}}}\n{ROUTES}",
            text(&key)
        );
    let gateway = gateway(config).start().await?;
    let file = text(gateway.file()).to_owned();
    let words = ["--config", &file, "--sub", "alice", "--tenant", "acme"];
    let mint = async |more: &[&str]| {
        let output = token(&[&words[..], more].concat()).await?;
        assert!(output.status.success(), "{output:?}");
        Ok::<_, tidegate_kit::Error>(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let orders = async |token: &str| gateway.send(&Request::get("/orders").bearer(token)).await;
    let good = mint(&["--scope", "orders:read", "--jti", "auto", "--not-before"]).await?;
    let response = orders(&good).await?.expect(200)?;
    assert_eq!(response.echoed("x-user-id")?.as_deref(), Some("alice"));
    assert_eq!(response.echoed("x-tenant-id")?.as_deref(), Some("acme"));
    orders(&mint(&[]).await?).await?.problem(403, "auth.scope_insufficient")?;
    orders(&mint(&["--audience", "billing"]).await?).await?.problem(401, "auth.token_audience")?;
    orders(&mint(&["--not-before", "1h"]).await?)
        .await?
        .problem(401, "auth.token_not_yet_valid")?;
    // Another key of the same provider is not the provider's.
    let other = folder.path().join("other.pem");
    token(&["--new-key", text(&other)]).await?;
    let forging = folder.path().join("forging.yaml");
    let written = std::fs::read_to_string(gateway.file())?;
    std::fs::write(&forging, written.replace(text(&key), text(&other)))?;
    let forged = token(&["--config", text(&forging), "--sub", "alice"]).await?;
    let forged = String::from_utf8_lossy(&forged.stdout).trim().to_owned();
    orders(&forged).await?.problem(401, "auth.token_untrusted")?;
    Ok(())
}

#[tokio::test]
async fn tokens_of_a_real_issuer_are_not_made_here() -> Outcome {
    let issuer = Issuer::start().await?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("gateway.yaml");
    std::fs::write(&file, format!("configVersion: 1\n{}routes: []\n", provider(&issuer)))?;
    for more in [&["--provider", "main"][..], &[]] {
        let words = [&["--config", text(&file), "--sub", "alice"], more].concat();
        let output = token(&words).await?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && output.stdout.is_empty());
        assert!(said.contains("tokens of `main` are its issuer's to make"), "{said}");
    }
    let nothing = token(&[]).await?;
    assert_eq!(nothing.status.code(), Some(2), "{nothing:?}");
    Ok(())
}
