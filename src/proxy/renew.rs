//! Stale entries that are renewed while they answer (RFC 5861, `stale-while-revalidate`).
//!
//! The client is answered from the entry at once. One errand per entry asks the service whether it
//! is still the answer: 304 makes it fresh, another answer takes its place, a failure leaves it as
//! it is. Pingora's own way is not taken: its subrequest would be authenticated, limited and logged
//! as a request, and one with credentials that count once would be refused.

use std::sync::Arc;

use pingora_cache::key::CacheHashKey;
use pingora_cache::storage::PurgeTarget;
use pingora_cache::trace::Span;
use pingora_cache::{CacheKey, NoCacheReason, PurgeType};
use pingora_proxy::Session;

use super::RequestCtx;
use super::errand::{self, Purpose, Renewal};
use crate::cache::NoTurn;
use crate::live::Live;

/// Whether this is a renewal.
pub(super) fn is_renewal(ctx: &RequestCtx) -> bool {
    ctx.errand.as_ref().is_some_and(|errand| errand.renews())
}

/// Why the answer to a renewal is not kept although it may be: it is a failure, which says nothing
/// about the next answer. Named so, Pingora does not remember the key as one to leave alone.
pub(super) fn refuses(ctx: &RequestCtx, status: u16) -> Option<NoCacheReason> {
    (is_renewal(ctx) && !errand::is_answer(status)).then_some(NoCacheReason::UpstreamError)
}

/// Has the entry that is about to answer renewed, where that is not under way already.
pub(super) fn start(live: &Arc<Live>, session: &mut Session, ctx: &RequestCtx) {
    let (Some(route), Some(plan), Some(key)) =
        (&ctx.route, ctx.cache, session.cache.maybe_cache_key().cloned())
    else {
        return;
    };
    let count = |renewal: Renewal| route.meters.renewed(renewal as usize, renewal.as_str());
    let turn = match live.renewing.begin(key.combined_bin()) {
        Ok(turn) => turn,
        Err(NoTurn::Taken) => return,
        Err(NoTurn::Full) => return count(Renewal::Skipped),
    };
    let Some(prepared) = errand::prepare(session, ctx, Purpose::Renew(plan)) else {
        return count(Renewal::Skipped);
    };
    let (live, route) = (Arc::clone(live), Arc::clone(route));
    tokio::spawn(async move {
        let renewal = prepared.run().await.renewal();
        if renewal == Renewal::Dropped {
            remove(&live, &key).await;
        }
        route.meters.renewed(renewal as usize, renewal.as_str());
        drop(turn);
    });
}

/// Removes an entry from this node's store.
pub(super) async fn remove(live: &Live, key: &CacheKey) {
    let (compact, span) = (key.to_compact(), Span::inactive().handle());
    let target = PurgeTarget::Active(&compact);
    if let Err(error) =
        live.cache.storage(false).purge(target, PurgeType::Invalidation, &span).await
    {
        tracing::warn!(%error, "an entry could not be removed from the cache");
    }
}
