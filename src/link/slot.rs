//! A place for one connection, and the tasks that fill it and look after what is in it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::Notify;

use super::meters::{Counted, Loss, Meters};
use super::sentinel::Server;
use super::target::Target;
use super::{Connection, Failure};

/// How long a connection on which a call timed out has to answer a `PING`.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);

/// How often Sentinels are asked whether the primary is still the one. A failover closes the
/// connections to the old primary; this finds the one that could not be told.
const WATCH_EVERY: Duration = Duration::from_secs(5);

/// A place for one connection.
#[derive(Debug)]
pub(super) struct Slot {
    held: ArcSwapOption<Held>,
    /// Whether a task is making a connection.
    connecting: AtomicBool,
    /// Whether a task is finding out if the connection is alive.
    checking: AtomicBool,
    /// Why the last attempt failed; none once one went well.
    problem: ArcSwapOption<Arc<str>>,
    /// Wakes those who wait for the task that makes a connection.
    done: Notify,
    meters: Meters,
}

/// A connection, counted as open for as long as somebody holds it.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) connection: Connection,
    _open: Counted,
}

impl Slot {
    pub(super) fn new(meters: Meters) -> Self {
        Self {
            held: ArcSwapOption::empty(),
            connecting: AtomicBool::new(false),
            checking: AtomicBool::new(false),
            problem: ArcSwapOption::empty(),
            done: Notify::new(),
            meters,
        }
    }

    /// The connection, made first where there is none. The caller bounds the wait.
    pub(super) async fn connection(
        self: &Arc<Self>,
        target: &Arc<Target>,
    ) -> Result<Arc<Held>, Failure> {
        if let Some(held) = self.held.load_full() {
            return Ok(held);
        }
        let mut done = std::pin::pin!(self.done.notified());
        // Listening begins before the task does, or it could end unheard.
        done.as_mut().enable();
        if let Some(held) = self.held.load_full() {
            return Ok(held);
        }
        if !self.connecting.swap(true, Ordering::AcqRel) {
            let connecting = Connecting(Arc::clone(self));
            let target = Arc::clone(target);
            tokio::spawn(connecting.run(target));
        }
        done.await;
        self.held.load_full().ok_or_else(|| self.why_none().unwrap_or(Failure::Timeout))
    }

    /// Empties the slot if it still holds this connection.
    pub(super) fn forget(&self, held: &Arc<Held>, loss: Loss) {
        if self.holds(held) {
            let current = self.held.load();
            let before = self.held.compare_and_swap(&current, None);
            if before.as_ref().is_some_and(|before| Arc::ptr_eq(before, held)) {
                self.meters.lost(loss);
            }
        }
    }

    /// Empties the slot.
    pub(super) fn clear(&self) {
        if self.held.swap(None).is_some() {
            self.meters.lost(Loss::Dropped);
        }
    }

    /// What to say of a call that took too long: why there is no connection, if that is known.
    /// A connection that there is may be dead without a sign, and is asked.
    pub(super) fn too_late(self: &Arc<Self>) -> Failure {
        let Some(held) = self.held.load_full() else {
            return self.why_none().unwrap_or(Failure::Timeout);
        };
        if !self.checking.swap(true, Ordering::AcqRel) {
            let checking = Checking(Arc::clone(self));
            tokio::spawn(checking.run(held));
        }
        Failure::Timeout
    }

    fn why_none(&self) -> Option<Failure> {
        let problem = self.problem.load_full()?;
        Some(Failure::Connect(Arc::clone(&problem)))
    }

    fn holds(&self, held: &Arc<Held>) -> bool {
        self.held.load().as_ref().is_some_and(|current| Arc::ptr_eq(current, held))
    }
}

/// The right to fill a slot. Ends with the task that holds it, also when the task is dropped.
struct Connecting(Arc<Slot>);

impl Connecting {
    async fn run(self, target: Arc<Target>) {
        let slot = &self.0;
        let _connecting = slot.meters.connecting();
        let problem: Arc<str> = match tokio::time::timeout(target.timeout(), target.connect()).await
        {
            Ok(Ok((connection, server))) => {
                let held = Arc::new(Held { connection, _open: slot.meters.open() });
                if let Some(server) = server {
                    tokio::spawn(watch(
                        Arc::downgrade(slot),
                        Arc::downgrade(&held),
                        Arc::clone(&target),
                        server,
                    ));
                }
                slot.meters.connected(true);
                slot.problem.store(None);
                slot.held.store(Some(held));
                return;
            }
            Ok(Err(problem)) => problem,
            Err(_) => "no answer in time".into(),
        };
        slot.meters.connected(false);
        slot.problem.store(Some(Arc::new(problem)));
    }
}

impl Drop for Connecting {
    fn drop(&mut self) {
        self.0.connecting.store(false, Ordering::Release);
        self.0.done.notify_waiters();
    }
}

/// The right to find out whether a connection is alive.
struct Checking(Arc<Slot>);

impl Checking {
    async fn run(self, held: Arc<Held>) {
        let alive = tokio::time::timeout(CHECK_TIMEOUT, held.connection.clone().answers()).await;
        if alive != Ok(true) {
            self.0.forget(&held, Loss::Silent);
        }
    }
}

impl Drop for Checking {
    fn drop(&mut self) {
        self.0.checking.store(false, Ordering::Release);
    }
}

/// Gives a connection up when the Sentinels name another server. Ends with the connection.
async fn watch(slot: Weak<Slot>, held: Weak<Held>, target: Arc<Target>, server: Server) {
    loop {
        tokio::time::sleep(WATCH_EVERY.mul_f64(0.75 + 0.5 * fastrand::f64())).await;
        let is_held = || Some((slot.upgrade()?, held.upgrade()?)).filter(|(s, h)| s.holds(h));
        if is_held().is_none() {
            return;
        }
        if target.names_another(&server).await {
            if let Some((slot, held)) = is_held() {
                slot.forget(&held, Loss::Moved);
            }
            return;
        }
    }
}
