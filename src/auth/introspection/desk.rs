//! Questions to one issuer: each token once at a time, so many at once, none while it is sick.

use std::collections::HashMap;
use std::sync::Arc;

use once_cell::sync::OnceCell;
use parking_lot::Mutex;
use prometheus::{Histogram, IntCounter, IntCounterVec};
use reqwest::Client;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use super::answer::{self, Judged};
use super::client::{self, Failure};
use super::guard::Guard;
use super::known::{Asked, Known, KnownTokens};
use super::{Endpoint, OpaqueToken, Outcome};
use crate::auth::Providers;
use crate::auth::challenge::TokenError;
use crate::auth::jwt::provider::{Fingerprint, Provider};
use crate::auth::question::Unavailable;
use crate::clock::Moment;
use crate::edge::Identity;
use crate::telemetry::Metrics;

/// Questions to one issuer at the same time; who comes beyond is told 503.
const QUESTIONS_MAX: usize = 64;

/// Where one issuer is asked.
pub(super) struct Desk {
    /// The settings it was made for.
    pub(super) id: Fingerprint,
    /// Made by the first question, on the runtime that asks.
    client: OnceCell<Client>,
    /// Questions under way. Locked for one look by requests that then wait for the network
    /// anyway; holds at most [`QUESTIONS_MAX`].
    flights: Mutex<HashMap<Flight, watch::Receiver<Option<Outcome>>>>,
    places: Arc<Semaphore>,
    guard: Guard,
    metrics: DeskMetrics,
}

/// A question under way: the settings under which its answer counts, and the token.
type Flight = (Asked, Arc<str>);

/// Leaves tokens out: they are credentials.
impl std::fmt::Debug for Desk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Desk({:?})", self.guard)
    }
}

/// Metrics of one issuer, resolved once.
struct DeskMetrics {
    active: IntCounter,
    inactive: IntCounter,
    held_back: IntCounter,
    duration: Histogram,
    /// For failures, by provider and outcome.
    all: IntCounterVec,
}

impl DeskMetrics {
    fn new(provider: &str, metrics: &Metrics) -> Self {
        let all = metrics.introspection_questions.clone();
        let of = |outcome| all.with_label_values(&[provider, outcome]);
        Self {
            active: of("active"),
            inactive: of("inactive"),
            held_back: of("held_back"),
            duration: metrics.introspection_duration.with_label_values(&[provider]),
            all,
        }
    }
}

/// Everything that one question takes along into its task.
struct Asking {
    desk: Arc<Desk>,
    flight: Flight,
    providers: Arc<Providers>,
    known: Arc<KnownTokens>,
    now: Moment,
}

impl Desk {
    pub(super) fn new(provider: &Provider, id: Fingerprint, metrics: &Metrics) -> Self {
        Self {
            id,
            client: OnceCell::new(),
            flights: Mutex::default(),
            places: Arc::new(Semaphore::new(QUESTIONS_MAX)),
            guard: Guard::default(),
            metrics: DeskMetrics::new(&provider.name, metrics),
        }
    }

    /// Asks, or waits for whoever asks about the same token. The question is a task of its own:
    /// it is answered and remembered even if everybody who waits for it goes away.
    pub(super) async fn ask(
        self: &Arc<Self>,
        token: &OpaqueToken,
        asked: Asked,
        providers: &Arc<Providers>,
        known: &Arc<KnownTokens>,
        now: Moment,
    ) -> Outcome {
        let Some(mut answer) = self.join(token, asked, providers, known, now) else {
            self.metrics.held_back.inc();
            return Err(Unavailable);
        };
        // The task ends within the time limit of the question; if it is dropped, so is its end.
        let answer = answer.wait_for(Option::is_some).await;
        answer.ok().and_then(|answer| answer.clone()).unwrap_or(Err(Unavailable))
    }

