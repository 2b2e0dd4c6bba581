//! API keys: how requests carry them, and the database that holds those which come and go
//! (R101 to R103, R114, R115, T12, T27).
//!
//! Keys and tenants are written by the command line, as an operator does it; the databases are
//! real files.

use std::path::{Path, PathBuf};

use tidegate_kit::{
    Context as _, Gateway, Origin, Outcome, Postgres, Redis, Request, Response, Result,
};
use tokio::process::Command;

use crate::{BINARY, api, gateway};

const KEY: &str = "one-0123456789abcdef";

/// A key of the configuration, `KEY`.
const LISTED: &str = "apiKeys: [{id: partner, key: \"${env:ONE}\", plan: gold}]\n";

const ROUTES: &str = "routes:
  - {name: private, match: {pathPrefix: /private}, upstream: {service: api},
     policies: {auth: required}}
  - {name: told, match: {pathPrefix: /told}, upstream: {service: api},
     policies: {auth: required, forwardCredentials: true}}
  - {name: cached, match: {pathPrefix: /cached}, upstream: {service: api},
     policies: {auth: required, cache: {ttl: 60s, shared: true}}}
  - {name: moved, match: {pathPrefix: /moved}, redirect: {path: /private},
     policies: {auth: required}}
  - {name: public, match: {pathPrefix: /public}, upstream: {service: api},
     policies: {auth: none}}
";

async fn listed(more: &str) -> Result<(Origin, Gateway)> {
    let origin = Origin::start("api").await?;
    let config = api(&[origin.address()]) + LISTED + more + ROUTES;
    let gateway = gateway(config).environment("ONE", KEY).start().await?;
    Ok((origin, gateway))
}

/// The target that the service saw last.
fn target(origin: &Origin) -> String {
    origin.last().map(|seen| seen.target.clone()).unwrap_or_default()
}

/// R101: both carriers work; the service sees neither, and the rest as it was sent.
#[tokio::test]
async fn both_carriers_work_and_neither_is_sent_on() -> Outcome {
    let (origin, gateway) = listed("").await?;
    let header = Request::get("/private?a=%7e&b=+&").header("x-api-key", KEY);
    let response = gateway.send(&header).await?.expect(200)?;
    assert_eq!(response.echoed("x-api-key")?, None);
    assert_eq!(target(&origin), "/private?a=%7e&b=+&", "nothing else is touched");
    for (sent, seen) in [
        (format!("/private?api_key={KEY}"), "/private"),
        (format!("/private?a=%7e&api_key={KEY}&b=+&&c"), "/private?a=%7e&b=+&&c"),
        (format!("/private?api%5Fkey={KEY}&a"), "/private?a"),
    ] {
        let response = gateway.get(&sent).await?.expect(200)?;
        assert_eq!(response.echoed("x-client-id")?.as_deref(), Some("partner"), "{sent}");
        assert_eq!(target(&origin), seen, "{sent}");
    }
    // Where the route says so, and where nobody is asked for anything, it stays.
    for path in ["/told", "/public"] {
        let sent = format!("{path}?api_key={KEY}&a");
        gateway.get(&sent).await?.expect(200)?;
        assert_eq!(target(&origin), sent);
    }
    Ok(())
}

#[tokio::test]
async fn more_than_one_key_is_none() -> Outcome {
    let (origin, gateway) = listed("").await?;
    let in_query = format!("/private?api_key={KEY}");
    let refused = [
        Request::get(&in_query).header("x-api-key", KEY),
        Request::get(&format!("{in_query}&api_key={KEY}")),
        Request::get("/private").header("x-api-key", KEY).header("x-api-key", KEY),
    ];
    for request in refused {
        gateway.send(&request).await?.problem(401, "auth.api_key_unknown")?;
    }
    assert_eq!(origin.total(), 0);
    Ok(())
}

