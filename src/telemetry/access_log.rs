//! The access log: one JSON line per request, written by a thread of its own.
//!
//! A request formats its line and pushes it into a bounded queue; it never waits and never wakes
//! anybody. The writer looks at the queue a hundred times a second and writes what it finds in
//! one go. When the queue is full, or the file cannot be written, lines are dropped and counted:
//! a full disk must not stop traffic (R164, R197). A file that was moved away is begun anew.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crossbeam_queue::ArrayQueue;
use prometheus::IntCounter;
use serde::{Serialize, Serializer};

use super::log_file::LogFile;
use crate::drill;

/// How long the writer rests when the queue is empty.
const REST: Duration = Duration::from_millis(10);

/// After how many rests and batches the writer looks whether its file is still in its place.
const LOOK: u32 = 100;

/// How often it is looked whether the writer has written what is queued when the process ends,
/// and how many times: for two seconds, where threads run when they are due.
const LAST_LOOK: Duration = Duration::from_millis(2);
const LAST_LOOKS: u32 = 1000;

/// Bytes that are collected before they are handed to the file.
const BATCH_BYTES: usize = 64 * 1024;

/// One line. Field names are those of the seeds' example (R161, R162); every line has every
/// field, with `null` for what a request did not have.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AccessLine<'a> {
    /// When the request's header had been read, RFC 3339 with milliseconds. Written into the line
    /// as it is formatted.
    #[serde(serialize_with = "display")]
    pub timestamp: humantime::Rfc3339Timestamp,
    /// The request id.
    pub request_id: &'a str,
    /// The trace id.
    pub trace_id: &'a str,
    /// The client's address, behind trusted proxies.
    pub client_ip: Option<std::net::IpAddr>,
    /// The route's name.
    pub route: Option<&'a str>,
    /// The verified tenant.
    pub tenant_id: Option<&'a str>,
    /// The verified subject.
    pub user_id: Option<&'a str>,
    /// The verified plan.
    pub plan: Option<&'a str>,
    /// The id of the verified API key, never the key.
    pub api_key: Option<&'a str>,
    /// The method.
    pub method: &'a str,
    /// The host.
    pub host: Option<&'a str>,
    /// The path in normal form, without the query.
    pub path: &'a str,
    /// The path that the service was sent, where the route rewrites it.
    pub upstream_path: Option<&'a str>,
    /// The status sent; 499 when the client went away first. For gRPC, whose errors are all sent
    /// with 200, that of the fault.
    pub status: u16,
    /// The status of gRPC, where there was one.
    pub grpc_status: Option<u16>,
    /// The fault's code, when the gateway made the answer.
    pub code: Option<&'static str>,
    /// The service.
    pub upstream: Option<&'a str>,
    /// The version of the service.
    pub upstream_version: Option<&'a str>,
    /// The endpoint of the last attempt.
    pub upstream_endpoint: Option<&'a str>,
    /// Attempts made.
    pub attempts: u32,
    /// Why the last attempt was repeated, as in `retryOn`.
    pub retry_reason: Option<&'static str>,
    /// Whether a second attempt was begun while the first had not answered.
    pub hedged: bool,
    /// Whole time in milliseconds.
    pub latency_ms: f64,
    /// Time the service took for the header of its answer, in milliseconds.
    pub upstream_latency_ms: Option<f64>,
    /// Whether a limit refused the request.
    pub rate_limited: bool,
    /// The limit that decided: the one that fired, else the one with the least left.
    pub rate_limit: Option<&'a str>,
    /// Whether Redis could not be asked.
    pub rate_limit_degraded: bool,
    /// The limit in shadow that would have refused the request.
    pub rate_limit_shadow: Option<&'a str>,
    /// What the cache did.
    pub cache: Option<&'static str>,
    /// Body bytes received from the client.
    pub bytes_received: u64,
    /// Body bytes sent to the client.
    pub bytes_sent: u64,
    /// The version of the configuration.
    pub config_version: u64,
}

fn display<S: Serializer>(value: &impl std::fmt::Display, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(value)
}

