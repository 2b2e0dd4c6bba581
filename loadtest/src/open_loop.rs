//! Requests that are due at a constant rate, and what stalls cost them.
//!
//! Callers do not wait for each other: while a service stalls, their requests keep coming, and
//! each of them waits. So the latency of a request counts from the moment at which it was due,
//! not from the moment at which somebody got round to sending it. A client that sends its next
//! request only after the last answer would send one request during a stall and report one slow
//! answer in a thousand, where callers met hundreds ("coordinated omission").
//!
//! Timers of tokio are exact to a millisecond, ten times what is measured here; the kernel's
//! (timerfd) are exact to microseconds and leave the processor to others meanwhile.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use hdrhistogram::Histogram;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;
use tokio::task::LocalSet;
use tokio::time::{Instant, timeout};

use crate::client::Client;
use crate::{Context, Error, Result};

/// How long after the last request was due answers are waited for.
const DRAIN: Duration = Duration::from_secs(15);
/// Longest latency that is told from longer ones, in nanoseconds.
const LONGEST_NS: u64 = 120_000_000_000;
/// Digits of a latency that are kept.
const DIGITS: u8 = 3;

/// Latencies in nanoseconds.
#[derive(Clone, Debug)]
pub struct Latencies(Histogram<u64>);

impl Latencies {
    /// None yet.
    pub fn new() -> Result<Self> {
        Histogram::new_with_bounds(1_000, LONGEST_NS, DIGITS).context("a histogram").map(Self)
    }

    /// Notes one.
    pub fn note(&mut self, latency: Duration) {
        self.0.saturating_record(u64::try_from(latency.as_nanos()).unwrap_or(LONGEST_NS));
    }

    /// Takes those of another.
    pub fn take(&mut self, other: &Self) -> Result<()> {
        self.0.add(&other.0).context("a histogram")
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// What so many percent of them do not exceed, in milliseconds.
    #[must_use]
    pub fn percentile_ms(&self, percent: f64) -> f64 {
        Duration::from_nanos(self.0.value_at_quantile(percent / 100.0)).as_secs_f64() * 1e3
    }
}

/// What came of a stretch of load.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Of the good answers, from when they were due.
    pub latency: Latencies,
    /// How much later than due the load generator itself got round to requests.
    pub late: Latencies,
    /// Requests that were due.
    pub due: u64,
    /// Requests without a good answer.
    pub errors: u64,
    /// The first thing that went wrong.
    pub first_error: Option<String>,
}

impl Outcome {
    /// Nothing yet.
    pub fn new() -> Result<Self> {
        Ok(Self {
            latency: Latencies::new()?,
            late: Latencies::new()?,
            due: 0,
            errors: 0,
            first_error: None,
        })
    }

    /// Takes what came of another stretch.
    pub fn take(&mut self, other: Self) -> Result<()> {
        self.latency.take(&other.latency)?;
        self.late.take(&other.late)?;
        self.due += other.due;
        self.errors += other.errors;
        self.first_error = self.first_error.take().or(other.first_error);
        Ok(())
    }

    fn fail(&mut self, what: String) {
        self.errors += 1;
        self.first_error.get_or_insert(what);
    }
}

/// Callers of one server. Connections stay open from one stretch of load to the next.
#[derive(Debug)]
pub struct Callers {
    requests: Vec<Vec<u8>>,
    idle: Vec<Client>,
    next: usize,
}

impl Callers {
    /// Callers that send these requests in turn, on at most so many connections.
    #[must_use]
    pub fn new(address: SocketAddr, requests: Vec<Vec<u8>>, connections: usize) -> Self {
        let idle = (0..connections).map(|_| Client::new(address)).collect();
        Self { requests, idle, next: 0 }
    }

    /// Sends `rate` requests a second for a while; any answer but a 200 is an error.
    pub async fn at_rate(&mut self, rate: u32, length: Duration) -> Result<Outcome> {
        let period = Duration::from_secs(1) / rate.max(1);
        let total =
            u64::try_from(length.as_nanos() / period.as_nanos().max(1)).context("length")?;
        let run = Rc::new(Run {
            requests: std::mem::take(&mut self.requests),
            idle: RefCell::new(std::mem::take(&mut self.idle)),
            next: Cell::new(self.next),
            backlog: RefCell::default(),
            under_way: Cell::new(0),
            quiet: Notify::new(),
            outcome: RefCell::new(Outcome::new()?),
        });
        let tasks = LocalSet::new();
        tasks.run_until(run.send(period, total)).await?;
        // What is still under way ends here, and its connections with it.
        drop(tasks);
        let run = Rc::into_inner(run).context("a request outlived its run")?;
        self.requests = run.requests;
        self.idle = run.idle.into_inner();
        self.next = run.next.get();
        let mut outcome = run.outcome.into_inner();
        outcome.due = total;
        let unanswered = total.saturating_sub(outcome.latency.count() + outcome.errors);
        if unanswered > 0 {
            outcome.errors += unanswered;
            let what = format!("{unanswered} requests were not answered in {} s", DRAIN.as_secs());
            outcome.first_error.get_or_insert(what);
        }
        Ok(outcome)
    }
}

/// One stretch of load.
struct Run {
    requests: Vec<Vec<u8>>,
    idle: RefCell<Vec<Client>>,
    next: Cell<usize>,
    /// When requests were due for which there is no connection yet.
    backlog: RefCell<VecDeque<Instant>>,
    under_way: Cell<usize>,
    quiet: Notify,
    outcome: RefCell<Outcome>,
}

