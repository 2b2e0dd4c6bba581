//! Every way to reach a Redis, with real ones: TLS, users, Sentinels through a failover, a
//! cluster whose nodes come and go. What is shared over them: limits, and revocations.

use std::path::Path;

use serde_json::json;
use tidegate_kit::{
    Authority, Gateway, Issuer, Leaf, Origin, Outcome, Redis, RedisCluster, RedisOptions,
    RedisSentinel, Request, Result, Setup, ports, send, wait,
};
use tokio::process::Command;

use crate::{BINARY, api, gateway, has_keys, provider};

/// A password that must be seen nowhere.
const PASSWORD: &str = "s3cret-of-redis";

/// A gateway with two limits by the header `x-id`: 4 requests, and plenty; `mode` says what
/// they do without Redis. `redis` is its mapping without braces.
fn setup(origin: &Origin, redis: &str, mode: &str) -> Setup {
    let limit = |name: &str, capacity: u32| {
        format!(
            "  {name}: {{algorithm: token_bucket, capacity: {capacity}, refillPerSecond: 0.001, \
             mode: exact, failureMode: {mode}, key: [\"header:x-id\"]}}\n"
        )
    };
    let route = |name: &str| {
        format!(
            "  - {{name: {name}, match: {{pathPrefix: /{name}}}, upstream: {{service: api}}, \
             policies: {{auth: none, rateLimit: {name}}}}}\n"
        )
    };
    let config = api(&[origin.address()])
        + &format!("redis: {{{redis}, breaker: {{failures: 3, openFor: 500ms}}}}\n")
        + &format!("rateLimits:\n{}{}", limit("few", 4), limit("plenty", 100_000))
        + &format!("routes:\n{}{}", route("few"), route("plenty"));
    gateway(config)
}

/// Patient enough for a busy machine, so that every count is Redis's.
const PATIENT: &str = "timeout: 5s";

async fn ask(gateway: &Gateway, path: &str, id: &str) -> Result<u16> {
    Ok(gateway.send(&Request::get(path).header("x-id", id)).await?.status)
}

/// How many of 8 requests of each id pass, which both gateways get in turn.
async fn share(gateways: [&Gateway; 2], ids: &[&str]) -> Result<Vec<usize>> {
    let mut passed = Vec::new();
    for id in ids {
        let mut count = 0;
        for gateway in gateways.into_iter().cycle().take(8) {
            match ask(gateway, "/few", id).await? {
                200 => count += 1,
                429 => {}
                status => return Err(tidegate_kit::Error::new(format!("unexpected {status}"))),
            }
        }
        passed.push(count);
    }
    Ok(passed)
}

/// Requests that Redis let pass, on this gateway.
async fn counted(gateway: &Gateway) -> Result<f64> {
    let labels = [("decision", "allowed"), ("counter", "redis")];
    gateway.metric("tidegate_limit_decisions_total", &labels).await
}

/// Sends requests, which must all pass, until Redis counts them again.
async fn counts_again(gateway: &Gateway) -> Result<()> {
    let before = counted(gateway).await?;
    wait::until("Redis to count again", async || {
        assert_eq!(ask(gateway, "/plenty", "a").await.ok()?, 200);
        let local = gateway.metric("tidegate_limit_counting_locally", &[]).await.ok()?;
        (counted(gateway).await.ok()? > before && local < 0.5).then_some(())
    })
    .await?;
    assert!(gateway.metric("tidegate_limit_breaker_open", &[]).await? < 0.5);
    Ok(())
}

async fn connections(gateway: &Gateway) -> Result<f64> {
    let labels = [("user", "limits"), ("state", "open")];
    gateway.metric("tidegate_redis_connections", &labels).await
}

async fn lost(gateway: &Gateway, reason: &str) -> Result<f64> {
    let labels = [("user", "limits"), ("reason", reason)];
    gateway.metric("tidegate_redis_connections_lost_total", &labels).await
}

/// A Redis with TLS that wants certificates of its clients, and what is needed to reach it.
struct Encrypted {
    folder: tempfile::TempDir,
    redis: Redis,
    authority: Authority,
}

