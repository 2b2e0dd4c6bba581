//! What can be typed.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

mod cache;
mod drill;
mod keys;
mod limits;

pub(super) use cache::{CacheCommand, PurgeArgs, ShowArgs, WhyArgs};
pub(super) use drill::DrillArgs;
pub(super) use keys::{
    CreateKey, Expiry, KeysCommand, ListKeys, OneKey, RotateKey, SetTenant, Stored, TenantsCommand,
};
pub(super) use limits::{LimitsArgs, LimitsCommand, OneCounter, Running, SimulateArgs};

/// Where packages put the configuration.
pub(super) const INSTALLED: &str = "/etc/tidegate/gateway.yaml";

/// An API gateway on Pingora: routing, identity, limits, caching and rollout, explained.
#[derive(Debug, Parser)]
#[command(name = "tidegate", version, about)]
pub(super) struct Cli {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Serve a configuration until told to stop.
    Run(RunArgs),
    /// Replace the running gateway by another binary, without losing a request.
    Upgrade(UpgradeArgs),
    /// Say everything that is wrong with a configuration.
    Check(CheckArgs),
    /// Say what would happen to a request, and why.
    Explain(Box<ExplainArgs>),
    /// Make a token for development, signed with a provider's `developmentKeyFile`.
    Token(Box<TokenArgs>),
    /// Print what services are told about callers, as a document.
    Headers(HeadersArgs),
    /// Make, list, replace and revoke the API keys of the database.
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Set, list and remove the tenants of the database.
    #[command(subcommand)]
    Tenants(TenantsCommand),
    /// List limits, look at single counters, reset one, or try limits on an access log.
    Limits(LimitsArgs),
    /// Look at kept answers, say why one is used or not, and purge them.
    #[command(subcommand)]
    Cache(CacheCommand),
    /// Have a running gateway read its configuration again, and say what became of it.
    Reload(ReloadArgs),
    /// Switch a fault on at a staging node, and hold what clients get against the failure table.
    Drill(Box<DrillArgs>),
    /// Print the JSON Schema of the configuration, for editors.
    Schema,
    /// Write man pages and shell completions, for packages.
    #[command(subcommand, hide = true)]
    Generate(GenerateCommand),
}

#[derive(Debug, Subcommand)]
pub(super) enum GenerateCommand {
    /// Write man pages.
    Man {
        /// Where to.
        folder: PathBuf,
    },
    /// Write completions for bash, zsh and fish.
    Completions {
        /// Where to.
        folder: PathBuf,
    },
}

#[derive(Debug, Args)]
pub(super) struct RunArgs {
    /// The configuration.
    #[arg(default_value = INSTALLED)]
    pub(super) file: PathBuf,
    /// Take the listening sockets over from the running process, which drains once this one
    /// serves. Without a running process this is an ordinary start.
    #[arg(long)]
    pub(super) upgrade: bool,
    /// Log as JSON instead of lines for people.
    #[arg(long)]
    pub(super) log_json: bool,
}

