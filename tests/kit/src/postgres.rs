//! A real PostgreSQL server.
//!
//! It will not run as root, so where the tests do, it runs as the user `postgres`, who comes with
//! the package.

use std::fs::Permissions;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, kill_process};
use tempfile::TempDir;
use tokio::process::Command;

use crate::process::Process;
use crate::{Context, Error, Pair, Result, Signal, ports, wait};

/// Name of the superuser.
const USER: &str = "tidegate";
/// The superuser's password.
const PASSWORD: &str = "TEST-ONLY-hunter22";
/// What is said where there is no PostgreSQL.
const MISSING: &str = "PostgreSQL is needed and cannot be found; `make setup` installs it";

/// A PostgreSQL server on a loopback port, with a superuser and a password.
pub struct Postgres {
    address: SocketAddr,
    folder: TempDir,
    programs: PathBuf,
    owner: Option<Owner>,
    settings: Vec<String>,
    process: Option<Process>,
}

/// Whom the server runs as.
#[derive(Clone, Copy)]
struct Owner {
    user: u32,
    group: u32,
}

impl Postgres {
    /// Starts a server on a free port.
    pub async fn start() -> Result<Self> {
        Self::start_with(None).await
    }

    /// Starts a server that can speak TLS with this certificate.
    pub async fn start_with_tls(pair: &Pair) -> Result<Self> {
        Self::start_with(Some(pair)).await
    }

    async fn start_with(pair: Option<&Pair>) -> Result<Self> {
        let programs = programs()?;
        let owner = owner().await?;
        let folder = tempfile::tempdir()?;
        let address = (Ipv4Addr::LOCALHOST, ports::free()?).into();
        give(folder.path(), owner)?;
        let mut server =
            Self { address, folder, programs, owner, settings: Vec::new(), process: None };
        // Proving a password costs both ends as much as a hundred statements, on purpose.
        server.make(if pair.is_some() { "scram-sha-256" } else { "password" }).await?;
        if let Some(pair) = pair {
            server.settings.push("ssl=on".to_owned());
            server.write_setting("ssl_cert_file", "server.pem", &pair.cert)?;
            server.write_setting("ssl_key_file", "server.key", &pair.key)?;
        }
        server.spawn().await?;
        Ok(server)
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Makes an empty database and gives its address: `postgres://user:password@host:port/name`.
    pub async fn database(&self, name: &str) -> Result<String> {
        self.query("postgres", &format!("CREATE DATABASE \"{name}\"")).await?;
        Ok(self.url(name))
    }

    /// The address of a database.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!("postgres://{USER}:{PASSWORD}@{}/{database}", self.address)
    }

    /// Runs SQL in a database; columns of the answer stand with `|` between them.
    pub async fn query(&self, database: &str, sql: &str) -> Result<String> {
        let mut command = Command::new(self.programs.join("psql"));
        command
            .args(["--no-psqlrc", "--no-password", "--tuples-only", "--no-align", "--quiet"])
            .args(["--set", "ON_ERROR_STOP=1", "--host", "127.0.0.1", "--port"])
            .arg(self.address.port().to_string())
            .args(["--username", USER, "--dbname", database, "--command", sql])
            .env("PGPASSWORD", PASSWORD);
        self.end_of(command).await
    }

    /// Everything in a database, as text.
    pub async fn dump(&self, database: &str) -> Result<String> {
        let mut command = Command::new(self.programs.join("pg_dump"));
        command
            .args(["--no-password", "--host", "127.0.0.1", "--port"])
            .arg(self.address.port().to_string())
            .args(["--username", USER, "--inserts", database])
            .env("PGPASSWORD", PASSWORD);
        self.end_of(command).await
    }

    /// Stops it at once; connections break, new ones are refused.
    pub async fn kill(&mut self) -> Result<()> {
        let Some(mut process) = self.process.take() else { return Ok(()) };
        // Killed outright it would leave its children and its memory behind.
        process.signal(Signal::QUIT)?;
        process.exit().await.map(drop)
    }

    /// Starts it again on the same port, with what was in it.
    pub async fn restart(&mut self) -> Result<()> {
        self.kill().await?;
        self.spawn().await
    }

    /// Stops it and all that serve connections without closing anything: connections stay and
    /// get no answer.
    pub fn freeze(&self) -> Result<()> {
        let process = self.running()?;
        // First the one that could start further ones.
        process.signal(Signal::STOP)?;
        self.signal_children(Signal::STOP)
    }

    /// Lets it go on after [`Postgres::freeze`].
    pub fn thaw(&self) -> Result<()> {
        self.signal_children(Signal::CONT)?;
        self.running()?.signal(Signal::CONT)
    }

    fn running(&self) -> Result<&Process> {
        self.process.as_ref().context("this PostgreSQL was killed")
    }

