//! WebSocket and other upgrades, through the gateway.

use std::time::Duration;

use tidegate_kit::{
    Gateway, ManualOrigin, Message, Outcome, RawConnection, RawOrigin, Result, WebSocket,
    WebSocketError, WebSocketOrigin,
};
use tokio::time::Instant;

use crate::{api, gateway, open_route};

async fn started(policies: &str) -> Result<(WebSocketOrigin, Gateway)> {
    let origin = WebSocketOrigin::start().await?;
    let config = api(&[origin.address()]) + &open_route(policies);
    Ok((origin, gateway(config).start().await?))
}

async fn connected(gateway: &Gateway, path: &str) -> Result<WebSocket> {
    use tidegate_kit::Context as _;
    WebSocket::connect(gateway.address(), path).await?.context("handshake")
}

const HANDSHAKE: &str = "GET / HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
    Upgrade: websocket\r\n\r\n";

#[tokio::test]
async fn messages_pass_both_ways() -> Outcome {
    // Smaller than what is sent: what passes through a tunnel is no request body.
    let (_origin, gateway) = started("upgrades: [websocket]").await?;
    let mut socket = connected(&gateway, "/echo").await?;
    let large = vec![7; 12 << 20];
    let messages = [Message::text("hällo"), Message::binary(vec![0, 255]), Message::binary(large)];
    for message in messages {
        socket.send(message.clone()).await?;
        assert!(socket.message().await? == message, "another message came back");
    }
    socket.send(Message::Ping("are you there".into())).await?;
    assert_eq!(socket.message().await?, Message::Pong("are you there".into()));
    socket.close().await?;
    let line = gateway.access_line(&socket.request_id).await?;
    assert_eq!(line["status"], 101);
    assert!(line["code"].is_null(), "{line}");
    for field in ["bytesSent", "bytesReceived"] {
        assert!(line[field].as_u64().is_some_and(|bytes| bytes > 12 << 20), "{field}: {line}");
    }
    Ok(())
}

#[tokio::test]
async fn a_handshake_that_the_service_refuses_is_its_answer() -> Outcome {
    let (_origin, gateway) = started("upgrades: [websocket]").await?;
    match WebSocket::connect(gateway.address(), "/refuse").await? {
        Err(WebSocketError::Http(answer)) => assert_eq!(answer.status(), 400),
        other => panic!("{:?}", other.map(|_| "a handshake")),
    }
    Ok(())
}

#[tokio::test]
async fn a_service_that_goes_away_ends_the_tunnel() -> Outcome {
    let (_origin, gateway) = started("upgrades: [websocket]").await?;
    let mut socket = connected(&gateway, "/gone").await?;
    assert_eq!(socket.message().await?, Message::text("hello"));
    assert!(!matches!(socket.next().await?, Some(Ok(_))), "nothing more comes");
    gateway.access_line(&socket.request_id).await?;
    gateway.settled().await?;
    Ok(())
}

#[tokio::test]
async fn a_client_that_goes_away_ends_the_tunnel() -> Outcome {
    let (_origin, gateway) = started("upgrades: [websocket]").await?;
    let mut socket = connected(&gateway, "/greet").await?;
    assert_eq!(socket.message().await?, Message::text("hello"));
    let id = socket.request_id.clone();
    drop(socket);
    gateway.access_line(&id).await?;
    gateway.settled().await?;
    Ok(())
}

#[tokio::test]
async fn a_silent_service_ends_the_tunnel() -> Outcome {
    let (_origin, gateway) =
        started("timeoutMs: 300, upgrades: [websocket], stream: {idleTimeout: 1s}").await?;
    let mut socket = connected(&gateway, "/greet").await?;
    assert_eq!(socket.message().await?, Message::text("hello"));
    let start = Instant::now();
    assert!(!matches!(socket.next().await?, Some(Ok(_))));
    assert!((800..6000).contains(&start.elapsed().as_millis()), "{:?}", start.elapsed());
    let line = gateway.access_line(&socket.request_id).await?;
    assert_eq!((&line["status"], &line["code"]), (&101.into(), &"upstream.stream_idle".into()));
    Ok(())
}

#[tokio::test]
async fn a_tunnel_ends_when_it_lasted_long_enough() -> Outcome {
    let policies = "timeoutMs: 300, upgrades: [websocket], stream: {maxDuration: 1s}";
    let (_origin, gateway) = started(policies).await?;
    let start = Instant::now();
    let mut socket = connected(&gateway, "/echo").await?;
    loop {
        if socket.send(Message::text("x")).await.is_err() {
            break;
        }
        if !matches!(socket.next().await?, Some(Ok(_))) {
            break;
        }
        // A pace: the tunnel is never idle, and ends all the same.
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(start.elapsed() < Duration::from_secs(15), "it never ends");
    }
    assert!(start.elapsed() >= Duration::from_millis(900), "{:?}", start.elapsed());
    let line = gateway.access_line(&socket.request_id).await?;
    assert_eq!(line["code"], "upstream.stream_too_long", "{line}");
    Ok(())
}

