//! `fairness`: what one tenant's flood costs another, and what a refusal costs the gateway.
//!
//! Two measurements in one run, each with its yardstick beside it. First a quiet tenant asks at a
//! steady pace, alone and then beside a tenant that keeps ten times its share under way; its
//! answers must all be good, and its 99th percentile is compared (R012: less than 10 % more). Then
//! one client floods a route whose limit is used up, at a steady rate, and the processor time of a
//! 429 is compared with that of an admitted request (R200: at most 1 ms each, at most 40 % of the
//! cost).

use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tidegate_loadtest::client::Client;
use tidegate_loadtest::document::{HOST, Place};
use tidegate_loadtest::process::{Cores, Process};
use tidegate_loadtest::program::{self, Scaled};
use tidegate_loadtest::{Context, Error, Result, probe, start};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

const USAGE: &str = "usage: fairness [--quick] [--gateway FILE]

--quick          a tenth of the load: shows that it works, measures nothing
--gateway FILE   the gateway; without it, the one beside this program
--help           print this";

/// How much is sent.
#[derive(Clone, Copy)]
struct Scale {
    /// Places of the gateway: `overload.maxInFlight`.
    places: usize,
    /// Requests of the quiet tenant in each phase, and their number each second.
    quiet: usize,
    quiet_rate: u32,
    /// Requests of each kind for the cost of a refusal, refusals each second, and connections:
    /// fewer than places.
    refusals: usize,
    rate: u32,
    connections: u32,
}

const WHOLE: Scale = Scale {
    places: 100,
    quiet: 2_000,
    quiet_rate: 100,
    refusals: 64_000,
    rate: 10_000,
    connections: 64,
};
const QUICK: Scale =
    Scale { places: 32, quiet: 200, quiet_rate: 50, refusals: 2_000, rate: 1_000, connections: 16 };

/// How long the slow service takes in the middle; from half of that to half more.
const SERVICE: Duration = Duration::from_millis(100);

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    program::run("fairness", USAGE, Scaled::read, run).await
}

async fn run(options: Scaled) -> Result<()> {
    let scale = if options.is_quick { QUICK } else { WHOLE };
    let gateway = options.gateway;
    let cores = Cores::find();
    println!("- {}", cores.describe());
    let folder = tempfile::tempdir().context("a folder for the run")?;
    let slow = slow_origin().await?;
    let program = program::folder()?.join("origin");
    let (fast, origin) = start::origin(cores, folder.path(), &program, 1024, &[]).await?;
    let node = Node::start(&gateway, cores, folder.path(), scale, slow, fast).await?;
    let fair = fairness(&node, scale).await;
    let cheap = match &fair {
        Ok(()) => refusals(&node, scale).await,
        Err(_) => Ok(()),
    };
    node.process.stop().await?;
    origin.stop().await?;
    fair.and(cheap)
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
        scale: Scale,
        slow: SocketAddr,
        fast: SocketAddr,
    ) -> Result<Self> {
        for tenant in ["quiet", "noisy"] {
            let file = folder.join(tenant);
            std::fs::write(&file, key(tenant)).context(file.display())?;
        }
        let place = Place {
            name: "fairness",
            folder: folder.to_owned(),
            address: probe::free_address().await?,
            admin: probe::free_address().await?,
            origin: fast,
            redis: None,
        };
        let process =
            start::gateway(cores, gateway, &place, &document(&place, slow, scale)).await?;
        Ok(Self { address: place.address, process })
    }
}

fn key(tenant: &str) -> String {
    format!("{tenant}-0123456789abcdef")
}

fn document(place: &Place, slow: SocketAddr, scale: Scale) -> String {
    let (folder, places) = (place.folder.display(), scale.places);
    let Place { address, admin, origin: fast, .. } = place;
    format!(
        "server: {{threads: 1, upgradeSocket: '{folder}/fairness.sock', gracePeriod: 1s}}
listeners: [{{name: public, address: '{address}'}}]
admin: {{address: '{admin}'}}
accessLog: {{path: '{folder}/access.log'}}
apiKeys:
  - {{id: quiet, key: '${{file:{folder}/quiet}}', tenantId: quiet}}
  - {{id: noisy, key: '${{file:{folder}/noisy}}', tenantId: noisy}}
overload: {{maxInFlight: {places}, queueLimit: {places}, queueTimeout: 5s}}
rateLimits:
  used-up: {{algorithm: token_bucket, capacity: 1, refillPerSecond: 0.0001, key: [tenantId]}}
  wide: {{algorithm: token_bucket, capacity: 1000000000, refillPerSecond: 1000000, key: [tenantId]}}
services:
  slow: {{endpoints: [{{address: '{slow}'}}]}}
  fast: {{endpoints: [{{address: '{fast}'}}]}}
policies: {{auth: required}}
routes:
  - {{name: slow, match: {{pathPrefix: /slow}}, upstream: {{service: slow}}}}
  - {{name: refused, match: {{pathPrefix: /refused}}, upstream: {{service: fast}},
     policies: {{rateLimit: used-up}}}}
  - {{name: admitted, match: {{pathPrefix: /admitted}}, upstream: {{service: fast}},
     policies: {{rateLimit: wide}}}}
"
    )
}

