//! Caches on the same load: the gateway's, NGINX's, `HAProxy`'s, and a proxy without one.
//!
//! A cache that asks its origin is slow for the wrong reason, and a proxy that does not ask is
//! fast for the wrong one. So each run compares the origin's own count with the number of
//! answers, and a run that was not what it should have been fails.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::document::{self, HOST, Place};
use crate::options::Load;
use crate::process::{Core, Cores, CpuTime, Process};
use crate::report::said;
use crate::target::kept;
use crate::wrk::{Tally, Wrk};
use crate::{Context, Error, Result, probe, start};

/// The part of a proxy's requests that its origin must have seen. The rest is what was in flight
/// when wrk stopped.
const PROVED: f64 = 0.99;

/// How often each target is asked for before a cache must answer from what it keeps: not all of
/// them keep what they see for the first time.
const FILLS: usize = 3;

/// Where Debian puts servers, which is not in everybody's PATH.
const SERVERS: &str = "/usr/sbin";

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    /// The yardstick: a proxy on Pingora that asks the origin for every request.
    Bare,
    /// The gateway, answering from its cache.
    Tidegate,
    /// NGINX, `proxy_cache`.
    Nginx,
    /// `HAProxy`, `cache`.
    Haproxy,
}

impl Server {
    /// Every server, the yardstick first.
    pub const ALL: [Self; 4] = [Self::Bare, Self::Tidegate, Self::Nginx, Self::Haproxy];

    /// Its name on the command line and in the table.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Tidegate => "tidegate",
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
        }
    }

    /// What it is, in a line.
    #[must_use]
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Bare => "a bare Pingora proxy that asks the origin each time, 1 thread",
            Self::Tidegate => "the gateway, hits from memory, 1 worker thread, no access log",
            Self::Nginx => {
                "proxy_cache on disk (page cache), sendfile, proxy_cache_lock, 1 worker, no log"
            }
            Self::Haproxy => "cache in memory, 1 thread, no log",
        }
    }

    /// What one would install; nothing for what this workspace builds.
    #[must_use]
    pub const fn package(self) -> Option<&'static str> {
        match self {
            Self::Bare | Self::Tidegate => None,
            Self::Nginx => Some("nginx-light"),
            Self::Haproxy => Some("haproxy"),
        }
    }

    /// Where its program is, for what this workspace does not build; none where it is missing.
    #[must_use]
    pub fn installed(self) -> Option<PathBuf> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
        folders.push(SERVERS.into());
        let programs = folders.iter().map(|folder| folder.join(self.name()));
        self.package().and_then(|_| programs.into_iter().find(|program| program.is_file()))
    }

    /// Its version, as it says it.
    #[must_use]
    pub fn version(self) -> Option<String> {
        Some(said(self.installed()?.to_str()?, &["-v"]))
    }

    const fn caches(self) -> bool {
        !matches!(self, Self::Bare)
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The programs of this workspace that take part.
#[derive(Clone, Debug)]
pub struct Programs {
    /// The gateway.
    pub gateway: PathBuf,
    /// The yardstick.
    pub bare_proxy: PathBuf,
    /// The origin.
    pub origin: PathBuf,
}

/// What all servers of one size of answers share.
pub struct Site<'a> {
    cores: Cores,
    folder: &'a Path,
    programs: &'a Programs,
    wrk: &'a Wrk,
    load: Load,
    body_bytes: usize,
    requests: PathBuf,
}

impl<'a> Site<'a> {
    /// Prepares requests for answers of so many bytes.
    pub fn new(
        cores: Cores,
        folder: &'a Path,
        programs: &'a Programs,
        wrk: &'a Wrk,
        load: Load,
        body_bytes: usize,
    ) -> Result<Self> {
        for program in [&programs.gateway, &programs.bare_proxy, &programs.origin] {
            if !program.is_file() {
                let what = format!("{} is missing; see loadtest/README.md", program.display());
                return Err(Error::new(what));
            }
        }
        let requests = wrk.prepare("kept", &kept())?;
        Ok(Self { cores, folder, programs, wrk, load, body_bytes, requests })
    }

