//! Cells of the failure table (`docs/failure-modes.md`) that no other file has: real parts that
//! are down, slow, wrong, and back again (R005, R014, R191, R193, R199).

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tidegate_kit::{
    Context as _, Error, Gateway, GeoDatabase, Issuer, Mood, Origin, Outcome, RawConnection, Redis,
    Request, RequestSigner, Response, Result, Signal, send, wait,
};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::{BINARY, api, gateway, has_keys, open_route, provider, provider_with};

const WANTS_TOKEN: &str = "routes:
  - {name: private, match: {pathPrefix: /}, upstream: {service: api}, policies: {auth: required}}
";

async fn post_json(gateway: &Gateway, path: &str, body: &Value) -> Result<Response> {
    let request = Request::post(path, body.to_string());
    send(gateway.admin(), &request.header("content-type", "application/json")).await
}

// One gateway of several.

/// A TCP balancer: each connection goes to the next gateway that takes it.
async fn balancer(nodes: Vec<SocketAddr>) -> Result<SocketAddr> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        let mut turn = 0_usize;
        while let Ok((mut client, _)) = listener.accept().await {
            turn += 1;
            let nodes = nodes.clone();
            tokio::spawn(async move {
                for at in 0..nodes.len() {
                    let node = nodes.get((turn + at) % nodes.len());
                    let Some(node) = node else { return };
                    if let Ok(mut node) = TcpStream::connect(node).await {
                        let _ = tokio::io::copy_bidirectional(&mut client, &mut node).await;
                        return;
                    }
                }
            });
        }
    });
    Ok(address)
}

/// Asks once on a connection of its own; no answer is none.
async fn ask(address: SocketAddr) -> Option<u16> {
    let mut connection = RawConnection::connect(address).await.ok()?;
    let request = Request::get("/").header("connection", "close");
    connection.request(&request).await.ok().map(|response| response.status)
}

/// Two gateways, one limit that they share, and a balancer; one is killed under load. It takes
/// along what it had under way, nothing else: the other answers all that follows, and both
/// together admit what the limit and its bound say.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_loss_of_one_gateway_costs_only_what_it_had_under_way() -> Outcome {
    const CLIENTS: usize = 4;
    const EACH: usize = 150;
    const LIMIT: usize = 200;
    const OVERAGE: usize = 10;
    let (origin, redis) = (Origin::start("api").await?, Redis::start().await?);
    let config = api(&[origin.address()])
        + &format!(
            "redis: {{url: \"{}\", timeout: 5s}}\n\
             rateLimits:\n  all: {{algorithm: token_bucket, capacity: {LIMIT}, \
             refillPerSecond: 0.0001, key: [clientIp], mode: leased}}\n",
            redis.url()
        )
        + &open_route("rateLimit: all");
    let (mut first, second) = (gateway(&*config).start().await?, gateway(&*config).start().await?);
    for node in [&first, &second] {
        node.metric_until("tidegate_limit_nodes", &[], |nodes| nodes > 1.5).await?;
    }
    let address = balancer(vec![first.address(), second.address()]).await?;
    let asked = Arc::new(AtomicUsize::new(0));
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let asked = Arc::clone(&asked);
        clients.spawn(async move {
            let mut outcomes = Vec::with_capacity(EACH);
            for _ in 0..EACH {
                let began = Instant::now();
                outcomes.push((ask(address).await, began));
                asked.fetch_add(1, Ordering::SeqCst);
            }
            outcomes
        });
    }
    wait::until("half of the limit to be used", async || {
        (asked.load(Ordering::SeqCst) > LIMIT / 2).then_some(())
    })
    .await?;
    first.signal(Signal::KILL)?;
    first.exit().await?;
    let gone = Instant::now();
    let mut outcomes = Vec::new();
    while let Some(client) = clients.join_next().await {
        outcomes.extend(client.map_err(|error| Error::new(error.to_string()))?);
    }
    let count = |wanted: Option<u16>| outcomes.iter().filter(|(one, _)| *one == wanted).count();
    let (passed, refused, lost) = (count(Some(200)), count(Some(429)), count(None));
    assert_eq!(passed + refused + lost, CLIENTS * EACH, "nothing else: {outcomes:?}");
    let late = outcomes.iter().filter(|(one, began)| one.is_none() && *began > gone).count();
    assert_eq!(late, 0, "of {lost} lost: nothing that began after its end");
    let least = LIMIT - OVERAGE - lost;
    assert!((least..=LIMIT + OVERAGE).contains(&passed), "{passed} of {LIMIT} passed");
    // It is not waited for long: what it held is the others' again.
    second.metric_until("tidegate_limit_nodes", &[], |nodes| nodes < 1.5).await?;
    Ok(())
}

