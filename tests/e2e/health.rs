//! When endpoints are spared, and how they come back.

use std::time::Duration;

use serde_json::Value;
use tidegate_kit::{Gateway, GrpcHealth, Habit, Origin, Outcome, Result, wait};

use crate::{gateway, list, open_route};

fn service(origins: &[&Origin], settings: &str) -> String {
    let endpoints: Vec<_> = origins.iter().map(|origin| origin.address()).collect();
    let endpoints = list(&endpoints);
    format!("services:\n  api: {{endpoints: [{endpoints}]{settings}}}\n{}", open_route(""))
}

async fn two() -> Result<[Origin; 2]> {
    Ok([Origin::start("a").await?, Origin::start("b").await?])
}

/// Waits until an endpoint gets requests, or gets none.
async fn is_up(gateway: &Gateway, origin: &Origin, up: bool) -> Result<()> {
    let address = origin.address().to_string();
    let labels = [("service", "api"), ("endpoint", address.as_str())];
    let wanted = |value: f64| (value > 0.5) == up;
    gateway.metric_until("tidegate_upstream_endpoint_up", &labels, wanted).await.map(|_| ())
}

/// `/admin/services`, the endpoints of `api`.
async fn endpoints(gateway: &Gateway) -> Result<Value> {
    let services = gateway.admin_get("/admin/services").await?.expect(200)?.json()?;
    Ok(services.pointer("/0/versions/0/endpoints").cloned().unwrap_or_default())
}

/// Waits until checks have passed at every endpoint.
async fn all_pass(gateway: &Gateway) -> Result<()> {
    wait::until("all checks to pass", async || {
        let endpoints = endpoints(gateway).await.ok()?;
        endpoints.as_array()?.iter().all(|one| one["check"] == "passing").then_some(())
    })
    .await
}

const QUICK: &str = "interval: 50ms, timeout: 1s, unhealthyAfter: 2, healthyAfter: 2";

/// R047.
#[tokio::test]
async fn a_failed_http_check_takes_an_endpoint_out_and_a_passed_one_brings_it_back() -> Outcome {
    let [a, b] = two().await?;
    let settings = format!(", healthCheck: {{path: /health, host: check.example, {QUICK}}}");
    let gateway = gateway(service(&[&a, &b], &settings)).start().await?;
    all_pass(&gateway).await?;
    // Not among the failures of requests: only the check sees anything wrong in it.
    a.set_habit(Habit::Status(500));
    is_up(&gateway, &a, false).await?;
    let before = a.count("/");
    for _ in 0..10 {
        gateway.get("/").await?.expect(200)?;
    }
    assert_eq!(a.count("/"), before);
    assert_eq!(endpoints(&gateway).await?[0]["state"], "failing_checks");
    gateway.log_says("endpoint fails its checks").await?;
    a.set_habit(Habit::Scripted);
    is_up(&gateway, &a, true).await?;
    for _ in 0..10 {
        gateway.get("/").await?.expect(200)?;
    }
    assert_eq!(a.count("/"), before + 5);
    let seen = a.seen();
    let asked = seen.iter().find(|seen| seen.target == "/health");
    assert_eq!(asked.and_then(|asked| asked.header("host")), Some("check.example"));
    Ok(())
}

/// Only the statuses that are listed mean well.
#[tokio::test]
async fn statuses_of_a_check_can_be_chosen() -> Outcome {
    let [a, b] = two().await?;
    a.set_habit(Habit::Status(418));
    let settings = format!(", healthCheck: {{statuses: [418], {QUICK}}}");
    let gateway = gateway(service(&[&a, &b], &settings)).start().await?;
    is_up(&gateway, &b, false).await?;
    is_up(&gateway, &a, true).await?;
    Ok(())
}

#[tokio::test]
async fn a_tcp_check_sees_who_listens() -> Outcome {
    let [a, b] = two().await?;
    let settings = format!(", healthCheck: {{kind: tcp, {QUICK}}}");
    let gateway = gateway(service(&[&a, &b], &settings)).start().await?;
    all_pass(&gateway).await?;
    a.stop().await;
    is_up(&gateway, &a, false).await?;
    assert_eq!(endpoints(&gateway).await?[0]["check"], "failing");
    for _ in 0..6 {
        gateway.get("/").await?.expect(200)?;
    }
    a.restart().await?;
    is_up(&gateway, &a, true).await?;
    Ok(())
}

#[tokio::test]
async fn a_grpc_check_asks_for_a_service() -> Outcome {
    let health = GrpcHealth::start().await?;
    let endpoint = list(&[health.address()]);
    let gateway = gateway(format!(
        "services:\n  api: {{endpoints: [{endpoint}], protocol: http2, healthCheck: {{kind: grpc, \
         grpcService: shop.v1.Shop, {QUICK}}}}}\n{}",
        open_route("")
    ))
    .start()
    .await?;
    all_pass(&gateway).await?;
    assert_eq!(health.about(), "shop.v1.Shop");
    let becomes = async |check: &'static str| {
        wait::until(check, async || {
            (endpoints(&gateway).await.ok()?[0]["check"] == check).then_some(())
        })
        .await
    };
    health.serves(false);
    becomes("failing").await?;
    health.serves(true);
    becomes("passing").await?;
    Ok(())
}

