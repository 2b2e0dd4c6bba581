//! Requests whose body is part of the cache's key: QUERY (RFC 10008).
//!
//! The body is read once the request is within its limits, and before the cache is asked. Pingora
//! keeps what was read and sends it when it comes to that. So only bodies are read that it can
//! keep; which those are, `cache::consider` judges by the header.

use bytes::{Bytes, BytesMut};
use pingora::Result;
use pingora_proxy::Session;

use super::{RequestCtx, client, digest};
use crate::clock;
use crate::fault::{Fault, Reject};
use crate::telemetry::Phase;

/// Gets ready for the body of an admitted request: reads it where the key needs it, and sees to it
/// that it is the one that was signed.
///
/// # Errors
/// The outer one when the client has gone or is too slow, the inner one is the refusal.
pub(super) async fn begin(
    session: &mut Session,
    ctx: &mut RequestCtx,
) -> Result<Result<(), Reject>> {
    match read(session, ctx).await? {
        Ok(()) => digest::begin(session, ctx).await,
        refused => Ok(refused),
    }
}

/// Reads the body of an admitted request, where the key of its answer needs it, and makes it part
/// of the key. Errors are those of [`begin`].
async fn read(session: &mut Session, ctx: &mut RequestCtx) -> Result<Result<(), Reject>> {
    let Some(plan) = ctx.cache.filter(|plan| plan.lacks_body) else { return Ok(Ok(())) };
    let now = clock::now().tick;
    ctx.ledger.enter(Phase::Body, now);
    let left = ctx.deadline.left(now);
    let Ok(body) = tokio::time::timeout(left, all(session, ctx)).await else {
        return Ok(Err(Fault::RequestTimeout.into()));
    };
    let body = body?;
    ctx.cache = Some(plan.with_body(&body));
    ctx.query_body = Some(body);
    ctx.ledger.enter(Phase::Admit, clock::now().tick);
    Ok(Ok(()))
}

/// The whole body.
async fn all(session: &mut Session, ctx: &mut RequestCtx) -> Result<Bytes> {
    // Else what is read now would be missing when the request is sent.
    session.as_downstream_mut().enable_retry_buffering();
    let mut all = BytesMut::new();
    loop {
        let piece = session.as_downstream_mut().read_request_body().await;
        let Some(piece) = piece.map_err(pingora::Error::into_down)? else {
            return Ok(all.freeze());
        };
        all.extend_from_slice(&piece);
        ctx.body_bytes = all.len() as u64;
        client::keep_pace(session, ctx)?;
    }
}
