//! Upgrades under load: does anybody notice, and does anything pile up?
//!
//! Clients of every kind send at a constant rate while `tidegate upgrade` replaces the process
//! again and again. Fails if a single request does, or if the last process has noticeably more
//! memory or descriptors than the first that took over, after the same work.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tidegate_kit::{
    Authority, Context as _, Error, Gateway, MixedClient, MixedKind, MixedPlace, Origin, Result,
    Setup, Stray, WebSocketOrigin, ports,
};
use tidegate_loadtest::options::positive;
use tidegate_loadtest::program::{self, Words};
use tokio::sync::Mutex;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

const USAGE: &str = "\
usage: [UPGRADES=10] [RATE=1000] upgrades

Replaces the process UPGRADES times under RATE mixed requests a second: none may fail.";

/// Time under load after each upgrade, before the process is measured.
const WORK: Duration = Duration::from_secs(5);

/// Time without load, for connections to be closed.
const REST: Duration = Duration::from_millis(1500);

/// What the last process may have more than the first.
const TOLERANCE: f64 = 1.05;

/// Clients by kind, with how many there are and their part of the rate in hundredths.
const KINDS: [(MixedKind, u64, u64); 6] = [
    (MixedKind::Opening, 8, 40),
    (MixedKind::Keeping, 8, 35),
    (MixedKind::Secure, 4, 5),
    (MixedKind::Http2, 4, 13),
    (MixedKind::Streaming, 4, 5),
    (MixedKind::WebSocket, 2, 2),
];

/// What clients share.
struct Load {
    place: MixedPlace,
    served: AtomicU64,
    /// Connections that ended between two requests, so that another was opened.
    reopened: AtomicU64,
    resting: AtomicBool,
    over: AtomicBool,
    failures: Mutex<Vec<String>>,
    began: Instant,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    program::run("upgrades", USAGE, read, async |plan| {
        run(plan).await.map_err(|error| tidegate_loadtest::Error::new(error.to_string()))
    })
    .await
}

struct Plan {
    upgrades: u32,
    /// Requests a second.
    rate: u32,
}

fn read(words: Words) -> tidegate_loadtest::Result<Option<Plan>> {
    let setting = |name, usual| std::env::var(name).map_or(Ok(usual), |text| positive(name, &text));
    if program::operands(words, 0)?.is_none() {
        return Ok(None);
    }
    Ok(Some(Plan { upgrades: setting("UPGRADES", 10)?, rate: setting("RATE", 1000)? }))
}

async fn run(Plan { upgrades, rate }: Plan) -> Result<()> {
    let (origin, talk) = (Origin::start("api").await?, WebSocketOrigin::start().await?);
    let authority = Authority::new("load")?;
    let folder = tempfile::tempdir()?;
    let files = authority.leaf(&["a.example"])?.write(folder.path(), "a")?.yaml();
    let secure = SocketAddr::from(([127, 0, 0, 1], ports::free()?));
    let binary = std::env::current_exe()?.with_file_name("tidegate");
    let listener =
        format!("{{name: secure, address: \"{secure}\", tls: {{certificates: [{{{files}}}]}}}}");
    let mut first = Setup::new(&binary, config(&origin, &talk)).beside(&listener).start().await?;
    let load = Arc::new(Load {
        place: MixedPlace { plain: first.address(), secure, tls: authority.client() },
        served: AtomicU64::new(0),
        reopened: AtomicU64::new(0),
        resting: AtomicBool::new(false),
        over: AtomicBool::new(false),
        failures: Mutex::default(),
        began: Instant::now(),
    });
    let clients = begin(&load, rate);
    sleep(Duration::from_secs(2)).await;
    let mut running: Option<Stray> = None;
    let mut seen = Vec::new();
    for upgrade in 1..=upgrades {
        let asked = load.began.elapsed();
        let new = replace(&first, &binary).await?;
        let after = (asked, load.began.elapsed());
        match running.replace(new) {
            None => first.exit().await.map(|_| ())?,
            Some(before) => before.exit().await?,
        }
        let began = (Instant::now(), load.served.load(Ordering::Relaxed));
        sleep(WORK).await;
        let done = load.served.load(Ordering::Relaxed) - began.1;
        let per_second =
            f64::from(u32::try_from(done).unwrap_or(u32::MAX)) / began.0.elapsed().as_secs_f64();
        load.resting.store(true, Ordering::SeqCst);
        sleep(REST).await;
        let id = running.as_ref().map_or(0, Stray::id);
        let (kib, descriptors) = (resident(id)?, descriptors(id)?);
        load.resting.store(false, Ordering::SeqCst);
        println!(
            "upgrade {upgrade}, at {after:.3?}: {per_second:.0} requests/s, {kib} KiB, \
             {descriptors} descriptors"
        );
        seen.push((kib, descriptors));
    }
    load.over.store(true, Ordering::SeqCst);
    for client in clients {
        let _ = client.await;
    }
    judge(&load, &first, &seen).await
}

