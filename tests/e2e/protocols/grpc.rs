//! gRPC, over HTTP/2 on both sides (R204).

use std::time::Duration;

use tidegate_kit::grpc::tonic::{Code, Request};
use tidegate_kit::grpc::{self, GrpcClient, GrpcOrigin, Word};
use tidegate_kit::{Gateway, Issuer, Outcome, Result, ports, wait};
use tokio::time::Instant;

use crate::{gateway, has_keys, list, provider};

/// `services` with `api` at this address, over HTTP/2.
fn api(address: std::net::SocketAddr) -> String {
    format!("services:\n  api: {{protocol: http2, endpoints: [{}]}}\n", list(&[address]))
}

async fn started(config: String) -> Result<(Gateway, GrpcClient)> {
    let gateway = gateway(config).listener("protocols: [http2]").start().await?;
    let client = GrpcClient::connect(gateway.address(), "kit.Words").await?;
    Ok((gateway, client))
}

fn routes(policies: &str) -> String {
    format!(
        "routes:\n  - {{name: words, match: {{pathPrefix: /kit.Words}}, upstream: \
         {{service: api}}, policies: {{auth: none{policies}}}}}\n"
    )
}

#[tokio::test]
async fn calls_of_every_kind_pass() -> Outcome {
    let origin = GrpcOrigin::start().await?;
    let (gateway, client) = started(api(origin.address()) + &routes("")).await?;
    let mut request = Request::new(Word::new("hello", 7));
    request.metadata_mut().insert("x-asked", "metadata".parse()?);
    let said = client.unary("Say", request).await??;
    assert_eq!(said.metadata().get("x-answered").and_then(|v| v.to_str().ok()), Some("metadata"));
    let id = said.metadata().get("x-request-id").and_then(|id| id.to_str().ok());
    let id = id.unwrap_or_default().to_owned();
    assert_eq!(said.into_inner(), Word::new("hello", 7));
    let line = gateway.access_line(&id).await?;
    assert_eq!((&line["status"], &line["grpcStatus"]), (&200.into(), &0.into()), "{line}");

    let mut counted = client.server_stream("Count", Word::new("", 100)).await??;
    for number in 0..100 {
        assert_eq!(grpc::next(&mut counted).await??, Some(Word::new("count", number)));
    }
    assert_eq!(grpc::next(&mut counted).await??, None);

    let words = (1..=100).map(|number| Word::new("", number)).collect();
    assert_eq!(client.client_stream("Sum", words).await??.number, 5050);

    let (sender, answers) = client.both_stream("Chat").await?;
    let mut answers = answers?;
    for number in 0..20 {
        // Each answer comes before the next message is sent.
        let _ = sender.send(Word::new("chat", number)).await;
        assert_eq!(grpc::next(&mut answers).await??, Some(Word::new("chat", number)));
    }
    drop(sender);
    assert_eq!(grpc::next(&mut answers).await??, None);
    Ok(())
}

/// R037 over HTTP/2: what the service sees is `:authority`.
#[tokio::test]
async fn the_authority_is_the_one_that_the_route_says() -> Outcome {
    let origin = GrpcOrigin::start().await?;
    let route = |name: &str, upstream: &str, rest: &str| {
        format!(
            "  - {{name: {name}, match: {{pathPrefix: /kit.{name}}}, upstream: {{service: api\
             {upstream}}}, policies: {{auth: none}}{rest}}}\n"
        )
    };
    let config = api(origin.address())
        + "routes:\n"
        + &route("plain", "", "")
        + &route("own", ", changeOrigin: true", "")
        + &route("given", "", ", rewrite: {host: words.internal}");
    let (gateway, _) = started(config).await?;
    for (service, expected) in [
        ("kit.plain", gateway.address().to_string()),
        ("kit.own", origin.address().to_string()),
        ("kit.given", "words.internal".to_owned()),
    ] {
        let client = GrpcClient::connect(gateway.address(), service).await?;
        assert!(client.unary("Say", Request::new(Word::default())).await?.is_ok(), "{service}");
        let seen = origin.last();
        let seen = seen.as_ref();
        let authority = seen.and_then(|call| call.uri.authority()).map(ToString::to_string);
        assert_eq!(authority.as_deref(), Some(expected.as_str()), "{service}");
        let forwarded = seen.and_then(|call| call.headers.get("x-forwarded-host"));
        let forwarded = forwarded.and_then(|host| host.to_str().ok());
        assert_eq!(forwarded, Some(gateway.address().to_string().as_str()), "{service}");
    }
    Ok(())
}

