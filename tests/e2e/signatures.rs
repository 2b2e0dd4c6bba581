//! Signed requests (R105): who signed, that each counts once, and that no service gets all of a
//! body that was not signed.

use std::time::Duration;

use tidegate_kit::http2::{Frame, Http2Client, RawHttp2, frame, header_block};
use tidegate_kit::{
    Gateway, Habit, Origin, Outcome, RawConnection, Redis, Request, RequestSigner, Result, Speaks,
    ToSign, send, wait,
};

use crate::{api, gateway};

const HOST: &str = "api.example.com";
const SECRET: &str = "a secret that the partner and the gateway share";

/// A route that takes signatures only, and a public one.
const ROUTES: &str = "requestPolicy: {maxBodyBytes: 16777216}
routes:
  - {name: signed, match: {pathPrefix: /signed}, upstream: {service: api},
     policies: {auth: {anyOf: [signature]}, retries: 2, retryOn: [503, reset, connect-failure]}}
  - {name: public, match: {pathPrefix: /public}, upstream: {service: api},
     policies: {auth: none}}
";

fn partner() -> RequestSigner {
    RequestSigner::hmac("partner-key", SECRET)
}

fn signers(signers: &[(&str, &RequestSigner)]) -> String {
    let lines = signers.iter().map(|(name, signer)| format!("  {name}: {{{}}}\n", signer.yaml()));
    format!("signers:\n{}", lines.collect::<String>())
}

fn get<'a>(signer: &'a RequestSigner, target: &str) -> ToSign<'a> {
    signer.request("GET", HOST, target)
}

/// An origin behind a gateway that knows one partner.
struct Scene {
    origin: Origin,
    gateway: Gateway,
    partner: RequestSigner,
}

impl Scene {
    async fn start(more: &str) -> Result<Self> {
        Self::start_speaking("http1", more).await
    }

    /// With a listener of this protocol.
    async fn start_speaking(protocol: &str, more: &str) -> Result<Self> {
        let partner = partner();
        let origin = Origin::start("api").await?;
        let config = api(&[origin.address()]) + &signers(&[("partner", &partner)]) + more + ROUTES;
        let setup = gateway(config).listener(&format!("protocols: [{protocol}]"));
        Ok(Self { gateway: setup.start().await?, origin, partner })
    }

    fn put(&self, body: &[u8]) -> ToSign<'_> {
        self.partner.request("PUT", HOST, "/signed/upload").body(body)
    }

    /// How many bodies the origin has got to their end.
    fn whole_bodies(&self) -> usize {
        self.origin.seen().iter().filter(|seen| seen.body_length.is_some()).count()
    }

    async fn nonces(&self, outcome: &str) -> Result<f64> {
        self.gateway.metric("tidegate_signature_nonces_total", &[("outcome", outcome)]).await
    }
}

#[tokio::test]
async fn every_algorithm_passes_and_the_party_becomes_the_caller() -> Outcome {
    let (hmac, ed, ec) =
        (partner(), RequestSigner::ed25519("ed-key")?, RequestSigner::p256("ec-key")?);
    let origin = Origin::start("api").await?;
    let config = api(&[origin.address()])
        + &signers(&[("alpha", &hmac), ("beta", &ed), ("gamma", &ec)])
        + ROUTES;
    let gateway = gateway(config).start().await?;
    for (name, signer) in [("alpha", &hmac), ("beta", &ed), ("gamma", &ec)] {
        for target in ["/signed", "/signed/%C3%A9?a=%20&b", "/signed?"] {
            let seen = gateway.send(&get(signer, target).sign()?).await?.expect(200)?;
            assert_eq!(seen.echoed("x-user-id")?.as_deref(), Some(name), "{target}");
            assert_eq!(seen.echoed("x-client-id")?.as_deref(), Some(name), "{target}");
        }
        let post = signer.request("POST", HOST, "/signed").body("an order");
        gateway.send(&post.sign()?).await?.expect(200)?;
        let rich = post.nonce("another-nonce-of-16").component("@target-uri").component("@scheme");
        let rich = rich.component("@request-target").covered("x-list", "a").covered("date", "now");
        gateway.send(&rich.sign()?).await?.expect(200)?;
    }
    Ok(())
}