impl Encrypted {
    async fn start() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let authority = Authority::new("of Redis")?;
        let ca = authority.write(folder.path(), "ca.pem")?;
        authority.leaf(&["gateway"])?.write(folder.path(), "gateway")?;
        let server = authority.sign(&Leaf::new(&["localhost"]))?.write(folder.path(), "redis")?;
        let options = RedisOptions::default().tls(&server, &ca, true)?.user("gateway", PASSWORD);
        Ok(Self { redis: Redis::start_with(options).await?, folder, authority })
    }

    /// `redis` of a configuration that reaches it under a name and trusts this authority.
    fn place(&self, host: &str, ca: &Path) -> Result<String> {
        let folder = self.folder.path().display();
        Ok(format!(
            "url: \"rediss://gateway:{PASSWORD}@{host}:{port}\", {PATIENT}, tls: {{caFile: {ca}, \
             certFile: {folder}/gateway.crt, keyFile: {folder}/gateway.key}}",
            port = self.redis.tls_port()?,
            ca = ca.display(),
        ))
    }
}

#[tokio::test]
async fn limits_are_shared_over_tls_and_only_with_the_right_redis() -> Outcome {
    let (origin, there) = (Origin::start("api").await?, Encrypted::start().await?);
    let ca = there.folder.path().join("ca.pem");
    let right = there.place("localhost", &ca)?;
    let one = setup(&origin, &right, "closed").start().await?;
    let two = setup(&origin, &right, "closed").start().await?;
    assert_eq!(share([&one, &two], &["a", "b"]).await?, [4, 4]);
    let calls = [("user", "limits")];
    assert!((connections(&one).await? - 2.0).abs() < 0.1);
    assert!(one.metric("tidegate_redis_calls_in_flight", &calls).await?.abs() < 0.1);
    let connects = [("user", "limits"), ("outcome", "ok")];
    assert!((one.metric("tidegate_redis_connects_total", &connects).await? - 2.0).abs() < 0.1);

    let other = Authority::new("of somebody else")?.write(there.folder.path(), "other.pem")?;
    for (place, why) in [
        (there.place("localhost", &other)?, "UnknownIssuer"),
        (there.place("127.0.0.1", &ca)?, "not valid for name"),
    ] {
        let stranger = setup(&origin, &place, "closed").start().await?;
        assert_eq!(ask(&stranger, "/few", "a").await?, 503, "{why}");
        stranger.log_says(why).await?;
        assert!(!stranger.log().contains(PASSWORD));
    }
    drop(there.authority);
    Ok(())
}

#[tokio::test]
async fn a_user_who_is_not_let_in_is_an_outage_that_says_why() -> Outcome {
    let origin = Origin::start("api").await?;
    let redis = Redis::start_with(RedisOptions::default().user("gateway", PASSWORD)).await?;
    // No more than a gateway needs.
    let rights = "ACL SETUSER gateway resetkeys ~tidegate:* resetchannels &tidegate:* -@all +@read \
                  +@write +@scripting +@pubsub +@connection +time";
    redis.query(&rights.split_whitespace().collect::<Vec<_>>()).await?;
    let place =
        |password| format!("url: \"redis://gateway:{password}@{}\", {PATIENT}", redis.address());
    let right = place(PASSWORD);
    let one = setup(&origin, &right, "local").start().await?;
    let two = setup(&origin, &right, "local").start().await?;
    assert_eq!(share([&one, &two], &["a"]).await?, [4]);
    // The default user is shut out: that it was the user's name that let them in.
    redis.query(&["ACL", "SETUSER", "default", "-@all", "+ping"]).await?;
    assert_eq!(share([&one, &two], &["b"]).await?, [4]);

    let wrong = setup(&origin, &place("wr0ng-one"), "open").start().await?;
    for _ in 0..6 {
        assert_eq!(ask(&wrong, "/few", "a").await?, 200);
    }
    wrong.log_says("Redis is away").await?;
    let log = wrong.log();
    assert!(log.contains("WRONGPASS") || log.contains("authentication failed"), "{log}");
    assert!(!log.contains("wr0ng-one"));
    Ok(())
}

