//! `loadtest`: what `make loadtest` runs: the scenarios, and a report of them.
//!
//! Starts the demo, runs each scenario with k6 (or with wrk where there is none), measures the
//! latency that the gateway adds, and writes `report.json` and `report.html`. Fails when a
//! threshold was missed.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tidegate_loadtest::options::positive;
use tidegate_loadtest::page::{Report, html};
use tidegate_loadtest::process::Cores;
use tidegate_loadtest::report::{facts, said};
use tidegate_loadtest::suite::demo::Demo;
use tidegate_loadtest::suite::k6::K6;
use tidegate_loadtest::suite::stand_in::StandIn;
use tidegate_loadtest::suite::upgrade::{Replaceable, Upgraded};
use tidegate_loadtest::suite::{LATENCY, Outcome, SCENARIOS, Scenario, seconds_between};
use tidegate_loadtest::{Context, Error, Result, program};
use tokio::process::Command;
use tokio::time::{interval, sleep};

const USAGE: &str = "\
usage: loadtest [OPTION...]

Runs the scenarios of loadtest/k6 against the demo, in the repository's root folder, and writes a
report.

  --scenarios A,B,...  smoke, steady, limit, auth, cache, spike, soak, upgrade, latency (default:
                       all but soak)
  --gateway PATH       the gateway's binary (default: `tidegate` beside this program)
  --demo PATH          the demo's (default: `tidegate-demo` beside this program)
  --latency PATH       the program `latency` (default: beside this program)
  --k6 PATH            k6 (default: .cache/k6/k6, else the one in the PATH); `none` for wrk
  --seconds N          how long each scenario takes (default: what its script says)
  --upgrades N         how often the gateway is replaced (default: 3)
  --latency-rounds N   rounds of `latency` (default: 4)
  --out FOLDER         where the report goes (default: target/loadtest)
  --help               print this";

/// Seconds of load for each upgrade, with the time that the old process takes to leave.
const UPGRADE_SECONDS: u64 = 9;
/// Load before the first upgrade.
const BEFORE: Duration = Duration::from_secs(3);

struct Options {
    scenarios: Vec<String>,
    gateway: PathBuf,
    demo: PathBuf,
    latency: PathBuf,
    k6: Option<PathBuf>,
    seconds: Option<u64>,
    upgrades: u32,
    latency_rounds: u32,
    out: PathBuf,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    program::run("loadtest", USAGE, read, run).await
}

fn read(mut words: impl Iterator<Item = String>) -> Result<Option<Options>> {
    let here = program::folder()?;
    let short = SCENARIOS.iter().filter(|scenario| scenario.short);
    let names = short.map(|scenario| scenario.name).chain([LATENCY]);
    let mut options = Options {
        scenarios: names.map(ToOwned::to_owned).collect(),
        gateway: here.join("tidegate"),
        demo: here.join("tidegate-demo"),
        latency: here.join("latency"),
        k6: None,
        seconds: None,
        upgrades: 3,
        latency_rounds: 4,
        out: PathBuf::from("target/loadtest"),
    };
    while let Some(word) = words.next() {
        if word == "--help" || word == "-h" {
            return Ok(None);
        }
        let value = words.next().context(format_args!("{word} needs a value"))?;
        match word.as_str() {
            "--scenarios" => {
                options.scenarios = value.split(',').map(scenario).collect::<Result<_>>()?;
            }
            "--gateway" => options.gateway = value.into(),
            "--demo" => options.demo = value.into(),
            "--latency" => options.latency = value.into(),
            "--k6" => options.k6 = Some(value.into()),
            "--seconds" => options.seconds = Some(positive(&word, &value)?.into()),
            "--upgrades" => options.upgrades = positive(&word, &value)?,
            "--latency-rounds" => options.latency_rounds = positive(&word, &value)?,
            "--out" => options.out = value.into(),
            _ => return Err(Error::new(format!("there is no option {word}"))),
        }
    }
    Ok(Some(options))
}

fn scenario(name: &str) -> Result<String> {
    let known = name == LATENCY || SCENARIOS.iter().any(|scenario| scenario.name == name);
    let name = known.then(|| name.to_owned());
    name.context("--scenarios: there is no such scenario")
}

/// What sends the load.
enum Sender {
    K6(K6),
    Wrk(StandIn),
}