/// R105: one change anywhere, and a signature after its time, are 401.
#[tokio::test]
async fn what_is_not_signed_as_it_is_sent_is_401() -> Outcome {
    let scene = Scene::start("").await?;
    let signed = || get(&scene.partner, "/signed/a?b=c");
    let with = |method: &str, target: &str, host: &str| -> Result<Request> {
        let mut request = Request::new(method, target).host(host);
        for (name, value) in signed().fields()? {
            request = request.header(&name, &value);
        }
        Ok(request)
    };
    let other = RequestSigner::hmac("partner-key", "some other secret, which is as long");
    let unknown = RequestSigner::ed25519("unknown")?;
    let invalid = "auth.signature_invalid";
    for (what, request, code) in [
        ("method", with("DELETE", "/signed/a?b=c", HOST)?, invalid),
        ("path", with("GET", "/signed/b?b=c", HOST)?, invalid),
        ("query", with("GET", "/signed/a?b=d", HOST)?, invalid),
        ("host", with("GET", "/signed/a?b=c", "other.example.com")?, invalid),
        ("port", with("GET", "/signed/a?b=c", "api.example.com:81")?, invalid),
        ("spelling", with("GET", "/signed/./a?b=c", HOST)?, invalid),
        ("secret", get(&other, "/signed").sign()?, invalid),
        ("key", get(&unknown, "/signed").sign()?, invalid),
        ("coverage", signed().without("@path").sign()?, invalid),
        ("algorithm", signed().parameters(";alg=\"ed25519\"").sign()?, invalid),
        ("nonce", signed().nonce("short").sign()?, invalid),
        ("old", signed().ago(400).sign()?, "auth.signature_expired"),
        ("future", signed().ago(-100).sign()?, "auth.signature_expired"),
        ("no signature", Request::get("/signed").host(HOST), "auth.credentials_missing"),
        ("a token", Request::get("/signed").host(HOST).bearer("x"), "auth.credentials_missing"),
    ] {
        let refused = scene.gateway.send(&request).await?;
        let named = |error| tidegate_kit::Error::new(format!("{what}: {error}"));
        refused.problem(401, code).map_err(named)?;
        let challenge = refused.required("www-authenticate")?;
        assert!(challenge.starts_with("Signature realm=\"tidegate\""), "{what}: {challenge}");
    }
    let bare = scene.gateway.get("/signed").await?;
    let wanted = "sig1=(\"@method\" \"@authority\" \"@path\" \"@query\");created";
    assert_eq!(bare.header("accept-signature"), Some(wanted));
    assert_eq!(scene.origin.total(), 0);
    // The usual port is no difference, and of what is not covered anything may be.
    let usual = with("GET", "/signed/a?b=c", "API.example.com:80")?.header("x-other", "1");
    scene.gateway.send(&usual).await?.expect(200)?;
    Ok(())
}

#[tokio::test]
async fn a_request_counts_once() -> Outcome {
    let scene = Scene::start("").await?;
    let signed = get(&scene.partner, "/signed");
    let request = signed.sign()?;
    scene.gateway.send(&request).await?.expect(200)?;
    for _ in 0..2 {
        scene.gateway.send(&request).await?.problem(401, "auth.signature_replayed")?;
    }
    // Whoever has seen the nonce cannot spend it, and the same nonce does for no other request.
    let mine = get(&scene.partner, "/signed").nonce("seen-on-the-wire");
    let stranger = RequestSigner::hmac("partner-key", "some other secret, which is as long");
    let theirs = get(&stranger, "/signed").nonce("seen-on-the-wire").sign()?;
    scene.gateway.send(&theirs).await?.problem(401, "auth.signature_invalid")?;
    scene.gateway.send(&mine.sign()?).await?.expect(200)?;
    let again = mine.ago(1).sign()?;
    scene.gateway.send(&again).await?.problem(401, "auth.signature_replayed")?;
    assert_eq!(scene.origin.total(), 2);
    assert!((scene.nonces("new").await? - 2.0).abs() < 0.1);
    assert!((scene.nonces("replayed").await? - 3.0).abs() < 0.1);
    Ok(())
}

fn redis_at(redis: &Redis, timeout: &str) -> String {
    let breaker = "breaker: {failures: 2, openFor: 300s}";
    format!("redis: {{url: \"{}\", timeout: {timeout}, {breaker}}}\n", redis.url())
}

