//! Drills: every fault that can be switched on does what the failure table says, with all real
//! parts alive beside it, and ends by itself (R014, C24).

use std::process::Output;
use std::time::Duration;

use serde_json::{Value, json};
use tidegate_kit::{
    Context as _, Gateway, Issuer, Origin, Outcome, Redis, Request, Response, Result, Signal, send,
    wait,
};
use tokio::process::Command;

use crate::{BINARY, api, gateway, has_keys, list, open_route, provider_with};

const TOKEN: &str = "an-admin-token-of-some-length";
const ACTIVE: &str = "tidegate_drill_active";

/// Begins a drill.
async fn begin(gateway: &Gateway, name: &str, order: &str) -> Result<Response> {
    let path = format!("/admin/drills/{name}");
    let request = Request::post(&path, order).header("content-type", "application/json");
    send(gateway.admin(), &request).await
}

/// Begins a drill that is long enough for what is looked at, and called off then.
async fn begun(gateway: &Gateway, name: &str) -> Result<()> {
    begin(gateway, name, r#"{"for": "5m"}"#).await?.expect(201).map(drop)
}

async fn call_off(gateway: &Gateway, name: &str) -> Result<Response> {
    send(gateway.admin(), &Request::new("DELETE", &format!("/admin/drills/{name}"))).await
}

async fn ended(gateway: &Gateway, name: &str) -> Result<()> {
    call_off(gateway, name).await?.expect(200).map(drop)
}

/// Waits until a path is answered with this status.
async fn until(gateway: &Gateway, request: &Request, status: u16) -> Result<Response> {
    wait::until(&format!("{status} for {}", request.target()), async || {
        gateway.send(request).await.ok().filter(|response| response.status == status)
    })
    .await
}

#[tokio::test]
async fn drills_are_refused_where_they_are_not_configured() -> Outcome {
    let origin = Origin::start("api").await?;
    let gateway = gateway(api(&[origin.address()]) + &open_route("")).start().await?;
    for response in [
        begin(&gateway, "upstream-down", r#"{"for": "5s"}"#).await?,
        call_off(&gateway, "upstream-down").await?,
        gateway.admin_get("/admin/drills").await?,
    ] {
        assert!(response.text().contains("admin.drills"), "a hint: {response}");
        response.expect(404)?;
    }
    gateway.get("/").await?.expect(200)?;
    let scrape = gateway.admin_get("/metrics").await?.text();
    assert!(!scrape.contains(ACTIVE), "nothing to see where nothing can be");
    Ok(())
}

#[tokio::test]
async fn drills_need_the_token_and_an_order_that_is_right() -> Outcome {
    let origin = Origin::start("api").await?;
    let config = api(&[origin.address()]) + &open_route("");
    let setup = gateway(config).admin("drills: true").admin(&format!("token: {TOKEN}"));
    let gateway = setup.start().await?;
    gateway.log_says("drills are allowed on this node").await?;
    begin(&gateway, "upstream-down", r#"{"for": "5s"}"#).await?.expect(401)?;
    call_off(&gateway, "upstream-down").await?.expect(401)?;
    let ask = async |method: &str, name: &str, order: &str| {
        let path = format!("/admin/drills/{name}");
        let request = Request::new(method, &path).bearer(TOKEN).body(order);
        send(gateway.admin(), &request.header("content-type", "application/json")).await
    };
    for (name, order, status) in [
        ("no-such-thing", r#"{"for": "5s"}"#, 404),
        ("upstream-down", r#"{"for": "999ms"}"#, 400),
        ("upstream-down", r#"{"for": "601s"}"#, 400),
        ("upstream-down", r#"{"for": "5s", "service": "other"}"#, 400),
        ("redis-down", r#"{"for": "5s", "service": "api"}"#, 400),
        ("upstream-down", r#"{"for": "5s", "x": 1}"#, 400),
        ("upstream-down", "5s", 400),
    ] {
        let refused = ask("POST", name, order).await?.expect(status)?;
        assert!(refused.json()?["problems"][0].is_string(), "{refused}");
    }
    assert!(gateway.metric(ACTIVE, &[]).await? < 0.5, "none of them began");
    ask("DELETE", "upstream-down", "").await?.expect(404)?;
    let path = Request::post("/admin/drills/upstream-down", "{}").bearer(TOKEN);
    send(gateway.admin(), &path).await?.expect(415)?;

    let order = r#"{"for": "600s", "service": "api"}"#;
    let told = ask("POST", "upstream-down", order).await?.expect(201)?.json()?;
    assert_eq!((&told["active"], &told["service"]), (&json!(true), &json!("api")), "{told}");
    ask("POST", "upstream-slow", r#"{"for": "5s"}"#).await?.expect(409)?;
    gateway.get("/").await?.problem(502, "upstream.connect_failed")?;
    ask("DELETE", "upstream-down", "").await?.expect(200)?;
    gateway.get("/").await?.expect(200)?;
    let log = gateway.log();
    assert!(log.contains("a drill has begun") && log.contains("the drill has ended"), "{log}");
    assert!(log.contains("the bearer of the admin token"), "{log}");
    Ok(())
}

/// Each begins, shows in metric and log, and ends by itself.
#[tokio::test]
async fn every_drill_ends_by_itself() -> Outcome {
    let origin = Origin::start("api").await?;
    let config = api(&[origin.address()]) + &open_route("");
    let gateway = gateway(config).admin("drills: true").start().await?;
    let listed = gateway.admin_get("/admin/drills").await?.expect(200)?.json()?;
    let drills = listed["drills"].as_array().context("drills")?;
    let names: Vec<&str> = drills.iter().filter_map(|drill| drill["name"].as_str()).collect();
    assert!(names.len() > 20, "{names:?}");
    // Those of one dependency one after the other, all dependencies at once.
    let mut left = names.clone();
    while !left.is_empty() {
        let mut under_way = Vec::new();
        for name in std::mem::take(&mut left) {
            match begin(&gateway, name, r#"{"for": "1s"}"#).await?.status {
                201 => under_way.push(name),
                409 => left.push(name),
                other => panic!("{name}: {other}"),
            }
        }
        for name in under_way {
            let over = |value: f64| value < 0.5;
            gateway.metric_until(ACTIVE, &[("drill", name)], over).await?;
        }
    }
    let log = gateway.log();
    for name in names {
        let lines = log.lines().filter(|line| {
            line.contains(&format!("\"{name}\"")) || line.contains(&format!("drill={name}"))
        });
        let lines: Vec<&str> = lines.collect();
        assert!(lines.iter().any(|line| line.contains("a drill has begun")), "{name}: {lines:?}");
        assert!(lines.iter().any(|line| line.contains("its time is over")), "{name}: {lines:?}");
    }
    gateway.get("/").await?.expect(200)?;
    Ok(())
}

#[tokio::test]
async fn a_stop_ends_a_drill() -> Outcome {
    let origin = Origin::start("api").await?;
    let config = api(&[origin.address()]) + &open_route("");
    let mut gateway = gateway(config).admin("drills: true").start().await?;
    begun(&gateway, "upstream-down").await?;
    gateway.signal(Signal::TERM)?;
    gateway.exit().await?;
    assert!(gateway.log().contains("the process is on its way out"));
    Ok(())
}

/// Three routes whose limits differ in their failure mode only; each limit admits 3 in all, and
/// open and closed ones enough.
fn modes(redis: &Redis) -> String {
    let limit = |mode: &str, capacity: u32| {
        format!(
            "  {mode}: {{algorithm: token_bucket, capacity: {capacity}, refillPerSecond: 0.001, \
             key: [clientIp], mode: exact, failureMode: {mode}}}\n"
        )
    };
    let route = |mode: &str| {
        format!(
            "  - {{name: {mode}, match: {{pathPrefix: /{mode}}}, upstream: {{service: api}}, \
             policies: {{auth: none, rateLimit: {mode}}}}}\n"
        )
    };
    let limits = [limit("open", 100_000), limit("closed", 100_000), limit("local", 3)].concat();
    format!(
        "redis: {{url: \"{}\", timeout: 300ms, breaker: {{failures: 3, openFor: 1s}}}}\n\
         rateLimits:\n{limits}routes:\n{}",
        redis.url(),
        ["open", "closed", "local"].map(route).concat()
    )
}

/// The limiter meets the real thing: failure modes, breaker, time limit, and the way back.
#[tokio::test]
async fn redis_drills_make_each_limit_go_by_its_failure_mode() -> Outcome {
    let (origin, redis) = (Origin::start("api").await?, Redis::start().await?);
    let config = api(&[origin.address()]) + &modes(&redis);
    let gateway = gateway(config).admin("drills: true").start().await?;
    let failures = "tidegate_limit_redis_failures_total";
    for drill in ["redis-down", "redis-slow", "redis-wrong"] {
        let closed = Request::get("/closed");
        until(&gateway, &closed, 200).await?;
        let before = gateway.metric(failures, &[]).await?;
        begun(&gateway, drill).await?;
        let refused = gateway.send(&closed).await?;
        refused.problem(503, "limit.unavailable")?;
        assert!(refused.number("retry-after")? >= 1);
        let waited = refused.took >= Duration::from_millis(290);
        assert_eq!(waited, drill == "redis-slow", "{drill}: {:?}", refused.took);
        let open = gateway.get("/open").await?.expect(200)?;
        let line = gateway.access_line(open.required("x-request-id")?).await?;
        assert_eq!(line["rateLimitDegraded"], true, "{drill}");
        let after = gateway.metric(failures, &[]).await?;
        assert!(after - before > 1.5, "{drill}: {before} and {after}");
        ended(&gateway, drill).await?;
        until(&gateway, &closed, 200).await?;
        let shared = "tidegate_limit_counting_locally";
        gateway.metric_until(shared, &[], |value| value < 0.5).await?;
    }
    Ok(())
}

/// Subscriptions are lost with Redis, and made again.
#[tokio::test]
async fn a_redis_that_is_away_on_purpose_takes_subscriptions_along() -> Outcome {
    let (origin, redis) = (Origin::start("api").await?, Redis::start().await?);
    let config = api(&[origin.address()]) + &modes(&redis);
    let gateway = gateway(config).admin("drills: true").start().await?;
    let heard = async |wanted: i64| {
        wait::until(&format!("{wanted} subscriptions"), async || {
            let reply = redis.query(&["PUBSUB", "NUMSUB", "tidegate:limit:news"]).await.ok()?;
            let tidegate_kit::Reply::List(items) = reply else { return None };
            (items.get(1)?.number()? == wanted).then_some(())
        })
        .await
    };
    heard(1).await?;
    begun(&gateway, "redis-down").await?;
    heard(0).await?;
    ended(&gateway, "redis-down").await?;
    heard(1).await?;
    Ok(())
}

/// R089, R193: known keys are good whatever the issuer does; the metric says what it does.
#[tokio::test]
async fn identity_provider_drills_touch_nobody_whose_key_is_known() -> Outcome {
    let (origin, issuer) = (Origin::start("api").await?, Issuer::start().await?);
    let routes = "routes:\n  - {name: private, match: {pathPrefix: /}, upstream: {service: api}, \
                  policies: {auth: required}}\n";
    let settings = "{timeout: 500ms, fetchesPerMinute: 600}";
    let config = api(&[origin.address()]) + &provider_with(&issuer, settings) + routes;
    let gateway = gateway(config).admin("drills: true").start().await?;
    has_keys(&gateway).await?;
    let show = async |token: String| gateway.send(&Request::get("/").bearer(&token)).await;
    for (drill, reason) in
        [("idp-down", "connect"), ("idp-slow", "timeout"), ("idp-wrong", "malformed")]
    {
        begun(&gateway, drill).await?;
        let labels = [("provider", "main"), ("reason", reason)];
        let failed = "tidegate_keyring_failures_total";
        // The drill itself has the set fetched again, unless that is under way already.
        let unknown = show(issuer.token().header("kid", "unknown").sign()?).await?;
        unknown.problem(401, "auth.token_untrusted")?;
        gateway.metric_until(failed, &labels, |count| count > 0.5).await?;
        for _ in 0..5 {
            show(issuer.token().sign()?).await?.expect(200)?;
        }
        ended(&gateway, drill).await?;
    }
    gateway.log_says("the last good one stays in force").await?;
    Ok(())
}

#[tokio::test]
async fn introspection_drills_refuse_tokens_that_nobody_knows() -> Outcome {
    let (origin, issuer) = (Origin::start("api").await?, Issuer::start().await?);
    let config = format!(
        "{}identityProviders:\n  main:\n    issuer: {}\n    audience: api.example.com\n    \
         introspection: {{{}, timeout: 300ms}}\nroutes:\n  - {{name: all, match: {{pathPrefix: \
         /}}, upstream: {{service: api}}, policies: {{auth: required}}}}\n",
        api(&[origin.address()]),
        issuer.name(),
        issuer.introspection()
    );
    let setup = gateway(config).admin("drills: true");
    let setup = setup.environment("INTROSPECTION_SECRET", issuer.introspection_secret());
    let gateway = setup.start().await?;
    let with = |token: &str| Request::get("/").bearer(token);
    issuer.issue_opaque("known", &json!({}));
    gateway.send(&with("known")).await?.expect(200)?;
    for (drill, outcome) in [
        ("introspection-down", "unreachable"),
        ("introspection-slow", "timeout"),
        ("introspection-wrong", "malformed"),
    ] {
        issuer.issue_opaque(drill, &json!({}));
        begun(&gateway, drill).await?;
        gateway.send(&with(drill)).await?.problem(503, "auth.unavailable")?;
        gateway.send(&with("known")).await?.expect(200)?;
        let labels = [("provider", "main"), ("outcome", outcome)];
        let asked = "tidegate_introspection_questions_total";
        assert!(gateway.metric(asked, &labels).await? > 0.5, "{drill}");
        ended(&gateway, drill).await?;
        until(&gateway, &with(drill), 200).await?;
    }
    Ok(())
}

const HASH_KEY: &str = "0123456789abcdef0123456789abcdef";

#[tokio::test]
async fn database_drills_refuse_callers_that_nobody_knows() -> Outcome {
    let (origin, folder) = (Origin::start("api").await?, tempfile::tempdir()?);
    let config = format!(
        "{}database:\n  url: \"sqlite:{}\"\n  hashKey: \"${{env:HASH_KEY}}\"\n  timeout: 300ms\n\
         routes:\n  - {{name: all, match: {{pathPrefix: /}}, upstream: {{service: api}}, \
         policies: {{auth: required}}}}\n",
        api(&[origin.address()]),
        folder.path().join("keys.db").display()
    );
    let setup = gateway(config).admin("drills: true").environment("HASH_KEY", HASH_KEY);
    let gateway = setup.start().await?;
    let create = async || -> Result<Request> {
        let mut command = Command::new(BINARY);
        command.args(["keys", "create", "--client", "partner", "--config"]).arg(gateway.file());
        let output = command.env("HASH_KEY", HASH_KEY).kill_on_drop(true).output().await?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let key = words.find(|word| word.starts_with("tg_")).context("a key")?;
        Ok(Request::get("/").header("x-api-key", key))
    };
    let known = create().await?;
    gateway.send(&known).await?.expect(200)?;
    for drill in ["database-down", "database-slow", "database-wrong"] {
        let unknown = create().await?;
        begun(&gateway, drill).await?;
        let refused = gateway.send(&unknown).await?;
        refused.problem(503, "auth.unavailable")?;
        gateway.send(&known).await?.expect(200)?;
        assert!(gateway.metric("tidegate_database_up", &[]).await? < 0.5, "{drill}");
        ended(&gateway, drill).await?;
        until(&gateway, &unknown, 200).await?;
    }
    gateway.log_says("the database answers again").await?;
    Ok(())
}

#[tokio::test]
async fn registry_drills_empty_a_service_only_once_it_is_confirmed() -> Outcome {
    let (origin, folder) = (Origin::start("api").await?, tempfile::tempdir()?);
    let file = folder.path().join("api.endpoints");
    std::fs::write(&file, format!("{}\n", origin.address()))?;
    let config = format!(
        "services:\n  api: {{discovery: {{file: \"{}\", refresh: 1s, timeout: 200ms, \
         emptyAnswers: 2}}}}\n{}",
        file.display(),
        open_route("")
    );
    let gateway = gateway(config).admin("drills: true").start().await?;
    let looked_up = "tidegate_discovery_lookups_total";
    let failed = [("outcome", "failed")];
    for drill in ["registry-down", "registry-slow"] {
        let before = gateway.metric(looked_up, &failed).await?;
        begun(&gateway, drill).await?;
        gateway.metric_until(looked_up, &failed, |count| count > before).await?;
        gateway.get("/").await?.expect(200)?;
        ended(&gateway, drill).await?;
    }
    begun(&gateway, "registry-empty").await?;
    until(&gateway, &Request::get("/"), 503).await?.problem(503, "upstream.no_endpoint")?;
    let empty = gateway.metric(looked_up, &[("outcome", "empty")]).await?;
    assert!(empty > 1.5, "{empty}");
    ended(&gateway, "registry-empty").await?;
    until(&gateway, &Request::get("/"), 200).await?;
    Ok(())
}

/// Two services; the fault of one is not that of the other.
#[tokio::test]
async fn upstream_drills_fail_as_services_do() -> Outcome {
    let (a, b) = (Origin::start("a").await?, Origin::start("b").await?);
    let service = |name: &str, origin: &Origin| {
        format!("  {name}: {{endpoints: [{}], connectTimeout: 5s}}\n", list(&[origin.address()]))
    };
    let route = |name: &str| {
        format!(
            "  - {{name: {name}, match: {{pathPrefix: /{name}}}, upstream: {{service: {name}}}, \
             policies: {{auth: none, timeoutMs: 400, retries: 0}}}}\n"
        )
    };
    let config = format!(
        "services:\n{}{}routes:\n{}{}",
        service("a", &a),
        service("b", &b),
        route("a"),
        route("b")
    );
    let gateway = gateway(config).admin("drills: true").start().await?;
    let get = async |path| gateway.send(&Request::get(path)).await;
    for (drill, status, code) in [
        ("upstream-down", 502, "upstream.connect_failed"),
        ("upstream-slow", 504, "upstream.response_timeout"),
    ] {
        until(&gateway, &Request::get("/a"), 200).await?;
        let seen = a.total();
        begin(&gateway, drill, r#"{"for": "5m", "service": "a"}"#).await?.expect(201)?;
        get("/a").await?.problem(status, code)?;
        assert_eq!(a.total(), seen, "{drill}: the service sees nothing of it");
        get("/b").await?.expect(200)?;
        let labels = [("route", "a"), ("code", code)];
        assert!(gateway.metric("tidegate_rejects_total", &labels).await? > 0.5);
        ended(&gateway, drill).await?;
    }
    until(&gateway, &Request::get("/a"), 200).await?;
    begun(&gateway, "upstream-wrong").await?;
    for path in ["/a", "/b", "/a/status/204"] {
        let failed = get(path).await?.expect(500)?;
        assert_ne!(failed.header("content-type"), Some("application/problem+json"));
    }
    ended(&gateway, "upstream-wrong").await?;
    until(&gateway, &Request::get("/a"), 200).await?;
    until(&gateway, &Request::get("/b"), 200).await?;
    Ok(())
}

/// Checks and circuits see what requests see.
#[tokio::test]
async fn checks_of_endpoints_fail_within_a_drill_too() -> Outcome {
    let origin = Origin::start("api").await?;
    let config = format!(
        "services:\n  api: {{endpoints: [{}], healthCheck: {{kind: http, path: /, interval: \
         100ms, timeout: 500ms, unhealthyAfter: 2, healthyAfter: 1}}}}\n{}",
        list(&[origin.address()]),
        open_route("")
    );
    let gateway = gateway(config).admin("drills: true").start().await?;
    let up = "tidegate_upstream_endpoint_up";
    for drill in ["upstream-down", "upstream-slow", "upstream-wrong"] {
        gateway.metric_until(up, &[], |value| value > 0.5).await?;
        begun(&gateway, drill).await?;
        gateway.metric_until(up, &[], |value| value < 0.5).await?;
        gateway.get("/").await?.problem(503, "upstream.no_endpoint")?;
        ended(&gateway, drill).await?;
    }
    until(&gateway, &Request::get("/"), 200).await?;
    Ok(())
}

#[tokio::test]
async fn a_full_disk_costs_lines_and_no_request() -> Outcome {
    let origin = Origin::start("api").await?;
    let config = api(&[origin.address()]) + &open_route("");
    let gateway = gateway(config).admin("drills: true").start().await?;
    begun(&gateway, "disk-full").await?;
    let lost = gateway.get("/").await?.expect(200)?;
    let dropped = "tidegate_access_log_dropped_total";
    gateway.metric_until(dropped, &[], |count| count > 0.5).await?;
    ended(&gateway, "disk-full").await?;
    let kept = gateway.get("/").await?.expect(200)?;
    gateway.access_line(kept.required("x-request-id")?).await?;
    let id = lost.required("x-request-id")?;
    assert!(gateway.access_lines()?.iter().all(|line| line["requestId"] != id));
    Ok(())
}

/// Whoever writes may wait; requests do not, and what is revoked is revoked meanwhile.
#[tokio::test]
async fn a_slow_disk_delays_no_request() -> Outcome {
    let (origin, issuer) = (Origin::start("api").await?, Issuer::start().await?);
    let folder = tempfile::tempdir()?;
    let routes = "routes:\n  - {name: private, match: {pathPrefix: /}, upstream: {service: api}, \
                  policies: {auth: required}}\n";
    let config = api(&[origin.address()]) + &provider_with(&issuer, "{}") + routes;
    let setup = gateway(config).admin("drills: true");
    let state = format!("stateDirectory: {}", folder.path().display());
    let gateway = setup.server(&state).start().await?;
    has_keys(&gateway).await?;
    let token = issuer.token().claim("jti", "t1").sign()?;
    let show = Request::get("/").bearer(&token);
    gateway.send(&show).await?.expect(200)?;
    begun(&gateway, "disk-slow").await?;
    let order = Request::post("/admin/revocations", r#"{"tokenId": "t1"}"#);
    let order = order.header("content-type", "application/json");
    let revoking = send(gateway.admin(), &order);
    let asking = async {
        let refused = until(&gateway, &show, 401).await?;
        refused.problem(401, "auth.token_revoked")?;
        for _ in 0..20 {
            let other = issuer.token().sign()?;
            let passed = gateway.send(&Request::get("/").bearer(&other)).await?.expect(200)?;
            assert!(passed.took < Duration::from_millis(1500), "{:?}", passed.took);
        }
        Ok::<_, tidegate_kit::Error>(())
    };
    let (revoked, asked) = tokio::join!(revoking, asking);
    asked?;
    let revoked = revoked?.expect(201)?;
    assert_eq!(revoked.json()?["kept"], true, "late, and there");
    assert!(revoked.took >= Duration::from_millis(1900), "{:?}", revoked.took);
    ended(&gateway, "disk-slow").await?;
    Ok(())
}

/// R191: the running configuration stays in force, and the alarm is raised and ends.
#[tokio::test]
async fn control_plane_drills_fail_no_request() -> Outcome {
    let origin = Origin::start("api").await?;
    let config = format!("{}{}", api(&[origin.address()]), open_route(""));
    let gateway = gateway(&*config).admin("drills: true").start().await?;
    let good = "tidegate_config_last_apply_successful";
    for drill in ["control-plane-off", "control-plane-wrong"] {
        begun(&gateway, drill).await?;
        gateway.metric_until(good, &[], |value| value < 0.5).await?;
        let version = gateway.config_version().await?["configVersion"].clone();
        // What is written meanwhile is not believed.
        gateway.write_config(&format!("{config}# {drill}\n"))?;
        let refused = [("outcome", "refused")];
        let refusals = "tidegate_config_applies_total";
        gateway.metric_until(refusals, &refused, |count| count > 1.5).await?;
        gateway.get("/").await?.expect(200)?;
        assert_eq!(gateway.config_version().await?["configVersion"], version);
        ended(&gateway, drill).await?;
        gateway.metric_until(good, &[], |value| value > 0.5).await?;
    }
    gateway.log_says("configuration refused, the running one stays in force").await?;
    Ok(())
}

// The command line.

async fn drill(gateway: &Gateway, words: &[&str]) -> Result<Output> {
    let mut command = Command::new(BINARY);
    command.arg("drill").args(words).arg("--config").arg(gateway.file());
    let run = command.env_remove("TIDEGATE_ADMIN_TOKEN").kill_on_drop(true).output();
    Ok(tokio::time::timeout(Duration::from_mins(1), run).await.context("the drill's end")??)
}

fn report(output: &Output) -> Result<Value> {
    let text = String::from_utf8_lossy(&output.stdout);
    let why = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).context(format_args!("{text}{why}"))
}

#[tokio::test]
async fn the_command_line_holds_a_drill_against_the_table() -> Outcome {
    let (origin, redis) = (Origin::start("api").await?, Redis::start().await?);
    let config = api(&[origin.address()]) + &modes(&redis);
    let setup = gateway(config).admin("drills: true").admin(&format!("token: {TOKEN}"));
    let gateway = setup.start().await?;
    let words =
        ["redis-down", "--for", "5s", "--json", "--path", "/closed", "--path", "/open", "--path"];
    let output = drill(&gateway, &[&words[..], &["/nowhere"]].concat()).await?;
    let told = report(&output)?;
    assert_eq!(output.status.code(), Some(0), "{told:#}");
    let one = &told["drills"][0];
    assert_eq!((&told["good"], &one["drill"]), (&json!(true), &json!("redis-down")));
    assert!(one["backAfterSeconds"].is_number(), "{one:#}");
    let [closed, open, nowhere] = [0, 1, 2].map(|at| &one["paths"][at]);
    assert_eq!(closed["route"], "closed");
    assert_eq!(
        (&closed["before"][0]["status"], &open["during"][0]["status"]),
        (&json!(200), &json!(200))
    );
    let codes = closed["during"].as_array().context("outcomes")?;
    assert!(codes.iter().any(|seen| seen["code"] == "limit.unavailable"), "{closed:#}");
    assert_eq!(nowhere["during"][0]["status"], 404);
    let moved = one["metrics"].as_array().context("metrics")?;
    let failures = moved.iter().find(|m| m["name"] == "tidegate_limit_redis_failures_total");
    let failures = failures.context("the metric")?;
    assert!(failures["during"].as_f64() > failures["before"].as_f64(), "{failures}");
    Ok(())
}

#[tokio::test]
async fn a_drill_that_goes_otherwise_is_a_failure() -> Outcome {
    let origin = Origin::start("api").await?;
    let config = api(&[origin.address()]) + &open_route("timeoutMs: 1000");
    let gateway = gateway(config).admin("drills: true").start().await?;
    let words = ["upstream-wrong", "--for", "2s"];
    let output = drill(&gateway, &words).await?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{text}");
    for part in ["before", "during", "x 500", "upstream-wrong: as the table says, back"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let output = drill(&gateway, &[&words[..], &["--expect", "404", "--json"]].concat()).await?;
    assert_eq!(output.status.code(), Some(1));
    let told = report(&output)?;
    assert!(told["drills"][0]["paths"][0]["wrong"].is_string(), "{told:#}");

    // Something else fails, and goes on when the drill is over: it is not back.
    let asking = async {
        gateway.metric_until(ACTIVE, &[], |value| value > 0.5).await?;
        origin.set_habit(tidegate_kit::Habit::Status(418));
        Ok::<_, tidegate_kit::Error>(())
    };
    let words = [&words[..], &["--recover", "1s", "--json"]].concat();
    let (output, asked) = tokio::join!(drill(&gateway, &words), asking);
    asked?;
    let output = output?;
    let told = report(&output)?;
    assert_eq!(output.status.code(), Some(1), "{told:#}");
    assert_eq!(told["drills"][0]["backAfterSeconds"], json!(null), "{told:#}");
    assert_eq!(told["drills"][0]["paths"][0]["isBack"], json!(false), "{told:#}");

    // What fails anyway teaches nothing.
    origin.set_habit(tidegate_kit::Habit::Status(503));
    let output = drill(&gateway, &["upstream-wrong", "--for", "2s"]).await?;
    let why = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(why.contains("fails without a drill (503)"), "{why}");
    assert_eq!(output.status.code(), Some(1));
    assert!(gateway.metric(ACTIVE, &[]).await? < 0.5);
    Ok(())
}

#[tokio::test]
async fn the_command_line_lists_drills_and_says_what_it_cannot_do() -> Outcome {
    let origin = Origin::start("api").await?;
    let gateway = gateway(api(&[origin.address()]) + &open_route("")).start().await?;
    let listed = drill(&gateway, &["--list"]).await?;
    let text = String::from_utf8_lossy(&listed.stdout).into_owned();
    for name in ["redis-down", "idp-slow", "registry-empty", "control-plane-off", "disk-full"] {
        assert!(text.contains(name), "{name}: {text}");
    }
    for (words, says) in [
        (&["upstream-down"][..], "admin.drills"),
        (&["redis-down"], "no Redis is configured"),
        (&["nothing"], "--list prints them"),
        (&["upstream-down", "--for", "soon"], "write a span"),
        (&["upstream-down", "--url", "http://127.0.0.1:1"], "no drill was begun"),
    ] {
        let output = drill(&gateway, words).await?;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(text.contains(says), "{words:?}: {text}");
        assert_eq!(output.status.code(), Some(1));
    }
    Ok(())
}

/// `check` says that such a configuration is for staging.
#[tokio::test]
async fn a_check_warns_of_drills() -> Outcome {
    let origin = Origin::start("api").await?;
    let config = api(&[origin.address()]) + &open_route("");
    let gateway = gateway(config).admin("drills: true").start().await?;
    let mut command = Command::new(BINARY);
    let output = command.arg("check").arg(gateway.file()).kill_on_drop(true).output().await?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains("admin.drills") && text.contains("it is for staging"), "{text}");
    Ok(())
}
