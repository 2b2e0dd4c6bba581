//! Where the running process takes orders to be replaced, and hands its sockets over.
//!
//! A new process asks for the sockets, gets duplicates of them, and this one goes on as if nothing
//! had happened until the new one says that it serves. Only then does it drain. If the new one
//! ends, gives up or takes too long, that is said and nothing else changes.

mod listen;
mod replace;

use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::process::Pid;

use super::channel::{Channel, DESCRIPTORS_MAX, Message};
use super::sockets::Sockets;
use super::stop::Stop;
use crate::clock;
use crate::telemetry::Metrics;

pub(super) use listen::Listening;

/// Connections to the upgrade socket at once; more are closed as they come.
const CALLERS_MAX: usize = 8;

/// How long a caller may take to say what it wants.
const FIRST_WORD: Duration = Duration::from_secs(5);

/// How long a new process that serves may take until all that is its own is in its place.
const SETTLE: Duration = Duration::from_secs(2);

/// The desk of a process.
#[derive(Debug)]
pub(super) struct Desk {
    sockets: Arc<Sockets>,
    stop: Arc<Stop>,
    metrics: Arc<Metrics>,
    /// How long a new process may take to be ready (`server.upgradeTimeout`).
    patience: Duration,
    state: Mutex<State>,
    callers: AtomicUsize,
}

/// What is under way. One upgrade at a time.
#[derive(Debug, Default)]
struct State {
    /// The process is on its way out.
    leaving: bool,
    /// An order of `tidegate upgrade` is being carried out.
    order: Option<Order>,
    /// The process that has asked for the sockets.
    taker: Option<Pid>,
    /// How the order's new process did.
    ended: Option<Outcome>,
}

/// An order of `tidegate upgrade`.
#[derive(Clone, Copy, Debug)]
struct Order {
    /// The process that was started for it.
    child: Pid,
    /// How long it may take, from its start.
    patience: Duration,
    until: Instant,
}

/// How an upgrade ended.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Outcome {
    /// The new process serves.
    Done,
    /// It ended before it was ready.
    Ended,
    /// It said that it would not be ready.
    GaveUp(String),
    /// It was not ready in time.
    TimedOut(Duration),
    /// It said what it should not have said, or could not be told anything.
    Unclear(String),
    /// It could not be started, or ended without asking for the sockets.
    NotStarted(String),
}

impl Outcome {
    /// The label in metrics.
    const fn label(&self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Ended => "ended",
            Self::GaveUp(_) => "gave_up",
            Self::TimedOut(_) => "timed_out",
            Self::Unclear(_) => "unclear",
            Self::NotStarted(_) => "not_started",
        }
    }

    /// What happened, for people.
    fn why(&self) -> String {
        match self {
            Self::Done => "the new process serves".to_owned(),
            Self::Ended => "the new process ended before it was ready".to_owned(),
            Self::GaveUp(why) => format!("the new process gave up: {why}"),
            Self::TimedOut(after) => {
                format!(
                    "the new process was not ready within {}",
                    humantime::format_duration(*after)
                )
            }
            Self::Unclear(what) => format!("the new process does not make itself clear: {what}"),
            Self::NotStarted(why) => why.clone(),
        }
    }
}

impl Desk {
    pub(super) fn new(
        sockets: Arc<Sockets>,
        stop: Arc<Stop>,
        metrics: Arc<Metrics>,
        patience: Duration,
    ) -> Self {
        let (state, callers) = (Mutex::default(), AtomicUsize::new(0));
        Self { sockets, stop, metrics, patience, state, callers }
    }

