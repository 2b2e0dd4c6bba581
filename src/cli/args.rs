//! What can be typed.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

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
    /// Say everything that is wrong with a configuration.
    Check(CheckArgs),
    /// Say what would happen to a request, and why.
    Explain(Box<ExplainArgs>),
    /// Print the JSON Schema of the configuration, for editors.
    Schema,
}

#[derive(Debug, Args)]
pub(super) struct RunArgs {
    /// The configuration.
    pub(super) file: PathBuf,
    /// Take the listening sockets over from the running process.
    #[arg(long)]
    pub(super) upgrade: bool,
    /// Log as JSON instead of lines for people.
    #[arg(long)]
    pub(super) log_json: bool,
}

#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// The configuration.
    pub(super) file: PathBuf,
    /// Print problems as JSON.
    #[arg(long)]
    pub(super) json: bool,
    /// Fail on warnings too.
    #[arg(long)]
    pub(super) strict: bool,
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