#[tokio::test]
async fn the_carriers_are_the_configurations_to_name() -> Outcome {
    let (origin, gateway) = listed("apiKeyCarriers: {header: X-Partner, query: token}\n").await?;
    let request = Request::get(&format!("/private?token={KEY}&api_key=1"));
    gateway.send(&request).await?.expect(200)?;
    assert_eq!(target(&origin), "/private?api_key=1");
    let request = Request::get("/private").header("x-partner", KEY).header("x-api-key", "mine");
    let response = gateway.send(&request).await?.expect(200)?;
    assert_eq!(response.echoed("x-partner")?, None);
    assert_eq!(response.echoed("x-api-key")?.as_deref(), Some("mine"), "a header like others");
    let refused = gateway.send(&Request::get("/private").header("x-partner", "x")).await?;
    let challenge = refused.problem(401, "auth.api_key_unknown").map(|_| ());
    challenge?;
    assert!(refused.required("www-authenticate")?.contains("header=\"x-partner\""));
    Ok(())
}

/// T12, T27: the key is in no cache key, no answer, and no log.
#[tokio::test]
async fn a_key_in_the_query_leaves_no_trace() -> Outcome {
    let (origin, gateway) = listed("").await?;
    let with = |way: &str, key: &str| format!("{way}?a=1&api_key={key}");
    gateway.get(&with("/cached", KEY)).await?.expect(200)?;
    let request = Request::get("/cached?a=1").header("x-api-key", KEY);
    gateway.send(&request).await?.expect(200)?;
    assert_eq!(origin.total(), 1, "one entry, however the key came");
    gateway.get(&with("/cached", "wrong")).await?.problem(401, "auth.api_key_unknown")?;
    let moved = gateway.get(&with("/moved", KEY)).await?;
    assert!(!moved.required("location")?.contains(KEY));
    let refused = gateway.get(&with("/private", "wrong-0123456789abcdef")).await?;
    assert!(!refused.text().contains("0123456789abcdef"));
    gateway.settled().await?;
    let log = gateway.log() + &format!("{:?}", gateway.access_lines()?);
    assert!(!log.contains("0123456789abcdef"), "{log}");
    Ok(())
}

/// Explanations tell that there was a key, and not which.
#[tokio::test]
async fn explanations_do_not_show_keys() -> Outcome {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("gateway.yaml");
    let limits = "rateLimits: {one: {limit: 9, window: 1m, key: [\"header:x-api-key\"]}}\n\
                  policies: {rateLimit: [one]}\n";
    let address = "127.0.0.1:9".parse().context("an address")?;
    std::fs::write(
        &file,
        format!(
            "listeners: [{{name: main, address: \"127.0.0.1:9\"}}]\n{}{LISTED}{limits}{ROUTES}",
            api(&[address])
        ),
    )?;
    for path in ["/cached", "/told", "/public", "/private"] {
        for way in [format!("{path}?b&api_key={KEY}"), path.to_owned()] {
            let mut command = Command::new(BINARY);
            command.arg("explain").arg(&file).args(["--path", &way, "--json"]).env("ONE", KEY);
            command.args(["--host", "api.example.com"]);
            if !way.contains('?') {
                command.args(["--header", &format!("x-api-key: {KEY}")]);
            }
            let told = command.kill_on_drop(true).output().await?;
            let text = String::from_utf8_lossy(&told.stdout).into_owned();
            assert!(text.contains("\"route\""), "{}", String::from_utf8_lossy(&told.stderr));
            assert!(!text.contains(KEY), "{way}: {text}");
        }
    }
    Ok(())
}

const HASH_KEY: &str = "0123456789abcdef0123456789abcdef";

/// Routes for callers whose keys are in the database.
const STORED_ROUTES: &str = "rateLimits:
  gold: {limit: 2, window: 1h, key: [apiKey]}
routes:
  - {name: private, match: {pathPrefix: /private}, upstream: {service: api},
     policies: {auth: required}}
  - {name: patient, match: {pathPrefix: /patient}, upstream: {service: api},
     policies: {auth: {failureMode: stale}}}
  - {name: active, match: {pathPrefix: /active}, upstream: {service: api},
     policies: {auth: required, authorization: {tenantStatus: [ACTIVE]}}}
  - {name: orders, match: {pathPrefix: /products/orders}, upstream: {service: api},
     policies: {auth: required, authorization: {product: orders}}}
  - {name: billing, match: {pathPrefix: /products/billing}, upstream: {service: api},
     policies: {auth: required, authorization: {product: billing}}}
  - {name: limited, match: {pathPrefix: /limited}, upstream: {service: api},
     policies: {auth: required, rateLimit: [gold]}}
