//! Processes on chosen processors, their processor time, their end.
//!
//! A process ends with the value that stands for it: on success, on failure and on Ctrl-C.
//! Nothing is ever looked up or ended by name.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{CpuSet, sched_setaffinity};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use crate::{Context, Error, Result};

/// Longest time a process may take to be ready.
const START: Duration = Duration::from_secs(20);
/// Longest time a process may take to end when it is asked to.
const END: Duration = Duration::from_secs(3);
/// Time between two looks.
const LOOK: Duration = Duration::from_millis(20);
/// How much of a log is shown when its process fails, in bytes.
const TAIL: usize = 2000;

/// Where processes run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Core {
    /// The processor of what is measured.
    Measured,
    /// The processor of everything else: load generator, origin, Redis.
    Load,
}

/// Which processors there are, and whether processes can be kept on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cores {
    /// The two processors; none where there are not two or `taskset` is missing.
    pair: Option<(usize, usize)>,
}

impl Cores {
    /// Looks at the processors that this process may use.
    #[must_use]
    pub fn find() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
        let mut allowed = list.map(parse_cpu_list).unwrap_or_default().into_iter();
        let pair = allowed.next().zip(allowed.next()).filter(|_| {
            std::process::Command::new("taskset")
                .arg("--version")
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .is_ok_and(|status| status.success())
        });
        Self { pair }
    }

    /// What to say about them.
    #[must_use]
    pub fn describe(self) -> String {
        match self.pair {
            Some((measured, load)) => {
                format!("what is measured on processor {measured}; wrk, origin and Redis on {load}")
            }
            None => "not pinned (one processor, or no `taskset`): figures are less steady".into(),
        }
    }

    /// Keeps this thread on a processor, and the processes that it starts where nothing is said.
    pub fn stay(self, core: Core) -> Result<()> {
        let Some(number) = self.number(core) else { return Ok(()) };
        let mut set = CpuSet::new();
        set.set(number);
        sched_setaffinity(None, &set).context(format_args!("stay on processor {number}"))
    }

    fn number(self, core: Core) -> Option<usize> {
        self.pair.map(|(measured, load)| match core {
            Core::Measured => measured,
            Core::Load => load,
        })
    }

    /// A command that runs a program on a processor. The program keeps the process id, because
    /// `taskset` becomes it.
    #[must_use]
    pub fn command(self, core: Core, program: &Path) -> Command {
        let Some(number) = self.number(core) else { return Command::new(program) };
        let mut command = Command::new("taskset");
        command.arg("--cpu-list").arg(number.to_string()).arg(program);
        command
    }
}

/// The processors in a list as the kernel writes it: `0-2,5`.
fn parse_cpu_list(list: &str) -> Vec<usize> {
    list.trim()
        .split(',')
        .filter_map(|part| {
            let (from, to) = part.split_once('-').unwrap_or((part, part));
            Some(from.parse::<usize>().ok()?..=to.parse::<usize>().ok()?)
        })
        .flatten()
        .collect()
}

/// Processor time that a process has used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuTime {
    /// In its own code.
    pub user: Duration,
    /// In the kernel.
    pub system: Duration,
}

impl CpuTime {
    /// What both used.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self { user: self.user + other.user, system: self.system + other.system }
    }

    /// What was used since an earlier look.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Self {
        Self {
            user: self.user.saturating_sub(earlier.user),
            system: self.system.saturating_sub(earlier.system),
        }
    }
}

/// A running process and those that it started. They are killed when this value goes.
#[derive(Debug)]
pub struct Process {
    name: &'static str,
    child: Child,
    pid: u32,
    log: PathBuf,
}

impl Process {
    /// Starts a command; what it says goes to a file in `folder`.
    pub fn spawn(name: &'static str, mut command: Command, folder: &Path) -> Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let file = File::create(&log).context(log.display())?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone().context(log.display())?)
            .stderr(file)
            .kill_on_drop(true)
            .spawn()
            .context(format_args!("start {name}"))?;
        let pid = child.id().context(format_args!("{name} ended at once"))?;
        Ok(Self { name, child, pid, log })
    }