// Identity providers.

/// R193: an issuer that takes ten seconds for an answer is fetched from in the background; who
/// brings a token of a known key does not wait for it.
#[tokio::test]
async fn an_issuer_that_takes_ten_seconds_delays_no_known_key() -> Outcome {
    let (origin, issuer) = (Origin::start("api").await?, Issuer::start().await?);
    let settings = "{refresh: 1s, minRefresh: 1s, timeout: 15s}";
    let config = api(&[origin.address()]) + &provider_with(&issuer, settings) + WANTS_TOKEN;
    let gateway = gateway(config).start().await?;
    has_keys(&gateway).await?;
    issuer.set_mood(Mood::Slow(Duration::from_secs(10)));
    let asked = issuer.fetches();
    wait::until("a fetch to be under way", async || (issuer.fetches() > asked).then_some(()))
        .await?;
    let mut took = Vec::new();
    for at in 0..100 {
        let token = issuer.token().subject(&format!("caller-{at}")).sign()?;
        let response = gateway.send(&Request::get("/").bearer(&token)).await?.expect(200)?;
        took.push(response.took);
    }
    took.sort_unstable();
    // Whoever waited for the issuer would have waited a second (for an unknown key) or ten.
    assert!(took[98] < Duration::from_millis(900), "p99 {:?}", took[98]);
    let age = gateway.metric("tidegate_keyring_age_seconds", &[("provider", "main")]).await?;
    assert!(age >= 0.0, "the alarm: {age}");
    Ok(())
}

// Redis, for those who share more than limits.

/// What the cache did.
async fn did(gateway: &Gateway, target: &str) -> Result<String> {
    Ok(gateway.get(target).await?.required("x-cache")?.to_owned())
}

#[tokio::test]
async fn a_purge_made_while_redis_is_down_is_told_when_it_is_back() -> Outcome {
    let (origin, mut redis) = (Origin::start("api").await?, Redis::start().await?);
    let config = api(&[origin.address()])
        + &format!("redis: {{url: \"{}\", timeout: 500ms}}\n", redis.url())
        + &open_route("cache: {ttl: 600s, tags: ['lamp:{path.2}']}");
    let (a, b) = (gateway(&*config).start().await?, gateway(&*config).start().await?);
    for node in [&a, &b] {
        wait::until("the log of purges to be read", async || {
            let told = node.admin_get("/admin/cache").await.ok()?.json().ok()?;
            (told.get("caughtUp")? == true).then_some(())
        })
        .await?;
        wait::until("a hit", async || did(node, "/lamps/1").await.ok().filter(|did| did == "HIT"))
            .await?;
    }
    redis.kill().await?;
    let order = json!({"tags": ["lamp:1"]});
    let told = post_json(&a, "/admin/cache/purge", &order).await?.expect(200)?.json()?;
    assert_eq!((&told["told"], &told["pending"]), (&Value::Null, &json!(true)), "{told}");
    assert_eq!(did(&a, "/lamps/1").await?, "MISS", "in force here at once");
    assert!(a.metric("tidegate_cache_purges_pending", &[]).await? > 0.5);
    a.log_says("purges cannot be shared").await?;
    redis.restart().await?;
    a.metric_until("tidegate_cache_purges_pending", &[], |count| count < 0.5).await?;
    wait::until("the other node to hear of it", async || {
        did(&b, "/lamps/1").await.ok().filter(|did| did != "HIT")
    })
    .await?;
    a.log_says("purges are shared again").await?;
    Ok(())
}

const HASH_KEY: &str = "0123456789abcdef0123456789abcdef";

