//! TLS and HTTP/2 between the gateway and services.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;
use tidegate_kit::{
    Authority, Error, Gateway, Http2Client, Leaf, Origin, Outcome, Pair, RawConnection, RawOrigin,
    Request, Result, Speaks, TlsServer,
};
use tokio::task::JoinSet;

use crate::{gateway, open_route};

/// An authority and a folder for files.
struct Scene {
    folder: TempDir,
    authority: Authority,
}

impl Scene {
    fn new() -> Result<Self> {
        let (folder, authority) = (tempfile::tempdir()?, Authority::new("services")?);
        authority.write(folder.path(), "ca.pem")?;
        Ok(Self { folder, authority })
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// An origin with this certificate.
    async fn origin(&self, pair: &Pair) -> Result<Origin> {
        Origin::start_speaking("api", 0, Speaks::Tls(TlsServer::new(pair))).await
    }

    /// `tls` with the scene's authority and further keys.
    fn tls(&self, more: &str) -> String {
        format!("tls: {{caFile: {}/ca.pem{more}}}", self.path().display())
    }
}

/// A gateway in front of one endpoint with these settings of its service.
async fn in_front_of(address: impl std::fmt::Display, settings: &str) -> Result<Gateway> {
    gateway(config(address, settings)).start().await
}

fn config(address: impl std::fmt::Display, settings: &str) -> String {
    format!(
        "services:\n  api: {{endpoints: [{{address: \"{address}\"}}], {settings}}}\n{}",
        open_route("")
    )
}

/// The name is asked for, the authority trusted, and the exchange is the usual one.
#[tokio::test]
async fn a_service_is_reached_by_tls() -> Outcome {
    let scene = Scene::new()?;
    let origin = scene.origin(&scene.authority.leaf(&["shop.internal"])?).await?;
    let tls = scene.tls(", serverName: shop.internal");
    let gateway = in_front_of(origin.address(), &tls).await?;
    let mut connection = RawConnection::connect(gateway.address()).await?;
    for number in 0..5 {
        let body = vec![b'x'; number * 1000];
        connection.request(&Request::post("/a?b=c", body)).await?.expect(200)?;
    }
    let seen = origin.last().unwrap();
    assert_eq!(seen.server_name.as_deref(), Some("shop.internal"));
    assert_eq!((&*seen.version, &*seen.target), ("HTTP/1.1", "/a?b=c"));
    assert_eq!(seen.body_length, Some(4000));
    assert_eq!((origin.connections(), seen.certificate), (1, None));
    Ok(())
}

/// Without `serverName` the host of the endpoint is the name, whatever it resolves to.
#[tokio::test]
async fn the_host_of_the_endpoint_is_its_name() -> Outcome {
    let scene = Scene::new()?;
    let origin = scene.origin(&scene.authority.leaf(&["localhost"])?).await?;
    let address = format!("localhost:{}", origin.address().port());
    let gateway = in_front_of(address, &scene.tls("")).await?;
    gateway.get("/").await?.expect(200)?;
    assert_eq!(origin.last().unwrap().server_name.as_deref(), Some("localhost"));
    Ok(())
}

/// Nothing is sent to a service that is not the one that was meant.
#[tokio::test]
async fn a_service_that_cannot_be_trusted_gets_no_request() -> Outcome {
    let scene = Scene::new()?;
    let good = scene.authority.leaf(&["shop.internal"])?;
    let other = scene.authority.leaf(&["other.internal"])?;
    let old = scene.authority.sign(&Leaf::new(&["shop.internal"]).years(2000, 2001))?;
    let early = scene.authority.sign(&Leaf::new(&["shop.internal"]).years(2998, 2999))?;
    let foreign = Authority::new("services")?.leaf(&["shop.internal"])?;
    let origin = scene.origin(&good).await?;
    for protocol in ["http1", "http2", "auto"] {
        let settings =
            format!("{}, protocol: {protocol}", scene.tls(", serverName: shop.internal"));
        for (speaks, why) in [
            (Speaks::Tls(TlsServer::new(&other)), "another name"),
            (Speaks::Tls(TlsServer::new(&old)), "expired"),
            (Speaks::Tls(TlsServer::new(&early)), "not valid yet"),
            (Speaks::Tls(TlsServer::new(&foreign)), "another authority"),
            (Speaks::Http1, "clear text"),
        ] {
            origin.speak(speaks).await?;
            let gateway = in_front_of(origin.address(), &settings).await?;
            let answer = gateway.get("/").await?.problem(502, "upstream.tls_failed");
            answer.map_err(|error| Error::new(format!("{protocol}, {why}: {error}")))?;
            assert_eq!(origin.total(), 0, "{protocol}, {why}");
        }
    }
    // The system's authorities do not know the scene's.
    origin.speak(Speaks::Tls(TlsServer::new(&good))).await?;
    let settings = "tls: {serverName: shop.internal}";
    let gateway = in_front_of(origin.address(), settings).await?;
    gateway.get("/").await?.problem(502, "upstream.tls_failed")?;
    assert_eq!(origin.total(), 0);
    Ok(())
}

/// Garbage for a handshake, and silence.
#[tokio::test]
async fn a_handshake_that_goes_wrong_is_told() -> Outcome {
    let scene = Scene::new()?;
    // It answers what looks like a request only; a handshake ends in silence.
    let silent = RawOrigin::start("").await?;
    let settings = format!("{}, connectTimeout: 300ms", scene.tls(", serverName: a.internal"));
    let gateway = in_front_of(silent.address(), &settings).await?;
    gateway.get("/").await?.problem(504, "upstream.connect_timeout")?;
    assert_eq!(silent.total(), 0);

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let garbage = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            use tokio::io::AsyncWriteExt as _;
            let _ = stream.write_all(&[0x16, 3, 3, 0, 5, 2, 0, 0, 1, 0xff]).await;
            let _ = stream.write_all(b"garbage").await;
        }
    });
    let gateway = in_front_of(address, &scene.tls(", serverName: a.internal")).await?;
    gateway.get("/").await?.problem(502, "upstream.tls_failed")?;
    garbage.abort();
    Ok(())
}

