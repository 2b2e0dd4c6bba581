//! The command line of `compare`.

use std::path::PathBuf;

use crate::target::Kind;
use crate::{Context, Error, Result};

/// How to use `compare`.
pub const USAGE: &str = "\
usage: compare [OPTION...]

Measures the processor time per request of the gateway against a bare Pingora proxy.

  --gateway PATH       the gateway's binary (default: `tidegate` beside this program)
  --targets A,B,...    what to measure (default: all)
  --rounds N           how often each is measured, in turn (default: 3)
  --seconds N          how long each time (default: 5)
  --connections N      connections of wrk (default: 64)
  --threads N          threads of wrk (default: 1)
  --body BYTES         body of the origin's answers (default: 1024)
  --clients N          clients that limits tell apart (default: 100)
  --max-ratio NAME=R   fail when a target costs more than R times the bare proxy (auth: than
                       open); repeatable
  --help               print this";

/// What wrk is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Connections, all of them busy all the time.
    pub connections: u32,
    /// Threads.
    pub threads: u32,
}

/// What a run measures, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// The gateway's binary; none for the one beside this program.
    pub gateway: Option<PathBuf>,
    /// What is measured, in this order; yardsticks are always among it, before what they are for.
    pub targets: Vec<Kind>,
    /// How often.
    pub rounds: u32,
    /// How long each time, in seconds.
    pub seconds: u64,
    /// What wrk is told.
    pub load: Load,
    /// Body of the origin's answers, in bytes.
    pub body_bytes: usize,
    /// Clients that limits tell apart.
    pub clients: u32,
    /// The most that a target may cost, as a multiple of the yardstick.
    pub max_ratios: Vec<(Kind, f64)>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            gateway: None,
            targets: Kind::ALL.to_vec(),
            rounds: 3,
            seconds: 5,
            load: Load { connections: 64, threads: 1 },
            body_bytes: 1024,
            clients: 100,
            max_ratios: Vec::new(),
        }
    }
}

impl Options {
    /// Reads the command line; none where help is asked for.
    pub fn read(mut words: impl Iterator<Item = String>) -> Result<Option<Self>> {
        let mut options = Self::default();
        while let Some(word) = words.next() {
            if word == "--help" || word == "-h" {
                return Ok(None);
            }
            let value = words.next().context(format_args!("{word} needs a value"))?;
            let number = || positive(&word, &value);
            match word.as_str() {
                "--gateway" => options.gateway = Some(value.into()),
                "--targets" => options.targets = targets(&value)?,
                "--rounds" => options.rounds = number()?,
                "--seconds" => options.seconds = number()?.into(),
                "--connections" => options.load.connections = number()?,
                "--threads" => options.load.threads = number()?,
                "--body" => options.body_bytes = value.parse().context("--body")?,
                "--clients" => options.clients = number()?,
                "--max-ratio" => options.max_ratios.push(max_ratio(&value)?),
                _ => return Err(Error::new(format!("there is no option {word}"))),
            }
        }
        let Load { connections, threads } = options.load;
        if connections < threads {
            let what = format!("--connections {connections} is less than --threads {threads}");
            return Err(Error::new(what));
        }
        if let Some((kind, _)) =
            options.max_ratios.iter().find(|(kind, _)| !options.targets.contains(kind))
        {
            return Err(Error::new(format!("--max-ratio {kind}: {kind} is not measured")));
        }
        Ok(Some(options))
    }
}

fn targets(list: &str) -> Result<Vec<Kind>> {
    let mut targets = vec![Kind::Bare];
    for name in list.split(',') {
        let kind = kind(name)?;
        for kind in [kind.yardstick(), kind] {
            if !targets.contains(&kind) {
                targets.push(kind);
            }
        }
    }
    Ok(targets)
}

fn max_ratio(text: &str) -> Result<(Kind, f64)> {
    let (name, ratio) = text.split_once('=').context("--max-ratio takes NAME=RATIO")?;
    let ratio: f64 = ratio.parse().context(format_args!("--max-ratio {text}"))?;
    if !(ratio.is_finite() && ratio > 0.0) {
        return Err(Error::new(format!("--max-ratio {text}: not a ratio")));
    }
    Ok((kind(name)?, ratio))
}

fn kind(name: &str) -> Result<Kind> {
    Kind::ALL.into_iter().find(|kind| kind.name() == name).ok_or_else(|| {
        let names = Kind::ALL.map(Kind::name).join(", ");
        Error::new(format!("there is no target `{name}`; there are {names}"))
    })
}

/// Reads a number above zero.
pub fn positive(option: &str, value: &str) -> Result<u32> {
    let number: u32 = value.parse().context(format_args!("{option} {value}"))?;
    if number == 0 { Err(Error::new(format!("{option} is 0"))) } else { Ok(number) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Option<Options>> {
        Options::read(line.split_whitespace().map(ToOwned::to_owned))
    }

    #[test]
    fn the_yardstick_is_always_measured() {
        let options = read("--targets full,plain,full --rounds 5").unwrap().unwrap();
        assert_eq!(options.targets, [Kind::Bare, Kind::Full, Kind::Plain]);
        assert_eq!(options.rounds, 5);
        let options = read("--targets auth --max-ratio auth=1.08").unwrap().unwrap();
        assert_eq!(options.targets, [Kind::Bare, Kind::Open, Kind::Auth]);
        assert_eq!(read("").unwrap(), Some(Options::default()));
        assert_eq!(read("--help").unwrap(), None);
    }

    #[test]
    fn ratios_are_read_for_targets_that_are_measured() {
        let options = read("--max-ratio full=1.35 --max-ratio plain=1.1").unwrap().unwrap();
        assert_eq!(options.max_ratios, [(Kind::Full, 1.35), (Kind::Plain, 1.1)]);
        for bad in [
            "--max-ratio full",
            "--max-ratio full=x",
            "--max-ratio full=0",
            "--max-ratio nothing=1",
            "--targets plain --max-ratio full=1.35",
            "--rounds 0",
            "--rounds",
            "--connections 1 --threads 2",
            "--nothing 1",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
