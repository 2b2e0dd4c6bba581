//! The life of key sets: found by discovery, renewed, kept through every outage of the issuer
//! and across restarts, rotated under load (R086 to R091).

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tempfile::TempDir;
use tidegate_kit::{
    Algorithm, Authority, Context as _, Gateway, Issuer, Mood, Origin, Outcome, RawConnection,
    Request, Response, Result, wait,
};
use tokio::sync::RwLock;
use tokio::time::Instant;

use crate::{api, gateway, has_keys, provider, provider_with};

/// A route that wants a token.
const ROUTES: &str = "routes:
  - {name: private, match: {pathPrefix: /}, upstream: {service: api}, policies: {auth: required}}
";

const FETCHES: &str = "tidegate_keyring_fetches_total";

/// An origin, an issuer, and a gateway that has the issuer's keys.
struct Scene {
    _origin: Origin,
    issuer: Issuer,
    gateway: Gateway,
}

impl Scene {
    async fn start(jwks: &str) -> Result<Self> {
        let issuer = Issuer::start().await?;
        let providers = provider_with(&issuer, jwks);
        Self::start_with(issuer, &providers).await
    }

    /// With these providers.
    async fn start_with(issuer: Issuer, providers: &str) -> Result<Self> {
        let origin = Origin::start("api").await?;
        let gateway = gateway(config(&origin, providers)).start().await?;
        has_keys(&gateway).await?;
        Ok(Self { _origin: origin, issuer, gateway })
    }

    /// Sends a token that was never shown before, signed with the newest key.
    async fn good(&self) -> Result<Response> {
        show(&self.gateway, &self.issuer.token().sign()?).await
    }

    /// Has the gateway ask the issuer now: somebody shows a token of an unknown key.
    async fn ask_again(&self) -> Result<Response> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let kid = format!("unknown-{}", NEXT.fetch_add(1, Ordering::SeqCst));
        let refused = show(&self.gateway, &self.issuer.token().header("kid", kid).sign()?).await?;
        refused.problem(401, "auth.token_untrusted")?;
        Ok(refused)
    }
}

async fn show(gateway: &Gateway, token: &str) -> Result<Response> {
    gateway.send(&Request::get("/").bearer(token)).await
}

fn config(origin: &Origin, providers: &str) -> String {
    api(&[origin.address()]) + providers + ROUTES
}

/// A provider whose keys are found by discovery.
fn discovered(issuer: &Issuer, jwks: &str) -> String {
    let at = format!("jwksUrl: {}", issuer.jwks_url());
    provider_with(issuer, jwks).replace(&at, &format!("discoveryUrl: {}", issuer.discovery_url()))
}

async fn count(gateway: &Gateway, name: &str, label: (&str, &str)) -> Result<f64> {
    gateway.metric(name, &[("provider", "main"), label]).await
}

async fn more(gateway: &Gateway, name: &str, label: (&str, &str), than: f64) -> Result<f64> {
    gateway.metric_until(name, &[("provider", "main"), label], |n| n > than).await
}

/// R089, R091: whatever the issuer does, tokens of known keys pass, and the metrics tell.
#[tokio::test]
async fn no_bad_day_of_the_issuer_is_noticed() -> Outcome {
    let moods = [
        (Mood::Status(500), "status"),
        (Mood::Status(404), "status"),
        (Mood::Hang, "timeout"),
        (Mood::Slow(Duration::from_secs(3)), "timeout"),
        (Mood::Garbage, "malformed"),
        (Mood::Huge, "too_large"),
        (Mood::Redirect, "status"),
        (Mood::TooManyKeys, "keys"),
        (Mood::EmptySet, "keys"),
    ];
    let scene = Scene::start("{timeout: 500ms, fetchesPerMinute: 600}").await?;
    survive(&scene, &moods).await
}

/// The same where the keys are found by discovery, which may go wrong in ways of its own.
#[tokio::test]
async fn no_bad_day_of_discovery_is_noticed() -> Outcome {
    let moods = [
        (Mood::WrongIssuer, "discovery"),
        (Mood::Garbage, "discovery"),
        (Mood::Status(500), "status"),
        (Mood::Hang, "timeout"),
        (Mood::Huge, "too_large"),
        (Mood::Redirect, "status"),
        (Mood::TooManyKeys, "keys"),
    ];
    let issuer = Issuer::start().await?;
    let providers = discovered(&issuer, "{timeout: 500ms, fetchesPerMinute: 600}");
    let scene = Scene::start_with(issuer, &providers).await?;
    survive(&scene, &moods).await
}

