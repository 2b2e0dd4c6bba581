//! How long an exchange may take, and that nothing is held back.

use std::time::Duration;

use serde_json::Value;
use tidegate_kit::{
    Exchange, Gateway, ManualOrigin, Origin, Outcome, RawConnection, Request, Result,
};
use tokio::time::Instant;

use crate::{api, gateway, open_route};

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";
const LONG: &str = "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n";

async fn started(policies: &str) -> Result<(ManualOrigin, Gateway)> {
    let origin = ManualOrigin::start().await?;
    let config = api(&[origin.address()]) + &open_route(policies);
    Ok((origin, gateway(config).start().await?))
}

/// Each event is sent only once the client has the one before.
#[tokio::test]
async fn server_sent_events_are_not_held_back() -> Outcome {
    let (origin, gateway) = started("stream: {}").await?;
    let mut client = RawConnection::connect(gateway.address()).await?;
    client.send(GET).await?;
    let mut exchange = origin.request().await?;
    exchange
        .send(
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
               Transfer-Encoding: chunked\r\n\r\n",
        )
        .await?;
    let mut read = client.peek().await?;
    for number in 0..10 {
        let event = format!("data: {number}\n\n");
        exchange.send(format!("{:x}\r\n{event}\r\n", event.len())).await?;
        while !read.contains(&event) {
            read = client.peek().await?;
        }
    }
    exchange.send("0\r\n\r\n").await?;
    let response = client.response().await?.expect(200)?;
    assert_eq!(response.header("content-type"), Some("text/event-stream"));
    Ok(())
}

