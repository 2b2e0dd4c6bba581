//! Leaves as soon as nothing is under way.
//!
//! Pingora sleeps its whole grace period after a graceful stop, busy or not, with the signal
//! thread blocked. This watcher knows what is under way and ends the process when nothing is, at
//! the latest when the grace periods are over.

use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use pingora::server::ExecutionPhase;
use tokio::sync::broadcast;

use super::arrivals::Arrivals;
use super::desk::Desk;
use super::pid_file::PidFile;
use super::stop::Stop;
use crate::clock::{self, Tick};
use crate::live::Live;

/// How often it is looked at what is under way.
const LOOK: Duration = Duration::from_millis(20);

/// How long nothing must be under way: a connection may have been accepted and not be counted yet.
const QUIET: Duration = Duration::from_millis(200);

/// How long connections that nobody uses are kept, so that a client that is about to send on one
/// of them is answered, and told to open another. Those of HTTP/2 end by themselves.
const LINGER: Duration = Duration::from_secs(1);

/// How long connections of HTTP/2 on which nothing is under way may take to end: for clients to
/// take the ends of their answers, which the gateway or the kernel still holds.
const TAKE: Duration = Duration::from_secs(10);

/// How long a connection may take to show its first request, the TLS handshake included.
const FIRST_REQUEST: Duration = Duration::from_secs(2);

/// How long is waited for things that take no time: for the last connection to be accepted, for an
/// order to be answered, for leases to be returned.
const SHORTLY: Duration = Duration::from_secs(2);

/// How long a process that is idle waits until the answers that it has stored last are shared:
/// long enough for a Redis that answers.
const SHARE: Duration = Duration::from_secs(1);

/// How long tunnels may take to end once their grace is over: for the client to be told, and to
/// answer.
const FAREWELL: Duration = Duration::from_secs(1);

/// What is under way.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    /// Requests, without tunnels.
    requests: usize,
    /// Connections that carry another protocol.
    tunnels: usize,
    /// Connections that have had no request served yet.
    young: usize,
    /// Connections of HTTP/2: they end when their clients have taken what there was for them.
    shared: usize,
    /// Open connections.
    open: usize,
    /// What takes no time is not done yet.
    unfinished: bool,
    /// Stored answers are not in Redis yet.
    unshared: bool,
}

/// When to leave.
#[derive(Debug)]
struct Course {
    grace: Duration,
    websocket_grace: Duration,
    began: Tick,
    idle_since: Tick,
}

impl Course {
    const fn new(grace: Duration, websocket_grace: Duration, now: Tick) -> Self {
        Self { grace, websocket_grace, began: now, idle_since: now }
    }

    /// Whether nothing, or nothing that may go on, is under way.
    fn is_over(&mut self, seen: Seen, now: Tick) -> bool {
        let since = now.since(self.began);
        let tunnels = seen.tunnels > 0 && since < self.websocket_grace;
        // Where tunnels keep the process anyway, a request need not be cut off either.
        let requests = seen.requests > 0 && (since < self.grace || tunnels);
        let young = seen.young > 0 && since < FIRST_REQUEST.min(self.grace);
        let unfinished = seen.unfinished && since < SHORTLY;
        if tunnels || requests || young || unfinished {
            self.idle_since = now;
            return false;
        }
        let idle = now.since(self.idle_since);
        let taken = seen.shared == 0 || idle >= TAKE.min(self.grace);
        if !taken || (seen.unshared && idle < SHARE) {
            return false;
        }
        let cut_off = seen.requests + seen.tunnels > 0;
        cut_off || idle >= LINGER || (seen.open == 0 && idle >= QUIET)
    }
}

/// Ends the process once it is idle after a graceful stop.
pub(super) struct ExitWhenIdle {
    pub(super) live: Arc<Live>,
    pub(super) arrivals: Arc<Arrivals>,
    pub(super) desk: Arc<Desk>,
    pub(super) stop: Arc<Stop>,
    pub(super) pid_file: Arc<OnceLock<PidFile>>,
    pub(super) grace: Duration,
    pub(super) websocket_grace: Duration,
}

impl ExitWhenIdle {
    /// Starts the watcher's thread.
    pub(super) fn watch(
        self,
        mut phases: broadcast::Receiver<ExecutionPhase>,
    ) -> std::io::Result<()> {
        thread::Builder::new().name("drain".to_owned()).spawn(move || {
            while let Ok(phase) = phases.blocking_recv() {
                if matches!(phase, ExecutionPhase::ShutdownGracePeriod) {
                    self.leave();
                }
            }
        })?;
        Ok(())
    }

