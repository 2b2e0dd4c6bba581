//! What the service manager is told (`sd_notify(3)`): ready, reloading, stopping, alive.
//!
//! It decides when each word is true, in the one order that a manager understands; what the words
//! mean to the gateway is not its business. Without `NOTIFY_SOCKET` nobody is told anything. The
//! protocol is driven for real in `tests/e2e/notify.rs`.
//!
//! | Said | When |
//! |---|---|
//! | `READY=1`, `MAINPID` | the listeners are open; who took over becomes the main process |
//! | `RELOADING=1`, then `READY=1` | around every reload, whether it is good or refused |
//! | `STOPPING=1` | the service stops; not when another process goes on in its place |
//! | `WATCHDOG=1` | at half the watchdog's time, while the data plane turns |

use std::fmt::Write as _;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use sd_notify::NotifyState;

use super::Start;
use super::pulse::Pulse;
use crate::live::{Live, Reload};

/// The service manager, as seen from this process.
pub(super) struct Notify {
    manager: Option<SocketAddr>,
    /// How often the watchdog is given a sign of life.
    ping: Option<Duration>,
    phase: Mutex<Phase>,
    /// Whether the data plane turns.
    pulse: Arc<Pulse>,
}

/// What the manager knows of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Not ready: a reload now is none of its business, and a `READY=1` would be untrue.
    Starting,
    /// The main process of the service.
    Ready,
    /// The service stops.
    Stopping,
    /// Another process is the service now; this one is silent.
    Left,
}

impl Notify {
    /// The manager that this process was started by, if it was.
    pub(super) fn from_env(start: Start) -> Arc<Self> {
        let word = |name| std::env::var(name).ok();
        let environment = Environment {
            socket: word("NOTIFY_SOCKET").filter(|socket| !socket.is_empty()),
            watchdog_usec: word("WATCHDOG_USEC").and_then(|usec| usec.parse().ok()),
            watchdog_pid: word("WATCHDOG_PID").and_then(|pid| pid.parse().ok()),
        };
        Arc::new(Self::new(&environment, start))
    }

    fn new(environment: &Environment, start: Start) -> Self {
        let manager = environment.socket.as_deref().and_then(|socket| {
            address(socket)
                .inspect_err(|error| {
                    tracing::warn!(socket, %error, "the service manager cannot be told anything");
                })
                .ok()
        });
        let ping = manager.as_ref().and_then(|_| environment.ping(start, std::process::id()));
        let pulse = Arc::new(Pulse::new(ping.map(|ping| ping / BEATS)));
        Self { manager, ping, phase: Mutex::new(Phase::Starting), pulse }
    }

    /// What beats on the data plane's runtime while that turns.
    pub(super) fn pulse(&self) -> Arc<Pulse> {
        Arc::clone(&self.pulse)
    }

    /// Tells of reloads from here on.
    pub(super) fn follow(self: &Arc<Self>, live: &Arc<Live>) {
        // Weak, because the state of the process holds who is told.
        let (notify, weak) = (Arc::clone(self), Arc::downgrade(live));
        live.reloads.tell(move |reload| match (reload, weak.upgrade()) {
            (Reload::Begins, _) => notify.reloading(),
            (Reload::Ends, Some(live)) => notify.reloaded(&serving(&live)),
            (Reload::Ends, None) => {}
        });
    }

    /// The listeners are open, this process is the service: says so, and gives signs of life
    /// from here on.
    pub(super) fn ready(self: &Arc<Self>, live: &Live) {
        self.is_up(&serving(live));
    }

    fn is_up(self: &Arc<Self>, status: &str) {
        let mut phase = self.phase.lock();
        if *phase != Phase::Starting {
            return;
        }
        *phase = Phase::Ready;
        let main = NotifyState::MainPid(std::process::id());
        self.tell(&[NotifyState::Ready, main, NotifyState::Status(status)]);
        let Some(ping) = self.ping else { return };
        let notify = Arc::clone(self);
        let begun = thread::Builder::new()
            .name("watchdog".to_owned())
            .spawn(move || notify.give_signs_of_life(ping));
        if let Err(error) = begun {
            tracing::error!(%error, "no signs of life for the watchdog: it will end this process");
        }
    }

    /// A reload begins. `Type=notify-reload` waits for this, with the time, and then for
    /// [`Notify::reloaded`].
    fn reloading(&self) {
        let phase = self.phase.lock();
        if *phase != Phase::Ready {
            return;
        }
        // Without the time a manager that waits for it would wait for ever; better not begin.
        if let Ok(now) = NotifyState::monotonic_usec_now() {
            self.tell(&[NotifyState::Reloading, now]);
        }
    }

    /// A reload is over, and `status` is what is served now.
    fn reloaded(&self, status: &str) {
        let phase = self.phase.lock();
        if *phase == Phase::Ready {
            self.tell(&[NotifyState::Ready, NotifyState::Status(status)]);
        }
    }

