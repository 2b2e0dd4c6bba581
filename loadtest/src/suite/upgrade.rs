//! A gateway that is replaced by another process while it is under load.
//!
//! Where the gateway has `tidegate upgrade`, that is used; otherwise `tidegate run --upgrade`
//! with a pid file. Either way the last process is no child of this one for sure, so it is ended
//! by its number, after a look at whether that still is our gateway.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Command;
use tokio::time::{Instant, sleep};

use crate::process::Process;
use crate::suite::{demo::Printed, seconds_of_day};
use crate::{Context, Error, Result, probe};

/// Longest time that a new process may take to serve, and an old one to leave.
const PATIENCE: Duration = Duration::from_secs(30);
/// Time between two looks.
const LOOK: Duration = Duration::from_millis(20);

/// A gateway with the demo's configuration and services, on addresses of its own.
pub struct Replaceable {
    gateway: PathBuf,
    config: PathBuf,
    folder: PathBuf,
    pid_file: PathBuf,
    /// Where it listens.
    pub address: std::net::SocketAddr,
    /// The process that serves.
    serving: u32,
    /// Whether the gateway knows the command `upgrade`.
    commands: bool,
    /// Those that this program started.
    processes: Vec<Process>,
}

/// How an upgrade went.
#[derive(Clone, Debug)]
pub struct Upgraded {
    /// When the new process served, in seconds of the day.
    pub served: f64,
    /// When the old process was gone.
    pub gone: f64,
    /// Memory of the new process, in bytes.
    pub resident_bytes: u64,
}

impl Replaceable {
    /// Starts it beside a demo.
    pub async fn start(gateway: &Path, demo: &Printed, folder: &Path) -> Result<Self> {
        let gateway = gateway.canonicalize().context(gateway.display())?;
        let (address, admin) = (probe::free_address().await?, probe::free_address().await?);
        let pid_file = folder.join("upgrade.pid");
        let config = folder.join("upgrade.yaml");
        let text = std::fs::read_to_string(&demo.config).context(demo.config.display())?;
        let text = document(&text, demo, folder, &address.to_string(), &admin.to_string())?;
        std::fs::write(&config, text).context(config.display())?;
        let output = std::process::Command::new(&gateway)
            .args(["upgrade", "--help"])
            .output()
            .context(gateway.display())?;
        let mut command = Command::new(&gateway);
        command.arg("run").arg(&config);
        let mut process = Process::spawn("upgrade", command, folder)?;
        let ready = async || {
            let answer = probe::get(admin, "/readyz", "Host: localhost\r\n").await;
            answer.is_ok_and(|answer| answer.status == 200) && probe::accepts(address).await
        };
        process.ready(ready).await?;
        Ok(Self {
            gateway,
            config,
            folder: folder.to_owned(),
            pid_file,
            address,
            serving: process.pid(),
            commands: output.status.success(),
            processes: vec![process],
        })
    }

    /// The command that an operator would give.
    #[must_use]
    pub const fn command(&self) -> &'static str {
        if self.commands { "tidegate upgrade FILE" } else { "tidegate run FILE --upgrade" }
    }

    /// Replaces the process that serves, and waits until it is gone.
    pub async fn upgrade(&mut self) -> Result<Upgraded> {
        let old = self.serving;
        self.serving =
            if self.commands { self.by_command().await? } else { self.by_hand().await? };
        let served = seconds_of_day();
        let processes = &mut self.processes;
        until("the old process to leave", || {
            // Whoever started it has to take note of its end.
            processes.retain_mut(|process| !process.has_ended().unwrap_or(true));
            !runs(old)
        })
        .await?;
        let resident_bytes = crate::process::resident_bytes(self.serving).unwrap_or(0);
        Ok(Upgraded { served, gone: seconds_of_day(), resident_bytes })
    }

    async fn by_command(&self) -> Result<u32> {
        let output = Command::new(&self.gateway)
            .arg("upgrade")
            .arg(&self.config)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = output.await.context("tidegate upgrade")?;
        let words = String::from_utf8_lossy(&output.stdout).into_owned();
        let pid = words.split_once("process ").and_then(|(_, rest)| rest.split(' ').next());
        let pid = pid.and_then(|pid| pid.parse().ok()).filter(|_| output.status.success());
        pid.ok_or_else(|| {
            let words = String::from_utf8_lossy(&output.stderr).into_owned();
            Error::new(format!("tidegate upgrade ended: {}\n{words}", output.status))
        })
    }

    async fn by_hand(&mut self) -> Result<u32> {
        let mut command = Command::new(&self.gateway);
        command.arg("run").arg(&self.config).arg("--upgrade");
        let process = Process::spawn("upgrade-next", command, &self.folder)?;
        let pid = process.pid();
        self.processes.push(process);
        let file = self.pid_file.clone();
        until("the new process to serve", || {
            let text = std::fs::read_to_string(&file).unwrap_or_default();
            text.trim() == pid.to_string()
        })
        .await?;
        Ok(pid)
    }
}