/// Sends a byte each 25 ms, far more often than any limit for silence, until the gateway has had enough.
async fn drip(exchange: &mut Exchange, byte: u8) {
    for _ in 0..400 {
        if exchange.send([byte]).await.is_err() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}

/// The one line of the access log.
async fn line(gateway: &Gateway) -> Result<Value> {
    gateway.settled().await?;
    tidegate_kit::wait::until("an access log line", async || {
        gateway.access_lines().ok()?.into_iter().next()
    })
    .await
}

/// R125, R126: a service that says a little now and then is not given more time for it.
#[tokio::test]
async fn a_body_that_drips_is_cut_at_the_routes_time() -> Outcome {
    let (origin, gateway) = started("timeoutMs: 600").await?;
    let mut client = RawConnection::connect(gateway.address()).await?;
    let start = Instant::now();
    client.send(GET).await?;
    let mut exchange = origin.request().await?;
    exchange.send(LONG).await?;
    let read = async {
        let response = client.response().await;
        (response, start.elapsed())
    };
    let ((), (response, took)) = tokio::join!(drip(&mut exchange, b'x'), read);
    assert!(response.is_err(), "cut, not passed for a whole answer: {response:?}");
    assert!((550..3000).contains(&took.as_millis()), "{took:?}");
    exchange.closed().await?;
    let line = line(&gateway).await?;
    assert_eq!(
        (&line["status"], &line["code"]),
        (&200.into(), &"upstream.response_timeout".into())
    );
    Ok(())
}

#[tokio::test]
async fn a_header_that_drips_is_504_at_the_routes_time() -> Outcome {
    let (origin, gateway) = started("timeoutMs: 600").await?;
    let mut client = RawConnection::connect(gateway.address()).await?;
    let start = Instant::now();
    client.send(GET).await?;
    let mut exchange = origin.request().await?;
    exchange.send("HTTP/1.1 200 OK\r\nx-long: ").await?;
    let read = async { (client.response().await, start.elapsed()) };
    let ((), (response, took)) = tokio::join!(drip(&mut exchange, b'x'), read);
    response?.problem(504, "upstream.response_timeout")?;
    assert!((550..3000).contains(&took.as_millis()), "{took:?}");
    Ok(())
}

/// The time is the exchange's, not each read's.
#[tokio::test]
async fn silence_in_a_body_ends_with_the_routes_time_too() -> Outcome {
    let (origin, gateway) = started("timeoutMs: 2500").await?;
    let mut client = RawConnection::connect(gateway.address()).await?;
    let start = Instant::now();
    client.send(GET).await?;
    let mut exchange = origin.request().await?;
    // Most of the route's time goes by before the service says anything.
    tokio::time::sleep(Duration::from_secs(2)).await;
    exchange.send(LONG).await?;
    assert!(client.response().await.is_err());
    let took = start.elapsed();
    // A limit of 2.5 s for each read alone would end at 4.5 s.
    assert!((2400..4200).contains(&took.as_millis()), "{took:?}");
    Ok(())
}

/// One connection, many exchanges, each with a time of its own.
#[tokio::test]
async fn the_time_of_one_exchange_is_not_that_of_the_next() -> Outcome {
    let origin = Origin::start("api").await?;
    let config = api(&[origin.address()]) + &open_route("timeoutMs: 1200");
    let gateway = gateway(config).start().await?;
    let mut client = RawConnection::connect(gateway.address()).await?;
    for _ in 0..6 {
        client.request(&Request::get("/delay/400")).await?.expect(200)?;
    }
    client
        .request(&Request::get("/delay/20000"))
        .await?
        .problem(504, "upstream.response_timeout")?;
    Ok(())
}

/// A client that is slow to say what it wants is not the service's failure.
#[tokio::test]
async fn an_upload_that_takes_too_long_is_408() -> Outcome {
    let (origin, gateway) = started("timeoutMs: 500").await?;
    let mut client = RawConnection::connect(gateway.address()).await?;
    client.send(b"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 10\r\n\r\nx").await?;
    let _exchange = origin.request().await?;
    client.response().await?.problem(408, "request.timeout")?;
    let failures = gateway.metric("tidegate_upstream_failures_total", &[]).await?;
    assert!(failures < 0.5, "{failures}");
    Ok(())
}

#[tokio::test]
async fn a_stream_outlives_the_timeout_but_not_the_services_silence() -> Outcome {
    let (origin, gateway) = started("timeoutMs: 400, stream: {idleTimeout: 1s}").await?;
    let mut client = RawConnection::connect(gateway.address()).await?;
    client.send(GET).await?;
    let mut exchange = origin.request().await?;
    exchange.send(LONG).await?;
    for _ in 0..4 {
        // Silence that is shorter than `idleTimeout`; together longer than `timeoutMs`.
        tokio::time::sleep(Duration::from_millis(250)).await;
        exchange.send("x").await?;
    }
    let start = Instant::now();
    assert!(client.response().await.is_err());
    let took = start.elapsed();
    assert!((800..4000).contains(&took.as_millis()), "{took:?}");
    let line = line(&gateway).await?;
    assert_eq!(line["code"], "upstream.stream_idle", "{line}");
    Ok(())
}

#[tokio::test]
async fn a_stream_ends_when_it_lasted_long_enough() -> Outcome {
    let (origin, gateway) =
        started("timeoutMs: 400, stream: {idleTimeout: 10s, maxDuration: 1s}").await?;
    let mut client = RawConnection::connect(gateway.address()).await?;
    let start = Instant::now();
    client.send(GET).await?;
    let mut exchange = origin.request().await?;
    exchange.send(LONG).await?;
    let read = async { (client.response().await, start.elapsed()) };
    let ((), (response, took)) = tokio::join!(drip(&mut exchange, b'x'), read);
    assert!(response.is_err());
    assert!((950..4000).contains(&took.as_millis()), "{took:?}");
    let line = line(&gateway).await?;
    assert_eq!(line["code"], "upstream.stream_too_long", "{line}");
    Ok(())
}

/// Before the header of its answer a stream has no more time than any other exchange.
#[tokio::test]
async fn a_stream_must_begin_in_time() -> Outcome {
    let (origin, gateway) = started("timeoutMs: 500, stream: {}").await?;
    let mut client = RawConnection::connect(gateway.address()).await?;
    client.send(GET).await?;
    let _exchange = origin.request().await?;
    client.response().await?.problem(504, "upstream.response_timeout")?;
    Ok(())
}
