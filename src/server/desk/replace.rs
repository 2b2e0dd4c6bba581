//! Starts the new process for `tidegate upgrade`, as a child of the running one: it inherits what
//! the running one was given (sandbox, environment, credentials, control group).

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use rustix::process::Pid;

use super::{Channel, Desk, Message, Order, Outcome};
use crate::clock;
use crate::server::order::TIMEOUT_MAX;

/// Between two looks at how the new process does.
const LOOK: Duration = Duration::from_millis(20);

/// Lines that are kept of what the new process writes, and their longest.
const LINES: usize = 20;
const LINE_MAX: u64 = 2048;

/// What a process is given for itself alone.
const NOT_INHERITED: [&str; 4] = ["LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "WATCHDOG_PID"];

impl Desk {
    /// Starts a program in this one's place, and says how it goes.
    pub(super) fn replace(
        &self,
        channel: &Channel,
        program: &Path,
        timeout: Duration,
    ) -> io::Result<()> {
        let mut command = command(program);
        let told = format!("{command:?}");
        let started = self.start(&mut command, timeout.min(TIMEOUT_MAX));
        let (mut child, order) = match started {
            Ok(started) => started,
            Err(why) => {
                let why = format!("{}: {why}", program.display());
                self.metrics.upgrades.with_label_values(&["not_started"]).inc();
                tracing::error!(why, "the upgrade has failed, this process goes on serving");
                return channel.say(&Message::Failed { why, lines: Vec::new() });
            }
        };
        let pid = order.child.as_raw_nonzero().get();
        tracing::info!(pid, command = told, "started a new process to take over");
        // Whoever gave the order may have gone; it is carried out all the same.
        let _ = channel.say(&Message::Started { pid, command: told });
        let tail = Tail::of(child.stderr.take());
        let outcome = self.follow(&mut child, order);
        if outcome == Outcome::Done {
            return channel.say(&Message::Replaced { pid });
        }
        // Not waited for until here, so the id cannot be another's.
        let _ = child.kill();
        let status = child.wait();
        let mut why = outcome.why();
        if let (Outcome::Ended, Ok(status)) = (&outcome, status) {
            why = format!("{why} ({status})");
        }
        channel.say(&Message::Failed { why, lines: tail.lines() })
    }

    fn start(&self, command: &mut Command, patience: Duration) -> Result<(Child, Order), String> {
        // Held while the child begins: it may ask at once.
        let mut state = self.state.lock();
        if state.leaving {
            return Err("this process is on its way out".to_owned());
        }
        if let Some(pid) = state.taker.or(state.order.map(|order| order.child)) {
            let pid = pid.as_raw_nonzero();
            return Err(format!("another upgrade is under way, by process {pid}"));
        }
        let child = command.spawn().map_err(|error| error.to_string())?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or("it has no process id")?;
        let order = Order { child: pid, patience, until: clock::now().tick.instant() + patience };
        state.order = Some(order);
        state.ended = None;
        Ok((child, order))
    }

    /// Waits for what becomes of the order, and closes it.
    fn follow(&self, child: &mut Child, order: Order) -> Outcome {
        loop {
            // Looked at before the state: a process that has ended asks for nothing any more.
            let ended = child.try_wait().ok().flatten();
            let mut state = self.state.lock();
            if let Some(outcome) = state.ended.take() {
                state.order = None;
                return outcome;
            }
            let outcome = match ended {
                // Whoever hands over to it finds out how it goes, and when it has been too long.
                _ if state.taker.is_some() => None,
                Some(status) => Some(Outcome::NotStarted(format!(
                    "the new process ended without asking for the sockets ({status})"
                ))),
                None => (clock::now().tick.instant() >= order.until)
                    .then_some(Outcome::TimedOut(order.patience)),
            };
            if let Some(outcome) = outcome {
                state.order = None;
                drop(state);
                self.note(order.child.as_raw_nonzero().get(), &outcome);
                return outcome;
            }
            drop(state);
            thread::sleep(LOOK);
        }
    }
}

/// The command line of this process, with another program, to take over from it.
fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let upgrade = OsString::from("--upgrade");
    let asks = arguments.contains(&upgrade);
    command.args(arguments);
    if !asks {
        command.arg(upgrade);
    }
    for name in NOT_INHERITED {
        command.env_remove(name);
    }
    command.stdin(Stdio::null()).stderr(Stdio::piped());
    command
}

/// What a new process writes before it has the log of this one: passed on there, and remembered.
struct Tail {
    lines: Arc<Mutex<VecDeque<String>>>,
    reader: Option<thread::JoinHandle<()>>,
}

impl Tail {
    /// Reads to the end, which comes when the new process ends or writes to the log by itself.
    fn of(stderr: Option<ChildStderr>) -> Self {
        let lines = Arc::new(Mutex::new(VecDeque::new()));
        let kept = Arc::clone(&lines);
        let read = stderr.map(|stderr| move || pass_on(stderr, &kept));
        let begin = |read| thread::Builder::new().name("upgrade-log".to_owned()).spawn(read);
        // Without a thread its first lines are lost, and nothing else.
        Self { lines, reader: read.and_then(|read| begin(read).ok()) }
    }

    /// The last lines of a process that has ended. Something else may hold its standard error
    /// open for longer; that is not waited for.
    fn lines(&self) -> Vec<String> {
        let until = clock::now().tick.instant() + Duration::from_secs(1);
        while self.reader.as_ref().is_some_and(|reader| !reader.is_finished())
            && clock::now().tick.instant() < until
        {
            thread::sleep(LOOK);
        }
        self.lines.lock().iter().cloned().collect()
    }
}

fn pass_on(stderr: ChildStderr, kept: &Mutex<VecDeque<String>>) {
    let mut reader = BufReader::new(stderr);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = io::Read::take(&mut reader, LINE_MAX).read_until(b'\n', &mut line);
        if !read.is_ok_and(|read| read > 0) {
            return;
        }
        let _ = io::stderr().lock().write_all(&line);
        let mut kept = kept.lock();
        if kept.len() == LINES {
            kept.pop_front();
        }
        kept.push_back(String::from_utf8_lossy(&line).trim_end().to_owned());
    }
}
