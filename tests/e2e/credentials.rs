//! Secrets that the service manager hands over: `${credential:NAME}`.

use tidegate_kit::{Exit, Origin, Outcome, Process, Request, Signal};
use tokio::process::Command;

use crate::{BINARY, api, gateway};

const KEY: &str = "the-partner-key-0123456789";

fn config(origin: &Origin) -> String {
    format!(
        "{}apiKeys: [{{id: partner, key: \"${{credential:partner-key}}\"}}]\n\
         routes:\n  - {{name: all, match: {{pathPrefix: /}}, upstream: {{service: api}}, \
         policies: {{auth: required}}}}\n",
        api(&[origin.address()])
    )
}

/// As `LoadCredential=partner-key:/etc/tidegate/partner.key` does it.
#[tokio::test]
async fn a_credential_is_read_where_the_manager_puts_it() -> Outcome {
    let origin = Origin::start("api").await?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("partner-key");
    std::fs::write(&file, format!("{KEY}\n"))?;
    let setup = gateway(config(&origin));
    let folder_name = folder.path().display().to_string();
    let gateway = setup.environment("CREDENTIALS_DIRECTORY", &folder_name).start().await?;
    let with = |key: &str| Request::get("/").header("x-api-key", key);
    gateway.send(&with(KEY)).await?.expect(200)?;
    // As any secret, it is read again with the configuration.
    std::fs::write(&file, "another-key-0123456789")?;
    gateway.signal(Signal::HUP)?;
    let applied = [("outcome", "applied")];
    gateway.metric_until("tidegate_config_applies_total", &applied, |n| n > 1.5).await?;
    gateway.send(&with(KEY)).await?.expect(401)?;
    gateway.send(&with("another-key-0123456789")).await?.expect(200)?;
    assert!(!gateway.log().contains("another-key"));
    Ok(())
}

/// Nothing starts without its secrets, and what is missing is named.
#[tokio::test]
async fn a_missing_credential_is_named() -> Outcome {
    let origin = Origin::start("api").await?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("gateway.yaml");
    let listeners = "listeners: [{name: main, address: 127.0.0.1:1}]\n";
    std::fs::write(&file, listeners.to_owned() + &config(&origin))?;
    let log = folder.path().join("log");
    for (handed_over, why) in [
        (None, "`CREDENTIALS_DIRECTORY` is not set"),
        (Some(folder.path()), "the credential `partner-key` cannot be read: No such file"),
    ] {
        let mut command = Command::new(BINARY);
        command.arg("run").arg(&file).env_remove("CREDENTIALS_DIRECTORY");
        command.envs(handed_over.map(|folder| ("CREDENTIALS_DIRECTORY", folder)));
        let mut process = Process::spawn("gateway", command, &log)?;
        assert_eq!(process.exit().await?, Exit::Code(1));
        let said = process.log();
        assert!(said.contains("error[reference.unresolved]"), "{said}");
        assert!(said.contains(why) && said.contains("at: apiKeys[0].key"), "{said}");
    }
    Ok(())
}