impl Drop for Replaceable {
    fn drop(&mut self) {
        let ours = std::fs::read(format!("/proc/{}/cmdline", self.serving)).is_ok_and(|words| {
            String::from_utf8_lossy(&words).contains(&*self.config.to_string_lossy())
        });
        let pid = i32::try_from(self.serving).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid.filter(|_| ours) {
            // It may have ended between the look and this.
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

/// The demo's configuration with other addresses and files.
fn document(
    text: &str,
    demo: &Printed,
    folder: &Path,
    address: &str,
    admin: &str,
) -> Result<String> {
    let folder = folder.display();
    let changes = [
        (format!("address: {}", demo.address()?), format!("address: {address}")),
        (format!("address: {}", demo.admin), format!("address: {admin}")),
        (
            "upgradeSocket: target/demo/upgrade.sock".to_owned(),
            format!("upgradeSocket: {folder}/upgrade.sock\n  pidFile: {folder}/upgrade.pid"),
        ),
        ("path: target/demo/access.log".to_owned(), format!("path: {folder}/upgrade.access.log")),
    ];
    changes.iter().try_fold(text.to_owned(), |text, (old, new)| {
        if text.contains(old) {
            return Ok(text.replacen(old, new, 1));
        }
        Err(Error::new(format!("the demo's configuration has no `{old}`")))
    })
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        if Instant::now() > deadline {
            return Err(Error::new(format!("waited {} s for {what}", PATIENCE.as_secs())));
        }
        sleep(LOOK).await;
    }
    Ok(())
}

/// Whether a process runs. One that ended and was not waited for (`Z`) does not.
fn runs(pid: u32) -> bool {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    text.rsplit_once(')').is_some_and(|(_, fields)| !fields.starts_with(" Z"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_demo_is_moved_as_a_whole_or_not_at_all() {
        let demo = Printed {
            base_url: "http://127.0.0.1:8080".to_owned(),
            admin: "127.0.0.1:9901".to_owned(),
            tokens: Vec::new(),
            config: "demo.yaml".into(),
        };
        let text = include_str!("../../../conf/demo.yaml");
        let folder = Path::new("/tmp/x");
        let moved = document(text, &demo, folder, "127.0.0.1:1", "127.0.0.1:2").unwrap();
        for line in [
            "\n    address: 127.0.0.1:1\n",
            "\n  address: 127.0.0.1:2\n",
            "\n  upgradeSocket: /tmp/x/upgrade.sock\n  pidFile: /tmp/x/upgrade.pid\n",
            "\n  path: /tmp/x/upgrade.access.log\n",
        ] {
            assert!(moved.contains(line), "{line}");
        }
        assert!(document("", &demo, folder, "127.0.0.1:1", "127.0.0.1:2").is_err());
    }

    #[test]
    fn a_process_runs_until_it_ends() {
        assert!(runs(std::process::id()));
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id();
        child.wait().unwrap();
        assert!(!runs(pid));
    }
}
