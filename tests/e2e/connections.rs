//! What happens to a connection before and around its requests: limits, the PROXY protocol,
//! deadlines, HTTP/2.

use std::net::SocketAddr;
use std::time::Duration;

use tidegate_kit::http2::{Frame, Http2Client, RawHttp2, frame, header_block};
use tidegate_kit::{
    Error, Exit, Gateway, Origin, Outcome, RawConnection, Request, Response, Result, Seen, Signal,
    ports, wait,
};
use tokio::time::Instant;

use crate::{api, gateway, open_route};

const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: api.example.com\r\n\r\n";

/// A gateway with one public route, and these lines for its listener.
async fn started(origin: &Origin, listener: &[&str]) -> Result<Gateway> {
    let config = api(&[origin.address()]) + &open_route("timeoutMs: 20000");
    let setup = gateway(config);
    listener.iter().fold(setup, |setup, line| setup.listener(line)).start().await
}

/// Connects and is served, so that the gateway has surely taken the connection in.
async fn served(address: SocketAddr) -> Result<RawConnection> {
    let mut connection = RawConnection::connect(address).await?;
    connection.request(&Request::get("/")).await?.expect(200)?;
    Ok(connection)
}

/// The lines of a second listener, behind those of the first.
fn second(address: SocketAddr, lines: &str) -> String {
    format!("maxUriBytes: 8KiB\n  - name: second\n    address: {address}\n{lines}")
}

/// Waits for a count of refused connections.
async fn refused(gateway: &Gateway, reason: &str, least: f64) -> Result<()> {
    let labels = [("listener", "main"), ("reason", reason)];
    let name = "tidegate_connections_refused_total";
    gateway.metric_until(name, &labels, |count| count >= least).await.map(|_| ())
}

async fn open(gateway: &Gateway, listener: &str, count: f64) -> Result<()> {
    let labels = [("listener", listener)];
    let there = |now: f64| (now - count).abs() < 0.5;
    gateway.metric_until("tidegate_connections_open", &labels, there).await.map(|_| ())
}

/// What the origin has seen last.
fn last(origin: &Origin) -> Result<Seen> {
    origin.last().ok_or_else(|| Error::new("the origin has seen nothing"))
}

// Limits.

#[tokio::test]
async fn a_listener_takes_as_many_connections_as_it_may() -> Outcome {
    let origin = Origin::start("api").await?;
    let gateway = started(&origin, &["maxConnections: 2"]).await?;
    open(&gateway, "main", 0.0).await?;
    let first = served(gateway.address()).await?;
    let second = served(gateway.address()).await?;
    open(&gateway, "main", 2.0).await?;
    let mut third = RawConnection::connect(gateway.address()).await?;
    third.closed().await?;
    refused(&gateway, "limit", 1.0).await?;
    drop(first);
    open(&gateway, "main", 1.0).await?;
    let _third = served(gateway.address()).await?;
    drop(second);
    open(&gateway, "main", 1.0).await?;
    let accepted = gateway.metric("tidegate_connections_accepted_total", &[]).await?;
    // One more at the start, when the gateway looked whether it listens.
    assert!((4.0..=5.0).contains(&accepted), "{accepted}");
    Ok(())
}

#[tokio::test]
async fn a_client_takes_as_many_connections_as_it_may() -> Outcome {
    let origin = Origin::start("api").await?;
    let lines = ["maxConnectionsPerClient: 2", "proxyProtocol: {trustedPeers: [127.0.0.1]}"];
    let gateway = started(&origin, &lines).await?;
    let mut connections = Vec::new();
    // An IPv6 client is its /64.
    for client in ["2001:db8::1", "2001:db8::ffff:2", "2001:db8:0:1::1"] {
        let mut connection = RawConnection::connect(gateway.address()).await?;
        connection.send(format!("PROXY TCP6 {client} ::1 1 2\r\n").as_bytes()).await?;
        connection.request(&Request::get("/")).await?.expect(200)?;
        connections.push(connection);
    }
    let mut third = RawConnection::connect(gateway.address()).await?;
    third.send(b"PROXY TCP6 2001:db8::3 ::1 1 2\r\n").await?;
    third.closed().await?;
    refused(&gateway, "client_limit", 1.0).await?;
    connections.remove(0);
    open(&gateway, "main", 2.0).await?;
    let mut again = RawConnection::connect(gateway.address()).await?;
    again.send(b"PROXY TCP6 2001:db8::3 ::1 1 2\r\n").await?;
    again.request(&Request::get("/")).await?.expect(200)?;
    Ok(())
}