/// What Redis says of callers is a shortcut: garbage in it is nothing, and when it is back it is
/// one again.
#[tokio::test]
async fn what_redis_says_of_callers_is_believed_only_if_it_can_be_read() -> Outcome {
    let (origin, mut redis) = (Origin::start("api").await?, Redis::start().await?);
    let folder = tempfile::tempdir()?;
    let config = format!(
        "{}redis: {{url: \"{}\", timeout: 500ms, breaker: {{failures: 1, openFor: 1s}}}}\n\
         database:\n  url: \"sqlite:{}\"\n  hashKey: \"${{env:HASH_KEY}}\"\n  cacheTtl: 1s\n\
         {WANTS_TOKEN}",
        api(&[origin.address()]),
        redis.url(),
        folder.path().join("keys.db").display()
    );
    let gateway = gateway(config).environment("HASH_KEY", HASH_KEY).start().await?;
    let mut command = Command::new(BINARY);
    command.args(["keys", "create", "--client", "partner", "--config"]).arg(gateway.file());
    let output = command.env("HASH_KEY", HASH_KEY).kill_on_drop(true).output().await?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let key = words.find(|word| word.starts_with("tg_")).context("a key")?.to_owned();
    let request = Request::get("/").header("x-api-key", &key);
    let lookups = async |outcome: &str| {
        let labels = [("kind", "apiKey"), ("outcome", outcome)];
        gateway.metric("tidegate_lookups_total", &labels).await
    };
    gateway.send(&request).await?.expect(200)?;
    let names = wait::until("the answer in Redis", async || {
        let names = redis.query(&["KEYS", "tidegate:auth:key:*"]).await.ok()?.texts();
        (!names.is_empty()).then_some(names)
    })
    .await?;
    let asked = lookups("database").await?;
    for name in &names {
        redis.query(&["SET", name, "what?"]).await?;
    }
    let asks_again = async |what: &str, outcome: &str, than: f64| {
        wait::until(what, async || {
            gateway.send(&request).await.ok().filter(|response| response.status == 200)?;
            lookups(outcome).await.ok().filter(|count| *count > than)
        })
        .await
    };
    let asked = asks_again("the database to be asked", "database", asked).await?;
    redis.kill().await?;
    asks_again("the database to be asked without Redis", "database", asked).await?;
    assert!(gateway.metric("tidegate_lookup_redis_failures_total", &[]).await? > 0.5);
    gateway.log_says("Redis is not asked about callers for a while").await?;
    let shared = lookups("redis").await?;
    redis.restart().await?;
    // In Redis longer than on this node, which is asked about the caller all the time.
    wait::until("the answer in Redis again", async || {
        gateway.send(&request).await.ok().filter(|response| response.status == 200)?;
        let names = redis.query(&["KEYS", "tidegate:auth:key:*"]).await.ok()?.texts();
        let is_shared = lookups("redis").await.ok()? > shared;
        (!names.is_empty() || is_shared).then_some(())
    })
    .await?;
    gateway.log_says("Redis answers again about callers").await?;
    Ok(())
}

#[tokio::test]
async fn nonces_are_shared_again_once_redis_is_back() -> Outcome {
    let (origin, mut redis) = (Origin::start("api").await?, Redis::start().await?);
    let partner = RequestSigner::hmac("partner-key", "0123456789abcdef0123456789abcdef");
    let config = format!(
        "{}signers:\n  partner: {{{}}}\nredis: {{url: \"{}\", timeout: 2s, breaker: \
         {{failures: 1, openFor: 1s}}}}\nroutes:\n  - {{name: signed, match: {{pathPrefix: /}}, \
         upstream: {{service: api}}, policies: {{auth: {{anyOf: [signature]}}}}}}\n",
        api(&[origin.address()]),
        partner.yaml(),
        redis.url()
    );
    let (a, b) = (gateway(&*config).start().await?, gateway(&*config).start().await?);
    let sign = || partner.request("GET", "api.example.com", "/signed").sign();
    let nonces = async |outcome: &str| {
        a.metric("tidegate_signature_nonces_total", &[("outcome", outcome)]).await
    };
    redis.kill().await?;
    let once = sign()?;
    a.send(&once).await?.expect(200)?;
    a.send(&once).await?.problem(401, "auth.signature_replayed")?;
    assert!(nonces("local").await? > 0.5);
    redis.restart().await?;
    wait::until("nonces to be shared again", async || {
        a.send(&sign().ok()?).await.ok().filter(|response| response.status == 200)?;
        nonces("new").await.ok().filter(|count| *count > 0.5)
    })
    .await?;
    let shared = sign()?;
    a.send(&shared).await?.expect(200)?;
    wait::until("the other node to refuse it", async || {
        // What it takes itself it has seen; so each time another that the first has taken.
        let taken = sign().ok()?;
        a.send(&taken).await.ok()?;
        b.send(&taken).await.ok().filter(|response| response.status == 401)
    })
    .await?;
    a.log_says("nonces of signed requests are shared through Redis again").await?;
    Ok(())
}