";

/// A gateway with a database of its own.
struct Scene {
    origin: Origin,
    gateway: Gateway,
    folder: tempfile::TempDir,
}

impl Scene {
    async fn start(more: &str) -> Result<Self> {
        Self::sharing(more, "").await
    }

    /// With these settings of `database`, and this further configuration.
    async fn sharing(settings: &str, more: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let url = format!("sqlite:{}", file_in(&folder).display());
        Self::at(&url, folder, settings, more).await
    }

    /// With the database at this address.
    async fn at(url: &str, folder: tempfile::TempDir, settings: &str, more: &str) -> Result<Self> {
        let origin = Origin::start("api").await?;
        let database =
            format!("database:\n  url: \"{url}\"\n  hashKey: \"${{env:HASH_KEY}}\"\n{settings}");
        let config = api(&[origin.address()]) + &database + more + STORED_ROUTES;
        let gateway = gateway(config).environment("HASH_KEY", HASH_KEY).start().await?;
        Ok(Self { origin, gateway, folder })
    }

    /// The file of the database.
    fn file(&self) -> PathBuf {
        file_in(&self.folder)
    }

    /// Runs a command of an operator; what it printed.
    async fn run(&self, words: &[&str]) -> Result<String> {
        let mut command = Command::new(BINARY);
        command.args(words).arg("--config").arg(self.gateway.file());
        command.env("HASH_KEY", HASH_KEY).kill_on_drop(true);
        let output = tidegate_kit::wait::within("the command's end", command.output()).await??;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let why = String::from_utf8_lossy(&output.stderr).into_owned();
        output.status.success().then_some(text).context(format_args!("{words:?}: {why}"))
    }

    /// Makes a key; it and its id.
    async fn create(&self, more: &[&str]) -> Result<(String, String)> {
        let words = [&["keys", "create", "--client", "partner"], more].concat();
        let text = self.run(&words).await?;
        let key = word(&text, "tg_")?;
        let list = self.run(&["keys", "list"]).await?;
        assert!(!list.contains(&key), "keys are shown once");
        // The newest is last or first; there is one where this is asked.
        Ok((key, word(&list, "key_")?))
    }

    async fn ask(&self, path: &str, key: &str) -> Result<Response> {
        self.gateway.send(&Request::get(path).header("x-api-key", key)).await
    }

    async fn lookups(&self, outcome: &str) -> Result<f64> {
        let labels = [("kind", "apiKey"), ("outcome", outcome)];
        self.gateway.metric("tidegate_lookups_total", &labels).await
    }
}

fn file_in(folder: &tempfile::TempDir) -> PathBuf {
    folder.path().join("keys.db")
}

/// The first word of a text that begins so.
fn word(text: &str, beginning: &str) -> Result<String> {
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    let found = words.filter(|word| word.starts_with(beginning)).map(ToOwned::to_owned).next();
    found.context(format_args!("{beginning} in {text}"))
}

/// Puts something else in the place of the database, in one step.
fn replace(file: &Path, by: &[u8]) -> Result<()> {
    let draft = file.with_extension("draft");
    std::fs::write(&draft, by)?;
    Ok(std::fs::rename(draft, file)?)
}

/// R102, R103, R115.
#[tokio::test]
async fn a_stored_key_proves_what_its_record_says_for_one_query() -> Outcome {
    let scene = Scene::start("").await?;
    let words = [
        "--tenant",
        "acme",
        "--plan",
        "gold",
        "--scope",
        "orders:read",
        "--product",
        "orders",
        "--expires",
        "90d",
    ];
    let (key, _) = scene.create(&words).await?;
    for _ in 0..5 {
        let request = Request::get("/private").header("x-api-key", &key);
        let request = request.header("x-client-id", "mallory").header("x-client-plan", "free");
        let response = scene.gateway.send(&request).await?.expect(200)?;
        for (name, value) in [
            ("x-client-id", "partner"),
            ("x-client-plan", "gold"),
            ("x-tenant-id", "acme"),
            ("x-auth-scopes", "orders:read"),
        ] {
            assert_eq!(response.echoed(name)?.as_deref(), Some(value), "{name}");
        }
    }
    assert!((scene.lookups("database").await? - 1.0).abs() < 0.1);
    assert!((scene.lookups("local").await? - 4.0).abs() < 0.1);
    scene.ask("/products/orders", &key).await?.expect(200)?;
    scene.ask("/products/billing", &key).await?.expect(403)?;
    for status in [200, 200, 429] {
        scene.ask("/limited", &key).await?.expect(status)?;
    }
    let file = std::fs::read(scene.file())?;
    assert!(!file.windows(key.len()).any(|part| part == key.as_bytes()), "a hash only (T27)");
    Ok(())
}

