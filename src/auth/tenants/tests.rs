use http::{HeaderMap, Method};
use serde_json::json;

use super::*;
use crate::auth::lookup::testing::{FakeRecords, Mood, lookup};
use crate::auth::news::News;
use crate::auth::question::Answers;
use crate::auth::testing::{Gate, after, now, policy, view};
use crate::auth::{KeyRing, assume, authorize};
use crate::clock::Moment;
use crate::fault::Reject;

const CONFIG: &str = "
identityProviders:
  main: {issuer: i, audience: a, algorithms: [HS256], secret: 0123456789abcdef0123456789abcdef}
tenants: {listed: {status: ACTIVE}}
database: {url: 'sqlite:/nowhere/keys.db', hashKey: 0123456789abcdef0123456789abcdef}
";

/// A gateway of one route that lets active tenants through, and its database.
struct Scene {
    gate: Gate,
    records: Arc<FakeRecords>,
}

impl Scene {
    fn new(mode: &str) -> Self {
        let mut gate = Gate::new(CONFIG, KeyRing::default());
        let yaml =
            format!("{{auth: {{failureMode: {mode}}}, authorization: {{tenantStatus: [ACTIVE]}}}}");
        gate.policy = policy(&gate.providers, &yaml);
        gate.memory.tenants.clear(64);
        Self { gate, records: Arc::default() }
    }

    /// What a caller of this tenant is told, with whoever has to be asked in between.
    async fn say(&self, tenant: &str, claimed: Option<&str>, now: Moment) -> u16 {
        let claims = json!({"sub": "alice", "tenant_id": tenant, "tenant_status": claimed});
        let identity = assume(&self.gate.providers, claims.as_object().unwrap()).unwrap();
        let metrics = Arc::new(crate::telemetry::Metrics::new().unwrap());
        let lookup = lookup(&self.records, &metrics);
        let headers = HeaderMap::new();
        let view = view(&Method::GET, &headers);
        let mut answers = Answers::default();
        loop {
            let evidence = self.gate.evidence(&answers, now);
            match authorize(&self.gate.policy, Some(&identity), &view, &evidence) {
                Ok(()) => return 200,
                Err(Denied::Ask(Question::Tenant(id))) => {
                    assert!(answers.tenant.is_none(), "asked twice");
                    let database = self.gate.providers.database.as_ref().unwrap();
                    let terms = Some(database.terms);
                    let known = &self.gate.memory.tenants;
                    answers.tenant = Some(lookup.ask(known, terms, &id, now).await);
                }
                Err(denied) => return Reject::from(denied).fault.status(),
            }
        }
    }
}

/// R114: the configuration's word, then the database's, then the token's.
#[tokio::test]
async fn three_are_heard_about_a_tenant_in_order() {
    let scene = Scene::new("closed");
    scene.records.put_tenant("listed", "SUSPENDED");
    assert_eq!(scene.say("listed", Some("SUSPENDED"), now()).await, 200);
    assert_eq!(scene.records.asked(), 0, "the configuration knows");
    scene.records.put_tenant("stored", "SUSPENDED");
    assert_eq!(scene.say("stored", Some("ACTIVE"), now()).await, 403);
    assert_eq!(scene.say("unheard-of", Some("ACTIVE"), now()).await, 200);
    assert_eq!(scene.say("unheard-of", None, now()).await, 403);
    assert_eq!(scene.records.asked(), 2, "once each");
    assert_eq!(scene.say(&"x".repeat(257), Some("ACTIVE"), now()).await, 200);
    assert_eq!(scene.records.asked(), 2, "nobody has such an id");
}

/// R114: a change counts within the time of the cache, or at once by the news.
#[tokio::test]
async fn a_suspension_counts_in_time() {
    let scene = Scene::new("closed");
    scene.records.put_tenant("stored", "ACTIVE");
    assert_eq!(scene.say("stored", None, now()).await, 200);
    scene.records.put_tenant("stored", "SUSPENDED");
    assert_eq!(scene.say("stored", None, after(299)).await, 200);
    assert_eq!(scene.say("stored", None, after(300)).await, 403);
    scene.records.put_tenant("stored", "ACTIVE");
    assert_eq!(scene.say("stored", None, after(301)).await, 403);
    scene.gate.memory.purge(&News::PurgeTenant("stored".into()));
    assert_eq!(scene.say("stored", None, after(301)).await, 200);
}

#[tokio::test]
async fn an_outage_is_503_or_what_was_known_last() {
    for (mode, expected) in [("closed", 503), ("stale", 200)] {
        for mood in [Mood::Down, Mood::Hangs] {
            let scene = Scene::new(mode);
            scene.records.put_tenant("stored", "ACTIVE");
            assert_eq!(scene.say("stored", None, now()).await, 200);
            scene.records.set_mood(mood);
            assert_eq!(scene.say("stored", None, after(299)).await, 200);
            assert_eq!(scene.say("stored", None, after(300)).await, expected, "{mode}");
            assert_eq!(scene.say("stored", None, after(3600)).await, 503, "{mode}");
            // The token's word does not stand in for the database's.
            assert_eq!(scene.say("other", Some("ACTIVE"), now()).await, 503, "{mode}");
            scene.records.set_mood(Mood::Well);
            assert_eq!(scene.say("stored", None, after(3600)).await, 200);
        }
    }
}