async fn run(options: Options) -> Result<()> {
    std::fs::create_dir_all(&options.out).context(options.out.display())?;
    let files = tempfile::tempdir().context("a folder for the run")?;
    let mut environment = environment(&options);
    let sender = sender(&options, files.path())?;
    let tool = match &sender {
        Sender::K6(k6) => k6.version.clone(),
        Sender::Wrk(_) => "not there: wrk sent the load".to_owned(),
    };
    environment.push(("k6".to_owned(), tool));
    let demo = Demo::start(&options.demo, &options.gateway, files.path()).await?;
    environment.push(("configuration".to_owned(), "conf/demo.yaml".to_owned()));
    let (mut outcomes, mut skipped) = (Vec::new(), Vec::new());
    for scenario in SCENARIOS {
        if !options.scenarios.iter().any(|name| name == scenario.name) {
            skipped.push(scenario.name.to_owned());
            continue;
        }
        eprintln!("{}: {}", scenario.name, scenario.what);
        let outcome = if scenario.name == "upgrade" {
            upgrades(&options, &sender, &demo, scenario, files.path()).await?
        } else {
            load(&options, &sender, &demo, scenario).await?
        };
        for threshold in outcome.thresholds.iter().filter(|threshold| !threshold.ok) {
            eprintln!("  MISSED: {}", threshold.what);
        }
        outcomes.push(outcome);
    }
    demo.stop().await?;
    let mut latency = None;
    if options.scenarios.iter().any(|name| name == LATENCY) {
        eprintln!("latency: what the gateway adds");
        latency = Some(measure_latency(&options).await?);
    } else {
        skipped.push(LATENCY.to_owned());
    }
    write(&options, &environment, &outcomes, latency.as_ref(), &skipped)
}

fn environment(options: &Options) -> Vec<(String, String)> {
    let facts = facts(Cores::find()).into_iter().filter(|(name, _)| *name != "processors");
    let called = |name| if name == "build" { "build of the load tester" } else { name };
    let mut all: Vec<_> = facts.map(|(name, value)| (called(name).to_owned(), value)).collect();
    let version = said(&options.gateway.display().to_string(), &["--version"]);
    all.push(("gateway".to_owned(), format!("{version}, {}", options.gateway.display())));
    all.push(("redis".to_owned(), said("redis-server", &["--version"])));
    let place = "scenarios share all processors with the sender, the services and Redis; \
                 `latency` keeps the gateway on one and the rest on another";
    all.push(("processors".to_owned(), place.to_owned()));
    all
}

fn sender(options: &Options, files: &Path) -> Result<Sender> {
    let scripts = Path::new("loadtest/k6");
    if !scripts.is_dir() {
        return Err(Error::new("loadtest/k6 is not here; run it in the repository's root folder"));
    }
    let found = match &options.k6 {
        Some(none) if none == Path::new("none") => None,
        Some(named) => Some(
            K6::find(named, scripts)
                .context(format_args!("--k6 {}: this does not run", named.display()))?,
        ),
        None => K6::find(Path::new(".cache/k6/k6"), scripts)
            .or_else(|| K6::find(Path::new("k6"), scripts)),
    };
    Ok(match found {
        Some(k6) => Sender::K6(k6),
        None => Sender::Wrk(StandIn::new(files)?),
    })
}

/// Runs a scenario against the demo, and watches the gateway's memory.
async fn load(
    options: &Options,
    sender: &Sender,
    demo: &Demo,
    scenario: Scenario,
) -> Result<Outcome> {
    let printed = demo.printed();
    let mut memory = Vec::new();
    let watch = async {
        let mut ticks = interval(Duration::from_secs(1));
        for second in 0..u32::MAX {
            ticks.tick().await;
            if let Ok(kib) = u32::try_from(demo.resident_bytes() / 1024) {
                memory.push((f64::from(second), f64::from(kib) / 1024.0));
            }
        }
    };
    let send = async {
        match sender {
            Sender::K6(k6) => {
                let settings = settings(printed.settings(), options.seconds);
                Ok(k6.run(scenario, &settings, &options.out).await?.outcome)
            }
            Sender::Wrk(wrk) => {
                wrk.run(scenario, printed.address()?, printed, options.seconds).await
            }
        }
    };
    let mut outcome = tokio::select! {
        outcome = send => outcome?,
        () = watch => return Err(Error::new("the watch ended")),
    };
    if !scenario.short {
        outcome.memory_mib = memory;
    }
    Ok(outcome)
}

fn settings(
    mut settings: Vec<(String, OsString)>,
    seconds: Option<u64>,
) -> Vec<(String, OsString)> {
    // Shells have a variable of this name, which is not meant.
    let seconds = seconds.map(|seconds| seconds.to_string()).unwrap_or_default();
    settings.push(("SECONDS".to_owned(), seconds.into()));
    settings
}

