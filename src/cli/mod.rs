//! The command line: `run`, `upgrade`, `check`, `explain`, `headers`, `token`, `keys`, `tenants`,
//! `limits`, `cache`, `reload`, `drill`, `schema`.
//!
//! Data goes to standard output, words about it to standard error. Exit codes: 0 done, 1 the
//! configuration has errors, or the command failed or found nothing, 2 the command line is wrong.

mod args;
mod cache;
mod check;
mod client;
mod drill;
mod explain;
mod generate;
mod headers;
mod keys;
mod limits;
mod page;
mod reload;
mod render;
mod run;
mod store;
mod tenants;
mod token;
mod upgrade;

use std::process::ExitCode;

use clap::Parser;

use args::{Cli, Command};

/// Parses the command line and does what it says.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.command {
        Command::Run(args) => run::run(&args),
        Command::Upgrade(args) => upgrade::upgrade(&args),
        Command::Check(args) => check::check(&args),
        Command::Explain(args) => explain::explain(&args),
        Command::Headers(args) => headers::headers(&args),
        Command::Token(args) => token::token(&args),
        Command::Keys(command) => keys::keys(&command),
        Command::Tenants(command) => tenants::tenants(&command),
        Command::Limits(args) => limits::limits(&args),
        Command::Cache(command) => cache::cache(&command),
        Command::Generate(command) => generate::generate(&command),
        Command::Reload(args) => done(reload::reload(&args)),
        Command::Drill(args) => drill::drill(&args),
        Command::Schema => {
            out(&format!("{:#}\n", crate::model::json_schema()));
            ExitCode::SUCCESS
        }
    }
}

/// Writes what a command has to say, or why it has nothing.
fn done(told: Result<String, String>) -> ExitCode {
    match told {
        Ok(text) => {
            out(&text);
            ExitCode::SUCCESS
        }
        Err(why) => {
            err(&why);
            ExitCode::FAILURE
        }
    }
}

/// Writes to standard output; a reader that has gone away is no error.
fn out(text: &str) {
    use std::io::Write;
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
}

/// Writes to standard error.
fn err(text: &str) {
    use std::io::Write;
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}