/// Redis down: each node goes on by what it has seen itself.
#[tokio::test]
async fn without_redis_this_node_still_refuses_what_it_has_seen() -> Outcome {
    let mut redis = Redis::start().await?;
    let scene = Scene::start(&redis_at(&redis, "2s")).await?;
    let before = get(&scene.partner, "/signed").sign()?;
    scene.gateway.send(&before).await?.expect(200)?;
    assert!((scene.nonces("new").await? - 1.0).abs() < 0.1, "said by Redis");
    redis.kill().await?;
    scene.gateway.send(&before).await?.problem(401, "auth.signature_replayed")?;
    for _ in 0..4 {
        let request = get(&scene.partner, "/signed").sign()?;
        scene.gateway.send(&request).await?.expect(200)?;
        scene.gateway.send(&request).await?.problem(401, "auth.signature_replayed")?;
    }
    assert!((scene.nonces("local").await? - 4.0).abs() < 0.1);
    assert_eq!(scene.gateway.log().matches("count on this node alone").count(), 1);
    // Redis comes back without memory; this node has not forgotten.
    redis.restart().await?;
    scene.gateway.send(&before).await?.problem(401, "auth.signature_replayed")?;
    Ok(())
}

/// Redis slow: no request waits longer than the time limit, and after a few none waits at all.
#[tokio::test]
async fn a_frozen_redis_costs_its_time_limit_and_then_nothing() -> Outcome {
    let redis = Redis::start().await?;
    let scene = Scene::start(&redis_at(&redis, "500ms")).await?;
    let send = async || scene.gateway.send(&get(&scene.partner, "/signed").sign()?).await;
    send().await?.expect(200)?;
    redis.freeze()?;
    for _ in 0..2 {
        let slow = send().await?.expect(200)?;
        assert!(slow.took >= Duration::from_millis(400), "{:?}", slow.took);
        assert!(slow.took < Duration::from_millis(1500), "{:?}", slow.took);
    }
    let request = get(&scene.partner, "/signed").sign()?;
    let fast = scene.gateway.send(&request).await?.expect(200)?;
    assert!(fast.took < Duration::from_millis(400), "{:?}", fast.took);
    scene.gateway.send(&request).await?.problem(401, "auth.signature_replayed")?;
    redis.thaw()?;
    Ok(())
}

/// Redis wrong: what is no answer counts as none.
#[tokio::test]
async fn a_redis_that_refuses_the_call_is_no_redis() -> Outcome {
    let redis = Redis::start().await?;
    redis.query(&["CONFIG", "SET", "maxmemory", "1"]).await?;
    let scene = Scene::start(&redis_at(&redis, "2s")).await?;
    let request = get(&scene.partner, "/signed").sign()?;
    scene.gateway.send(&request).await?.expect(200)?;
    scene.gateway.send(&request).await?.problem(401, "auth.signature_replayed")?;
    assert!((scene.nonces("local").await? - 1.0).abs() < 0.1);
    Ok(())
}

#[tokio::test]
async fn what_one_node_has_seen_no_other_takes() -> Outcome {
    let redis = Redis::start().await?;
    let one = Scene::start(&redis_at(&redis, "2s")).await?;
    let other = Scene::start(&redis_at(&redis, "2s")).await?;
    let request = get(&one.partner, "/signed").nonce("a-nonce-that-is-no-secret").sign()?;
    one.gateway.send(&request).await?.expect(200)?;
    other.gateway.send(&request).await?.problem(401, "auth.signature_replayed")?;
    other.gateway.send(&get(&one.partner, "/signed").sign()?).await?.expect(200)?;
    let keys = redis.query(&["KEYS", "*auth:nonce:*"]).await?.texts();
    assert_eq!(keys.len(), 2);
    for key in keys {
        assert!(!key.contains("a-nonce") && !key.contains("partner"), "{key}");
        let ttl = redis.query(&["TTL", &key]).await?.number().unwrap_or(-1);
        assert!((300..=361).contains(&ttl), "{ttl} s");
    }
    assert_eq!((one.origin.total(), other.origin.total()), (1, 1));
    Ok(())
}