#[tokio::test]
async fn a_connection_serves_as_many_requests_as_it_may() -> Outcome {
    let origin = Origin::start("api").await?;
    let gateway = started(&origin, &["maxRequestsPerConnection: 3"]).await?;
    let mut connection = RawConnection::connect(gateway.address()).await?;
    for _ in 0..2 {
        let answer = connection.request(&Request::get("/")).await?.expect(200)?;
        assert_ne!(answer.header("connection"), Some("close"));
    }
    let last = connection.request(&Request::get("/")).await?.expect(200)?;
    assert_eq!(last.header("connection"), Some("close"));
    connection.closed().await?;
    Ok(())
}

#[tokio::test]
async fn a_reload_changes_the_limits_of_new_connections() -> Outcome {
    let origin = Origin::start("api").await?;
    let gateway = started(&origin, &["maxConnections: 1"]).await?;
    let _first = served(gateway.address()).await?;
    let text = std::fs::read_to_string(gateway.file())?;
    let text = text.replace("maxConnections: 1", "maxConnections: 2");
    gateway.write_file(&format!("configVersion: 2\n{text}"))?;
    gateway.signal(Signal::HUP)?;
    gateway.runs_version(2).await?;
    let _second = served(gateway.address()).await?;
    let mut third = RawConnection::connect(gateway.address()).await?;
    third.closed().await?;
    Ok(())
}

#[tokio::test]
async fn listeners_have_their_own_settings() -> Outcome {
    let origin = Origin::start("api").await?;
    let other = SocketAddr::from(([127, 0, 0, 1], ports::free()?));
    let lines = second(other, "    protocols: [http2]\n    maxConnections: 1");
    let gateway = started(&origin, &["maxConnections: 2", &lines]).await?;
    let _first = served(gateway.address()).await?;
    let _second = served(gateway.address()).await?;
    // The gateway looks itself whether its listeners are open.
    open(&gateway, "second", 0.0).await?;
    let client = Http2Client::connect(other).await?;
    assert_eq!(client.get("http://api.example.com/").await?.status, 200);
    open(&gateway, "second", 1.0).await?;
    RawConnection::connect(other).await?.closed().await?;
    RawConnection::connect(gateway.address()).await?.closed().await?;
    let count = async |listener| {
        let labels = [("listener", listener), ("reason", "limit")];
        gateway.metric("tidegate_connections_refused_total", &labels).await
    };
    assert!((count("main").await? - 1.0).abs() < 0.5);
    assert!((count("second").await? - 1.0).abs() < 0.5);
    Ok(())
}

// The PROXY protocol.

fn version_2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let mut bytes = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    bytes.extend([command, family, 0, u8::try_from(rest.len()).unwrap_or(0)]);
    bytes.extend(rest);
    bytes
}

