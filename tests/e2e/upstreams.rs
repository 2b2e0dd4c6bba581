//! Where requests go: endpoints in turn, versions by share, and what happens when they fail.

use std::collections::BTreeMap;
use std::time::Duration;

use tidegate_kit::{
    Gateway, Habit, Issuer, Origin, Outcome, RawConnection, RawOrigin, Request, Result, murmur3_32,
    ports,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{api, gateway, has_keys, list, open_route, provider};

/// R039.
#[tokio::test]
async fn endpoints_take_turns() -> Outcome {
    let origins = [Origin::start("a").await?, Origin::start("b").await?, Origin::start("c").await?];
    let config = api(&origins.each_ref().map(Origin::address)) + &open_route("");
    let gateway = gateway(config).start().await?;
    for _ in 0..30 {
        gateway.get("/").await?.expect(200)?;
    }
    assert_eq!(origins.each_ref().map(Origin::total), [10, 10, 10]);
    Ok(())
}

/// A service with two versions, of which `canary` takes `weight` of 10000.
fn two_versions(stable: &Origin, canary: &Origin, weight: u32, split_key: &str) -> String {
    format!(
        "services:\n  api:\n    versions:\n      \
         - {{name: stable, endpoints: [{}]}}\n      - {{name: canary, endpoints: [{}]}}\n\
         routes:\n  - name: all\n    match: {{pathPrefix: /}}\n    upstream:\n      \
         service: api\n      splits:\n        - {{version: stable, weight: {}}}\n        \
         - {{version: canary, weight: {weight}}}\n      splitKey: [{split_key}]\n",
        list(&[stable.address()]),
        list(&[canary.address()]),
        10_000 - weight,
    )
}

/// R042, R043: the version is a function of the key that anybody can compute.
#[tokio::test]
async fn a_split_is_decided_by_murmur3_of_the_key() -> Outcome {
    const CANARY: u32 = 3000;
    let (stable, canary) = (Origin::start("stable").await?, Origin::start("canary").await?);
    let config =
        two_versions(&stable, &canary, CANARY, "\"header:x-session\"") + "policies: {auth: none}\n";
    let gateway = gateway(config).start().await?;
    let mut connection = RawConnection::connect(gateway.address()).await?;
    let mut met = BTreeMap::new();
    for number in 0..300 {
        let session = format!("session-{number}");
        let bucket = murmur3_32(session.as_bytes(), 0) % 10_000;
        let expected = if bucket < 10_000 - CANARY { "stable" } else { "canary" };
        for _ in 0..2 {
            let request = Request::get("/").header("x-session", &session);
            let response = connection.request(&request).await?.expect(200)?;
            assert_eq!(response.origin(), Some(expected), "{session} in bucket {bucket}");
        }
        *met.entry(expected).or_insert(0) += 1;
    }
    assert!(met["canary"] > 60 && met["stable"] > 180, "{met:?}");
    let picks = gateway
        .metric("tidegate_upstream_picks_total", &[("service", "api"), ("version", "canary")])
        .await?;
    assert!((picks - 2.0 * f64::from(met["canary"])).abs() < 0.1, "{picks}");
    Ok(())
}

/// R044, T16: the key is who the caller is, not who the client says it is.
#[tokio::test]
async fn a_user_stays_on_one_version_whatever_the_client_claims() -> Outcome {
    let (stable, canary) = (Origin::start("stable").await?, Origin::start("canary").await?);
    let issuer = Issuer::start().await?;
    let config = two_versions(&stable, &canary, 5000, "userId")
        + &provider(&issuer)
        + "policies: {auth: required}\n";
    let gateway = gateway(config).start().await?;
    has_keys(&gateway).await?;
    for user in ["alice", "bob", "carol", "dave"] {
        let bucket = murmur3_32(user.as_bytes(), 0) % 10_000;
        let expected = if bucket < 5000 { "stable" } else { "canary" };
        for claimed in ["x", "y", "z", "alice", "bob"] {
            let token = issuer.token().subject(user).claim("jti", claimed).sign()?;
            let request = Request::get("/").bearer(&token).header("x-user-id", claimed);
            let response = gateway.send(&request).await?.expect(200)?;
            assert_eq!(response.origin(), Some(expected), "{user} as {claimed}");
        }
    }
    Ok(())
}

/// R028, R029: conditions on headers choose a version.
#[tokio::test]
async fn a_header_chooses_a_version() -> Outcome {
    let (stable, canary) = (Origin::start("stable").await?, Origin::start("canary").await?);
    let config = two_versions(&stable, &canary, 0, "random")
        + "  - name: asked\n    match: {pathPrefix: /, headers: \
           [{name: x-beta-features, contains: new-checkout}]}\n    upstream: {service: api, \
           splits: [{version: canary, weight: 10000}]}\n\
           policies: {auth: none}\n";
    let gateway = gateway(config).start().await?;
    for (features, expected) in [
        ("new-checkout", "canary"),
        ("search, new-checkout ,x", "canary"),
        ("new-checkout-2", "stable"),
        ("", "stable"),
    ] {
        let request = Request::get("/").header("x-beta-features", features);
        let response = gateway.send(&request).await?.expect(200)?;
        assert_eq!(response.origin(), Some(expected), "{features:?}");
    }
    Ok(())
}

/// An endpoint at which nobody listens, and one that answers.
async fn half_dead(policies: &str) -> Result<(Origin, Gateway)> {
    let (dead, alive) = (Origin::start("dead").await?, Origin::start("alive").await?);
    dead.stop().await;
    let config = api(&[dead.address(), alive.address()]) + &open_route(policies);
    Ok((alive, gateway(config).start().await?))
}

#[tokio::test]
async fn a_failed_connection_is_tried_at_the_other_endpoint() -> Outcome {
    let (alive, gateway) = half_dead("retries: 1").await?;
    for _ in 0..10 {
        gateway.get("/").await?.expect(200)?;
    }
    assert_eq!(alive.total(), 10);
    let labels = [("route", "all"), ("reason", "connect-failure")];
    assert!(gateway.metric("tidegate_retries_total", &labels).await? >= 1.0);
    // R047: an endpoint that fails again and again is left out of the rotation.
    let failures = [("service", "api"), ("code", "upstream.connect_failed")];
    let count = gateway.metric("tidegate_upstream_failures_total", &failures).await?;
    assert!((1.0..=4.0).contains(&count), "{count}");
    Ok(())
}

/// R128: what may not be sent twice is not.
#[tokio::test]
async fn a_post_is_never_repeated() -> Outcome {
    let (alive, gateway) = half_dead("retries: 2, retryOn: [connect-failure, reset, 503]").await?;
    let (mut good, mut failed) = (0, 0);
    for _ in 0..4 {
        let response = gateway.send(&Request::post("/orders", "{}")).await?;
        if response.status == 200 {
            good += 1;
        } else {
            response.problem(502, "upstream.connect_failed")?;
            failed += 1;
        }
    }
    assert_eq!((good, failed), (2, 2), "endpoints take turns");
    assert_eq!(alive.total(), 2);
    alive.set_habit(Habit::Reset);
    while gateway
        .send(&Request::post("/orders", "{}"))
        .await?
        .problem(502, "upstream.connection_lost")
        .is_err()
    {
        failed += 1;
        assert!(failed < 6, "a reset that is never seen");
    }
    assert_eq!(alive.total(), 3, "a POST that was reset was sent once");
    Ok(())
}

/// R127, R130: each listed condition is repeated, so often and no more.
#[tokio::test]
async fn what_is_listed_is_repeated_and_nothing_else() -> Outcome {
    let origin = Origin::start("api").await?;
    let routes = "policies: {auth: none}\n\
        routes:\n  \
        - {name: both, match: {pathPrefix: /both}, upstream: {service: api}, \
           policies: {retries: 2, retryOn: [reset, 503]}}\n  \
        - {name: neither, match: {pathPrefix: /neither}, upstream: {service: api}, \
           policies: {retries: 2}}\n";
    // The budget would end what the routes allow.
    let service = api(&[origin.address()]).replace("]}", "], retryBudget: {minRetries: 100}}");
    let gateway = gateway(service + routes).start().await?;
    // Resets come first, while no connection is kept: a kept one that breaks is tried anew,
    // because the service may just have closed it.
    for (target, status, attempts) in [
        ("/both/reset", 502, 3),
        ("/neither/reset", 502, 1),
        ("/both/status/503", 503, 3),
        ("/both/status/500", 500, 1),
        ("/both/status/504", 504, 1),
        ("/neither/status/503", 503, 1),
    ] {
        let response = gateway.get(target).await?.expect(status)?;
        assert_eq!(origin.count(target), attempts, "{target}: {response}");
        let line = gateway.access_line(response.required("x-request-id")?).await?;
        assert_eq!(line["attempts"], attempts, "{target}");
    }
    // The last answer reaches the client as the service gave it.
    assert_eq!(gateway.get("/both/status/503").await?.origin(), Some("api"));
    Ok(())
}

/// R049: every failure has its own status and code.
#[tokio::test]
async fn failures_are_502_503_and_504() -> Outcome {
    let origin = Origin::start("api").await?;
    let nonsense = RawOrigin::start("this is not HTTP at all\r\n\r\n").await?;
    let silent = RawOrigin::start("").await?;
    let dead = ([127, 0, 0, 1], ports::free()?).into();
    let service = |name: &str, address: std::net::SocketAddr| {
        format!("  {name}: {{endpoints: [{}]}}\n", list(&[address]))
    };
    let route = |name: &str| {
        format!(
            "  - {{name: {name}, match: {{pathPrefix: /{name}}}, upstream: {{service: {name}}}}}\n"
        )
    };
    let names = ["api", "nonsense", "silent", "dead"];
    let config = format!(
        "policies: {{auth: none, timeoutMs: 5000}}\nservices:\n{}{}{}{}routes:\n{}",
        service("api", origin.address()),
        service("nonsense", nonsense.address()),
        service("silent", silent.address()),
        service("dead", dead),
        names.map(route).concat(),
    );
    let gateway = gateway(config).start().await?;
    gateway.get("/nonsense").await?.problem(502, "upstream.response_invalid")?;
    gateway.get("/silent").await?.problem(502, "upstream.connection_lost")?;
    gateway.get("/api/reset").await?.problem(502, "upstream.connection_lost")?;
    for _ in 0..3 {
        gateway.get("/dead").await?.problem(502, "upstream.connect_failed")?;
    }
    // After three failures in a row the only endpoint is out.
    let refused = gateway.get("/dead").await?;
    refused.problem(503, "upstream.no_endpoint")?;
    assert!(refused.number("retry-after")? >= 1);
    // R154: what the service answered is not the gateway's failure.
    gateway.get("/api/status/500").await?.expect(500)?;
    gateway.settled().await?;
    let rejects = gateway.metric("tidegate_rejects_total", &[("route", "api")]).await?;
    assert!((rejects - 1.0).abs() < 0.1, "only the reset: {rejects}");
    Ok(())
}

/// R125, R126: the route's time is for the whole exchange, all attempts together.
#[tokio::test]
async fn a_timeout_is_504_within_the_routes_time() -> Outcome {
    let origin = Origin::start("api").await?;
    let config = api(&[origin.address()])
        + &open_route("timeoutMs: 400, retries: 2, retryOn: [connect-failure, reset, 503]");
    let gateway = gateway(config).start().await?;
    let late = gateway.get("/delay/5000").await?;
    late.problem(504, "upstream.response_timeout")?;
    assert!(late.took >= Duration::from_millis(380), "{:?}", late.took);
    assert!(late.took < Duration::from_millis(900), "{:?}", late.took);
    assert_eq!(origin.total(), 1, "a timeout is not repeated");
    gateway.get("/delay/50").await?.expect(200)?;
    Ok(())
}

/// A body that breaks off is not passed for a whole one.
#[tokio::test]
async fn an_answer_that_breaks_off_does_so_for_the_client_too() -> Outcome {
    let origin = Origin::start("api").await?;
    let gateway = gateway(api(&[origin.address()]) + &open_route("")).start().await?;
    let cut = gateway.get("/cut/1000").await;
    assert!(cut.as_ref().map_or(true, |answer| answer.status == 502), "{cut:?}");
    gateway.get("/chunks/5").await?.expect(200)?;
    Ok(())
}

/// R009: connections to services are kept.
#[tokio::test]
async fn connections_to_services_are_reused() -> Outcome {
    let origin = Origin::start("api").await?;
    let gateway = gateway(api(&[origin.address()]) + &open_route("")).start().await?;
    for _ in 0..20 {
        gateway.get("/").await?.expect(200)?;
    }
    // One for each of the gateway's two threads.
    assert!(origin.connections() <= 2, "{}", origin.connections());
    let reused = [("service", "api"), ("reused", "true")];
    assert!(gateway.metric("tidegate_upstream_connections_total", &reused).await? >= 18.0);
    Ok(())
}

/// RFC 9110, 2.5: a gateway answers with the version that it speaks, whatever the service's.
#[tokio::test]
async fn an_old_service_is_answered_for_in_the_gateways_version() -> Outcome {
    let old = RawOrigin::start("HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok").await?;
    let gateway = gateway(api(&[old.address()]) + &open_route("")).start().await?;
    let mut client = tokio::net::TcpStream::connect(gateway.address()).await?;
    client.write_all(b"GET / HTTP/1.1\r\nhost: a.example\r\n\r\n").await?;
    let mut line = [0; 12];
    client.read_exact(&mut line).await?;
    assert_eq!(&line, b"HTTP/1.1 200");
    Ok(())
}

/// A kept connection that the service has closed meanwhile is nobody's failure.
#[tokio::test]
async fn a_restarted_service_costs_no_request() -> Outcome {
    let origin = Origin::start("api").await?;
    let gateway = gateway(api(&[origin.address()]) + &open_route("")).start().await?;
    for _ in 0..4 {
        gateway.get("/").await?.expect(200)?;
    }
    origin.restart().await?;
    for _ in 0..4 {
        gateway.get("/").await?.expect(200)?;
    }
    assert_eq!(origin.total(), 8);
    Ok(())
}

/// Bodies go through whole, in both directions.
#[tokio::test]
async fn large_bodies_arrive_whole() -> Outcome {
    let origin = Origin::start("api").await?;
    let gateway = gateway(api(&[origin.address()]) + &open_route("")).start().await?;
    let body: Vec<u8> = (0..2_000_000_u32).map(|n| (n % 251) as u8).collect();
    let chunks = body.chunks(70_000).map(<[u8]>::to_vec).collect();
    let whole = gateway.send(&Request::post("/", body.clone())).await?.expect(200)?.json()?;
    let parts =
        gateway.send(&Request::new("PUT", "/").chunked(chunks)).await?.expect(200)?.json()?;
    assert_eq!(whole["bodyLength"], 2_000_000);
    assert_eq!(whole["bodySha256"], parts["bodySha256"]);
    assert_eq!(gateway.get("/bytes/3000000").await?.expect(200)?.body.len(), 3_000_000);
    assert_eq!(gateway.get("/chunks/2000").await?.expect(200)?.body.len(), 2_000 * 1024);
    Ok(())
}