    /// Takes orders from here on, on a thread of its own, to the end of the process.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub(super) fn open(self: &Arc<Self>, listener: UnixListener) -> io::Result<()> {
        let desk = Arc::clone(self);
        let answer = move || {
            for stream in listener.incoming() {
                match stream {
                    Ok(stream) => desk.receive(stream),
                    Err(error) => {
                        // Descriptors may be short; they come back.
                        tracing::warn!(%error, "an order to upgrade could not be taken");
                        thread::sleep(Duration::from_millis(200));
                    }
                }
            }
        };
        thread::Builder::new().name("upgrade-desk".to_owned()).spawn(answer).map(|_| ())
    }

    /// No further upgrade begins: the process is on its way out.
    pub(super) fn close(&self) {
        self.state.lock().leaving = true;
    }

    /// Callers that have not been told yet how their order went.
    pub(super) fn callers(&self) -> usize {
        self.callers.load(Ordering::Acquire)
    }

    fn receive(self: &Arc<Self>, stream: UnixStream) {
        let caller = Caller::of(self);
        if self.callers() > CALLERS_MAX {
            return;
        }
        let serve = move || {
            let answered = Channel::accepted(stream).and_then(|channel| caller.0.answer(&channel));
            if let Err(error) = answered {
                tracing::warn!(%error, "a caller at the upgrade socket was not answered");
            }
        };
        if let Err(error) = thread::Builder::new().name("upgrade".to_owned()).spawn(serve) {
            tracing::error!(%error, "an order to upgrade could not be taken");
        }
    }

    fn answer(&self, channel: &Channel) -> io::Result<()> {
        match channel.hear(Some(clock::now().tick.instant() + FIRST_WORD)) {
            Ok((Message::TakeOver { version }, _)) => self.hand_over(channel, &version),
            Ok((Message::Replace { program, timeout_ms }, _)) => {
                self.replace(channel, &program, Duration::from_millis(timeout_ms))
            }
            Ok((said, _)) => Err(io::Error::other(format!("it began with {said:?}"))),
            // Somebody has looked whether anybody is there.
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn hand_over(&self, channel: &Channel, version: &str) -> io::Result<()> {
        let pid = channel.peer();
        let order = match self.admit(pid) {
            Ok(order) => order,
            Err(why) => {
                tracing::warn!(pid = pid.as_raw_nonzero().get(), why, "an upgrade was refused");
                self.metrics.upgrades.with_label_values(&["refused"]).inc();
                return channel.say(&Message::Refused { why });
            }
        };
        let pid = pid.as_raw_nonzero().get();
        tracing::info!(pid, version, "a new process takes over the listening sockets");
        let outcome = self.exchange(channel, order);
        if outcome == Outcome::Done {
            self.close();
            self.stop.hand_over();
            // It hangs up when the service manager knows it and the upgrade socket is its own:
            // this process, as long as it waits, does not leave before.
            let _ = channel.hear(Some(clock::now().tick.instant() + SETTLE));
        }
        self.conclude(pid, outcome, order.is_some());
        Ok(())
    }

    /// May this process have the sockets? The order that it was started by, if it was.
    fn admit(&self, pid: Pid) -> Result<Option<Order>, String> {
        let mut state = self.state.lock();
        if state.leaving {
            return Err("this process is on its way out".to_owned());
        }
        let other = state.taker.or(state.order.map(|order| order.child).filter(|one| *one != pid));
        if let Some(other) = other {
            let other = other.as_raw_nonzero();
            return Err(format!("another upgrade is under way, by process {other}"));
        }
        state.taker = Some(pid);
        Ok(state.order)
    }

    /// Hands the sockets over and waits for the new process to say that it serves.
    fn exchange(&self, channel: &Channel, order: Option<Order>) -> Outcome {
        let (patience, until) = match order {
            Some(order) => (order.patience, order.until),
            None => (self.patience, clock::now().tick.instant() + self.patience),
        };
        if let Err(error) = self.give(channel, order.is_some()) {
            return Outcome::Unclear(format!("it takes no sockets: {error}"));
        }
        let heard = channel.hear(Some(until));
        // Who serves is not sent away for being late.
        let serves = matches!(heard, Ok((Message::Ready, _)));
        if !serves && clock::now().tick.instant() >= until {
            let outcome = Outcome::TimedOut(patience);
            let refused = Message::Refused { why: outcome.why() };
            // It may be gone as well.
            let _ = channel.say(&refused);
            return outcome;
        }
        match heard {
            Ok((Message::Ready, _)) => match channel.say(&Message::Draining) {
                Ok(()) => Outcome::Done,
                Err(_) => Outcome::Ended,
            },
            Ok((Message::GaveUp { why }, _)) => Outcome::GaveUp(why),
            Ok((said, _)) => Outcome::Unclear(format!("{said:?}")),
            Err(error) if error.kind() == ErrorKind::InvalidData => {
                Outcome::Unclear(error.to_string())
            }
            Err(_) => Outcome::Ended,
        }
    }

    fn give(&self, channel: &Channel, is_ours: bool) -> io::Result<()> {
        if is_ours {
            channel.say_with(&Message::Log, &[io::stderr().as_fd()])?;
        }
        let sockets = self.sockets.duplicates()?;
        let mut parts = sockets.chunks(DESCRIPTORS_MAX).peekable();
        while let Some(part) = parts.next() {
            let addresses = part.iter().map(|(address, _)| address.clone()).collect();
            let fds: Vec<BorrowedFd<'_>> = part.iter().map(|(_, socket)| socket.as_fd()).collect();
            let last = parts.peek().is_none();
            channel.say_with(&Message::Sockets { addresses, last }, &fds)?;
        }
        Ok(())
    }

    /// Notes how an upgrade went.
    fn conclude(&self, pid: i32, outcome: Outcome, is_ordered: bool) {
        self.note(pid, &outcome);
        let mut state = self.state.lock();
        state.taker = None;
        if is_ordered {
            state.ended = Some(outcome);
        }
    }

    fn note(&self, pid: i32, outcome: &Outcome) {
        self.metrics.upgrades.with_label_values(&[outcome.label()]).inc();
        if *outcome != Outcome::Done {
            let why = outcome.why();
            tracing::error!(pid, why, "the upgrade has failed, this process goes on serving");
        }
    }
}

/// Somebody who waits for an answer, counted.
struct Caller(Arc<Desk>);

impl Caller {
    fn of(desk: &Arc<Desk>) -> Self {
        desk.callers.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(desk))
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        self.0.callers.fetch_sub(1, Ordering::AcqRel);
    }
}
