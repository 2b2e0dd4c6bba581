//! What can be typed about kept answers.

use clap::{Args, Subcommand};

use super::Running;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum CacheCommand {
    /// Get rid of entries, on every node.
    Purge(Box<PurgeArgs>),
    /// Say what is kept, or what is kept under a key.
    Show(ShowArgs),
    /// Say whether a request would be answered from the cache, and why not.
    Why(Box<WhyArgs>),
}

#[derive(Debug, Args)]
pub(in crate::cli) struct PurgeArgs {
    #[command(flatten)]
    pub(in crate::cli) running: Running,
    /// Entries with this tag; may be repeated, as all others may.
    #[arg(long = "tag", value_name = "TAG")]
    pub(in crate::cli) tags: Vec<String>,
    /// The entry with this key, as `tidegate explain` prints it.
    #[arg(long = "key", value_name = "KEY")]
    pub(in crate::cli) keys: Vec<String>,
    /// What is kept of this URL.
    #[arg(long = "url", value_name = "URL")]
    pub(in crate::cli) urls: Vec<String>,
    /// What is kept of a host below a path: `shop.example.com/lamps`.
    #[arg(long = "prefix", value_name = "HOST/PATH")]
    pub(in crate::cli) prefixes: Vec<String>,
    /// What this route keeps.
    #[arg(long = "route", value_name = "NAME")]
    pub(in crate::cli) routes: Vec<String>,
    /// Everything that is kept.
    #[arg(long)]
    pub(in crate::cli) everything: bool,
    /// Only entries of this tenant; alone, all of them.
    #[arg(long, value_name = "TENANT")]
    pub(in crate::cli) tenant: Option<String>,
    /// Entries become stale instead of being gone.
    #[arg(long)]
    pub(in crate::cli) soft: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ShowArgs {
    #[command(flatten)]
    pub(in crate::cli) running: Running,
    /// The key of an entry; without it, the whole cache.
    #[arg(value_name = "KEY")]
    pub(in crate::cli) key: Option<String>,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct WhyArgs {
    #[command(flatten)]
    pub(in crate::cli) running: Running,
    /// The URL that is asked for.
    #[arg(value_name = "URL")]
    pub(in crate::cli) url: String,
    /// The request's method.
    #[arg(long, short = 'X', default_value = "GET")]
    pub(in crate::cli) method: String,
    /// A request header, `name: value`; may be repeated.
    #[arg(long = "header", short = 'H', value_name = "NAME: VALUE")]
    pub(in crate::cli) headers: Vec<String>,
    /// A bearer token; key sets are fetched once to verify it.
    #[arg(long, conflicts_with = "caller")]
    pub(in crate::cli) token: Option<String>,
    /// A caller taken for granted: `sub=alice,tenant=acme`.
    #[arg(long = "as", value_name = "FACTS")]
    pub(in crate::cli) caller: Option<String>,
    /// The address that the connection comes from.
    #[arg(long, default_value = "203.0.113.7")]
    pub(in crate::cli) client: std::net::IpAddr,
}