/// T6: whatever happens to one server and is over again, no client sees it.
#[tokio::test]
async fn a_server_may_forget_hang_up_and_restart() -> Outcome {
    let (origin, mut redis) = (Origin::start("api").await?, Redis::start().await?);
    let place = format!("url: \"{}\", {PATIENT}", redis.url());
    let gateway = setup(&origin, &place, "closed").start().await?;
    let all_pass = async || -> Outcome {
        for _ in 0..4 {
            assert_eq!(ask(&gateway, "/plenty", "a").await?, 200);
        }
        Ok(())
    };
    all_pass().await?;
    for words in [&["SCRIPT", "FLUSH"][..], &["FLUSHALL"], &["CLIENT", "KILL", "TYPE", "normal"]] {
        redis.query(words).await?;
        all_pass().await?;
    }
    redis.restart().await?;
    all_pass().await?;
    assert!(gateway.metric("tidegate_limit_redis_failures_total", &[]).await? < 0.5);
    assert!(lost(&gateway, "closed").await? >= 2.0);
    Ok(())
}

/// A server that was demoted says so, and its connection is of no more use.
#[tokio::test]
async fn a_replica_is_given_up() -> Outcome {
    let (origin, redis) = (Origin::start("api").await?, Redis::start().await?);
    let place = format!("url: \"{}\", {PATIENT}", redis.url());
    let gateway = setup(&origin, &place, "local").start().await?;
    assert_eq!(ask(&gateway, "/plenty", "a").await?, 200);
    redis.query(&["REPLICAOF", "127.0.0.1", &ports::free()?.to_string()]).await?;
    assert_eq!(ask(&gateway, "/plenty", "a").await?, 200);
    gateway.log_says("the server is a replica").await?;
    assert!(lost(&gateway, "replica").await? >= 1.0);
    redis.query(&["REPLICAOF", "NO", "ONE"]).await?;
    counts_again(&gateway).await?;
    Ok(())
}

/// A connection that answers nothing is given up even where too few calls are made for the
/// breaker to open.
#[tokio::test]
async fn a_silent_connection_is_found_out_by_one_late_call() -> Outcome {
    let (origin, redis) = (Origin::start("api").await?, Redis::start().await?);
    let place = format!("url: \"{}\", timeout: 500ms", redis.url());
    let gateway = setup(&origin, &place, "open").start().await?;
    // Calls take connections in turn: after two there are both.
    for _ in 0..2 {
        counts_again(&gateway).await?;
    }
    redis.freeze()?;
    assert_eq!(ask(&gateway, "/plenty", "a").await?, 200);
    wait::until("the connection to be given up", async || {
        (lost(&gateway, "silent").await.ok()? >= 1.0).then_some(())
    })
    .await?;
    redis.thaw()?;
    counts_again(&gateway).await?;
    Ok(())
}

/// R064: the primary dies; its successor counts for all, without a restart and without an error.
#[tokio::test]
async fn sentinels_lead_to_the_next_primary() -> Outcome {
    let origin = Origin::start("api").await?;
    let options = RedisOptions::default().user("gateway", PASSWORD);
    let mut fleet = RedisSentinel::start_with(&options, "").await?;
    // Nobody is at the first address; whoever is not there must not matter.
    let absent = ports::free()?;
    let place =
        fleet.place().replace("addresses: [", &format!("addresses: [\"127.0.0.1:{absent}\", "));
    let place = format!("{place}, username: gateway, password: {PASSWORD}, {PATIENT}");
    let one = setup(&origin, &place, "local").start().await?;
    let two = setup(&origin, &place, "local").start().await?;
    assert_eq!(share([&one, &two], &["a"]).await?, [4]);
    for gateway in [&one, &two] {
        gateway.metric_until("tidegate_limit_nodes", &[], |nodes| nodes > 1.5).await?;
    }

    fleet.kill_primary().await?;
    tokio::try_join!(counts_again(&one), counts_again(&two))?;
    for gateway in [&one, &two] {
        assert!(lost(gateway, "closed").await? >= 1.0);
    }
    fleet.failed_over().await?;
    assert_eq!(share([&one, &two], &["b"]).await?, [4]);
    let keys = fleet.servers[1].query(&["DBSIZE"]).await?.number();
    assert!(keys.is_some_and(|count| count >= 2), "{keys:?}");
    assert!(!one.log().contains(PASSWORD));
    Ok(())
}

