//! `apply`: what requests notice of a configuration with ten thousand routes being applied.
//!
//! Sends requests at a steady pace, first in peace, then while the configuration is replaced again
//! and again (`--reloads N`, ten times without it), and compares the latencies. Fails on any answer
//! that is not a success, when the 99th percentile rises by more than 2 ms, and, where there are
//! enough configurations to tell, when memory grows from each to the next ([`reload_memory`]).
//!
//! [`reload_memory`]: tidegate_loadtest::reload_memory

use std::process::ExitCode;
use std::time::Duration;

use tidegate_loadtest::options::{Options, positive};
use tidegate_loadtest::process::Cores;
use tidegate_loadtest::reload_memory::{Growth, RELOADS_MIN};
use tidegate_loadtest::target::{Kind, Setting, Target};
use tidegate_loadtest::wrk::Wrk;
use tidegate_loadtest::{Context, Error, Result, probe, program};
use tokio::time::{Instant, MissedTickBehavior, interval};

const USAGE: &str = "\
usage: apply [--reloads N] [GATEWAY]

Measures what requests notice of configurations with 10,000 routes being applied.

  --reloads N   configurations (default: 10); memory is judged from 70 on: the first 30 do not
                count, and of the others the second half may need 5 % more than the first
  GATEWAY       the gateway's binary (default: `tidegate` beside this program)
  --help        print this";

/// Configurations that are applied where the command line does not say.
const RELOADS: usize = 10;
/// Time between two requests.
const PACE: Duration = Duration::from_millis(2);
/// Requests between two configurations.
const BETWEEN: usize = 1_000;
/// How much the 99th percentile may rise.
const RISE_MAX: Duration = Duration::from_millis(2);
/// How much memory may grow from one half to the other, as a part of what there is.
const GROWTH_MAX: f64 = 0.05;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    program::run("apply", USAGE, read, run).await
}

/// How many configurations, and which gateway.
fn read(mut words: impl Iterator<Item = String>) -> Result<Option<(usize, Options)>> {
    let (mut reloads, mut options) = (RELOADS, Options::default());
    while let Some(word) = words.next() {
        match word.as_str() {
            "--help" | "-h" => return Ok(None),
            "--reloads" => {
                let number = words.next().context("--reloads needs a value")?;
                reloads = positive(&word, &number)? as usize;
            }
            _ if options.gateway.is_none() && !word.starts_with('-') => {
                options.gateway = Some(word.into());
            }
            _ => return Err(program::unknown(&word)),
        }
    }
    Ok(Some((reloads, options)))
}

async fn run((reloads, options): (usize, Options)) -> Result<()> {
    let cores = Cores::find();
    let folder = tempfile::tempdir().context("a folder for the run")?;
    let wrk = Wrk::new(cores, folder.path())?;
    let setting = Setting::start(&options, cores, folder.path(), &program::folder()?, &wrk).await?;
    let target = setting.target(Kind::Many).await?;
    send(&target, BETWEEN, None).await?;
    println!("| phase | requests | p50 ms | p99 ms | longest ms |");
    println!("|---|---:|---:|---:|---:|");
    let mut resident = Vec::new();
    let mut p99 = Vec::new();
    for phase in ["in peace", "while applying"] {
        let samples = (phase != "in peace").then_some(&mut resident);
        // In peace for as long as ten configurations take at most: it is the same all the time.
        let rounds = if samples.is_some() { reloads } else { reloads.min(RELOADS) };
        let mut took = send(&target, rounds * BETWEEN, samples).await?;
        took.sort_unstable();
        let at = |share: usize| took.get(took.len() * share / 1000).copied().unwrap_or_default();
        let longest = took.last().copied().unwrap_or_default();
        println!(
            "| {phase} | {} | {:.3} | {:.3} | {:.3} |",
            took.len(),
            ms(at(500)),
            ms(at(990)),
            ms(longest)
        );
        p99.push(at(990));
    }
    target.stop().await?;
    setting.stop().await?;
    judge(&p99, &resident)
}

/// Whether requests noticed, and whether memory grew.
fn judge(p99: &[Duration], resident: &[u64]) -> Result<()> {
    if let [peace, applying] = p99 {
        let rise = applying.saturating_sub(*peace);
        println!("\nRise of the 99th percentile: {:.3} ms (at most 2 ms).", ms(rise));
        if rise > RISE_MAX {
            return Err(Error::new("requests notice"));
        }
    }
    let Some(growth) = Growth::of(resident) else {
        println!("Memory is not judged: that takes {RELOADS_MIN} configurations.");
        return Ok(());
    };
    println!("Memory, {growth} (at most {:.0} % more).", GROWTH_MAX * 100.0);
    if growth.share() > GROWTH_MAX { Err(Error::new("memory grows")) } else { Ok(()) }
}

fn ms(span: Duration) -> f64 {
    span.as_secs_f64() * 1e3
}

/// Sends requests; with a place for what the gateway holds in memory, it gets a new configuration
/// now and then and is looked at before each.
async fn send(
    target: &Target,
    requests: usize,
    mut resident: Option<&mut Vec<u64>>,
) -> Result<Vec<Duration>> {
    let mut stream = probe::keep_alive(target.address()).await?;
    let mut ticks = interval(PACE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut took = Vec::with_capacity(requests);
    let mut version = 1;
    for number in 0..requests {
        if number % BETWEEN == 0 {
            // Before the gateway ends the connection for its age.
            stream = probe::keep_alive(target.address()).await?;
            if let Some(resident) = resident.as_mut() {
                resident.push(target.resident_bytes()?);
                version += 1;
                target.reconfigure(version)?;
            }
        }
        ticks.tick().await;
        let began = Instant::now();
        probe::again(&mut stream).await?;
        took.push(began.elapsed());
    }
    let applied = target.applied().await?;
    if resident.is_some() && applied < f64::from(version) {
        let what = format!("{version} configurations were offered, {applied} are in force");
        return Err(Error::new(what));
    }
    Ok(took)
}
