//! `saturation`: what a node still serves when three times as much comes as it can (R012).
//!
//! Two scenarios: what is scarce is the gateway's processor (answers are compressed), and what is
//! scarce is the service (it serves twenty requests at once). In each the peak is found first,
//! with clients that wait for their answers. Then three times the peak is sent at a steady rate
//! by clients that do not wait, and each request counts as good only if it was answered with 200
//! within a second. Once without `overload`, for comparison, and once with it: then goodput must
//! be at least 80 % of the peak.

use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use tidegate_loadtest::client::Client;
use tidegate_loadtest::document::{HOST, Place};
use tidegate_loadtest::process::{Core, Cores, Process};
use tidegate_loadtest::program::{self, Scaled};
use tidegate_loadtest::{Context, Error, Result, probe, start};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

const USAGE: &str = "usage: saturation [--quick] [--gateway FILE]

--quick          a few seconds: shows that it works, measures nothing
--gateway FILE   the gateway; without it, the one beside this program
--help           print this";

/// Times the peak that is offered.
const TIMES: u32 = 3;
/// How long a client waits for its answer, from the moment when the request was due.
const DEADLINE: Duration = Duration::from_secs(1);
/// Connections of the clients that wait, and the most of those that do not.
const WAITING: usize = 48;
const CONNECTIONS: usize = 6_000;
/// The part of the peak that must be left.
const GOAL: f64 = 0.8;

/// What the service does: so many requests at once, each so long; the body is compressible.
const AT_ONCE: usize = 20;
const SERVICE: Duration = Duration::from_millis(50);
const BODY_BYTES: usize = 32 * 1024;

const OVERLOAD: &str = "overload: {maxInFlight: 64, queueLimit: 128, queueTimeout: 200ms}\n";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Scarce {
    Processor,
    Service,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    program::run("saturation", USAGE, Scaled::read, run).await
}

async fn run(options: Scaled) -> Result<()> {
    let cores = Cores::find();
    cores.stay(Core::Load)?;
    let folder = tempfile::tempdir().context("a folder for the run")?;
    let span = Duration::from_secs(if options.is_quick { 3 } else { 10 });
    println!("- {}", cores.describe());
    println!(
        "\n| scarce | overload | offered/s | good/s | refused/s | late/s | failed/s | unsent/s | goodput |"
    );
    println!("|---|---|---:|---:|---:|---:|---:|---:|---:|");
    let mut missed = Vec::new();
    for scarce in [Scarce::Processor, Scarce::Service] {
        let mut peak = 0.0;
        for overload in ["", OVERLOAD] {
            // One of its own for each: a service that was asked too much still works off what its
            // clients have given up.
            let origin = origin(scarce).await?;
            let node =
                Node::start(&options.gateway, cores, folder.path(), origin, overload).await?;
            if overload.is_empty() {
                peak = find_peak(node.address, span).await?;
                row(scarce, "peak, clients wait", peak, &peak_only(peak, span), peak, span);
            }
            let tally = offer(node.address, peak * f64::from(TIMES), span).await?;
            let name = if overload.is_empty() { "none" } else { "configured" };
            let share = row(scarce, name, peak * f64::from(TIMES), &tally, peak, span);
            if !overload.is_empty() && share < GOAL {
                missed.push(share);
            }
            node.process.stop().await?;
        }
    }
    println!("\nTarget: with `overload`, goodput of at least 80 % of the peak.");
    if missed.is_empty() { Ok(()) } else { Err(Error::new(format!("missed: {missed:.2?}"))) }
}

/// Writes a line of the table; returns the goodput as a part of the peak.
fn row(scarce: Scarce, name: &str, rate: f64, tally: &Tally, peak: f64, span: Duration) -> f64 {
    let each = |count: u32| f64::from(count) / span.as_secs_f64();
    let scarce = match scarce {
        Scarce::Processor => "processor",
        Scarce::Service => "service",
    };
    let share = each(tally.good) / peak.max(1.0);
    println!(
        "| {scarce} | {name} | {rate:.0} | {:.0} | {:.0} | {:.0} | {:.0} | {:.0} | {:.0} % |",
        each(tally.good),
        each(tally.refused),
        each(tally.late),
        each(tally.failed),
        each(tally.unsent),
        share * 100.0,
    );
    share
}

