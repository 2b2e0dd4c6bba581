//! The leak guard: routes that share answers which depend on the caller are found out, and content
//! that only changes is not taken for that.

use tidegate_kit::{Gateway, Issuer, Origin, Outcome, Request, Response, Result};

use crate::{api, gateway, has_keys, provider};

const SHARED: &str = "?cc=public%2C+max-age%3D600";

/// A route on which every hit is looked at, though all callers share answers.
struct Scene {
    origin: Origin,
    issuer: Issuer,
    gateway: Gateway,
}

impl Scene {
    async fn start() -> Result<Self> {
        let (origin, issuer) = (Origin::start("api").await?, Issuer::start().await?);
        let config = api(&[origin.address()])
            + &provider(&issuer)
            + "routes:\n  - {name: all, match: {pathPrefix: /}, upstream: {service: api}, policies: \
               {auth: required, cache: {ttl: 60s, shared: true, verify: 100%}}}\n";
        let gateway = gateway(config).start().await?;
        has_keys(&gateway).await?;
        Ok(Self { origin, issuer, gateway })
    }

    async fn get(&self, user: &str, target: &str) -> Result<Response> {
        let token = self.issuer.token().subject(user).tenant("acme").sign()?;
        self.gateway.send(&Request::get(target).bearer(&token)).await?.expect(200)
    }

    /// How often hits were looked at, with this outcome or any.
    async fn looked(&self, outcome: Option<&str>) -> Result<f64> {
        let labels: Vec<_> = outcome.map(|outcome| ("outcome", outcome)).into_iter().collect();
        self.gateway.metric("tidegate_cache_verified_total", &labels).await
    }

    /// The same as `get`, for a hit that is looked at: waits until it was.
    async fn hit(&self, user: &str, target: &str) -> Result<Response> {
        let before = self.looked(None).await?;
        let hit = self.get(user, target).await?;
        assert_eq!(hit.header("x-cache"), Some("HIT"), "{hit}");
        let more = |count: f64| count > before + 0.5;
        self.gateway.metric_until("tidegate_cache_verified_total", &[], more).await?;
        Ok(hit)
    }
}

fn is(count: f64, expected: f64) -> bool {
    (count - expected).abs() < 0.1
}

/// A route says `shared: true` of answers that are each caller's own.
#[tokio::test]
async fn an_answer_that_depends_on_its_caller_is_found_and_shared_no_more() -> Outcome {
    let scene = Scene::start().await?;
    let target = format!("/told/x-user-id{SHARED}");
    let mut requests = 0;
    while scene.looked(Some("leak")).await? < 0.5 {
        requests += 2;
        assert!(requests <= 4, "not found within four requests");
        let filled = scene.get("alice", &target).await?;
        assert_eq!((filled.header("x-cache"), filled.text().as_str()), (Some("MISS"), "alice"));
        assert_eq!(scene.hit("bob", &target).await?.text(), "alice", "what the guard is there for");
    }
    for user in ["bob", "alice", "bob", "carol"] {
        let own = scene.get(user, &target).await?;
        assert_eq!((own.header("x-cache"), own.text().as_str()), (Some("BYPASS"), user));
    }
    let log = scene.gateway.log();
    let told: Vec<_> = log.lines().filter(|line| line.contains("depends on the caller")).collect();
    assert_eq!(told.len(), 1, "{told:?}");
    let line = told[0];
    assert!(line.contains("ERROR") && line.contains("all"), "{line}");
    assert!(!line.contains("alice") && !line.contains("bob"), "{line}");
    assert!(is(scene.looked(Some("leak")).await?, 1.0));
    let entries = scene.gateway.metric("tidegate_cache_entries", &[]).await?;
    assert!(is(entries, 0.0), "{entries}");
    // Other entries of the route are none of this.
    let other = format!("/bytes/10{SHARED}");
    scene.get("alice", &other).await?;
    assert_eq!(scene.hit("bob", &other).await?.body.len(), 10);
    Ok(())
}

/// Each caller meets the answer of another time, but none its own.
#[tokio::test]
async fn content_that_changes_is_no_leak() -> Outcome {
    let scene = Scene::start().await?;
    let control = "public, max-age=600";
    for round in 0..6 {
        let (one, other) = if round % 2 == 0 { ("alice", "bob") } else { ("bob", "alice") };
        scene.origin.publish(&format!("edition {round}"), control);
        let filled = scene.get(one, "/page").await?;
        assert_eq!(filled.header("x-cache"), Some("MISS"), "{filled}");
        scene.origin.publish(&format!("edition {round}, corrected"), control);
        assert_eq!(scene.hit(other, "/page").await?.text(), format!("edition {round}"));
    }
    assert!(is(scene.looked(Some("changed")).await?, 6.0));
    assert!(is(scene.looked(Some("leak")).await?, 0.0));
    // Two states that come and go for everybody.
    for round in 0..6 {
        scene.origin.publish("open", control);
        scene.get("alice", "/page").await?;
        if round == 0 {
            scene.hit("bob", "/page").await?;
        }
        scene.origin.publish("shut", control);
        scene.hit("bob", "/page").await?;
    }
    assert!(is(scene.looked(Some("leak")).await?, 0.0));
    assert!(!scene.gateway.log().contains("depends on the caller"));
    Ok(())
}

/// What is another at every fetch cannot be judged, and is left as the route wants it.
#[tokio::test]
async fn content_that_never_repeats_is_no_leak() -> Outcome {
    let scene = Scene::start().await?;
    let target = format!("/x{SHARED}");
    scene.get("alice", &target).await?;
    for user in ["bob", "carol", "bob"] {
        assert_eq!(scene.hit(user, &target).await?.header("x-serial"), Some("1"));
    }
    assert!(is(scene.looked(Some("changed")).await?, 3.0));
    assert_eq!(scene.origin.total(), 7, "each was looked at by two fetches");
    Ok(())
}

#[tokio::test]
async fn what_is_the_same_for_all_stays_and_ones_own_is_not_looked_at() -> Outcome {
    let scene = Scene::start().await?;
    let target = format!("/bytes/5000{SHARED}");
    scene.get("alice", &target).await?;
    let own = scene.get("alice", &target).await?;
    assert_eq!(own.header("x-cache"), Some("HIT"));
    for user in ["bob", "carol"] {
        assert_eq!(scene.hit(user, &target).await?.header("x-serial"), Some("1"));
    }
    assert!(is(scene.looked(Some("same")).await?, 2.0) && is(scene.looked(None).await?, 2.0));
    assert_eq!(scene.origin.total(), 3);
    let asked = scene.origin.last().unwrap();
    assert_eq!(asked.header("x-user-id"), Some("carol"));
    Ok(())
}

#[tokio::test]
async fn a_service_that_fails_proves_nothing() -> Outcome {
    let scene = Scene::start().await?;
    let target = format!("/bytes/50{SHARED}");
    scene.get("alice", &target).await?;
    scene.origin.set_habit(tidegate_kit::Habit::Status(503));
    scene.hit("bob", &target).await?;
    assert!(is(scene.looked(Some("failed")).await?, 1.0));
    scene.origin.set_habit(tidegate_kit::Habit::Reset);
    scene.hit("bob", &target).await?;
    assert!(is(scene.looked(Some("failed")).await?, 2.0));
    assert_eq!(scene.get("bob", &target).await?.header("x-serial"), Some("1"), "it is still kept");
    Ok(())
}
