//! The command line of `peers`.

use std::path::PathBuf;

use super::entry::entries;
use super::scenario::Scenario;
use crate::h2load::Streams;
use crate::options::{Load, positive};
use crate::{Context, Error, Result};

/// How to use `peers`.
pub const USAGE: &str = "\
usage: peers [OPTION...]

Measures the same job through the gateway, a bare Pingora proxy, NGINX, HAProxy, Envoy, Traefik
and Caddy: processor time for each request, and what came through on one processor.

  --scenarios A,B,...  what to measure: plain, routes, jwt, jwt-new, whole, whole-new, redis,
                       hit-1k, hit-64k, tls, h2 (default: all)
  --peers A,B,...      whom, by the names in the tables; bare is always measured (default: all)
  --rounds N           how often each is measured, in turn (default: 5)
  --seconds N          how long each time (default: 4)
  --connections N      connections of wrk (default: 64)
  --threads N          threads of wrk (default: 1)
  --h2 C,S             connections of h2load and streams on each (default: 2,32)
  --tokens N           tokens for the scenarios with new ones; they then begin cold (default: as
                       many as fill the gateway's cache before and last for the rounds)
  --quick              one round of one second each, few tokens: shows that all of it works
  --gateway PATH       the gateway's binary (default: `tidegate` beside this program)
  --bin-dir FOLDER     folder of bare_proxy and origin (default: that of this program)
  --peers-dir FOLDER   what `make setup-peers` filled (default: .cache/peers)
  --out PREFIX         write PREFIX.md and PREFIX.json as well
  --help               print this";

/// How long load with new tokens is sent before it is measured: until the gateway's cache of
/// 65,536 is about full, since what is kept stays and all others are as new as the first.
pub const WARM_UP_NEW_SECONDS: u64 = 5;

/// More new tokens than one processor verifies in a second, by a quarter. Where it verifies more
/// still, the first ones come again and are known: the round says so and does not count.
const NEW_TOKENS_A_SECOND: u64 = 24_000;

/// What a run measures, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// The jobs.
    pub scenarios: Vec<Scenario>,
    /// Names of entries; none for all.
    pub peers: Option<Vec<String>>,
    /// How often.
    pub rounds: usize,
    /// How long each time, in seconds.
    pub seconds: u64,
    /// What wrk is told.
    pub load: Load,
    /// What h2load is told.
    pub streams: Streams,
    /// Tokens that are made for scenarios with new ones; none for as many as it takes.
    pub tokens: Option<usize>,
    /// The gateway's binary; none for the one beside this program.
    pub gateway: Option<PathBuf>,
    /// Folder of the other programs of this workspace; none for that of this program.
    pub programs: Option<PathBuf>,
    /// What `make setup-peers` filled.
    pub peers_folder: PathBuf,
    /// Where to write the report; none for standard output only.
    pub out: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            scenarios: Scenario::ALL.to_vec(),
            peers: None,
            rounds: 5,
            seconds: 4,
            load: Load { connections: 64, threads: 1 },
            streams: Streams { connections: 2, each: 32 },
            tokens: None,
            gateway: None,
            programs: None,
            peers_folder: ".cache/peers".into(),
            out: None,
        }
    }
}

impl Options {
    /// Reads the command line; none where help is asked for.
    pub fn read(mut words: impl Iterator<Item = String>) -> Result<Option<Self>> {
        let mut options = Self::default();
        while let Some(word) = words.next() {
            match word.as_str() {
                "--help" | "-h" => return Ok(None),
                "--quick" => {
                    options.rounds = 1;
                    options.seconds = 1;
                    // A second of one server uses fewer than that.
                    options.tokens = Some(20_000);
                    continue;
                }
                _ => {}
            }
            let value = words.next().context(format_args!("{word} needs a value"))?;
            let number = || positive(&word, &value);
            match word.as_str() {
                "--scenarios" => {
                    options.scenarios = value.split(',').map(scenario).collect::<Result<_>>()?;
                }
                "--peers" => options.peers = Some(names(&value)?),
                "--rounds" => options.rounds = number()? as usize,
                "--seconds" => options.seconds = number()?.into(),
                "--connections" => options.load.connections = number()?,
                "--threads" => options.load.threads = number()?,
                "--tokens" => options.tokens = Some(number()? as usize),
                "--h2" => {
                    let (connections, each) = value.split_once(',').context("--h2 takes C,S")?;
                    let [connections, each] = [connections, each].map(|n| positive("--h2", n));
                    options.streams = Streams { connections: connections?, each: each? };
                }
                "--gateway" => options.gateway = Some(value.into()),
                "--bin-dir" => options.programs = Some(value.into()),
                "--peers-dir" => options.peers_folder = value.into(),
                "--out" => options.out = Some(value.into()),
                _ => return Err(Error::new(format!("there is no option {word}"))),
            }
        }
        Ok(Some(options))
    }

    /// How many tokens are made for scenarios with new ones: what was asked for, else enough for
    /// warming up and for every second of every round.
    #[must_use]
    pub fn tokens_made(&self) -> usize {
        let seconds = WARM_UP_NEW_SECONDS + self.seconds * self.rounds as u64;
        self.tokens.unwrap_or_else(|| usize::try_from(seconds * NEW_TOKENS_A_SECOND).unwrap_or(0))
    }

    /// Whether an entry is to be measured.
    #[must_use]
    pub fn wants(&self, name: &str) -> bool {
        let named = |names: &Vec<String>| names.iter().any(|wanted| wanted == name);
        name == "bare" || self.peers.as_ref().is_none_or(named)
    }
}

fn scenario(name: &str) -> Result<Scenario> {
    let known = Scenario::ALL.into_iter().find(|scenario| scenario.name() == name);
    known.context(format_args!("there is no scenario `{name}`"))
}

fn names(list: &str) -> Result<Vec<String>> {
    let one = |name: &str| {
        let there = Scenario::ALL
            .into_iter()
            .any(|scenario| entries(scenario).iter().any(|entry| entry.name == name));
        if there { Ok(name.to_owned()) } else { Err(Error::new(format!("no peer `{name}`"))) }
    };
    list.split(',').map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Option<Options>> {
        Options::read(line.split_whitespace().map(ToOwned::to_owned))
    }

    #[test]
    fn the_command_line_is_read() {
        let options = read("--quick --scenarios h2,plain --peers envoy-cached --h2 4,16");
        let options = options.unwrap().unwrap();
        assert_eq!(options.scenarios, [Scenario::H2, Scenario::Plain]);
        assert_eq!((options.rounds, options.seconds), (1, 1));
        assert_eq!(options.streams, Streams { connections: 4, each: 16 });
        assert!(options.wants("bare") && options.wants("envoy-cached") && !options.wants("envoy"));
        assert!(read("").unwrap().unwrap().wants("caddy"));
        assert!(read("--help").unwrap().is_none());
        for bad in ["--peers squid", "--scenarios x", "--rounds 0", "--rounds", "--h2 3", "--x 1"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