/// An operator moves the primary. The old one stays for a while and still takes what it gets:
/// that the Sentinels name another is found out nevertheless.
#[tokio::test]
async fn a_primary_that_was_moved_is_left_without_an_error() -> Outcome {
    let (origin, fleet) = (Origin::start("api").await?, RedisSentinel::start().await?);
    let place = format!("{}, {PATIENT}", fleet.place());
    let gateway = setup(&origin, &place, "closed").start().await?;
    assert_eq!(ask(&gateway, "/plenty", "a").await?, 200);
    fleet.move_primary().await?;
    fleet.failed_over().await?;
    wait::until("the new primary to be written to", async || {
        assert_eq!(ask(&gateway, "/plenty", "a").await.ok()?, 200);
        let words = ["CONFIG", "RESETSTAT"];
        fleet.servers[1].query(&words).await.ok()?;
        assert_eq!(ask(&gateway, "/plenty", "a").await.ok()?, 200);
        let stats = fleet.servers[1].query(&["INFO", "commandstats"]).await.ok()?.texts();
        stats.concat().contains("cmdstat_evalsha").then_some(())
    })
    .await?;
    assert!(gateway.metric("tidegate_limit_redis_failures_total", &[]).await? < 0.5);
    Ok(())
}

/// T6 and R064 on a cluster, encrypted: keys are where they belong, whatever happens to nodes.
#[tokio::test]
async fn a_cluster_counts_wherever_a_key_is() -> Outcome {
    let origin = Origin::start("api").await?;
    let folder = tempfile::tempdir()?;
    let authority = Authority::new("of the cluster")?;
    let ca = authority.write(folder.path(), "ca.pem")?;
    let pair = authority.leaf(&["localhost", "127.0.0.1"])?.write(folder.path(), "node")?;
    let mut cluster = RedisCluster::start_with(async || {
        RedisOptions::default().user("gateway", PASSWORD).tls(&pair, &ca, false)
    })
    .await?;
    let ports: Vec<_> = cluster.nodes.iter().map(Redis::tls_port).collect::<Result<_>>()?;
    let place = format!(
        "cluster: [\"localhost:{}\", \"localhost:{}\"], username: gateway, password: {PASSWORD}, \
         tls: {{caFile: {}}}, {PATIENT}",
        ports[0],
        ports[1],
        ca.display()
    );
    let one = setup(&origin, &place, "closed").start().await?;
    let two = setup(&origin, &place, "closed").start().await?;
    let ids = ["a", "b", "c", "d", "e", "f", "g", "h"];
    assert_eq!(share([&one, &two], &ids).await?, [4; 8]);
    for size in cluster.everywhere(&["DBSIZE"]).await? {
        assert!(size.number().is_some_and(|keys| keys > 0), "every node has some");
    }
    for words in [&["SCRIPT", "FLUSH"][..], &["FLUSHALL"], &["CLIENT", "KILL", "TYPE", "normal"]] {
        cluster.everywhere(words).await?;
        for (gateway, id) in [&one, &two].iter().cycle().zip(ids) {
            assert_eq!(ask(gateway, "/plenty", id).await?, 200, "{words:?}");
        }
    }
    cluster.nodes[2].restart().await?;
    cluster.works().await?;
    for (gateway, id) in [&one, &two].iter().cycle().zip(ids) {
        assert_eq!(ask(gateway, "/plenty", id).await?, 200);
    }
    assert!(one.metric("tidegate_limit_redis_failures_total", &[]).await? < 0.5);
    Ok(())
}

