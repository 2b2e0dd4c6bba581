//! `compare`: what the gateway costs, as a multiple of a bare Pingora proxy.
//!
//! The second half of `make bench`. Every target is started once; then each is measured in turn,
//! round after round, so that a machine that grows slower does so for all of them. It fails on
//! any answer that is not a success, on any run that did not do what it should, and on costs
//! above `--max-ratio`.

use std::io::Write;
use std::process::ExitCode;

use tidegate_loadtest::options::{Options, USAGE};
use tidegate_loadtest::process::Cores;
use tidegate_loadtest::program;
use tidegate_loadtest::report::{Row, Sample, circumstances, table};
use tidegate_loadtest::target::{Setting, Target};
use tidegate_loadtest::wrk::Wrk;
use tidegate_loadtest::{Context, Error, Result};

/// Load before the first round: connections, tokens and cached answers are there then.
const WARM_UP_SECONDS: u64 = 1;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    program::run("compare", USAGE, Options::read, async |options| run(&options).await).await
}

async fn run(options: &Options) -> Result<()> {
    let cores = Cores::find();
    let folder = tempfile::tempdir().context("a folder for the run")?;
    let wrk = Wrk::new(cores, folder.path())?;
    let programs = program::folder()?;
    println!("{}", circumstances(options, cores));
    let setting = Setting::start(options, cores, folder.path(), &programs, &wrk).await?;
    let mut targets = Vec::new();
    for kind in &options.targets {
        println!("- {kind}: {}", kind.describe());
        targets.push(setting.target(*kind).await?);
    }
    println!();
    let samples = measure(options, &wrk, &targets).await?;
    for target in targets {
        target.stop().await?;
    }
    setting.stop().await?;
    let rows: Vec<Row> = options.targets.iter().map(|kind| Row::of(*kind, &samples)).collect();
    println!("{}", table(&rows));
    judge(options, &rows)
}

async fn measure(options: &Options, wrk: &Wrk, targets: &[Target]) -> Result<Vec<Sample>> {
    let mut samples = Vec::new();
    progress("warming up");
    for target in targets {
        target.warm_up(wrk, options, WARM_UP_SECONDS).await?;
    }
    for round in 0..options.rounds {
        for target in targets {
            progress(&format!("round {} of {}: {}", round + 1, options.rounds, target.kind));
            let (tally, cpu) = target.measure(wrk, options).await?;
            samples.push(Sample { kind: target.kind, round, tally, cpu });
        }
    }
    progress("");
    Ok(samples)
}

fn judge(options: &Options, rows: &[Row]) -> Result<()> {
    let mut faults = Vec::new();
    for row in rows {
        if row.errors > 0 {
            faults.push(format!("{}: {} errors", row.kind, row.errors));
        }
        if row.requests == 0 {
            faults.push(format!("{}: no answers", row.kind));
        } else if row.total_us.0 <= 0.0 {
            faults.push(format!("{}: no processor time; is it a wrapper that forks?", row.kind));
        }
        let allowed = options.max_ratios.iter().find(|(kind, _)| *kind == row.kind);
        if let Some((_, most)) = allowed
            && row.ratio.is_none_or(|ratio| ratio > *most)
        {
            let ratio = row.ratio.unwrap_or(f64::NAN);
            let beside = row.kind.yardstick();
            faults.push(format!("{}: {ratio:.2} × {beside}, more than {most}", row.kind));
        }
    }
    if faults.is_empty() { Ok(()) } else { Err(Error::new(faults.join("; "))) }
}

/// Says what is going on where a person watches; the report on standard output stays clean.
fn progress(words: &str) {
    use std::io::IsTerminal;
    let mut out = std::io::stderr();
    if out.is_terminal() {
        // Nobody is harmed by a line that could not be shown.
        let _ = write!(out, "\r\x1b[K{words}").and_then(|()| out.flush());
    }
}