    /// Waits until `probe` says so.
    pub async fn ready(&mut self, probe: impl AsyncFn() -> bool) -> Result<()> {
        let deadline = Instant::now() + START;
        while !probe().await {
            if let Some(status) = self.child.try_wait().context(self.name)? {
                let what = format!("{} ended: {status}\n{}", self.name, self.log_tail());
                return Err(Error::new(what));
            }
            if Instant::now() > deadline {
                let what = format!("{} is not ready in time\n{}", self.name, self.log_tail());
                return Err(Error::new(what));
            }
            sleep(LOOK).await;
        }
        Ok(())
    }

    /// Processor time used so far by all its threads, by the processes that it started, and by
    /// those among them that have ended.
    pub fn cpu_time(&self) -> Result<CpuTime> {
        let file = format!("/proc/{}/stat", self.pid);
        let text = std::fs::read_to_string(&file)
            .map_err(|_| Error::new(format!("{} has ended\n{}", self.name, self.log_tail())))?;
        let ticks_per_second = rustix::param::clock_ticks_per_second();
        let own = parse_stat(&text, ticks_per_second).context(file)?;
        let others = descendants(self.pid).into_iter().filter_map(|pid| {
            let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            parse_stat(&text, ticks_per_second)
        });
        Ok(others.fold(own, CpuTime::plus))
    }

    /// Memory that it holds, in bytes.
    pub fn resident_bytes(&self) -> Result<u64> {
        status_bytes(self.pid, "VmRSS:").context(self.name)
    }

    /// The most memory that it and what it started ever held, in bytes: the sum of what each held
    /// at its own peak.
    pub fn peak_bytes(&self) -> Result<u64> {
        let own = status_bytes(self.pid, "VmHWM:").context(self.name)?;
        let others = descendants(self.pid).into_iter();
        Ok(own + others.filter_map(|pid| status_bytes(pid, "VmHWM:")).sum::<u64>())
    }

    /// Descriptors that it has open.
    pub fn descriptors(&self) -> Result<usize> {
        let folder = format!("/proc/{}/fd", self.pid);
        std::fs::read_dir(&folder).context(&folder).map(Iterator::count)
    }

    /// Its number.
    #[must_use]
    pub const fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> Result<bool> {
        Ok(self.child.try_wait().context(self.name)?.is_some())
    }

    /// Memory that the processes hold which it started from a program, in bytes.
    #[must_use]
    pub fn resident_bytes_below(&self, program: &Path) -> u64 {
        let own = |pid: &u32| {
            std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|file| file == program)
        };
        descendants(self.pid).into_iter().filter(own).filter_map(resident_bytes).sum()
    }

    /// Asks it to end, kills it and what it started where that takes long, and waits until it is
    /// gone. One that ends by itself has written what it had to say: instrumented builds count.
    pub async fn stop(mut self) -> Result<()> {
        // Looked for before, because what a process leaves behind has another parent.
        let others = descendants(self.pid);
        if let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) {
            // Cannot fail for a process that was not waited for.
            let _ = kill_process(pid, Signal::TERM);
        }
        if timeout(END, self.child.wait()).await.is_err() {
            self.kill();
        }
        let ended = self.child.wait().await;
        kill_all(others);
        ended.map(|_| ()).context(format_args!("stop {}", self.name))
    }

    /// The process itself goes first: some start their workers again. It cannot have been waited
    /// for yet, so that its number is still its own.
    fn kill(&mut self) {
        let others = descendants(self.pid);
        // Whatever has ended by itself needs no killing.
        let _ = self.child.start_kill();
        kill_all(others);
    }

    /// The last words of its log.
    #[must_use]
    pub fn log_tail(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let tail = text.split_at(text.len().saturating_sub(TAIL)).1;
        String::from_utf8_lossy(tail).into_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // None when it was waited for; then its number may be another's by now.
        if self.child.id().is_some() {
            self.kill();
        }
    }
}

