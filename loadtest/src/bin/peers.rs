//! `peers`: the same job through the gateway, a bare Pingora proxy and its peers.
//!
//! `make bench-peers`. In each scenario every server is started and looked at once; then each is
//! measured in turn, round after round, the first one another each time. Whoever does not do its
//! job is left out of the table and makes the run fail at its end; missed targets do not.

use std::process::ExitCode;

use tidegate_loadtest::h2load::Streams;
use tidegate_loadtest::options::Load;
use tidegate_loadtest::peers::check;
use tidegate_loadtest::peers::entry::{self, Entry};
use tidegate_loadtest::peers::options::{Options, USAGE};
use tidegate_loadtest::peers::scenario::{Protocol, Scenario};
use tidegate_loadtest::peers::server::{Programs, Server};
use tidegate_loadtest::peers::site::{HIGH, LOW, Round, Running, Site};
use tidegate_loadtest::peers::table::{Row, Table, targets};
use tidegate_loadtest::process::Cores;
use tidegate_loadtest::report::{machine, said};
use tidegate_loadtest::{Context, Error, Result, program};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    program::run("peers", USAGE, Options::read, async |options| run(&options).await).await
}

async fn run(options: &Options) -> Result<()> {
    let cores = Cores::find();
    let programs = programs(options)?;
    let folder = tempfile::tempdir().context("a folder for the run")?;
    let mut report = circumstances(options, cores, folder.path());
    print!("{report}");
    let site = Site::new(options, cores, &programs, folder.path()).await?;
    let mut tables = Vec::new();
    for scenario in &options.scenarios {
        let table = measure(options, &programs, &site, *scenario).await?;
        let text = table.markdown();
        print!("{text}");
        report.push_str(&text);
        tables.push(table);
    }
    site.stop().await?;
    let reached = targets(&tables);
    if !reached.is_empty() {
        let text = format!("\n## Targets\n\n{reached}");
        print!("{text}");
        report.push_str(&text);
    }
    if let Some(out) = &options.out {
        let json = serde_json::json!({
            "circumstances": circumstances(options, cores, folder.path()),
            "scenarios": tables.iter().map(Table::json).collect::<Vec<_>>(),
        });
        let files = [("md", report), ("json", format!("{json:#}\n"))];
        for (ending, text) in files {
            let file = out.with_extension(ending);
            std::fs::write(&file, text).context(file.display())?;
        }
    }
    let failed: Vec<String> = tables
        .iter()
        .flat_map(|table| {
            table.failed.iter().map(|(name, _)| format!("{}: {name}", table.scenario))
        })
        .collect();
    if failed.is_empty() {
        return Ok(());
    }
    Err(Error::new(format!("failed, see above: {}", failed.join(", "))))
}

fn programs(options: &Options) -> Result<Programs> {
    let here = program::folder()?;
    let folder = options.programs.as_deref().unwrap_or(&here);
    // Servers are started in other folders.
    let whole = |path: &std::path::Path| std::path::absolute(path).context(path.display());
    let gateway = options.gateway.clone().unwrap_or_else(|| here.join("tidegate"));
    let programs = Programs {
        gateway: whole(&gateway)?,
        bare_proxy: whole(&folder.join("bare_proxy"))?,
        origin: whole(&folder.join("origin"))?,
        peers: whole(&options.peers_folder)?,
    };
    for program in [&programs.gateway, &programs.bare_proxy, &programs.origin] {
        if !program.is_file() {
            let what = format!("{} is missing; see loadtest/README.md", program.display());
            return Err(Error::new(what));
        }
    }
    Ok(programs)
}

fn circumstances(options: &Options, cores: Cores, folder: &std::path::Path) -> String {
    let Load { connections, threads } = options.load;
    let Streams { connections: h2, each } = options.streams;
    let (rounds, seconds) = (options.rounds, options.seconds);
    let folder = folder.to_string_lossy();
    format!(
        "{}- redis: {}\n- files: {}\n\
         - settings: {connections} connections, {thread} thread(s); HTTP/2: {h2} connections with \
         {each} streams each; {rounds} rounds of {seconds} s\n",
        machine(cores),
        said("redis-server", &["--version"]),
        said("stat", &["--file-system", "--format=%T", &folder]),
        thread = threads,
    )
}

