//! Purging: by everything that an entry can be purged by, on every node, through every failure of
//! Redis; and never an entry that is not meant (R148 to R150, T14).

use std::time::Duration;

use serde_json::{Value, json};
use tidegate_kit::{
    Gateway, Issuer, Origin, Outcome, Redis, Request, Response, Result, send, wait,
};
use tokio::time::Instant;

use crate::{api, gateway, has_keys, open_route, provider};

/// A purge is in force on every node within this time (R149).
const EVERYWHERE: Duration = Duration::from_secs(1);

/// What the cache did.
async fn did(gateway: &Gateway, target: &str) -> Result<String> {
    let request = Request::get(target).host("shop.example.com");
    Ok(gateway.send(&request).await?.required("x-cache")?.to_owned())
}

/// Asks twice, so that the second time it is a hit.
async fn keep(gateway: &Gateway, target: &str) -> Result<()> {
    wait::until("a hit", async || did(gateway, target).await.ok().filter(|did| did == "HIT"))
        .await
        .map(drop)
}

async fn order(gateway: &Gateway, order: &Value) -> Result<Response> {
    let request = Request::post("/admin/cache/purge", order.to_string());
    send(gateway.admin(), &request.header("content-type", "application/json")).await
}

async fn purge(gateway: &Gateway, what: &Value) -> Result<Value> {
    order(gateway, what).await?.expect(200)?.json()
}

/// One origin, one Redis, and any number of gateways.
struct Scene {
    origin: Origin,
    redis: Redis,
}

impl Scene {
    async fn start() -> Result<Self> {
        Ok(Self { origin: Origin::start("api").await?, redis: Redis::start().await? })
    }

    async fn gateway(&self) -> Result<Gateway> {
        let redis = format!("redis: {{url: '{}', timeout: 200ms}}\n", self.redis.url());
        let route = open_route("cache: {ttl: 600s, tags: ['all-lamps', 'lamp:{path.2}']}");
        let config = api(&[self.origin.address()]) + &redis + &route;
        let gateway = gateway(config).start().await?;
        level(&gateway).await?;
        Ok(gateway)
    }
}

/// Waits until a gateway knows the purges of the others.
async fn level(gateway: &Gateway) -> Result<()> {
    wait::until("the log of purges to be read", async || {
        let told = gateway.admin_get("/admin/cache").await.ok()?.json().ok()?;
        (told.get("caughtUp")? == true).then_some(())
    })
    .await
}

/// Waits until an entry that was kept is not used any more.
async fn is_purged(gateway: &Gateway, target: &str) -> Result<()> {
    wait::until(&format!("{target} to be purged"), async || {
        did(gateway, target).await.ok().filter(|did| did != "HIT")
    })
    .await
    .map(drop)
}

