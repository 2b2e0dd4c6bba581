//! The load generator for HTTP/2: h2load of nghttp2, and a report in the form of wrk's.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

use crate::wrk::Tally;
use crate::{Context, Error, Result};

/// How much longer than its duration a run may take.
const GRACE: Duration = Duration::from_secs(20);

/// What h2load is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Streams {
    /// Connections.
    pub connections: u32,
    /// Requests under way on each of them.
    pub each: u32,
}

/// What a run reported, and what its connections agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The figures; the bytes are those of bodies alone.
    pub tally: Tally,
    /// Such as `h2, TLSv1.3, TLS_AES_128_GCM_SHA256`.
    pub agreed: String,
}

/// Sends the requests of a file of URLs in turn: for some seconds, or just ten of them where
/// `seconds` is 0. Each request leaves a line in `log`, for the percentiles.
pub async fn run(
    mut command: Command,
    urls: &Path,
    log: &Path,
    streams: Streams,
    seconds: u64,
) -> Result<Report> {
    // It appends.
    let _ = std::fs::remove_file(log);
    let (connections, how_long) = if seconds == 0 {
        (1, "--requests=10".to_owned())
    } else {
        (streams.connections, format!("--duration={seconds}"))
    };
    command
        .arg(format!("--clients={connections}"))
        .arg(format!("--max-concurrent-streams={}", streams.each))
        .arg(how_long)
        .arg(format!("--input-file={}", urls.display()))
        .arg(format!("--log-file={}", log.display()))
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = timeout(Duration::from_secs(seconds) + GRACE, command.output())
        .await
        .context("h2load does not end")?
        .context("h2load (Debian: apt-get install nghttp2-client)")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let lines = std::fs::read_to_string(log).unwrap_or_default();
    parse(&text, &lines, seconds).ok_or_else(|| {
        let words = String::from_utf8_lossy(&output.stderr);
        Error::new(format!("h2load reported nothing: {}\n{text}{words}", output.status))
    })
}

/// Reads the report, and each request's line: start, status, microseconds.
fn parse(text: &str, log: &str, seconds: u64) -> Option<Report> {
    let line = |start: &str| text.lines().find_map(|line| line.trim().strip_prefix(start));
    let figure = |line: &str, name: &str| -> Option<u64> {
        let part = line.split(',').find_map(|part| part.trim().strip_suffix(name))?;
        part.trim().parse().ok()
    };
    let (requests, statuses) = (line("requests:")?, line("status codes:")?);
    // Statuses count answers whose bodies are still under way.
    let good = figure(requests, "succeeded")?;
    // `117.19MB (122881024) data`
    let data = line("traffic:")?.split(',').find_map(|part| part.trim().strip_suffix("data"))?;
    let bytes = data.split(['(', ')']).nth(1)?.parse().ok()?;
    let mut times: Vec<u64> =
        log.lines().filter_map(|line| line.split('\t').nth(2)?.trim().parse().ok()).collect();
    times.sort_unstable();
    let at = |percent: usize| times.get(times.len() * percent / 100).copied().unwrap_or(0);
    let agreed = ["Application protocol:", "TLS Protocol:", "Cipher:"]
        .map(|start| line(start).unwrap_or("none").trim().to_owned());
    Some(Report {
        tally: Tally {
            requests: good,
            duration_us: seconds * 1_000_000,
            p50_us: at(50),
            p99_us: at(99),
            status_errors: figure(statuses, "3xx")?
                + figure(statuses, "4xx")?
                + figure(statuses, "5xx")?,
            socket_errors: figure(requests, "failed")?,
            bytes,
        },
        agreed: agreed.join(", "),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "TLS Protocol: TLSv1.3\nCipher: TLS_AES_128_GCM_SHA256\n\
        Application protocol: h2\nfinished in 2.00s, 4.50 req/s, 1MB/s\n\
        requests: 9 total, 12 started, 9 done, 9 succeeded, 2 failed, 1 errored, 0 timeout\n\
        status codes: 8 2xx, 0 3xx, 1 4xx, 0 5xx\n\
        traffic: 10.00KB (10240) total, 1.00KB (1024) headers (space savings 9.00%), \
        9.00KB (9216) data\n";

    #[test]
    fn a_report_is_read_whole_or_not_at_all() {
        let log = "1\t200\t300\n2\t200\t100\n3\t200\t200\n";
        let report = parse(TEXT, log, 2).unwrap();
        let tally = report.tally;
        assert_eq!((tally.requests, tally.status_errors, tally.socket_errors), (9, 1, 2));
        assert_eq!((tally.bytes, tally.p50_us, tally.p99_us), (9216, 200, 300));
        assert_eq!(report.agreed, "h2, TLSv1.3, TLS_AES_128_GCM_SHA256");
        assert_eq!(parse(&TEXT.replace("data", ""), log, 2), None);
    }
}