/// A figure in kibibytes from `/proc/PID/status`, in bytes.
fn status_bytes(pid: u32, name: &str) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_ascii_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
}

/// Ends what another process started, as far as it still runs.
fn kill_all(pids: Vec<u32>) {
    for pid in pids {
        if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

/// The processes that a process started, and those that they started, as far as they run.
fn descendants(pid: u32) -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let parents: Vec<(u32, u32)> = entries
        .filter_map(|entry| {
            let pid: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            let (_, fields) = text.rsplit_once(')')?;
            Some((pid, fields.split_ascii_whitespace().nth(1)?.parse().ok()?))
        })
        .collect();
    let mut found = Vec::new();
    let mut generation = vec![pid];
    while !generation.is_empty() {
        let next = parents.iter().filter(|(_, parent)| generation.contains(parent));
        generation = next.map(|(pid, _)| *pid).filter(|pid| !found.contains(pid)).collect();
        found.extend(&generation);
    }
    found
}

/// Memory that a process holds, in bytes; none where it has ended.
#[must_use]
pub fn resident_bytes(pid: u32) -> Option<u64> {
    status_bytes(pid, "VmRSS:")
}

/// Reads user and system time from `/proc/PID/stat`, of the process and of its children that it
/// has waited for. The program's name is the second field and may hold spaces and parentheses, so
/// fields are counted from its last parenthesis (proc(5)).
fn parse_stat(text: &str, ticks_per_second: u64) -> Option<CpuTime> {
    let (_, fields) = text.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let mut time = || {
        let ticks: u64 = fields.next()?.parse().ok()?;
        Some(Duration::from_nanos(ticks * (1_000_000_000 / ticks_per_second.max(1))))
    };
    let own = CpuTime { user: time()?, system: time()? };
    Some(own.plus(CpuTime { user: time()?, system: time()? }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_found_behind_any_program_name() {
        let text = "42 (a) S 1 (x) R 1 2 3 4 5 6 7 8 9 10 150 20 1 5 20 0 1 0 100";
        let time = parse_stat(text, 100).unwrap();
        assert_eq!(time.user, Duration::from_millis(1510));
        assert_eq!(time.system, Duration::from_millis(250));
        assert_eq!(parse_stat("42 (a) S 1", 100), None);
    }

    #[test]
    fn own_processor_time_can_be_read() {
        let text = std::fs::read_to_string("/proc/self/stat").unwrap();
        assert!(parse_stat(&text, rustix::param::clock_ticks_per_second()).is_some());
    }

    #[tokio::test]
    async fn what_a_process_started_is_accounted_and_ends_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 100 & wait"]);
        let mut process = Process::spawn("parent", command, folder.path()).unwrap();
        let pid = process.pid;
        process.ready(async || !descendants(pid).is_empty()).await.unwrap();
        let child = descendants(pid).pop().unwrap();
        assert!(process.cpu_time().is_ok());
        assert!(process.peak_bytes().unwrap() > status_bytes(pid, "VmHWM:").unwrap());
        process.stop().await.unwrap();
        // Whoever inherits it may leave it as a zombie: `Z`.
        let runs = || {
            let text = std::fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
            text.rsplit_once(')').is_some_and(|(_, fields)| !fields.starts_with(" Z"))
        };
        let deadline = Instant::now() + START;
        while runs() {
            assert!(Instant::now() < deadline, "{child} still runs");
            sleep(LOOK).await;
        }
    }

    #[test]
    fn cpu_lists_are_read_in_every_form() {
        assert_eq!(parse_cpu_list("\t0-2,5\n"), [0, 1, 2, 5]);
        assert_eq!(parse_cpu_list("3"), [3]);
        assert!(parse_cpu_list("").is_empty());
    }
}
