//! How the endpoints of a service share its requests.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use tidegate_kit::{Gateway, Origin, Outcome, Request, Result, send, wait};

use crate::{gateway, open_route};

/// A service `api` of these endpoints with these settings, and a route to it.
fn service(endpoints: &[(SocketAddr, u32)], settings: &str) -> String {
    let endpoints: Vec<String> = endpoints
        .iter()
        .map(|(address, weight)| format!("{{address: \"{address}\", weight: {weight}}}"))
        .collect();
    let list = endpoints.join(", ");
    format!("services:\n  api: {{endpoints: [{list}]{settings}}}\n{}", open_route(""))
}

fn even(origins: &[&Origin], settings: &str) -> String {
    let endpoints: Vec<_> = origins.iter().map(|origin| (origin.address(), 1)).collect();
    service(&endpoints, settings)
}

async fn three() -> Result<[Origin; 3]> {
    Ok([Origin::start("a").await?, Origin::start("b").await?, Origin::start("c").await?])
}

/// R040: a weight is a share, and 0 is none.
#[tokio::test]
async fn endpoints_take_turns_by_weight() -> Outcome {
    let [a, b, c] = three().await?;
    let weights = [(a.address(), 3), (b.address(), 1), (c.address(), 0)];
    let gateway = gateway(service(&weights, "")).start().await?;
    for _ in 0..40 {
        gateway.get("/").await?.expect(200)?;
    }
    assert_eq!([a.total(), b.total(), c.total()], [30, 10, 0]);
    Ok(())
}

/// R039: who is removed costs no request, and its share goes to the others.
#[tokio::test]
async fn an_endpoint_is_removed_without_a_failed_request() -> Outcome {
    let origins = three().await?;
    let [a, b, c] = origins.each_ref();
    let gateway = gateway(even(&[a, b, c], "")).start().await?;
    let (mut sent, mut after) = (0, None);
    gateway.write_config(&even(&[a, b], ""))?;
    while after.is_none_or(|(number, _)| sent < number + 20) {
        gateway.get("/").await?.expect(200)?;
        sent += 1;
        if after.is_none() && gateway.config_version().await?["configVersion"] == 2 {
            after = Some((sent, [a.total(), b.total(), c.total()]));
        }
    }
    let (_, before) = after.unwrap_or_default();
    let now = [a.total(), b.total(), c.total()];
    assert_eq!([0, 1, 2].map(|index| now[index] - before[index]), [10, 10, 0]);
    Ok(())
}

#[tokio::test]
async fn least_requests_prefers_the_idle_one() -> Outcome {
    let [a, b, _] = three().await?;
    let settings = ", loadBalancing: {algorithm: least_requests}";
    let gateway = gateway(even(&[&a, &b], settings)).start().await?;
    let address = gateway.address();
    let held = tokio::spawn(async move { send(address, &Request::get("/hold/x")).await });
    let busy = wait::until("the request to arrive", async || {
        [&a, &b].into_iter().find(|origin| origin.total() == 1)
    })
    .await?;
    for _ in 0..20 {
        gateway.get("/").await?.expect(200)?;
        // A client has its answer before the gateway is done with the request.
        let others = |in_flight: f64| in_flight < 1.5;
        gateway.metric_until("tidegate_requests_in_flight", &[], others).await?;
    }
    assert_eq!(busy.total(), 1);
    busy.release("x");
    held.await??.expect(200)?;
    Ok(())
}

/// Which origin each of some sessions goes to; all of them go there twice.
async fn homes(gateway: &Gateway) -> Result<BTreeMap<String, String>> {
    let mut homes = BTreeMap::new();
    for round in 0..2 {
        for number in 0..60 {
            let session = format!("session-{number}");
            let request = Request::get("/").header("x-session", &session);
            let response = gateway.send(&request).await?.expect(200)?;
            let origin = response.origin().unwrap_or_default().to_owned();
            let before = homes.insert(session, origin.clone());
            assert!(round == 0 || before == Some(origin), "a session moved");
        }
    }
    Ok(homes)
}

#[tokio::test]
async fn a_hashed_key_stays_with_its_endpoint_and_few_keys_move() -> Outcome {
    let origins = three().await?;
    let [a, b, c] = origins.each_ref();
    let settings = ", loadBalancing: {algorithm: consistent_hash, hashKey: [\"header:x-session\"]}";
    let gateway = gateway(even(&[a, b, c], settings)).start().await?;
    let before = homes(&gateway).await?;
    let met: std::collections::BTreeSet<_> = before.values().collect();
    assert_eq!(met.len(), 3, "{met:?}");
    gateway.write_config(&even(&[a, b], settings))?;
    gateway.runs_version(2).await?;
    for (session, home) in homes(&gateway).await? {
        let was = &before[&session];
        assert!(*was == home || was == "c", "{session} moved from {was} to {home}");
    }
    Ok(())
}

/// A newcomer gets little at first, and its whole share in the end.
#[tokio::test]
async fn a_new_endpoint_grows_into_its_share() -> Outcome {
    let [a, b, _] = three().await?;
    let settings = ", loadBalancing: {slowStart: 4s}";
    let gateway = gateway(even(&[&a], settings)).start().await?;
    gateway.write_config(&even(&[&a, &b], settings))?;
    gateway.runs_version(2).await?;
    let batch = async || -> Result<usize> {
        let before = b.total();
        for _ in 0..20 {
            gateway.get("/").await?.expect(200)?;
        }
        Ok(b.total() - before)
    };
    let first = batch().await?;
    assert!(first < 8, "{first} of 20 at the start");
    wait::until("the newcomer to have its share", async || {
        (batch().await.ok()? == 10).then_some(())
    })
    .await?;
    Ok(())
}

/// A configuration that leaves nobody, or says nonsense, is refused in words.
#[tokio::test]
async fn settings_that_cannot_be_meant_are_refused() -> Outcome {
    let [a, _, _] = three().await?;
    let gateway = gateway(even(&[&a], "")).start().await?;
    gateway.write_config(&service(
        &[(a.address(), 0)],
        ", loadBalancing: {algorithm: consistent_hash, hashKey: [random]}, \
         healthCheck: {interval: 0s, path: nowhere, statuses: [99]}, \
         ejection: {maxEjectedPercent: 101}, circuitBreaker: {maxRequests: 0}",
    ))?;
    gateway.log_says("configuration refused").await?;
    let log = gateway.log();
    for place in [
        "services.api.endpoints",
        "loadBalancing.hashKey[0]",
        "healthCheck.interval",
        "healthCheck.path",
        "healthCheck.statuses",
        "ejection.maxEjectedPercent",
        "circuitBreaker.maxRequests",
    ] {
        assert!(log.contains(place), "{place}: {log}");
    }
    gateway.get("/").await?.expect(200)?;
    Ok(())
}
