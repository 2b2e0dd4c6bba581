//! `soak`: a node at saturation for a long time, with a new configuration every few seconds.
//!
//! Ten minutes, or as many seconds as `SOAK_SECONDS` says. Clients that keep their connections and
//! clients that open one for each request send without a pause; the cache and a limit's counters
//! are small, so that both are full all the time. At the end memory and descriptors must be flat
//! over the second half, and no request may have failed but those that were refused because the
//! node was full.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tidegate_loadtest::client::Client;
use tidegate_loadtest::document::{HOST, Place};
use tidegate_loadtest::process::{Core, Cores, Process};
use tidegate_loadtest::program::{self, Words};
use tidegate_loadtest::{Context, Error, Result, probe, start};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

const USAGE: &str = "usage: [SOAK_SECONDS=600] soak [GATEWAY]";

/// How long it takes where nothing else is said, in seconds; never less than the second.
const SECONDS: u64 = 600;
const SECONDS_MIN: u64 = 20;
/// Seconds between two configurations.
const BETWEEN: u64 = 5;
/// Clients that keep their connection, and clients that do not.
const KEEPING: u64 = 48;
const OPENING: u64 = 4;
/// Routes beside those that are used.
const ROUTES: usize = 1_000;
/// Kept answers that are asked for in turn: more than the cache holds.
const TARGETS: u64 = 20_000;
/// How much memory may grow over the second half.
const GROWTH: f64 = 0.05;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    program::run("soak", USAGE, read, run).await
}

/// Seconds, and the gateway's binary.
fn read(words: Words) -> Result<Option<(u64, PathBuf)>> {
    let Some(operands) = program::operands(words, 1)? else { return Ok(None) };
    let seconds = match std::env::var("SOAK_SECONDS") {
        Ok(text) => text.parse::<u64>().context("SOAK_SECONDS")?.max(SECONDS_MIN),
        Err(_) => SECONDS,
    };
    Ok(Some((seconds, program::gateway_or_neighbour(operands.into_iter().next())?)))
}

async fn run((seconds, gateway): (u64, PathBuf)) -> Result<()> {
    let cores = Cores::find();
    cores.stay(Core::Load)?;
    let folder = tempfile::tempdir().context("a folder for the run")?;
    let program = program::folder()?.join("origin");
    let (origin, origin_process) = start::origin(cores, folder.path(), &program, 4096, &[]).await?;
    let place = Place {
        name: "soak",
        folder: folder.path().to_owned(),
        address: probe::free_address().await?,
        admin: probe::free_address().await?,
        origin,
        redis: None,
    };
    let process = start::gateway(cores, &gateway, &place, &document(&place, 1)).await?;
    println!("- {}\n- {seconds} seconds, a configuration every {BETWEEN}", cores.describe());
    let load = Load::begin(place.address);
    let watched = watch(&place, &process, &load, seconds).await;
    let (answered, refused) = load.end().await?;
    let samples = watched?;
    let metrics = probe::metrics(place.admin).await?;
    let applied = probe::sum(&metrics, "tidegate_config_applies_total", &[("outcome", "applied")]);
    let panics = probe::sum(&metrics, "tidegate_panics_total", &[]);
    process.stop().await?;
    origin_process.stop().await?;
    println!("\n{answered} answered, {refused} refused, {applied} configurations applied.");
    judge(&samples)?;
    #[expect(clippy::cast_precision_loss, reason = "a handful")]
    let offered = (seconds / BETWEEN) as f64;
    if panics > 0.0 || applied < offered * 0.8 || answered == 0 {
        let what = format!("{panics} defects; {applied} of {offered} configurations applied");
        return Err(Error::new(what));
    }
    Ok(())
}

/// One look at the gateway.
#[derive(Clone, Copy)]
struct Sample {
    seconds: f64,
    resident: f64,
    descriptors: f64,
}