/// Replaces a gateway again and again while it is under load.
async fn upgrades(
    options: &Options,
    sender: &Sender,
    demo: &Demo,
    scenario: Scenario,
    files: &Path,
) -> Result<Outcome> {
    let printed = demo.printed();
    let mut node = Replaceable::start(&options.gateway, printed, files).await?;
    let address = node.address;
    let command = node.command();
    let seconds = u64::from(options.upgrades) * UPGRADE_SECONDS + 2 * BEFORE.as_secs();
    let send = async {
        match sender {
            Sender::K6(k6) => {
                let mut settings = settings(printed.settings(), Some(seconds));
                settings.push(("BASE_URL".to_owned(), format!("http://{address}").into()));
                let ran = k6.run(scenario, &settings, &options.out).await?;
                Ok::<_, Error>((ran.outcome, Some(ran.began)))
            }
            Sender::Wrk(wrk) => {
                Ok((wrk.run(scenario, address, printed, Some(seconds)).await?, None))
            }
        }
    };
    let mut done: Vec<Upgraded> = Vec::new();
    let mut trouble = None;
    let replace = async {
        sleep(BEFORE).await;
        for _ in 0..options.upgrades {
            match node.upgrade().await {
                Ok(upgraded) => done.push(upgraded),
                Err(error) => {
                    trouble = Some(error.to_string());
                    break;
                }
            }
        }
        // Load goes on for its time, whatever became of the upgrades.
        std::future::pending::<()>().await;
    };
    let (mut outcome, began) = tokio::select! {
        answered = send => answered?,
        () = replace => return Err(Error::new("the upgrades ended")),
    };
    for (upgraded, number) in done.iter().zip(1..) {
        if let Some(began) = began {
            outcome
                .events
                .push((seconds_between(began, upgraded.served), format!("{number} serves")));
            outcome.events.push((seconds_between(began, upgraded.gone), String::new()));
        }
    }
    let count = u32::try_from(done.len()).context("upgrades")?;
    outcome.ask(
        format!("upgrades under load =={}", options.upgrades),
        f64::from(count),
        count == options.upgrades,
    );
    outcome.notes.push(format!(
        "By `{command}`. Marks: a new process serves, and the one before it is gone. Half of the \
         requests came on new connections; orders were POSTs, which no client sends twice."
    ));
    let memory: Vec<String> =
        done.iter().map(|one| format!("{} MiB", one.resident_bytes >> 20)).collect();
    if !memory.is_empty() {
        let memory = memory.join(", ");
        outcome.notes.push(format!("Memory of each new process when it was alone: {memory}."));
    }
    outcome.notes.extend(trouble);
    Ok(outcome)
}

async fn measure_latency(options: &Options) -> Result<Value> {
    let file = options.out.join("latency.json");
    // What an earlier run left would be taken for this one's.
    let _ = std::fs::remove_file(&file);
    let status = Command::new(&options.latency)
        .arg("--gateway")
        .arg(&options.gateway)
        .arg("--rounds")
        .arg(options.latency_rounds.to_string())
        .arg("--json")
        .arg(&file)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .status()
        .await
        .context(options.latency.display())?;
    // Its verdict is in the file; without one it did not come so far.
    let text = std::fs::read_to_string(&file)
        .context(format_args!("latency ended: {status}; {}", file.display()))?;
    serde_json::from_str(&text).context(file.display())
}

fn write(
    options: &Options,
    environment: &[(String, String)],
    outcomes: &[Outcome],
    latency: Option<&Value>,
    skipped: &[String],
) -> Result<()> {
    let mut missed: Vec<String> = outcomes
        .iter()
        .flat_map(|outcome| outcome.thresholds.iter().map(move |one| (&outcome.name, one)))
        .filter(|(_, threshold)| !threshold.ok)
        .map(|(name, threshold)| format!("{name}: {}", threshold.what))
        .collect();
    let added = latency.and_then(|latency| latency.get("thresholds")?.as_array());
    for threshold in added.into_iter().flatten() {
        if threshold.get("ok") != Some(&Value::Bool(true)) {
            let what = threshold.get("what").and_then(Value::as_str).unwrap_or("latency");
            missed.push(format!("latency, {what}"));
        }
    }
    let report = Report { environment, outcomes, latency, skipped, missed: &missed };
    let value = json!({
        "environment": environment.iter().cloned().collect::<std::collections::BTreeMap<_, _>>(),
        "scenarios": outcomes.iter().map(Outcome::to_json).collect::<Vec<_>>(),
        "latency": latency,
        "notRun": skipped,
        "missed": missed,
    });
    let (page, data) = (options.out.join("report.html"), options.out.join("report.json"));
    std::fs::write(&page, html(&report)).context(page.display())?;
    std::fs::write(&data, format!("{value:#}\n")).context(data.display())?;
    println!("{}\n{}", page.display(), data.display());
    if missed.is_empty() {
        println!("every threshold held");
        return Ok(());
    }
    Err(Error::new(format!("{} thresholds were missed:\n  {}", missed.len(), missed.join("\n  "))))
}
