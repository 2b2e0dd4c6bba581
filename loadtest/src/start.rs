//! Programs that measurements start, each ready when its function returns.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use crate::document::Place;
use crate::probe;
use crate::process::{Core, Cores, Process};
use crate::{Context, Error, Result};

/// The origin, with answers of so many bytes and these headers (`Name: value`) beside its own.
pub async fn origin(
    cores: Cores,
    folder: &Path,
    program: &Path,
    body_bytes: usize,
    headers: &[String],
) -> Result<(SocketAddr, Process)> {
    let address = probe::free_address().await?;
    let mut command = cores.command(Core::Load, program);
    command.arg(address.to_string()).arg(body_bytes.to_string()).args(headers);
    let mut process = Process::spawn("origin", command, folder)?;
    process.ready(async || probe::accepts(address).await).await?;
    Ok((address, process))
}

/// A Redis that keeps nothing on disk.
pub async fn redis(cores: Cores, folder: &Path) -> Result<(SocketAddr, Process)> {
    if Command::new("redis-server").arg("--version").output().is_err() {
        return Err(Error::new("redis-server is missing (Debian: apt-get install redis-server)"));
    }
    let address = probe::free_address().await?;
    let mut command = cores.command(Core::Load, Path::new("redis-server"));
    command
        .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--daemonize", "no"])
        .args(["--port", &address.port().to_string()])
        .arg("--dir")
        .arg(folder);
    let mut process = Process::spawn("redis", command, folder)?;
    process.ready(async || probe::accepts(address).await).await?;
    Ok((address, process))
}

/// The yardstick, in front of an origin.
pub async fn bare(
    cores: Cores,
    folder: &Path,
    program: &Path,
    origin: SocketAddr,
) -> Result<(SocketAddr, Process)> {
    let address = probe::free_address().await?;
    let mut command = cores.command(Core::Measured, program);
    command.arg(address.to_string()).arg(origin.to_string()).arg("1");
    let mut process = Process::spawn("bare", command, folder)?;
    process.ready(async || probe::accepts(address).await).await?;
    Ok((address, process))
}

/// The gateway with a configuration.
pub async fn gateway(
    cores: Cores,
    program: &Path,
    place: &Place,
    document: &str,
) -> Result<Process> {
    let file = place.file("yaml");
    std::fs::write(&file, document).context(file.display())?;
    let program = program.canonicalize().context(program.display())?;
    let mut command = cores.command(Core::Measured, &program);
    command.arg("run").arg(&file).current_dir(&place.folder);
    let mut process = Process::spawn(place.name, command, &place.folder)?;
    let is_ready = async || {
        probe::get(place.admin, "/readyz", "Host: localhost\r\n")
            .await
            .is_ok_and(|answer| answer.status == 200)
    };
    process.ready(is_ready).await?;
    process.ready(async || probe::accepts(place.address).await).await?;
    Ok(process)
}