#[tokio::test]
async fn large_messages_arrive_whole() -> Outcome {
    let origin = GrpcOrigin::start().await?;
    let config = api(origin.address()) + &routes("") + "requestPolicy: {maxBodyBytes: 64MiB}\n";
    let (_gateway, client) = started(config).await?;
    let word =
        Word { data: (0..20_000_000_u32).map(|n| n.to_le_bytes()[0]).collect(), ..Word::default() };
    let said = client.unary("Say", Request::new(word.clone())).await??;
    assert!(said.into_inner() == word);
    Ok(())
}

#[tokio::test]
async fn errors_of_the_service_are_its_own() -> Outcome {
    let origin = GrpcOrigin::start().await?;
    let (gateway, client) = started(api(origin.address()) + &routes("")).await?;
    for code in [Code::FailedPrecondition, Code::NotFound, Code::Internal] {
        let word = Word::new("100 % wröng", u32::try_from(code as i32)?);
        let Err(status) = client.unary("Fail", Request::new(word)).await? else { panic!("{code}") };
        assert_eq!((status.code(), status.message()), (code, "100 % wröng"));
    }
    gateway.settled().await?;
    let rejects = gateway.metric("tidegate_rejects_total", &[]).await?;
    assert!(rejects < 0.5, "{rejects}");
    Ok(())
}

/// Gateway refusals in gRPC's words: status 200, `grpc-status`, and all headers that they have.
#[tokio::test]
async fn refusals_are_told_in_the_words_of_grpc() -> Outcome {
    let origin = GrpcOrigin::start().await?;
    let issuer = Issuer::start().await?;
    let nobody = ([127, 0, 0, 1], ports::free()?).into();
    let config = api(origin.address())
        + &format!("  dead: {{protocol: http2, endpoints: [{}]}}\n", list(&[nobody]))
        + &provider(&issuer)
        + "rateLimits:\n  few: {algorithm: token_bucket, capacity: 1, refillPerSecond: 0.01, \
           key: [userId], failureMode: local}\n\
           policies: {auth: required}\nroutes:\n  \
           - {name: words, match: {pathPrefix: /kit.Words}, upstream: {service: api}, \
              policies: {rateLimit: few}}\n  \
           - {name: scoped, match: {path: /kit.Words/Sum}, upstream: {service: api}, \
              policies: {authorization: {requiredScopes: [admin]}}}\n  \
           - {name: small, match: {path: /kit.Words/Chat}, upstream: {service: api}, \
              policies: {auth: none}, requestPolicy: {maxBodyBytes: 10}}\n  \
           - {name: dead, match: {path: /kit.Words/Dead}, upstream: {service: dead}, \
              policies: {auth: none}}\n  \
           - {name: late, match: {path: /kit.Words/Hang}, upstream: {service: api}, \
              policies: {auth: none, timeoutMs: 500}}\n";
    let (gateway, client) = started(config).await?;
    has_keys(&gateway).await?;
    let token = issuer.token().subject("alice").sign()?;
    let call = async |method: &str, word: Word, token: Option<&str>| -> Result<_> {
        let mut request = Request::new(word);
        if let Some(token) = token.and_then(|token| format!("Bearer {token}").parse().ok()) {
            request.metadata_mut().insert("authorization", token);
        }
        client.unary(method, request).await
    };
    let word = || Word::new("a word that is not short", 1);
    assert!(call("Say", word(), Some(&token)).await?.is_ok());
    let other = GrpcClient::connect(gateway.address(), "kit.Other").await?;
    let outcomes = [
        (call("Say", word(), None).await?, Code::Unauthenticated, 401),
        (call("Sum", word(), Some(&token)).await?, Code::PermissionDenied, 403),
        (call("Say", word(), Some(&token)).await?, Code::ResourceExhausted, 429),
        (call("Chat", word(), None).await?, Code::ResourceExhausted, 413),
        (call("Dead", word(), None).await?, Code::Unavailable, 502),
        (call("Hang", word(), None).await?, Code::DeadlineExceeded, 504),
        (other.unary("Say", Request::new(word())).await?, Code::Unimplemented, 404),
    ];
    for (outcome, code, http) in outcomes {
        let Err(status) = outcome else { panic!("{code} expected") };
        assert_eq!(status.code(), code, "{status:?}");
        assert!(!status.message().is_empty(), "{status:?}");
        let metadata = status.metadata();
        let id = metadata.get("x-request-id").and_then(|id| id.to_str().ok()).unwrap_or_default();
        let line = gateway.access_line(id).await?;
        assert_eq!(line["status"], http, "{line}");
        assert_eq!(line["grpcStatus"], code as i32, "{line}");
        assert!(line["code"].is_string(), "{line}");
        assert_eq!(metadata.contains_key("retry-after"), http == 429, "{status:?}");
    }
    Ok(())
}

