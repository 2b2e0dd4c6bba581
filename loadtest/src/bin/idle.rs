//! `idle`: what an idle keep-alive connection costs in memory, beside a bare Pingora proxy.
//!
//! Opens connections to one target after the other, has each answer one request, and leaves them
//! open while the kernel is asked what the process holds.

use std::process::ExitCode;

use tidegate_loadtest::options::{Options, positive};
use tidegate_loadtest::process::Cores;
use tidegate_loadtest::program::{self, Words};
use tidegate_loadtest::target::{Kind, Setting, Target};
use tidegate_loadtest::wrk::Wrk;
use tidegate_loadtest::{Context, Error, Result, probe};
use tokio::net::TcpStream;

const USAGE: &str = "usage: idle [CONNECTIONS=10000] [GATEWAY]";

/// Connections that are opened where the command line names no other number. Twice as many
/// descriptors are not needed by anybody: they are at two ends of two processes.
const CONNECTIONS: usize = 10_000;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    program::run("idle", USAGE, read, run).await
}

fn read(words: Words) -> Result<Option<(usize, Options)>> {
    let Some(operands) = program::operands(words, 2)? else { return Ok(None) };
    let mut operands = operands.into_iter();
    let connections = operands.next().map_or(Ok(CONNECTIONS), |number| {
        positive("CONNECTIONS", &number).map(|number| number as usize)
    });
    let gateway = operands.next().map(Into::into);
    Ok(Some((connections?, Options { gateway, ..Options::default() })))
}

async fn run((connections, options): (usize, Options)) -> Result<()> {
    let cores = Cores::find();
    let folder = tempfile::tempdir().context("a folder for the run")?;
    let wrk = Wrk::new(cores, folder.path())?;
    let setting = Setting::start(&options, cores, folder.path(), &program::folder()?, &wrk).await?;
    println!("| target | before MiB | with {connections} idle connections MiB | KiB each |");
    println!("|---|---:|---:|---:|");
    for kind in [Kind::Bare, Kind::Plain] {
        let target = setting.target(kind).await?;
        let (before, after) = fill(&target, connections).await?;
        let each = after.saturating_sub(before) / 1024 / connections.max(1) as u64;
        println!("| {kind} | {} | {} | {each} |", before >> 20, after >> 20);
        target.stop().await?;
    }
    setting.stop().await
}

/// What the process holds before and with the connections, in bytes.
async fn fill(target: &Target, connections: usize) -> Result<(u64, u64)> {
    let before = target.resident_bytes()?;
    let mut open: Vec<TcpStream> = Vec::with_capacity(connections);
    for number in 0..connections {
        let stream = probe::keep_alive(target.address()).await.map_err(|error| {
            Error::new(format!("connection {number}: {error} (see `ulimit -n`)"))
        })?;
        open.push(stream);
    }
    let after = target.resident_bytes()?;
    drop(open);
    Ok((before, after))
}
