//! What all servers of a run share, and a server: started, put under load, proved.
//!
//! Each server has an origin of its own, so that nothing that another left in flight is counted.
//! A round in which the origin, Redis or the gateway's own counters say that something else was
//! measured fails.

use std::cell::{Cell, OnceCell};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::entry::{Entry, protocols};
use super::options::{Options, WARM_UP_NEW_SECONDS};
use super::proof::{self, Counts};
use super::render;
use super::scenario::{CALLERS, Protocol, Scenario, Tokens, sign};
use super::server::{Programs, Server};
use super::tls::{self, Certificate};
use crate::document::HOST;
use crate::process::{Core, Cores, CpuTime, Process};
use crate::token::{AUDIENCE, ISSUER, Issuer};
use crate::wrk::{Tally, Wrk};
use crate::{Context, Error, Result, h2load, probe, start};

/// A limit that nobody reaches: requests a minute of one client.
pub const HIGH: u32 = 10_000_000;
/// One that everybody reaches.
pub const LOW: u32 = 5;
/// Runs of a second before a server must do what the scenario says: nodes lend only when they
/// have known each other for some seconds.
const WARM_UPS: u32 = 10;

/// What all servers share.
pub struct Site<'a> {
    options: &'a Options,
    cores: Cores,
    programs: &'a Programs,
    folder: PathBuf,
    wrk: Wrk,
    /// Who signs the tokens.
    pub issuer: Issuer,
    certificate: Certificate,
    redis: (SocketAddr, Process),
    /// Tokens that are to be new: making them takes long, so scenarios share them.
    fresh: OnceCell<Vec<String>>,
}

/// The requests of a scenario, in a file.
pub struct Batch {
    file: PathBuf,
}

/// One server, running.
pub struct Running {
    /// Who does what.
    pub entry: Entry,
    /// The job.
    pub scenario: Scenario,
    /// Where it listens.
    pub address: SocketAddr,
    /// What its connections agreed on, over TLS: version and cipher suite.
    pub agreed: String,
    /// The gateway's admin listener.
    pub admin: SocketAddr,
    process: Process,
    origin: SocketAddr,
    behind: Process,
    sent: Cell<u64>,
}

/// A round of one server.
#[derive(Clone, Copy, Debug)]
pub struct Round {
    /// What the load generator saw.
    pub tally: Tally,
    /// What the server used.
    pub cpu: CpuTime,
}

impl<'a> Site<'a> {
    /// Makes keys and a certificate, and starts a Redis.
    pub async fn new(
        options: &'a Options,
        cores: Cores,
        programs: &'a Programs,
        folder: &Path,
    ) -> Result<Self> {
        let issuer = Issuer::generate()?;
        for (name, text) in
            [("issuer.pem", issuer.public_pem().to_owned()), ("jwks.json", issuer.jwks())]
        {
            std::fs::write(folder.join(name), text).context(name)?;
        }
        Ok(Self {
            options,
            cores,
            programs,
            wrk: Wrk::new(cores, folder)?,
            issuer,
            certificate: Certificate::make(folder)?,
            redis: start::redis(cores, folder).await?,
            folder: folder.to_owned(),
            fresh: OnceCell::new(),
        })
    }

    /// Stops what was started around the servers.
    pub async fn stop(self) -> Result<()> {
        self.redis.1.stop().await
    }

    /// Writes the requests of a scenario.
    pub fn batch(&self, scenario: Scenario) -> Result<Batch> {
        let recurring;
        let tokens = match (scenario.tokens(), self.fresh.get()) {
            (Tokens::None, _) => &[],
            (Tokens::Recurring, _) => {
                recurring = sign(&self.issuer, CALLERS)?;
                recurring.as_slice()
            }
            (Tokens::New, Some(made)) => made.as_slice(),
            (Tokens::New, None) => {
                let made = sign(&self.issuer, self.options.tokens_made())?;
                self.fresh.get_or_init(|| made).as_slice()
            }
        };
        let requests = scenario.requests(tokens);
        self.wrk.prepare(scenario.name(), &requests).map(|file| Batch { file })
    }