    fn leave(&self) {
        let now = clock::now().tick;
        let mut course = Course::new(self.grace, self.websocket_grace, now);
        while !course.is_over(self.look(), clock::now().tick) {
            thread::sleep(LOOK);
        }
        let Seen { requests, tunnels, open, .. } = self.look();
        tracing::info!(requests, tunnels, open, "drained, leaving");
        self.end_tunnels();
        self.live.access_log.close();
        // A successor has written its own.
        if let Some(pid_file) = self.pid_file.get().filter(|_| !self.stop.is_handed_over()) {
            pid_file.remove();
        }
        std::process::exit(0);
    }

    /// Ends the tunnels that are left. Those that cannot be ended in good order, because a client
    /// or a service takes nothing, are cut off.
    fn end_tunnels(&self) {
        self.arrivals.farewell.say();
        let began = clock::now().tick;
        while self.look().tunnels > 0 && clock::now().tick.since(began) < FAREWELL {
            thread::sleep(LOOK);
        }
    }

    fn look(&self) -> Seen {
        let count = |gauge: &prometheus::IntGauge| usize::try_from(gauge.get()).unwrap_or(0);
        let metrics = &self.live.metrics;
        let tunnels = count(&metrics.tunnels);
        Seen {
            requests: count(&metrics.in_flight).saturating_sub(tunnels),
            tunnels,
            young: self.arrivals.young(),
            shared: self.arrivals.shared(),
            open: self.arrivals.open(),
            unfinished: self.arrivals.are_expected()
                || self.desk.callers() > 0
                || !self.live.limiter.has_left(),
            unshared: self.live.cache.tiered.is_behind(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(30);
    const WEBSOCKETS: Duration = Duration::from_mins(1);

    /// The first millisecond at which a process that always sees this leaves.
    fn leaves_after(grace: Duration, websocket_grace: Duration, seen: Seen) -> u64 {
        let start = clock::now().tick;
        let mut course = Course::new(grace, websocket_grace, start);
        let at = |ms: &u64| start.plus(Duration::from_millis(*ms));
        (0..100_000).find(|ms| course.is_over(seen, at(ms))).unwrap()
    }

    fn after(seen: Seen) -> u64 {
        leaves_after(GRACE, WEBSOCKETS, seen)
    }

    #[test]
    fn an_idle_process_leaves_when_it_has_been_quiet() {
        assert_eq!(after(Seen::default()), 200);
        assert_eq!(after(Seen { open: 3, ..Seen::default() }), 1_000, "idle connections linger");
    }

    #[test]
    fn what_is_under_way_has_its_time_and_no_more() {
        assert_eq!(after(Seen { requests: 1, open: 1, ..Seen::default() }), 30_000);
        assert_eq!(after(Seen { tunnels: 1, open: 1, ..Seen::default() }), 60_000);
        let both = Seen { requests: 1, tunnels: 1, open: 2, ..Seen::default() };
        assert_eq!(after(both), 60_000, "a tunnel keeps requests");
        assert_eq!(leaves_after(WEBSOCKETS, GRACE, both), 60_000);
        let shared = Seen { shared: 1, open: 1, ..Seen::default() };
        assert_eq!(after(shared), 10_000);
        assert_eq!(leaves_after(Duration::from_secs(3), WEBSOCKETS, shared), 3_000);
        // What was there and will not go: the process is quiet from then on.
        assert_eq!(after(Seen { young: 1, open: 1, ..Seen::default() }), 1_999 + 1_000);
        assert_eq!(after(Seen { unfinished: true, ..Seen::default() }), 1_999 + 200);
    }

    #[test]
    fn answers_are_shared_before_it_leaves_for_a_second_at_most() {
        let unshared = Seen { unshared: true, ..Seen::default() };
        assert_eq!(after(unshared), 1_000);
        assert_eq!(after(Seen { requests: 1, open: 1, ..unshared }), 29_999 + 1_000);
        let start = clock::now().tick;
        let at = |ms| start.plus(Duration::from_millis(ms));
        let mut course = Course::new(GRACE, WEBSOCKETS, start);
        assert!(!course.is_over(unshared, at(600)));
        assert!(course.is_over(Seen::default(), at(601)), "and at once when they are");
    }

    #[test]
    fn a_request_begins_the_quiet_time_anew() {
        let start = clock::now().tick;
        let at = |ms| start.plus(Duration::from_millis(ms));
        let mut course = Course::new(GRACE, WEBSOCKETS, start);
        assert!(!course.is_over(Seen::default(), at(199)));
        assert!(!course.is_over(Seen { requests: 1, ..Seen::default() }, at(200)));
        assert!(!course.is_over(Seen::default(), at(399)));
        assert!(course.is_over(Seen::default(), at(400)));
    }
}
