//! What operators see of limits and do with them: the list, one counter, a reset, a simulation.

use std::process::Output;

use serde_json::{Value, json};
use tidegate_kit::{Context as _, Gateway, Origin, Outcome, Redis, Request, Result, send, wait};
use tokio::process::Command;

use crate::{BINARY, api, gateway, open_route};

const TOKEN: &str = "an-admin-token-of-some-length";

/// Runs the binary to its end, with the admin token unless it is another.
async fn limits(words: &[&str], token: Option<&str>) -> Result<Output> {
    let mut command = Command::new(BINARY);
    command.arg("limits").args(words).env_remove("TIDEGATE_ADMIN_TOKEN");
    if let Some(token) = token {
        command.env("TIDEGATE_ADMIN_TOKEN", token);
    }
    let run = command.kill_on_drop(true).output();
    Ok(wait::within("the command's end", run).await??)
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn all(output: &Output) -> String {
    stdout(output) + &String::from_utf8_lossy(&output.stderr)
}

/// Runs a command that must succeed, at this gateway, and reads its JSON.
async fn told(gateway: &Gateway, words: &[&str]) -> Result<Value> {
    let admin = gateway.admin().to_string();
    let words = [words, &["--json", "--admin", &admin]].concat();
    let output = limits(&words, Some(TOKEN)).await?;
    assert_eq!(output.status.code(), Some(0), "{words:?}: {}", all(&output));
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Runs a command that must fail with this exit code and say this.
async fn fails(words: &[&str], token: Option<&str>, code: i32, says: &str) -> Result<()> {
    let output = limits(words, token).await?;
    let text = all(&output);
    assert_eq!(output.status.code(), Some(code), "{words:?}: {text}");
    assert!(text.contains(says), "{words:?}: no {says:?} in {text}");
    Ok(())
}

/// Limits of two in an hour for each address and key holder, and for those with a plan of three.
const LIMITS: &str = "apiKeys: [{id: partner, key: a-key-of-the-partner-0123, plan: pro}]
rateLimits:
  burst: {limit: 2, window: 1h, mode: exact, key: [clientIp]}
  by-key: {limit: 2, window: 1h, mode: exact, key: [apiKey], plans: {pro: {limit: 3}}}
routes:
  - {name: keys, match: {pathPrefix: /keys}, upstream: {service: api}, \
     policies: {auth: required, rateLimit: by-key}}
  - {name: all, match: {pathPrefix: /}, upstream: {service: api}, \
     policies: {auth: none, rateLimit: burst}}
";

async fn start(origin: &Origin, redis: &Redis) -> Result<Gateway> {
    let config = api(&[origin.address()])
        + &format!("redis: {{url: \"{}\", timeout: 2s, breaker: {{failures: 1}}}}\n", redis.url())
        + LIMITS;
    let setup = gateway(config).admin(&format!("token: {TOKEN}"));
    setup.listener("trustedProxies: [127.0.0.0/8]").start().await
}

async fn from(gateway: &Gateway, address: &str, status: u16) -> Result<()> {
    let request = Request::get("/").header("x-forwarded-for", address);
    gateway.send(&request).await?.expect(status).map(drop)
}

/// Both gateways listen for news.
async fn both_hear(redis: &Redis) -> Result<()> {
    wait::until("both gateways to hear news", async || {
        let reply = redis.query(&["PUBSUB", "NUMSUB", "tidegate:limit:news"]).await.ok()?;
        let tidegate_kit::Reply::List(items) = reply else { return None };
        (items.get(1)?.number()? == 2).then_some(())
    })
    .await
}

#[tokio::test]
async fn limits_are_listed_and_counters_shown() -> Outcome {
    let (origin, redis) = (Origin::start("api").await?, Redis::start().await?);
    let gateway = start(&origin, &redis).await?;
    let list = told(&gateway, &[]).await?;
    assert_eq!(list["limiter"]["redis"]["breaker"], "closed");
    assert_eq!(list["limiter"]["countingLocally"], false);
    let names: Vec<&Value> =
        list["limits"].as_array().context("limits")?.iter().map(|l| &l["name"]).collect();
    assert_eq!(names, ["burst", "by-key"]);
    let tiers = &list["limits"][1]["tiers"];
    assert_eq!((&tiers[0]["limit"], &tiers[1]["limit"]), (&json!(2), &json!(3)));
    assert_eq!((&tiers[0]["plan"], &tiers[1]["plan"]), (&Value::Null, &json!("pro")));
    assert_eq!(list["limits"][0]["routes"], json!(["all"]));

    let fresh = told(&gateway, &["show", "burst", "clientIp=192.0.2.1"]).await?;
    assert_eq!(fresh["redis"], json!({"used": 0, "remaining": 2, "resetMs": 0}));
    from(&gateway, "192.0.2.1", 200).await?;
    let used = told(&gateway, &["show", "burst", "clientIp=192.0.2.1"]).await?;
    assert_eq!((&used["redis"]["used"], &used["redis"]["remaining"]), (&json!(1), &json!(1)));
    let reset = used["redis"]["resetMs"].as_u64().context("resetMs")?;
    assert!((1..=7_200_000).contains(&reset), "{reset}");
    from(&gateway, "192.0.2.1", 200).await?;
    from(&gateway, "192.0.2.1", 429).await?;
    let spent = told(&gateway, &["show", "burst", "clientIp=192.0.2.1"]).await?;
    assert_eq!(spent["redis"]["remaining"], 0);
    assert!(spent["refusedForMs"].as_u64().is_some_and(|ms| ms > 0), "{spent}");

    // The key that `explain` prints is the counter's.
    let file = gateway.file().to_string_lossy();
    let explained = Command::new(BINARY)
        .args(["explain", &file, "--host", "x", "--path", "/", "--client", "192.0.2.1", "--json"])
        .output();
    let explained: Value = serde_json::from_slice(&explained.await?.stdout)?;
    let taken = &explained["limits"][0];
    assert_eq!(taken["key"], spent["key"]);
    for (field, value) in [("limit", json!(2)), ("cost", json!(1)), ("mode", json!("exact"))] {
        assert_eq!(taken[field], value, "{field}");
    }
    let key = spent["key"].as_str().context("key")?;
    for name in [key.to_owned(), format!("tidegate:{key}")] {
        let by_key = told(&gateway, &["show", &name]).await?;
        assert_eq!((&by_key["key"], &by_key["redis"]["remaining"]), (&json!(key), &json!(0)));
    }
    let stored = redis.query(&["EXISTS", &format!("tidegate:{key}")]).await?;
    assert_eq!(stored.number(), Some(1));

    let request = Request::get("/keys").header("x-api-key", "a-key-of-the-partner-0123");
    gateway.send(&request).await?.expect(200)?;
    let words = ["show", "by-key", "apiKey=partner", "--plan", "pro"];
    let partner = told(&gateway, &words).await?;
    assert_eq!((&partner["redis"]["used"], &partner["enforced"]), (&json!(1), &json!(3)));
    let admin = gateway.admin().to_string();
    let page = limits(&[&words[..], &["--admin", &admin]].concat(), None).await?;
    assert!(stdout(&page).contains("1 used, 2 left"), "{}", all(&page));
    let page = limits(&["--config", &file], None).await?;
    assert!(stdout(&page).contains("by-key") && stdout(&page).contains("pro"), "{}", all(&page));
    Ok(())
}

/// A reset at one node opens the counter on all at once, and is in the log.
#[tokio::test]
async fn a_reset_opens_a_counter_on_every_node() -> Outcome {
    let (origin, redis) = (Origin::start("api").await?, Redis::start().await?);
    let (one, two) = (start(&origin, &redis).await?, start(&origin, &redis).await?);
    both_hear(&redis).await?;
    for address in ["192.0.2.1", "192.0.2.2"] {
        from(&one, address, 200).await?;
        from(&two, address, 200).await?;
        // Both know now that it is used up, and ask Redis no more.
        from(&one, address, 429).await?;
        from(&two, address, 429).await?;
    }
    let done = told(&one, &["reset", "burst", "clientIp=192.0.2.1"]).await?;
    assert_eq!((&done["redis"], &done["told"]), (&json!(true), &json!(2)), "{done}");
    from(&one, "192.0.2.1", 200).await?;
    wait::until("the other node to hear of it", async || {
        let request = Request::get("/").header("x-forwarded-for", "192.0.2.1");
        let response = two.send(&request).await.ok()?;
        (response.status == 200).then_some(())
    })
    .await?;
    from(&one, "192.0.2.1", 429).await?;
    from(&one, "192.0.2.2", 429).await?;
    one.log_says("limits: a counter was reset").await?;
    let log = one.log();
    for word in ["the bearer of the admin token", "192.0.2.1", "clientIp", "rl2:burst:"] {
        assert!(log.contains(word), "no {word} in the log");
    }
    assert!(!log.contains(TOKEN));

    // Anything may be published there.
    for junk in ["", "{", "[1]", "{\"reset\":1}", "{\"reset\":\"rl2:burst:{\"}"] {
        redis.query(&["PUBLISH", "tidegate:limit:news", junk]).await?;
    }
    let path = "/admin/limits/burst/reset?clientIp=192.0.2.2";
    let order = Request::post(path, "").header("authorization", &format!("Bearer {TOKEN}"));
    send(two.admin(), &order).await?.expect(200)?;
    from(&two, "192.0.2.2", 200).await?;
    Ok(())
}

#[tokio::test]
async fn what_is_wrong_is_said() -> Outcome {
    let (origin, redis) = (Origin::start("api").await?, Redis::start().await?);
    let gateway = start(&origin, &redis).await?;
    let admin = gateway.admin().to_string();
    let at = ["--admin", admin.as_str()];
    let reset = ["reset", "burst", "clientIp=192.0.2.1"];
    let with = |words: &[&'static str]| [words, &at[..]].concat();
    from(&gateway, "192.0.2.1", 200).await?;

    fails(&with(&reset), None, 1, "TIDEGATE_ADMIN_TOKEN").await?;
    fails(&with(&reset), Some("another-token-of-some-length"), 1, "another").await?;
    let still = told(&gateway, &["show", "burst", "clientIp=192.0.2.1"]).await?;
    assert_eq!(still["redis"]["used"], 1, "nobody has reset it");

    let good = Some(TOKEN);
    fails(&with(&["show", "brust", "clientIp=192.0.2.1"]), good, 1, "did you mean `burst`?")
        .await?;
    fails(&with(&["show", "burst"]), good, 1, "give also: clientIp").await?;
    fails(&with(&["show", "burst", "clientIp=home"]), good, 1, "not a value of `clientIp`").await?;
    fails(&with(&["show", "burst", "client=x"]), good, 1, "`client` is not a part").await?;
    let more = ["show", "burst", "clientIp=192.0.2.1", "userId=u"];
    fails(&with(&more), good, 1, "does not count by `userId`").await?;
    let key = "rl2:burst:00000000:{00000000}:00000000000000000000000000000000";
    fails(&with(&["show", key]), good, 1, "not the name of a counter").await?;
    fails(&with(&["show", "burst", "acme"]), good, 2, "PART=VALUE").await?;
    let nobody = ["show", "burst", "clientIp=192.0.2.1", "--admin", "127.0.0.1:1"];
    fails(&nobody, good, 1, "cannot be asked").await?;

    for (method, target, status) in [
        ("POST", "/admin/limits", 405),
        ("PUT", "/admin/limits/burst", 405),
        ("GET", "/admin/limits/burst/reset", 405),
        ("GET", "/admin/limits/nothing", 404),
        ("GET", "/admin/limitsx", 404),
    ] {
        send(gateway.admin(), &Request::new(method, target)).await?.expect(status)?;
    }
    Ok(())
}

#[tokio::test]
async fn an_outage_of_redis_is_said() -> Outcome {
    let (origin, mut redis) = (Origin::start("api").await?, Redis::start().await?);
    let gateway = start(&origin, &redis).await?;
    from(&gateway, "192.0.2.1", 200).await?;
    redis.kill().await?;
    from(&gateway, "192.0.2.1", 200).await?;
    let list = told(&gateway, &[]).await?;
    assert_eq!(list["limiter"]["redis"]["breaker"], "open");
    assert_eq!(list["limiter"]["countingLocally"], true);
    let shown = told(&gateway, &["show", "burst", "clientIp=192.0.2.1"]).await?;
    assert_eq!(shown["redis"], Value::Null);
    assert!(shown["redisError"].as_str().is_some_and(|why| !why.is_empty()), "{shown}");
    assert_eq!(shown["node"]["used"], 1, "{shown}");
    let admin = gateway.admin().to_string();
    let page = limits(&["show", "burst", "clientIp=192.0.2.1", "--admin", &admin], None).await?;
    assert!(stdout(&page).contains("cannot be asked"), "{}", all(&page));
    let reset = ["reset", "burst", "clientIp=192.0.2.1", "--admin", &admin];
    fails(&reset, Some(TOKEN), 1, "only this node has forgotten").await?;
    let shown = told(&gateway, &["show", "burst", "clientIp=192.0.2.1"]).await?;
    assert_eq!(shown["node"], Value::Null);
    Ok(())
}

/// C9: what a simulation says of a log is what a gateway with that limit does.
#[tokio::test]
async fn a_simulation_foretells_what_a_gateway_does() -> Outcome {
    const POLICY: &str = "rateLimits:\n  \
        day: {limit: 7, window: 1d, key: [clientIp], ipv6Prefix: 64}\n";
    let origin = Origin::start("api").await?;
    let trusting = |config: String| gateway(config).listener("trustedProxies: [127.0.0.0/8]");
    let open = trusting(api(&[origin.address()]) + &open_route("")).start().await?;
    let limited = api(&[origin.address()]) + POLICY + &open_route("rateLimit: day");
    let limited = trusting(limited).start().await?;
    let addresses = ["192.0.2.1", "192.0.2.2", "192.0.2.1", "192.0.2.3", "192.0.2.1"];
    let mut refused = 0;
    for address in addresses.iter().cycle().take(40) {
        let request = Request::get("/").header("x-forwarded-for", address);
        open.send(&request).await?.expect(200)?;
        refused += u64::from(limited.send(&request).await?.status == 429);
    }
    open.get("/\u{0}").await.ok();
    open.settled().await?;
    wait::until("forty lines of the log", async || {
        (open.access_lines().ok()?.len() >= 40).then_some(())
    })
    .await?;

    let folder = open.file().parent().context("a folder")?.to_owned();
    std::fs::write(folder.join("p.yaml"), POLICY)?;
    let (log, policy) = (folder.join("access.log"), folder.join("p.yaml"));
    let (log, policy) = (log.to_string_lossy(), policy.to_string_lossy());
    let words = ["simulate", "--log", &log, "--policy", &policy, "--refuse-under", "10%"];
    let output = limits(&[&words[..], &["--json"]].concat(), None).await?;
    assert_eq!(output.status.code(), Some(0), "{}", all(&output));
    let report: Value = serde_json::from_slice(&output.stdout)?;
    let day = &report["limits"][0];
    assert_eq!(day["requests"], 40, "{report:#}");
    assert_eq!(day["refused"], refused, "{report:#}");
    // Of 24, 8 and 8 requests 7 each pass.
    assert_eq!(refused, 17 + 1 + 1);
    assert_eq!(day["top"][0]["refused"], 17);
    assert!(day["top"][0]["parts"][0][1].as_str().is_some_and(|v| v.starts_with("192.0.2.1")));
    // Less than four of forty: with 21, three of the first.
    let smallest = &day["algorithms"][0]["smallest"][0];
    assert_eq!((&smallest["limit"], &smallest["refused"]), (&json!(21), &json!(3)));

    let page = limits(&words, None).await?;
    for word in ["day (sliding_window)", "40 requests of 3 keys, 19 refused", "192.0.2.1"] {
        assert!(stdout(&page).contains(word), "no {word} in {}", all(&page));
    }
    let unknown = [&words[..], &["--limit", "dya"]].concat();
    fails(&unknown, None, 1, "did you mean `day`?").await?;
    fails(&["simulate", "--log", &log, "--policy", &log], None, 1, "error").await?;
    fails(&["simulate", "--log", "/nothing", "--policy", &policy], None, 1, "cannot be read")
        .await?;
    std::fs::write(folder.join("p.yaml"), POLICY.replace("clientIp", "'header:x-team'"))?;
    fails(&words, None, 1, "`header:x-team`").await?;
    Ok(())
}