/// 3 MiB that compress to nothing and repeat nothing.
fn large() -> Vec<u8> {
    (0_u32..786_432).flat_map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()).collect()
}

#[tokio::test]
async fn a_body_is_passed_on_whole_only_if_it_is_the_one_that_was_signed() -> Outcome {
    let scene = Scene::start("").await?;
    let body = large();
    let mut flipped = body.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let chunks = |body: &[u8]| body.chunks(100_000).map(<[u8]>::to_vec).collect::<Vec<_>>();

    // With a length, in chunks, and in one piece.
    scene.gateway.send(&scene.put(&body).head()?.body(body.clone())).await?.expect(200)?;
    scene.gateway.send(&scene.put(&body).head()?.chunked(chunks(&body))).await?.expect(200)?;
    scene.gateway.send(&scene.put(b"x").sign()?).await?.expect(200)?;
    let lengths: Vec<_> = scene.origin.seen().iter().map(|seen| seen.body_length).collect();
    assert_eq!(lengths, [Some(body.len()), Some(body.len()), Some(1)]);

    // What the header shows to be wrong never gets as far as the service.
    for empty in [Some(""), None] {
        let signed = scene.partner.request("PUT", HOST, "/signed/never").body("x").head()?;
        let request = empty.map_or(signed.clone(), |body| signed.body(body));
        scene.gateway.send(&request).await?.problem(401, "auth.digest_mismatch")?;
    }
    assert_eq!(scene.origin.count("/signed/never"), 0);

    let mut long = body.clone();
    long.push(0);
    for (what, request) in [
        ("flipped", scene.put(&body).head()?.body(flipped.clone())),
        ("flipped, in chunks", scene.put(&body).head()?.chunked(chunks(&flipped))),
        ("a byte less", scene.put(&body).head()?.body(&body[1..])),
        ("a byte more", scene.put(&body).head()?.chunked(chunks(&long))),
        ("one byte", scene.put(b"x").head()?.body("y")),
        ("one byte, in a chunk", scene.put(b"x").head()?.chunked(vec![b"y".to_vec()])),
        ("no chunk", scene.put(b"x").head()?.chunked(Vec::new())),
    ] {
        let refused = scene.gateway.send(&request).await?;
        let named = |error| tidegate_kit::Error::new(format!("{what}: {error}"));
        refused.problem(401, "auth.digest_mismatch").map_err(named)?;
        assert!(refused.required("www-authenticate")?.starts_with("Signature "), "{what}");
    }
    // An empty body can be signed like any other.
    scene.gateway.send(&scene.put(b"").sign()?).await?.expect(200)?;
    scene.gateway.send(&scene.put(b"").head()?.chunked(Vec::new())).await?.expect(200)?;
    scene.gateway.settled().await?;
    assert_eq!(scene.whole_bodies(), 5);
    let retries = scene.gateway.metric("tidegate_retries_total", &[]).await?;
    assert!(retries < 0.5, "nothing that was refused was sent again: {retries}");
    Ok(())
}

#[tokio::test]
async fn bodies_over_http2_are_judged_alike_for_services_of_both_kinds() -> Outcome {
    let scene = Scene::start_speaking("http2", "").await?;
    let body = large();
    let mut flipped = body.clone();
    *flipped.last_mut().unwrap() ^= 1;
    for (speaks, service) in [(Speaks::Http1, "http1"), (Speaks::Http2, "http2")] {
        scene.origin.speak(speaks).await?;
        if service == "http2" {
            let origin = scene.origin.address();
            let config = format!(
                "services:\n  api: {{protocol: http2, \
                 endpoints: [{{address: \"{origin}\"}}]}}\n{}{}",
                signers(&[("partner", &scene.partner)]),
                ROUTES
            );
            scene.gateway.write_config(&format!("configVersion: 7\n{config}"))?;
            scene.gateway.runs_version(7).await?;
        }
        let client = Http2Client::connect(scene.gateway.address()).await?;
        let before = scene.whole_bodies();
        for good in [&body[..], b"x", b""] {
            let answer = client.send(scene.put(good).http2()?, good).await?;
            assert_eq!(answer.status, 200, "{service}");
            assert_eq!(scene.origin.last().unwrap().body_length, Some(good.len()), "{service}");
        }
        for (signed, sent) in
            [(&body[..], &flipped[..]), (&body, &body[1..]), (b"x", b"y"), (b"x", b""), (b"", b"x")]
        {
            let answer = client.send(scene.put(signed).http2()?, sent).await?;
            assert_eq!(answer.status, 401, "{service}");
            assert_eq!(answer.json()?["code"], "auth.digest_mismatch", "{service}");
        }
        // A body where none was signed.
        let answer = client.send(get(&scene.partner, "/signed").http2()?, b"x").await?;
        assert_eq!(answer.json()?["code"], "auth.digest_mismatch", "{service}");
        scene.gateway.settled().await?;
        assert_eq!(scene.whole_bodies(), before + 3, "{service}");
    }
    Ok(())
}