/// The gateway shows its own certificate, and a new one on new connections as soon as it is there.
#[tokio::test]
async fn the_gateway_proves_itself_to_services() -> Outcome {
    let scene = Scene::new()?;
    let clients = Authority::new("clients")?;
    let server = TlsServer::new(&scene.authority.leaf(&["shop.internal"])?).clients_of(&clients);
    let origin = Origin::start_speaking("api", 0, Speaks::Tls(server)).await?;
    let name = ", serverName: shop.internal";
    let without = in_front_of(origin.address(), &scene.tls(name)).await?;
    let refused = without.get("/").await?;
    assert_eq!((refused.status, origin.total()), (502, 0), "no certificate: {refused}");

    let first = clients.leaf(&["gateway.internal"])?;
    let files = first.write(scene.path(), "me")?.yaml();
    let tls = scene.tls(&format!("{name}, {files}"));
    let gateway = in_front_of(origin.address(), &tls).await?;
    gateway.get("/").await?.expect(200)?;
    assert_eq!(origin.last().unwrap().certificate, Some(first.der()?));
    let second = clients.leaf(&["gateway.internal"])?;
    second.write(scene.path(), "me")?;
    let labels = [("outcome", "applied")];
    gateway.metric_until("tidegate_config_applies_total", &labels, |n| n > 1.5).await?;
    gateway.get("/").await?.expect(200)?;
    assert_eq!(origin.last().unwrap().certificate, Some(second.der()?));
    Ok(())
}

