//! `tidegate upgrade`.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use super::args::UpgradeArgs;
use super::{err, out};
use crate::clock;
use crate::model::load_file;
use crate::server;

/// Between two looks at whether a check is done.
const LOOK: Duration = Duration::from_millis(20);

/// How long the new binary may take to judge the configuration where no time was stated.
const CHECK: Duration = Duration::from_mins(1);

pub(super) fn upgrade(args: &UpgradeArgs) -> ExitCode {
    match replace(args) {
        Ok(pid) => {
            out(&format!("upgraded: process {pid} serves\n"));
            ExitCode::SUCCESS
        }
        Err(why) => {
            err(&format!("not upgraded: {}\n", why.trim_end()));
            ExitCode::FAILURE
        }
    }
}

fn replace(args: &UpgradeArgs) -> Result<i32, String> {
    let stated = args.timeout.as_deref().map(|text| {
        let span = humantime::parse_duration(text).map_err(|error| error.to_string());
        let span = span.and_then(|span| {
            let is_possible = span <= server::TIMEOUT_MAX;
            is_possible.then_some(span).ok_or_else(|| "at most 24h".to_owned())
        });
        span.map_err(|why| format!("--timeout {text}: {why}"))
    });
    let stated = stated.transpose()?;
    let begun = clock::now().tick.instant();
    let program = program(args.binary.as_deref())?;
    check(&program, &args.file, begun + stated.unwrap_or(CHECK))?;
    err(&format!("{} accepts {}\n", program.display(), args.file.display()));
    // What is wrong with it for this binary has been right for the new one.
    let Some(config) = load_file(&args.file).config else {
        return Err(format!("{}: cannot be read", args.file.display()));
    };
    let socket = config.server.upgrade_socket;
    // A time that was stated is for all of it.
    let left = match stated {
        Some(whole) => (begun + whole).saturating_duration_since(clock::now().tick.instant()),
        None => config.server.upgrade_timeout.get(),
    };
    server::replace(Path::new(&socket), &program, left, |line| err(&format!("{line}\n")))
}

/// The binary as it was named, and not what links lead to: the next upgrade may lead elsewhere.
/// Without a name it is this one, wherever it is.
fn program(named: Option<&Path>) -> Result<PathBuf, String> {
    let program = match named {
        Some(named) => std::path::absolute(named),
        None => std::env::current_exe(),
    };
    program.map_err(|error| format!("the new binary cannot be named: {error}"))
}

/// Has the new binary judge the configuration.
fn check(program: &Path, file: &Path, until: Instant) -> Result<(), String> {
    let mut command = Command::new(program);
    command.arg("check").arg(file).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let begun = command.spawn().map_err(|error| format!("{}: {error}", program.display()))?;
    let (is_good, words) = finish(begun, until)
        .ok_or_else(|| format!("`{} check` does not come to an end", program.display()))?;
    if is_good {
        return Ok(());
    }
    let (program, file) = (program.display(), file.display());
    Err(format!("{program} does not accept {file}:\n{words}"))
}

/// Waits for the end of a process; nothing where that does not come in time. Gives whether it was
/// content, and what it said.
fn finish(mut child: Child, until: Instant) -> Option<(bool, String)> {
    let readers = [
        child.stdout.take().map(|stdout| std::thread::spawn(move || all_of(stdout))),
        child.stderr.take().map(|stderr| std::thread::spawn(move || all_of(stderr))),
    ];
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if clock::now().tick.instant() < until => std::thread::sleep(LOOK),
            _ => {
                let _ = child.kill();
                let _ = child.wait();
                return None;
            }
        }
    };
    let words = readers.into_iter().flatten().filter_map(|reader| reader.join().ok());
    Some((status.success(), words.collect()))
}

fn all_of(mut stream: impl Read) -> String {
    let mut bytes = Vec::new();
    // What came before an error is what there is.
    let _ = stream.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}