/// The queue and the thread behind it.
#[derive(Debug)]
pub struct AccessLogWriter {
    queue: Option<Arc<ArrayQueue<Vec<u8>>>>,
    dropped: IntCounter,
    closing: Arc<AtomicBool>,
    moved: Arc<AtomicBool>,
    thread: parking_lot::Mutex<Option<thread::JoinHandle<()>>>,
}

impl AccessLogWriter {
    /// Opens the log and starts its thread. `path` is `stdout`, `stderr`, `off` or a file;
    /// `lines` bounds the queue.
    ///
    /// # Errors
    /// When the file cannot be opened or the thread not started.
    pub fn open(path: &str, lines: usize, dropped: IntCounter) -> io::Result<Self> {
        let sink = match path {
            "off" => {
                return Ok(Self {
                    queue: None,
                    dropped,
                    closing: Arc::default(),
                    moved: Arc::default(),
                    thread: parking_lot::Mutex::new(None),
                });
            }
            "stdout" => Sink::Stream(Box::new(io::stdout())),
            "stderr" => Sink::Stream(Box::new(io::stderr())),
            file => Sink::File(LogFile::open(Path::new(file))?),
        };
        let queue = Arc::new(ArrayQueue::new(lines.max(1)));
        let closing = Arc::new(AtomicBool::new(false));
        let moved = Arc::new(AtomicBool::new(false));
        let drain = Drain {
            queue: Arc::clone(&queue),
            closing: Arc::clone(&closing),
            moved: Arc::clone(&moved),
            dropped: dropped.clone(),
            sink,
        };
        let thread =
            thread::Builder::new().name("access-log".to_owned()).spawn(move || drain.run())?;
        Ok(Self {
            queue: Some(queue),
            dropped,
            closing,
            moved,
            thread: parking_lot::Mutex::new(Some(thread)),
        })
    }

    /// Whether anybody reads the lines; formatting can be saved otherwise.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        self.queue.is_some()
    }

    /// Queues a line; drops and counts it when the queue is full.
    pub fn write(&self, line: &AccessLine<'_>) {
        let Some(queue) = &self.queue else { return };
        let mut bytes = Vec::with_capacity(640);
        if serde_json::to_writer(&mut bytes, line).is_err() {
            self.dropped.inc();
            return;
        }
        bytes.push(b'\n');
        if queue.push(bytes).is_err() {
            self.dropped.inc();
        }
    }

    /// Has the writer look at once whether its file was moved away, and begin a new one then. It
    /// looks by itself too, every second where there is little to write.
    pub fn reopen(&self) {
        self.moved.store(true, Ordering::Release);
    }

    /// Writes what is queued and ends the thread. A file that takes nothing, as on a disk that
    /// hangs, does not hold the end of a process up: after two seconds what is left is given up,
    /// counted, and said.
    pub fn close(&self) {
        self.closing.store(true, Ordering::Release);
        let Some(thread) = self.thread.lock().take() else { return };
        for _ in 0..LAST_LOOKS {
            // The thread has no way to fail that is not already counted.
            if thread.is_finished() {
                return;
            }
            thread::sleep(LAST_LOOK);
        }
        let left = self.queue.as_ref().map_or(0, |queue| queue.len());
        self.dropped.inc_by(left as u64);
        tracing::error!(left, "the access log takes no more lines, the last ones are lost");
    }
}

impl Drop for AccessLogWriter {
    fn drop(&mut self) {
        self.close();
    }
}

/// Where the lines go.
enum Sink {
    Stream(Box<dyn Write + Send>),
    File(LogFile),
}

impl Sink {
    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        match self {
            Self::Stream(stream) => stream.write_all(lines).and_then(|()| stream.flush()),
            Self::File(file) => file.write_all(lines),
        }
    }

    fn follow(&mut self) {
        if let Self::File(file) = self {
            file.follow();
        }
    }
}

struct Drain {
    queue: Arc<ArrayQueue<Vec<u8>>>,
    closing: Arc<AtomicBool>,
    moved: Arc<AtomicBool>,
    dropped: IntCounter,
    sink: Sink,
}

