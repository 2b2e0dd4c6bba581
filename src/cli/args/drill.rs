//! What can be typed about drills.

use clap::Args;

use super::Running;

#[derive(Debug, Args)]
pub(in crate::cli) struct DrillArgs {
    /// The drill, or `all` for one after the other.
    #[arg(value_name = "NAME", required_unless_present = "list")]
    pub(in crate::cli) name: Option<String>,
    #[command(flatten)]
    pub(in crate::cli) running: Running,
    /// Print what can be drilled, and do nothing.
    #[arg(long)]
    pub(in crate::cli) list: bool,
    /// How long the fault lasts: 1s to 10m.
    #[arg(long = "for", value_name = "SPAN", default_value = "10s")]
    pub(in crate::cli) length: String,
    /// How long the gateway may take to be as before, afterwards.
    #[arg(long, value_name = "SPAN", default_value = "1m")]
    pub(in crate::cli) recover: String,
    /// The one service whose endpoints are meant, for drills of endpoints.
    #[arg(long, value_name = "NAME")]
    pub(in crate::cli) service: Option<String>,
    /// Where requests are sent; without it, the configuration's first listener.
    #[arg(long, value_name = "URL")]
    pub(in crate::cli) url: Option<String>,
    /// Path and query of a request; may be repeated. Every one is sent four times a second.
    #[arg(long = "path", value_name = "PATH", default_value = "/")]
    pub(in crate::cli) paths: Vec<String>,
    /// The host that requests name; without it, that of the URL.
    #[arg(long)]
    pub(in crate::cli) host: Option<String>,
    /// The method of requests.
    #[arg(long, short = 'X', default_value = "GET")]
    pub(in crate::cli) method: String,
    /// A request header, `name: value`; may be repeated.
    #[arg(long = "header", short = 'H', value_name = "NAME: VALUE")]
    pub(in crate::cli) headers: Vec<String>,
    /// What must be answered meanwhile, instead of what the failure table says: `503`, or with
    /// its code `503:limit.unavailable`; may be repeated.
    #[arg(long, value_name = "STATUS[:CODE]", value_parser = expectation)]
    pub(in crate::cli) expect: Vec<String>,
    /// Do not hold the listener's certificate to anything.
    #[arg(long)]
    pub(in crate::cli) insecure: bool,
}

/// Takes what may be expected: a status, with or without the code of a fault.
fn expectation(text: &str) -> Result<String, String> {
    let (status, _) = text.split_once(':').unwrap_or((text, ""));
    match status.parse::<u16>() {
        Ok(100..=599) => Ok(text.to_owned()),
        _ => Err("a status from 100 to 599, such as `503` or `503:limit.unavailable`".to_owned()),
    }
}