    /// Makes the files of a server that asks for a password in this way.
    async fn make(&self, auth: &str) -> Result<()> {
        let password = self.folder.path().join("password");
        std::fs::write(&password, PASSWORD)?;
        give(&password, self.owner)?;
        let mut command = self.command("initdb");
        command
            .args(["--username", USER, "--auth", auth, "--encoding", "UTF8"])
            .args(["--locale", "C.UTF-8", "--no-sync", "--no-instructions", "--pwfile"])
            .arg(&password)
            .arg("--pgdata")
            .arg(self.data());
        self.end_of(command).await.map(drop)
    }

    async fn spawn(&mut self) -> Result<()> {
        let mut command = self.command("postgres");
        command.arg("-D").arg(self.data());
        let sockets = format!("unix_socket_directories={}", self.folder.path().display());
        let port = format!("port={}", self.address.port());
        for setting in [
            "fsync=off",
            "full_page_writes=off",
            "listen_addresses=127.0.0.1",
            "shared_buffers=16MB",
            "max_connections=50",
            "autovacuum=off",
            &sockets,
            &port,
        ] {
            command.args(["-c", setting]);
        }
        for setting in &self.settings {
            command.args(["-c", setting]);
        }
        let log = self.folder.path().join("postgres.log");
        let mut process = Process::spawn("postgres", command, &log).context(MISSING)?;
        let ready = async || self.query("postgres", "SELECT 1").await.is_ok();
        process.ready(ready).await?;
        self.process = Some(process);
        Ok(())
    }

    /// A program of the server's, as the one who may run it.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        command.current_dir(self.folder.path()).env("TZ", "UTC");
        if let Some(owner) = self.owner {
            command.uid(owner.user).gid(owner.group);
        }
        command
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn write_setting(&mut self, setting: &str, file: &str, text: &str) -> Result<()> {
        let path = self.folder.path().join(file);
        std::fs::write(&path, text)?;
        std::fs::set_permissions(&path, Permissions::from_mode(0o600))?;
        give(&path, self.owner)?;
        self.settings.push(format!("{setting}={}", path.display()));
        Ok(())
    }

    async fn end_of(&self, mut command: Command) -> Result<String> {
        let name = command.as_std().get_program().to_string_lossy().into_owned();
        let run = command.kill_on_drop(true).output();
        let output = wait::within(&name, run).await?.context(MISSING)?;
        if !output.status.success() {
            let words = String::from_utf8_lossy(&output.stderr);
            return Err(Error::new(format!("{name} failed: {words}")));
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
    }

    fn signal_children(&self, signal: Signal) -> Result<()> {
        let parent = self.running()?.id().context("PostgreSQL has ended")?;
        for child in children(parent)? {
            // One that has just ended needs no signal.
            let _ = kill_process(child, signal);
        }
        Ok(())
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let frozen = self.process.is_some().then(|| self.thaw());
        let Some(mut process) = self.process.take() else { return };
        drop(frozen);
        // In good order, so that its children end and its memory is given back; what does not
        // end so is killed when the process is dropped.
        if process.signal(Signal::QUIT).is_err() {
            return;
        }
        for _ in 0..300 {
            if !matches!(process.ended(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// The folder of PostgreSQL's programs, the newest where there are several.
fn programs() -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // A link in the PATH may stand alone; the others are beside what it points to.
    let linked = std::env::split_paths(&path)
        .find_map(|folder| folder.join("initdb").canonicalize().ok())
        .and_then(|program| program.parent().map(Path::to_owned));
    let mut versions: Vec<(u32, PathBuf)> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path())))
        .collect();
    versions.sort();
    let installed = versions.into_iter().rev().map(|(_, folder)| folder.join("bin"));
    linked
        .into_iter()
        .chain(installed)
        .find(|folder| ["initdb", "postgres", "psql"].iter().all(|p| folder.join(p).exists()))
        .context(MISSING)
}

/// Whom the server has to run as; none where it may run as whoever runs the tests.
async fn owner() -> Result<Option<Owner>> {
    if !rustix::process::getuid().is_root() {
        return Ok(None);
    }
    let id = async |option: &str| {
        let output = Command::new("id").args([option, "postgres"]).output().await?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.trim().parse::<u32>().context("there is no user `postgres`; `make setup` makes it")
    };
    Ok(Some(Owner { user: id("-u").await?, group: id("-g").await? }))
}

fn give(path: &Path, owner: Option<Owner>) -> Result<()> {
    let Some(Owner { user, group }) = owner else { return Ok(()) };
    chown(path, Some(user), Some(group)).context(format_args!("owner of {}", path.display()))
}

/// The processes that a process has started.
fn children(parent: u32) -> Result<Vec<Pid>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let Ok(id) = entry.file_name().to_string_lossy().parse::<i32>() else { continue };
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
        // `id (name) state parent …`; a name may hold anything.
        let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        if rest.split_whitespace().nth(1) == Some(parent.to_string().as_str()) {
            found.extend(Pid::from_raw(id));
        }
    }
    Ok(found)
}