    /// The service stops, and may take `longest` until the last request is done: the manager is
    /// asked for as much time, whatever it would give otherwise.
    pub(super) fn stopping(&self, longest: Duration) {
        let mut phase = self.phase.lock();
        if matches!(*phase, Phase::Stopping | Phase::Left) {
            return;
        }
        *phase = Phase::Stopping;
        // Written out: the library's number ends at 71 minutes, systemd's does not.
        let usec = longest.saturating_add(SPARE).as_micros();
        let extend = format!("EXTEND_TIMEOUT_USEC={usec}");
        let status = format!("draining, at most {}", humantime::format_duration(longest));
        self.tell(&[
            NotifyState::Stopping,
            NotifyState::Custom(&extend),
            NotifyState::Status(&status),
        ]);
    }

    /// Another process is the service from here on. This one drains, and whatever it said would
    /// be taken for the other's word.
    pub(super) fn handed_over(&self) {
        *self.phase.lock() = Phase::Left;
    }

    /// On a thread of its own: whatever hangs, this does not, and then it is silent.
    fn give_signs_of_life(&self, ping: Duration) {
        let mut seen = None;
        loop {
            let beats = self.pulse.beats();
            let phase = self.phase.lock();
            match sign_of_life(*phase, seen, beats) {
                Sign::Alive => self.tell(&[NotifyState::Watchdog]),
                Sign::Silence => tracing::error!("the data plane does not turn: no sign of life"),
                Sign::Over => return,
            }
            drop(phase);
            seen = Some(beats);
            thread::sleep(ping);
        }
    }

    /// Sends one datagram; in vain is no reason to stop serving.
    fn tell(&self, states: &[NotifyState<'_>]) {
        let Some(manager) = &self.manager else { return };
        let mut words = String::new();
        for state in states {
            // Writing to a string cannot fail.
            let _ = writeln!(words, "{state}");
        }
        if let Err(error) = send(manager, words.as_bytes()) {
            tracing::warn!(%error, "the service manager cannot be told");
        }
    }
}

/// What stands in `systemctl status`.
fn serving(live: &Live) -> String {
    let snapshot = live.snapshot();
    let routes = snapshot.routes.len();
    let refused = if live.metrics.config_last_ok.get() == 1 {
        ""
    } else {
        "; the configuration file as it is now was refused"
    };
    format!(
        "Tidegate {} serves {routes} {}, configuration {}{refused}",
        env!("CARGO_PKG_VERSION"),
        if routes == 1 { "route" } else { "routes" },
        snapshot.version,
    )
}

/// What is said to the watchdog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sign {
    Alive,
    Silence,
    /// Nothing, never again.
    Over,
}

/// `seen` are the beats at the last look, none at the first: a process that is just ready has
/// turned.
fn sign_of_life(phase: Phase, seen: Option<u64>, beats: u64) -> Sign {
    match phase {
        Phase::Left => Sign::Over,
        // A drain is looked after too: what hangs would not end by itself.
        Phase::Starting | Phase::Ready | Phase::Stopping => {
            if seen == Some(beats) {
                Sign::Silence
            } else {
                Sign::Alive
            }
        }
    }
}

/// What the environment says of the service manager.
#[derive(Clone, Default)]
struct Environment {
    /// `NOTIFY_SOCKET`.
    socket: Option<String>,
    /// `WATCHDOG_USEC`: the silence after which it ends the service.
    watchdog_usec: Option<u64>,
    /// `WATCHDOG_PID`: the process that is meant.
    watchdog_pid: Option<u32>,
}

impl Environment {
    /// How often a sign of life is due, if any is.
    ///
    /// `WATCHDOG_PID` names the process that the manager started. A process that takes over from
    /// it answers to the same watchdog, so it does not mind the name; and one that was started by
    /// `ExecReload=`, which is told of no watchdog, gives signs often enough for any.
    fn ping(&self, start: Start, pid: u32) -> Option<Duration> {
        let told = self.watchdog_usec.filter(|usec| *usec > 0);
        let told = told.map(|usec| Duration::from_micros(usec) / 2);
        let ours = self.watchdog_pid.is_none_or(|named| named == pid);
        match start {
            Start::Upgrade => Some(told.unwrap_or(OFTEN)),
            Start::Fresh => told.filter(|_| ours),
        }
    }
}

/// Where the manager listens: a file, or a name without one (`@name`).
fn address(socket: &str) -> std::io::Result<SocketAddr> {
    match socket.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(socket),
    }
}

/// A socket for each datagram: there are few, and a manager that began anew is found again. The
/// library's own way of sending knows no sockets without a file.
fn send(manager: &SocketAddr, words: &[u8]) -> std::io::Result<()> {
    let socket = UnixDatagram::unbound()?;
    socket.set_write_timeout(Some(PATIENCE))?;
    socket.send_to_addr(words, manager).map(|_| ())
}

/// Heartbeats between two signs of life: one that comes late on a busy machine changes nothing.
const BEATS: u32 = 4;

/// Signs of life where the watchdog's time is not known.
const OFTEN: Duration = Duration::from_secs(1);

/// What a manager that does not read may cost.
const PATIENCE: Duration = Duration::from_secs(1);

/// Time to leave after the longest drain.
const SPARE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests;