#[tokio::test]
async fn deadlines_reach_the_service() -> Outcome {
    let origin = GrpcOrigin::start().await?;
    let (_gateway, client) = started(api(origin.address()) + &routes("")).await?;
    let start = Instant::now();
    let request = grpc::within(Word::default(), Duration::from_millis(800));
    let Err(status) = client.unary("Hang", request).await? else { panic!("an answer") };
    assert!(matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled), "{status:?}");
    assert!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
    assert!(origin.last().is_some_and(|call| call.headers.contains_key("grpc-timeout")));
    origin.abandoned(1).await?;
    Ok(())
}

/// A client that leaves a call leaves it at the service too.
#[tokio::test]
async fn a_call_that_is_given_up_ends_at_the_service() -> Outcome {
    let origin = GrpcOrigin::start().await?;
    let (gateway, client) = started(api(origin.address()) + &routes("")).await?;
    let mut words = client.server_stream("Tail", Word::default()).await??;
    assert_eq!(grpc::next(&mut words).await??, Some(Word::new("first", 1)));
    drop(words);
    origin.abandoned(1).await?;
    gateway.settled().await?;
    // The connection goes on.
    assert!(client.unary("Say", Request::new(Word::default())).await?.is_ok());
    Ok(())
}

/// A stream that breaks off ends with a status, not with a broken connection.
#[tokio::test]
async fn a_service_that_goes_away_mid_stream_is_a_status() -> Outcome {
    let origin = GrpcOrigin::start().await?;
    let (gateway, client) = started(api(origin.address()) + &routes("")).await?;
    let mut words = client.server_stream("Tail", Word::default()).await??;
    assert_eq!(grpc::next(&mut words).await??, Some(Word::new("first", 1)));
    origin.stop().await;
    let Err(status) = grpc::next(&mut words).await? else { panic!("a message from nobody") };
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    gateway.settled().await?;
    let line = wait::until("an access log line", async || {
        gateway.access_lines().ok()?.into_iter().next_back()
    })
    .await?;
    assert_eq!(line["grpcStatus"], 14, "{line}");
    Ok(())
}

/// On HTTP/2 too: silence ends a stream that is one, and the route's time a call that is none.
#[tokio::test]
async fn calls_end_in_time() -> Outcome {
    let origin = GrpcOrigin::start().await?;
    for (policies, least) in
        [(", timeoutMs: 700", 600), (", timeoutMs: 200, stream: {idleTimeout: 1s}", 900)]
    {
        let (_gateway, client) = started(api(origin.address()) + &routes(policies)).await?;
        let start = Instant::now();
        let mut words = client.server_stream("Tail", Word::default()).await??;
        assert_eq!(grpc::next(&mut words).await??, Some(Word::new("first", 1)));
        let Err(status) = grpc::next(&mut words).await? else { panic!("a message from nobody") };
        assert_eq!(status.code(), Code::DeadlineExceeded, "{policies}: {status:?}");
        let took = start.elapsed().as_millis();
        assert!((least..6000).contains(&took), "{policies}: {took} ms");
    }
    Ok(())
}
