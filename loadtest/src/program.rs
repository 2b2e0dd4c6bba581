//! What the programs of this package have in common: a command line, a verdict, an orderly end.

use std::env::Args;
use std::iter::Skip;
use std::path::PathBuf;
use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};

use crate::{Context, Error, Result};

/// The words of a command line after the program's name.
pub type Words = Skip<Args>;

/// Runs a program: `read` makes options of the command line, or nothing where help is asked for;
/// `work` does what they say.
///
/// Ends with 0 when the work succeeded, 1 when it failed, 2 when the command line is wrong.
pub async fn run<O>(
    name: &str,
    usage: &str,
    read: impl FnOnce(Words) -> Result<Option<O>>,
    work: impl AsyncFnOnce(O) -> Result<()>,
) -> ExitCode {
    let options = match read(std::env::args().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => {
            println!("{usage}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("{name}: {error}\n\n{usage}");
            return ExitCode::from(2);
        }
    };
    match unless_interrupted(work(options)).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{name}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Every process that is started ends with the value that stands for it, so that dropping the
/// work in the middle stops them all.
async fn unless_interrupted(work: impl Future<Output = Result<()>>) -> Result<()> {
    let mut interrupt = signal(SignalKind::interrupt()).context("signals")?;
    let mut terminate = signal(SignalKind::terminate()).context("signals")?;
    tokio::select! {
        result = work => result,
        _ = interrupt.recv() => Err(Error::new("interrupted")),
        _ = terminate.recv() => Err(Error::new("told to stop")),
    }
}

/// The folder of this program, where its neighbours are.
pub fn folder() -> Result<PathBuf> {
    let here = std::env::current_exe().context("the folder of this program")?;
    here.parent().map(PathBuf::from).context("the folder of this program")
}