#[tokio::test]
async fn entries_are_purged_by_all_that_names_them_and_by_nothing_else() -> Outcome {
    let origin = Origin::start("api").await?;
    let route = open_route("cache: {ttl: 600s, tags: ['lamp:{path.2}']}");
    let gateway = gateway(api(&[origin.address()]) + &route).start().await?;
    let target = "/lamps/7?header=cache-tag:products,new";
    let other = "/chairs/8?header=surrogate-key:chairs";
    keep(&gateway, other).await?;
    let url = format!("http://SHOP.example.com{target}");
    for what in [
        json!({"tags": ["products"]}),
        json!({"tags": ["lamp:7", "nothing"]}),
        json!({"urls": [url]}),
        json!({"prefixes": ["shop.example.com/lamps/"]}),
        json!({"prefixes": ["http://shop.example.com/lamps/7"]}),
    ] {
        keep(&gateway, target).await?;
        let told = purge(&gateway, &what).await?;
        assert_eq!((&told["told"], &told["pending"]), (&Value::Null, &json!(false)), "{told}");
        assert_eq!(did(&gateway, target).await?, "MISS", "{what}");
        assert_eq!(did(&gateway, target).await?, "HIT", "{what}");
        assert_eq!(did(&gateway, other).await?, "HIT", "{what}");
    }
    for what in [
        json!({"tags": ["Products", "product", "lamp:", "all"]}),
        json!({"urls": ["http://shop.example.com/lamps/7", "https://shop.example.com/lamps/7"]}),
        json!({"prefixes": ["shop.example.com/lamp", "example.com/"]}),
        json!({"tenants": ["acme"]}),
        json!({"everything": true, "tenant": "acme"}),
    ] {
        purge(&gateway, &what).await?;
        assert_eq!(did(&gateway, target).await?, "HIT", "{what}");
    }
    for what in [json!({"routes": ["all"]}), json!({"everything": true})] {
        keep(&gateway, target).await?;
        keep(&gateway, other).await?;
        purge(&gateway, &what).await?;
        assert_eq!(did(&gateway, target).await?, "MISS", "{what}");
        assert_eq!(did(&gateway, other).await?, "MISS", "{what}");
    }
    purge(&gateway, &json!({"tags": ["products"], "soft": true})).await?;
    assert_ne!(did(&gateway, target).await?, "HIT", "it is stale");
    assert!(gateway.log().contains("cache: entries were purged"));
    Ok(())
}

#[tokio::test]
async fn orders_that_are_not_understood_purge_nothing() -> Outcome {
    let origin = Origin::start("api").await?;
    let route = open_route("cache: {ttl: 600s}");
    let gateway = gateway(api(&[origin.address()]) + &route).start().await?;
    keep(&gateway, "/lamps").await?;
    for wrong in [
        json!({}),
        json!({"tags": []}),
        json!({"everything": false, "soft": true}),
        json!({"everything": true, "tag": ["x"]}),
        json!({"tags": "all"}),
        json!({"everything": true, "tags": [""]}),
        json!({"everything": true, "urls": ["/lamps"]}),
        json!({"everything": true, "keys": ["00"]}),
        json!({"everything": true, "routes": ["al"]}),
        json!({"everything": true, "tenant": ""}),
        json!({"everything": true, "tenants": ["a"], "tenant": "b"}),
        json!([]),
    ] {
        order(&gateway, &wrong).await?.expect(400)?;
        assert_eq!(did(&gateway, "/lamps").await?, "HIT", "{wrong}");
    }
    let plain = Request::post("/admin/cache/purge", json!({"everything": true}).to_string());
    send(gateway.admin(), &plain).await?.expect(415)?;
    gateway.admin_get("/admin/cache/purge").await?.expect(405)?;
    gateway.admin_get("/admin/cache/entries/00").await?.expect(404)?;
    assert_eq!(did(&gateway, "/lamps").await?, "HIT");
    Ok(())
}

/// RFC 9111 section 4.4; what services say of purging stays between them and the gateway.
#[tokio::test]
async fn unsafe_methods_invalidate_and_clients_see_no_tags() -> Outcome {
    let origin = Origin::start("api").await?;
    let route = open_route("cache: {ttl: 600s}");
    let gateway = gateway(api(&[origin.address()]) + &route).start().await?;
    let tagged = "/t?header=cache-tag:a&header=surrogate-key:b&header=cache-groups:%22g%22";
    for _ in 0..2 {
        let seen = gateway.send(&Request::get(tagged).host("shop.example.com")).await?;
        for name in ["cache-tag", "surrogate-key", "cache-groups"] {
            assert_eq!(seen.header(name), None, "{seen}");
        }
    }
    keep(&gateway, tagged).await?;
    keep(&gateway, "/lamps").await?;
    keep(&gateway, "/chairs").await?;
    let post = |target: &str| Request::post(target, "x").host("shop.example.com");
    gateway.send(&post("/status/500/lamps")).await?.expect(500)?;
    assert_eq!(did(&gateway, "/lamps").await?, "HIT");
    gateway.send(&post("/x?header=content-location:/lamps")).await?.expect(200)?;
    assert_eq!(did(&gateway, "/lamps").await?, "MISS");
    gateway.send(&post("/chairs")).await?.expect(200)?;
    assert_eq!(did(&gateway, "/chairs").await?, "MISS");
    assert_eq!(did(&gateway, "/lamps").await?, "HIT");
    assert_eq!(did(&gateway, tagged).await?, "HIT");
    let group = "/x?header=cache-group-invalidation:%22g%22";
    gateway.send(&post(group)).await?.expect(200)?;
    assert_eq!(did(&gateway, tagged).await?, "MISS");
    Ok(())
}

