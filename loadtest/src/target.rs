//! What is measured, and the proof that it did what its name says.
//!
//! A gateway that quietly skips Redis, or answers from its cache, is fast for the wrong reason.
//! So each run compares the gateway's own counters with the number of answers, and a run that
//! was not what it should have been fails.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::document::{self, HOST, Place};
use crate::options::Options;
use crate::probe;
use crate::process::{Cores, CpuTime, Process};
use crate::start;
use crate::token::Issuer;
use crate::wrk::{Request, Tally, Wrk};
use crate::{Context, Error, Result};

/// Callers, each with a token of its own.
const CALLERS: usize = 100;
/// Callers of the targets that show what knowing the caller costs.
const DISTINCT: usize = 1000;
/// Paths that each caller asks for in turn: enough that two requests in flight seldom share a
/// cache key, which would make one of them wait for the other.
const PATHS: usize = 10;
/// Answers that the cache holds.
const KEPT: usize = 100;
/// Rounds of load before a target does what its name says.
const WARM_UPS: u32 = 10;
/// The part of the requests that must have been treated as the target's name says. The rest is
/// what was in flight when the counters were read.
const PROVED: f64 = 0.99;
/// The same of leases: the first requests of each client in a round are not leased.
const LEASED: f64 = 0.9;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The yardstick: a proxy on Pingora that does nothing else.
    Bare,
    /// The gateway with one route and no policy.
    Plain,
    /// The same among ten thousand routes.
    Many,
    /// The gateway with everything switched on, limits in Redis.
    Full,
    /// The same without Redis: limits on the node.
    Local,
    /// Answers from the cache.
    Hit,
    /// The gateway with one open route, for a thousand tokens that nobody looks at.
    Open,
    /// The same with a route that asks for them.
    Auth,
    /// The gateway with one open route, for clients that nobody counts.
    Unlimited,
    /// The same with a limit that is counted on the node.
    Counted,
    /// The same with the limit in Redis, spent from leases.
    Leased,
    /// The same with the limit in Redis, asked for every request.
    Exact,
}

impl Kind {
    /// Every kind, the yardstick first.
    pub const ALL: [Self; 12] = [
        Self::Bare,
        Self::Plain,
        Self::Many,
        Self::Full,
        Self::Local,
        Self::Hit,
        Self::Open,
        Self::Auth,
        Self::Unlimited,
        Self::Counted,
        Self::Leased,
        Self::Exact,
    ];

    /// What its cost is a multiple of.
    #[must_use]
    pub const fn yardstick(self) -> Self {
        match self {
            Self::Auth => Self::Open,
            Self::Unlimited | Self::Leased | Self::Exact => Self::Counted,
            _ => Self::Bare,
        }
    }

