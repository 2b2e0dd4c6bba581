//! Deciding who calls, with whoever has to be asked in between.

use std::path::Path;
use std::sync::Arc;

use super::introspection::Introspector;
use super::keyset::keyring::KeyRing;
use super::keyset::source::KeySource;
use super::lookup::Lookup;
use super::memory::Memory;
use super::message_signature::NonceVerdict;
use super::question::{Answers, Denied, Question};
use super::{AuthPolicy, Providers, Revocations, authenticate, authorize};
use crate::clock::Moment;
use crate::edge::{Identity, RequestView};
use crate::fault::Reject;
use crate::link;
use crate::telemetry::Metrics;

/// Questions that one request may cause. More than one kind of them are there, none twice.
const QUESTIONS_MAX: usize = 5;

/// What a decision about a caller rests on.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'a> {
    /// Who may vouch for callers.
    pub providers: &'a Providers,
    /// Verification keys that were fetched.
    pub keys: &'a KeyRing,
    /// What is remembered.
    pub memory: &'a Memory,
    /// What was found out for this request.
    pub answers: &'a Answers,
    /// The request's time.
    pub now: Moment,
}

/// What a request has proved while it was judged for another route. A nonce counts once, and a
/// request whose caller decides its route may be judged for several.
#[derive(Debug, Default)]
pub struct Proof(Option<NonceVerdict>);

/// Everything about callers that outlives a configuration.
#[derive(Debug)]
pub struct Authenticator {
    /// Verification keys.
    pub keys: KeySource,
    /// What is remembered.
    pub memory: Memory,
    /// Asks issuers about tokens.
    introspector: Introspector,
    /// Who is asked about API keys and tenants.
    lookup: Lookup,
}

impl Authenticator {
    /// One that knows nobody yet. `state` is the folder for what should survive a restart.
    #[must_use]
    pub fn new(metrics: &Arc<Metrics>, state: Option<&Path>) -> Self {
        let mut memory = Memory::new(metrics);
        memory.revoked = memory.revoked.kept_in(state);
        Self {
            keys: KeySource::with_state(Arc::clone(metrics), state),
            memory,
            introspector: Introspector::new(metrics),
            lookup: Lookup::new(Arc::clone(metrics)),
        }
    }

    /// Takes over a new configuration; what is known of things that stay the same is kept.
    /// `redis` is the settings and the resolved URL.
    pub fn adopt(&self, providers: &Arc<Providers>, redis: Option<&link::Settings>) {
        self.memory.nonces.adopt(redis);
        self.lookup.adopt(providers.database.as_ref(), redis, &self.memory);
        self.keys.adopt(providers);
        self.introspector.adopt(providers);
        self.memory.revoked.adopt(&providers.revocation, redis);
    }

    /// What was revoked before its end.
    #[must_use]
    pub const fn revocations(&self) -> &Revocations {
        &self.memory.revoked
    }

    /// Keeps key sets fresh and revocations known for as long as it is polled. Runs on the
    /// upkeep runtime.
    pub async fn run(&self) {
        tokio::join!(self.keys.run(), self.memory.revoked.run(|news| self.memory.purge(news)));
    }

    /// Who the caller is; none where the policy asks for nobody. Waits only where somebody has
    /// to be asked, within the time limits of whom is asked. `proof` is one for the request.
    ///
    /// # Errors
    /// 401 with a challenge where credentials are missing or not good, 503 where that cannot be
    /// known at the moment.
    pub async fn identify(
        &self,
        policy: &AuthPolicy,
        providers: &Arc<Providers>,
        view: &RequestView<'_>,
        proof: &mut Proof,
        now: Moment,
    ) -> Result<Option<Arc<Identity>>, Reject> {
        let answers = Answers { nonce: proof.0.clone(), ..Answers::default() };
        let decide = |evidence: &Evidence<'_>| authenticate(policy, view, evidence);
        // Nearly every request is decided here, with nothing allocated and nobody awaited.
        match self.decide(providers, &answers, now, decide) {
            Ok(identity) => Ok(identity),
            Err(Denied::Reject(reject)) => Err(reject),
            Err(Denied::Ask(question)) => {
                let asking = self.decide_asking(question, providers, answers, now, decide);
                let (decided, answers) = Box::pin(asking).await;
                proof.0 = answers.nonce;
                decided
            }
        }
    }

    /// Whether the caller may go on.
    ///
    /// # Errors
    /// 403 naming what is missing, 503 where that cannot be known at the moment.
    pub async fn authorize(
        &self,
        policy: &AuthPolicy,
        providers: &Arc<Providers>,
        identity: Option<&Identity>,
        view: &RequestView<'_>,
        now: Moment,
    ) -> Result<(), Reject> {
        let decide = |evidence: &Evidence<'_>| authorize(policy, identity, view, evidence);
        match self.decide(providers, &Answers::default(), now, decide) {
            Ok(()) => Ok(()),
            Err(Denied::Reject(reject)) => Err(reject),
            Err(Denied::Ask(question)) => {
                let answers = Answers::default();
                let asking = self.decide_asking(question, providers, answers, now, decide);
                Box::pin(asking).await.0
            }
        }
    }

    /// Decides with what is known now.
    fn decide<T>(
        &self,
        providers: &Providers,
        answers: &Answers,
        now: Moment,
        decide: impl Fn(&Evidence<'_>) -> Result<T, Denied>,
    ) -> Result<T, Denied> {
        let keys = self.keys.glance();
        decide(&Evidence { providers, keys: &keys, memory: &self.memory, answers, now })
    }

    /// Asks, and decides again, until nothing is left to be asked. Returns what was found out too.
    async fn decide_asking<T>(
        &self,
        mut question: Question,
        providers: &Arc<Providers>,
        mut answers: Answers,
        now: Moment,
        decide: impl Fn(&Evidence<'_>) -> Result<T, Denied>,
    ) -> (Result<T, Reject>, Answers) {
        for _ in 0..QUESTIONS_MAX {
            self.ask(question, providers, &mut answers, now).await;
            match self.decide(providers, &answers, now, &decide) {
                Ok(decided) => return (Ok(decided), answers),
                Err(Denied::Reject(reject)) => return (Err(reject), answers),
                Err(Denied::Ask(next)) => question = next,
            }
        }
        (Err(crate::fault::Fault::Internal.into()), answers)
    }

    /// Finds the answer to a question and notes it.
    async fn ask(
        &self,
        question: Question,
        providers: &Arc<Providers>,
        answers: &mut Answers,
        now: Moment,
    ) {
        let terms = providers.database.as_ref().map(|database| database.terms);
        match question {
            Question::Key(unknown) => {
                self.keys.refetch(&unknown).await;
                answers.key = true;
            }
            Question::ApiKey(hash) => {
                let known = &self.memory.api_keys;
                answers.api_key = Some(self.lookup.ask(known, terms, &hash, now).await);
            }
            Question::Token(token) => {
                let known = &self.memory.introspected;
                let outcome = self.introspector.ask(&token, providers, known, now).await;
                answers.token = Some(outcome);
            }
            Question::Nonce(nonce) => {
                answers.nonce = Some(self.memory.nonces.spend(nonce, now.tick).await);
            }
            Question::Tenant(id) => {
                let known = &self.memory.tenants;
                answers.tenant = Some(self.lookup.ask(known, terms, &id, now).await);
            }
        }
    }
}
