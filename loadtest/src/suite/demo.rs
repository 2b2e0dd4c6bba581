//! The demo as something to put under load: `tidegate-demo` in a process of its own.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use tokio::process::Command;

use crate::process::Process;
use crate::{Context, Error, Result};

/// The last words that the demo prints.
const LAST: &str = "Ctrl-C stops everything.";
/// The tokens that it prints.
const TOKENS: [&str; 4] = ["READER", "WRITER", "EXPIRED", "SUSPENDED"];

/// A demo that runs; it ends with this value.
pub struct Demo {
    process: Process,
    gateway: PathBuf,
    printed: Printed,
}

/// What the demo prints that scenarios need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Printed {
    /// Where the gateway listens.
    pub base_url: String,
    /// Its admin listener, as `address:port`.
    pub admin: String,
    /// Name and value of each token.
    pub tokens: Vec<(String, String)>,
    /// The file that it runs.
    pub config: PathBuf,
}

impl Demo {
    /// Starts it, in the repository's root folder; what it says goes to a file in `folder`.
    pub async fn start(program: &Path, gateway: &Path, folder: &Path) -> Result<Self> {
        let program = program.canonicalize().context(program.display())?;
        let gateway = gateway.canonicalize().context(gateway.display())?;
        let mut command = Command::new(program);
        command.arg("--gateway").arg(&gateway);
        let mut process = Process::spawn("demo", command, folder)?;
        let log = folder.join("demo.log");
        let read = || std::fs::read_to_string(&log).unwrap_or_default();
        process.ready(async || read().contains(LAST)).await?;
        let printed = parse(&read()).context("the demo's addresses and tokens")?;
        Ok(Self { process, gateway, printed })
    }

    /// What it printed.
    #[must_use]
    pub const fn printed(&self) -> &Printed {
        &self.printed
    }

    /// Memory of its gateway, in bytes.
    #[must_use]
    pub fn resident_bytes(&self) -> u64 {
        self.process.resident_bytes_below(&self.gateway)
    }

    /// Stops it and everything that it started.
    pub async fn stop(self) -> Result<()> {
        self.process.stop().await
    }
}

impl Printed {
    /// What scripts are told, in their environment.
    #[must_use]
    pub fn settings(&self) -> Vec<(String, OsString)> {
        let tokens = self.tokens.iter().map(|(name, value)| (name.clone(), value.into()));
        tokens.chain([("BASE_URL".to_owned(), OsString::from(&self.base_url))]).collect()
    }

    /// The token of that name.
    pub fn token(&self, name: &str) -> Result<&str> {
        let found = self.tokens.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str()).context(format_args!("no token {name}"))
    }

    /// The address in the base URL.
    pub fn address(&self) -> Result<std::net::SocketAddr> {
        let address = self.base_url.strip_prefix("http://").unwrap_or(&self.base_url);
        address
            .trim_end_matches('/')
            .parse()
            .map_err(|_| Error::new(format!("{}: not http://ADDRESS:PORT", self.base_url)))
    }
}

fn parse(text: &str) -> Option<Printed> {
    let after = |before: &str| {
        let rest = text.split_once(before)?.1;
        rest.split_ascii_whitespace().next()
    };
    let tokens = TOKENS.iter().map(|name| {
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))?;
        Some(((*name).to_owned(), value.to_owned()))
    });
    Some(Printed {
        base_url: after("Tidegate runs at ")?.trim_end_matches('.').to_owned(),
        admin: admin(text)?.to_owned(),
        tokens: tokens.collect::<Option<_>>()?,
        config: after("The configuration is ")?.trim_end_matches(';').into(),
    })
}

/// The address in `curl http://ADDRESS/livez`.
fn admin(text: &str) -> Option<&str> {
    text.lines().find_map(|line| line.strip_prefix("curl http://")?.strip_suffix("/livez"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_demo_prints_is_read() {
        let text = "\nTidegate runs at http://127.0.0.1:8080. Copy these first:\n\n\
                    EXPIRED=a.b.c\nREADER=d.e.f\nSUSPENDED=g.h.i\nWRITER=j.k.l\n\n\
                    curl -i 'http://127.0.0.1:8080/v1/orders'\n\
                    curl http://127.0.0.1:9901/livez\n\n\
                    The configuration is target/demo/demo.yaml; change it. \
                    Ctrl-C stops everything.\n";
        let printed = parse(text).unwrap();
        assert_eq!(printed.base_url, "http://127.0.0.1:8080");
        assert_eq!(printed.admin, "127.0.0.1:9901");
        assert_eq!(printed.token("WRITER").unwrap(), "j.k.l");
        assert_eq!(printed.config, Path::new("target/demo/demo.yaml"));
        assert_eq!(printed.address().unwrap().port(), 8080);
        assert!(printed.token("NOBODY").is_err());
        assert_eq!(parse(&text.replace("WRITER=", "")), None);
    }
}
