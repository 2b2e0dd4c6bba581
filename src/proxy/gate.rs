//! The way into a service: what is asked before an attempt, and what a pick depends on.

use super::RequestCtx;
use crate::clock;
use crate::fault::Reject;
use crate::telemetry::Phase;
use crate::upstream::{Draw, Passage};

/// Lets a request into its service before its first attempt, and asks before each further one
/// whether there still is a point.
pub(super) async fn enter(ctx: &mut RequestCtx) -> Result<(), Reject> {
    let Some(version) = ctx.version() else { return Ok(()) };
    let service = version.pool.service();
    if !service.is_guarded() {
        return Ok(());
    }
    if ctx.passage.is_some() {
        return service.again(clock::now());
    }
    let now = clock::now().tick;
    let left = ctx.deadline.left(now);
    let entered = service.enter(left, clock::now).await;
    ctx.ledger.enter(Phase::Queue, now);
    ctx.passage = Some(entered?);
    Ok(())
}

/// What a pick for this request depends on.
pub(super) fn draw(ctx: &RequestCtx) -> Draw {
    let trial = ctx.passage.as_ref().is_some_and(Passage::is_trial);
    Draw { entropy: fastrand::u64(..), hash: ctx.hash, trial }
}