    /// Starts a server with an origin of its own and this limit; it answers when this returns.
    pub async fn start(&self, scenario: Scenario, entry: Entry, limit: u32) -> Result<Running> {
        let folder = self.folder.join(format!("{scenario}-{}-{limit}", entry.name));
        std::fs::create_dir_all(&folder).context(folder.display())?;
        let (cores, programs) = (self.cores, self.programs);
        let headers = origin_headers(scenario);
        let bytes = scenario.body_bytes();
        let (origin, behind) =
            start::origin(cores, &folder, &programs.origin, bytes, &headers).await?;
        let (address, admin) = (probe::free_address().await?, probe::free_address().await?);
        let mut values = self.values(scenario, entry, &folder, [address, admin, origin]);
        values.push(("LIMIT", limit.to_string()));
        for (name, template) in entry.files {
            let text = render::fill(template, &values).context(name)?;
            std::fs::write(folder.join(name), text).context(name)?;
        }
        let program =
            entry.server.program(programs).context(format_args!("{} is missing", entry.server))?;
        let program = program.canonicalize().context(program.display())?;
        let mut command = entry.server.command(cores, programs, &program, &folder);
        if entry.server == Server::Bare {
            command.args([&address.to_string(), &origin.to_string(), "1"]);
            if scenario.protocol() != Protocol::Http {
                command.arg(&self.certificate.cert).arg(&self.certificate.key);
            }
            command.args((scenario.protocol() == Protocol::H2).then_some("h2"));
        }
        let mut process = Process::spawn(entry.name, command, &folder)?;
        let headers = self.good_headers()?;
        let is_ready = async || {
            probe::accepts(address).await && {
                let target = first_target(scenario);
                let answer = self.ask(scenario, address, &target, &headers).await;
                answer.is_ok_and(|answer| answer.status == 200)
            }
        };
        process.ready(is_ready).await?;
        let agreed = match scenario.protocol() {
            Protocol::Http => String::new(),
            Protocol::Tls => {
                let (version, suite) = tls::agreed(address).await?;
                format!("{version}, {suite}")
            }
            Protocol::H2 => self.ask(scenario, address, "", "").await?.head,
        };
        let sent = Cell::new(0);
        Ok(Running { entry, scenario, address, agreed, admin, process, origin, behind, sent })
    }

    /// Headers that every server lets through: the host, and a token of caller 1.
    pub fn good_headers(&self) -> Result<String> {
        Ok(bearer(&self.issuer.token(1)?))
    }

    /// One request, spoken as the scenario's clients speak. Over HTTP/2 it is ten of them, of the
    /// scenario's own; the head says what the connection agreed on.
    pub async fn ask(
        &self,
        scenario: Scenario,
        address: SocketAddr,
        target: &str,
        headers: &str,
    ) -> Result<probe::Answer> {
        match scenario.protocol() {
            Protocol::Http => probe::get(address, target, headers).await,
            Protocol::Tls => tls::get(address, target).await,
            Protocol::H2 => {
                let report = self.h2load(scenario, address, 0).await?;
                let (good, bytes) = (report.tally.requests, report.tally.bytes);
                let bytes = usize::try_from(bytes / good.max(1)).unwrap_or(0);
                let status = if good == 10 { 200 } else { 500 };
                Ok(probe::Answer { status, head: report.agreed, body: vec![0; bytes] })
            }
        }
    }

    /// Sends load until the server does what the scenario says; where tokens are to be new, until
    /// caches are full, if there are tokens enough for it.
    pub async fn warm_up(&self, batch: &Batch, running: &Running) -> Result<()> {
        if running.scenario.tokens() == Tokens::New {
            if self.options.tokens.is_none() {
                self.measure(batch, running, WARM_UP_NEW_SECONDS).await?;
            }
            return Ok(());
        }
        for left in (0..WARM_UPS).rev() {
            match self.measure(batch, running, 1).await {
                Err(error) if left == 0 => return Err(error),
                Err(_) => {}
                Ok(_) => break,
            }
        }
        Ok(())
    }

    /// Sends it load for some seconds; returns what came back and its processor time.
    pub async fn measure(&self, batch: &Batch, running: &Running, seconds: u64) -> Result<Round> {
        let before = Counts::read(running, self.redis.0).await?;
        let used = running.process.cpu_time()?;
        let tally = self.load(batch, running, seconds).await?;
        let cpu = running.process.cpu_time()?.since(used);
        let after = Counts::read(running, self.redis.0).await?;
        running.sent.set(running.sent.get() + tally.requests);
        proof::prove(running, &before, &after, &tally).map_err(|error| {
            Error::new(format!("{error}: {tally:?}\n{}", running.process.log_tail()))
        })?;
        Ok(Round { tally, cpu })
    }

    async fn load(&self, batch: &Batch, running: &Running, seconds: u64) -> Result<Tally> {
        let (scenario, load) = (running.scenario, self.options.load);
        let scheme = match scenario.protocol() {
            Protocol::Http => "http",
            Protocol::Tls => "https",
            Protocol::H2 => {
                let report = self.h2load(scenario, running.address, seconds).await?;
                return Ok(report.tally);
            }
        };
        let url = format!("{scheme}://{}", running.address);
        let skip = if scenario.tokens() == Tokens::New { running.sent.get() } else { 0 };
        self.wrk.run_from(&url, &batch.file, skip, scenario.headers(), load, seconds).await
    }

