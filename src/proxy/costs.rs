//! What a request has cost, as its service says.

use http::HeaderMap;

use super::RequestCtx;
use crate::clock::Moment;
use crate::live::Live;

/// The service's answer is the one that the client gets: its cost is settled, once. Attempts
/// that were repeated have not been answered, and an answer of the cache has cost nothing new.
pub(super) fn settle(live: &Live, ctx: &mut RequestCtx, answer: &HeaderMap, now: Moment) {
    if let Some(owed) = ctx.owed.take() {
        live.limiter.settle_costs(&owed, answer, ctx.limited.as_mut(), now);
    }
}
