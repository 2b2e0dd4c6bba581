//! `latency`: what the gateway adds to the latency of the service behind it, at a constant rate.
//!
//! Requests are due at a constant rate whether or not earlier ones were answered, and their
//! latency counts from when they were due (`open_loop`). The origin is asked directly and through
//! the gateway in turn. Fails on any error, and where the median of the rounds is above the budget of
//! what may be added (R007, R008).

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;
use tidegate_loadtest::latency::{Budget, LATE_MS, Measured, PERCENTILES, Plan, Target, measure};
use tidegate_loadtest::options::positive;
use tidegate_loadtest::process::Cores;
use tidegate_loadtest::report::{facts, machine, said};
use tidegate_loadtest::{Context, Error, Result, program};

const USAGE: &str = "\
usage: latency [OPTION...]

Measures what the gateway adds to the latency of the service behind it, at a constant rate.

  --gateway PATH       the gateway's binary (default: `tidegate` beside this program)
  --targets A,B,...    bare (a bare Pingora proxy instead of the gateway), plain, guarded (JWT and a limit among 1,000 routes), shared (the same with
                       the limit in Redis); default: all
  --rounds N           how often each is measured, in turn with the origin (default: 7)
  --seconds N          how long each stretch is (default: 3)
  --rate N             requests a second (default: half of what the target can do, which is
                       looked for first)
  --connections N      connections, at most (default: 64)
  --budget NAME=TIME   what may be added at p50, p95, p99, p99.9, in ms or us; repeatable
                       (default: p50=1ms, p99=5ms)
  --json FILE          write everything there, too
  --help               print this";

struct Options {
    plan: Plan,
    budget: Vec<Budget>,
    json: Option<PathBuf>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    program::run("latency", USAGE, read, run).await
}

fn read(mut words: impl Iterator<Item = String>) -> Result<Option<Options>> {
    let here = program::folder()?;
    let plan = Plan {
        gateway: here.join("tidegate"),
        origin: here.join("origin"),
        bare: here.join("bare_proxy"),
        targets: Target::ALL.to_vec(),
        rounds: 7,
        seconds: 3,
        connections: 64,
        rate: None,
    };
    let mut options = Options { plan, budget: Budget::DEFAULT.to_vec(), json: None };
    while let Some(word) = words.next() {
        if word == "--help" || word == "-h" {
            return Ok(None);
        }
        let value = words.next().context(format_args!("{word} needs a value"))?;
        let number = || positive(&word, &value);
        match word.as_str() {
            "--gateway" => options.plan.gateway = value.into(),
            "--targets" => {
                options.plan.targets = value.split(',').map(target).collect::<Result<_>>()?;
            }
            "--rounds" => options.plan.rounds = number()?,
            "--seconds" => options.plan.seconds = number()?.into(),
            "--rate" => options.plan.rate = Some(number()?),
            "--connections" => options.plan.connections = number()? as usize,
            "--budget" => Budget::read(&value)?.replace(&mut options.budget),
            "--json" => options.json = Some(value.into()),
            _ => return Err(Error::new(format!("there is no option {word}"))),
        }
    }
    Ok(Some(options))
}

fn target(name: &str) -> Result<Target> {
    let known = Target::ALL.into_iter().find(|target| target.name() == name);
    known.context(format_args!("there is no target `{name}`"))
}

