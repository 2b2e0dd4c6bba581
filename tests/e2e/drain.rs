//! Stopping without losing a request.

use std::time::Duration;

use tidegate_kit::http2::{Frame, RawHttp2, frame};
use tidegate_kit::{
    Context as _, Exchange, Exit, Gateway, ManualOrigin, Message, Origin, Outcome, RawConnection,
    Request, Result, Signal, WebSocket, WebSocketOrigin, send,
};
use tokio::time::Instant;

use crate::{api, gateway, open_route};

/// A gateway with one public route and a long grace period, so that leaving early is seen.
async fn patient(origin: &Origin) -> Result<Gateway> {
    let config = api(&[origin.address()]) + &open_route("timeoutMs: 30000");
    gateway(config).server("gracePeriod: 15s").start().await
}

#[tokio::test]
async fn a_stop_lets_requests_in_flight_finish() -> Outcome {
    let origin = Origin::start("api").await?;
    let mut gateway = patient(&origin).await?;
    let address = gateway.address();
    let held = |target: &'static str| {
        tokio::spawn(async move { send(address, &Request::get(target)).await })
    };
    let (whole, streamed) = (held("/hold/it"), held("/hold-body/it"));
    origin.arrived(2).await?;
    gateway.signal(Signal::TERM)?;
    gateway.refuses_connections().await?;
    assert!(gateway.is_running()?);
    assert!(!whole.is_finished() && !streamed.is_finished());
    origin.release("it");
    let whole = whole.await??.expect(200)?;
    assert_eq!(whole.header("connection"), Some("close"));
    assert_eq!(streamed.await??.expect(200)?.text(), "first;second");
    assert_eq!(gateway.exit().await?, Exit::Code(0));
    let logged: Vec<_> = gateway.access_lines()?;
    assert_eq!(logged.len(), 2, "the last lines are written before it leaves");
    Ok(())
}

#[tokio::test]
async fn an_idle_gateway_leaves_at_once() -> Outcome {
    let origin = Origin::start("api").await?;
    let mut gateway = patient(&origin).await?;
    // An idle connection holds nobody up.
    let mut idle = RawConnection::connect(gateway.address()).await?;
    idle.request(&Request::get("/")).await?.expect(200)?;
    let began = Instant::now();
    gateway.signal(Signal::TERM)?;
    assert_eq!(gateway.exit().await?, Exit::Code(0));
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    idle.closed().await?;
    Ok(())
}

