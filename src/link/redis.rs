//! Calls to Redis, each within one time limit.
//!
//! A request never waits longer than the time limit, whatever the state of Redis or of the
//! connections. Connections are made by the first call that finds none, in a task of the
//! runtime that makes it, and are shared by all that come; calls wait for that task only within
//! their own time limit. Use a [`Redis`] on one runtime only: connections end with it.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::Stream;
use redis::aio::PubSub;
use redis::{Cmd, FromRedisValue};

use super::meters::{Loss, Meters};
use super::slot::Slot;
use super::target::Target;
use super::{Connection, Failure, Settings};
use crate::drill::{self, Dependency, Trouble};

/// Connections to Redis: their tasks may run on two threads. Redis itself does one thing at a
/// time, so more would not help.
const CONNECTIONS: usize = 2;

/// One Redis.
#[derive(Debug)]
pub struct Redis {
    target: Option<Arc<Target>>,
    slots: [Arc<Slot>; CONNECTIONS],
    next: AtomicUsize,
    timeout: Duration,
    /// `PREFIX:`.
    prefix: String,
    meters: Meters,
}

impl Redis {
    /// Prepares calls by these settings; connects to nothing yet.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        let meters = Meters::default();
        Self {
            target: Target::of(&settings.address).map(Arc::new),
            slots: std::array::from_fn(|_| Arc::new(Slot::new(meters.clone()))),
            next: AtomicUsize::new(0),
            timeout: settings.timeout,
            // The first braces of a key are its hash tag, and that is the caller's to choose.
            prefix: format!("{}:", settings.prefix.replace(['{', '}'], "_")),
            meters,
        }
    }

    /// The same with its figures shown. To be called before the first call.
    #[must_use]
    pub fn metered(self, meters: Meters) -> Self {
        Self { slots: std::array::from_fn(|_| Arc::new(Slot::new(meters.clone()))), meters, ..self }
    }

    /// What every key begins with: `PREFIX:`.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Sends one command and reads its answer, within the time limit.
    ///
    /// # Errors
    /// When there is no answer in time, or not one of this form.
    pub async fn query<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, Failure> {
        self.call(|connection| query(connection, command)).await
    }

    /// Makes a call, within the time limit. A connection that turns out to be lost, or to lead
    /// to a replica, is made anew and the call made once more: a Redis that restarted, failed
    /// over or closed an idle connection is there again at once. If it had done the work
    /// already, it does it twice.
    ///
    /// # Errors
    /// When there is no answer within the time limit.
    pub async fn call<T, F>(&self, call: impl Fn(Connection) -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let target = self.target.as_ref().ok_or(Failure::Address)?;
        let turn = self.next.fetch_add(1, Ordering::Relaxed) % CONNECTIONS;
        let slot = self.slots.get(turn).ok_or(Failure::Address)?;
        let _in_flight = self.meters.call();
        if let Some(trouble) = drill::of(Dependency::Redis) {
            return Err(drilled(trouble, self.timeout).await);
        }
        tokio::time::timeout(self.timeout, attempt(slot, target, call))
            .await
            .unwrap_or_else(|_| Err(slot.too_late()))
    }

    /// A connection of its own for listening to channels. Bounded by the time limit of making
    /// connections, not by that of calls.
    ///
    /// # Errors
    /// When no connection can be made.
    pub async fn listen(&self) -> Result<PubSub, Failure> {
        let target = self.target.as_ref().ok_or(Failure::Address)?;
        if let Some(trouble) = drill::of(Dependency::Redis) {
            return Err(drilled(trouble, target.timeout()).await);
        }
        let listening = tokio::time::timeout(target.timeout(), target.listen()).await;
        listening.unwrap_or(Err(Failure::Timeout))
    }

    /// Drops all connections, so that the next call makes new ones: a connection that only times
    /// out may be dead without a sign.
    pub fn disconnect(&self) {
        for slot in &self.slots {
            slot.clear();
        }
    }
}

async fn attempt<T, F>(
    slot: &Arc<Slot>,
    target: &Arc<Target>,
    call: impl Fn(Connection) -> F,
) -> Result<T, Failure>
where
    F: Future<Output = Result<T, Failure>>,
{
    let held = slot.connection(target).await?;
    let first = call(held.connection.clone()).await;
    let Err(failure) = &first else { return first };
    if !failure.wants_connection() {
        return first;
    }
    slot.forget(&held, loss(failure));
    let held = slot.connection(target).await?;
    let second = call(held.connection.clone()).await;
    if let Err(failure) = &second
        && failure.wants_connection()
    {
        slot.forget(&held, loss(failure));
    }
    second
}

/// What a call comes to during a drill; a slow one takes all of its time.
#[cold]
async fn drilled(trouble: Trouble, timeout: Duration) -> Failure {
    match trouble {
        Trouble::Down => Failure::Connect("a drill: connection refused".into()),
        Trouble::Slow => {
            tokio::time::sleep(timeout).await;
            Failure::Timeout
        }
        Trouble::Wrong => Failure::Reply,
    }
}

/// The next message of a channel; none once the connection is lost, or taken away by a drill.
pub async fn next_message<S: Stream>(mut messages: Pin<&mut S>) -> Option<S::Item> {
    tokio::select! {
        message = poll_fn(|context| messages.as_mut().poll_next(context)) => message,
        () = drill::taken_away(Dependency::Redis) => None,
    }
}

const fn loss(failure: &Failure) -> Loss {
    match failure {
        Failure::Replica(_) => Loss::Replica,
        _ => Loss::Closed,
    }
}

async fn query<T: FromRedisValue>(mut connection: Connection, command: &Cmd) -> Result<T, Failure> {
    Ok(command.query_async(&mut connection).await?)
}

#[cfg(test)]
mod tests;