fn request(tenant: &str, target: &str) -> Vec<u8> {
    let key = key(tenant);
    format!("GET {target} HTTP/1.1\r\nHost: {HOST}\r\nX-API-Key: {key}\r\n\r\n").into_bytes()
}

/// A service that takes its time.
async fn slow_origin() -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await.context("the slow service")?;
    let address = listener.local_addr().context("the slow service")?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve_slowly(stream));
        }
    });
    Ok(address)
}

async fn serve_slowly(mut stream: TcpStream) -> Option<()> {
    const ANSWER: &[u8] =
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello";
    stream.set_nodelay(true).ok()?;
    let mut input = Vec::new();
    // Always the same would make all requests end together that began together. Any numbers do
    // that are not in step: each is the last one times a large prime, and the port is the first.
    let mut number = u64::from(stream.peer_addr().ok()?.port());
    loop {
        number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let spread = u32::try_from(number >> 48).ok()?;
        while !input.ends_with(b"\r\n\r\n") {
            if stream.read_buf(&mut input).await.ok()? == 0 {
                return None;
            }
        }
        input.clear();
        sleep(SERVICE / 2 + SERVICE * spread / 65_536).await;
        stream.write_all(ANSWER).await.ok()?;
    }
}

/// The quiet tenant alone, beside the noisy one, and alone again.
async fn fairness(node: &Node, scale: Scale) -> Result<()> {
    println!("\n| quiet tenant | requests | good | p50 ms | p99 ms |\n|---|---:|---:|---:|---:|");
    let alone = quiet(node, scale, "alone").await?;
    let noisy = Noisy::begin(node.address, scale);
    sleep(Duration::from_secs(1)).await;
    let beside = quiet(node, scale, "beside a noisy tenant").await?;
    let (served, shed) = noisy.end().await?;
    println!("\nThe noisy tenant: {served} served, {shed} refused.");
    if served == 0 || shed == 0 {
        return Err(Error::new("the noisy tenant was not noisy: this measured something else"));
    }
    let rise = (beside / alone - 1.0) * 100.0;
    println!("Rise of the quiet tenant's 99th percentile: {rise:.1} % (target: below 10 %).");
    Ok(())
}

/// Sends the quiet tenant's requests at their pace; returns the 99th percentile in milliseconds.
async fn quiet(node: &Node, scale: Scale, phase: &str) -> Result<f64> {
    let mut ticks = interval(Duration::from_secs(1) / scale.quiet_rate);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut tasks = JoinSet::new();
    let mut idle: Vec<Client> = Vec::new();
    let (mut took, mut good) = (Vec::with_capacity(scale.quiet), 0);
    for _ in 0..scale.quiet {
        ticks.tick().await;
        while let Some(done) = tasks.try_join_next() {
            idle.push(settle(done, &mut took, &mut good)?);
        }
        let mut client = idle.pop().unwrap_or_else(|| Client::new(node.address));
        tasks.spawn(async move {
            let answer = client.ask(&request("quiet", "/slow")).await;
            (client, answer)
        });
    }
    while let Some(done) = tasks.join_next().await {
        settle(done, &mut took, &mut good)?;
    }
    let (p50, p99, _) = percentiles(&mut took);
    println!("| {phase} | {} | {good} | {p50:.2} | {p99:.2} |", scale.quiet);
    if good < scale.quiet {
        return Err(Error::new(format!("{} requests failed {phase}", scale.quiet - good)));
    }
    Ok(p99)
}

type Done = std::result::Result<(Client, Result<(u16, Duration)>), tokio::task::JoinError>;

fn settle(done: Done, took: &mut Vec<Duration>, good: &mut usize) -> Result<Client> {
    let (client, answer) = done.context("a client")?;
    let (status, time) = answer?;
    took.push(time);
    *good += usize::from(status == 200);
    Ok(client)
}