    /// Starts a server with an origin of its own, and has it keep what will be asked for. Were
    /// the origin shared, it would go on counting what the server before left in flight.
    pub async fn server(&self, server: Server) -> Result<Running> {
        let program = &self.programs.origin;
        let (origin, behind) =
            start::origin(self.cores, self.folder, program, self.body_bytes, &headers()).await?;
        let (address, process) = match server {
            Server::Bare => {
                let program = &self.programs.bare_proxy;
                start::bare(self.cores, self.folder, program, origin).await?
            }
            Server::Tidegate => self.gateway(origin).await?,
            Server::Nginx | Server::Haproxy => self.installed(server, origin).await?,
        };
        let running = Running { server, address, process, origin, behind };
        for _ in 0..FILLS {
            for request in kept() {
                self.look(&running, &request.target).await?;
            }
        }
        self.wrk.run(address, &self.requests, self.load, 1).await?;
        let answer = self.look(&running, "/cacheable/0000").await?;
        let says_hit = answer.head.to_ascii_lowercase().contains("x-cache: hit");
        if server == Server::Tidegate && !says_hit {
            return Err(Error::new(format!("{server} does not say that it hit: {}", answer.head)));
        }
        Ok(running)
    }

    /// Sends it load for some seconds; returns what came back and its processor time.
    pub async fn measure(&self, running: &Running, seconds: u64) -> Result<(Tally, CpuTime)> {
        let asked = running.asked().await?;
        let before = running.process.cpu_time()?;
        let tally = self.wrk.run(running.address, &self.requests, self.load, seconds).await?;
        let used = running.process.cpu_time()?.since(before);
        prove(running.server, running.asked().await? - asked, tally.requests)?;
        Ok((tally, used))
    }

    /// One request: the answer must be whole.
    async fn look(&self, running: &Running, target: &str) -> Result<probe::Answer> {
        let answer = probe::get(running.address, target, &format!("Host: {HOST}\r\n")).await?;
        if answer.status == 200 && answer.body.len() == self.body_bytes {
            return Ok(answer);
        }
        let (bytes, log) = (answer.body.len(), running.process.log_tail());
        Err(Error::new(format!("{}: {}{bytes} bytes\n{log}", running.server, answer.head)))
    }

    async fn gateway(&self, origin: SocketAddr) -> Result<(SocketAddr, Process)> {
        let place = Place {
            name: Server::Tidegate.name(),
            folder: self.folder.to_owned(),
            address: probe::free_address().await?,
            admin: probe::free_address().await?,
            origin,
            redis: None,
        };
        let document = document::hit(&place);
        let process = start::gateway(self.cores, &self.programs.gateway, &place, &document).await?;
        Ok((place.address, process))
    }

    async fn installed(&self, server: Server, origin: SocketAddr) -> Result<(SocketAddr, Process)> {
        let program = server.installed().context(format_args!("{server} is not installed"))?;
        let address = probe::free_address().await?;
        let file = self.folder.join(format!("{server}.conf"));
        let mut command = self.cores.command(Core::Measured, &program);
        let text = if server == Server::Haproxy {
            // Without `-db` it would go to the background.
            command.arg("-db").arg("-f").arg(&file);
            haproxy(address, origin)
        } else {
            command.arg("-p").arg(self.folder).arg("-c").arg(&file);
            nginx(self.folder, address, origin)
        };
        std::fs::write(&file, text).context(file.display())?;
        let mut process = Process::spawn(server.name(), command, self.folder)?;
        process.ready(async || probe::accepts(address).await).await?;
        Ok((address, process))
    }
}

/// One server, running.
pub struct Running {
    /// What it is.
    pub server: Server,
    address: SocketAddr,
    process: Process,
    origin: SocketAddr,
    behind: Process,
}

impl Running {
    /// Stops it and its origin.
    pub async fn stop(self) -> Result<()> {
        self.process.stop().await?;
        self.behind.stop().await
    }