async fn run(options: Options) -> Result<()> {
    let cores = Cores::find();
    let Options { plan, budget, json } = options;
    print!("{}", machine(cores));
    let version = said(&plan.gateway.display().to_string(), &["--version"]);
    println!("- gateway: {version}, {}", plan.gateway.display());
    println!(
        "- settings: {} rounds of {} s each way, at most {} connections\n",
        plan.rounds, plan.seconds, plan.connections
    );
    let all = measure(&plan, cores, |words| eprintln!("{words}")).await?;
    println!("{}", table(&all));
    let verdicts = judge(&all, &budget);
    for (words, _) in &verdicts {
        println!("- {words}");
    }
    let late = |one: &Measured| one.through.late.percentile_ms(99.0);
    for one in all.iter().filter(|one| late(one) > LATE_MS) {
        println!(
            "- {}: the load generator was {:.1} ms late at its 99th percentile; part of both \
             latencies is its own",
            one.target.name(),
            late(one)
        );
    }
    if let Some(file) = json {
        let thresholds: Vec<_> =
            verdicts.iter().map(|(words, good)| json!({"what": words, "ok": good})).collect();
        let facts: serde_json::Map<_, _> =
            facts(cores).into_iter().map(|(key, value)| (key.to_owned(), json!(value))).collect();
        let value = json!({
            "environment": facts,
            "gateway": version,
            "rounds": plan.rounds,
            "seconds": plan.seconds,
            "budgetMs": budget.iter().map(|one| (one.name.to_owned(), json!(one.most_ms)))
                .collect::<serde_json::Map<_, _>>(),
            "targets": all.iter().map(Measured::to_json).collect::<Vec<_>>(),
            "thresholds": thresholds,
        });
        std::fs::write(&file, format!("{value:#}\n")).context(file.display())?;
    }
    let missed = verdicts.iter().filter(|(_, good)| !good).count();
    if missed == 0 { Ok(()) } else { Err(Error::new(format!("{missed} thresholds were missed"))) }
}

/// The table, in Markdown, four rows for each target: medians of the rounds, and the worst one.
fn table(all: &[Measured]) -> String {
    let mut lines = vec![
        "| target | peak/s | rate/s | busy | way | p50 ms | p95 ms | p99 ms | p99.9 ms | errors |"
            .to_owned(),
        "|---|--:|--:|--:|---|--:|--:|--:|--:|--:|".to_owned(),
    ];
    for one in all {
        let figures = |at: &dyn Fn(f64) -> f64| {
            PERCENTILES.map(|(_, percent)| format!("{:.3}", at(percent))).join(" | ")
        };
        let peak = one.peak.map_or_else(|| "-".to_owned(), |peak| format!("{peak:.0}"));
        let head = format!(
            "| {} | {peak} | {} | {:.0} % |",
            one.target.name(),
            one.rate,
            one.busy * 100.0
        );
        let direct = figures(&|percent| one.ways_ms(percent)[0]);
        let through = figures(&|percent| one.ways_ms(percent)[1]);
        let added = figures(&|percent| one.added_ms(percent));
        let worst = figures(&|percent| one.worst_ms(percent));
        lines.push(format!("{head} direct | {direct} | {} |", one.direct.errors));
        lines.push(format!("| | | | | through | {through} | {} |", one.through.errors));
        lines.push(format!("| | | | | **added** | {added} | |"));
        lines.push(format!("| | | | | in the worst round | {worst} | |"));
    }
    lines.push(String::new());
    lines.join("\n")
}

/// What was asked of each target, and whether it held.
fn judge(all: &[Measured], budget: &[Budget]) -> Vec<(String, bool)> {
    let mut verdicts = Vec::new();
    // What a bare proxy adds is said, not judged: it is the machine's part.
    for one in all.iter().filter(|one| one.target != Target::Bare) {
        let name = one.target.name();
        for Budget { name: at, percent, most_ms } in budget {
            let added = one.added_ms(*percent);
            let good = added <= *most_ms;
            let word = if good { "held" } else { "MISSED" };
            verdicts.push((
                format!("{name}: {added:.3} ms added at {at}, at most {most_ms} ms: {word}"),
                good,
            ));
        }
        let errors = one.errors();
        let words = [&one.direct, &one.through].iter().find_map(|way| way.first_error.clone());
        let first = words.map(|words| format!(" ({words})")).unwrap_or_default();
        let word = if errors == 0 { "held" } else { "MISSED" };
        verdicts
            .push((format!("{name}: {errors} errors{first}, none allowed: {word}"), errors == 0));
    }
    verdicts
}