async fn judge(load: &Load, gateway: &Gateway, seen: &[(u32, u32)]) -> Result<()> {
    let failures = load.failures.lock().await;
    let (served, reopened) =
        (load.served.load(Ordering::Relaxed), load.reopened.load(Ordering::Relaxed));
    println!("{served} served, {} failed, {reopened} idle connections ended", failures.len());
    if !failures.is_empty() {
        for line in gateway.access_lines()?.iter().filter(|line| !line["code"].is_null()) {
            println!("{line}");
        }
        return Err(Error::new(failures.join("\n")));
    }
    // Each upgrade ends each kept connection once at most.
    let kept = KINDS.iter().filter(|(kind, ..)| kind.keeps()).map(|(_, count, _)| count);
    let most = kept.sum::<u64>() * u64::try_from(seen.len()).unwrap_or(u64::MAX);
    if reopened > most {
        return Err(Error::new(format!("kept connections may end {most} times, by upgrades")));
    }
    let (Some(first), Some(last)) = (seen.first(), seen.last()) else { return Ok(()) };
    let grown = |first: u32, last: u32| f64::from(last) > f64::from(first) * TOLERANCE;
    if grown(first.0, last.0) || grown(first.1, last.1) {
        return Err(Error::new(format!("grown from {first:?} to {last:?} (KiB, descriptors)")));
    }
    Ok(())
}

fn config(origin: &Origin, talk: &WebSocketOrigin) -> String {
    format!(
        "services:\n  api: {{endpoints: [{{address: \"{}\"}}]}}\n  \
         talk: {{endpoints: [{{address: \"{}\"}}]}}\nroutes:\n  \
         - {{name: talk, match: {{pathPrefix: /talk}}, upstream: {{service: talk}}, \
         policies: {{auth: none, upgrades: [websocket]}}}}\n  \
         - {{name: all, match: {{pathPrefix: /}}, upstream: {{service: api}}, \
         policies: {{auth: none}}}}\n",
        origin.address(),
        talk.address()
    )
}

async fn replace(gateway: &Gateway, binary: &std::path::Path) -> Result<Stray> {
    let done = gateway.upgrade(binary, &[]).await?;
    let out = String::from_utf8_lossy(&done.stdout).into_owned();
    let id = out.split(' ').nth(2).and_then(|id| id.parse().ok());
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    Stray::new(id.context(format_args!("{out}{said}"))?)
}

/// Resident memory of a process in KiB.
fn resident(id: i32) -> Result<u32> {
    let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).context("VmRSS")
}

/// Open descriptors of a process, without the connections to services that it keeps: how many it
/// has use for is chance.
fn descriptors(id: i32) -> Result<u32> {
    let table = std::fs::read_to_string("/proc/net/tcp")?;
    let connections = table.lines().filter_map(|line| {
        let mut columns = line.split_whitespace().skip(3);
        // The state, 01 is established; six columns on is the inode.
        (columns.next()? == "01")
            .then(|| columns.nth(5).map(|inode| format!("socket:[{inode}]")))?
    });
    let connections: HashSet<String> = connections.collect();
    let links = std::fs::read_dir(format!("/proc/{id}/fd"))?.filter_map(|entry| {
        Some(std::fs::read_link(entry.ok()?.path()).ok()?.to_string_lossy().into_owned())
    });
    let count = links.filter(|link| !connections.contains(link)).count();
    Ok(u32::try_from(count).unwrap_or(u32::MAX))
}

fn begin(load: &Arc<Load>, rate: u32) -> Vec<tokio::task::JoinHandle<()>> {
    let mut clients = Vec::new();
    for (kind, count, hundredths) in KINDS {
        let nanos = 100 * 1_000_000_000 * count / (u64::from(rate) * hundredths);
        for _ in 0..count {
            let load = Arc::clone(load);
            clients.push(tokio::spawn(client(load, kind, Duration::from_nanos(nanos))));
        }
    }
    clients
}

async fn client(load: Arc<Load>, kind: MixedKind, pause: Duration) {
    let mut ticks = interval(pause);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut client = MixedClient::new(kind, load.place.clone());
    while !load.over.load(Ordering::Relaxed) {
        if load.resting.load(Ordering::Relaxed) {
            client.rest();
            sleep(Duration::from_millis(20)).await;
            ticks.reset_immediately();
            continue;
        }
        ticks.tick().await;
        match client.once().await {
            Ok(()) => {
                load.served.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => {
                let after = load.began.elapsed();
                load.failures.lock().await.push(format!("{kind:?}, after {after:.3?}: {error}"));
            }
        }
    }
    load.reopened.fetch_add(client.reopened(), Ordering::Relaxed);
}
