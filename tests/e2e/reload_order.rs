//! Operators order a reload: `POST /admin/reload` and `tidegate reload`.

use std::process::Output;

use tidegate_kit::{Gateway, Origin, Outcome, Request, Result, send, wait};
use tokio::process::Command;

use crate::{BINARY, api, gateway, open_route};

const TOKEN: &str = "operator-0123456789abcdef";
const TARGET: &str = "/admin/reload";

async fn started(origin: &Origin) -> Result<Gateway> {
    let config = api(&[origin.address()]) + &open_route("");
    gateway(config).admin("token: \"${env:ADMIN}\"").environment("ADMIN", TOKEN).start().await
}

fn order() -> Request {
    Request::new("POST", TARGET)
}

#[tokio::test]
async fn an_order_reloads_and_says_what_is_in_force() -> Outcome {
    let origin = Origin::start("api").await?;
    let gateway = started(&origin).await?;
    let admin = gateway.admin();
    send(admin, &order()).await?.expect(401)?;
    send(admin, &order().bearer("another-0123456789abcdef")).await?.expect(401)?;
    let other = send(admin, &Request::get(TARGET)).await?.expect(405)?;
    assert_eq!(other.header("allow"), Some("POST"));
    assert_eq!(gateway.config_version().await?["configVersion"], 1, "nobody has reloaded");
    // The same file once more: secrets beside it may be others.
    for version in 2..5 {
        let told = send(admin, &order().bearer(TOKEN)).await?.expect(200)?.json()?;
        assert_eq!(told["configVersion"], version, "{told}");
        assert_eq!(told["needsRestart"].as_array().map(Vec::len), Some(0), "{told}");
        let current = gateway.config_version().await?;
        for key in ["configVersion", "checksum", "loadedAt"] {
            assert_eq!(told[key], current[key], "it is in force when it is told: {told}");
        }
    }
    let log = gateway.log();
    let audited = log.lines().filter(|line| line.contains("a reload was ordered"));
    assert_eq!(audited.filter(|line| line.contains("the bearer of the admin token")).count(), 3);
    assert!(!log.contains(TOKEN));
    Ok(())
}

#[tokio::test]
async fn a_refused_file_is_told_with_all_its_problems() -> Outcome {
    let origin = Origin::start("api").await?;
    let gateway = started(&origin).await?;
    let good = std::fs::read_to_string(gateway.file())?;
    gateway.write_file(&good.replace("pathPrefix", "pathPrefx").replace("auth:", "ath:"))?;
    let refused = send(gateway.admin(), &order().bearer(TOKEN)).await?.expect(422)?.json()?;
    let problems = refused["problems"].as_array().cloned().unwrap_or_default();
    assert!(problems.len() >= 2, "{refused}");
    for problem in &problems {
        assert!(problem["code"].is_string() && problem["line"].is_u64(), "{problem}");
    }
    assert!(problems.iter().any(|one| one["message"].to_string().contains("pathPrefx")));
    assert_eq!(gateway.config_version().await?["configVersion"], 1);
    gateway.get("/").await?.expect(200)?;
    // What changed and needs a restart is said.
    let grace = good.replace("gracePeriod: 10s", "gracePeriod: 11s");
    assert_ne!(grace, good);
    gateway.write_file(&grace)?;
    let told = send(gateway.admin(), &order().bearer(TOKEN)).await?.expect(200)?.json()?;
    assert_eq!(told["needsRestart"], serde_json::json!(["server"]), "{told}");
    Ok(())
}

/// Several at once: each is told what is in force.
#[tokio::test]
async fn orders_at_once_are_all_answered() -> Outcome {
    let origin = Origin::start("api").await?;
    let gateway = started(&origin).await?;
    let admin = gateway.admin();
    let orders: Vec<_> = (0..8)
        .map(|_| tokio::spawn(async move { send(admin, &order().bearer(TOKEN)).await }))
        .collect();
    let mut last = 0;
    for order in orders {
        let told = order.await??.expect(200)?.json()?;
        last = last.max(told["configVersion"].as_u64().unwrap_or(0));
    }
    assert!((2..=9).contains(&last), "{last}");
    assert_eq!(gateway.config_version().await?["configVersion"], last);
    Ok(())
}

async fn tidegate(gateway: &Gateway, token: Option<&str>) -> Result<Output> {
    let mut command = Command::new(BINARY);
    command.arg("reload").arg(gateway.file()).kill_on_drop(true).env_remove("ADMIN");
    if let Some(token) = token {
        command.env("ADMIN", token);
    }
    Ok(wait::within("tidegate reload", command.output()).await??)
}

/// The command line finds the admin listener and its token by the configuration.
#[tokio::test]
async fn the_command_line_orders_a_reload() -> Outcome {
    let origin = Origin::start("api").await?;
    let gateway = started(&origin).await?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let done = tidegate(&gateway, Some(TOKEN)).await?;
    let (out, err) = (text(done.stdout), text(done.stderr));
    assert_eq!(done.status.code(), Some(0), "{out}{err}");
    assert!(out.starts_with("version 2 is in force, sha256:"), "{out}");
    assert_eq!(gateway.config_version().await?["configVersion"], 2);

    let refused = tidegate(&gateway, Some("another-0123456789abcdef")).await?;
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(refused.stderr).contains("the token that was given is another"));

    // The command sees what is wrong before the gateway is asked.
    let good = std::fs::read_to_string(gateway.file())?;
    gateway.write_file(&good.replace("pathPrefix", "pathPrefx"))?;
    let wrong = tidegate(&gateway, Some(TOKEN)).await?;
    assert_eq!(wrong.status.code(), Some(1));
    assert!(text(wrong.stderr).contains("pathPrefx"));
    gateway.get("/").await?.expect(200)?;
    Ok(())
}
