//! `apply`: what requests notice of a configuration with ten thousand routes being applied.
//!
//! Sends requests at a steady pace, first in peace, then while the configuration is replaced again
//! and again, and compares the latencies. Fails on any answer that is not a success.

use std::process::ExitCode;
use std::time::Duration;

use tidegate_loadtest::options::Options;
use tidegate_loadtest::process::Cores;
use tidegate_loadtest::target::{Kind, Setting, Target};
use tidegate_loadtest::wrk::Wrk;
use tidegate_loadtest::{Context, Error, Result, probe};
use tokio::time::{Instant, MissedTickBehavior, interval};

/// Requests in each phase.
const REQUESTS: usize = 10_000;
/// Time between two requests.
const PACE: Duration = Duration::from_millis(2);
/// Requests between two configurations.
const BETWEEN: usize = 1_000;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("apply: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<()> {
    let options =
        Options { gateway: std::env::args().nth(1).map(Into::into), ..Options::default() };
    let cores = Cores::find();
    let folder = tempfile::tempdir().context("a folder for the run")?;
    let wrk = Wrk::new(cores, folder.path())?;
    let here = std::env::current_exe().context("the folder of this program")?;
    let programs = here.parent().context("the folder of this program")?;
    let setting = Setting::start(&options, cores, folder.path(), programs, &wrk).await?;
    let target = setting.target(Kind::Many).await?;
    send(&target, REQUESTS / 10, false).await?;
    println!("| phase | requests | p50 ms | p99 ms | longest ms |");
    println!("|---|---:|---:|---:|---:|");
    for (phase, apply) in [("in peace", false), ("while applying", true)] {
        let mut took = send(&target, REQUESTS, apply).await?;
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
    }
    target.stop().await?;
    setting.stop().await
}

fn ms(span: Duration) -> f64 {
    span.as_secs_f64() * 1e3
}

async fn send(target: &Target, requests: usize, apply: bool) -> Result<Vec<Duration>> {
    let mut stream = probe::keep_alive(target.address()).await?;
    let mut ticks = interval(PACE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut took = Vec::with_capacity(requests);
    let mut version = 1;
    for number in 0..requests {
        if number % BETWEEN == 0 {
            // Before the gateway ends the connection for its age.
            stream = probe::keep_alive(target.address()).await?;
            if apply {
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
    if apply && applied < f64::from(version) {
        let what = format!("{version} configurations were offered, {applied} are in force");
        return Err(Error::new(what));
    }
    Ok(took)
}
