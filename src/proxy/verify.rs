//! The leak guard: is what callers share the same for all of them?
//!
//! Where a route says `verify`, a sample of its hits is looked at after the client was answered. A
//! hit counts whose entry was filled by another caller's request. The service is asked for the
//! answer to this caller, by an errand, and where that is not what the entry holds, once more: what
//! differs at every fetch cannot be judged. What `cache::Leaks` makes of the differences is in its
//! own words. An entry that does not hold what its caller gets is removed in any case.

use std::sync::Arc;
use std::time::UNIX_EPOCH;

use http::header::CONTENT_ENCODING;
use pingora_cache::key::CacheHashKey;
use pingora_cache::trace::Span;
use pingora_cache::{CacheKey, CacheMeta};
use pingora_proxy::Session;

use super::errand::{self, Prepared, Purpose};
use super::{RequestCtx, renew};
use crate::cache::{self, By, Finding, KeyHash, Note, Print, Printer, Sighting, Tagged, Target};
use crate::clock;
use crate::edge::hex;
use crate::live::Live;

/// Whether a request must leave the cache alone, because callers would get each other's answers.
pub(super) fn bars(live: &Live, ctx: &RequestCtx) -> bool {
    ctx.cache.is_some_and(|plan| live.leaks.bars(&plan.key, ctx.began.tick))
}

/// Looks at a hit, in the background, where it is one of the sample.
pub(super) fn hit(
    live: &Arc<Live>,
    session: &mut Session,
    (meta, note): (&CacheMeta, Option<&Arc<Note>>),
    ctx: &RequestCtx,
) {
    let Some(route) = &ctx.route else { return };
    let Some(policy) = route.cache.as_ref().filter(|policy| policy.verify != 0) else { return };
    // What was compressed here is not what the service sends.
    if route.compression.is_some() && meta.headers().contains_key(CONTENT_ENCODING) {
        return;
    }
    let (Some(key), Some(plan), Some(note)) = (session.cache.maybe_cache_key(), ctx.cache, note)
    else {
        return;
    };
    let entry = key.combined_bin();
    let drawn = fastrand::u32(..100) < policy.verify;
    if !drawn && !live.leaks.suspects(entry, ctx.began.tick) {
        return;
    }
    let caller = Note::caller(ctx.identity.as_deref());
    if note.caller == caller {
        return;
    }
    // A hit that finds no turn is not looked at; there will be others.
    let Ok(turn) = live.verifying.begin(entry) else { return };
    let purpose = Purpose::Compare { body_bytes_max: policy.max_body_bytes };
    let key = key.clone();
    let mut fetch = || errand::prepare(session, ctx, purpose);
    let (Some(first), Some(second)) = (fetch(), fetch()) else { return };
    let hit = Hit { live: Arc::clone(live), key, whole: plan.key, caller };
    let route = Arc::clone(route);
    tokio::spawn(async move {
        if let Some(outcome) = hit.compare(first, second, &route.name).await {
            route.meters.verified(outcome as usize, outcome.as_str());
        }
        drop(turn);
    });
}

/// A hit that is looked at.
struct Hit {
    live: Arc<Live>,
    key: CacheKey,
    whole: KeyHash,
    caller: u64,
}

impl Hit {
    /// Compares what the entry holds with what the caller gets from the service; none where there
    /// is nothing to compare any more.
    async fn compare(&self, first: Prepared, second: Prepared, route: &str) -> Option<Outcome> {
        let filled = self.filled().await?;
        let Some(print) = first.run().await.print() else { return Some(Outcome::Failed) };
        let (leaks, entry) = (&self.live.leaks, self.key.combined_bin());
        let now = clock::now();
        let fetched = Sighting { caller: self.caller, print, at_ms: now.unix_ms };
        if print == filled.print {
            leaks.agree(entry, filled, fetched, now.tick);
            return Some(Outcome::Same);
        }
        let Some(again) = second.run().await.print() else { return Some(Outcome::Failed) };
        if again != print {
            return Some(Outcome::Changed);
        }
        renew::remove(&self.live, &self.key).await;
        let finding = leaks.differ((&self.whole, entry), filled, fetched, clock::now().tick);
        let Finding::Leak { tell } = finding else { return Some(Outcome::Changed) };
        if tell {
            self.purge();
            tracing::error!(
                route,
                key = %hex(&self.whole),
                filled_for = %format_args!("{:016x}", filled.caller),
                served_to = %format_args!("{:016x}", self.caller),
                "the answer depends on the caller although callers share it: it is not kept for \
                 now; tell callers apart in `policies.cache.key`"
            );
        }
        Some(Outcome::Leak)
    }

    /// Purges the key on all nodes.
    fn purge(&self) {
        let mut tagged = Tagged::default();
        tagged.add(Target::Key(&self.whole).tag(None));
        self.live.cache.purges.order(tagged.hard(), By::Guard, clock::now());
    }

    /// What the entry holds, and for whom it was filled; none where it is gone, or was filled for
    /// this caller meanwhile.
    async fn filled(&self) -> Option<Sighting> {
        let (storage, span) = (self.live.cache.storage(false), Span::inactive().handle());
        let (meta, mut body) = storage.lookup(&self.key, &span).await.ok()??;
        let caller = cache::note_of(&body).or_else(|| Note::of(&meta))?.caller;
        let print = print(&meta, &mut body).await;
        body.finish(storage, &self.key, &span).await.ok()?;
        let age = meta.created().duration_since(UNIX_EPOCH).unwrap_or_default();
        let at_ms = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        let print = print.filter(|_| caller != self.caller)?;
        Some(Sighting { caller, print, at_ms })
    }
}

async fn print(meta: &CacheMeta, body: &mut pingora_cache::storage::HitHandler) -> Option<Print> {
    let mut printer = Printer::new(meta.response_header(), u64::MAX);
    while let Some(piece) = body.read_body().await.ok()? {
        printer.update(&piece);
    }
    printer.finish()
}

/// What came out of looking at a hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// The caller would have got the same from the service.
    Same,
    /// Something else, for which time may be the reason.
    Changed,
    /// Something else, because it is another caller.
    Leak,
    /// The service did not say.
    Failed,
}

impl Outcome {
    /// The word of the metric.
    const fn as_str(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Changed => "changed",
            Self::Leak => "leak",
            Self::Failed => "failed",
        }
    }
}