/// A stream may end long after its header, without a body: by then the header must not have been
/// sent on as a whole request.
#[tokio::test]
async fn a_stream_that_turns_out_to_be_empty_never_reaches_the_service() -> Outcome {
    let scene = Scene::start_speaking("http2", "").await?;
    let signed = scene.put(b"an order").fields()?;
    let fields: Vec<(&str, &str)> = signed.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    let mut client = RawHttp2::begin(scene.gateway.address()).await?;
    let block = header_block("PUT", "/signed/upload", &fields);
    client.send(&Frame::new(frame::HEADERS, frame::END_HEADERS, 1, block)).await?;
    client.send(&Frame::new(frame::DATA, 0, 1, [])).await?;
    scene.gateway.metric_until("tidegate_requests_in_flight", &[], |count| count > 0.5).await?;
    client.send(&Frame::new(frame::DATA, frame::END_STREAM, 1, [])).await?;
    let answer = client.until(|frame| frame.kind == frame::DATA).await?;
    let text = String::from_utf8_lossy(&answer.payload).into_owned();
    assert!(text.contains("auth.digest_mismatch"), "{text}");
    scene.gateway.settled().await?;
    assert_eq!(scene.origin.total(), 0);

    // And one whose length is reached before its end shows: the service would need no end.
    let signed = scene.put(b"y").fields()?;
    let mut fields: Vec<(&str, &str)> =
        signed.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    fields.push(("content-length", "2"));
    let block = header_block("PUT", "/signed/upload", &fields);
    client.send(&Frame::new(frame::HEADERS, frame::END_HEADERS, 3, block)).await?;
    client.send(&Frame::new(frame::DATA, 0, 3, b"y".to_vec())).await?;
    client.send(&Frame::new(frame::DATA, 0, 3, b"x".to_vec())).await?;
    scene.origin.arrived(1).await?;
    // Answered over the same connection behind what was sent above, so that has been read.
    client.send(&Frame::new(frame::PING, 0, 0, [0; 8])).await?;
    client.until(|frame| frame.kind == frame::PING).await?;
    client.send(&Frame::new(frame::DATA, frame::END_STREAM, 3, [])).await?;
    let refused = |frame: &Frame| frame.kind == frame::DATA && frame.stream == 3;
    let answer = client.until(refused).await?;
    assert!(String::from_utf8_lossy(&answer.payload).contains("auth.digest_mismatch"));
    scene.gateway.settled().await?;
    assert_eq!((scene.origin.total(), scene.whole_bodies()), (1, 0));
    Ok(())
}

/// Repeated attempts send the body again from its beginning, and it is judged again.
#[tokio::test]
async fn a_body_is_judged_on_every_attempt() -> Outcome {
    let scene = Scene::start("").await?;
    scene.origin.set_habit(Habit::Status(503));
    let body = vec![7; 40_000];
    let good = scene.gateway.send(&scene.put(&body).sign()?).await?;
    assert_eq!(good.status, 503, "of the last attempt");
    let lengths: Vec<_> = scene.origin.seen().iter().map(|seen| seen.body_length).collect();
    assert_eq!(scene.origin.total(), 3);
    // This origin answers before it has read the body, so no length need be known.
    assert!(lengths.iter().all(|length| length.is_none_or(|length| length == body.len())));

    scene.origin.set_habit(Habit::Scripted);
    let mut wrong = body.clone();
    wrong[39_999] ^= 1;
    let before = scene.whole_bodies();
    let request = scene.put(&body).head()?.body(wrong);
    scene.gateway.send(&request).await?.problem(401, "auth.digest_mismatch")?;
    scene.gateway.settled().await?;
    assert_eq!((scene.origin.total(), scene.whole_bodies()), (4, before));

    // A connection that the service has closed meanwhile: the body goes out again, whole.
    scene.gateway.send(&scene.put(&body).sign()?).await?.expect(200)?;
    scene.origin.restart().await?;
    scene.gateway.send(&scene.put(&body).sign()?).await?.expect(200)?;
    assert_eq!(scene.origin.last().unwrap().body_length, Some(body.len()));
    Ok(())
}