/// R047: all out is an answer, at once, that says which service.
#[tokio::test]
async fn when_all_fail_their_checks_the_answer_is_503_and_names_the_service() -> Outcome {
    let [a, b] = two().await?;
    let settings = format!(", healthCheck: {{{QUICK}}}");
    let gateway = gateway(service(&[&a, &b], &settings)).start().await?;
    all_pass(&gateway).await?;
    for origin in [&a, &b] {
        origin.set_habit(Habit::Status(500));
        is_up(&gateway, origin, false).await?;
    }
    let refused = gateway.get("/").await?;
    refused.problem(503, "upstream.no_endpoint")?;
    assert!(refused.text().contains("`api`"), "{refused}");
    assert!(refused.number("retry-after")? >= 1);
    assert!(refused.took < Duration::from_secs(1), "{:?}", refused.took);
    Ok(())
}

/// A start is not an outage: before the first check endpoints are used.
#[tokio::test]
async fn endpoints_are_used_before_their_first_check() -> Outcome {
    let [a, b] = two().await?;
    let gateway = gateway(service(&[&a, &b], ", healthCheck: {interval: 1h}")).start().await?;
    for _ in 0..4 {
        gateway.get("/").await?.expect(200)?;
    }
    assert_eq!((a.count("/"), b.count("/")), (2, 2));
    Ok(())
}

#[tokio::test]
async fn a_reload_keeps_what_is_known_of_endpoints() -> Outcome {
    let [a, b] = two().await?;
    let settings = format!(", healthCheck: {{{QUICK}}}");
    let config = service(&[&a, &b], &settings);
    let gateway = gateway(config.clone()).start().await?;
    all_pass(&gateway).await?;
    a.set_habit(Habit::Status(500));
    is_up(&gateway, &a, false).await?;
    // Nobody asks for an hour, so that what is known can only come from before.
    gateway.write_config(&config.replace("50ms", "1h"))?;
    gateway.runs_version(2).await?;
    let before = a.count("/");
    for _ in 0..10 {
        gateway.get("/").await?.expect(200)?;
    }
    assert_eq!(a.count("/"), before);
    // Without checks nothing is known against it.
    gateway.write_config(&service(&[&a, &b], ""))?;
    gateway.runs_version(3).await?;
    is_up(&gateway, &a, true).await?;
    Ok(())
}

/// Requests through a gateway, and how many of them were answered with 503.
async fn failures(gateway: &Gateway, requests: usize) -> Result<usize> {
    let mut failures = 0;
    for _ in 0..requests {
        failures += usize::from(gateway.get("/").await?.status == 503);
    }
    Ok(failures)
}

#[tokio::test]
async fn failed_requests_leave_an_endpoint_out_for_a_while() -> Outcome {
    let [a, b] = two().await?;
    let settings = ", ejection: {consecutiveFailures: 3, ejectFor: 1s}";
    let gateway = gateway(service(&[&a, &b], settings)).start().await?;
    a.set_habit(Habit::Status(503));
    assert_eq!(failures(&gateway, 30).await?, 3);
    assert_eq!(a.total(), 3);
    let endpoints = endpoints(&gateway).await?;
    let spared = endpoints.as_array().and_then(|all| all.iter().find(|one| one["state"] != "up"));
    let spared = spared.cloned().unwrap_or_default();
    assert_eq!(spared["address"], a.address().to_string());
    assert_eq!(spared["state"], "ejected");
    assert_eq!(spared["ejections"], 1);
    let ejections = "tidegate_upstream_ejections_total";
    let count = gateway.metric(ejections, &[("service", "api")]).await?;
    assert!((count - 1.0).abs() < 0.1, "{count}");
    // One request tries it, finds it well, and brings it back.
    a.set_habit(Habit::Scripted);
    wait::until("the endpoint to come back", async || {
        gateway.get("/").await.ok()?.expect(200).ok()?;
        (a.total() >= 5).then_some(())
    })
    .await?;
    Ok(())
}

#[tokio::test]
async fn no_more_than_the_ceiling_are_left_out() -> Outcome {
    let [a, b] = two().await?;
    let settings = ", ejection: {consecutiveFailures: 2, ejectFor: 1h, maxEjectedPercent: 50}";
    let gateway = gateway(service(&[&a, &b], settings)).start().await?;
    a.set_habit(Habit::Status(503));
    b.set_habit(Habit::Status(503));
    assert_eq!(failures(&gateway, 20).await?, 20);
    let mut totals = [a.total(), b.total()];
    totals.sort_unstable();
    assert_eq!(totals[0], 2, "one is left out, the other is asked to the end: {totals:?}");
    Ok(())
}

#[tokio::test]
async fn in_a_panic_all_are_asked() -> Outcome {
    let [a, b] = two().await?;
    let settings = ", ejection: {consecutiveFailures: 2, ejectFor: 1h, panicPercent: 60}";
    let gateway = gateway(service(&[&a, &b], settings)).start().await?;
    a.set_habit(Habit::Status(503));
    failures(&gateway, 10).await?;
    is_up(&gateway, &a, false).await?;
    let before = (a.total(), b.total());
    assert_eq!(failures(&gateway, 20).await?, 10, "one of two is fewer than 60 percent");
    assert_eq!((a.total() - before.0, b.total() - before.1), (10, 10));
    Ok(())
}

/// What takes no connection is out at once and back as soon as it takes one.
#[tokio::test]
async fn an_endpoint_that_stops_is_out_until_it_listens_again() -> Outcome {
    let [a, b] = two().await?;
    let config = service(&[&a, &b], "")
        .replace("auth: none", "auth: none, retries: 1, retryOn: [connect-failure, reset]");
    let gateway = gateway(config).start().await?;
    a.stop().await;
    for _ in 0..20 {
        gateway.get("/").await?.expect(200)?;
    }
    assert_eq!(endpoints(&gateway).await?.to_string().matches("unreachable").count(), 1);
    a.restart().await?;
    is_up(&gateway, &a, true).await?;
    Ok(())
}