// Files.

/// R191: nobody delivers a configuration any more; what runs goes on, and says so.
#[tokio::test]
async fn a_configuration_that_is_gone_leaves_the_running_one() -> Outcome {
    let origin = Origin::start("api").await?;
    let config = |version: u32| {
        format!("configVersion: {version}\n{}{}", api(&[origin.address()]), open_route(""))
    };
    let gateway = gateway(config(1)).start().await?;
    let good = "tidegate_config_last_apply_successful";
    std::fs::remove_file(gateway.file())?;
    gateway.signal(Signal::HUP)?;
    gateway.metric_until(good, &[], |value| value < 0.5).await?;
    for _ in 0..20 {
        gateway.get("/").await?.expect(200)?;
    }
    gateway.admin_get("/readyz").await?.expect(200)?;
    assert_eq!(gateway.config_version().await?["configVersion"], 1);
    gateway.log_says("configuration refused, the running one stays in force").await?;
    // Half of a file, as a slow writer leaves it, is refused like any other mistake.
    let whole = config(2);
    gateway.write_config(&whole[..whole.len() - 30])?;
    let refused = [("outcome", "refused")];
    gateway.signal(Signal::HUP)?;
    let applies = "tidegate_config_applies_total";
    gateway.metric_until(applies, &refused, |count| count > 1.5).await?;
    gateway.get("/").await?.expect(200)?;
    gateway.write_config(&whole)?;
    gateway.runs_version(2).await?;
    gateway.metric_until(good, &[], |value| value > 0.5).await?;
    Ok(())
}

#[tokio::test]
async fn a_geo_database_that_is_none_leaves_the_running_one() -> Outcome {
    let (eu, rest) = (Origin::start("eu").await?, Origin::start("rest").await?);
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("countries.mmdb");
    GeoDatabase::world()?.write(&file)?;
    let good = std::fs::read(&file)?;
    let config = format!(
        "services:\n  eu: {{endpoints: [{{address: \"{}\"}}]}}\n  rest: {{endpoints: [{{address: \
         \"{}\"}}]}}\ngeo: {{database: {}}}\npolicies: {{auth: none}}\nroutes:\n  \
         - {{name: eu, match: {{pathPrefix: /, region: [\"continent:EU\"]}}, upstream: {{service: \
         eu}}}}\n  - {{name: rest, match: {{pathPrefix: /}}, upstream: {{service: rest}}}}\n",
        eu.address(),
        rest.address(),
        file.display()
    );
    let gateway = gateway(config).listener("trustedProxies: [127.0.0.1]").start().await?;
    let german = Request::get("/").header("x-forwarded-for", "192.0.2.7");
    assert_eq!(gateway.send(&german).await?.origin(), Some("eu"));
    let put = |bytes: &[u8]| -> Result<()> {
        let draft = file.with_extension("draft");
        std::fs::write(&draft, bytes)?;
        Ok(std::fs::rename(draft, &file)?)
    };
    let applied = "tidegate_config_last_apply_successful";
    for wrong in [Some(&b"this is no database"[..]), None] {
        match wrong {
            Some(bytes) => put(bytes)?,
            None => std::fs::remove_file(&file)?,
        }
        gateway.signal(Signal::HUP)?;
        gateway.metric_until(applied, &[], |value| value < 0.5).await?;
        assert_eq!(gateway.send(&german).await?.origin(), Some("eu"));
        put(&good)?;
        gateway.signal(Signal::HUP)?;
        gateway.metric_until(applied, &[], |value| value > 0.5).await?;
        assert_eq!(gateway.send(&german).await?.origin(), Some("eu"));
    }
    Ok(())
}

