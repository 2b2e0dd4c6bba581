//! Answers that need no service.

use pingora_proxy::Session;

use super::{RequestCtx, reply};
use crate::action::Answer;
use crate::clock;
use crate::live::Live;
use crate::telemetry::Phase;

/// Sends what a route answers by itself: through the same door, with the same headers as every
/// other answer of the gateway's own.
pub(super) async fn send(live: &Live, session: &mut Session, ctx: &mut RequestCtx, answer: Answer) {
    ctx.ledger.enter(Phase::Body, clock::now().tick);
    reply::settle_body(session).await;
    // A write that fails means that the client has gone: there is nobody left to tell.
    if let Err(error) = reply::write(live, session, ctx, answer).await {
        tracing::debug!(%error, "an answer could not be sent");
    }
}
