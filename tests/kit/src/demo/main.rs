//! `make demo`: the gateway with everything around it, on this machine, stopped by Ctrl-C.
//!
//! Three services, an identity provider and a `redis-server` are started, `conf/demo.yaml` is
//! run by the gateway, and lines to copy are printed. `--selftest` sends the printed requests
//! itself and ends with 0 when each was answered as printed.

mod parts;
mod steps;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use tidegate_kit::{Error, Exit, Result};
use tokio::signal::unix::{SignalKind, signal};

use parts::Parts;

/// What the command line asks for.
struct Arguments {
    gateway: PathBuf,
    selftest: bool,
}

const USAGE: &str = "usage: tidegate-demo [--gateway PATH] [--selftest]

Run it in the repository's root folder, after `cargo build`.
  --gateway PATH  the gateway's binary (default: beside this one)
  --selftest      send the printed requests, check the answers, stop";

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = match read_arguments(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(error) => {
            eprintln!("{error}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match run(&arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tidegate-demo: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> Result<()> {
    // Asked for before anything is started, so that no moment is left in which Ctrl-C would
    // leave processes behind.
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut parts = tokio::select! {
        parts = Parts::start(&arguments.gateway) => parts?,
        _ = interrupt.recv() => return Ok(()),
        _ = terminate.recv() => return Ok(()),
    };
    let result = if arguments.selftest {
        steps::check(&parts).await
    } else {
        println!("{}", steps::describe(&parts)?);
        tokio::select! {
            _ = interrupt.recv() => Ok(()),
            _ = terminate.recv() => Ok(()),
            ended = parts.gateway_ended() => Err(ended),
        }
    };
    eprintln!("stopping");
    match parts.stop().await? {
        Exit::Code(0) => result,
        // On Ctrl-C the terminal interrupts the gateway too; that is no failure of the demo.
        _ if !arguments.selftest => result,
        other => result.and(Err(Error::new(format!("the gateway ended with {other:?}")))),
    }
}

fn read_arguments(mut words: impl Iterator<Item = String>) -> Result<Arguments> {
    let mut gateway = None;
    let mut selftest = false;
    while let Some(word) = words.next() {
        match word.as_str() {
            "--gateway" => gateway = words.next().map(PathBuf::from),
            "--selftest" => selftest = true,
            other => return Err(Error::new(format!("unknown argument {other}"))),
        }
    }
    let beside = || Some(std::env::current_exe().ok()?.with_file_name("tidegate"));
    // Relative where it can be: it is printed in lines to copy.
    let here = std::env::current_dir()?;
    let gateway = gateway
        .or_else(beside)
        .map(|path| path.strip_prefix(&here).map(Path::to_owned).unwrap_or(path))
        .filter(|path| path.is_file())
        .ok_or_else(|| Error::new("the gateway's binary is missing; `make build` makes it"))?;
    Ok(Arguments { gateway, selftest })
}
