//! How long an exchange may take, from the first attempt to the last byte of the answer.
//!
//! `timeoutMs` is for the whole of it. On routes with `stream` it ends with the header of the
//! answer; from there on it is the service's silence that is limited, and the whole exchange by
//! `maxDuration`. The same holds for upgraded connections, where `stream` is not given with its
//! default values.
//!
//! Towards clients of HTTP/1 the end is exact ([`Deadline`](crate::wire::Deadline)). On HTTP/2,
//! where exchanges share a connection, two things stand for it: each read from the service has a
//! limit, and each piece of an answer is looked at for whether it is late.

use http::StatusCode;
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorSource, ErrorType, Result};
use pingora_proxy::Session;

use super::{RequestCtx, upgrade};
use crate::action::Lasting;
use crate::clock::{Moment, Tick};
use crate::fault::Fault;

/// Until when an exchange is waited for, and what it means when that has passed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    until: Tick,
    then: Fault,
    /// Limits of an answer that goes on.
    lasting: Option<Lasting>,
}

/// Sets what an attempt may take.
pub(super) fn begin_attempt(ctx: &mut RequestCtx, peer: &mut HttpPeer, now: Moment) {
    let (left, attempt) = (ctx.deadline.left(now.tick), ctx.deadline.attempt(now.tick));
    let forward = ctx.route.as_ref().and_then(|route| route.forward());
    let lasting = forward.and_then(|forward| forward.stream);
    let lasting = lasting.or_else(|| ctx.upgrade.as_ref().map(|_| Lasting::default()));
    // Pingora has one limit for reads before and after the header: the longer of both.
    peer.options.read_timeout = Some(lasting.map_or(attempt, |lasting| lasting.idle.max(attempt)));
    upgrade::prepare(ctx, peer);
    wait(ctx, now.tick.plus(left), Fault::ResponseTimeout, lasting);
}

/// The header of the answer has come.
pub(super) fn answered(ctx: &mut RequestCtx, status: StatusCode, now: Moment) -> Result<()> {
    late(ctx, now)?;
    let Some(patience) = &mut ctx.patience else { return Ok(()) };
    let forward = ctx.route.as_ref().and_then(|route| route.forward());
    let streams = forward.is_some_and(|forward| forward.stream.is_some());
    if !streams && status != StatusCode::SWITCHING_PROTOCOLS {
        // An upgrade that the service declined is an ordinary exchange.
        patience.lasting = None;
    }
    if let Some(lasting) = patience.lasting {
        heard(ctx, lasting, now);
    }
    Ok(())
}

/// Whether each piece of the answer has to be looked at: not where the guard of the connection
/// ends a plain exchange in time.
pub(super) fn counts_pieces(ctx: &RequestCtx) -> bool {
    ctx.multiplexed || ctx.patience.is_some_and(|patience| patience.lasting.is_some())
}

/// A piece of the answer has come.
pub(super) fn piece(ctx: &mut RequestCtx, now: Moment) -> Result<()> {
    late(ctx, now)?;
    if let Some(lasting) = ctx.patience.and_then(|patience| patience.lasting) {
        heard(ctx, lasting, now);
    }
    Ok(())
}

/// Says of an error that ended the exchange whether it was the deadline that did.
#[expect(clippy::unnecessary_box_returns, reason = "Pingora's errors are boxed")]
pub(super) fn explain(ctx: &mut RequestCtx, session: &mut Session, e: Box<Error>) -> Box<Error> {
    let passed = ctx.watched.as_ref().is_some_and(|watched| watched.deadline.has_passed());
    let Some(patience) = ctx.patience else { return e };
    if !passed {
        let silent = e.etype == ErrorType::ReadTimedout && e.esource == ErrorSource::Upstream;
        let streams = patience.then != Fault::ResponseTimeout;
        return if silent && streams { given_up(ctx, Fault::StreamIdle) } else { e };
    }
    end(ctx);
    if !session.was_upgraded() && !session.as_downstream_mut().is_body_done() {
        // The service cannot be late while the client has not said all.
        return Error::new_down(ErrorType::ReadTimedout);
    }
    given_up(ctx, patience.then)
}

/// The exchange is over; the next one on the connection has its own time.
pub(super) fn end(ctx: &mut RequestCtx) {
    if let Some(watched) = ctx.watched.as_ref().filter(|_| ctx.patience.is_some()) {
        watched.deadline.clear();
    }
    ctx.patience = None;
}

/// The service was heard of: it may be silent anew, but not go on for ever.
fn heard(ctx: &mut RequestCtx, lasting: Lasting, now: Moment) {
    let (silent, whole) = (now.tick.plus(lasting.idle), ctx.began.tick.plus(lasting.total));
    if silent < whole {
        wait(ctx, silent, Fault::StreamIdle, Some(lasting));
    } else {
        wait(ctx, whole, Fault::StreamTooLong, Some(lasting));
    }
}

fn wait(ctx: &mut RequestCtx, until: Tick, then: Fault, lasting: Option<Lasting>) {
    ctx.patience = Some(Patience { until, then, lasting });
    if let Some(watched) = ctx.watched.as_ref().filter(|_| !ctx.multiplexed) {
        watched.deadline.set(until);
    }
}

fn late(ctx: &mut RequestCtx, now: Moment) -> Result<()> {
    match ctx.patience {
        Some(patience) if now.tick >= patience.until => Err(given_up(ctx, patience.then)),
        _ => Ok(()),
    }
}

#[expect(clippy::unnecessary_box_returns, reason = "Pingora's errors are boxed")]
fn given_up(ctx: &mut RequestCtx, fault: Fault) -> Box<Error> {
    if fault == Fault::ResponseTimeout {
        return Error::new_up(ErrorType::ReadTimedout);
    }
    let mut e = ctx.refuse(fault.into());
    e.as_up();
    e
}