/// What `protocol` makes of services with and without TLS.
#[tokio::test]
async fn the_protocol_is_the_one_of_the_service() -> Outcome {
    let scene = Scene::new()?;
    let pair = scene.authority.leaf(&["shop.internal"])?;
    let tls = scene.tls(", serverName: shop.internal");
    let both = TlsServer::new(&pair);
    let only_http1 = TlsServer::new(&pair).protocols(&["http/1.1"]);
    for (speaks, settings, expected) in [
        (Speaks::Http2, "protocol: http2".to_owned(), "HTTP/2.0"),
        (Speaks::Http1, "protocol: auto".to_owned(), "HTTP/1.1"),
        (Speaks::Tls(both.clone()), format!("{tls}, protocol: http1"), "HTTP/1.1"),
        (Speaks::Tls(both.clone()), format!("{tls}, protocol: http2"), "HTTP/2.0"),
        (Speaks::Tls(both.clone()), format!("{tls}, protocol: auto"), "HTTP/2.0"),
        (Speaks::Tls(only_http1.clone()), format!("{tls}, protocol: auto"), "HTTP/1.1"),
    ] {
        let origin = Origin::start_speaking("api", 0, speaks).await?;
        let gateway = in_front_of(origin.address(), &settings).await?;
        let response = gateway.get("/a?b=c").await?.expect(200)?;
        assert_eq!(response.header("x-origin"), Some("api"));
        let seen = origin.last().unwrap();
        assert_eq!((&*seen.version, &*seen.target), (expected, "/a?b=c"), "{settings}");
        let host = gateway.address().to_string();
        assert_eq!((seen.header("host"), seen.count("host")), (Some(&*host), 1), "{settings}");
        let via = if expected == "HTTP/2.0" { "connection" } else { "te" };
        assert_eq!(seen.header(via), None, "{settings}");
    }
    // HTTP/2 is meant and not offered.
    let origin = Origin::start_speaking("api", 0, Speaks::Tls(only_http1)).await?;
    let gateway = in_front_of(origin.address(), &format!("{tls}, protocol: http2")).await?;
    gateway.get("/").await?.problem(502, "upstream.tls_failed")?;
    Ok(())
}

const MEGABYTE: usize = 1024 * 1024;

/// Bodies in both directions, from HTTP/1.1 clients and from HTTP/2 clients.
#[tokio::test]
async fn bodies_pass_over_http2() -> Outcome {
    let scene = Scene::new()?;
    let pair = scene.authority.leaf(&["a.example", "shop.internal"])?;
    let files = pair.write(scene.path(), "front")?.yaml();
    let tls = scene.tls(", serverName: shop.internal");
    for (speaks, settings) in [
        (Speaks::Http2, "protocol: http2".to_owned()),
        (Speaks::Tls(TlsServer::new(&pair)), format!("{tls}, protocol: http2")),
        (Speaks::Http1, "protocol: http1".to_owned()),
    ] {
        let origin = Origin::start_speaking("api", 0, speaks).await?;
        let gateway = gateway(config(origin.address(), &settings))
            .listener(&format!("tls: {{certificates: [{{{files}}}]}}"))
            .start()
            .await?;
        let client = scene.authority.client();
        let address = gateway.address();
        let (mut http1, _) = RawConnection::tls(&client, address, "a.example").await?;
        let (http2, _) = Http2Client::tls(&client, address, "a.example").await?;
        let body = vec![b'u'; MEGABYTE];
        let target = format!("/bytes/{MEGABYTE}");
        let one = http1.request(&Request::post(&target, body.clone())).await?.expect(200)?;
        let chunks = body.chunks(100_000).map(<[u8]>::to_vec).collect();
        let chunked = Request::new("POST", &target).chunked(chunks);
        let two = http1.request(&chunked).await?.expect(200)?;
        let three = http2.request("POST", &target, &body).await?.expect(200)?;
        let four = http2.request("GET", &target, b"").await?.expect(200)?;
        for answer in [one, two, three, four] {
            assert_eq!(answer.body.len(), MEGABYTE, "{settings}");
        }
        let lengths: Vec<_> = origin.seen().iter().map(|seen| seen.body_length).collect();
        let whole = Some(MEGABYTE);
        assert_eq!(lengths, [whole, whole, whole, Some(0)], "{settings}");
        // An empty answer, one without length, and a HEAD.
        http1.request(&Request::get("/status/204")).await?.expect(204)?;
        let pieces = http1.request(&Request::get("/chunks/64")).await?.expect(200)?;
        assert_eq!(pieces.body.len(), 64 * 1024);
        let head = http1.request(&Request::new("HEAD", "/bytes/10")).await?.expect(200)?;
        assert!(head.body.is_empty());
        http2.request("GET", "/status/204", b"").await?.expect(204)?;
    }
    Ok(())
}