/// Looks at the gateway each second and replaces its configuration now and then.
async fn watch(place: &Place, process: &Process, load: &Load, seconds: u64) -> Result<Vec<Sample>> {
    let mut ticks = interval(Duration::from_secs(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (began, mut version) = (Instant::now(), 1);
    let mut samples = Vec::new();
    println!(
        "\n| after s | resident MiB | descriptors | answered | refused |\n|---:|---:|---:|---:|---:|"
    );
    for second in 0..seconds {
        ticks.tick().await;
        if let Some(failure) = load.failure() {
            return Err(Error::new(format!("after {second} s: {failure}\n{}", process.log_tail())));
        }
        if second % BETWEEN == 0 {
            version += 1;
            let (file, new) = (place.file("yaml"), place.file("new"));
            std::fs::write(&new, document(place, version)).context(new.display())?;
            std::fs::rename(&new, &file).context(file.display())?;
        }
        let (resident, descriptors) = (process.resident_bytes()?, process.descriptors()?);
        #[expect(clippy::cast_precision_loss, reason = "megabytes")]
        let sample = Sample {
            seconds: began.elapsed().as_secs_f64(),
            resident: (resident >> 10) as f64 / 1024.0,
            descriptors: descriptors as f64,
        };
        samples.push(sample);
        if second % (seconds / 20).max(1) == 0 {
            println!(
                "| {second} | {:.1} | {descriptors} | {} | {} |",
                sample.resident,
                load.answered.load(Relaxed),
                load.refused.load(Relaxed)
            );
        }
    }
    Ok(samples)
}

/// Whether memory and descriptors were flat over the second half.
fn judge(samples: &[Sample]) -> Result<()> {
    let half = samples.split_at(samples.len() / 2).1;
    let memory = growth(half, |sample| sample.resident);
    let descriptors = growth(half, |sample| sample.descriptors);
    println!(
        "Growth over the second half: memory {:.1} %, descriptors {:.1} % (at most 5 %).",
        memory * 100.0,
        descriptors * 100.0
    );
    if memory <= GROWTH && descriptors <= GROWTH {
        Ok(())
    } else {
        Err(Error::new("memory or descriptors are not flat"))
    }
}

/// How much a figure grows over the time of the samples, as a part of its mean: the line of least
/// squares.
fn growth(samples: &[Sample], figure: impl Fn(&Sample) -> f64) -> f64 {
    let count = samples.iter().map(|_| 1.0).sum::<f64>().max(1.0);
    let mean = |value: &dyn Fn(&Sample) -> f64| samples.iter().map(value).sum::<f64>() / count;
    let (at, of) = (mean(&|sample| sample.seconds), mean(&|sample| figure(sample)));
    let sum = |value: &dyn Fn(f64, f64) -> f64| {
        samples.iter().map(|one| value(one.seconds - at, figure(one) - of)).sum::<f64>()
    };
    let slope = sum(&|x, y| x * y) / sum(&|x, _| x * x).max(f64::MIN_POSITIVE);
    let span = samples.last().map_or(0.0, |last| last.seconds)
        - samples.first().map_or(0.0, |first| first.seconds);
    slope * span / of.max(f64::MIN_POSITIVE)
}

fn document(place: &Place, version: u32) -> String {
    let mut text = format!(
        "configVersion: {version}\n\
         server: {{threads: 1, upgradeSocket: '{socket}', gracePeriod: 1s, limitKeys: 4096}}\n\
         listeners: [{{name: public, address: '{address}'}}]\nadmin: {{address: '{admin}'}}\n\
         accessLog: {{path: '{log}'}}\ncache: {{memoryBytes: 16MiB}}\n\
         overload: {{maxInFlight: 24, queueLimit: 16, queueTimeout: 20ms}}\n\
         rateLimits:\n  each: {{limit: 1000000, window: 1m, key: ['header:x-client']}}\n\
         services:\n  all: {{endpoints: [{{address: '{origin}'}}]}}\n\
         policies: {{auth: none}}\nroutes:\n  \
         - {{name: kept, match: {{pathPrefix: /cacheable}}, upstream: {{service: all}}, \
         policies: {{cache: {{ttl: 1h}}}}}}\n  \
         - {{name: limited, match: {{pathPrefix: /limited}}, upstream: {{service: all}}, \
         policies: {{rateLimit: each}}}}\n  \
         - {{name: plain, match: {{pathPrefix: /}}, upstream: {{service: all}}}}\n",
        socket = place.file("sock").display(),
        address = place.address,
        admin = place.admin,
        // Lines are formatted and written, and nothing piles up.
        log = "/dev/null",
        origin = place.origin,
    );
    for number in 0..ROUTES {
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "  - {{name: route-{version}-{number}, match: {{path: /area-{number}/{version}}}, \
             upstream: {{service: all}}}}"
        );
    }
    text
}

/// Clients that send without a pause.
struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    refused: Arc<AtomicU64>,
    /// What failed first.
    failed: Arc<OnceLock<String>>,
    clients: JoinSet<()>,
}

impl Load {
    fn begin(address: SocketAddr) -> Self {
        let mut load = Self {
            stop: Arc::default(),
            answered: Arc::default(),
            refused: Arc::default(),
            failed: Arc::default(),
            clients: JoinSet::new(),
        };
        for number in 0..KEEPING + OPENING {
            let (stop, failed) = (Arc::clone(&load.stop), Arc::clone(&load.failed));
            let (answered, refused) = (Arc::clone(&load.answered), Arc::clone(&load.refused));
            load.clients.spawn(async move {
                let mut client = Client::new(address);
                let mut seed = number;
                while !stop.load(Relaxed) {
                    seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(number | 1);
                    match client.ask(&request(seed >> 33, number < KEEPING)).await {
                        Ok((200, _)) => answered.fetch_add(1, Relaxed),
                        Ok((503, _)) => refused.fetch_add(1, Relaxed),
                        Ok((status, _)) => return note(&failed, format!("answered {status}")),
                        Err(error) => return note(&failed, error.to_string()),
                    };
                }
            });
        }
        load
    }

    fn failure(&self) -> Option<String> {
        self.failed.get().cloned()
    }

    async fn end(mut self) -> Result<(u64, u64)> {
        self.stop.store(true, Relaxed);
        while let Some(done) = self.clients.join_next().await {
            done.context("a client")?;
        }
        match self.failure() {
            None => Ok((self.answered.load(Relaxed), self.refused.load(Relaxed))),
            Some(failure) => Err(Error::new(failure)),
        }
    }
}

fn note(failed: &OnceLock<String>, what: String) {
    // Of several the first is told.
    let _ = failed.set(what);
}

/// One of several kinds of requests: to a service, kept, limited.
fn request(number: u64, keep: bool) -> Vec<u8> {
    let target = match number % 3 {
        0 => format!("/cacheable/{}", number / 3 % TARGETS),
        1 => format!("/limited/{}", number % 100),
        _ => "/plain".to_owned(),
    };
    let close = if keep { "" } else { "Connection: close\r\n" };
    format!(
        "GET {target} HTTP/1.1\r\nHost: {HOST}\r\nX-Client: {}\r\n{close}\r\n",
        number / 3 % 100_000
    )
    .into_bytes()
}