/// The new binary checks the configuration first. Then the running process starts it, with its own
/// arguments and environment; only when the new process serves does the running one drain. If
/// anything fails, it goes on serving, and this command says why and fails.
#[derive(Debug, Args)]
pub(super) struct UpgradeArgs {
    /// The configuration of the running gateway: it says where its `upgradeSocket` is.
    #[arg(default_value = INSTALLED)]
    pub(super) file: PathBuf,
    /// The new binary; without it, the one that this command is.
    #[arg(long, value_name = "PATH")]
    pub(super) binary: Option<PathBuf>,
    /// How long the new process may take to serve. Without it `server.upgradeTimeout`.
    #[arg(long, value_name = "SPAN")]
    pub(super) timeout: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct ReloadArgs {
    /// The configuration that the gateway runs, for the address of its admin listener and its
    /// token; without it and `--admin`, the one that packages install. The gateway reads the file
    /// that it was started with.
    pub(super) file: Option<PathBuf>,
    /// The address of its admin listener; without it, that of the configuration.
    #[arg(long, value_name = "HOST:PORT")]
    pub(super) admin: Option<String>,
    /// Print as JSON.
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// The configuration.
    #[arg(default_value = INSTALLED)]
    pub(super) file: PathBuf,
    /// Print problems as JSON.
    #[arg(long)]
    pub(super) json: bool,
    /// Fail on warnings too.
    #[arg(long)]
    pub(super) strict: bool,
}

#[derive(Debug, Args)]
pub(super) struct TokenArgs {
    /// The configuration.
    #[arg(long, value_name = "FILE", required_unless_present = "new_key")]
    pub(super) config: Option<PathBuf>,
    /// The identity provider; without it, the one that has a key for development.
    #[arg(long, value_name = "NAME")]
    pub(super) provider: Option<String>,
    /// Who the caller is.
    #[arg(long, value_name = "NAME", required_unless_present = "new_key")]
    pub(super) sub: Option<String>,
    /// The tenant that the caller belongs to.
    #[arg(long)]
    pub(super) tenant: Option<String>,
    /// Scopes, with spaces between.
    #[arg(long, value_name = "SCOPES")]
    pub(super) scope: Option<String>,
    /// A role of the caller; may be repeated.
    #[arg(long = "role", short = 'r', value_name = "ROLE")]
    pub(super) roles: Vec<String>,
    /// The caller's plan.
    #[arg(long)]
    pub(super) plan: Option<String>,
    /// A further claim, `name=text` or `name:=json`; may be repeated.
    #[arg(long = "claim", value_name = "NAME=VALUE")]
    pub(super) claims: Vec<String>,
    /// The audience; without it, the first that the provider accepts.
    #[arg(long)]
    pub(super) audience: Option<String>,
    /// How long the token is good: 30m, 12h, at most 30d.
    #[arg(long, value_name = "SPAN", default_value = "1h")]
    pub(super) expires: String,
    /// Add `nbf`: now, or so long from now.
    #[arg(long, value_name = "SPAN", num_args = 0..=1, default_missing_value = "0s")]
    pub(super) not_before: Option<String>,
    /// Add `jti`: this one, or a new one for `auto`.
    #[arg(long)]
    pub(super) jti: Option<String>,
    /// Write a new key to this file, which must not exist, and make no token.
    #[arg(long, value_name = "FILE", exclusive = true)]
    pub(super) new_key: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct HeadersArgs {
    /// The configuration.
    pub(super) file: PathBuf,
    /// Print as JSON.
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct ExplainArgs {
    /// The configuration.
    pub(super) file: PathBuf,
    /// The request's method.
    #[arg(long, short = 'X', default_value = "GET")]
    pub(super) method: String,
    /// The host that the request names.
    #[arg(long)]
    pub(super) host: String,
    /// Path and query.
    #[arg(long)]
    pub(super) path: String,
    /// A request header, `name: value`; may be repeated.
    #[arg(long = "header", short = 'H', value_name = "NAME: VALUE")]
    pub(super) headers: Vec<String>,
    /// A bearer token; key sets are fetched once to verify it.
    #[arg(long, conflicts_with = "caller")]
    pub(super) token: Option<String>,
    /// A caller taken for granted: `sub=alice,tenant=acme,scope=orders:read orders:write`.
    #[arg(long = "as", value_name = "FACTS")]
    pub(super) caller: Option<String>,
    /// The address that the connection comes from.
    #[arg(long, default_value = "203.0.113.7")]
    pub(super) client: IpAddr,
    /// Show every route that failed, not only the first ten.
    #[arg(long)]
    pub(super) all: bool,
    /// Print as JSON.
    #[arg(long)]
    pub(super) json: bool,
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_installed_file_is_meant_where_none_is_named() {
        let file = |words: &[&str]| match Cli::try_parse_from(words).unwrap().command {
            Command::Upgrade(args) => args.file,
            Command::Check(args) => args.file,
            Command::Run(args) => args.file,
            other => panic!("{other:?}"),
        };
        for command in ["upgrade", "check", "run"] {
            assert_eq!(file(&["tidegate", command]), Path::new(INSTALLED));
            assert_eq!(file(&["tidegate", command, "my.yaml"]), Path::new("my.yaml"));
        }
        assert_eq!(file(&["tidegate", "upgrade", "--binary", "/new"]), Path::new(INSTALLED));
    }
}