/// The last piece is held back; what came before it is not, or nothing could be streamed.
#[tokio::test]
async fn a_body_streams_one_piece_late() -> Outcome {
    let scene = Scene::start("").await?;
    let head = scene.put(b"onetwo").head()?.header("transfer-encoding", "chunked");
    let mut client = RawConnection::connect(scene.gateway.address()).await?;
    client.send(&head.to_bytes(HOST)).await?;
    client.send(b"3\r\none\r\n").await?;
    scene.origin.arrived(1).await?;
    client.send(b"3\r\ntwo\r\n0\r\n\r\n").await?;
    client.response().await?.expect(200)?;
    assert_eq!(scene.origin.last().unwrap().body_length, Some(6));
    Ok(())
}

/// A caller that decides the route is judged for several of them, and its nonce counts once.
#[tokio::test]
async fn a_nonce_is_spent_once_for_a_request_that_is_judged_twice() -> Outcome {
    let (origin, partner) = (Origin::start("api").await?, partner());
    let config = api(&[origin.address()])
        + &format!("signers:\n  partner: {{{}, tenantId: acme}}\n", partner.yaml())
        + "apiKeys: [{id: robot, key: \"${env:ROBOT}\"}]
tenants: {acme: {status: ACTIVE}, globex: {status: ACTIVE}}
routes:
  - {name: globex, match: {pathPrefix: /signed, tenant: globex}, upstream: {service: api},
     priority: 1, policies: {auth: {anyOf: [apiKey, signature]}}}
  - {name: acme, match: {pathPrefix: /signed, tenant: acme}, upstream: {service: api},
     policies: {auth: {anyOf: [signature]}}}
";
    let gateway = gateway(config).environment("ROBOT", "0123456789abcdef0123").start().await?;
    let request = get(&partner, "/signed").sign()?;
    let seen = gateway.send(&request).await?.expect(200)?;
    assert_eq!(seen.echoed("x-tenant-id")?.as_deref(), Some("acme"));
    let refused = gateway.send(&request).await?;
    assert!([401, 404].contains(&refused.status), "{refused}");
    assert_eq!(origin.total(), 1);
    Ok(())
}

/// The scheme is the client's, where a trusted proxy says it.
#[tokio::test]
async fn the_scheme_is_that_of_the_client_behind_trusted_proxies() -> Outcome {
    let (origin, partner) = (Origin::start("api").await?, partner());
    let config = api(&[origin.address()]) + &signers(&[("partner", &partner)]) + ROUTES;
    let trusting = gateway(config.clone()).listener("trustedProxies: [127.0.0.1]").start().await?;
    let plain = gateway(config).start().await?;
    let https = || -> Result<Request> {
        let signed = get(&partner, "/signed").scheme("https").component("@target-uri");
        Ok(signed.sign()?.header("x-forwarded-proto", "https"))
    };
    trusting.send(&https()?).await?.expect(200)?;
    plain.send(&https()?).await?.problem(401, "auth.signature_invalid")?;
    Ok(())
}

/// A signature is looked at only where a route asks for it, and only once Redis or nobody.
#[tokio::test]
async fn other_routes_do_not_look_at_signatures() -> Outcome {
    let scene = Scene::start("").await?;
    let request = get(&scene.partner, "/public").sign()?;
    for _ in 0..2 {
        send(scene.gateway.address(), &request).await?.expect(200)?;
    }
    let broken = Request::get("/public").header("signature-input", "(").header("signature", "(");
    scene.gateway.send(&broken).await?.expect(200)?;
    wait::until("no nonce to be spent", async || {
        (scene.nonces("new").await.ok()? < 0.5).then_some(())
    })
    .await?;
    Ok(())
}