    /// Its name on the command line and in the table.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Plain => "plain",
            Self::Many => "many",
            Self::Full => "full",
            Self::Local => "local",
            Self::Hit => "hit",
            Self::Open => "open",
            Self::Auth => "auth",
            Self::Unlimited => "unlimited",
            Self::Counted => "counted",
            Self::Leased => "leased",
            Self::Exact => "exact",
        }
    }

    /// What it is, in a line.
    #[must_use]
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Bare => "a bare Pingora proxy: the yardstick",
            Self::Plain => "the gateway, one route, no policy, no access log",
            Self::Many => "the same among 10,000 routes",
            Self::Full => {
                "token (cached), scope, limit in Redis, cache (not stored), sticky split, log"
            }
            Self::Local => "the same, limit counted on the node",
            Self::Hit => "answered from the cache, nothing asked upstream",
            Self::Open => "plain, for requests with 1,000 tokens that nobody looks at",
            Self::Auth => "the same with `auth: required`: each token seen before",
            Self::Unlimited => "plain, for several clients, no limit",
            Self::Counted => "the same, a limit for each client, counted on the node",
            Self::Leased => "the same, limit in Redis, mode `leased`",
            Self::Exact => "the same, limit in Redis, mode `exact`",
        }
    }

    /// Counters that must have grown with the requests: metric and labels.
    const fn proofs(self) -> &'static [(&'static str, &'static [(&'static str, &'static str)])] {
        const TOKENS: (&str, &[(&str, &str)]) =
            ("tidegate_token_cache_total", &[("outcome", "hit")]);
        const PICKS: (&str, &[(&str, &str)]) =
            ("tidegate_upstream_picks_total", &[("service", "orders")]);
        match self {
            Self::Bare => &[],
            Self::Plain | Self::Many | Self::Open | Self::Unlimited => &[PICKS],
            Self::Auth => &[PICKS, TOKENS],
            Self::Full => &[
                PICKS,
                TOKENS,
                (
                    "tidegate_limit_decisions_total",
                    &[("decision", "allowed"), ("counter", "redis")],
                ),
            ],
            Self::Local => &[
                PICKS,
                TOKENS,
                (
                    "tidegate_limit_decisions_total",
                    &[("decision", "allowed"), ("counter", "local")],
                ),
            ],
            Self::Hit => &[("tidegate_cache_total", &[("outcome", "hit")])],
            Self::Counted => &[
                PICKS,
                (
                    "tidegate_limit_decisions_total",
                    &[("decision", "allowed"), ("counter", "local")],
                ),
            ],
            Self::Leased => &[
                PICKS,
                (
                    "tidegate_limit_decisions_total",
                    &[("decision", "allowed"), ("counter", "lease")],
                ),
            ],
            Self::Exact => &[
                PICKS,
                (
                    "tidegate_limit_decisions_total",
                    &[("decision", "allowed"), ("counter", "redis")],
                ),
            ],
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What all targets share: files, the origin, Redis, prepared requests.
pub struct Setting {
    cores: Cores,
    folder: PathBuf,
    gateway: PathBuf,
    bare_proxy: PathBuf,
    origin: SocketAddr,
    redis: SocketAddr,
    orders: PathBuf,
    kept: PathBuf,
    distinct: PathBuf,
    clients: PathBuf,
    first_order: Request,
    processes: [Process; 2],
}

impl Setting {
    /// Starts what stands around the targets. `programs` is the folder of this package's
    /// binaries.
    pub async fn start(
        options: &Options,
        cores: Cores,
        folder: &Path,
        programs: &Path,
        wrk: &Wrk,
    ) -> Result<Self> {
        let gateway = options.gateway.clone().unwrap_or_else(|| programs.join("tidegate"));
        let bare_proxy = programs.join("bare_proxy");
        let origin_program = programs.join("origin");
        for program in [&gateway, &bare_proxy, &origin_program] {
            if !program.is_file() {
                let what = format!("{} is missing; see loadtest/README.md", program.display());
                return Err(Error::new(what));
            }
        }
        let issuer = Issuer::generate()?;
        let key = Place::public_key(folder);
        std::fs::write(&key, issuer.public_pem()).context(key.display())?;
        let orders = orders(&issuer)?;
        let first_order = orders.first().cloned().context("no requests")?;
        let (origin, origin_process) =
            start::origin(cores, folder, &origin_program, options.body_bytes, &[]).await?;
        let (redis, redis_process) = start::redis(cores, folder).await?;
        Ok(Self {
            cores,
            gateway,
            bare_proxy,
            origin,
            redis,
            orders: wrk.prepare("orders", &orders)?,
            kept: wrk.prepare("kept", &kept())?,
            distinct: wrk.prepare("distinct", &distinct(&issuer)?)?,
            clients: wrk.prepare("clients", &clients(options.clients as usize))?,
            first_order,
            folder: folder.to_owned(),
            processes: [origin_process, redis_process],
        })
    }

    /// Starts a target, and checks its first answer.
    pub async fn target(&self, kind: Kind) -> Result<Target> {
        let target = match kind {
            Kind::Bare => self.bare().await?,
            _ => self.gateway(kind).await?,
        };
        let answer = if kind == Kind::Hit {
            probe::get(target.address, &kept_path(0), &host_header()).await?
        } else {
            let token = self.first_order.token.as_deref().unwrap_or_default();
            let headers = format!("{}Authorization: Bearer {token}\r\n", host_header());
            probe::get(target.address, &self.first_order.target, &headers).await?
        };
        if answer.status != 200 {
            let body = String::from_utf8_lossy(&answer.body);
            let log = target.process.log_tail();
            return Err(Error::new(format!("{kind} answered {}{body}\n{log}", answer.head)));
        }
        Ok(target)
    }

    /// Stops what was started around the targets.
    pub async fn stop(self) -> Result<()> {
        for process in self.processes {
            process.stop().await?;
        }
        Ok(())
    }

    async fn bare(&self) -> Result<Target> {
        let (address, process) =
            start::bare(self.cores, &self.folder, &self.bare_proxy, self.origin).await?;
        Ok(Target {
            kind: Kind::Bare,
            address,
            admin: None,
            access_log: None,
            requests: self.orders.clone(),
            process,
            place: None,
        })
    }

    async fn gateway(&self, kind: Kind) -> Result<Target> {
        let place = Place {
            name: kind.name(),
            folder: self.folder.clone(),
            address: probe::free_address().await?,
            admin: probe::free_address().await?,
            origin: self.origin,
            redis: matches!(kind, Kind::Full | Kind::Leased | Kind::Exact).then_some(self.redis),
        };
        let document = match kind {
            Kind::Hit => document::hit(&place),
            Kind::Full | Kind::Local => document::full(&place),
            Kind::Many => document::many(&place, 1),
            Kind::Auth => document::auth(&place),
            Kind::Counted | Kind::Leased => document::limited(&place, "leased"),
            Kind::Exact => document::limited(&place, "exact"),
            Kind::Bare | Kind::Plain | Kind::Open | Kind::Unlimited => document::plain(&place),
        };
        let process = start::gateway(self.cores, &self.gateway, &place, &document).await?;
        let admin = place.admin;
        let access_log = matches!(kind, Kind::Full | Kind::Local);
        Ok(Target {
            kind,
            address: place.address,
            admin: Some(admin),
            access_log: access_log.then(|| place.file("access.log")),
            requests: match kind {
                Kind::Hit => self.kept.clone(),
                Kind::Open | Kind::Auth => self.distinct.clone(),
                Kind::Unlimited | Kind::Counted | Kind::Leased | Kind::Exact => {
                    self.clients.clone()
                }
                _ => self.orders.clone(),
            },
            process,
            place: Some(place),
        })
    }
}

/// One target, running.
pub struct Target {
    /// What it is.
    pub kind: Kind,
    address: SocketAddr,
    admin: Option<SocketAddr>,
    access_log: Option<PathBuf>,
    requests: PathBuf,
    process: Process,
    place: Option<Place>,
}

impl Target {
    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Memory that its process holds, in bytes.
    pub fn resident_bytes(&self) -> Result<u64> {
        self.process.resident_bytes()
    }

    /// Replaces the configuration of a gateway among ten thousand routes by one with this version.
    pub fn reconfigure(&self, version: u32) -> Result<()> {
        let place = self.place.as_ref().context("the bare proxy has no configuration")?;
        let (file, new) = (place.file("yaml"), place.file("new"));
        std::fs::write(&new, document::many(place, version)).context(new.display())?;
        std::fs::rename(&new, &file).context(file.display())
    }

    /// Version of the configuration in force.
    pub async fn applied(&self) -> Result<f64> {
        let metrics = self.counters().await?;
        Ok(probe::label(&metrics, "tidegate_config_info", "version").unwrap_or(0.0))
    }

    /// Sends it load for so many seconds, and again until it does what its name says: nodes lend
    /// only when they have known each other for some seconds. Errors are found in the rounds that
    /// follow.
    pub async fn warm_up(&self, wrk: &Wrk, options: &Options, seconds: u64) -> Result<()> {
        for left in (0..WARM_UPS).rev() {
            let counted = self.counters().await?;
            let tally = wrk.run(self.address, &self.requests, options.load, seconds).await?;
            self.empty_log()?;
            match self.prove(&counted, &self.counters().await?, &tally) {
                Err(error) if left == 0 => return Err(error),
                Err(_) => {}
                Ok(()) => break,
            }
        }
        Ok(())
    }

    /// Sends it load for one round and accounts its processor time.
    pub async fn measure(&self, wrk: &Wrk, options: &Options) -> Result<(Tally, CpuTime)> {
        let counted = self.counters().await?;
        let before = self.process.cpu_time()?;
        let tally = wrk.run(self.address, &self.requests, options.load, options.seconds).await?;
        let used = self.process.cpu_time()?.since(before);
        self.prove(&counted, &self.counters().await?, &tally)?;
        self.empty_log()?;
        Ok((tally, used))
    }

    /// Stops it.
    pub async fn stop(self) -> Result<()> {
        self.process.stop().await
    }

    /// The gateway's metrics; empty for the yardstick.
    async fn counters(&self) -> Result<String> {
        let Some(admin) = self.admin else { return Ok(String::new()) };
        probe::metrics(admin).await.map_err(|error| {
            Error::new(format!("{}: {error}\n{}", self.kind, self.process.log_tail()))
        })
    }

    fn prove(&self, before: &str, after: &str, tally: &Tally) -> Result<()> {
        // Figures of a run are far below the 2^53 that a float holds exactly.
        #[expect(clippy::cast_precision_loss, reason = "counts of a run are small")]
        let requests = tally.requests as f64;
        let grown =
            |name, labels| probe::sum(after, name, labels) - probe::sum(before, name, labels);
        for (name, labels) in self.kind.proofs() {
            let counted = grown(name, labels);
            let proved = if self.kind == Kind::Leased { LEASED } else { PROVED };
            if counted < requests * proved {
                return Err(Error::new(format!(
                    "{}: {name} {labels:?} grew by {counted} in a run of {requests} answers: \
                     this measured something else\n{}",
                    self.kind,
                    self.process.log_tail()
                )));
            }
        }
        let dropped = grown("tidegate_access_log_dropped_total", &[]);
        if dropped > requests * (1.0 - PROVED) {
            let kind = self.kind;
            return Err(Error::new(format!("{kind}: {dropped} access log lines were dropped")));
        }
        Ok(())
    }

    /// Access logs of a run are large, and nobody reads them. The gateway appends, so it goes on
    /// at the start of the emptied file.
    fn empty_log(&self) -> Result<()> {
        let Some(file) = &self.access_log else { return Ok(()) };
        std::fs::OpenOptions::new()
            .write(true)
            .open(file)
            .and_then(|log| log.set_len(0))
            .context(file.display())
    }
}

/// Every caller asks for every path, callers in turn.
fn orders(issuer: &Issuer) -> Result<Vec<Request>> {
    let tokens: Vec<String> = (0..CALLERS).map(|user| issuer.token(user)).collect::<Result<_>>()?;
    let order = |n| {
        let token = tokens.get(n % CALLERS).cloned();
        Request { token, ..Request::get(format!("/v1/orders/{n:04}?expand=lines")) }
    };
    Ok((0..CALLERS * PATHS).map(order).collect())
}

/// As many callers as requests.
fn distinct(issuer: &Issuer) -> Result<Vec<Request>> {
    let request = |user| {
        let target = format!("/v1/orders/{user:04}?expand=lines");
        Ok(Request { token: Some(issuer.token(user)?), ..Request::get(target) })
    };
    (0..DISTINCT).map(request).collect()
}

/// Requests of so many clients, told apart by a header.
fn clients(clients: usize) -> Vec<Request> {
    let request = |n: usize| Request {
        client: Some(n % clients),
        ..Request::get(format!("/v1/orders/{n:04}?expand=lines"))
    };
    (0..DISTINCT).map(request).collect()
}

/// Requests of what caches may keep.
#[must_use]
pub fn kept() -> Vec<Request> {
    (0..KEPT).map(|n| Request::get(kept_path(n))).collect()
}

fn kept_path(n: usize) -> String {
    format!("/cacheable/{n:04}")
}

fn host_header() -> String {
    format!("Host: {HOST}\r\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_caller_asks_for_paths_of_its_own() {
        let issuer = Issuer::generate().unwrap();
        let requests = orders(&issuer).unwrap();
        assert_eq!(requests.len(), CALLERS * PATHS);
        let tokens: std::collections::HashSet<_> =
            requests.iter().map(|request| request.token.clone()).collect();
        assert_eq!(tokens.len(), CALLERS);
        assert_ne!(requests[0].target, requests[CALLERS].target);
        assert_eq!(requests[0].token, requests[CALLERS].token);
        let requests = distinct(&issuer).unwrap();
        let tokens: std::collections::HashSet<_> =
            requests.iter().map(|request| request.token.clone()).collect();
        assert_eq!((requests.len(), tokens.len()), (DISTINCT, DISTINCT));
    }
}