    /// The end of a question at which its answer will come; none where it is not asked.
    fn join(
        self: &Arc<Self>,
        token: &OpaqueToken,
        asked: Asked,
        providers: &Arc<Providers>,
        known: &Arc<KnownTokens>,
        now: Moment,
    ) -> Option<watch::Receiver<Option<Outcome>>> {
        let flight = (asked, Arc::clone(&token.token));
        let mut flights = self.flights.lock();
        if let Some(answer) = flights.get(&flight) {
            return Some(answer.clone());
        }
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        if !self.guard.may_ask(now.tick) {
            return None;
        }
        let (sender, answer) = watch::channel(None);
        flights.insert(flight.clone(), answer.clone());
        drop(flights);
        let asking = Asking {
            desk: Arc::clone(self),
            flight,
            providers: Arc::clone(providers),
            known: Arc::clone(known),
            now,
        };
        tokio::spawn(async move {
            let _place = place;
            let outcome = asking.run().await;
            // Nobody may be waiting any more.
            let _ = sender.send(Some(outcome));
        });
        Some(answer)
    }

    async fn question(&self, endpoint: &Endpoint, token: &str) -> Result<Vec<u8>, Failure> {
        let client = self.client.get_or_try_init(|| client::client(endpoint))?;
        // The client's own limit begins anew where a connection is tried again.
        tokio::time::timeout(endpoint.timeout, client::ask(client, endpoint, token))
            .await
            .unwrap_or(Err(Failure::Timeout))
    }
}

/// Ends the flight, also when the task is dropped.
impl Drop for Asking {
    fn drop(&mut self) {
        self.desk.flights.lock().remove(&self.flight);
    }
}

impl Asking {
    async fn run(&self) -> Outcome {
        let (asked, token) = &self.flight;
        let provider = self.providers.get(asked.provider).ok_or(Unavailable)?;
        let endpoint = provider.introspection.as_ref().ok_or(Unavailable)?;
        // An earlier question may have ended between the look-up and this one.
        match self.known.find(token, self.now, |known| known == asked) {
            Some(Known::Good(identity)) => return Ok(Ok(identity)),
            Some(Known::Bad(error)) => return Ok(Err(error)),
            None => {}
        }
        let began = Instant::now();
        let answer = self.desk.question(endpoint, token).await;
        let took = began.elapsed();
        self.desk.metrics.duration.observe(took.as_secs_f64());
        let now = self.now.plus(took);
        let judged = answer.and_then(|document| {
            let judged = answer::judge(&document, provider, &self.providers, now)?;
            Ok((judged, document.len()))
        });
        match judged {
            Ok((judged, bytes)) => Ok(self.keep(judged, bytes, endpoint, now)),
            Err(failure) => {
                self.report(provider, &failure, now);
                Err(Unavailable)
            }
        }
    }

    /// Remembers an answer.
    fn keep(
        &self,
        judged: Judged,
        bytes: usize,
        endpoint: &Endpoint,
        now: Moment,
    ) -> Result<Arc<Identity>, TokenError> {
        let (asked, token) = &self.flight;
        self.desk.guard.worked();
        match &judged.verdict {
            Ok(identity) => {
                self.desk.metrics.active.inc();
                let what = (identity, bytes, judged.expires);
                self.known.put_good(token, *asked, what, endpoint, now);
            }
            Err(error) => {
                self.desk.metrics.inactive.inc();
                self.known.put_bad(token, *asked, *error, endpoint, now);
            }
        }
        judged.verdict
    }

    fn report(&self, provider: &Provider, failure: &Failure, now: Moment) {
        let labels = [&*provider.name, failure.outcome()];
        self.desk.metrics.all.with_label_values(&labels).inc();
        if !self.desk.guard.failed(now.tick) {
            return;
        }
        let cause = std::error::Error::source(failure).map(ToString::to_string);
        if matches!(failure, Failure::Credentials(_)) {
            tracing::error!(
                provider = %provider.name,
                error = %failure,
                "tokens cannot be asked about: correct `introspection.clientId` and `clientSecret`"
            );
            return;
        }
        tracing::warn!(
            provider = %provider.name,
            error = %failure,
            cause,
            "the issuer could not be asked about a token"
        );
    }
}
