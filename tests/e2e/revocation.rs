//! Revocations: made on one node, in force on all, through every outage of Redis (R099).

use std::time::Duration;

use serde_json::{Value, json};
use tidegate_kit::{
    Gateway, Issuer, Origin, Outcome, Redis, Request, Response, Result, Setup, send, wait,
};

use crate::{api, gateway, has_keys, provider};
use tokio::time::Instant;

/// A revocation is in force on every node within this time (R099).
const EVERYWHERE: Duration = Duration::from_secs(5);

const KEY: &str = "a-key-of-the-partner-0123";

const ROUTES: &str = "routes:
  - {name: private, match: {pathPrefix: /}, upstream: {service: api}, policies: {auth: required}}
";

/// An origin, an issuer and a Redis for any number of gateways.
struct Scene {
    origin: Origin,
    issuer: Issuer,
    redis: Redis,
}

impl Scene {
    async fn start() -> Result<Self> {
        let (origin, issuer) = (Origin::start("api").await?, Issuer::start().await?);
        Ok(Self { origin, issuer, redis: Redis::start().await? })
    }

    /// A gateway with this further configuration, not started yet.
    fn setup(&self, more: &str) -> Setup {
        let redis = format!("redis: {{url: '{}', timeout: 200ms}}\n", self.redis.url());
        let keys = format!("apiKeys: [{{id: partner, key: {KEY}}}]\n");
        let config = api(&[self.origin.address()]) + &provider(&self.issuer) + &redis + &keys;
        gateway(config + more + ROUTES)
    }

    async fn gateway(&self) -> Result<Gateway> {
        let gateway = self.setup("").start().await?;
        has_keys(&gateway).await?;
        Ok(gateway)
    }

    fn token(&self, id: &str, subject: &str) -> Result<String> {
        self.issuer.token().subject(subject).claim("jti", id).sign()
    }
}

async fn ask(gateway: &Gateway, token: &str) -> Result<Response> {
    gateway.send(&Request::get("/").bearer(token)).await
}

async fn passes(gateway: &Gateway, token: &str) -> Result<()> {
    ask(gateway, token).await?.expect(200).map(drop)
}

/// Refused, with a challenge that says why.
async fn is_refused(gateway: &Gateway, token: &str) -> Result<()> {
    let refused = ask(gateway, token).await?;
    refused.problem(401, "auth.token_revoked")?;
    let challenge = refused.required("www-authenticate")?;
    let expected = "error=\"invalid_token\", error_description=\"the token was revoked\"";
    assert!(challenge.contains(expected), "{challenge}");
    Ok(())
}

/// Waits until a token is refused, and asserts that this took no longer than it may.
async fn is_refused_soon(gateway: &Gateway, token: &str, since: Instant) -> Result<()> {
    wait::until("the token to be refused", async || {
        ask(gateway, token).await.ok().filter(|response| response.status == 401)
    })
    .await?;
    let took = since.elapsed();
    assert!(took < EVERYWHERE, "it took {took:?}");
    is_refused(gateway, token).await
}

fn order(body: &Value) -> Request {
    Request::post("/admin/revocations", body.to_string()).header("content-type", "application/json")
}

/// Revokes on one node; the answer.
async fn revoke(gateway: &Gateway, body: &Value) -> Result<Value> {
    send(gateway.admin(), &order(body)).await?.expect(201)?.json()
}

async fn listed(gateway: &Gateway) -> Result<usize> {
    let list = gateway.admin_get("/admin/revocations").await?.expect(200)?.json()?;
    Ok(list.get("revocations").and_then(serde_json::Value::as_array).map_or(0, Vec::len))
}

#[expect(clippy::disallowed_methods, reason = "revocations name real times")]
fn unix_seconds() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.unwrap_or_default().as_secs()
}

