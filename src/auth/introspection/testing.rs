//! Configurations and answers for the tests of this module.

use std::sync::Arc;

use http::Method;
use serde_json::Value;

use super::answer::{Judged, Malformed, judge};
use super::known::Asked;
use super::{KnownTokens, Outcome};
use crate::auth::question::{Answers, Denied, Question};
use crate::auth::testing::{
    ISSUER, NOW, Signer, bearer, compile, main_provider, now, policy, said, view,
};
use crate::auth::{AuthPolicy, Evidence, KeyRing, Memory, Providers, authenticate};
use crate::clock::Moment;
use crate::edge::Identity;
use crate::fault::Reject;
use crate::model::Resolved;
use crate::telemetry::Metrics;

/// A token that says nothing by itself.
pub(super) const OPAQUE: &str = "2YotnFZFEjr1zCsicMWpAA";

/// Settings that will do.
const SETTINGS: &str =
    "introspection: {url: 'https://issuer.test/i', clientId: g, clientSecret: '${env:S}'}";

/// A provider `main` without keys; `rest` is more of it, or of the configuration.
pub(super) fn asking(rest: &str) -> Providers {
    let yaml = main_provider(&format!("    {SETTINGS}\n{rest}"));
    let (providers, problems) = compile(&yaml, &Resolved::default());
    assert_eq!(problems, [""; 0]);
    providers
}

/// What an answer about a good token, changed by `change` (null removes), is judged to be.
pub(super) fn judged(providers: &Providers, change: &Value) -> Result<Judged, Malformed> {
    let mut answer = serde_json::json!({
        "active": true, "iss": ISSUER, "aud": "orders", "sub": "user-1", "exp": NOW + 300,
    });
    for (name, value) in change.as_object().unwrap() {
        answer[name] = value.clone();
    }
    let (_, provider) = providers.iter().next().unwrap();
    judge(answer.to_string().as_bytes(), provider, providers, now())
}

/// A gateway of one route and three providers: `asked` has no keys, `keyed` has keys and is not
/// asked, `both` has keys and is asked about opaque tokens.
pub(super) struct Desk {
    providers: Providers,
    policy: AuthPolicy,
    memory: Memory,
}

impl Desk {
    pub(super) fn new(auth: &str) -> Self {
        let key = Signer::new("EdDSA").pem().replace('\n', "\n      ");
        let one = |name: &str, keys: bool, asks: bool| {
            let keys = if keys {
                format!("    algorithms: [EdDSA]\n    publicKeyPem: |\n      {key}\n")
            } else {
                String::new()
            };
            let asks = if asks { format!("    {SETTINGS}\n") } else { String::new() };
            format!("  {name}:\n    issuer: https://{name}/\n    audience: orders\n{keys}{asks}")
        };
        let all = [one("asked", false, true), one("both", true, true), one("keyed", true, false)];
        let yaml = format!("identityProviders:\n{}", all.concat());
        let (providers, problems) = compile(&yaml, &Resolved::default());
        assert_eq!(problems, [""; 0]);
        let policy = policy(&providers, auth);
        Self { policy, providers, memory: Memory::with_tokens(64, &Metrics::new().unwrap()) }
    }

    fn decide(
        &self,
        at: Moment,
        token: &str,
        answers: &Answers,
    ) -> Result<Option<Arc<Identity>>, Denied> {
        let (headers, keys) = (bearer(token), KeyRing::default());
        let evidence = Evidence {
            providers: &self.providers,
            keys: &keys,
            memory: &self.memory,
            answers,
            now: at,
        };
        authenticate(&self.policy, &view(&Method::GET, &headers), &evidence)
    }

    /// Who is asked about a token.
    pub(super) fn asks(&self, token: &str) -> Option<&str> {
        match self.decide(now(), token, &Answers::default()) {
            Err(Denied::Ask(Question::Token(question))) => {
                assert!(!format!("{question:?}").contains(token));
                Some(self.providers.name(question.provider).unwrap())
            }
            _ => None,
        }
    }

    /// What the client is told without anybody being asked.
    pub(super) fn said(&self, token: &str) -> String {
        said(&Reject::from(self.decide(now(), token, &Answers::default()).unwrap_err()))
    }

    /// Who the caller is once the answer is there, or status and words of the refusal.
    pub(super) fn told(&self, token: &str, outcome: Outcome) -> Result<String, (u16, String)> {
        self.told_at(now(), token, outcome)
    }

    pub(super) fn told_at(
        &self,
        at: Moment,
        token: &str,
        outcome: Outcome,
    ) -> Result<String, (u16, String)> {
        let answers = Answers { token: Some(outcome), ..Answers::default() };
        match self.decide(at, token, &answers) {
            Ok(identity) => Ok(identity.unwrap().subject.to_string()),
            Err(denied) => {
                let reject = Reject::from(denied);
                Err((reject.fault.status(), said(&reject)))
            }
        }
    }

    /// Somebody whom `asked` calls good.
    pub(super) fn somebody(&self) -> Arc<Identity> {
        let change = serde_json::json!({"iss": "https://asked/"});
        judged(&self.providers, &change).unwrap().verdict.unwrap()
    }

    /// Makes `asked` have called a token good then.
    pub(super) fn knows_since(&self, token: &str, at: Moment) {
        let (index, provider) = self.providers.iter().next().unwrap();
        let asked = Asked { provider: index, fingerprint: provider.fingerprint };
        let endpoint = provider.introspection.as_ref().unwrap();
        let known: &KnownTokens = &self.memory.introspected;
        known.put_good(token, asked, (&self.somebody(), 100, None), endpoint, at);
    }
}