impl Drain {
    fn run(mut self) {
        let mut batch = Vec::with_capacity(BATCH_BYTES + 4096);
        let mut rounds: u32 = 0;
        // Whether the last batch may have been written in part.
        let mut torn = false;
        loop {
            rounds += 1;
            if rounds >= LOOK || self.moved.swap(false, Ordering::AcqRel) {
                rounds = 0;
                self.sink.follow();
            }
            // Read before draining: lines queued before `close` are then always seen below.
            let closing = self.closing.load(Ordering::Acquire);
            let mut lines: u64 = 0;
            if torn {
                batch.push(b'\n');
            }
            while batch.len() < BATCH_BYTES {
                let Some(line) = self.queue.pop() else { break };
                batch.extend_from_slice(&line);
                lines += 1;
            }
            if lines == 0 {
                batch.clear();
                if closing {
                    return;
                }
                thread::sleep(REST);
                continue;
            }
            // A line that was torn is ended, so that the next one can be read.
            let outcome = drill::disk().map(|()| self.sink.write(&batch));
            torn = matches!(outcome, Ok(Err(_)));
            if !matches!(outcome, Ok(Ok(()))) {
                self.dropped.inc_by(lines);
            }
            batch.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(path: &str) -> AccessLine<'_> {
        AccessLine {
            timestamp: humantime::format_rfc3339_millis(
                std::time::UNIX_EPOCH + Duration::from_millis(1_775_643_330_120),
            ),
            request_id: "req_123",
            trace_id: "4f7a",
            client_ip: None,
            route: Some("checkout-orders"),
            tenant_id: None,
            user_id: None,
            plan: None,
            api_key: None,
            method: "POST",
            host: None,
            path,
            upstream_path: None,
            status: 201,
            grpc_status: None,
            code: None,
            upstream: None,
            upstream_version: None,
            upstream_endpoint: None,
            attempts: 0,
            retry_reason: None,
            hedged: false,
            latency_ms: 8.5,
            upstream_latency_ms: None,
            rate_limited: false,
            rate_limit: None,
            rate_limit_degraded: false,
            rate_limit_shadow: None,
            cache: None,
            bytes_received: 0,
            bytes_sent: 0,
            config_version: 42,
        }
    }

    fn counter() -> IntCounter {
        IntCounter::new("dropped", "test").unwrap()
    }

    #[test]
    fn lines_reach_the_file_whole_and_escaped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        let log = AccessLogWriter::open(path.to_str().unwrap(), 16, counter()).unwrap();
        log.write(&line("/a\"b\n"));
        log.write(&line("/c"));
        log.close();
        let text = std::fs::read_to_string(path).unwrap();
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0]["timestamp"], "2026-04-08T10:15:30.120Z");
        assert_eq!(lines[0]["path"], "/a\"b\n");
        assert_eq!(lines[1]["configVersion"], 42);
        assert!(lines[1]["tenantId"].is_null());
    }

    #[test]
    fn a_log_that_cannot_be_opened_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("nowhere/access.log");
        let opened = AccessLogWriter::open(path.to_str().unwrap(), 16, counter());
        assert_eq!(opened.unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    /// A pipe that nobody reads stands for a disk that hangs.
    #[test]
    fn a_disk_that_hangs_does_not_hold_the_end_up() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
        assert!(made.success());
        let _unread = std::fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
        let dropped = counter();
        let log = AccessLogWriter::open(path.to_str().unwrap(), 4096, dropped.clone()).unwrap();
        // More than the pipe and a batch hold.
        for _ in 0..1000 {
            log.write(&line("/a"));
        }
        log.close();
        let counted = dropped.get();
        assert!(counted > 0);
        log.close();
        assert_eq!(dropped.get(), counted, "only once");
    }

    #[test]
    fn a_disk_that_is_full_drops_and_counts() {
        let dropped = counter();
        let log = AccessLogWriter::open("/dev/full", 16, dropped.clone()).unwrap();
        log.write(&line("/a"));
        log.close();
        assert_eq!(dropped.get(), 1);
    }
}