async fn survive(scene: &Scene, moods: &[(Mood, &str)]) -> Outcome {
    let gateway = &scene.gateway;
    let keys = gateway.metric("tidegate_keyring_keys", &[("provider", "main")]).await?;
    assert!((keys - 3.0).abs() < 0.1, "{keys}");
    for (mood, reason) in moods {
        scene.issuer.set_mood(*mood);
        let failed = count(gateway, FETCHES, ("outcome", "failed")).await?;
        let name = "tidegate_keyring_failures_total";
        let reasons = count(gateway, name, ("reason", reason)).await?;
        scene.ask_again().await?;
        more(gateway, FETCHES, ("outcome", "failed"), failed).await?;
        more(gateway, name, ("reason", reason), reasons).await?;
        for _ in 0..5 {
            scene.good().await?.expect(200)?;
        }
    }
    // Nobody there at all.
    scene.issuer.stop().await;
    let failed = count(gateway, FETCHES, ("outcome", "failed")).await?;
    scene.ask_again().await?;
    more(gateway, FETCHES, ("outcome", "failed"), failed).await?;
    scene.good().await?.expect(200)?;
    // Back, with another key.
    scene.issuer.set_mood(Mood::Well);
    scene.issuer.add_key(Algorithm::Es256)?;
    scene.issuer.restart().await?;
    scene.good().await?.expect(200)?;
    assert_eq!(scene.issuer.followed(), 0);
    Ok(())
}

/// No keys at all is 503 with a time to come back, never 401; the gateway is ready all the same,
/// and serves as soon as the issuer does.
#[tokio::test]
async fn without_a_discovery_document_it_is_503_until_there_is_one() -> Outcome {
    let (origin, issuer) = (Origin::start("api").await?, Issuer::start().await?);
    let token = issuer.token().sign()?;
    issuer.set_mood(Mood::WrongIssuer);
    let providers = discovered(&issuer, "{timeout: 500ms}");
    let gateway = gateway(config(&origin, &providers)).start().await?;
    more(&gateway, FETCHES, ("outcome", "failed"), 0.0).await?;
    let refused = show(&gateway, &token).await?;
    refused.problem(503, "auth.keys_unavailable")?;
    assert!(refused.number("retry-after")? > 0);
    assert_eq!(issuer.fetches(), 0, "the set of another issuer is nobody's business");
    issuer.set_mood(Mood::Well);
    has_keys(&gateway).await?;
    show(&gateway, &token).await?.expect(200)?;
    assert!(issuer.discoveries() >= 2, "{}", issuer.discoveries());
    assert_eq!(issuer.fetches(), 1);
    Ok(())
}

/// C13: the last good set on disk serves a start while the issuer is away.
#[tokio::test]
async fn a_cold_start_without_the_issuer_uses_the_set_on_disk() -> Outcome {
    let (origin, issuer) = (Origin::start("api").await?, Issuer::start().await?);
    let state = TempDir::new()?;
    let config = config(&origin, &provider(&issuer));
    let directory = format!("stateDirectory: {}", state.path().join("state").display());
    let start = async || gateway(config.as_str()).server(&directory).start().await;

    let first = start().await?;
    has_keys(&first).await?;
    more(&first, "tidegate_keyring_store_total", ("outcome", "saved"), 0.0).await?;
    drop(first);
    issuer.stop().await;

    let second = start().await?;
    show(&second, &issuer.token().sign()?).await?.expect(200)?;
    let loaded = count(&second, "tidegate_keyring_store_total", ("outcome", "loaded")).await?;
    assert!((loaded - 1.0).abs() < 0.1, "{loaded}");
    more(&second, FETCHES, ("outcome", "failed"), 0.0).await?;
    let age = second.metric("tidegate_keyring_age_seconds", &[("provider", "main")]).await?;
    assert!((0.0..120.0).contains(&age), "{age}");
    show(&second, &issuer.token().sign()?).await?.expect(200)?;
    // The issuer is back; what it says from now on counts.
    let old = issuer.token().sign()?;
    issuer.rotate()?;
    issuer.restart().await?;
    has_keys(&second).await?;
    show(&second, &issuer.token().sign()?).await?.expect(200)?;
    show(&second, &old).await?.problem(401, "auth.token_untrusted")?;
    drop(second);

    // A file that was damaged is as none: 503, and no crash.
    issuer.stop().await;
    damage(&state.path().join("state"))?;
    let third = start().await?;
    show(&third, &issuer.token().sign()?).await?.problem(503, "auth.keys_unavailable")?;
    third.log_says("the key set on disk is ignored").await?;
    issuer.restart().await?;
    has_keys(&third).await?;
    show(&third, &issuer.token().sign()?).await?.expect(200)?;
    Ok(())
}

