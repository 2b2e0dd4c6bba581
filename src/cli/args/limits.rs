//! What can be typed about limits.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(in crate::cli) struct LimitsArgs {
    #[command(flatten)]
    pub(in crate::cli) running: Running,
    #[command(subcommand)]
    pub(in crate::cli) command: Option<LimitsCommand>,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum LimitsCommand {
    /// List the limits of a running gateway (also without this word).
    List(Running),
    /// Say how a counter stands.
    Show(OneCounter),
    /// Start a counter afresh, on every node.
    Reset(OneCounter),
    /// Say whom limits would have refused, by a gateway's access log.
    Simulate(SimulateArgs),
}

/// Where a running gateway is, and how to answer.
#[derive(Debug, Args)]
pub(in crate::cli) struct Running {
    /// The address of its admin listener; without it, that of the configuration.
    #[arg(long, value_name = "HOST:PORT")]
    pub(in crate::cli) admin: Option<String>,
    /// Its configuration, for the address of the admin listener and its token. The token may be
    /// given by the environment variable `TIDEGATE_ADMIN_TOKEN` instead.
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) config: Option<PathBuf>,
    /// Print as JSON.
    #[arg(long)]
    pub(in crate::cli) json: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct OneCounter {
    #[command(flatten)]
    pub(in crate::cli) running: Running,
    /// The limit's name, or the name of a counter as `tidegate explain` prints it (`rl2:...`).
    #[arg(value_name = "LIMIT|KEY")]
    pub(in crate::cli) limit: String,
    /// What the limit counts by: `tenantId=acme`, `userId=u1`, `clientIp=192.0.2.1`,
    /// `header:NAME=VALUE`; a claim that is not text as JSON, `claim:NAME:=5`.
    #[arg(value_name = "PART=VALUE", value_parser = part)]
    pub(in crate::cli) parts: Vec<(String, String)>,
    /// The caller's plan, where plans have numbers of their own.
    #[arg(long)]
    pub(in crate::cli) plan: Option<String>,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct SimulateArgs {
    /// The access log, JSON lines as a gateway writes them; `-` is standard input.
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) log: PathBuf,
    /// A file with `rateLimits`, alone or in a whole configuration. A limit that routes of the
    /// file name gets their requests only, any other gets all.
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) policy: PathBuf,
    /// Only this limit; without it, all of the file.
    #[arg(long, value_name = "NAME")]
    pub(in crate::cli) limit: Option<String>,
    /// Look for the smallest limit that refuses fewer requests than this share; `0%` is none.
    #[arg(long, value_name = "SHARE", default_value = "1%", value_parser = share)]
    pub(in crate::cli) refuse_under: f64,
    /// How many of those refused most often are shown.
    #[arg(long, value_name = "NUMBER", default_value_t = 10)]
    pub(in crate::cli) top: usize,
    /// Print as JSON.
    #[arg(long)]
    pub(in crate::cli) json: bool,
}

/// `PART=VALUE`; the name ends at the first `=`.
fn part(text: &str) -> Result<(String, String), &'static str> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("not PART=VALUE, such as tenantId=acme"),
    }
}

/// A share in percent, as a fraction.
fn share(text: &str) -> Result<f64, &'static str> {
    let number = text.strip_suffix('%').unwrap_or(text);
    let is_plain = number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    match number.parse::<f64>() {
        Ok(percent) if is_plain && percent <= 100.0 => Ok(percent / 100.0),
        _ => Err("not a share from 0% to 100%, such as 1% or 0.1%"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_end_at_the_first_sign() {
        let pair = |name: &str, value: &str| Ok((name.to_owned(), value.to_owned()));
        assert_eq!(part("tenantId=acme"), pair("tenantId", "acme"));
        assert_eq!(part("userId=a=b"), pair("userId", "a=b"));
        assert_eq!(part("userId="), pair("userId", ""));
        assert_eq!(part("claim:n:=5"), pair("claim:n:", "5"));
        assert!(part("acme").is_err() && part("=acme").is_err());
    }

    #[test]
    fn shares_are_percent() {
        for (text, fraction) in [("1%", 0.01), ("0.1%", 0.001), ("5", 0.05), ("0%", 0.0)] {
            assert!((share(text).unwrap() - fraction).abs() < 1e-12, "{text}");
        }
        for wrong in ["", "%", "-1%", "101%", "1e3%", "nan%", "one"] {
            assert!(share(wrong).is_err(), "{wrong}");
        }
    }
}
