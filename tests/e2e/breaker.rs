//! How many requests a service is sent, and when none.

use std::time::Duration;

use tidegate_kit::{
    Gateway, Habit, Origin, Outcome, RawConnection, Request, Response, Result, send, wait,
};
use tokio::task::JoinHandle;

use crate::{gateway, list, open_route};

fn service(origin: &Origin, breaker: &str) -> String {
    let endpoints = list(&[origin.address()]);
    format!(
        "services:\n  api: {{endpoints: [{endpoints}], connectTimeout: 15s, \
         circuitBreaker: {{{breaker}}}}}\n{}",
        open_route("timeoutMs: 20000")
    )
}

const SERVICE: [(&str, &str); 1] = [("service", "api")];

/// A metric of the service, as a whole number.
async fn figure(gateway: &Gateway, name: &str) -> Result<String> {
    Ok(format!("{:.0}", gateway.metric(name, &SERVICE).await?))
}

/// R048.
#[tokio::test]
async fn a_circuit_opens_lets_one_trial_through_and_closes() -> Outcome {
    let origin = Origin::start("api").await?;
    let breaker = "errorPercent: 50, minRequests: 4, openFor: 2s";
    let gateway = gateway(service(&origin, breaker)).start().await?;
    let state = "tidegate_upstream_circuit_state";
    assert_eq!(figure(&gateway, state).await?, "0");
    origin.set_habit(Habit::Status(503));
    for _ in 0..4 {
        let response = gateway.get("/").await?.expect(503)?;
        assert_eq!(response.origin(), Some("api"));
    }
    let mut fastest = Duration::MAX;
    for _ in 0..20 {
        let refused = gateway.get("/").await?;
        refused.problem(503, "upstream.circuit_open")?;
        assert!((1..=2).contains(&refused.number("retry-after")?));
        assert!(refused.text().contains("`api`"), "{refused}");
        fastest = fastest.min(refused.took);
    }
    assert!(fastest < Duration::from_millis(5), "{fastest:?}");
    assert_eq!(origin.total(), 4, "the service is left alone");
    assert_eq!(figure(&gateway, state).await?, "2");
    let services = gateway.admin_get("/admin/services").await?.expect(200)?.json()?;
    assert_eq!(services[0]["circuit"]["state"], "open", "{services}");
    // The first trial fails, and one request is all that the service sees of it.
    wait::until("the first trial", async || {
        let _ = gateway.get("/").await;
        (origin.total() == 5).then_some(())
    })
    .await?;
    gateway.get("/").await?.problem(503, "upstream.circuit_open")?;
    origin.set_habit(Habit::Scripted);
    wait::until("the circuit to close", async || {
        (gateway.get("/").await.ok()?.status == 200).then_some(())
    })
    .await?;
    for _ in 0..10 {
        gateway.get("/").await?.expect(200)?;
    }
    assert_eq!(origin.total(), 16);
    assert_eq!(figure(&gateway, state).await?, "0");
    assert_eq!(figure(&gateway, "tidegate_upstream_circuit_opened_total").await?, "1");
    Ok(())
}

/// What clients get is what counts: an attempt that is repeated elsewhere with success is no
/// failed request, and one endpoint that dies does not take its service along.
#[tokio::test]
async fn a_dead_endpoint_does_not_open_the_circuit() -> Outcome {
    let (dead, alive) = (Origin::start("dead").await?, Origin::start("alive").await?);
    dead.stop().await;
    let endpoints = list(&[dead.address(), alive.address()]);
    let config = format!(
        "services:\n  api: {{endpoints: [{endpoints}], \
         circuitBreaker: {{errorPercent: 10, minRequests: 2}}}}\n"
    );
    let gateway = gateway(config + &open_route("retries: 1")).start().await?;
    for _ in 0..20 {
        gateway.get("/").await?.expect(200)?;
    }
    assert_eq!(figure(&gateway, "tidegate_upstream_circuit_opened_total").await?, "0");
    Ok(())
}

fn held(gateway: &Gateway, target: &str) -> JoinHandle<Result<Response>> {
    let (address, request) = (gateway.address(), Request::get(target));
    tokio::spawn(async move { send(address, &request).await })
}

#[tokio::test]
async fn requests_beyond_the_most_are_refused() -> Outcome {
    let origin = Origin::start("api").await?;
    let gateway = gateway(service(&origin, "maxRequests: 2")).start().await?;
    let running = [held(&gateway, "/hold/x"), held(&gateway, "/hold/x")];
    origin.arrived(2).await?;
    let refused = gateway.get("/").await?;
    refused.problem(503, "upstream.overloaded")?;
    assert!(refused.number("retry-after")? >= 1);
    assert!(refused.text().contains("`api`"), "{refused}");
    origin.release("x");
    for request in running {
        request.await??.expect(200)?;
    }
    gateway.settled().await?;
    gateway.get("/").await?.expect(200)?;
    Ok(())
}

/// R009: a bounded wait, then 503.
#[tokio::test]
async fn requests_wait_for_a_connection_but_not_too_many() -> Outcome {
    let origin = Origin::start("api").await?;
    let gateway = gateway(service(&origin, "maxConnections: 1, maxPending: 2")).start().await?;
    let running = held(&gateway, "/hold/x");
    origin.arrived(1).await?;
    let waiting = [held(&gateway, "/one"), held(&gateway, "/two")];
    let pending = "tidegate_upstream_pending";
    gateway.metric_until(pending, &SERVICE, |count| count > 1.5).await?;
    gateway.get("/").await?.problem(503, "upstream.overloaded")?;
    assert_eq!(origin.total(), 1);
    origin.release("x");
    running.await??.expect(200)?;
    for request in waiting {
        request.await??.expect(200)?;
    }
    assert_eq!(figure(&gateway, pending).await?, "0");
    assert_eq!(origin.connections(), 1, "it is one connection indeed");
    Ok(())
}

/// Nobody waits for a connection longer than one may take to be made.
#[tokio::test]
async fn the_wait_for_a_connection_has_an_end() -> Outcome {
    let origin = Origin::start("api").await?;
    let config = service(&origin, "maxConnections: 1").replace("15s", "200ms");
    let gateway = gateway(config).start().await?;
    let running = held(&gateway, "/hold/x");
    origin.arrived(1).await?;
    let refused = gateway.get("/").await?;
    refused.problem(503, "upstream.overloaded")?;
    assert!(refused.took >= Duration::from_millis(190), "{:?}", refused.took);
    origin.release("x");
    running.await??.expect(200)?;
    Ok(())
}

/// A client that goes away gives back what its request held.
#[tokio::test]
async fn a_client_that_goes_away_gives_its_place_back() -> Outcome {
    let origin = Origin::start("api").await?;
    let gateway = gateway(service(&origin, "maxRequests: 1, maxConnections: 1")).start().await?;
    let mut client = RawConnection::connect(gateway.address()).await?;
    client.send(b"GET /hold/x HTTP/1.1\r\nhost: a.example\r\n\r\n").await?;
    origin.arrived(1).await?;
    gateway.get("/").await?.problem(503, "upstream.overloaded")?;
    drop(client);
    wait::until("the place to be free", async || {
        (gateway.get("/").await.ok()?.status == 200).then_some(())
    })
    .await?;
    Ok(())
}