impl Run {
    async fn send(self: &Rc<Self>, period: Duration, total: u64) -> Result<()> {
        let mut ticks = Ticks::every(period)?;
        let (begin, mut sent) = (Instant::now(), 0);
        let mut due = begin;
        while sent < total {
            let ripe = ticks.next().await?.min(total - sent);
            let now = Instant::now();
            for _ in 0..ripe {
                due += period;
                self.outcome.borrow_mut().late.note(now.saturating_duration_since(due));
                self.dispatch(due);
            }
            sent += ripe;
        }
        // Whoever is still waiting then is counted by the caller.
        let _ = timeout(DRAIN, async {
            while self.under_way.get() > 0 {
                self.quiet.notified().await;
            }
        })
        .await;
        Ok(())
    }

    fn dispatch(self: &Rc<Self>, due: Instant) {
        let Some(client) = self.idle.borrow_mut().pop() else {
            self.backlog.borrow_mut().push_back(due);
            return;
        };
        self.under_way.set(self.under_way.get() + 1);
        tokio::task::spawn_local(Rc::clone(self).serve(client, due));
    }

    /// Sends a request and then those that waited for a connection.
    async fn serve(self: Rc<Self>, mut client: Client, mut due: Instant) {
        loop {
            let answer = client.ask(self.request()).await;
            let latency = due.elapsed();
            let mut outcome = self.outcome.borrow_mut();
            match answer {
                Ok((200, _)) => outcome.latency.note(latency),
                Ok((status, _)) => outcome.fail(format!("answered {status}")),
                Err(error) => outcome.fail(error.to_string()),
            }
            drop(outcome);
            match self.backlog.borrow_mut().pop_front() {
                Some(waiting) => due = waiting,
                None => break,
            }
        }
        self.idle.borrow_mut().push(client);
        self.under_way.set(self.under_way.get() - 1);
        self.quiet.notify_one();
    }

    fn request(&self) -> &[u8] {
        let at = self.next.get();
        self.next.set((at + 1) % self.requests.len().max(1));
        self.requests.get(at).map_or(&[], Vec::as_slice)
    }
}

/// A timer that says how many periods have ended.
struct Ticks {
    timer: AsyncFd<OwnedFd>,
}

impl Ticks {
    fn every(period: Duration) -> Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags).context("a timer")?;
        let period = Timespec::try_from(period).map_err(|_| Error::new("a period too long"))?;
        let regular = Itimerspec { it_interval: period, it_value: period };
        timerfd_settime(&timer, TimerfdTimerFlags::empty(), &regular).context("a timer")?;
        #[expect(
            deprecated,
            reason = "unsound for types whose descriptor may change, which that of `OwnedFd` does \
                      not; what replaces it is an unsafe function, and those are forbidden here"
        )]
        let timer = AsyncFd::new(timer).context("a timer")?;
        Ok(Self { timer })
    }

    /// Waits until a period has ended; returns how many have since the last call.
    async fn next(&mut self) -> Result<u64> {
        loop {
            let mut ready = self.timer.readable().await.context("a timer")?;
            let mut periods = [0; 8];
            let read = ready.try_io(|timer| {
                rustix::io::read(timer.get_ref(), &mut periods).map_err(std::io::Error::from)
            });
            if let Ok(read) = read {
                read.context("a timer")?;
                return Ok(u64::from_ne_bytes(periods));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    const STALL: Duration = Duration::from_millis(300);

    /// Answers at once, except that nothing is answered for a while after the first request.
    async fn stalling() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut first = true;
            let mut input = Vec::new();
            while stream.read_buf(&mut input).await.unwrap() > 0 {
                if std::mem::take(&mut first) {
                    tokio::time::sleep(STALL).await;
                }
                while let Some(end) = input.windows(4).position(|four| four == b"\r\n\r\n") {
                    input.drain(..end + 4);
                    stream.write_all(ANSWER).await.unwrap();
                }
            }
        });
        address
    }

    fn requests() -> Vec<Vec<u8>> {
        vec![b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec()]
    }

    #[tokio::test]
    async fn a_stall_counts_for_every_request_that_was_due_in_it() {
        let mut callers = Callers::new(stalling().await, requests(), 1);
        let outcome = callers.at_rate(500, 2 * STALL).await.unwrap();
        assert_eq!((outcome.due, outcome.errors, outcome.latency.count()), (300, 0, 300));
        // Of 300 requests 150 were due in the stall, 100 of them at least 100 ms before its end.
        // A client that waits for its answers would have seen a single slow one.
        assert!(outcome.latency.percentile_ms(100.0 - 33.0) >= 100.0);
        assert!(outcome.latency.percentile_ms(100.0) >= 290.0);
    }

    #[tokio::test]
    async fn what_is_not_answered_well_is_an_error() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut input = [0; 1024];
                let _ = stream.read(&mut input).await;
                let _ = stream.write_all(b"HTTP/1.1 503 No\r\nConnection: close\r\n\r\n").await;
            }
        });
        let mut callers = Callers::new(address, requests(), 4);
        let outcome = callers.at_rate(100, Duration::from_millis(100)).await.unwrap();
        assert_eq!((outcome.due, outcome.errors, outcome.latency.count()), (10, 10, 0));
        assert_eq!(outcome.first_error.unwrap(), "answered 503");
    }
}