/// Many requests at once need few connections.
#[tokio::test]
async fn requests_share_http2_connections() -> Outcome {
    const AT_ONCE: usize = 150;
    const FEW: u64 = 75;
    let scene = Scene::new()?;
    let pair = scene.authority.leaf(&["shop.internal"])?;
    let tls = scene.tls(", serverName: shop.internal");
    for (speaks, settings) in [
        (Speaks::Http2, "protocol: http2".to_owned()),
        (Speaks::Tls(TlsServer::new(&pair)), format!("{tls}, protocol: http2")),
    ] {
        let origin = Origin::start_speaking("api", 0, speaks).await?;
        let gateway = in_front_of(origin.address(), &settings).await?;
        let address = gateway.address();
        // The first opens the connection that the others find.
        gateway.get("/").await?.expect(200)?;
        let mut clients = JoinSet::new();
        for _ in 0..AT_ONCE {
            clients.spawn(async move {
                tidegate_kit::send(address, &Request::get("/hold/all")).await?.expect(200)
            });
        }
        origin.arrived(AT_ONCE + 1).await?;
        let connections = origin.connections();
        origin.release("all");
        while let Some(answer) = clients.join_next().await {
            answer??;
        }
        // Pingora opens another connection while the one there is just being used by somebody
        // else, so that a burst needs more than two.
        assert!(connections <= FEW, "{connections} connections for {AT_ONCE} requests, {settings}");
    }
    Ok(())
}

/// A service that pauses within an upload over HTTP/2 is no service that does not answer, and a
/// stream that is reset costs its neighbours nothing.
#[tokio::test]
async fn http2_failures_are_told_apart() -> Outcome {
    let origin = Origin::start_speaking("api", 0, Speaks::Http2).await?;
    let gateway = gateway(format!(
        "services:\n  api: {{endpoints: [{{address: \"{}\"}}], protocol: http2}}\n{}",
        origin.address(),
        open_route("timeoutMs: 1500")
    ))
    .start()
    .await?;
    let address = gateway.address();
    let neighbour =
        tokio::spawn(
            async move { tidegate_kit::send(address, &Request::get("/hold/neighbour")).await },
        );
    origin.arrived(1).await?;
    let lost = gateway.send(&Request::post("/reset", "x")).await?;
    assert_eq!(lost.status, 502, "{lost}");
    assert!(!neighbour.is_finished());
    origin.release("neighbour");
    neighbour.await??.expect(200)?;
    // An upload that takes a while, as long as it is within the route's time.
    let mut slow = RawConnection::connect(address).await?;
    slow.send(b"POST /slow HTTP/1.1\r\nhost: a.example\r\ncontent-length: 30\r\n\r\n").await?;
    for _ in 0..3 {
        // Together less than `timeoutMs`: the time is what is tested.
        tokio::time::sleep(Duration::from_millis(200)).await;
        slow.send(b"0123456789").await?;
    }
    let answer = slow.response().await?.expect(200)?;
    assert_eq!(answer.json()?["bodyLength"], 30);
    gateway.get("/hold/never").await?.problem(504, "upstream.response_timeout")?;
    gateway.get("/").await?.expect(200)?;
    Ok(())
}

/// What cannot work is refused with its place.
#[tokio::test]
async fn settings_that_cannot_work_are_refused() -> Outcome {
    let scene = Scene::new()?;
    let files = scene.authority.leaf(&["me"])?.write(scene.path(), "me")?;
    let mut wrong = String::new();
    for settings in ["tls: {}", "tls: {serverName: a, caFile: absent.pem}"] {
        let error = in_front_of("127.0.0.1:9", settings).await.err();
        let _ = writeln!(wrong, "{}", error.map(|error| error.to_string()).unwrap_or_default());
    }
    let settings = format!("tls: {{serverName: a, certFile: {}}}", files.cert.display());
    let error = in_front_of("127.0.0.1:9", &settings).await.err();
    let _ = writeln!(wrong, "{}", error.map(|error| error.to_string()).unwrap_or_default());
    for word in ["tls.server_name", "absent.pem", "`certFile` has no effect without `keyFile`"] {
        assert!(wrong.contains(word), "{word} in {wrong}");
    }
    Ok(())
}