#[tokio::test]
async fn a_load_balancer_tells_who_the_client_is() -> Outcome {
    let origin = Origin::start("api").await?;
    let gateway = started(&origin, &["proxyProtocol: {trustedPeers: [127.0.0.0/8]}"]).await?;
    let v4 = [192, 0, 2, 7, 127, 0, 0, 1, 0x1f, 0x90, 0, 80, 0x04, 0, 2, 9, 9];
    let mut v6 = [0; 36];
    v6[..16].copy_from_slice(&"2001:db8::7".parse::<std::net::Ipv6Addr>()?.octets());
    let cases = [
        (b"PROXY TCP4 192.0.2.1 127.0.0.1 4000 80\r\n".to_vec(), "192.0.2.1"),
        (b"PROXY TCP6 2001:db8::1 ::1 4000 80\r\n".to_vec(), "2001:db8::1"),
        (b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.1"),
        (version_2(0x21, 0x11, &v4), "192.0.2.7"),
        (version_2(0x21, 0x21, &v6), "2001:db8::7"),
        (version_2(0x20, 0, &[]), "127.0.0.1"),
    ];
    for (header, client) in cases {
        // With the request in one piece, and byte by byte.
        for size in [usize::MAX, 1] {
            let mut connection = RawConnection::connect(gateway.address()).await?;
            for piece in header.chunks(size.min(header.len())) {
                connection.send(piece).await?;
            }
            let answer = connection.request(&Request::get("/")).await?.expect(200)?;
            assert_eq!(answer.echoed("x-forwarded-for")?.as_deref(), Some(client));
            let line = gateway.access_line(answer.required("x-request-id")?).await?;
            assert_eq!(line["clientIp"], client);
        }
    }
    Ok(())
}

#[tokio::test]
async fn what_is_not_a_proxy_header_is_closed() -> Outcome {
    let origin = Origin::start("api").await?;
    let lines = ["headerTimeout: 500ms", "proxyProtocol: {trustedPeers: [127.0.0.1]}"];
    let gateway = started(&origin, &lines).await?;
    for bytes in [GET.to_vec(), b"PROXY TCP4 x y 1 2\r\n".to_vec(), version_2(0x21, 0x11, &[1])] {
        let mut connection = RawConnection::connect(gateway.address()).await?;
        connection.send(&bytes).await?;
        connection.closed().await?;
    }
    refused(&gateway, "proxy_protocol", 3.0).await?;
    let mut slow = RawConnection::connect(gateway.address()).await?;
    slow.send(b"PROXY TCP4 192.0.2.1").await?;
    slow.closed().await?;
    refused(&gateway, "header_timeout", 1.0).await?;
    assert_eq!(origin.total(), 0);
    Ok(())
}

#[tokio::test]
async fn only_listed_peers_are_believed() -> Outcome {
    let origin = Origin::start("api").await?;
    let gateway = started(&origin, &["proxyProtocol: {trustedPeers: [192.0.2.0/24]}"]).await?;
    let mut connection = RawConnection::connect(gateway.address()).await?;
    let _ = connection.send(b"PROXY TCP4 192.0.2.1 127.0.0.1 4000 80\r\n").await;
    connection.closed().await?;
    refused(&gateway, "proxy_protocol", 1.0).await?;
    Ok(())
}

// Deadlines.

/// Sends one byte at a time, a pause after each, until the connection ends, and gives the time that took.
async fn drip(connection: &mut RawConnection, bytes: &[u8], pause: Duration) -> Result<Duration> {
    let began = Instant::now();
    for byte in bytes.iter().cycle() {
        if connection.send(&[*byte]).await.is_err() || began.elapsed() > wait::DEADLINE {
            break;
        }
        tokio::time::sleep(pause).await;
    }
    Ok(began.elapsed())
}

#[tokio::test]
async fn a_slow_header_is_cut_at_the_set_time() -> Outcome {
    let origin = Origin::start("api").await?;
    let gateway = started(&origin, &["headerTimeout: 1s"]).await?;
    // The first request of a connection, and a later one.
    for served_before in [false, true] {
        let mut slow = RawConnection::connect(gateway.address()).await?;
        if served_before {
            slow.request(&Request::get("/")).await?.expect(200)?;
        }
        slow.send(b"GET / HTTP/1.1\r\nx: ").await?;
        let began = Instant::now();
        let dripped = tokio::spawn(async move {
            let took = drip(&mut slow, b"a", Duration::from_millis(50)).await;
            (slow, took)
        });
        let (mut slow, _) = dripped.await?;
        let took = began.elapsed();
        assert!((900..4000).contains(&took.as_millis()), "{took:?}");
        // The answer was sent before the end, but a reset may have overtaken it.
        if let Ok(answer) = slow.response().await {
            answer.problem(408, "request.timeout")?;
            assert_eq!(answer.header("connection"), Some("close"));
        }
    }
    refused(&gateway, "header_timeout", 2.0).await?;
    open(&gateway, "main", 0.0).await?;
    assert_eq!(origin.total(), 1);
    Ok(())
}

#[tokio::test]
async fn a_header_that_stops_gets_408() -> Outcome {
    let origin = Origin::start("api").await?;
    let gateway = started(&origin, &["headerTimeout: 500ms", "keepaliveTimeout: 15s"]).await?;
    for beginning in [b"GET / HT".as_slice(), b"GET / HTTP/1.1\r\nhost: a\r\n", b"G", b"\r\n"] {
        let mut slow = RawConnection::connect(gateway.address()).await?;
        slow.send(beginning).await?;
        let began = Instant::now();
        slow.response().await?.problem(408, "request.timeout")?;
        assert!(began.elapsed() >= Duration::from_millis(400), "{:?}", began.elapsed());
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
        slow.closed().await?;
    }
    refused(&gateway, "header_timeout", 4.0).await?;
    Ok(())
}

#[tokio::test]
async fn silence_ends_and_idle_connections_stay_for_their_time() -> Outcome {
    let origin = Origin::start("api").await?;
    let gateway = started(&origin, &["headerTimeout: 500ms", "keepaliveTimeout: 2s"]).await?;
    let mut silent = RawConnection::connect(gateway.address()).await?;
    let began = Instant::now();
    silent.closed().await?;
    assert!(began.elapsed() < Duration::from_millis(1900), "{:?}", began.elapsed());
    refused(&gateway, "header_timeout", 1.0).await?;
    let mut idle = served(gateway.address()).await?;
    let began = Instant::now();
    idle.closed().await?;
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(1900) && took < Duration::from_secs(10), "{took:?}");
    // A connection that is busy is not idle.
    let mut busy = served(gateway.address()).await?;
    busy.request(&Request::get("/delay/3000")).await?.expect(200)?;
    busy.request(&Request::get("/")).await?.expect(200)?;
    Ok(())
}

