//! `tidegate generate`: man pages and shell completions, from what can be typed. Packages call it
//! when they are built; it is not shown in the help.

use std::path::Path;
use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::{Shell, generate_to};

use super::args::{Cli, GenerateCommand};
use super::done;

pub(super) fn generate(command: &GenerateCommand) -> ExitCode {
    let written = match command {
        GenerateCommand::Man { folder } => man(folder),
        GenerateCommand::Completions { folder } => completions(folder),
    };
    done(written.map(|()| String::new()).map_err(|error| format!("{error}\n")))
}

/// `tidegate.1`, and a page for each command.
fn man(folder: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    clap_mangen::generate_to(Cli::command().disable_help_subcommand(true), folder)
}

/// In files of the names that the shells look for.
fn completions(folder: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        generate_to(shell, &mut Cli::command(), "tidegate", folder)?;
    }
    Ok(())
}
