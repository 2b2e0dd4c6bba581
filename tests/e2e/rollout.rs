//! A new version's share rises while it does well, and is taken away when it does not (R041).

use tidegate_kit::{Gateway, Habit, Origin, Outcome, Result};

use crate::{gateway, list};

/// A service whose second version is rolled out in three steps, each held for a second.
fn rolling_out(stable: &Origin, canary: &Origin) -> String {
    format!(
        "services:\n  api:\n    versions:\n      \
         - {{name: stable, endpoints: [{}]}}\n      - {{name: canary, endpoints: [{}]}}\n\
         routes:\n  - name: all\n    match: {{pathPrefix: /}}\n    upstream:\n      \
         service: api\n      splits:\n        - {{version: stable, weight: 7000}}\n        \
         - {{version: canary, weight: 3000}}\n      splitKey: [random]\n      rollout:\n        \
         version: canary\n        steps: [3000, 6000, 10000]\n        hold: 1s\n        \
         minRequests: 20\n        maxErrorPercent: 5\n        maxLatencyRatio: 1000\n    \
         policies: {{auth: none}}\n",
        list(&[stable.address()]),
        list(&[canary.address()]),
    )
}

/// Sends requests until the share of the canary is `share`.
async fn send_until(gateway: &Gateway, share: f64) -> Result<()> {
    let labels = [("service", "api"), ("version", "canary")];
    for _ in 0..20_000 {
        gateway.get("/").await?;
        if (gateway.metric("tidegate_rollout_share", &labels).await? - share).abs() < 0.1 {
            return Ok(());
        }
    }
    Err(tidegate_kit::Error::new(format!("the share never became {share}")))
}

#[tokio::test]
async fn a_version_that_does_well_takes_over_and_stays_over_a_reload() -> Outcome {
    let (stable, canary) = (Origin::start("stable").await?, Origin::start("canary").await?);
    let config = rolling_out(&stable, &canary);
    let gateway = gateway(config.as_str()).start().await?;
    send_until(&gateway, 6000.0).await?;
    send_until(&gateway, 10_000.0).await?;
    let before = stable.total();
    for _ in 0..20 {
        gateway.get("/").await?.expect(200)?;
    }
    assert_eq!(stable.total(), before, "the new version takes everything");
    // The same settings in a new configuration go on where they were.
    gateway.write_config(&format!("configVersion: 2\n{config}"))?;
    gateway.runs_version(2).await?;
    for _ in 0..20 {
        gateway.get("/").await?.expect(200)?;
    }
    assert_eq!(stable.total(), before);
    Ok(())
}

#[tokio::test]
async fn a_version_that_fails_gets_nothing_any_more() -> Outcome {
    let (stable, canary) = (Origin::start("stable").await?, Origin::start("canary").await?);
    canary.set_habit(Habit::Status(500));
    let gateway = gateway(rolling_out(&stable, &canary)).start().await?;
    send_until(&gateway, 0.0).await?;
    let before = canary.total();
    for _ in 0..50 {
        gateway.get("/").await?.expect(200)?;
    }
    assert_eq!(canary.total(), before);
    let labels = [("service", "api"), ("version", "canary")];
    let aborts = gateway.metric("tidegate_rollout_aborts_total", &labels).await?;
    assert!((aborts - 1.0).abs() < 0.1, "{aborts}");
    Ok(())
}
