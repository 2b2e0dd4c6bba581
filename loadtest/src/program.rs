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

/// The command line of programs with two scales: `[--quick] [--gateway FILE]`.
#[derive(Debug, PartialEq, Eq)]
pub struct Scaled {
    /// Only shows that it works, and measures nothing.
    pub is_quick: bool,
    /// The gateway's binary.
    pub gateway: PathBuf,
}

impl Scaled {
    /// Reads the command line; none where help is asked for.
    pub fn read(mut words: impl Iterator<Item = String>) -> Result<Option<Self>> {
        let (mut is_quick, mut gateway) = (false, None);
        while let Some(word) = words.next() {
            match word.as_str() {
                "--help" | "-h" => return Ok(None),
                "--quick" => is_quick = true,
                "--gateway" => gateway = Some(words.next().context("--gateway needs a value")?),
                _ => return Err(unknown(&word)),
            }
        }
        Ok(Some(Self { is_quick, gateway: gateway_or_neighbour(gateway)? }))
    }
}

/// The operands of a command line that has at most `most` of them and no option but `--help`;
/// none where help is asked for.
pub fn operands(words: impl Iterator<Item = String>, most: usize) -> Result<Option<Vec<String>>> {
    let mut operands = Vec::new();
    for word in words {
        if word == "--help" || word == "-h" {
            return Ok(None);
        }
        if word.starts_with('-') || operands.len() == most {
            return Err(unknown(&word));
        }
        operands.push(word);
    }
    Ok(Some(operands))
}

/// What is said of a word that means nothing.
#[must_use]
pub fn unknown(word: &str) -> Error {
    Error::new(format!("`{word}` means nothing here"))
}

/// The binary that was named, else the gateway beside this program.
pub fn gateway_or_neighbour(named: Option<String>) -> Result<PathBuf> {
    named.map_or_else(|| Ok(folder()?.join("tidegate")), |named| Ok(named.into()))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> impl Iterator<Item = String> {
        line.split_whitespace().map(ToOwned::to_owned)
    }

    #[test]
    fn a_scale_and_a_gateway_are_read() {
        let read = |line| Scaled::read(words(line));
        let named = Scaled { is_quick: true, gateway: "x/tidegate".into() };
        assert_eq!(read("--quick --gateway x/tidegate").unwrap(), Some(named));
        let usual = read("").unwrap().unwrap();
        assert!(!usual.is_quick && usual.gateway.ends_with("tidegate"));
        assert_eq!(read("--quick --help").unwrap(), None);
        for wrong in ["--gateway", "--slow", "tidegate"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn operands_are_no_options_and_no_more_than_there_is_use_for() {
        let read = |line| operands(words(line), 2);
        assert_eq!(read("10 tidegate").unwrap(), Some(vec!["10".into(), "tidegate".into()]));
        assert_eq!(read("").unwrap(), Some(Vec::new()));
        assert_eq!(read("10 -h").unwrap(), None);
        for wrong in ["--connections 10", "1 2 3"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
