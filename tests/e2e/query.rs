//! QUERY (RFC 10008): a request that asks with its body, through the gateway and its cache.

use tidegate_kit::http2::Http2Client;
use tidegate_kit::{
    Gateway, Habit, Origin, Outcome, RawConnection, Request, RequestSigner, Result, wait,
};

use crate::{api, gateway, open_route};

async fn open(protocol: &str) -> Result<(Origin, Gateway)> {
    let origin = Origin::start("api").await?;
    let config = api(&[origin.address()]) + &open_route("cache: {ttl: 60s}");
    let gateway = gateway(config).listener(&format!("protocols: [{protocol}]")).start().await?;
    Ok((origin, gateway))
}

fn query(target: &str, body: impl Into<Vec<u8>>) -> Request {
    Request::new("QUERY", target).header("content-type", "application/sql").body(body)
}

/// Sends it on a connection and says what the cache did.
async fn did(connection: &mut RawConnection, request: &Request) -> Result<String> {
    let response = connection.request(request).await?.expect(200)?;
    Ok(response.required("x-cache")?.to_owned())
}

#[tokio::test]
async fn the_body_is_part_of_the_key() -> Outcome {
    let (origin, gateway) = open("http1").await?;
    let mut connection = RawConnection::connect(gateway.address()).await?;
    let ask = |body: &str| query("/x", body);
    assert_eq!(did(&mut connection, &ask("select 1")).await?, "MISS");
    let seen = origin.last().unwrap();
    assert_eq!((seen.method.as_str(), seen.body_length), ("QUERY", Some(8)));
    // The same connection goes on, so the body was read to its end.
    let hit = connection.request(&ask("select 1")).await?.expect(200)?;
    assert_eq!((hit.header("x-cache"), hit.header("x-serial")), (Some("HIT"), Some("1")));
    assert_eq!(hit.json()?["method"], "QUERY");
    for (other, why) in [
        (ask("select 2"), "another body"),
        (ask(""), "no body"),
        (ask("select 1").header("content-encoding", "identity"), "another coding"),
        (ask("select 1").header("content-language", "de"), "another language"),
        (
            Request::new("QUERY", "/x").header("content-type", "a/b").body("select 1"),
            "another type",
        ),
        (query("/y", "select 1"), "another path"),
        (Request::get("/x"), "another method"),
    ] {
        assert_eq!(did(&mut connection, &other).await?, "MISS", "{why}");
        assert_eq!(did(&mut connection, &other).await?, "HIT", "{why}");
    }
    assert_eq!(did(&mut connection, &ask("select 1")).await?, "HIT");
    assert_eq!(origin.total(), 8);
    Ok(())
}

