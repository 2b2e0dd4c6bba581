//! Who asks issuers: what outlives a configuration of questions and connections.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::desk::Desk;
use super::known::{Asked, KnownTokens};
use super::{OpaqueToken, Outcome};
use crate::auth::Providers;
use crate::auth::question::Unavailable;
use crate::clock::Moment;
use crate::telemetry::Metrics;

/// Asks issuers about tokens. Use it on one runtime only: connections end with it.
#[derive(Debug)]
pub(in crate::auth) struct Introspector {
    desks: ArcSwap<Desks>,
    metrics: Arc<Metrics>,
}

/// Desks of the configuration in force, and of the one before for requests that still hold it.
#[derive(Debug, Default)]
struct Desks {
    current: Vec<Arc<Desk>>,
    before: Vec<Arc<Desk>>,
}

impl Introspector {
    /// One that knows no issuer yet.
    pub(in crate::auth) fn new(metrics: &Arc<Metrics>) -> Self {
        Self { desks: ArcSwap::default(), metrics: Arc::clone(metrics) }
    }

    /// Takes over the providers of a new snapshot; connections to issuers whose settings stay
    /// the same are kept. Connects to nothing yet.
    pub(in crate::auth) fn adopt(&self, providers: &Providers) {
        let old = self.desks.load_full();
        let current = providers.iter().filter_map(|(_, provider)| {
            let id = provider.introspection.as_ref()?.id;
            let known = old.current.iter().find(|desk| desk.id == id).cloned();
            Some(known.unwrap_or_else(|| Arc::new(Desk::new(provider, id, &self.metrics))))
        });
        let desks = Desks { current: current.collect(), before: old.current.clone() };
        self.desks.store(Arc::new(desks));
    }

    /// Asks a token's issuer about it, within its time limit; what it says is kept in `known`.
    pub(in crate::auth) async fn ask(
        &self,
        token: &OpaqueToken,
        providers: &Arc<Providers>,
        known: &Arc<KnownTokens>,
        now: Moment,
    ) -> Outcome {
        let provider = providers.get(token.provider).ok_or(Unavailable)?;
        let id = provider.introspection.as_ref().ok_or(Unavailable)?.id;
        let desk = {
            let desks = self.desks.load();
            let mut all = desks.current.iter().chain(&desks.before);
            all.find(|desk| desk.id == id).cloned().ok_or(Unavailable)?
        };
        let asked = Asked { provider: token.provider, fingerprint: provider.fingerprint };
        desk.ask(token, asked, providers, known, now).await
    }
}