    /// Requests that the origin has answered.
    async fn asked(&self) -> Result<u64> {
        let answer = probe::get(self.origin, "/count", "").await?;
        String::from_utf8_lossy(&answer.body).parse().context("the origin's count")
    }
}

/// Whether the origin was asked as often as the server's name says.
fn prove(server: Server, asked: u64, answers: u64) -> Result<()> {
    // Figures of a run are far below the 2^53 that a float holds exactly.
    #[expect(clippy::cast_precision_loss, reason = "counts of a run are small")]
    let share = asked as f64 / answers.max(1) as f64;
    let fits = if server.caches() { asked == 0 } else { share >= PROVED };
    if fits {
        return Ok(());
    }
    let what =
        format!("{server}: the origin was asked {asked} times in a run of {answers} answers");
    Err(Error::new(format!("{what}: this measured something else")))
}

/// Headers of an origin that one would put a cache in front of.
fn headers() -> Vec<String> {
    let date = said("env", &["LC_ALL=C", "date", "-u", "+%a, %d %b %Y %H:%M:%S GMT"]);
    vec![
        format!("Date: {date}"),
        "Server: origin/1.0".to_owned(),
        "ETag: \"5f3c-62a1b0c4d5e80\"".to_owned(),
        "Last-Modified: Sat, 01 Nov 2025 09:30:00 GMT".to_owned(),
        "X-Request-Id: 0f8e2c4a-6b1d-4d3e-9a57-2c1b0e9f8d76".to_owned(),
    ]
}

/// Debian's `nginx.conf` for what concerns a hit (`sendfile`, `tcp_nopush`, the types' hash), no
/// logs, connections without end as the others have them, and a cache as one would write it.
fn nginx(folder: &Path, address: SocketAddr, origin: SocketAddr) -> String {
    let folder = folder.display();
    // Started by root, its worker would be another user, who may not enter the folder.
    let user = if rustix::process::geteuid().is_root() { "user root;\n" } else { "" };
    format!(
        "\
{user}daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/nginx.error.log crit;
events {{ worker_connections 768; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    types_hash_max_size 2048;
    default_type application/octet-stream;
    keepalive_requests 1000000000;
    client_body_temp_path {folder}/nginx-body;
    proxy_temp_path {folder}/nginx-proxy;
    fastcgi_temp_path {folder}/nginx-fastcgi;
    uwsgi_temp_path {folder}/nginx-uwsgi;
    scgi_temp_path {folder}/nginx-scgi;
    proxy_cache_path {folder}/nginx-cache levels=1:2 keys_zone=kept:10m max_size=256m
        inactive=1h use_temp_path=off;
    server {{
        listen {address};
        location / {{
            proxy_pass http://{origin};
            proxy_cache kept;
            proxy_cache_lock on;
        }}
    }}
}}
"
    )
}

fn haproxy(address: SocketAddr, origin: SocketAddr) -> String {
    format!(
        "\
global
    nbthread 1
    maxconn 4096
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
cache kept
    total-max-size 64
    max-object-size 1048576
    max-age 3600
frontend public
    bind {address}
    default_backend origin
backend origin
    http-request cache-use kept
    http-response cache-store kept
    server origin {origin}
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_may_not_ask_and_a_proxy_must() {
        assert!(prove(Server::Nginx, 0, 1000).is_ok());
        assert!(prove(Server::Tidegate, 1, 1000).is_err());
        assert!(prove(Server::Bare, 1000, 1000).is_ok());
        assert!(prove(Server::Bare, 990, 1000).is_ok());
        assert!(prove(Server::Bare, 989, 1000).is_err());
    }

    #[test]
    fn the_date_is_one_that_caches_read() {
        let headers = headers();
        let date = headers.first().and_then(|header| header.strip_prefix("Date: ")).unwrap();
        assert_eq!(date.len(), "Sun, 06 Nov 1994 08:49:37 GMT".len());
        assert!(date.ends_with(" GMT"));
    }
}
