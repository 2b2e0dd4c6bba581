//! Whether a server does its job, looked at before it is timed.

use serde_json::json;

use super::scenario::{Scenario, Tokens, prefix};
use super::server::Server;
use super::site::{LOW, Running, Site, bearer, first_target};
use crate::document::HOST;
use crate::{Error, Result, target};

/// How often each target is asked for before a cache must answer from what it keeps: not all of
/// them keep what they see for the first time.
const FILLS: usize = 3;
/// Requests against a limit of [`LOW`]: some must pass, the last must not.
const TRIES: u32 = 4 * LOW;

/// Looks at the server that will be timed.
pub async fn job(site: &Site<'_>, running: &Running) -> Result<()> {
    let scenario = running.scenario;
    let look = Look { site, running };
    let good = site.good_headers()?;
    look.whole(&first_target(scenario), &good).await?;
    if scenario.hits() {
        look.hits().await?;
    }
    let agreed = &running.agreed;
    let wanted = match scenario {
        Scenario::Tls => "TLSv1.3, ",
        Scenario::H2 => "h2, TLSv1.3, ",
        _ => "",
    };
    if !agreed.starts_with(wanted) {
        return Err(look.wrong(&format!("connections agreed on {agreed}, not on {wanted}")));
    }
    // The yardstick does nothing of what follows.
    if running.entry.server == Server::Bare {
        return Ok(());
    }
    if let Some(routes) = scenario.routes() {
        for n in [0, 1, routes / 2, routes - 1] {
            look.whole(&format!("{}/x", prefix(n)), &good).await?;
        }
        look.status("/nowhere/x", &good, 404).await?;
        look.status(&format!("{}/x", prefix(routes)), &good, 404).await?;
    }
    if scenario.tokens() != Tokens::None {
        look.tokens().await?;
        look.identity().await?;
    }
    Ok(())
}

/// Looks at a server whose limit is [`LOW`]: it must count each caller by itself.
pub async fn limit(site: &Site<'_>, running: &Running) -> Result<()> {
    let look = Look { site, running };
    let target = running.scenario.target(0);
    // Callers of its own: what is counted in Redis outlives who counted it.
    let name = running.entry.name;
    let headers = |caller: usize| -> Result<String> {
        let token = site.issuer.token(50 + caller)?;
        Ok(format!("{}X-Client: {name}-{caller}\r\n", bearer(&token)))
    };
    let (first, second) = (headers(0)?, headers(1)?);
    let mut statuses = Vec::new();
    for _ in 0..TRIES {
        let answer = site.ask(running.scenario, running.address, &target, &first).await?;
        statuses.push(answer.status);
    }
    let passed = statuses.iter().filter(|status| **status == 200).count();
    let only = statuses.iter().all(|status| [200, 429].contains(status));
    let right = (1..=2 * LOW as usize).contains(&passed);
    if !only || !right || statuses.first() != Some(&200) || statuses.last() != Some(&429) {
        return Err(look.wrong(&format!("with a limit of {LOW} it answered {statuses:?}")));
    }
    look.whole(&target, &second).await
}

struct Look<'a> {
    site: &'a Site<'a>,
    running: &'a Running,
}

impl Look<'_> {
    fn wrong(&self, what: &str) -> Error {
        let Running { entry, scenario, .. } = self.running;
        Error::new(format!("{} in {scenario}: {what}\n{}", entry.name, self.running.log_tail()))
    }

    /// A good answer with a whole body.
    async fn whole(&self, target: &str, headers: &str) -> Result<()> {
        let (scenario, address) = (self.running.scenario, self.running.address);
        let answer = self.site.ask(scenario, address, target, headers).await?;
        if answer.status == 200 && answer.body.len() == scenario.body_bytes() {
            return Ok(());
        }
        let bytes = answer.body.len();
        Err(self.wrong(&format!("{target} was answered {bytes} bytes, {}", answer.head)))
    }

    async fn status(&self, target: &str, headers: &str, wanted: u16) -> Result<()> {
        let (scenario, address) = (self.running.scenario, self.running.address);
        let answer = self.site.ask(scenario, address, target, headers).await?;
        if answer.status == wanted {
            return Ok(());
        }
        Err(self.wrong(&format!("{target} was answered {}, not {wanted}", answer.status)))
    }

    /// Fills the cache; then the origin must not be asked again.
    async fn hits(&self) -> Result<()> {
        let host = format!("Host: {HOST}\r\n");
        for _ in 0..FILLS {
            for request in target::kept() {
                self.whole(&request.target, &host).await?;
            }
        }
        let before = self.running.asked().await?;
        for request in target::kept() {
            self.whole(&request.target, &host).await?;
        }
        let asked = self.running.asked().await? - before;
        let wanted = if self.running.entry.server == Server::Bare { 100 } else { 0 };
        if asked == wanted {
            return Ok(());
        }
        Err(self.wrong(&format!("its origin was asked {asked} times for 100 kept answers")))
    }

    /// Only good tokens pass.
    async fn tokens(&self) -> Result<()> {
        let target = self.running.scenario.target(0);
        let issuer = &self.site.issuer;
        let good = issuer.token(1)?;
        // Another letter in the middle of the signature.
        let (rest, last) = good.split_at(good.len() - 100);
        let changed = if last.starts_with('A') { "B" } else { "A" };
        let forged = format!("{rest}{changed}{}", last.split_at(1).1);
        let expired = issuer.token_with(1, &json!({"iat": 999_999_000, "exp": 1_000_000_000}))?;
        let elsewhere = issuer.token_with(1, &json!({"aud": "elsewhere"}))?;
        let stranger = issuer.token_with(1, &json!({"iss": "https://elsewhere.example"}))?;
        self.status(&target, &format!("Host: {HOST}\r\n"), 401).await?;
        for bad in [forged, expired, elsewhere, stranger] {
            let headers = bearer(&bad);
            let address = self.running.address;
            let answer = self.site.ask(self.running.scenario, address, &target, &headers).await?;
            // Envoy says 403 to a token for another audience.
            if ![401, 403].contains(&answer.status) {
                return Err(self.wrong(&format!("a bad token was answered {}", answer.status)));
            }
        }
        self.whole(&target, &bearer(&good)).await
    }

    /// The origin is told who calls by the token, not by the client, and is not given the token.
    async fn identity(&self) -> Result<()> {
        let target = self.running.scenario.target(0);
        let headers = format!("{}X-Echo: 1\r\nX-User-Id: mallory\r\n", self.site.good_headers()?);
        let answer =
            self.site.ask(self.running.scenario, self.running.address, &target, &headers).await?;
        let text = String::from_utf8_lossy(&answer.body).to_ascii_lowercase();
        let named = |name: &str| -> Vec<&str> {
            let lines = text.lines().filter_map(|line| line.split_once(':'));
            lines.filter(|(own, _)| *own == name).map(|(_, value)| value.trim()).collect()
        };
        let id = named("x-request-id");
        let has_id = id.len() == 1 && id.iter().all(|id| id.len() >= 16);
        let fits = named("x-user-id") == ["user-00001"]
            && named("authorization").is_empty()
            && (has_id || !self.running.scenario.whole());
        if fits { Ok(()) } else { Err(self.wrong(&format!("its origin was sent\n{text}"))) }
    }
}