/// A tenant with ten times its share under way.
struct Noisy {
    stop: Arc<AtomicBool>,
    served: Arc<AtomicU64>,
    shed: Arc<AtomicU64>,
    clients: Vec<JoinHandle<Result<()>>>,
}

impl Noisy {
    fn begin(address: SocketAddr, scale: Scale) -> Self {
        let (stop, served, shed) =
            (Arc::new(AtomicBool::new(false)), Arc::<AtomicU64>::default(), Arc::default());
        let count = 10 * scale.places / 2;
        let clients = (0..count)
            .map(|_| {
                let (stop, served) = (Arc::clone(&stop), Arc::clone(&served));
                let shed: Arc<AtomicU64> = Arc::clone(&shed);
                tokio::spawn(async move {
                    let mut client = Client::new(address);
                    let request = request("noisy", "/slow");
                    while !stop.load(Relaxed) {
                        if client.ask(&request).await?.0 == 200 {
                            served.fetch_add(1, Relaxed);
                        } else {
                            shed.fetch_add(1, Relaxed);
                            sleep(SERVICE).await;
                        }
                    }
                    Ok(())
                })
            })
            .collect();
        Self { stop, served, shed, clients }
    }

    async fn end(self) -> Result<(u64, u64)> {
        self.stop.store(true, Relaxed);
        for client in self.clients {
            client.await.context("a noisy client")??;
        }
        Ok((self.served.load(Relaxed), self.shed.load(Relaxed)))
    }
}

/// Requests within their limit, then requests beyond it.
async fn refusals(node: &Node, scale: Scale) -> Result<()> {
    let mut first = Client::new(node.address);
    first.ask(&request("noisy", "/refused")).await?; // The one that it has.
    println!("\n| requests | count | p50 ms | p99 ms | longest ms | CPU µs each |");
    println!("|---|---:|---:|---:|---:|---:|");
    // At one rate: a request costs less where many come.
    let admitted = flood(node, scale, "/admitted", 200, scale.rate).await?;
    let refused = flood(node, scale, "/refused", 429, scale.rate).await?;
    let share = refused / admitted.max(f64::MIN_POSITIVE) * 100.0;
    println!("\nA refusal costs {share:.0} % of an admitted request (target: at most 40 %).");
    Ok(())
}

/// Sends one kind of request at a steady rate; returns the gateway's processor time for each, in
/// microseconds.
async fn flood(
    node: &Node,
    scale: Scale,
    target: &'static str,
    expected: u16,
    rate: u32,
) -> Result<f64> {
    let connections = scale.connections;
    let each = scale.refusals / usize::try_from(connections).context("connections")?;
    let pace = Duration::from_secs(1) * connections / rate;
    let before = node.process.cpu_time()?;
    let mut tasks = JoinSet::new();
    for number in 0..connections {
        let mut client = Client::new(node.address);
        let offset = pace * number / connections;
        tasks.spawn(async move {
            let request = request("noisy", target);
            let mut took = Vec::with_capacity(each);
            sleep(offset).await;
            let mut due = Instant::now();
            for _ in 0..each {
                due += pace;
                tokio::time::sleep_until(due).await;
                let (status, time) = client.ask(&request).await?;
                if status != expected {
                    return Err(Error::new(format!("{target} answered {status}")));
                }
                took.push(time);
            }
            Ok(took)
        });
    }
    let mut took = Vec::with_capacity(scale.refusals);
    while let Some(done) = tasks.join_next().await {
        took.extend(done.context("a client")??);
    }
    let used = node.process.cpu_time()?.since(before);
    let count = u32::try_from(took.len().max(1)).context("requests")?;
    let cost = (used.user + used.system).as_secs_f64() * 1e6 / f64::from(count);
    let (p50, p99, longest) = percentiles(&mut took);
    println!(
        "| {target}, {expected}, {rate} a second | {count} | {p50:.3} | {p99:.3} | {longest:.3} \
         | {cost:.1} |"
    );
    Ok(cost)
}

/// Median, 99th percentile and longest, in milliseconds.
fn percentiles(took: &mut [Duration]) -> (f64, f64, f64) {
    took.sort_unstable();
    let at = |percent: usize| {
        let place = (took.len() * percent / 100).min(took.len().saturating_sub(1));
        took.get(place).map_or(0.0, |span| span.as_secs_f64() * 1e3)
    };
    (at(50), at(99), at(100))
}