    async fn h2load(
        &self,
        scenario: Scenario,
        address: SocketAddr,
        seconds: u64,
    ) -> Result<h2load::Report> {
        let program = self.programs.find("h2load").context("h2load is missing")?;
        let mut command = self.cores.command(Core::Load, &program);
        self.programs.with_libraries(&mut command);
        let urls = self.folder.join(format!("{}.urls", address.port()));
        let url = |n| format!("https://{address}{}\n", scenario.target(n));
        std::fs::write(&urls, (0..1000).map(url).collect::<String>()).context(urls.display())?;
        let log = self.folder.join("h2load.log");
        h2load::run(command, &urls, &log, self.options.streams, seconds).await
    }

    fn values(
        &self,
        scenario: Scenario,
        entry: Entry,
        folder: &Path,
        [address, admin, origin]: [SocketAddr; 3],
    ) -> Vec<(&'static str, String)> {
        let show = |path: &Path| path.display().to_string();
        let redis = self.redis.0;
        let root = rustix::process::geteuid().is_root();
        let routes = scenario.routes().map_or(0, |routes| routes);
        let mut values = vec![
            ("ADDRESS", address.to_string()),
            ("PORT", address.port().to_string()),
            ("ADMIN", admin.to_string()),
            ("ORIGIN", origin.to_string()),
            ("ORIGIN_PORT", origin.port().to_string()),
            ("REDIS", redis.to_string()),
            ("REDIS_PORT", redis.port().to_string()),
            ("FOLDER", show(folder)),
            ("KEY", show(&self.folder.join("issuer.pem"))),
            ("JWKS", show(&self.folder.join("jwks.json"))),
            ("CERT", show(&self.certificate.cert)),
            ("CERT_KEY", show(&self.certificate.key)),
            ("BUNDLE", show(&self.certificate.bundle)),
            ("ISSUER", ISSUER.to_owned()),
            ("AUDIENCE", AUDIENCE.to_owned()),
            ("MODULES", self.programs.nginx_modules().as_deref().map(show).unwrap_or_default()),
            ("LUA", show(&self.programs.nginx_lua())),
            // Started by root, NGINX's worker would be another user, who may not enter the folder.
            ("USER", if root { "user root;\n" } else { "" }.to_owned()),
            ("ROUTES", render::routes(entry.server, routes)),
        ];
        values.extend(protocols(entry.server, scenario.protocol()));
        values.extend(entry.values.iter().map(|(name, value)| (*name, (*value).to_owned())));
        values
    }
}

impl Running {
    /// Requests that its origin has answered.
    pub async fn asked(&self) -> Result<u64> {
        let answer = probe::get(self.origin, "/count", "").await?;
        String::from_utf8_lossy(&answer.body).parse().context("the origin's count")
    }

    /// The most memory that it ever held, in bytes.
    pub fn peak_bytes(&self) -> Result<u64> {
        self.process.peak_bytes()
    }

    /// The last words of its log.
    #[must_use]
    pub fn log_tail(&self) -> String {
        self.process.log_tail()
    }

    /// Stops it and its origin.
    pub async fn stop(self) -> Result<()> {
        self.process.stop().await?;
        self.behind.stop().await
    }
}

/// Host and token as header lines.
#[must_use]
pub fn bearer(token: &str) -> String {
    format!("Host: {HOST}\r\nAuthorization: Bearer {token}\r\n")
}

/// A target that every server of a scenario answers.
#[must_use]
pub fn first_target(scenario: Scenario) -> String {
    if scenario.hits() { "/cacheable/0000".to_owned() } else { scenario.target(0) }
}

/// Headers of an origin that one would put a cache in front of; elsewhere none.
fn origin_headers(scenario: Scenario) -> Vec<String> {
    if !scenario.hits() {
        return Vec::new();
    }
    let date =
        crate::report::said("env", &["LC_ALL=C", "date", "-u", "+%a, %d %b %Y %H:%M:%S GMT"]);
    vec![
        format!("Date: {date}"),
        "Server: origin/1.0".to_owned(),
        "ETag: \"5f3c-62a1b0c4d5e80\"".to_owned(),
        "Last-Modified: Sat, 01 Nov 2025 09:30:00 GMT".to_owned(),
        "X-Request-Id: 0f8e2c4a-6b1d-4d3e-9a57-2c1b0e9f8d76".to_owned(),
    ]
}
