//! `cache_bench`: processor time of a cache hit, beside NGINX, `HAProxy`, bare Pingora.
//!
//! `make bench-cache`. For each size of answers every server is started once and filled; then
//! each is measured in turn, round after round, the first one another each time. It fails on any
//! answer that is not a success and on any run in which the origin saw what it should not.

use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use tidegate_loadtest::options::{Load, positive};
use tidegate_loadtest::process::{Cores, CpuTime};
use tidegate_loadtest::report::{machine, median, per_request_us, per_second, said};
use tidegate_loadtest::rival::{Programs, Running, Server, Site};
use tidegate_loadtest::wrk::{Tally, Wrk};
use tidegate_loadtest::{Context, Error, Result};
use tokio::signal::unix::{SignalKind, signal};

const USAGE: &str = "\
usage: cache_bench [OPTION...]

Measures the processor time of a cache hit: the gateway, NGINX, HAProxy; and of a bare Pingora
proxy that asks its origin each time.

  --gateway PATH       the gateway's binary (default: `tidegate` beside this program)
  --servers A,B,...    what to measure: bare, tidegate, nginx, haproxy (default: all)
  --sizes A,B,...      bodies in bytes (default: 1024,65536)
  --rounds N           how often each is measured, in turn (default: 6)
  --seconds N          how long each time (default: 4)
  --connections N      connections of wrk (default: 64)
  --threads N          threads of wrk (default: 1)
  --help               print this";

/// What a hit may cost at most: size, beside which server, as a multiple of its cost.
const RATIOS: [(usize, Server, f64); 2] =
    [(1024, Server::Bare, 0.55), (65_536, Server::Nginx, 1.0)];

/// What a hit may cost at most: size, microseconds.
const COST: (usize, f64) = (1024, 12.0);

/// What a run measures, and how.
struct Options {
    gateway: Option<PathBuf>,
    servers: Vec<Server>,
    sizes: Vec<usize>,
    rounds: usize,
    seconds: u64,
    load: Load,
}

