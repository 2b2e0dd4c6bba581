//! Opaque tokens, about which their issuer is asked (RFC 7662, R100): what its answers prove,
//! how long they count, and what happens while it is away, slow or wrong.

use serde_json::{Value, json};
use tidegate_kit::{
    Authority, Gateway, IntrospectionMood, Issuer, Origin, Outcome, Request, Response, Result,
    Setup, TlsServer, wait,
};

use crate::{api, gateway};

/// A route that refuses while the issuer is away, one that then takes what was known last, and
/// one that needs a scope.
const ROUTES: &str = "routes:
  - {name: closed, match: {pathPrefix: /closed}, upstream: {service: api},
     policies: {auth: {providers: [main]}}}
  - {name: stale, match: {pathPrefix: /stale}, upstream: {service: api},
     policies: {auth: {providers: [main], failureMode: stale}}}
  - {name: orders, match: {pathPrefix: /orders}, upstream: {service: api},
     policies: {auth: required, authorization: {requiredScopes: [orders:read]}}}
";

struct Scene {
    origin: Origin,
    issuer: Issuer,
    gateway: Gateway,
}

/// A provider without keys, with these further settings for its questions.
fn provider(issuer: &Issuer, more: &str) -> String {
    format!(
        "identityProviders:\n  main:\n    issuer: {}\n    audience: api.example.com\n    \
         introspection: {{{}{more}}}\n",
        issuer.name(),
        issuer.introspection()
    )
}

fn with_secret(setup: Setup, secret: &str) -> Setup {
    setup.environment("INTROSPECTION_SECRET", secret)
}

impl Scene {
    /// With these further settings for questions.
    async fn start(more: &str) -> Result<Self> {
        let (origin, issuer) = (Origin::start("api").await?, Issuer::start().await?);
        let config = api(&[origin.address()]) + &provider(&issuer, more) + ROUTES;
        let gateway = with_secret(gateway(config), issuer.introspection_secret()).start().await?;
        Ok(Self { origin, issuer, gateway })
    }

    async fn show(&self, target: &str, token: &str) -> Result<Response> {
        self.gateway.send(&Request::get(target).bearer(token)).await
    }

    async fn asked(&self, outcome: &str) -> Result<f64> {
        let labels = [("provider", "main"), ("outcome", outcome)];
        self.gateway.metric("tidegate_introspection_questions_total", &labels).await
    }

    /// Waits until a token gets this status.
    async fn until(&self, target: &str, token: &str, status: u16) -> Result<()> {
        wait::until(&format!("{status} for {target}"), async || {
            let response = self.show(target, token).await.ok()?;
            (response.status == status).then_some(())
        })
        .await
    }
}

#[tokio::test]
async fn a_good_token_is_asked_about_once_and_proves_what_the_answer_says() -> Outcome {
    let scene = Scene::start("").await?;
    let token = "opaque/token+with=odd~characters";
    scene.issuer.issue_opaque(
        token,
        &json!({"scope": "orders:read", "tenant_id": "acme", "client_id": "app",
                "roles": ["clerk"], "token_type": "Bearer"}),
    );
    for _ in 0..100 {
        let response = scene.show("/closed", token).await?.expect(200)?;
        for (name, value) in [
            ("x-user-id", Some("alice")),
            ("x-tenant-id", Some("acme")),
            ("x-auth-scopes", Some("orders:read")),
            ("x-user-roles", Some("clerk")),
            ("authorization", None),
        ] {
            assert_eq!(response.echoed(name)?.as_deref(), value, "{name}");
        }
    }
    scene.show("/orders", token).await?.expect(200)?;
    assert_eq!(scene.issuer.questions(), 1);
    assert_eq!(scene.issuer.malformed_questions(), 0);
    scene.issuer.issue_opaque("without-scope", &json!({}));
    scene.show("/orders", "without-scope").await?.problem(403, "auth.scope_insufficient")?;

    scene.gateway.settled().await?;
    let hits =
        scene.gateway.metric("tidegate_introspection_cache_total", &[("outcome", "hit")]).await?;
    assert!((hits - 100.0).abs() < 0.5, "{hits}");
    assert!((scene.asked("active").await? - 2.0).abs() < 0.5);
    let log = scene.gateway.log();
    let lines = serde_json::to_string(&scene.gateway.access_lines()?).unwrap_or_default();
    for secret in [token, scene.issuer.introspection_secret()] {
        assert!(!log.contains(secret) && !lines.contains(secret), "a secret is in a log");
    }
    Ok(())
}