/// Writing where nothing can be kept costs no purge, however much is written.
#[tokio::test]
async fn only_what_may_be_kept_is_invalidated() -> Outcome {
    let origin = Origin::start("api").await?;
    let routes = "routes:\n\
        \x20 - {name: kept, match: {pathPrefix: /kept, methods: [GET]}, upstream: {service: api},\n\
        \x20    policies: {auth: none, cache: {ttl: 60s}}}\n\
        \x20 - {name: rest, match: {pathPrefix: /}, upstream: {service: api},\n\
        \x20    policies: {auth: none}}\n";
    let gateway = gateway(api(&[origin.address()]) + routes).start().await?;
    let purges = || gateway.metric("tidegate_cache_purges_total", &[("from", "answer")]);
    for (target, expected) in [
        ("/orders/1", 0),
        ("/keptnot", 0),
        ("/orders?header=location:/orders/2", 0),
        ("/orders?header=location:/kept/2", 1),
    ] {
        gateway.send(&Request::post(target, "x")).await?.expect(200)?;
        let counted = purges().await?;
        assert!((counted - f64::from(expected)).abs() < 0.5, "{target}: {counted}");
    }
    Ok(())
}

/// An answer that was on its way when the purge came is not used afterwards.
#[tokio::test]
async fn what_was_fetched_during_a_purge_does_not_survive_it() -> Outcome {
    let origin = Origin::start("api").await?;
    let route = open_route("cache: {ttl: 600s, tags: [all]}");
    let gateway = gateway(api(&[origin.address()]) + &route).start().await?;
    let held = async { did(&gateway, "/hold/it").await };
    let purging = async {
        origin.arrived(1).await?;
        purge(&gateway, &json!({"tags": ["all"]})).await?;
        origin.release("it");
        Ok(())
    };
    let (first, purged): (Result<String>, Result<()>) = tokio::join!(held, purging);
    purged?;
    assert_eq!(first?, "MISS");
    assert_eq!(did(&gateway, "/hold/it").await?, "MISS", "it was from before the purge");
    assert_eq!(did(&gateway, "/hold/it").await?, "HIT");
    Ok(())
}

/// R150.
#[tokio::test]
async fn a_purge_of_one_tenant_leaves_every_hit_of_the_other() -> Outcome {
    let (origin, issuer) = (Origin::start("api").await?, Issuer::start().await?);
    let route = "routes:\n  - {name: all, match: {pathPrefix: /}, upstream: {service: api}, \
                 policies: {auth: required, cache: {ttl: 600s, key: {tenant: true}, \
                 tags: ['tenant:{tenant}', products]}}}\n";
    let config = api(&[origin.address()]) + &provider(&issuer) + route;
    let gateway = gateway(config).start().await?;
    has_keys(&gateway).await?;
    let token = |tenant: &str| issuer.token().subject("u").claim("tenant_id", tenant).sign();
    let (acme, umbrella) = (token("acme")?, token("umbrella")?);
    let ask = async |token: &str, n: usize| {
        let answer = gateway.send(&Request::get(&format!("/p/{n}")).bearer(token)).await?;
        answer.expect(200)?.required("x-cache").map(ToOwned::to_owned)
    };
    for what in [
        json!({"tenants": ["acme"]}),
        json!({"everything": true, "tenant": "acme"}),
        json!({"tags": ["products"], "tenant": "acme"}),
        json!({"tags": ["tenant:acme"]}),
        json!({"routes": ["all"], "tenant": "acme"}),
    ] {
        for n in 0..5 {
            for token in [&acme, &umbrella] {
                ask(token, n).await?;
                assert_eq!(ask(token, n).await?, "HIT");
            }
        }
        purge(&gateway, &what).await?;
        for n in 0..5 {
            assert_eq!(ask(&umbrella, n).await?, "HIT", "{what}");
            assert_eq!(ask(&acme, n).await?, "MISS", "{what}");
        }
    }
    Ok(())
}

