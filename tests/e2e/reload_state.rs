//! What outlives a configuration: what is known, counted and kept is found again by name, when
//! something else changes.

use tidegate_kit::{Gateway, Habit, Issuer, Origin, Outcome, Request, Result, wait};

use crate::{gateway, has_keys, list, provider};

/// Services of three kinds, and an unrelated route that is another one in each version.
struct Scene {
    origin: Origin,
    /// Fails its requests.
    sick: Origin,
    well: Origin,
    broken: Origin,
    issuer: Issuer,
    gateway: Gateway,
}

impl Scene {
    async fn start() -> Result<Self> {
        let (origin, sick) = (Origin::start("api").await?, Origin::start("sick").await?);
        let (well, broken) = (Origin::start("well").await?, Origin::start("broken").await?);
        let issuer = Issuer::start().await?;
        let config = config(1, [&origin, &sick, &well, &broken], &issuer);
        let gateway = gateway(config).start().await?;
        has_keys(&gateway).await?;
        Ok(Self { origin, sick, well, broken, issuer, gateway })
    }

    /// Changes the unrelated route.
    async fn change(&self, version: u64) -> Result<()> {
        let origins = [&self.origin, &self.sick, &self.well, &self.broken];
        self.gateway.write_config(&config(version, origins, &self.issuer))?;
        self.gateway.runs_version(version).await?;
        self.gateway.get(&format!("/unrelated-{version}")).await?.expect(204)?;
        Ok(())
    }

    /// Returns when the gateway has done with the request: its connection to the service can be
    /// used again then, which may be after its client has the answer.
    async fn status(&self, target: &str) -> Result<u16> {
        let status = self.gateway.get(target).await?.status;
        wait::until("the end of the request", async || {
            let open = self.gateway.metric("tidegate_requests_in_flight", &[]).await.ok()?;
            (open < 0.5).then_some(())
        })
        .await?;
        Ok(status)
    }
}

fn config(version: u64, [origin, sick, well, broken]: [&Origin; 4], issuer: &Issuer) -> String {
    let open = "auth: none";
    let routes = [
        ("plain", "api", open),
        ("kept", "api", "auth: none, cache: {ttl: 600s}"),
        ("limited", "api", "auth: none, rateLimit: few"),
        ("private", "api", "auth: required"),
        ("pair", "pair", open),
        ("broken", "broken", open),
    ];
    let routes = routes.map(|(name, service, policies)| {
        format!(
            "  - {{name: {name}, match: {{pathPrefix: /{name}}}, \
             upstream: {{service: {service}}}, policies: {{{policies}}}}}\n"
        )
    });
    let routes = routes.concat();
    format!(
        "configVersion: {version}\n{provider}rateLimits:\n  few: {{algorithm: token_bucket, \
         capacity: 3, refillPerSecond: 0.001, key: [clientIp]}}\nservices:\n  \
         api: {{endpoints: [{api}]}}\n  \
         pair: {{endpoints: [{pair}], ejection: {{consecutiveFailures: 3, ejectFor: 5m}}}}\n  \
         broken: {{endpoints: [{broken}], circuitBreaker: {{errorPercent: 50, minRequests: 4, \
         openFor: 5m}}}}\nroutes:\n{routes}  - {{name: unrelated-{version}, \
         match: {{path: /unrelated-{version}}}, respond: {{status: 204}}, \
         policies: {{auth: none}}}}\n",
        provider = provider(issuer),
        api = list(&[origin.address()]),
        pair = list(&[sick.address(), well.address()]),
        broken = list(&[broken.address()]),
    )
}

#[tokio::test]
async fn connections_to_services_are_used_again() -> Outcome {
    let scene = Scene::start().await?;
    for _ in 0..3 {
        assert_eq!(scene.status("/plain").await?, 200);
    }
    let connections = scene.origin.connections();
    for version in 2..5 {
        scene.change(version).await?;
        for _ in 0..3 {
            assert_eq!(scene.status("/plain").await?, 200);
        }
    }
    assert_eq!(scene.origin.connections(), connections);
    Ok(())
}

#[tokio::test]
async fn an_endpoint_that_is_left_out_stays_out() -> Outcome {
    let scene = Scene::start().await?;
    scene.sick.set_habit(Habit::Status(503));
    while scene.sick.total() < 3 {
        scene.status("/pair").await?;
    }
    scene.sick.set_habit(Habit::Scripted);
    for version in 2..4 {
        scene.change(version).await?;
        for _ in 0..6 {
            assert_eq!(scene.status("/pair").await?, 200);
        }
    }
    assert_eq!(scene.sick.total(), 3);
    assert!(scene.well.total() >= 12);
    Ok(())
}

#[tokio::test]
async fn an_open_circuit_stays_open() -> Outcome {
    let scene = Scene::start().await?;
    scene.broken.set_habit(Habit::Status(503));
    for _ in 0..4 {
        scene.gateway.get("/broken").await?.expect(503)?;
    }
    scene.broken.set_habit(Habit::Scripted);
    for version in 2..4 {
        scene.gateway.get("/broken").await?.problem(503, "upstream.circuit_open")?;
        scene.change(version).await?;
        scene.gateway.get("/broken").await?.problem(503, "upstream.circuit_open")?;
    }
    assert_eq!(scene.broken.total(), 4);
    Ok(())
}

#[tokio::test]
async fn counts_and_kept_answers_stay() -> Outcome {
    let scene = Scene::start().await?;
    let kept = async || {
        let answer = scene.gateway.get("/kept/lamp").await?.expect(200)?;
        answer.required("x-cache").map(ToOwned::to_owned)
    };
    assert_eq!(kept().await?, "MISS");
    assert_eq!(scene.status("/limited").await?, 200);
    for version in 2..4 {
        scene.change(version).await?;
        assert_eq!(kept().await?, "HIT");
        assert_eq!(scene.status("/limited").await?, 200);
    }
    assert_eq!(scene.status("/limited").await?, 429);
    scene.change(4).await?;
    assert_eq!(scene.status("/limited").await?, 429);
    Ok(())
}

#[tokio::test]
async fn key_sets_are_not_fetched_again() -> Outcome {
    let scene = Scene::start().await?;
    let token = scene.issuer.token().sign()?;
    let ask = async |token: &str| {
        let request = Request::get("/private").bearer(token);
        scene.gateway.send(&request).await?.expect(200)
    };
    ask(&token).await?;
    let fetches = scene.issuer.fetches();
    for version in 2..5 {
        scene.change(version).await?;
        ask(&token).await?;
        ask(&scene.issuer.token().subject(&format!("somebody-{version}")).sign()?).await?;
    }
    assert_eq!(scene.issuer.fetches(), fetches);
    let seen = [("outcome", "hit")];
    assert!(scene.gateway.metric("tidegate_token_cache_total", &seen).await? > 2.5);
    Ok(())
}
