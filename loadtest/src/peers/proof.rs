//! Whether a round was what it claims: what the origin, Redis and the gateway's own counters say.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::scenario::{CALLERS, Scenario, Tokens};
use super::server::Server;
use super::site::Running;
use crate::wrk::Tally;
use crate::{Context, Error, Result, probe};

/// The part of the requests that must have been treated as the scenario says. The rest is what
/// was in flight when the counters were read.
const PROVED: f64 = 0.99;
/// The same of leases, and how many of each client's first requests of a round are not leased.
const LEASED: (f64, f64) = (0.9, 10.0);
/// The part of new tokens that the gateway may know all the same.
const KNOWN: f64 = 0.05;

/// Counters beside a round.
pub struct Counts {
    origin: u64,
    redis: u64,
    own: String,
}

impl Counts {
    /// Reads them all.
    pub async fn read(running: &Running, redis: SocketAddr) -> Result<Self> {
        let own = if running.entry.server == Server::Tidegate {
            probe::metrics(running.admin).await?
        } else {
            String::new()
        };
        let counts_there = running.scenario == Scenario::Redis;
        let redis = if counts_there { script_calls(redis).await? } else { 0 };
        Ok(Self { origin: running.asked().await?, redis, own })
    }
}

/// Whether a round was what it claims.
pub fn prove(running: &Running, before: &Counts, after: &Counts, tally: &Tally) -> Result<()> {
    let (scenario, server) = (running.scenario, running.entry.server);
    if tally.errors() > 0 || tally.requests == 0 {
        return Err(Error::new("errors, or no answers"));
    }
    if tally.bytes < tally.requests * scenario.body_bytes() as u64 {
        return Err(Error::new("bodies are missing"));
    }
    let grown = |name: &str, labels: &[(&str, &str)]| {
        probe::sum(&after.own, name, labels) - probe::sum(&before.own, name, labels)
    };
    let tokens = || grown("tidegate_token_cache_total", &[("outcome", "hit")]);
    let limit = |counter| {
        grown("tidegate_limit_decisions_total", &[("decision", "allowed"), ("counter", counter)])
    };
    let asked = as_float(after.origin - before.origin);
    let mut claims = Vec::new();
    if scenario.hits() && server != Server::Bare {
        claims.push(("requests that its origin saw", asked, 0.0, 0.0));
    } else {
        claims.push(("requests that its origin saw", asked, PROVED, 1.1));
    }
    let own = server == Server::Tidegate;
    let leased = running.entry.name == "tidegate-leased";
    match scenario {
        Scenario::Redis if leased => {
            let first = LEASED.1 * as_float(CALLERS as u64);
            claims.push(("leased", limit("lease") + first, LEASED.0, f64::INFINITY));
        }
        Scenario::Redis if server != Server::Bare => {
            let calls = as_float(after.redis - before.redis);
            claims.push(("script calls of Redis", calls, PROVED, 1.1));
            if own {
                claims.push(("counted in Redis", limit("redis"), PROVED, 1.1));
            }
        }
        _ if own && scenario.hits() => {
            let hits = grown("tidegate_cache_total", &[("outcome", "hit")]);
            claims.push(("hits", hits, PROVED, 1.1));
        }
        _ if own && scenario.tokens() == Tokens::New => {
            claims.push(("known tokens", tokens(), 0.0, KNOWN));
        }
        _ if own && scenario.tokens() == Tokens::Recurring => {
            claims.push(("known tokens", tokens(), PROVED, 1.1));
        }
        _ => {}
    }
    if own && scenario.whole() {
        claims.push(("counted on the node", limit("local"), PROVED, 1.1));
    }
    let requests = as_float(tally.requests);
    for (what, count, least, most) in claims {
        // What was in flight when counters were read before belongs to another round.
        let most = most * requests + if most > 0.0 { 100.0 } else { 0.0 };
        if count < least * requests || count > most {
            let what = format!("{what}: {count} in a round of {requests} answers");
            return Err(Error::new(format!("{what}: this measured something else")));
        }
    }
    Ok(())
}

/// How often Redis was told to run a script.
async fn script_calls(redis: SocketAddr) -> Result<u64> {
    let exchange = async {
        let mut stream = TcpStream::connect(redis).await?;
        stream.write_all(b"INFO commandstats\r\nQUIT\r\n").await?;
        let mut text = Vec::new();
        stream.read_to_end(&mut text).await?;
        std::io::Result::Ok(text)
    };
    let text = exchange.await.context("Redis")?;
    let text = String::from_utf8_lossy(&text);
    let calls = text.lines().filter_map(|line| {
        let (command, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
        let scripts = ["eval", "evalsha", "fcall", "eval_ro", "evalsha_ro"];
        let count = rest.split(',').next()?.parse::<u64>().ok()?;
        scripts.contains(&command).then_some(count)
    });
    Ok(calls.sum())
}

#[expect(clippy::cast_precision_loss, reason = "counts of a run are far below 2^53")]
const fn as_float(count: u64) -> f64 {
    count as f64
}