#[tokio::test]
async fn a_body_that_stops_is_cut() -> Outcome {
    let origin = Origin::start("api").await?;
    let gateway = started(&origin, &["readTimeout: 700ms", "minRate: 0"]).await?;
    let mut slow = RawConnection::connect(gateway.address()).await?;
    slow.send(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n12345").await?;
    let began = Instant::now();
    let answer = slow.response().await?;
    answer.problem(408, "request.timeout")?;
    assert!(began.elapsed() >= Duration::from_millis(600), "{:?}", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    refused(&gateway, "read_timeout", 1.0).await?;
    // Pauses that are shorter are in order, however long the whole takes: the pauses are the test.
    let mut patient = RawConnection::connect(gateway.address()).await?;
    patient.send(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 8\r\n\r\n").await?;
    for _ in 0..8 {
        tokio::time::sleep(Duration::from_millis(200)).await;
        patient.send(b"x").await?;
    }
    patient.response().await?.expect(200)?;
    Ok(())
}

#[tokio::test]
async fn a_body_that_trickles_is_cut() -> Outcome {
    let origin = Origin::start("api").await?;
    let gateway = started(&origin, &["readTimeout: 1s", "minRate: 100"]).await?;
    let mut slow = RawConnection::connect(gateway.address()).await?;
    slow.send(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9000\r\n\r\n").await?;
    let took = drip(&mut slow, b"x", Duration::from_millis(100)).await?;
    assert!(took < Duration::from_secs(15), "{took:?}");
    refused(&gateway, "rate", 1.0).await?;
    // Fast enough: 100 bytes in 200 ms, five times the rate.
    let mut steady = RawConnection::connect(gateway.address()).await?;
    steady.send(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1000\r\n\r\n").await?;
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_millis(200)).await;
        steady.send(&[b'x'; 100]).await?;
    }
    steady.response().await?.expect(200)?;
    Ok(())
}

#[tokio::test]
async fn a_reader_that_takes_nothing_is_cut() -> Outcome {
    let origin = Origin::start("api").await?;
    let gateway = started(&origin, &["readTimeout: 1s", "minRate: 100"]).await?;
    let mut lazy = RawConnection::connect(gateway.address()).await?;
    // More than all buffers on the way hold.
    lazy.send(b"GET /bytes/60000000 HTTP/1.1\r\nhost: a\r\n\r\n").await?;
    refused(&gateway, "rate", 1.0).await?;
    open(&gateway, "main", 0.0).await?;
    Ok(())
}

#[tokio::test]
async fn requests_that_come_early_are_served_in_turn() -> Outcome {
    let origin = Origin::start("api").await?;
    let gateway = started(&origin, &["keepaliveTimeout: 10s"]).await?;
    let mut connection = RawConnection::connect(gateway.address()).await?;
    let post =
        b"POST /c HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n";
    let all = [
        b"GET /a HTTP/1.1\r\nhost: a\r\n\r\nGET /b HTTP/1.1\r\nhost: a\r\n\r\n".as_slice(),
        post,
        b"GET /d HTTP/1.1\r\nhost: a\r\n\r\nGET /e HTTP/1.1\r\nho",
    ]
    .concat();
    connection.send(&all).await?;
    let target = |answer: Response| -> Result<String> {
        let seen = answer.expect(200)?.json()?;
        Ok(seen["target"].as_str().unwrap_or_default().to_owned())
    };
    for expected in ["/a", "/b", "/c", "/d"] {
        assert_eq!(target(connection.response().await?)?, expected);
    }
    connection.send(b"st: a\r\n\r\n").await?;
    assert_eq!(target(connection.response().await?)?, "/e");
    for expected in ["/f", "/g"] {
        let answer = connection.request(&Request::get(expected)).await?;
        assert_eq!(target(answer)?, expected);
    }
    Ok(())
}

// HTTP/2.

#[tokio::test]
async fn http2_with_prior_knowledge() -> Outcome {
    let origin = Origin::start("api").await?;
    let config = api(&[origin.address()])
        + "routes:\n  - name: all\n    match: {host: api.example.com, pathPrefix: /}\n    \
           upstream: {service: api}\n    policies: {auth: none}\n";
    let gateway = gateway(config).listener("protocols: [http2]").start().await?;
    let client = Http2Client::connect(gateway.address()).await?;
    let answer = client.get("http://api.example.com/a").await?;
    assert_eq!(answer.status, 200);
    let seen = last(&origin)?;
    assert_eq!((seen.target.as_str(), seen.header("host")), ("/a", Some("api.example.com")));
    let line = gateway.access_line(answer.header("x-request-id").unwrap_or_default()).await?;
    assert_eq!((&line["host"], &line["status"]), (&"api.example.com".into(), &200.into()));
    // A body of some size.
    let body = vec![b'x'; 300_000];
    let post = http::Request::post("http://api.example.com/b").body(())?;
    let answer = client.send(post, &body).await?;
    assert_eq!(answer.status, 200);
    assert_eq!(last(&origin)?.body_length, Some(300_000));
    // Refusals are problems as over HTTP/1.
    let missed = client.get("http://other.example.com/").await?;
    assert_eq!(missed.status, 404);
    assert_eq!(missed.header("content-type"), Some("application/problem+json"));
    assert_eq!(missed.json()?["code"], "route.not_found");
    gateway.settled().await?;
    let requests = gateway.metric("tidegate_requests_total", &[("route", "all")]).await?;
    assert!((requests - 2.0).abs() < 0.5, "{requests}");
    Ok(())
}

#[tokio::test]
async fn many_requests_share_an_http2_connection() -> Outcome {
    let origin = Origin::start("api").await?;
    let gateway = started(&origin, &["protocols: [http2]"]).await?;
    let client = Http2Client::connect(gateway.address()).await?;
    let held: Vec<_> = (0..40)
        .map(|index| {
            let client = client.clone();
            tokio::spawn(async move {
                client.get(&format!("http://api.example.com/hold/it?{index}")).await
            })
        })
        .collect();
    origin.arrived(40).await?;
    let quick = client.get("http://api.example.com/").await?;
    assert_eq!(quick.status, 200);
    open(&gateway, "main", 1.0).await?;
    origin.release("it");
    for (index, answer) in held.into_iter().enumerate() {
        let seen = answer.await??.json()?;
        assert_eq!(seen["target"], format!("/hold/it?{index}"));
    }
    Ok(())
}

#[tokio::test]
async fn clear_text_may_be_either() -> Outcome {
    let origin = Origin::start("api").await?;
    let lines = ["protocols: [http1, http2]", "headerTimeout: 1s"];
    let gateway = started(&origin, &lines).await?;
    let client = Http2Client::connect(gateway.address()).await?;
    assert_eq!(client.get("http://api.example.com/").await?.status, 200);
    let mut plain = served(gateway.address()).await?;
    plain.request(&Request::post("/", "body")).await?.expect(200)?;
    // Shorter than the preface of HTTP/2, and like its beginning.
    let mut short = RawConnection::connect(gateway.address()).await?;
    short.send(b"GET / HTTP/1.0\r\n\r\n").await?;
    let began = Instant::now();
    short.response().await?;
    assert!(began.elapsed() < Duration::from_millis(900), "{:?}", began.elapsed());
    let mut like = RawConnection::connect(gateway.address()).await?;
    like.send(b"PRI / HTTP/1.1\r\nhost: a\r\n\r\n").await?;
    like.response().await?;
    // What is neither yet has the time of a header, and no more.
    for undecided in [b"PRI * HTTP/2.0\r\n\r\nSM".as_slice(), b"P", b""] {
        let mut connection = RawConnection::connect(gateway.address()).await?;
        connection.send(undecided).await?;
        let began = Instant::now();
        let _ = connection.response().await;
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    }
    refused(&gateway, "header_timeout", 3.0).await?;
    Ok(())
}

#[tokio::test]
async fn what_a_listener_does_not_speak_is_closed() -> Outcome {
    let origin = Origin::start("api").await?;
    let other = SocketAddr::from(([127, 0, 0, 1], ports::free()?));
    let lines = second(other, "    protocols: [http1]");
    let gateway = started(&origin, &["protocols: [http2]", &lines]).await?;
    for bytes in [GET, b"GET / HTTP/1.0\r\n\r\n", b"x"] {
        let mut plain = RawConnection::connect(gateway.address()).await?;
        plain.send(bytes).await?;
        // Settings are sent before anything is read; what matters is the end.
        let began = Instant::now();
        let _ = plain.closed().await;
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    }
    refused(&gateway, "protocol", 3.0).await?;
    let mut raw = RawConnection::connect(other).await?;
    raw.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await?;
    if let Ok(answer) = raw.response().await {
        assert_eq!(answer.status, 400);
    }
    assert_eq!(origin.total(), 0);
    Ok(())
}

#[tokio::test]
async fn cookie_crumbs_are_joined() -> Outcome {
    let origin = Origin::start("api").await?;
    let gateway = started(&origin, &["protocols: [http2]"]).await?;
    let client = Http2Client::connect(gateway.address()).await?;
    let request = http::Request::get("http://api.example.com/")
        .header("cookie", "a=1")
        .header("cookie", "b=2")
        .header("cookie", "c=3")
        .body(())?;
    assert_eq!(client.send(request, b"").await?.status, 200);
    let seen = last(&origin)?;
    assert_eq!((seen.count("cookie"), seen.header("cookie")), (1, Some("a=1; b=2; c=3")));
    Ok(())
}

#[tokio::test]
async fn floods_of_frames_end_the_connection() -> Outcome {
    let origin = Origin::start("api").await?;
    let limits = "http2: {maxResets: 20, maxControlFrames: 50}";
    let gateway = started(&origin, &["protocols: [http2]", limits]).await?;
    let ping = Frame::new(frame::PING, 0, 0, [0; 8]).to_bytes();
    let floods = [
        ping.repeat(200),
        Frame::new(frame::SETTINGS, 0, 0, []).to_bytes().repeat(200),
        Frame::new(frame::PRIORITY, 0, 3, [0, 0, 0, 1, 9]).to_bytes().repeat(200),
        Frame::new(frame::WINDOW_UPDATE, 0, 0, [0, 0, 0, 1]).to_bytes().repeat(2000),
        // A request that goes on with nothing.
        [
            Frame::new(frame::HEADERS, frame::END_HEADERS, 1, header_block("POST", "/", &[]))
                .to_bytes(),
            Frame::new(frame::DATA, 0, 1, []).to_bytes().repeat(200),
        ]
        .concat(),
        // A header that does not end.
        [
            Frame::new(frame::HEADERS, 0, 1, header_block("GET", "/", &[])).to_bytes(),
            Frame::new(frame::CONTINUATION, 0, 1, [0, 1, b'x', 1, b'y']).to_bytes().repeat(200),
        ]
        .concat(),
        // Requests that are taken back at once.
        (0..100)
            .flat_map(|index| {
                let stream = index * 2 + 1;
                let mut both = Frame::get(stream, "/hold/never", &[]).to_bytes();
                let cancel = Frame::new(frame::RST_STREAM, 0, stream, [0, 0, 0, 8]);
                both.extend(cancel.to_bytes());
                both
            })
            .collect(),
    ];
    for (index, flood) in floods.iter().enumerate() {
        let mut client = RawHttp2::begin(gateway.address()).await?;
        // It may be closed before all is sent.
        let _ = client.send_bytes(flood).await;
        client.to_end().await?;
        let least = f64::from(u32::try_from(index)? + 1);
        refused(&gateway, "http2_flood", least).await?;
    }
    // As many as are allowed do no harm.
    let mut client = RawHttp2::begin(gateway.address()).await?;
    client.send_bytes(&ping.repeat(40)).await?;
    client.send(&Frame::get(1, "/", &[])).await?;
    let answer = client.until(|other| other.kind == frame::HEADERS).await?;
    assert_eq!(answer.payload.first(), Some(&0x88), "status 200");
    open(&gateway, "main", 1.0).await?;
    Ok(())
}

#[tokio::test]
async fn a_header_list_over_the_limit_gives_431() -> Outcome {
    let origin = Origin::start("api").await?;
    let gateway = started(&origin, &["protocols: [http2]", "maxHeaderBytes: 4KiB"]).await?;
    let client = Http2Client::connect(gateway.address()).await?;
    for (length, status) in [(3000, 200), (6000, 431)] {
        let request = http::Request::get("http://api.example.com/")
            .header("x-long", "x".repeat(length))
            .body(())?;
        assert_eq!(client.send(request, b"").await?.status, status, "{length}");
    }
    Ok(())
}

#[tokio::test]
async fn an_http2_header_that_stops_is_cut() -> Outcome {
    let origin = Origin::start("api").await?;
    let lines = ["protocols: [http2]", "headerTimeout: 500ms", "keepaliveTimeout: 2s"];
    let gateway = started(&origin, &lines).await?;
    let block = header_block("GET", "/", &[]);
    let whole = Frame::new(frame::HEADERS, frame::END_HEADERS, 1, block.clone()).to_bytes();
    let half = Frame::new(frame::HEADERS, 0, 1, block).to_bytes();
    for bytes in [&whole[..5], &whole[..20], &half] {
        let mut client = RawHttp2::begin(gateway.address()).await?;
        client.send_bytes(bytes).await?;
        client.to_end().await?;
    }
    refused(&gateway, "header_timeout", 3.0).await?;
    // No request at all: idle.
    let mut silent = RawHttp2::begin(gateway.address()).await?;
    let began = Instant::now();
    silent.to_end().await?;
    assert!(began.elapsed() >= Duration::from_millis(1800), "{:?}", began.elapsed());
    // No preface.
    RawHttp2::connect(gateway.address()).await?.to_end().await?;
    refused(&gateway, "header_timeout", 4.0).await?;
    Ok(())
}

#[tokio::test]
async fn an_http2_upload_that_trickles_is_refused() -> Outcome {
    let origin = Origin::start("api").await?;
    let lines = ["protocols: [http2]", "readTimeout: 1s", "minRate: 1000"];
    let gateway = started(&origin, &lines).await?;
    let trickle = async |fields: &[(&str, &str)]| {
        let mut client = RawHttp2::begin(gateway.address()).await?;
        let block = header_block("POST", "/", fields);
        client.send(&Frame::new(frame::HEADERS, frame::END_HEADERS, 1, block)).await?;
        for _ in 0..20 {
            client.send(&Frame::new(frame::DATA, 0, 1, *b"x")).await?;
            // Its pace is what is wrong with it.
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let _ = client.send(&Frame::new(frame::DATA, frame::END_STREAM, 1, *b"x")).await;
        client.until(|other| other.stream == 1 && other.kind == frame::HEADERS).await
    };
    let refused = trickle(&[]).await?;
    assert_ne!(refused.payload.first(), Some(&0x88));
    let call = trickle(&[("content-type", "application/grpc")]).await?;
    assert_eq!(call.payload.first(), Some(&0x88), "status 200");
    Ok(())
}

#[tokio::test]
async fn a_stop_says_goodbye_to_http2_clients() -> Outcome {
    let origin = Origin::start("api").await?;
    let mut gateway = started(&origin, &["protocols: [http2]"]).await?;
    let mut client = RawHttp2::begin(gateway.address()).await?;
    client.send(&Frame::get(1, "/hold/it", &[])).await?;
    origin.arrived(1).await?;
    gateway.signal(Signal::TERM)?;
    client.until(|other| other.kind == frame::GOAWAY).await?;
    gateway.refuses_connections().await?;
    assert!(gateway.is_running()?);
    origin.release("it");
    let answer = client.until(|other| other.kind == frame::HEADERS).await?;
    assert_eq!((answer.stream, answer.payload.first()), (1, Some(&0x88)));
    assert_eq!(gateway.exit().await?, Exit::Code(0));
    Ok(())
}