async fn measure(
    options: &Options,
    programs: &Programs,
    site: &Site<'_>,
    scenario: Scenario,
) -> Result<Table> {
    let mut table = Table {
        scenario,
        rows: Vec::new(),
        absent: entry::absent(scenario)
            .iter()
            .map(|(name, why)| ((*name).to_owned(), (*why).to_owned()))
            .collect(),
        failed: Vec::new(),
    };
    if scenario.protocol() == Protocol::H2 && programs.find("h2load").is_none() {
        table.absent.push(("all".to_owned(), missing("h2load")));
        return Ok(table);
    }
    let batch = site.batch(scenario)?;
    let mut running: Vec<(Running, Vec<Round>)> = Vec::new();
    for entry in entry::entries(scenario).into_iter().filter(|entry| options.wants(entry.name)) {
        if let Some(what) = lacks(programs, scenario, entry) {
            table.absent.push((entry.name.to_owned(), missing(what)));
            continue;
        }
        progress(&format!("{scenario}: looking at {}", entry.name));
        match ready(site, scenario, entry).await {
            Ok(one) => match site.warm_up(&batch, &one).await {
                Ok(()) => running.push((one, Vec::new())),
                Err(error) => table.failed.push((entry.name.to_owned(), error.to_string())),
            },
            Err(error) => table.failed.push((entry.name.to_owned(), error.to_string())),
        }
    }
    for round in 0..options.rounds {
        let mut turn: Vec<usize> = (0..running.len()).collect();
        // Whoever comes first finds the machine rested.
        turn.rotate_left(round % running.len().max(1));
        let mut broken = Vec::new();
        for at in turn {
            let Some((one, rounds)) = running.get_mut(at) else { continue };
            progress(&format!(
                "{scenario}: round {} of {}: {}",
                round + 1,
                options.rounds,
                one.entry.name
            ));
            match site.measure(&batch, one, options.seconds).await {
                Ok(round) => rounds.push(round),
                Err(error) => {
                    table.failed.push((one.entry.name.to_owned(), error.to_string()));
                    broken.push(one.entry.name);
                }
            }
        }
        running.retain(|(one, _)| !broken.contains(&one.entry.name));
    }
    progress("");
    for (one, rounds) in running {
        let (entry, agreed) = (one.entry, &one.agreed);
        let parts = [entry.note, agreed].into_iter().filter(|part| !part.is_empty());
        table.rows.push(Row {
            name: entry.name,
            version: entry.server.version(programs),
            note: parts.collect::<Vec<_>>().join("; "),
            rounds,
            peak_bytes: one.peak_bytes()?,
        });
        one.stop().await?;
    }
    Ok(table)
}

/// Starts a server and has it looked at: first one with a limit that is reached, where there is a
/// limit, then the one that will be timed.
async fn ready(site: &Site<'_>, scenario: Scenario, entry: Entry) -> Result<Running> {
    if scenario.limits() && entry.server != Server::Bare {
        let limited = site.start(scenario, entry, LOW).await?;
        check::limit(site, &limited).await?;
        limited.stop().await?;
    }
    let running = site.start(scenario, entry, HIGH).await?;
    check::job(site, &running).await?;
    Ok(running)
}

/// What an entry would need and this machine lacks.
fn lacks(programs: &Programs, scenario: Scenario, entry: Entry) -> Option<&'static str> {
    if entry.server.program(programs).is_none() {
        return Some(entry.server.name());
    }
    let lua = entry.server == Server::Nginx && scenario == Scenario::Redis;
    (lua && programs.nginx_modules().is_none()).then_some("NGINX's Lua module")
}

fn missing(what: &str) -> String {
    format!("{what} is not here (`make setup-peers` gets it)")
}

/// Says what is going on where a person watches; the report on standard output stays clean.
fn progress(words: &str) {
    use std::io::{IsTerminal, Write};
    let mut out = std::io::stderr();
    if out.is_terminal() {
        // Nobody is harmed by a line that could not be shown.
        let _ = write!(out, "\r\x1b[K{words}").and_then(|()| out.flush());
    }
}