#[tokio::test]
async fn requests_that_come_together_share_one_question() -> Outcome {
    let scene = Scene::start(", timeout: 20s").await?;
    scene.issuer.issue_opaque("shared", &json!({}));
    scene.issuer.hold_answers();
    let all = async {
        let mut shows = Vec::new();
        for _ in 0..40 {
            shows.push(scene.show("/closed", "shared"));
        }
        futures(shows).await
    };
    let release = async {
        let in_flight = |count: f64| count > 39.5;
        scene.gateway.metric_until("tidegate_requests_in_flight", &[], in_flight).await?;
        scene.issuer.release_answers();
        Ok::<_, tidegate_kit::Error>(())
    };
    let (responses, released) = tokio::join!(all, release);
    released?;
    for response in responses {
        response?.expect(200)?;
    }
    assert_eq!(scene.issuer.questions(), 1);
    Ok(())
}

/// Runs all at once.
async fn futures<F: Future>(all: Vec<F>) -> Vec<F::Output> {
    let mut all: Vec<_> = all.into_iter().map(Box::pin).collect();
    let mut done: Vec<Option<F::Output>> = all.iter().map(|_| None).collect();
    std::future::poll_fn(|task| {
        for (future, done) in all.iter_mut().zip(&mut done) {
            if done.is_none()
                && let std::task::Poll::Ready(output) = future.as_mut().poll(task)
            {
                *done = Some(output);
            }
        }
        if done.iter().all(Option::is_some) {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    done.into_iter().flatten().collect()
}

#[tokio::test]
async fn a_token_that_is_not_active_is_401_and_briefly_not_asked_about_again() -> Outcome {
    let scene = Scene::start(", negativeTtl: 1s").await?;
    for _ in 0..5 {
        let refused = scene.show("/closed", "nobody-knows-it").await?;
        refused.problem(401, "auth.token_untrusted")?;
        let challenge = refused.required("www-authenticate")?;
        assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");
    }
    let asked = scene.issuer.questions();
    assert!(asked <= 2, "{asked} questions in a second");
    // It becomes good, and that is known once the bad answer no longer counts.
    scene.issuer.issue_opaque("nobody-knows-it", &json!({}));
    scene.until("/closed", "nobody-knows-it", 200).await?;
    Ok(())
}

#[tokio::test]
async fn an_answer_about_a_token_for_somebody_else_is_401() -> Outcome {
    let scene = Scene::start("").await?;
    let cases = [
        (json!({"iss": "https://other/"}), "auth.token_untrusted"),
        (json!({"aud": "billing"}), "auth.token_audience"),
        (json!({"aud": null}), "auth.token_audience"),
        (json!({"exp": 1_000_000_000}), "auth.token_expired"),
        (json!({"nbf": 32_503_680_000_i64}), "auth.token_not_yet_valid"),
        (json!({"iat": 32_503_680_000_i64}), "auth.token_not_yet_valid"),
        (json!({"sub": null}), "auth.token_malformed"),
        (json!({"token_type": "refresh_token"}), "auth.token_untrusted"),
        (json!({"token_type": "DPoP"}), "auth.token_untrusted"),
    ];
    for (at, (change, code)) in cases.into_iter().enumerate() {
        let token = format!("token-{at}");
        scene.issuer.issue_opaque(&token, &change);
        let refused = scene.show("/closed", &token).await?;
        refused
            .problem(401, code)
            .map_err(|error| tidegate_kit::Error::new(format!("{change}: {error}")))?;
    }
    scene.issuer.issue_opaque("no-iss-no-exp", &json!({"iss": null, "exp": null}));
    scene.show("/closed", "no-iss-no-exp").await?.expect(200)?;
    assert_eq!(scene.origin.total(), 1);
    Ok(())
}

/// R100: a cached answer never outlives `exp`, however long `cacheTtl` is.
#[tokio::test]
async fn a_good_answer_counts_no_longer_than_exp() -> Outcome {
    let scene = Scene::start(", cacheTtl: 1h, negativeTtl: 1h").await?;
    let soon = now() + 3;
    scene.issuer.issue_opaque("short", &json!({"exp": soon}));
    scene.issuer.issue_opaque("long", &json!({}));
    for token in ["short", "long"] {
        scene.show("/closed", token).await?.expect(200)?;
        scene.issuer.revoke_opaque(token);
    }
    scene.until("/closed", "short", 401).await?;
    assert!(now() >= soon, "it was good until then");
    scene.show("/closed", "long").await?.expect(200)?;
    assert_eq!(scene.issuer.questions(), 3);
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "tokens carry the time of day")]
fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// A token that is revoked at its issuer is refused once `cacheTtl` is over.
#[tokio::test]
async fn a_revocation_at_the_issuer_takes_effect_after_the_ttl() -> Outcome {
    let scene = Scene::start(", cacheTtl: 2s").await?;
    scene.issuer.issue_opaque("token", &json!({}));
    scene.show("/closed", "token").await?.expect(200)?;
    scene.issuer.revoke_opaque("token");
    for target in ["/closed", "/stale"] {
        scene.until(target, "token", 401).await?;
    }
    // The issuer's no is not forgotten when it goes away.
    scene.issuer.stop().await;
    let refused = scene.show("/stale", "token").await?;
    assert!(matches!(refused.status, 401 | 503), "{}", refused.status);
    Ok(())
}

/// Every way in which an issuer can fail: 503, never 401, and 200 for whoever is known.
async fn fails(scene: &Scene, what: &str, outcome: &str) -> Outcome {
    let before = scene.asked(outcome).await?;
    for target in ["/closed", "/stale"] {
        let token = format!("unknown-{what}-{}", &target[1..]);
        scene.issuer.issue_opaque(&token, &json!({}));
        let refused = scene.show(target, &token).await?;
        refused.problem(503, "auth.unavailable")?;
        assert!(refused.number("retry-after")? > 0);
    }
    assert!(scene.asked(outcome).await? > before, "{what} is counted as {outcome}");
    scene.show("/closed", "known").await?.expect(200)?;
    Ok(())
}

#[tokio::test]
async fn whatever_is_wrong_with_the_issuer_it_is_503_and_ends_by_itself() -> Outcome {
    use IntrospectionMood::{Abort, Hang, Huge, Redirect, Says, Status, Well};
    let scene = Scene::start(", timeout: 300ms, cacheTtl: 1h").await?;
    let elsewhere = Issuer::start().await?;
    elsewhere.issue_opaque("unknown-redirect-closed", &json!({"iss": null}));
    scene.issuer.issue_opaque("known", &json!({}));
    scene.show("/closed", "known").await?.expect(200)?;
    let twice =
        format!("{{\"active\":false,\"active\":true,\"aud\":\"{AUDIENCE}\",\"sub\":\"a\"}}");
    let cells = [
        ("500", Status(500), "status"),
        ("404", Status(404), "status"),
        ("401", Status(401), "credentials"),
        ("slow", Hang, "timeout"),
        ("garbage", Says("<html>".to_owned()), "malformed"),
        ("empty", Says(String::new()), "malformed"),
        ("string", Says("{\"active\":\"true\"}".to_owned()), "malformed"),
        ("twice", Says(twice), "malformed"),
        ("huge", Huge, "malformed"),
        ("redirect", Redirect(format!("{}/introspect", elsewhere.name())), "status"),
        ("abort", Abort, "unreachable"),
    ];
    for (what, mood, outcome) in cells {
        scene.issuer.set_introspection_mood(mood);
        fails(&scene, what, outcome).await.map_err(|error| {
            tidegate_kit::Failure::from(tidegate_kit::Error::new(format!("{what}: {error:?}")))
        })?;
        scene.issuer.set_introspection_mood(Well);
        let token = format!("unknown-{what}-closed");
        scene.until("/closed", &token, 200).await?;
    }
    assert_eq!(elsewhere.questions(), 0, "redirects are not followed");
    scene.issuer.stop().await;
    fails(&scene, "down", "unreachable").await?;
    scene.issuer.restart().await?;
    scene.until("/closed", "unknown-down-closed", 200).await.map_err(Into::into)
}

/// The audience that the gateway wants.
const AUDIENCE: &str = "api.example.com";

#[tokio::test]
async fn while_the_issuer_is_away_a_stale_route_takes_the_last_good_answer() -> Outcome {
    let scene = Scene::start(", cacheTtl: 1s, timeout: 500ms").await?;
    let soon = now() + 6;
    scene.issuer.issue_opaque("long", &json!({}));
    scene.issuer.issue_opaque("short", &json!({"exp": soon}));
    for token in ["long", "short"] {
        scene.show("/stale", token).await?.expect(200)?;
    }
    scene.issuer.stop().await;
    scene.until("/closed", "long", 503).await?;
    let response = scene.show("/stale", "long").await?.expect(200)?;
    assert_eq!(response.echoed("x-user-id")?.as_deref(), Some("alice"));
    scene.show("/stale", "never-seen").await?.problem(503, "auth.unavailable")?;
    // Its own end is the end, whoever is away.
    scene.until("/stale", "short", 503).await?;
    assert!(now() >= soon);
    scene.show("/stale", "long").await?.expect(200)?;
    let stale = [("outcome", "stale")];
    assert!(scene.gateway.metric("tidegate_introspection_cache_total", &stale).await? > 1.5);
    Ok(())
}

/// After failures in a row the issuer is left alone: requests are refused at once.
#[tokio::test]
async fn a_sick_issuer_is_not_asked_by_everybody() -> Outcome {
    let scene = Scene::start(", timeout: 200ms").await?;
    scene.issuer.set_introspection_mood(IntrospectionMood::Hang);
    for at in 0..40 {
        scene.show("/closed", &format!("token-{at}")).await?.problem(503, "auth.unavailable")?;
    }
    assert!(scene.asked("held_back").await? > 0.5);
    assert!(scene.issuer.questions() < 40, "{}", scene.issuer.questions());
    Ok(())
}

#[tokio::test]
async fn questions_at_once_are_bounded() -> Outcome {
    let scene = Scene::start(", timeout: 30s").await?;
    scene.issuer.hold_answers();
    let names: Vec<String> = (0..64).map(|at| format!("token-{at}")).collect();
    for name in &names {
        scene.issuer.issue_opaque(name, &json!({}));
    }
    let all = async {
        let shows: Vec<_> = names.iter().map(|name| scene.show("/closed", name)).collect();
        futures(shows).await
    };
    let beyond = async {
        wait::until("64 questions", async || (scene.issuer.questions() == 64).then_some(()))
            .await?;
        let refused = scene.show("/closed", "one-more").await?;
        refused.problem(503, "auth.unavailable")?;
        scene.issuer.release_answers();
        Ok::<_, tidegate_kit::Error>(())
    };
    let (responses, refused) = tokio::join!(all, beyond);
    refused?;
    for response in responses {
        response?.expect(200)?;
    }
    Ok(())
}

#[tokio::test]
async fn wrong_credentials_of_the_gateway_are_its_own_trouble_and_said_in_the_log() -> Outcome {
    let (origin, issuer) = (Origin::start("api").await?, Issuer::start().await?);
    let config = api(&[origin.address()]) + &provider(&issuer, "") + ROUTES;
    let gateway = with_secret(gateway(config), "not-the-secret-of-it").start().await?;
    issuer.issue_opaque("token-of-alice", &json!({}));
    let refused = gateway.send(&Request::get("/closed").bearer("token-of-alice")).await?;
    refused.problem(503, "auth.unavailable")?;
    gateway.log_says("refuses the gateway's own clientId and clientSecret").await?;
    assert!(!gateway.log().contains("not-the-secret-of-it"));
    assert!(!gateway.log().contains("token-of-alice"));
    Ok(())
}

/// A provider with keys and an endpoint: JWTs are verified here, everything else is asked about,
/// and a route says which of them it takes.
#[tokio::test]
async fn a_jwt_goes_to_its_issuers_keys_and_everything_else_is_asked_about() -> Outcome {
    let (origin, issuer) = (Origin::start("api").await?, Issuer::start().await?);
    let asked = Issuer::start().await?;
    let config = api(&[origin.address()])
        + &format!(
            "identityProviders:\n  main: {{issuer: '{}', audience: {AUDIENCE}, algorithms: [ES256], \
             jwksUrl: '{}', introspection: {{{}}}}}\n  asked: {{issuer: '{}', audience: {AUDIENCE}, \
             introspection: {{{}}}}}\n",
            issuer.name(),
            issuer.jwks_url(),
            issuer.introspection(),
            asked.name(),
            asked.introspection(),
        )
        + "apiKeys: [{id: partner, key: a-long-enough-key-of-a-partner}]\n"
        + "routes:\n\
           - {name: both, match: {pathPrefix: /both}, upstream: {service: api}, \
              policies: {auth: {providers: [main]}}}\n\
           - {name: jwt, match: {pathPrefix: /jwt}, upstream: {service: api}, \
              policies: {auth: {providers: [main], anyOf: [jwt, apiKey]}}}\n\
           - {name: opaque, match: {pathPrefix: /opaque}, upstream: {service: api}, \
              policies: {auth: {providers: [main], anyOf: [introspection]}}}\n\
           - {name: asked, match: {pathPrefix: /asked}, upstream: {service: api}, \
              policies: {auth: {providers: [asked]}}}\n";
    let setup = with_secret(gateway(config), issuer.introspection_secret());
    let gateway = setup.start().await?;
    crate::has_keys(&gateway).await?;
    let show =
        async |target: &str, token: &str| gateway.send(&Request::get(target).bearer(token)).await;
    let jwt = issuer.token().sign()?;
    let theirs = asked.token().sign()?;
    issuer.issue_opaque("opaque", &json!({"sub": "bob"}));
    issuer.issue_opaque(&jwt, &json!({"sub": "never"}));
    asked.issue_opaque(&theirs, &json!({"sub": "carol"}));

    for (target, token, user) in [
        ("/both", jwt.as_str(), "alice"),
        ("/both", "opaque", "bob"),
        ("/jwt", &jwt, "alice"),
        ("/opaque", "opaque", "bob"),
        ("/asked", &theirs, "carol"),
    ] {
        let response = show(target, token).await?.expect(200)?;
        assert_eq!(response.echoed("x-user-id")?.as_deref(), Some(user), "{target}");
    }
    for (target, token, code) in [
        ("/jwt", "opaque", "auth.token_malformed"),
        ("/opaque", jwt.as_str(), "auth.token_untrusted"),
        ("/both", &theirs, "auth.token_untrusted"),
        ("/asked", &jwt, "auth.token_untrusted"),
    ] {
        show(target, token).await?.problem(401, code)?;
    }
    assert_eq!((issuer.questions(), asked.questions()), (1, 1));
    let key = Request::get("/jwt").header("x-api-key", "a-long-enough-key-of-a-partner");
    gateway.send(&key).await?.expect(200)?;
    Ok(())
}

/// What was proved under one configuration says nothing under another.
#[tokio::test]
async fn a_change_of_the_settings_ends_what_is_remembered() -> Outcome {
    let scene = Scene::start("").await?;
    scene.issuer.issue_opaque("token", &json!({}));
    scene.show("/closed", "token").await?.expect(200)?;
    let config = api(&[scene.origin.address()]) + &provider(&scene.issuer, "") + ROUTES;
    scene.gateway.write_config(&config.replace("audience: api.example.com", "audience: other"))?;
    scene.until("/closed", "token", 401).await?;
    scene.gateway.write_config(&config)?;
    scene.until("/closed", "token", 200).await?;
    Ok(())
}

#[tokio::test]
async fn the_issuers_tls_is_verified() -> Outcome {
    let (origin, issuer) = (Origin::start("api").await?, Issuer::start().await?);
    let authority = Authority::new("authority of the issuer")?;
    let other = Authority::new("another authority")?;
    let front = issuer.tls_front(&TlsServer::new(&authority.leaf(&["127.0.0.1"])?)).await?;
    let folder = tempfile::tempdir()?;
    let good = authority.write(folder.path(), "good.pem")?;
    let bad = other.write(folder.path(), "bad.pem")?;
    issuer.issue_opaque("token", &json!({}));
    let base = format!("https://{}", front.address());
    let config = |ca: &str| {
        api(&[origin.address()])
            + &format!(
                "identityProviders:\n  main: {{issuer: '{}', audience: {AUDIENCE}, \
                 introspection: {{{}{ca}}}}}\n",
                issuer.name(),
                issuer.introspection_at(&base)
            )
            + ROUTES
    };
    let with = |ca: &str| with_secret(gateway(config(ca)), issuer.introspection_secret());
    let request = Request::get("/closed").bearer("token");
    let right = with(&format!(", caFile: {}", good.display())).start().await?;
    right.send(&request).await?.expect(200)?;
    for ca in [format!(", caFile: {}", bad.display()), String::new()] {
        let wrong = with(&ca).start().await?;
        wrong.send(&request).await?.problem(503, "auth.unavailable")?;
    }
    assert_eq!(issuer.questions(), 1);
    Ok(())
}

#[tokio::test]
async fn two_issuers_for_opaque_tokens_on_one_route_are_refused() -> Outcome {
    let one = |name: &str| {
        format!(
            "  {name}: {{issuer: https://{name}/, audience: a, introspection: {{url: \
             https://{name}/i, clientId: g, clientSecret: '${{env:INTROSPECTION_SECRET}}'}}}}\n"
        )
    };
    let config = format!(
        "listeners: [{{name: a, address: '127.0.0.1:1'}}]\nservices: {{api: {{endpoints: \
         [{{address: '127.0.0.1:1'}}]}}}}\nidentityProviders:\n{}{}{ROUTES}",
        one("main"),
        one("other")
    );
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("gateway.yaml");
    std::fs::write(&file, config)?;
    let run = tokio::process::Command::new(crate::BINARY)
        .args(["check", "--json"])
        .arg(&file)
        .env("INTROSPECTION_SECRET", "a-secret")
        .output();
    let output = wait::within("the command's end", run).await??;
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let problems = report["problems"].as_array().cloned().unwrap_or_default();
    let found = problems.iter().find(|problem| problem["code"] == "auth.introspection");
    let message = found.and_then(|problem| problem["message"].as_str()).unwrap_or_default();
    assert!(message.contains("`main`, `other`"), "{report:#}");
    assert!(!output.status.success());
    Ok(())
}