#[tokio::test]
async fn the_grace_period_ends() -> Outcome {
    let origin = Origin::start("api").await?;
    let config = api(&[origin.address()]) + &open_route("timeoutMs: 30000");
    let mut gateway = gateway(config).server("gracePeriod: 1s").start().await?;
    let address = gateway.address();
    let held = tokio::spawn(async move { send(address, &Request::get("/hold/ever")).await });
    origin.arrived(1).await?;
    let began = Instant::now();
    gateway.signal(Signal::TERM)?;
    assert_eq!(gateway.exit().await?, Exit::Code(0));
    assert!(began.elapsed() >= Duration::from_millis(900), "{:?}", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    assert!(held.await?.is_err(), "what did not finish in time is cut off");
    Ok(())
}

/// Elsewhere it stops a server, or has it look for a successor: an outage, where it is stray.
#[tokio::test]
async fn a_quit_signal_is_ignored() -> Outcome {
    let origin = Origin::start("api").await?;
    let mut gateway = patient(&origin).await?;
    gateway.signal(Signal::QUIT)?;
    gateway.log_says("SIGQUIT ignored").await?;
    gateway.get("/").await?.expect(200)?;
    assert!(gateway.is_running()?);
    Ok(())
}

/// R168: whoever asks whether a process that is stopping is ready, gets an answer.
#[tokio::test]
async fn a_process_that_stops_says_that_it_is_not_ready() -> Outcome {
    let origin = Origin::start("api").await?;
    let mut gateway = patient(&origin).await?;
    let address = gateway.address();
    let held = tokio::spawn(async move { send(address, &Request::get("/hold/it")).await });
    origin.arrived(1).await?;
    gateway.signal(Signal::TERM)?;
    gateway.refuses_connections().await?;
    let ready = gateway.admin_get("/readyz").await?.expect(503)?;
    assert_eq!(ready.text(), "draining\n");
    gateway.admin_get("/livez").await?.expect(200)?;
    origin.release("it");
    held.await??.expect(200)?;
    assert_eq!(gateway.exit().await?, Exit::Code(0));
    Ok(())
}

/// Connections of HTTP/2 are told to go and end by themselves, so that they hold nobody up.
#[tokio::test]
async fn idle_connections_of_http2_are_told_to_go() -> Outcome {
    let origin = Origin::start("api").await?;
    let config = api(&[origin.address()]) + &open_route("");
    let setup = gateway(config).listener("protocols: [http2]").server("gracePeriod: 15s");
    let mut gateway = setup.start().await?;
    let mut idle = RawHttp2::begin(gateway.address()).await?;
    gateway.signal(Signal::TERM)?;
    let goaway = idle.until(|frame| frame.kind == frame::GOAWAY).await?;
    assert_eq!(goaway.payload[4..8], [0; 4], "no error");
    let ping = idle.until(|frame| frame.kind == frame::PING).await?;
    idle.send(&Frame::new(frame::PING, frame::ACK, 0, ping.payload)).await?;
    let last = idle.to_end().await?;
    assert!(last.iter().any(|frame| frame.kind == frame::GOAWAY), "{last:?}");
    // It ended before the process: nothing was cut off.
    assert_eq!(gateway.exit().await?, Exit::Code(0));
    gateway.log_says("open=0").await?;
    Ok(())
}

/// What the gateway has of an answer and the client has not taken belongs to no request any more:
/// a connection of HTTP/2 is waited for until it has ended.
#[tokio::test]
async fn a_slow_client_of_http2_gets_the_rest_of_its_answer() -> Outcome {
    /// Within what a client allows that says nothing (RFC 9113 section 6.9.2).
    const LENGTH: usize = 60_000;
    let origin = Origin::start("api").await?;
    let config = api(&[origin.address()]) + &open_route("");
    let setup = gateway(config).listener("protocols: [http2]").server("gracePeriod: 15s");
    let mut gateway = setup.start().await?;
    let mut slow = RawHttp2::begin(gateway.address()).await?;
    slow.send(&Frame::get(1, &format!("/bytes/{LENGTH}"), &[])).await?;
    origin.arrived(1).await?;
    gateway.settled().await?;
    gateway.signal(Signal::TERM)?;
    // Longer than idle connections are kept: nothing may happen in this time.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert!(gateway.is_running()?, "the client has not taken its answer yet");
    let mut come = 0;
    let ping = loop {
        let frame = slow.until(|frame| [frame::DATA, frame::PING].contains(&frame.kind)).await?;
        if frame.kind == frame::PING {
            break frame;
        }
        come += frame.payload.len();
    };
    slow.send(&Frame::new(frame::PING, frame::ACK, 0, ping.payload)).await?;
    slow.to_end().await?;
    assert_eq!(come, LENGTH);
    assert_eq!(gateway.exit().await?, Exit::Code(0));
    Ok(())
}

/// A client that had connected when the stop began, and sends only now, is answered.
#[tokio::test]
async fn a_connection_without_a_request_yet_is_served() -> Outcome {
    let origin = Origin::start("api").await?;
    let mut gateway = patient(&origin).await?;
    let mut fresh = RawConnection::connect(gateway.address()).await?;
    let mut kept = RawConnection::connect(gateway.address()).await?;
    kept.request(&Request::get("/")).await?.expect(200)?;
    gateway.metric_until("tidegate_connections_open", &[], |open| open > 1.5).await?;
    gateway.signal(Signal::TERM)?;
    gateway.refuses_connections().await?;
    for connection in [&mut fresh, &mut kept] {
        let answer = connection.request(&Request::get("/")).await?.expect(200)?;
        assert_eq!(answer.header("connection"), Some("close"));
    }
    assert_eq!(gateway.exit().await?, Exit::Code(0));
    Ok(())
}

#[tokio::test]
async fn a_second_signal_does_not_wait() -> Outcome {
    let origin = Origin::start("api").await?;
    let mut gateway = patient(&origin).await?;
    let address = gateway.address();
    let held = tokio::spawn(async move { send(address, &Request::get("/hold/ever")).await });
    origin.arrived(1).await?;
    gateway.signal(Signal::TERM)?;
    gateway.refuses_connections().await?;
    assert!(!held.is_finished());
    gateway.signal(Signal::TERM)?;
    assert_eq!(gateway.exit().await?, Exit::Code(0));
    gateway.log_says("told to stop again").await?;
    assert!(held.await?.is_err());
    Ok(())
}

async fn talking(grace: &str) -> Result<(WebSocketOrigin, Gateway, WebSocket)> {
    let origin = WebSocketOrigin::start().await?;
    let config = api(&[origin.address()]) + &open_route("upgrades: [websocket]");
    let setup = gateway(config).server("gracePeriod: 100ms");
    let gateway = setup.server(&format!("websocketGracePeriod: {grace}")).start().await?;
    let socket = WebSocket::connect(gateway.address(), "/echo").await?.context("handshake")?;
    gateway.metric_until("tidegate_upgraded_connections_open", &[], |open| open > 0.5).await?;
    Ok((origin, gateway, socket))
}

#[tokio::test]
async fn a_websocket_has_a_longer_grace_and_holds_nobody_up_once_it_is_over() -> Outcome {
    let (_origin, mut gateway, mut socket) = talking("5m").await?;
    gateway.signal(Signal::TERM)?;
    gateway.refuses_connections().await?;
    // The grace of requests ends meanwhile, and nothing is to come of it: only time can show that.
    tokio::time::sleep(Duration::from_millis(600)).await;
    socket.send(Message::text("still here")).await?;
    assert_eq!(socket.message().await?, Message::text("still here"));
    assert!(gateway.is_running()?);
    socket.close().await?;
    assert_eq!(gateway.exit().await?, Exit::Code(0));
    gateway.log_says("tunnels=0").await?;
    Ok(())
}

/// RFC 6455 section 7.4.1: the client is told that its server goes away, so that it comes back.
#[tokio::test]
async fn the_grace_of_websockets_ends() -> Outcome {
    let (_origin, mut gateway, mut socket) = talking("1s").await?;
    socket.send(Message::binary(vec![7; 70_000])).await?;
    assert_eq!(socket.message().await?, Message::binary(vec![7; 70_000]));
    let began = Instant::now();
    gateway.signal(Signal::TERM)?;
    let Message::Close(Some(why)) = socket.message().await? else { panic!("no closing frame") };
    assert_eq!(u16::from(why.code), 1001);
    assert!(began.elapsed() >= Duration::from_millis(900), "{:?}", began.elapsed());
    // The client answers, and nothing is cut off.
    assert!(!matches!(socket.next().await?, Some(Ok(_))));
    assert_eq!(gateway.exit().await?, Exit::Code(0));
    gateway.log_says("tunnels=1").await?;
    let line = gateway.access_line(&socket.request_id).await?;
    assert_eq!((&line["status"], &line["code"]), (&101.into(), &serde_json::Value::Null));
    Ok(())
}

/// A gateway with a tunnel that this test speaks through itself; its grace is a second.
async fn tunnel(protocol: &str) -> Result<(Gateway, RawConnection, Exchange)> {
    let origin = ManualOrigin::start().await?;
    let config = api(&[origin.address()]) + &open_route(&format!("upgrades: [{protocol}]"));
    let setup = gateway(config).server("gracePeriod: 100ms").server("websocketGracePeriod: 1s");
    let gateway = setup.start().await?;
    let mut client = RawConnection::connect(gateway.address()).await?;
    let ask = format!(
        "GET / HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    client.send(ask.as_bytes()).await?;
    let mut exchange = origin.request().await?;
    let switch = format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\n\r\n"
    );
    exchange.send(switch).await?;
    while !client.peek().await?.ends_with("\r\n\r\n") {}
    Ok((gateway, client, exchange))
}

/// What comes through a tunnel that is not touched any more, from the last of these on.
async fn to_the_end(client: &mut RawConnection, from: &str) -> Result<String> {
    let mut last = String::new();
    while let Ok(come) = client.peek().await {
        if come == last {
            break;
        }
        last = come;
    }
    let at = last.rfind(from).context("what was sent")?;
    Ok(last[at..].to_owned())
}

/// A closing frame within another one would be taken for its content.
#[tokio::test]
async fn a_tunnel_within_a_frame_gets_no_closing_frame() -> Outcome {
    let (mut gateway, mut client, mut service) = tunnel("websocket").await?;
    service.send(b"\x81\x05wor").await?;
    while !client.peek().await?.ends_with("wor") {}
    gateway.signal(Signal::TERM)?;
    assert_eq!(to_the_end(&mut client, "wor").await?, "wor");
    assert_eq!(gateway.exit().await?, Exit::Code(0));
    Ok(())
}

/// Its service has said it already.
#[tokio::test]
async fn a_tunnel_that_is_closing_gets_no_second_closing_frame() -> Outcome {
    let (mut gateway, mut client, mut service) = tunnel("websocket").await?;
    service.send(b"\x88\x04\x03\xe8ok").await?;
    while !client.peek().await?.ends_with("ok") {}
    gateway.signal(Signal::TERM)?;
    assert_eq!(to_the_end(&mut client, "ok").await?, "ok");
    assert_eq!(gateway.exit().await?, Exit::Code(0));
    Ok(())
}

/// Frames are words of one protocol only; the end of the stream is one of all.
#[tokio::test]
async fn a_tunnel_of_another_protocol_just_ends() -> Outcome {
    let (mut gateway, mut client, mut service) = tunnel("echo").await?;
    service.send("hello").await?;
    while !client.peek().await?.ends_with("hello") {}
    gateway.signal(Signal::TERM)?;
    assert_eq!(to_the_end(&mut client, "hello").await?, "hello");
    assert_eq!(gateway.exit().await?, Exit::Code(0));
    let line = gateway.access_lines()?.pop().context("a line")?;
    assert_eq!(line["status"], 101, "it ended before the process");
    Ok(())
}