/// The whole cluster goes and comes. While it is away nothing tries to find it unasked.
#[tokio::test]
async fn a_cluster_that_was_away_counts_again() -> Outcome {
    let (origin, mut cluster) = (Origin::start("api").await?, RedisCluster::start().await?);
    let place = format!("{}, timeout: 500ms", cluster.place());
    let gateway = setup(&origin, &place, "local").start().await?;
    counts_again(&gateway).await?;
    for node in &mut cluster.nodes {
        node.kill().await?;
    }
    for _ in 0..2 {
        assert_eq!(ask(&gateway, "/plenty", "a").await?, 200);
    }
    wait::until("no connection to be left", async || {
        (connections(&gateway).await.ok()? < 0.5).then_some(())
    })
    .await?;
    for node in &mut cluster.nodes {
        node.restart().await?;
    }
    cluster.works().await?;
    counts_again(&gateway).await?;
    Ok(())
}

/// What the gateways tell each other goes over both kinds of fleet, also after a failover.
#[tokio::test]
async fn revocations_are_told_through_sentinels_and_clusters() -> Outcome {
    let (origin, issuer) = (Origin::start("api").await?, Issuer::start().await?);
    let mut fleet = RedisSentinel::start().await?;
    let cluster = RedisCluster::start().await?;
    let setup = |place: &str| {
        let route = "routes:\n  - {name: all, match: {pathPrefix: /}, upstream: {service: api}, \
                     policies: {auth: required}}\n";
        let redis = format!("redis: {{{place}, {PATIENT}}}\n");
        gateway(api(&[origin.address()]) + &provider(&issuer) + &redis + route)
    };
    let told = async |from: &Gateway, to: &Gateway, id: &str| -> Result<()> {
        let token = issuer.token().subject("somebody").claim("jti", id).sign()?;
        let asks = async || to.send(&Request::get("/").bearer(&token)).await;
        asks().await?.expect(200)?;
        let body = json!({"tokenId": id}).to_string();
        let order = Request::post("/admin/revocations", body);
        let order = order.header("content-type", "application/json");
        send(from.admin(), &order).await?.expect(201)?;
        wait::until("the token to be refused", async || {
            asks().await.ok().filter(|response| response.status == 401)
        })
        .await
        .map(drop)
    };
    for place in [fleet.place(), cluster.place()] {
        let (one, two) = (setup(&place).start().await?, setup(&place).start().await?);
        has_keys(&one).await?;
        has_keys(&two).await?;
        told(&one, &two, "first").await?;
        if place == fleet.place() {
            fleet.kill_primary().await?;
            fleet.failed_over().await?;
            told(&two, &one, "second").await?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn check_says_what_is_wrong_with_a_redis() -> Outcome {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("gateway.yaml");
    for (redis, path) in [
        ("{url: \"rediss://:s3cret-of-redis@host/#insecure\"}", "redis.url"),
        ("{url: \"redis://:s3cret-of-redis@host\", tls: {}}", "redis.tls"),
        ("{url: \"redis://host\", password: s3cret-of-redis}", "redis.password"),
        ("{cluster: [\"redis://host:7000\"]}", "redis.cluster[0]"),
        ("{cluster: [\"host:7000\"], database: 2}", "redis.database"),
        ("{cluster: [\"host:7000\"], username: gateway}", "redis.username"),
        ("{sentinel: {addresses: [host], master: m}}", "redis.sentinel.addresses[0]"),
        ("{sentinel: {addresses: [\"host:1\"], master: \"\"}}", "redis.sentinel.master"),
        ("{cluster: [\"host:1\"], tls: {certFile: /dev/null}}", "redis.tls.certFile"),
        ("{}", "redis"),
    ] {
        std::fs::write(&file, format!("redis: {redis}\n"))?;
        let mut command = Command::new(BINARY);
        command.arg("check").arg(&file).kill_on_drop(true);
        let output = wait::within("the command's end", command.output()).await??;
        let told = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{redis}: {told}");
        assert!(told.contains(path), "{redis}: {told}");
        assert!(!told.contains(PASSWORD), "{told}");
    }
    Ok(())
}