/// R099: by token, by caller, by time of issue; also what is in the cache of verified tokens.
#[tokio::test]
async fn what_is_revoked_on_one_node_is_refused_on_every_node_within_five_seconds() -> Outcome {
    let scene = Scene::start().await?;
    let (a, b) = (scene.gateway().await?, scene.gateway().await?);
    let (one, two) = (scene.token("t1", "alice")?, scene.token("t2", "alice")?);
    let (bob, carol) = (scene.token("t3", "bob")?, scene.token("t4", "carol")?);
    let everybody = [&one, &two, &bob, &carol];
    for token in everybody {
        for gateway in [&a, &b] {
            passes(gateway, token).await?;
            // From the cache.
            passes(gateway, token).await?;
        }
    }
    let fetches = scene.issuer.fetches();

    let since = Instant::now();
    let answer = revoke(&a, &json!({"tokenId": "t1"})).await?;
    assert_eq!((&answer["shared"], &answer["kept"]), (&json!(true), &json!(false)), "{answer}");
    is_refused(&a, &one).await?;
    is_refused_soon(&b, &one, since).await?;
    for gateway in [&a, &b] {
        passes(gateway, &two).await?;
        passes(gateway, &bob).await?;
    }

    let since = Instant::now();
    revoke(&b, &json!({"provider": "main", "subject": "alice"})).await?;
    is_refused(&b, &two).await?;
    is_refused_soon(&a, &two, since).await?;
    passes(&a, &bob).await?;

    let since = Instant::now();
    revoke(&a, &json!({"provider": "main", "issuedBefore": "now"})).await?;
    is_refused(&a, &bob).await?;
    is_refused_soon(&b, &bob, since).await?;
    is_refused(&b, &carol).await?;
    let fresh = |ahead| scene.issuer.token().subject("dora").claim("iat", unix_seconds() + ahead);
    let later = fresh(10).sign()?;
    for gateway in [&a, &b] {
        passes(gateway, &later).await?;
        assert_eq!(listed(gateway).await?, 3);
        let refused = gateway.metric("tidegate_revoked_refused_total", &[]).await?;
        assert!(refused >= 3.0, "{refused}");
        assert!((gateway.metric("tidegate_revocations", &[]).await? - 3.0).abs() < 0.5);
    }
    // Without a time of issue it counts as old.
    is_refused(&a, &fresh(0).without("iat").sign()?).await?;
    assert_eq!(scene.issuer.fetches(), fetches, "nobody asked the issuer");
    Ok(())
}

#[tokio::test]
async fn a_revocation_can_be_taken_back_on_another_node() -> Outcome {
    let scene = Scene::start().await?;
    let (a, b) = (scene.gateway().await?, scene.gateway().await?);
    let token = scene.token("t1", "alice")?;
    let since = Instant::now();
    let made = revoke(&a, &json!({"provider": "main", "subject": "alice"})).await?;
    is_refused_soon(&b, &token, since).await?;
    let id = made["id"].as_str().unwrap_or_default();
    let path = format!("/admin/revocations/{id}");
    let answer = send(b.admin(), &Request::new("DELETE", &path)).await?.expect(200)?.json()?;
    assert_eq!(answer["shared"], true, "{answer}");
    passes(&b, &token).await?;
    wait::until("the token to pass", async || {
        ask(&a, &token).await.ok().filter(|response| response.status == 200)
    })
    .await?;
    assert!(since.elapsed() < 2 * EVERYWHERE);
    assert_eq!((listed(&a).await?, listed(&b).await?), (0, 0));
    send(a.admin(), &Request::new("DELETE", &path)).await?.expect(404)?;
    // A node that starts now is not told of it either.
    passes(&scene.gateway().await?, &token).await?;
    Ok(())
}

/// API keys have no token: they are revoked by who holds them.
#[tokio::test]
async fn an_api_key_is_revoked_by_its_holder() -> Outcome {
    let scene = Scene::start().await?;
    let gateway = scene.gateway().await?;
    let request = Request::get("/").header("x-api-key", KEY);
    gateway.send(&request).await?.expect(200)?;
    revoke(&gateway, &json!({"provider": "apiKeys", "subject": "partner"})).await?;
    let refused = gateway.send(&request).await?;
    refused.problem(401, "auth.token_revoked")?;
    assert!(refused.required("www-authenticate")?.starts_with("ApiKey "));
    Ok(())
}

/// R099, the failure table: Redis down, and back without what it held.
#[tokio::test]
async fn while_redis_is_down_the_list_stays_and_grows_and_is_shared_when_it_is_back() -> Outcome {
    let mut scene = Scene::start().await?;
    let (a, b) = (scene.gateway().await?, scene.gateway().await?);
    let (alice, bob) = (scene.token("t1", "alice")?, scene.token("t2", "bob")?);
    let since = Instant::now();
    revoke(&a, &json!({"tokenId": "t1"})).await?;
    is_refused_soon(&b, &alice, since).await?;

    scene.redis.kill().await?;
    let failed = [("outcome", "failed")];
    for gateway in [&a, &b] {
        gateway.metric_until("tidegate_revocations_read_total", &failed, |n| n >= 1.0).await?;
        is_refused(gateway, &alice).await?;
        passes(gateway, &bob).await?;
    }
    let answer = revoke(&a, &json!({"provider": "main", "subject": "bob"})).await?;
    assert_eq!(answer["shared"], false, "{answer}");
    is_refused(&a, &bob).await?;
    passes(&b, &bob).await?;

    scene.redis.restart().await?;
    is_refused_soon(&b, &bob, Instant::now()).await?;
    is_refused(&b, &alice).await?;
    // What Redis lost it has again, for nodes that start now.
    let c = scene.gateway().await?;
    for token in [&alice, &bob] {
        is_refused_soon(&c, token, Instant::now()).await?;
    }
    Ok(())
}