/// The listener's limit for pauses inside a request is not for tunnels.
#[tokio::test]
async fn a_client_may_be_silent_in_a_tunnel() -> Outcome {
    let origin = ManualOrigin::start().await?;
    let config = api(&[origin.address()]) + &open_route("upgrades: [websocket]");
    let gateway = gateway(config).listener("readTimeout: 300ms").start().await?;
    let mut client = RawConnection::connect(gateway.address()).await?;
    client.send(HANDSHAKE.as_bytes()).await?;
    let mut exchange = origin.request().await?;
    exchange.send(SWITCH).await?;
    client.peek().await?;
    // Three times the limit, in which nothing is to happen: only time can show that.
    tokio::time::sleep(Duration::from_millis(900)).await;
    client.send(b"late").await?;
    assert_eq!(exchange.until("late").await?, "late");
    exchange.send("answer").await?;
    while !client.peek().await?.ends_with("answer") {}
    Ok(())
}

/// As soon as the gateway has connected, so that the 101 is there when it has sent its request:
/// the end of the request must not be taken for the end of the tunnel.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_may_switch_at_once() -> Outcome {
    let origin = ManualOrigin::start().await?;
    let config = api(&[origin.address()]) + &open_route("upgrades: [websocket]");
    let gateway = gateway(config).start().await?;
    for _ in 0..200 {
        let mut client = RawConnection::connect(gateway.address()).await?;
        client.send(HANDSHAKE.as_bytes()).await?;
        let mut exchange = origin.connection().await?;
        exchange.send(SWITCH).await?;
        exchange.until("\r\n\r\n").await?;
        while !client.peek().await?.ends_with("\r\n\r\n") {}
        client.send(b"question").await?;
        assert_eq!(exchange.until("question").await?, "question");
        exchange.send("answer").await?;
        while !client.peek().await?.ends_with("answer") {}
    }
    Ok(())
}

/// What is not listed is not passed on, and costs nothing: the request is an ordinary one.
#[tokio::test]
async fn an_upgrade_that_is_not_listed_is_dropped() -> Outcome {
    for (listed, asked, passes) in [
        ("", "websocket", false),
        ("upgrades: [websocket]", "h2c", false),
        ("upgrades: [websocket]", "WebSocket", true),
        ("upgrades: [echo]", "websocket", false),
        ("upgrades: [echo]", "echo", true),
    ] {
        let origin = ManualOrigin::start().await?;
        let gateway = gateway(api(&[origin.address()]) + &open_route(listed)).start().await?;
        let mut client = RawConnection::connect(gateway.address()).await?;
        let request = HANDSHAKE.replace("Upgrade: websocket", &format!("Upgrade: {asked}"));
        client.send(request.as_bytes()).await?;
        let mut exchange = origin.request().await?;
        let upgrade = exchange.header("upgrade").map(str::to_ascii_lowercase);
        let expected = passes.then(|| asked.to_ascii_lowercase());
        assert_eq!(upgrade, expected, "{listed:?} {asked}");
        let connection = exchange.header("connection").unwrap_or_default();
        assert_eq!(connection.eq_ignore_ascii_case("upgrade"), passes, "{connection}");
        exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await?;
        assert_eq!(client.response().await?.expect(200)?.text(), "ok");
        // The connection goes on.
        client.send(b"GET /2 HTTP/1.1\r\nHost: a.example\r\n\r\n").await?;
        let mut exchange = next(exchange, &origin).await?;
        exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\ntwo").await?;
        assert_eq!(client.response().await?.expect(200)?.text(), "two", "{listed:?} {asked}");
    }
    Ok(())
}

/// The next request, on the kept connection or on a new one.
async fn next(
    mut kept: tidegate_kit::Exchange,
    origin: &ManualOrigin,
) -> Result<tidegate_kit::Exchange> {
    tokio::select! {
        Ok(head) = kept.until("\r\n\r\n") => {
            kept.head = head;
            Ok(kept)
        }
        exchange = origin.request() => exchange,
    }
}

#[tokio::test]
async fn a_switch_that_nobody_asked_for_is_never_passed_on() -> Outcome {
    for (switch, request) in [
        ("websocket", "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"),
        ("h2c", HANDSHAKE),
        ("websocket, h2c", HANDSHAKE),
    ] {
        let origin = RawOrigin::start(format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: {switch}\r\n\r\n"
        ))
        .await?;
        let config = api(&[origin.address()]) + &open_route("upgrades: [websocket]");
        let gateway = gateway(config).start().await?;
        let mut client = RawConnection::connect(gateway.address()).await?;
        client.send(request.as_bytes()).await?;
        let response = client.response().await?;
        response.problem(502, "upstream.response_invalid")?;
    }
    Ok(())
}
