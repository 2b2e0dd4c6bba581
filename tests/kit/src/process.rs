//! A process of the test's own: started, watched, signalled by its id, never left behind.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use rustix::process::{Pid, kill_process};
use tokio::process::{Child, Command};

use crate::{Context, Error, Result, Signal, evidence, wait};

/// A running process; dropping it kills it.
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

/// A process that something else has started; dropping it kills it.
pub struct Stray(Pid);

impl Stray {
    /// The process with this id.
    pub fn new(id: i32) -> Result<Self> {
        Pid::from_raw(id).map(Self).context("process id")
    }

    /// Its process id.
    #[must_use]
    pub const fn id(&self) -> i32 {
        self.0.as_raw_nonzero().get()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(self.0, signal).context("signal")
    }

    /// Waits for its end; whoever it belongs to may not have taken notice yet.
    pub async fn exit(&self) -> Result<()> {
        let stat = format!("/proc/{}/stat", self.id());
        wait::until("the end of a process", async || {
            let state = std::fs::read_to_string(&stat).unwrap_or_default();
            let state = state.rsplit(')').next().unwrap_or_default().trim_start().to_owned();
            (state.is_empty() || state.starts_with('Z')).then_some(())
        })
        .await
    }
}

impl Drop for Stray {
    fn drop(&mut self) {
        // It may have ended.
        let _ = kill_process(self.0, Signal::KILL);
    }
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// With this code.
    Code(i32),
    /// By a signal.
    Signal,
}

impl Process {
    /// Starts a command; everything that it writes goes to the file `log`.
    pub fn spawn(name: &str, mut command: Command, log: &Path) -> Result<Self> {
        command.stdin(Stdio::null());
        Self::spawn_as_it_is(name, command, log)
    }

    /// The same with the standard input that the command has.
    pub fn spawn_as_it_is(name: &str, mut command: Command, log: &Path) -> Result<Self> {
        let file = File::create(log).context("log file")?;
        let twin = file.try_clone().context("log file")?;
        command.stdout(file).stderr(twin).kill_on_drop(true);
        let child = command
            .spawn()
            .context(format_args!("start {}", command.as_std().get_program().display()))?;
        evidence::add(name, log);
        Ok(Self { name: name.to_owned(), child, log: log.to_owned() })
    }

    /// Its process id; none once it has ended.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let id = self.child.id().context(format_args!("{} has already ended", self.name))?;
        let pid = i32::try_from(id).ok().and_then(Pid::from_raw).context("process id")?;
        kill_process(pid, signal).context(format_args!("signal {}", self.name))
    }

    /// Waits for its end.
    pub async fn exit(&mut self) -> Result<Exit> {
        let what = format!("the end of {}", self.name);
        Ok(Exit::from(wait::within(&what, self.child.wait()).await??))
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Result<Option<Exit>> {
        Ok(self.child.try_wait()?.map(Exit::from))
    }

    /// Ends it at once.
    pub async fn kill(&mut self) -> Result<()> {
        self.child.kill().await.context(format_args!("kill {}", self.name))
    }

    /// Everything it wrote so far.
    #[must_use]
    pub fn log(&self) -> String {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The last of what it wrote, for messages.
    #[must_use]
    pub fn log_tail(&self) -> String {
        evidence::tail(&self.log)
    }

    /// Waits until `ready` says so; an early end of the process is an error with its last words.
    pub async fn ready(&mut self, ready: impl AsyncFn() -> bool) -> Result<()> {
        let what = format!("{} to be ready", self.name);
        let ended = wait::until(&what, async || match self.child.try_wait() {
            Ok(Some(status)) => Some(Some(status)),
            _ => ready().await.then_some(None),
        })
        .await?;
        match ended {
            None => Ok(()),
            Some(status) => {
                let words = self.log_tail();
                Err(Error::new(format!("{} ended at once ({status}):\n{words}", self.name)))
            }
        }
    }
}

impl From<ExitStatus> for Exit {
    fn from(status: ExitStatus) -> Self {
        status.code().map_or(Self::Signal, Self::Code)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- last lines of {} ---\n{}", self.name, self.log_tail());
        }
        // A returned failure has made its report before the test's values are dropped.
        evidence::remove(&self.log);
    }
}
