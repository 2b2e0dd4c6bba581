//! Stopping without losing a request.

use std::time::Duration;

use tidegate_kit::http2::{Frame, RawHttp2, frame};
use tidegate_kit::{
    Context as _, Exit, Gateway, Message, Origin, Outcome, RawConnection, Request, Result, Signal,
    WebSocket, WebSocketOrigin, send,
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
    // The grace of requests ends meanwhile.
    tokio::time::sleep(Duration::from_millis(600)).await;
    socket.send(Message::text("still here")).await?;
    assert_eq!(socket.message().await?, Message::text("still here"));
    assert!(gateway.is_running()?);
    socket.close().await?;
    assert_eq!(gateway.exit().await?, Exit::Code(0));
    gateway.log_says("tunnels=0").await?;
    Ok(())
}

#[tokio::test]
async fn the_grace_of_websockets_ends() -> Outcome {
    let (_origin, mut gateway, mut socket) = talking("1s").await?;
    let began = Instant::now();
    gateway.signal(Signal::TERM)?;
    assert_eq!(gateway.exit().await?, Exit::Code(0));
    assert!(began.elapsed() >= Duration::from_millis(900), "{:?}", began.elapsed());
    gateway.log_says("tunnels=1").await?;
    assert!(!matches!(socket.next().await?, Some(Ok(_))), "the connection is cut");
    Ok(())
}