/// The failure table: Redis slow. Requests never wait for it.
#[tokio::test]
async fn a_redis_that_hangs_delays_no_request() -> Outcome {
    let scene = Scene::start().await?;
    let gateway = scene.gateway().await?;
    let (alice, bob) = (scene.token("t1", "alice")?, scene.token("t2", "bob")?);
    revoke(&gateway, &json!({"tokenId": "t1"})).await?;
    scene.redis.freeze()?;
    let failed = [("outcome", "failed")];
    gateway.metric_until("tidegate_revocations_read_total", &failed, |n| n >= 1.0).await?;
    let mut slowest = Duration::ZERO;
    for _ in 0..50 {
        let began = Instant::now();
        is_refused(&gateway, &alice).await?;
        passes(&gateway, &bob).await?;
        slowest = slowest.max(began.elapsed());
    }
    // Two requests on connections of their own; a call to this Redis would take 1 s at least.
    assert!(slowest < Duration::from_millis(900), "{slowest:?}");
    let answer = revoke(&gateway, &json!({"tokenId": "t2"})).await?;
    assert_eq!(answer["shared"], false, "{answer}");
    is_refused(&gateway, &bob).await?;
    scene.redis.thaw()?;
    let b = scene.gateway().await?;
    is_refused_soon(&b, &bob, Instant::now()).await?;
    Ok(())
}

/// The failure table: Redis wrong. Garbage is skipped, what is good counts.
#[tokio::test]
async fn garbage_in_redis_is_skipped_and_counted() -> Outcome {
    let scene = Scene::start().await?;
    let a = scene.gateway().await?;
    revoke(&a, &json!({"tokenId": "t1"})).await?;
    let key = "tidegate:auth:revocations";
    let fields = ["HSET", key, "junk", "{", "more", "{\"id\":\"more\"}", "version", "new"];
    scene.redis.query(&fields).await?;
    for junk in ["", "{", "[1]", "{\"revoked\":{}}", "{\"purge\":\"apiKey\",\"hash\":\"x\"}"] {
        scene.redis.query(&["PUBLISH", "tidegate:auth:news", junk]).await?;
    }
    let b = scene.gateway().await?;
    for gateway in [&a, &b] {
        let unreadable = [("reason", "unreadable")];
        let enough = |n: f64| n >= 2.0;
        gateway.metric_until("tidegate_revocations_skipped_total", &unreadable, enough).await?;
        is_refused_soon(gateway, &scene.token("t1", "alice")?, Instant::now()).await?;
        passes(gateway, &scene.token("t2", "bob")?).await?;
    }
    // Not even a list.
    scene.redis.query(&["DEL", key]).await?;
    scene.redis.query(&["SET", key, "garbage"]).await?;
    let failed = [("outcome", "failed")];
    a.metric_until("tidegate_revocations_read_total", &failed, |n| n >= 1.0).await?;
    is_refused(&a, &scene.token("t1", "alice")?).await?;
    Ok(())
}

/// With a state folder, a restart while Redis is down forgets nothing.
#[tokio::test]
async fn a_restart_during_an_outage_forgets_nothing() -> Outcome {
    let mut scene = Scene::start().await?;
    let folder = tempfile::tempdir()?;
    let state = format!("stateDirectory: {}", folder.path().display());
    let setup = || scene.setup("").server(&state);
    let token = scene.token("t1", "alice")?;
    let (first, second) = (setup(), setup());
    let a = first.start().await?;
    has_keys(&a).await?;
    let answer = revoke(&a, &json!({"tokenId": "t1"})).await?;
    assert_eq!((&answer["shared"], &answer["kept"]), (&json!(true), &json!(true)), "{answer}");
    scene.redis.kill().await?;
    let answer = revoke(&a, &json!({"tokenId": "t2"})).await?;
    assert_eq!((&answer["shared"], &answer["kept"]), (&json!(false), &json!(true)), "{answer}");
    drop(a);
    let a = second.start().await?;
    is_refused(&a, &token).await?;
    is_refused(&a, &scene.token("t2", "bob")?).await?;
    // And when Redis is back, the others learn of both.
    scene.redis.restart().await?;
    let b = scene.gateway().await?;
    is_refused_soon(&b, &token, Instant::now()).await?;
    is_refused_soon(&b, &scene.token("t2", "bob")?, Instant::now()).await?;
    Ok(())
}

