//! R110: `tidegate headers` writes the contract, word for word, and shows no secret.

use std::path::Path;

use serde_json::Value;
use tidegate_kit::{Outcome, Result, wait};
use tokio::process::Command;

use crate::BINARY;

const CONFIG: &str = "tests/golden/identity-contract.yaml";
const PAGE: &str = "tests/golden/identity-contract.md";
const SECRET: &str = "a secret of the contract that nobody may see";

async fn printed(arguments: &[&str]) -> Result<std::process::Output> {
    let mut command = Command::new(BINARY);
    command.args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).kill_on_drop(true);
    command.env("IDENTITY_KEY", SECRET).env("OLD_KEY", SECRET.to_uppercase());
    Ok(wait::within("the command's end", command.output()).await??)
}

/// `UPDATE=1` writes what is said now; read the difference before committing it.
#[tokio::test]
async fn the_contract_is_written_from_the_configuration() -> Outcome {
    let output = printed(&["headers", CONFIG]).await?;
    let said = String::from_utf8(output.stdout)?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&page, &said)?;
    }
    assert_eq!(said, std::fs::read_to_string(&page).unwrap_or_default());
    assert!(!said.to_lowercase().contains(SECRET));
    Ok(())
}

#[tokio::test]
async fn the_contract_as_json_says_the_same() -> Outcome {
    let output = printed(&["headers", CONFIG, "--json"]).await?;
    let said: Value = serde_json::from_slice(&output.stdout)?;
    let names: Vec<&str> = said["headers"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|header| header["name"].as_str())
        .collect();
    assert_eq!(names, ["x-desk", "x-profile", "x-scopes", "x-user-id"]);
    assert_eq!(said["headers"][1]["encoding"], "json");
    assert_eq!(said["signature"]["keys"], serde_json::json!(["2026-11", "2026-10"]));
    assert_eq!(said["signature"]["maxAgeSeconds"], 30);
    assert_eq!(said["strippedUnlessFromTrustedProxies"], serde_json::json!(["x-verified-plan"]));
    let text = said.to_string().to_lowercase();
    assert!(!text.contains(SECRET));

    let broken = printed(&["headers", "tests/golden/no-such.yaml"]).await?;
    assert_eq!(broken.status.code(), Some(1));
    Ok(())
}