#[tokio::test]
async fn unknown_broken_and_revoked_keys_are_told_the_same() -> Outcome {
    let scene = Scene::start("  cacheTtl: 1s\n  staleTtl: 1s\n").await?;
    let (key, id) = scene.create(&[]).await?;
    scene.ask("/private", &key).await?.expect(200)?;
    let broken = format!("{}{}", &key[..key.len() - 1], if key.ends_with('x') { 'y' } else { 'x' });
    scene.ask("/private", &broken).await?.problem(401, "auth.api_key_unknown")?;
    let asked = scene.lookups("none").await?;
    assert!(asked < 0.1, "nobody was asked about a broken key: {asked}");
    scene.run(&["keys", "revoke", &id]).await?;
    tidegate_kit::wait::until("the end of the key", async || {
        let response = scene.ask("/private", &key).await.ok()?;
        (response.status == 401).then_some(())
    })
    .await?;
    scene.ask("/private", &key).await?.problem(401, "auth.api_key_unknown")?;
    Ok(())
}

/// R114: a suspended tenant is refused within the time of the cache.
#[tokio::test]
async fn a_suspended_tenant_is_refused() -> Outcome {
    let scene = Scene::start("  cacheTtl: 1s\n  staleTtl: 1s\n  negativeTtl: 100ms\n").await?;
    let (key, _) = scene.create(&["--tenant", "acme"]).await?;
    scene.ask("/active", &key).await?.problem(403, "auth.tenant_refused")?;
    let becomes = async |wanted: u16| {
        tidegate_kit::wait::until(&format!("{wanted}"), async || {
            let response = scene.ask("/active", &key).await.ok()?;
            (response.status == wanted).then_some(())
        })
        .await
    };
    scene.run(&["tenants", "set", "acme", "ACTIVE"]).await?;
    becomes(200).await?;
    scene.run(&["tenants", "set", "acme", "SUSPENDED"]).await?;
    becomes(403).await?;
    Ok(())
}

/// The database × {down, wrong, back}: known callers go on, others hear 503, nobody 401.
#[tokio::test]
async fn an_outage_of_the_database_is_503_until_it_is_back() -> Outcome {
    let scene = Scene::start("  cacheTtl: 1s\n  staleTtl: 1h\n").await?;
    let (key, _) = scene.create(&[]).await?;
    scene.ask("/private", &key).await?.expect(200)?;
    let good = std::fs::read(scene.file())?;
    for outage in [None, Some(&b"this is no database"[..])] {
        match outage {
            None => std::fs::remove_file(scene.file())?,
            Some(garbage) => replace(&scene.file(), garbage)?,
        }
        tidegate_kit::wait::until("the outage to show", async || {
            let response = scene.ask("/private", &key).await.ok()?;
            (response.status == 503).then_some(())
        })
        .await?;
        let refused = scene.ask("/private", &key).await?;
        refused.problem(503, "auth.unavailable")?;
        assert!(refused.number("retry-after")? > 0);
        scene.ask("/patient", &key).await?.expect(200)?;
        replace(&scene.file(), &good)?;
        scene.ask("/private", &key).await?.expect(200)?;
    }
    scene.gateway.log_says("the database cannot be asked about callers").await?;
    scene.gateway.log_says("the database answers again").await?;
    assert!(!scene.gateway.log().contains(&key));
    assert!(scene.origin.total() > 0);
    Ok(())
}