/// Cuts every file of a folder in half.
fn damage(folder: &Path) -> Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let file = std::fs::OpenOptions::new().write(true).open(&path)?;
        file.set_len(file.metadata()?.len() / 2)?;
    }
    Ok(())
}

/// R090: a key that is published before it is used costs one fetch, and no caller notices.
#[tokio::test]
async fn rotation_under_load_refuses_nobody() -> Outcome {
    const ROTATIONS: u64 = 4;
    /// Answers that each client gets between two steps.
    const STEP: u64 = 20;
    let scene = Scene::start("{}").await?;
    let issuer = Arc::new(scene.issuer);
    // Held for reading while a token is signed and shown, so that no token is under way when
    // the key that it was signed with is dropped.
    let signer = Arc::new(RwLock::new(issuer.add_key(Algorithm::Es256)?));
    let address = scene.gateway.address();
    let answered = [Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0))];
    let clients = answered.clone().map(|answered| {
        let (issuer, signer) = (Arc::clone(&issuer), Arc::clone(&signer));
        tokio::spawn(async move {
            let mut connection = RawConnection::connect(address).await?;
            loop {
                let kid = signer.read().await;
                if kid.is_empty() {
                    return Ok::<_, tidegate_kit::Error>(());
                }
                let token = issuer.token().signed_by(&kid).sign()?;
                connection.request(&Request::get("/").bearer(&token)).await?.expect(200)?;
                drop(kid);
                answered.fetch_add(1, Ordering::SeqCst);
                tokio::task::yield_now().await;
            }
        })
    });
    let step = async || {
        let goals = answered.clone().map(|count| (count.load(Ordering::SeqCst) + STEP, count));
        wait::until("every client to be answered", async || {
            let is_there = goals.iter().all(|(goal, count)| count.load(Ordering::SeqCst) >= *goal);
            (is_there || clients.iter().any(tokio::task::JoinHandle::is_finished)).then_some(())
        })
        .await
    };
    step().await?;
    for _ in 0..ROTATIONS - 1 {
        let new = issuer.add_key(Algorithm::Es256)?;
        step().await?;
        let old = std::mem::replace(&mut *signer.write().await, new);
        step().await?;
        issuer.drop_key(&old);
        step().await?;
    }
    signer.write().await.clear();
    for client in clients {
        client.await.context("a client")??;
    }
    // The first set, and one fetch for each new key: 10 a minute is what unknown keys may cost.
    assert_eq!(issuer.fetches(), 1 + ROTATIONS);
    Ok(())
}

/// R088: a flood of invented key ids costs a bounded number of fetches, and whoever has a good
/// token waits for none of them.
#[tokio::test]
async fn a_thousand_invented_keys_delay_nobody() -> Outcome {
    const CLIENTS: usize = 4;
    let scene = Scene::start("{timeout: 1s}").await?;
    // From now on each fetch takes whoever causes it as long as he may wait.
    scene.issuer.set_mood(Mood::Hang);
    let address = scene.gateway.address();
    let began = Instant::now();
    let mut flood = Vec::new();
    for client in 0..CLIENTS {
        let tokens: Result<Vec<_>> = (0..1000 / CLIENTS)
            .map(|number| {
                let kid = format!("invented-{client}-{number}");
                scene.issuer.token().header("kid", kid).sign()
            })
            .collect();
        let tokens = tokens?;
        flood.push(tokio::spawn(async move {
            let mut connection = RawConnection::connect(address).await?;
            for token in tokens {
                connection.request(&Request::get("/").bearer(&token)).await?.expect(401)?;
            }
            Ok::<_, tidegate_kit::Error>(())
        }));
    }
    let mut times = Vec::new();
    while flood.iter().any(|client| !client.is_finished()) || times.len() < 20 {
        times.push(scene.good().await?.expect(200)?.took);
    }
    for client in flood {
        client.await.context("a client")??;
    }
    times.sort_unstable();
    let median = times.get(times.len() / 2).copied().unwrap_or(Duration::MAX);
    assert!(median < Duration::from_millis(500), "{median:?}");
    let minutes = began.elapsed().as_secs() / 60 + 1;
    // The first set, and what failed fetches add by themselves within their growing pauses.
    let allowed = 1 + 10 * minutes + count_of_retries(began.elapsed());
    assert!(scene.issuer.fetches() <= allowed, "{} > {allowed}", scene.issuer.fetches());
    Ok(())
}