/// What became of requests.
#[derive(Default)]
struct Tally {
    good: u32,
    refused: u32,
    late: u32,
    failed: u32,
    /// There was no connection left to send them on.
    unsent: u32,
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of answers")]
fn peak_only(peak: f64, span: Duration) -> Tally {
    Tally { good: (peak * span.as_secs_f64()).round() as u32, ..Tally::default() }
}

/// The gateway that is measured.
struct Node {
    address: SocketAddr,
    process: Process,
}

impl Node {
    async fn start(
        gateway: &Path,
        cores: Cores,
        folder: &Path,
        origin: SocketAddr,
        overload: &str,
    ) -> Result<Self> {
        let place = Place {
            name: "saturation",
            folder: folder.to_owned(),
            address: probe::free_address().await?,
            admin: probe::free_address().await?,
            origin,
            redis: None,
        };
        let document = format!(
            "server: {{threads: 1, upgradeSocket: '{socket}', gracePeriod: 1s}}\n\
             listeners: [{{name: public, address: '{address}'}}]\n\
             admin: {{address: '{admin}'}}\naccessLog: {{path: 'off'}}\n{overload}\
             services:\n  all: {{endpoints: [{{address: '{origin}'}}]}}\n\
             routes:\n  - name: all\n    match: {{pathPrefix: /}}\n    \
             upstream: {{service: all}}\n    \
             policies: {{auth: none, timeoutMs: 10000, \
             compression: {{codings: [gzip], types: [text/*], minBytes: 1KiB}}}}\n",
            socket = place.file("sock").display(),
            address = place.address,
            admin = place.admin,
        );
        let process = start::gateway(cores, gateway, &place, &document).await?;
        Ok(Self { address: place.address, process })
    }
}

fn request() -> Vec<u8> {
    format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nAccept-Encoding: gzip\r\n\r\n").into_bytes()
}

/// Answers a second with clients that wait for theirs.
async fn find_peak(address: SocketAddr, span: Duration) -> Result<f64> {
    let (counted, stop) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(false)));
    let mut clients = JoinSet::new();
    for _ in 0..WAITING {
        let (counted, stop) = (Arc::clone(&counted), Arc::clone(&stop));
        clients.spawn(async move {
            let (mut client, request) = (Client::new(address), request());
            while !stop.load(Relaxed) {
                let (status, _) = client.ask(&request).await?;
                if status != 200 {
                    return Err(Error::new(format!("an answer with {status} below the peak")));
                }
                counted.fetch_add(1, Relaxed);
            }
            Ok(())
        });
    }
    sleep(span / 4).await;
    let before = counted.load(Relaxed);
    let began = Instant::now();
    sleep(span).await;
    let rate = f64::from(counted.load(Relaxed) - before) / began.elapsed().as_secs_f64();
    stop.store(true, Relaxed);
    while let Some(done) = clients.join_next().await {
        done.context("a client")??;
    }
    Ok(rate)
}

/// How one request ended, and its connection where it can be used again.
enum Ended {
    Answered(Client, u16),
    Late,
    Failed,
}

/// Sends requests at a steady rate, whether or not earlier ones were answered. A quarter of the
/// time goes by before anything is counted.
async fn offer(address: SocketAddr, rate: f64, span: Duration) -> Result<Tally> {
    let request: Arc<[u8]> = request().into();
    let mut tasks = JoinSet::new();
    let (mut idle, mut open) = (Vec::new(), 0_usize);
    let (mut tally, mut sent) = (Tally::default(), 0.0);
    let (began, lead) = (Instant::now(), span / 4);
    let mut ticks = interval(Duration::from_millis(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    while began.elapsed() < span + lead {
        ticks.tick().await;
        let counts = began.elapsed() >= lead;
        while let Some(done) = tasks.try_join_next() {
            open -= settle(done.context("a client")?, &mut idle, &mut tally);
        }
        let due = began.elapsed().as_secs_f64() * rate;
        while sent < due {
            sent += 1.0;
            let client = match idle.pop() {
                Some(client) => client,
                None if open < CONNECTIONS => {
                    open += 1;
                    Client::new(address)
                }
                None => {
                    tally.unsent += u32::from(counts);
                    continue;
                }
            };
            tasks.spawn(exchange(client, Arc::clone(&request), counts));
        }
    }
    while let Some(done) = tasks.join_next().await {
        settle(done.context("a client")?, &mut idle, &mut tally);
    }
    Ok(tally)
}

async fn exchange(mut client: Client, request: Arc<[u8]>, counts: bool) -> (Ended, bool) {
    let ended = match timeout(DEADLINE, client.ask(&request)).await {
        Ok(Ok((status, _))) => Ended::Answered(client, status),
        Ok(Err(_)) => Ended::Failed,
        Err(_) => Ended::Late,
    };
    (ended, counts)
}

/// Counts a request; returns how many connections have gone.
fn settle((ended, counts): (Ended, bool), idle: &mut Vec<Client>, tally: &mut Tally) -> usize {
    let count = u32::from(counts);
    match ended {
        Ended::Answered(client, status) => {
            idle.push(client);
            match status {
                200 => tally.good += count,
                503 => tally.refused += count,
                _ => tally.failed += count,
            }
            0
        }
        Ended::Late => {
            tally.late += count;
            1
        }
        Ended::Failed => {
            tally.failed += count;
            1
        }
    }
}

/// A service: at once and long, or a few at a time and short.
async fn origin(scarce: Scarce) -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await.context("the service")?;
    let address = listener.local_addr().context("the service")?;
    let body = match scarce {
        Scarce::Processor => text(BODY_BYTES),
        Scarce::Service => text(100),
    };
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let answer: Arc<[u8]> = [head.into_bytes(), body].concat().into();
    let places = (scarce == Scarce::Service).then(|| Arc::new(Semaphore::new(AT_ONCE)));
    tokio::spawn(async move {
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                sleep(Duration::from_millis(10)).await;
                continue;
            };
            tokio::spawn(serve(stream, Arc::clone(&answer), places.clone()));
        }
    });
    Ok(address)
}

async fn serve(
    mut stream: TcpStream,
    answer: Arc<[u8]>,
    places: Option<Arc<Semaphore>>,
) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let mut input = Vec::new();
    loop {
        while !input.ends_with(b"\r\n\r\n") {
            if stream.read_buf(&mut input).await.ok()? == 0 {
                return None;
            }
        }
        input.clear();
        if let Some(places) = &places {
            // Whoever has gone away meanwhile is served all the same, as services do.
            let _place = places.acquire().await.ok()?;
            sleep(SERVICE).await;
        }
        stream.write_all(&answer).await.ok()?;
    }
}

/// Words in no order: what a compressor has to work on.
fn text(bytes: usize) -> Vec<u8> {
    let mut number = 88_172_645_463_325_252_u64;
    let mut text = Vec::with_capacity(bytes + 8);
    while text.len() < bytes {
        number ^= number << 13;
        number ^= number >> 7;
        number ^= number << 17;
        text.extend(format!("{:x} ", number % 4096).bytes());
    }
    text.truncate(bytes);
    text
}