/// Bodies that cannot be part of a key reach the service whole, and their answers are not kept.
#[tokio::test]
async fn other_bodies_pass_the_cache_by() -> Outcome {
    let (origin, gateway) = open("http1").await?;
    let mut connection = RawConnection::connect(gateway.address()).await?;
    let longest = query("/x", vec![b'q'; 65_536]);
    assert_eq!(did(&mut connection, &longest).await?, "MISS");
    assert_eq!(origin.last().unwrap().body_length, Some(65_536));
    assert_eq!(did(&mut connection, &longest).await?, "HIT");
    let plain = |body: Vec<u8>| Request::new("QUERY", "/x").body(body);
    let typed = || Request::new("QUERY", "/x").header("content-type", "application/sql");
    for (request, length, why) in [
        (query("/x", vec![b'q'; 65_537]), 65_537, "one more"),
        (query("/x", vec![b'q'; 300_000]), 300_000, "many more"),
        (plain(vec![b'q'; 10]), 10, "no type"),
        (typed().chunked(vec![vec![b'q'; 10], vec![b'q'; 5]]), 15, "no length"),
        (typed().chunked(vec![vec![b'q'; 50_000]; 3]), 150_000, "no length"),
    ] {
        for _ in 0..2 {
            assert_eq!(did(&mut connection, &request).await?, "BYPASS", "{why}");
            assert_eq!(origin.last().unwrap().body_length, Some(length), "{why}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn http2_asks_the_same_way() -> Outcome {
    let (origin, gateway) = open("http2").await?;
    let client = Http2Client::connect(gateway.address()).await?;
    let ask = |body: &'static str, length: bool| {
        let mut request = http::Request::builder()
            .method("QUERY")
            .uri(format!("http://{}/x", gateway.address()))
            .header("content-type", "application/sql");
        if length {
            request = request.header("content-length", body.len());
        }
        let request = request.body(());
        let client = &client;
        async move {
            let response = client.send(request.unwrap(), body.as_bytes()).await?;
            assert_eq!(response.status, 200);
            tidegate_kit::Result::Ok(response.header("x-cache").unwrap_or_default().to_owned())
        }
    };
    assert_eq!(ask("select 1", true).await?, "MISS");
    assert_eq!(origin.last().unwrap().body_length, Some(8));
    assert_eq!(ask("select 1", true).await?, "HIT");
    assert_eq!(ask("select 2", true).await?, "MISS");
    assert_eq!(ask("select 1", false).await?, "BYPASS");
    assert_eq!(origin.last().unwrap().body_length, Some(8));
    assert_eq!(origin.total(), 3);
    Ok(())
}

/// Without a cache it is a method like others, that may be repeated.
#[tokio::test]
async fn it_is_routed_and_repeated() -> Outcome {
    let origin = Origin::start("api").await?;
    let config = api(&[origin.address()])
        + "routes:\n  - {name: all, match: {pathPrefix: /, methods: [QUERY]}, \
           upstream: {service: api}, policies: {auth: none, retries: 1, retryOn: [503]}}\n";
    let gateway = gateway(config).start().await?;
    let ask = query("/x", "select 1");
    assert_eq!(gateway.send(&ask).await?.expect(200)?.json()?["bodyLength"], 8);
    gateway.get("/x").await?.expect(405)?;
    origin.set_habit(Habit::Status(503));
    gateway.send(&ask).await?.expect(503)?;
    assert_eq!(origin.total(), 3, "the second request was sent twice");
    let bodies = origin.seen();
    assert!(bodies.iter().all(|seen| seen.body_length == Some(8)), "{bodies:?}");
    Ok(())
}

/// A signature covers the body, whoever answers.
#[tokio::test]
async fn a_signed_body_is_judged_before_the_cache_answers() -> Outcome {
    let origin = Origin::start("api").await?;
    let partner =
        RequestSigner::hmac("partner-key", "a secret that both sides share, and no other");
    for protocol in ["http1", "http2"] {
        let config = api(&[origin.address()])
            + &format!("signers:\n  partner: {{{}}}\n", partner.yaml())
            + "routes:\n  - {name: all, match: {pathPrefix: /}, upstream: {service: api}, policies: \
               {auth: {anyOf: [signature]}, cache: {ttl: 60s, shared: true}}}\n";
        let gateway = gateway(config).listener(&format!("protocols: [{protocol}]")).start().await?;
        let signed = || {
            let request = partner.request("QUERY", "api.example.com", "/x?cc=public");
            request.body("select 1").covered("content-type", "application/sql")
        };
        for (body, expected) in [
            ("select 1", (200, Some("MISS"))),
            ("select 1", (200, Some("HIT"))),
            ("select 2", (401, None)),
            ("", (401, None)),
        ] {
            let (status, did) = if protocol == "http1" {
                let response = gateway.send(&signed().head()?.body(body)).await?;
                (response.status, response.header("x-cache").map(str::to_owned))
            } else {
                let client = Http2Client::connect(gateway.address()).await?;
                let mut request = signed().http2()?;
                request.headers_mut().insert("content-length", body.len().into());
                let response = client.send(request, body.as_bytes()).await?;
                (response.status.as_u16(), response.header("x-cache").map(str::to_owned))
            };
            assert_eq!((status, did.as_deref()), expected, "{protocol} {body:?}");
        }
    }
    assert_eq!(origin.total(), 2, "one for each gateway");
    assert_eq!(origin.last().unwrap().method, "QUERY");
    Ok(())
}

/// A stale answer is renewed by the same question.
#[tokio::test]
async fn a_renewal_asks_with_the_body() -> Outcome {
    for protocol in ["http1", "http2"] {
        let (origin, gateway) = open(protocol).await?;
        let target = "/x?cc=max-age%3D1%2C+stale-while-revalidate%3D600";
        let ask = async || {
            if protocol == "http1" {
                let response = gateway.send(&query(target, "select 1")).await?.expect(200)?;
                return tidegate_kit::Result::Ok(response.required("x-cache")?.to_owned());
            }
            let client = Http2Client::connect(gateway.address()).await?;
            let request = http::Request::builder()
                .method("QUERY")
                .uri(format!("http://{}{target}", gateway.address()))
                .header("content-type", "application/sql")
                .header("content-length", 8)
                .body(())
                .unwrap();
            let response = client.send(request, b"select 1").await?;
            Ok(response.header("x-cache").unwrap_or_default().to_owned())
        };
        assert_eq!(ask().await?, "MISS");
        wait::until("a stale answer", async || (ask().await.ok()? == "STALE").then_some(()))
            .await?;
        let name = "tidegate_cache_renewals_total";
        gateway.metric_until(name, &[], |count| count > 0.5).await?;
        let replaced = gateway.metric(name, &[("outcome", "replaced")]).await?;
        assert!(replaced > 0.5, "{protocol}");
        let seen = origin.seen();
        assert!(seen.len() >= 2, "{seen:?}");
        for one in &seen {
            assert_eq!((one.method.as_str(), one.body_length), ("QUERY", Some(8)), "{protocol}");
            assert_eq!(one.header("content-type"), Some("application/sql"));
            assert_eq!(one.body_sha256, seen[0].body_sha256);
        }
    }
    Ok(())
}