#[tokio::test]
async fn a_revocation_ends_by_itself() -> Outcome {
    let scene = Scene::start().await?;
    let gateway = scene.gateway().await?;
    let token = scene.token("t1", "alice")?;
    revoke(&gateway, &json!({"tokenId": "t1", "expiresAt": unix_seconds() + 3})).await?;
    is_refused(&gateway, &token).await?;
    wait::until("the end of the revocation", async || {
        ask(&gateway, &token).await.ok().filter(|response| response.status == 200)
    })
    .await?;
    gateway.metric_until("tidegate_revocations", &[], |n| n < 0.5).await?;
    Ok(())
}

#[tokio::test]
async fn orders_that_are_not_right_change_nothing_and_say_why() -> Outcome {
    let scene = Scene::start().await?;
    let gateway = scene.setup("revocation: {maxEntries: 1}\n").start().await?;
    let admin = gateway.admin();
    let body = json!({"tokenId": "t1"});
    let cases = [
        (order(&json!({"tokenId": "t1", "why": 1})), 400),
        (order(&json!({"provider": "mian", "subject": "a"})), 400),
        (order(&json!([])), 400),
        (Request::post("/admin/revocations", body.to_string()), 415),
        (order(&body).header("origin", "https://evil.example"), 403),
        (order(&json!({"tokenId": "x".repeat(65 * 1024)})), 413),
        (Request::new("PUT", "/admin/revocations"), 405),
        (Request::new("DELETE", "/admin/revocations"), 405),
        (Request::get("/admin/revocations/0"), 405),
        (Request::new("DELETE", "/admin/revocations/0"), 404),
        (Request::post("/admin/config-version", "{}"), 405),
        (Request::get("/admin/revocationsx"), 404),
    ];
    for (request, status) in cases {
        let (method, target) = (request.method().to_owned(), request.target().to_owned());
        let answer = send(admin, &request).await?;
        assert_eq!(answer.status, status, "{method} {target}: {}", answer.text());
    }
    let refused = send(admin, &order(&json!({"provider": "x", "what": 1}))).await?.json()?;
    assert!(refused["problems"].as_array().is_some_and(|all| all.len() == 3), "{refused}");
    assert_eq!(listed(&gateway).await?, 0);

    revoke(&gateway, &body).await?;
    let full = send(admin, &order(&json!({"tokenId": "t2"}))).await?.expect(507)?.text();
    assert!(full.contains("revocation.maxEntries"), "{full}");
    assert_eq!(listed(&gateway).await?, 1);
    let expected = "somebody on this machine";
    gateway.log_says(expected).await?;
    Ok(())
}

/// Where there is an admin token, changes need it; reading does not.
#[tokio::test]
async fn changes_need_the_admin_token_where_there_is_one() -> Outcome {
    let scene = Scene::start().await?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("token");
    std::fs::write(&file, "the-token-of-operators\n")?;
    let gateway = scene.setup("").admin(&format!("token: '${{file:{}}}'", file.display()));
    let gateway = gateway.start().await?;
    let admin = gateway.admin();
    let body = json!({"tokenId": "t1"});
    for request in [order(&body), order(&body).bearer("the-token-of-operator")] {
        let refused = send(admin, &request).await?.expect(401)?;
        assert!(refused.required("www-authenticate")?.starts_with("Bearer "));
    }
    assert_eq!(listed(&gateway).await?, 0);
    let request = order(&body).bearer("the-token-of-operators");
    let made = send(admin, &request).await?.expect(201)?.json()?;
    let path = format!("/admin/revocations/{}", made["id"].as_str().unwrap_or_default());
    send(admin, &Request::new("DELETE", &path)).await?.expect(401)?;
    assert_eq!(listed(&gateway).await?, 1);
    send(admin, &Request::new("DELETE", &path).bearer("the-token-of-operators"))
        .await?
        .expect(200)?;
    assert_eq!(listed(&gateway).await?, 0);
    assert!(!gateway.log().contains("the-token-of-operators"));
    gateway.log_says("the bearer of the admin token").await?;
    Ok(())
}