/// The access log goes to a pipe that nobody reads: its writer hangs, as it does at a disk that
/// does not answer. Requests do not; lines are dropped and counted, and come again.
#[tokio::test]
async fn a_log_that_nobody_takes_costs_lines_and_no_request() -> Outcome {
    let (origin, folder) = (Origin::start("api").await?, tempfile::tempdir()?);
    let pipe = folder.path().join("access.pipe");
    let made = Command::new("mkfifo").arg(&pipe).status().await?;
    assert!(made.success());
    // Open for both, so that opening it waits for nobody.
    let mut reader = std::fs::OpenOptions::new().read(true).write(true).open(&pipe)?;
    let config = api(&[origin.address()]) + &open_route("");
    let log = format!("path: {}, bufferLines: 32", pipe.display());
    let gateway = gateway(config).access_log(&log).start().await?;
    let mut connection = RawConnection::connect(gateway.address()).await?;
    let dropped = "tidegate_access_log_dropped_total";
    let mut sent = 0;
    // 64 KiB fit into a pipe, about 600 bytes are a line, and as much again is in hand.
    while gateway.metric(dropped, &[]).await? < 0.5 {
        for _ in 0..50 {
            connection.request(&Request::get("/")).await?.expect(200)?;
        }
        sent += 50;
        assert!(sent < 5_000, "lines are dropped at last");
    }
    // Somebody takes them again.
    let (found, mut lines) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let mut text = Vec::new();
        let mut buffer = [0; 4096];
        while !String::from_utf8_lossy(&text).contains("/after-the-outage") {
            match std::io::Read::read(&mut reader, &mut buffer) {
                Ok(0) | Err(_) => return,
                Ok(read) => text.extend_from_slice(&buffer[..read]),
            }
        }
        let _ = found.send(text.len());
    });
    let bytes = wait::until("a line of a request from after the outage", async || {
        connection.request(&Request::get("/after-the-outage")).await.ok()?;
        lines.try_recv().ok()
    })
    .await?;
    assert!(bytes > 0);
    Ok(())
}

/// The state directory cannot be written: what is revoked is revoked, and the answer says that
/// it would not survive a restart; it is written as soon as it can be.
#[tokio::test]
async fn a_state_directory_that_cannot_be_written_loses_nothing_but_the_restart() -> Outcome {
    let (origin, issuer) = (Origin::start("api").await?, Issuer::start().await?);
    let folder = tempfile::tempdir()?;
    let state = folder.path().join("state");
    // A file where the folder should be: nobody can write there, whatever they may.
    std::fs::write(&state, "in the way")?;
    let config = api(&[origin.address()]) + &provider(&issuer) + WANTS_TOKEN;
    let setup = gateway(config).server(&format!("stateDirectory: {}", state.display()));
    let gateway = setup.start().await?;
    has_keys(&gateway).await?;
    let stored = [("provider", "main"), ("outcome", "failed")];
    gateway.metric_until("tidegate_keyring_store_total", &stored, |count| count > 0.5).await?;
    gateway.log_says("the key set could not be written to disk").await?;
    let token = issuer.token().claim("jti", "t1").sign()?;
    let show = Request::get("/").bearer(&token);
    gateway.send(&show).await?.expect(200)?;
    let order = json!({"tokenId": "t1"});
    let told = post_json(&gateway, "/admin/revocations", &order).await?.expect(201)?.json()?;
    assert_eq!(told["kept"], false, "{told}");
    gateway.send(&show).await?.problem(401, "auth.token_revoked")?;
    gateway.log_says("the revocations cannot be written to disk").await?;

    std::fs::remove_file(&state)?;
    gateway.log_says("the revocations are on disk again").await?;
    assert!(std::fs::read_dir(&state)?.count() > 0);
    Ok(())
}