/// R149.
#[tokio::test]
async fn a_purge_is_in_force_on_every_node_within_a_second() -> Outcome {
    let scene = Scene::start().await?;
    let (a, b) = (scene.gateway().await?, scene.gateway().await?);
    for gateway in [&a, &b] {
        keep(gateway, "/lamps/1").await?;
        keep(gateway, "/lamps/2").await?;
    }
    let since = Instant::now();
    let told = purge(&a, &json!({"tags": ["lamp:1"]})).await?;
    assert_eq!(told["pending"], false, "{told}");
    assert!(told["number"].as_u64() > Some(1_600_000_000_000_000), "{told}");
    assert_eq!(did(&a, "/lamps/1").await?, "MISS");
    assert_eq!(did(&a, "/lamps/1").await?, "HIT", "its echo takes nothing new");
    is_purged(&b, "/lamps/1").await?;
    let took = since.elapsed();
    assert!(took < EVERYWHERE, "it took {took:?}");
    for gateway in [&a, &b] {
        assert_eq!(did(gateway, "/lamps/2").await?, "HIT");
    }
    // By an answer to an unsafe method too.
    a.send(&Request::post("/lamps/2", "x").host("shop.example.com")).await?.expect(200)?;
    assert_eq!(did(&a, "/lamps/2").await?, "MISS");
    is_purged(&b, "/lamps/2").await?;
    // And a node that begins later knows it all.
    let c = scene.gateway().await?;
    keep(&c, "/lamps/1").await?;
    Ok(())
}

/// Nobody hears the news: the log is read all the same.
#[tokio::test]
async fn a_lost_subscription_loses_no_purge() -> Outcome {
    let scene = Scene::start().await?;
    let (a, b) = (scene.gateway().await?, scene.gateway().await?);
    for n in 0..3 {
        let target = format!("/lamps/{n}");
        keep(&b, &target).await?;
        scene.redis.query(&["CLIENT", "KILL", "TYPE", "pubsub"]).await?;
        purge(&a, &json!({"tags": [format!("lamp:{n}")]})).await?;
        is_purged(&b, &target).await?;
    }
    Ok(())
}

/// Redis does not answer: the purge counts here, and the others learn it when it does.
#[tokio::test]
async fn a_purge_waits_for_a_redis_that_hangs() -> Outcome {
    let scene = Scene::start().await?;
    let (a, b) = (scene.gateway().await?, scene.gateway().await?);
    for gateway in [&a, &b] {
        keep(gateway, "/lamps/1").await?;
        keep(gateway, "/lamps/2").await?;
    }
    scene.redis.freeze()?;
    let told = purge(&a, &json!({"tags": ["lamp:1"]})).await?;
    assert_eq!((&told["told"], &told["pending"]), (&Value::Null, &json!(true)), "{told}");
    assert_eq!(did(&a, "/lamps/1").await?, "MISS");
    assert_eq!(did(&a, "/lamps/1").await?, "HIT");
    assert_eq!(did(&b, "/lamps/1").await?, "HIT", "nobody could tell it");
    assert!(a.metric("tidegate_cache_purges_pending", &[]).await? > 0.5);
    scene.redis.thaw()?;
    is_purged(&b, "/lamps/1").await?;
    a.metric_until("tidegate_cache_purges_pending", &[], |n| n < 0.5).await?;
    for gateway in [&a, &b] {
        assert_eq!(did(gateway, "/lamps/2").await?, "HIT");
    }
    Ok(())
}