/// How often a failing fetch is repeated in the background within this time, at most: after 1,
/// 2, 4 seconds and so on, each less a tenth.
fn count_of_retries(time: Duration) -> u64 {
    let mut next = 0.9;
    let mut retries = 0;
    let mut left = time.as_secs_f64();
    while left >= next {
        left -= next;
        next = f64::min(next * 2.0, 54.0);
        retries += 1;
    }
    retries
}

/// R086: once the keys are there, no token costs a call to the issuer.
#[tokio::test]
async fn twenty_thousand_tokens_cost_no_call_to_the_issuer() -> Outcome {
    const CLIENTS: usize = 2;
    const EACH: usize = 10_000;
    let scene = Scene::start("{}").await?;
    scene.issuer.set_mood(Mood::Hang);
    let tokens: Result<Vec<_>> = (0..500)
        .map(|number| scene.issuer.token().subject(&format!("user-{number}")).sign())
        .collect();
    let tokens = Arc::new(tokens?);
    let address = scene.gateway.address();
    let clients = [0; CLIENTS].map(|_| {
        let tokens = Arc::clone(&tokens);
        tokio::spawn(async move {
            let mut connection = RawConnection::connect(address).await?;
            for token in tokens.iter().cycle().take(EACH) {
                connection.request(&Request::get("/").bearer(token)).await?.expect(200)?;
            }
            Ok::<_, tidegate_kit::Error>(())
        })
    });
    for client in clients {
        client.await.context("a client")??;
    }
    assert_eq!(scene.issuer.fetches(), 1);
    Ok(())
}

/// The issuer proves who it is: to an authority that the configuration names, or to none.
#[tokio::test]
async fn the_issuers_certificate_is_verified() -> Outcome {
    let folder = TempDir::new()?;
    let (ours, other) = (Authority::new("ours")?, Authority::new("other")?);
    let right = ours.write(folder.path(), "ours.pem")?;
    let wrong = other.write(folder.path(), "other.pem")?;
    let (origin, issuer) =
        (Origin::start("api").await?, Issuer::start_tls(&ours.leaf(&["127.0.0.1"])?).await?);
    let token = issuer.token().sign()?;
    let with = |settings: String| config(&origin, &discovered(&issuer, &settings));
    // The system's certificates know nothing of it either.
    for settings in ["{}".to_owned(), format!("{{caFile: {}}}", wrong.display())] {
        let gateway = gateway(with(settings)).start().await?;
        more(&gateway, FETCHES, ("outcome", "failed"), 0.0).await?;
        show(&gateway, &token).await?.problem(503, "auth.keys_unavailable")?;
    }
    assert_eq!((issuer.discoveries(), issuer.fetches()), (0, 0));
    let gateway = gateway(with(format!("{{caFile: {}}}", wrong.display()))).start().await?;
    more(&gateway, FETCHES, ("outcome", "failed"), 0.0).await?;
    // The right authority comes into force with a reload, and with it the keys.
    gateway.write_config(&with(format!("{{caFile: {}}}", right.display())))?;
    has_keys(&gateway).await?;
    show(&gateway, &token).await?.expect(200)?;
    Ok(())
}

/// The issuer says how long its set is fresh, and need not send it again.
#[tokio::test]
async fn a_set_is_renewed_when_the_issuer_says() -> Outcome {
    let issuer = Issuer::start().await?;
    issuer.use_etags();
    issuer.set_header("cache-control", "max-age=1")?;
    let providers = provider_with(&issuer, "{minRefresh: 1s}");
    let scene = Scene::start_with(issuer, &providers).await?;
    let token = scene.issuer.token().sign()?;
    show(&scene.gateway, &token).await?.expect(200)?;
    more(&scene.gateway, FETCHES, ("outcome", "unchanged"), 1.0).await?;
    assert!(scene.issuer.conditional() >= 2, "{}", scene.issuer.conditional());
    // What was proved with the set is still known: nothing has changed.
    show(&scene.gateway, &token).await?.expect(200)?;
    let hits = scene.gateway.metric("tidegate_token_cache_total", &[("outcome", "hit")]).await?;
    assert!((hits - 1.0).abs() < 0.1, "{hits}");
    // Another key comes in by itself, before anybody uses it.
    scene.issuer.add_key(Algorithm::Es256)?;
    more(&scene.gateway, FETCHES, ("outcome", "changed"), 1.0).await?;
    let unknown = ("provider", "main");
    let name = "tidegate_keyring_unknown_kid_total";
    scene.good().await?.expect(200)?;
    let unknown = scene.gateway.metric(name, &[unknown]).await?;
    assert!(unknown < 0.5, "{unknown}");
    Ok(())
}