/// All rounds of one server at one size, in their order.
struct Runs {
    server: Server,
    rounds: Vec<(Tally, CpuTime)>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let options = match read(std::env::args().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("cache_bench: {error}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match run_unless_interrupted(options).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cache_bench: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Reads the command line; none where help is asked for.
fn read(mut words: impl Iterator<Item = String>) -> Result<Option<Options>> {
    let mut options = Options {
        gateway: None,
        servers: Server::ALL.to_vec(),
        sizes: vec![1024, 65_536],
        rounds: 6,
        seconds: 4,
        load: Load { connections: 64, threads: 1 },
    };
    while let Some(word) = words.next() {
        if word == "--help" || word == "-h" {
            return Ok(None);
        }
        let value = words.next().context(format_args!("{word} needs a value"))?;
        let number = || positive(&word, &value);
        match word.as_str() {
            "--gateway" => options.gateway = Some(value.into()),
            "--servers" => options.servers = value.split(',').map(server).collect::<Result<_>>()?,
            "--sizes" => {
                let sizes = value.split(',').map(|size| positive(&word, size).map(|n| n as usize));
                options.sizes = sizes.collect::<Result<_>>()?;
            }
            "--rounds" => options.rounds = number()? as usize,
            "--seconds" => options.seconds = number()?.into(),
            "--connections" => options.load.connections = number()?,
            "--threads" => options.load.threads = number()?,
            _ => return Err(Error::new(format!("there is no option {word}"))),
        }
    }
    Ok(Some(options))
}

fn server(name: &str) -> Result<Server> {
    let known = Server::ALL.into_iter().find(|server| server.name() == name);
    known.context(format_args!("there is no server `{name}`"))
}

/// Every process that is started ends with the value that stands for it, so that dropping the
/// run in the middle stops them all.
async fn run_unless_interrupted(options: Options) -> Result<()> {
    let mut interrupt = signal(SignalKind::interrupt()).context("signals")?;
    let mut terminate = signal(SignalKind::terminate()).context("signals")?;
    tokio::select! {
        result = run(options) => result,
        _ = interrupt.recv() => Err(Error::new("interrupted")),
        _ = terminate.recv() => Err(Error::new("told to stop")),
    }
}

async fn run(mut options: Options) -> Result<()> {
    let cores = Cores::find();
    let folder = tempfile::tempdir().context("a folder for the run")?;
    let wrk = Wrk::new(cores, folder.path())?;
    let here = std::env::current_exe().context("the folder of this program")?;
    let here = here.parent().context("the folder of this program")?;
    let programs = Programs {
        gateway: options.gateway.clone().unwrap_or_else(|| here.join("tidegate")),
        bare_proxy: here.join("bare_proxy"),
        origin: here.join("origin"),
    };
    print!("{}", machine(cores));
    let folder_name = folder.path().to_string_lossy();
    println!("- files: {}", said("stat", &["--file-system", "--format=%T", &folder_name]));
    let Load { connections, threads } = options.load;
    let (rounds, seconds) = (options.rounds, options.seconds);
    println!(
        "- settings: {connections} connections, {threads} thread(s), {rounds} rounds of {seconds} s"
    );
    options.servers.retain(|server| is_there(*server));
    for size in &options.sizes {
        let site = Site::new(cores, folder.path(), &programs, &wrk, options.load, *size)?;
        let mut running = Vec::new();
        for server in &options.servers {
            running.push(site.server(*server).await?);
        }
        let runs = measure(&options, &site, &running).await?;
        for server in running {
            server.stop().await?;
        }
        println!("\n## {size} bytes\n\n{}", table(&runs));
        print!("{}", targets(*size, &runs));
        judge(&runs)?;
    }
    Ok(())
}

/// Says what a server is, or that it is skipped and why.
fn is_there(server: Server) -> bool {
    let missing = server.package().filter(|_| server.installed().is_none());
    if let Some(package) = missing {
        println!("- {server}: SKIPPED, it is not installed (Debian: apt-get install {package})");
        return false;
    }
    let version = server.version().map(|version| format!(" ({version})")).unwrap_or_default();
    println!("- {server}: {}{version}", server.describe());
    true
}

async fn measure(options: &Options, site: &Site<'_>, running: &[Running]) -> Result<Vec<Runs>> {
    let mut all: Vec<Runs> =
        running.iter().map(|running| Runs { server: running.server, rounds: Vec::new() }).collect();
    for round in 0..options.rounds {
        let mut pairs: Vec<_> = running.iter().zip(&mut all).collect();
        // Whoever comes first finds the machine rested.
        let first = round % pairs.len().max(1);
        pairs.rotate_left(first);
        for (running, runs) in pairs {
            runs.rounds.push(site.measure(running, options.seconds).await?);
        }
    }
    Ok(all)
}

impl Runs {
    fn total_us(round: &(Tally, CpuTime)) -> f64 {
        let (user, system) = per_request_us(&round.0, round.1);
        user + system
    }

    fn median_of(&self, figure: impl Fn(&(Tally, CpuTime)) -> f64) -> f64 {
        median(self.rounds.iter().map(figure).collect()).unwrap_or(f64::NAN)
    }

    /// Cost as a multiple of another's in the same round, median; none where that was not run.
    fn ratio(&self, all: &[Self], other: Server) -> Option<f64> {
        let other = all.iter().find(|runs| runs.server == other)?;
        let pairs = self.rounds.iter().zip(&other.rounds);
        median(pairs.map(|(own, other)| Self::total_us(own) / Self::total_us(other)).collect())
    }
}

/// The table, in Markdown.
fn table(all: &[Runs]) -> String {
    let mut text = String::from(
        "| server | requests | requests/s | busy | user µs | system µs | total µs | min–max \
         | × bare | × nginx | p99 ms | errors |\n\
         |---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n",
    );
    for runs in all {
        let totals = || runs.rounds.iter().map(Runs::total_us);
        let beside = |other| {
            runs.ratio(all, other).map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"))
        };
        // Microseconds of processor time in each second, as a percentage.
        let busy = runs.median_of(|round| Runs::total_us(round) * per_second(&round.0) / 1e4);
        // Writing into a string cannot fail.
        let _ = writeln!(
            text,
            "| {} | {} | {:.0} | {busy:.0} % | {:.2} | {:.2} | {:.2} | {:.2}–{:.2} | {} | {} \
             | {:.2} | {} |",
            runs.server,
            runs.rounds.iter().map(|(tally, _)| tally.requests).sum::<u64>(),
            runs.median_of(|(tally, _)| per_second(tally)),
            runs.median_of(|(tally, cpu)| per_request_us(tally, *cpu).0),
            runs.median_of(|(tally, cpu)| per_request_us(tally, *cpu).1),
            runs.median_of(Runs::total_us),
            totals().reduce(f64::min).unwrap_or(f64::NAN),
            totals().reduce(f64::max).unwrap_or(f64::NAN),
            beside(Server::Bare),
            beside(Server::Nginx),
            runs.median_of(|(tally, _)| {
                std::time::Duration::from_micros(tally.p99_us).as_secs_f64() * 1e3
            }),
            runs.rounds.iter().map(|(tally, _)| tally.errors()).sum::<u64>(),
        );
    }
    text
}

/// What the gateway is to reach at this size, and whether it did.
fn targets(size: usize, all: &[Runs]) -> String {
    let Some(own) = all.iter().find(|runs| runs.server == Server::Tidegate) else {
        return String::new();
    };
    let verdict = |reached: bool| if reached { "reached" } else { "MISSED" };
    let mut text = String::new();
    if size == COST.0 {
        let cost = own.median_of(Runs::total_us);
        let word = verdict(cost <= COST.1);
        // Writing into a string cannot fail.
        let _ = writeln!(text, "- {word}: {cost:.2} µs a hit (target: at most {})", COST.1);
    }
    for (_, other, most) in RATIOS.iter().filter(|(of, ..)| *of == size) {
        let Some(ratio) = own.ratio(all, *other) else { continue };
        let word = verdict(ratio <= *most);
        let _ = writeln!(text, "- {word}: {ratio:.2} × {other} (target: at most {most})");
    }
    text
}

fn judge(all: &[Runs]) -> Result<()> {
    for runs in all {
        for (tally, _) in &runs.rounds {
            if tally.errors() > 0 || tally.requests == 0 {
                let what = format!("{}: {tally:?}", runs.server);
                return Err(Error::new(what));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "this is a test")]
mod tests {
    use std::time::Duration;

    use super::*;

    fn runs(server: Server, costs_us: &[u64]) -> Runs {
        let round = |us: &u64| {
            let tally = Tally { requests: 1000, duration_us: 1_000_000, ..Tally::default() };
            let half = Duration::from_millis(*us) / 2;
            (tally, CpuTime { user: half, system: half })
        };
        Runs { server, rounds: costs_us.iter().map(round).collect() }
    }

    #[test]
    fn a_server_is_compared_with_the_others_of_its_round() {
        // The machine is half as fast in the last round; the ratios do not notice.
        let all = [
            runs(Server::Bare, &[20, 20, 40]),
            runs(Server::Tidegate, &[10, 10, 20]),
            runs(Server::Nginx, &[8, 8, 16]),
        ];
        let text = table(&all);
        assert!(text.contains("| 5.00 | 5.00 | 10.00 | 10.00–20.00 | 0.50 | 1.25 |"), "{text}");
        let text = targets(1024, &all);
        assert!(text.contains("reached: 10.00 µs"), "{text}");
        assert!(text.contains("reached: 0.50 × bare"), "{text}");
        assert!(targets(65_536, &all).contains("MISSED: 1.25 × nginx"));
        assert_eq!(targets(1, &all), "");
    }

    #[test]
    fn the_command_line_is_read() {
        let words = |line: &'static str| line.split_whitespace().map(ToOwned::to_owned);
        let options = read(words("--servers nginx,tidegate --sizes 1,2")).unwrap().unwrap();
        assert_eq!(options.servers, [Server::Nginx, Server::Tidegate]);
        assert_eq!(options.sizes, [1, 2]);
        assert!(read(words("--servers squid")).is_err());
        assert!(read(words("--rounds 0")).is_err());
        assert!(read(words("--help")).unwrap().is_none());
    }
}
