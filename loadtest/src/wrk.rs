//! The load generator: wrk, with requests of ours and a report that can be read.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::time::timeout;

use crate::options::Load;
use crate::process::{Core, Cores};
use crate::{Context, Error, Result};

/// The script that sends prepared requests.
const SCRIPT: &str = include_str!("../wrk/requests.lua");

/// How much longer than its duration a run may take: reading many requests takes wrk a while.
const GRACE: Duration = Duration::from_mins(1);

/// A request to send.
#[derive(Clone, Debug)]
pub struct Request {
    /// Path and query.
    pub target: String,
    /// The bearer token.
    pub token: Option<String>,
    /// What tells the client apart, in `X-Client`.
    pub client: Option<usize>,
}

impl Request {
    /// Of nobody.
    #[must_use]
    pub const fn get(target: String) -> Self {
        Self { target, token: None, client: None }
    }
}

/// What a run reported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Answers received.
    pub requests: u64,
    /// How long the run took, in microseconds.
    pub duration_us: u64,
    /// Half of the answers took at most that long, in microseconds.
    pub p50_us: u64,
    /// All but a hundredth of the answers took at most that long, in microseconds.
    pub p99_us: u64,
    /// Answers with a status of 400 or more.
    pub status_errors: u64,
    /// Connections that failed, broke, or gave no answer in time.
    pub socket_errors: u64,
    /// Bytes received, heads and bodies.
    pub bytes: u64,
}

impl Tally {
    /// Everything that should not have happened.
    #[must_use]
    pub const fn errors(&self) -> u64 {
        self.status_errors + self.socket_errors
    }
}

/// The load generator with its files.
#[derive(Debug)]
pub struct Wrk {
    cores: Cores,
    folder: PathBuf,
    script: PathBuf,
}

impl Wrk {
    /// Writes the script into a folder.
    pub fn new(cores: Cores, folder: &Path) -> Result<Self> {
        let script = folder.join("requests.lua");
        std::fs::write(&script, SCRIPT).context(script.display())?;
        Ok(Self { cores, folder: folder.to_owned(), script })
    }

    /// Writes a list of requests to a file that [`Wrk::run`] takes.
    pub fn prepare(&self, name: &str, requests: &[Request]) -> Result<PathBuf> {
        let file = self.folder.join(format!("{name}.requests"));
        let mut text = String::new();
        for Request { target, token, client } in requests {
            let client = client.map_or_else(|| "-".to_owned(), |client| client.to_string());
            // Writing into a string cannot fail.
            let _ = writeln!(text, "{target} {} {client}", token.as_deref().unwrap_or("-"));
        }
        std::fs::write(&file, text).context(file.display())?;
        Ok(file)
    }

    /// Sends prepared requests in turn, for a while.
    pub async fn run(
        &self,
        address: SocketAddr,
        requests: &Path,
        load: Load,
        seconds: u64,
    ) -> Result<Tally> {
        self.run_from(&format!("http://{address}"), requests, 0, &[], load, seconds).await
    }

    /// The same at a URL (`https` too), beginning behind the first `skip` requests, each with
    /// these headers (`Name: value`) besides.
    pub async fn run_from(
        &self,
        url: &str,
        requests: &Path,
        skip: u64,
        headers: &[&str],
        load: Load,
        seconds: u64,
    ) -> Result<Tally> {
        let mut command = self.cores.command(Core::Load, Path::new("wrk"));
        command
            .arg(format!("--threads={}", load.threads))
            .arg(format!("--connections={}", load.connections))
            .arg(format!("--duration={seconds}s"))
            .arg("--timeout=5s")
            .arg("--script")
            .arg(&self.script)
            .arg(url)
            .arg("--")
            .arg(requests)
            .arg(skip.to_string())
            .args(headers)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let output = timeout(Duration::from_secs(seconds) + GRACE, command.output())
            .await
            .context("wrk does not end")?
            .context("wrk (Debian: apt-get install wrk)")?;
        let text = String::from_utf8_lossy(&output.stdout);
        parse(&text).ok_or_else(|| {
            let words = String::from_utf8_lossy(&output.stderr);
            Error::new(format!("wrk reported nothing: {}\n{text}{words}", output.status))
        })
    }
}

/// Reads the last line of the script's report; every figure must be there.
fn parse(text: &str) -> Option<Tally> {
    let line = text.lines().find_map(|line| line.strip_prefix("tidegate-loadtest "))?;
    let figure = |name: &str| -> Option<u64> {
        line.split(' ')
            .filter_map(|pair| pair.split_once('='))
            .find(|(key, _)| *key == name)
            .and_then(|(_, value)| value.parse().ok())
    };
    Some(Tally {
        requests: figure("requests")?,
        duration_us: figure("duration")?,
        p50_us: figure("p50")?,
        p99_us: figure("p99")?,
        status_errors: figure("status")?,
        bytes: figure("bytes")?,
        socket_errors: figure("connect")? + figure("read")? + figure("write")? + figure("timeout")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "tidegate-loadtest requests=9 duration=5000000 p50=10 p99=20 \
                        connect=1 read=2 write=3 status=4 timeout=5 bytes=6";

    #[test]
    fn a_report_is_read_whole_or_not_at_all() {
        let tally = parse(&format!("Running 5s test\n  9 requests in 5s\n{LINE}\n")).unwrap();
        assert_eq!(tally.requests, 9);
        assert_eq!((tally.p50_us, tally.p99_us), (10, 20));
        assert_eq!((tally.status_errors, tally.socket_errors), (4, 11));
        assert_eq!(tally.errors(), 15);
        assert_eq!(tally.bytes, 6);
        assert_eq!(parse(&LINE.replace("timeout=5", "")), None);
        assert_eq!(parse("Running 5s test\n"), None);
    }
}