/// Nodes share what one of them found; a Redis that is away costs nobody an answer (R102).
#[tokio::test]
async fn nodes_share_answers_through_redis_and_live_without_it() -> Outcome {
    let mut redis = Redis::start().await?;
    let more = format!("redis: {{url: \"{}\", timeout: 250ms}}\n", redis.url());
    let scene = Scene::sharing("  cacheTtl: 1s\n  staleTtl: 1h\n", &more).await?;
    let (key, _) = scene.create(&[]).await?;
    scene.ask("/private", &key).await?.expect(200)?;
    let names = tidegate_kit::wait::until("the answer in Redis", async || {
        let names = redis.query(&["KEYS", "tidegate:auth:key:*"]).await.ok()?.texts();
        (!names.is_empty()).then_some(names)
    })
    .await?;
    assert!(names.iter().all(|name| !name.contains(&key)), "a hash only (T27)");
    redis.freeze()?;
    scene.ask("/private", &key).await?.expect(200)?;
    redis.thaw()?;
    redis.kill().await?;
    for _ in 0..3 {
        scene.ask("/private", &key).await?.expect(200)?;
    }
    Ok(())
}

/// Two nodes, one PostgreSQL, one Redis.
struct Fleet {
    postgres: Postgres,
    nodes: [Scene; 2],
    _redis: Redis,
}

impl Fleet {
    async fn start() -> Result<Self> {
        let (postgres, redis) = (Postgres::start().await?, Redis::start().await?);
        let url = postgres.database("keys").await?;
        let more = format!("redis: {{url: \"{}\", timeout: 1s}}\n", redis.url());
        let node =
            || async { Scene::at(&url, tempfile::tempdir()?, "  timeout: 500ms\n", &more).await };
        Ok(Self { nodes: [node().await?, node().await?], postgres, _redis: redis })
    }

    /// Waits until a path answers with a status for a key on every node.
    async fn becomes(&self, path: &str, key: &str, status: u16) -> Result<()> {
        for node in &self.nodes {
            tidegate_kit::wait::until(&format!("{status} for {path}"), async || {
                let response = node.ask(path, key).await.ok()?;
                (response.status == status).then_some(())
            })
            .await?;
        }
        Ok(())
    }
}

/// R102: what one node changes counts on the other at once, long before `cacheTtl` is over.
#[tokio::test]
async fn nodes_share_one_database_and_hear_of_changes() -> Outcome {
    let fleet = Fleet::start().await?;
    let [first, second] = &fleet.nodes;
    let (key, id) = first.create(&["--tenant", "acme"]).await?;
    first.run(&["tenants", "set", "acme", "ACTIVE"]).await?;
    for node in [first, second] {
        let response = node.ask("/private", &key).await?.expect(200)?;
        assert_eq!(response.echoed("x-tenant-id")?.as_deref(), Some("acme"));
        node.ask("/active", &key).await?.expect(200)?;
    }
    let shared = second.lookups("redis").await?;
    assert!((shared - 1.0).abs() < 0.1, "the second node asked Redis: {shared}");
    second.run(&["tenants", "set", "acme", "SUSPENDED"]).await?;
    fleet.becomes("/active", &key, 403).await?;
    second.run(&["keys", "revoke", &id]).await?;
    fleet.becomes("/private", &key, 401).await?;
    let stored = fleet.postgres.dump("keys").await?;
    assert!(!stored.contains(&key), "a hash only (T27)");
    Ok(())
}

/// A database that hangs or is gone: known callers pass, others are told to come back, and none
/// is told that its key is wrong.
#[tokio::test]
async fn an_outage_of_the_shared_database_refuses_no_known_caller() -> Outcome {
    let mut fleet = Fleet::start().await?;
    let (known, _) = fleet.nodes[0].create(&[]).await?;
    fleet.becomes("/private", &known, 200).await?;
    for hangs in [true, false] {
        let (new, _) = fleet.nodes[0].create(&[]).await?;
        if hangs {
            fleet.postgres.freeze()?;
        } else {
            fleet.postgres.kill().await?;
        }
        for node in &fleet.nodes {
            node.ask("/private", &known).await?.expect(200)?;
            let told = node.ask("/private", &new).await?;
            told.problem(503, "auth.unavailable")?;
            assert!(told.header("retry-after").is_some());
        }
        if hangs {
            fleet.postgres.thaw()?;
        } else {
            fleet.postgres.restart().await?;
        }
        fleet.becomes("/private", &new, 200).await?;
    }
    Ok(())
}