/// Redis has lost the log: what was purged meanwhile is not known, so everything is confirmed.
#[tokio::test]
async fn a_redis_that_lost_its_data_makes_every_entry_be_confirmed() -> Outcome {
    let mut scene = Scene::start().await?;
    let (a, b) = (scene.gateway().await?, scene.gateway().await?);
    for restarts in [false, true] {
        keep(&a, "/lamps/1").await?;
        keep(&b, "/lamps/1").await?;
        if restarts {
            scene.redis.kill().await?;
            purge(&a, &json!({"tags": ["lamp:2"]})).await?;
            assert_eq!(did(&a, "/lamps/1").await?, "HIT", "without Redis the rest goes on");
            scene.redis.restart().await?;
        } else {
            scene.redis.query(&["FLUSHALL"]).await?;
        }
        is_purged(&a, "/lamps/1").await?;
        is_purged(&b, "/lamps/1").await?;
        for gateway in [&a, &b] {
            level(gateway).await?;
            let lost = [("reason", "lost")];
            assert!(gateway.metric("tidegate_cache_purges_lost_total", &lost).await? > 0.5);
            keep(gateway, "/lamps/1").await?;
        }
        purge(&a, &json!({"tags": ["lamp:1"]})).await?;
        is_purged(&b, "/lamps/1").await?;
    }
    Ok(())
}

/// The command line, and what it says of an entry.
#[tokio::test]
async fn operators_see_and_purge_by_the_command_line() -> Outcome {
    let origin = Origin::start("api").await?;
    let route = open_route("cache: {ttl: 600s, tags: ['lamp:{path.2}']}");
    let gateway = gateway(api(&[origin.address()]) + &route).start().await?;
    let config = gateway.file().display().to_string();
    let run = async |words: &[&str]| -> Result<String> {
        let mut command = tokio::process::Command::new(crate::BINARY);
        command.arg("cache").args(words).args(["--config", &config]);
        let output = wait::within("the end", command.kill_on_drop(true).output()).await??;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
        Ok(text)
    };
    let url = "http://shop.example.com/lamps/7";
    let why = run(&["why", url]).await?;
    assert!(why.contains("keeps nothing under the key"), "{why}");
    keep(&gateway, "/lamps/7").await?;
    let why = run(&["why", url]).await?;
    assert!(why.contains("the entry is fresh") && why.contains("path = /lamps/7"), "{why}");
    let told: Value = serde_json::from_str(&run(&["why", url, "--json"]).await?)?;
    let key = told["entry"]["key"].as_str().unwrap_or_default().to_owned();
    let shown: Value = serde_json::from_str(&run(&["show", &key, "--json"]).await?)?;
    assert_eq!((&shown["status"], &shown["purged"]), (&json!(200), &json!("keep")), "{shown}");
    assert_eq!(shown["variants"], 1);
    let purged = run(&["purge", "--tag", "lamp:7"]).await?;
    assert!(purged.contains("purged, on this node"), "{purged}");
    let why = run(&["why", url]).await?;
    assert!(why.contains("the entry was purged"), "{why}");
    assert_eq!(did(&gateway, "/lamps/7").await?, "MISS");
    run(&["purge", "--key", &key]).await?;
    assert_eq!(did(&gateway, "/lamps/7").await?, "MISS");
    let all = run(&["show"]).await?;
    assert!(all.contains("entries") && all.contains("HITS"), "{all}");
    let why = run(&["why", url, "--method", "POST"]).await?;
    assert!(
        why.contains("not used: only GET, HEAD and QUERY are answered from the cache"),
        "{why}"
    );
    Ok(())
}
