//! Asks a Consul agent for the healthy instances of a service.
//!
//! `GET /v1/health/service/NAME?passing=true`, by blocking queries: an answer comes when
//! something has changed since `X-Consul-Index`, or after `wait`. That the agent filters is not
//! relied on: an instance with a check that does not pass is left out here too.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::HeaderValue;
use reqwest::{Client, StatusCode, Url, redirect};
use serde::Deserialize;
use tokio::time::Instant;

use super::answer::{Answer, Hint, INSTANCES_MAX, Place, in_one_line};
use crate::model::ConsulSource;

/// Longest document read, in bytes.
const DOCUMENT_BYTES_MAX: usize = 1024 * 1024;

/// Longest time that an agent is asked to wait for a change.
const WAIT_MAX: Duration = Duration::from_mins(1);

/// Largest weight of an instance; that of SRV records.
const WEIGHT_MAX: i64 = 65_535;

/// A service in Consul, and how its agent is asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Catalog {
    url: Url,
    service: String,
    tag: Option<String>,
    datacenter: Option<String>,
    token: Option<Token>,
}

/// An ACL token, as a header. Never shown.
#[derive(Clone, PartialEq, Eq)]
struct Token(HeaderValue);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

impl Hash for Token {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.as_bytes().hash(state);
    }
}

/// Why there is no answer. Says no URL: it is the agent's and the same each time.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("the agent could not be asked")]
    Http(#[source] reqwest::Error),
    #[error("the agent answered {0}")]
    Status(StatusCode),
    #[error("the answer is longer than 1 MiB")]
    TooLong,
    #[error("the answer is not a list of instances: {0}")]
    Json(#[from] serde_json::Error),
    #[error("more than {INSTANCES_MAX} instances")]
    TooMany,
    #[error("no instance has an IP address")]
    NoAddress,
}

impl From<reqwest::Error> for Refused {
    fn from(error: reqwest::Error) -> Self {
        Self::Http(error.without_url())
    }
}

impl Catalog {
    /// Reads the settings; `token` is the value of the configured secret.
    ///
    /// # Errors
    /// The key that is wrong, and why.
    pub(super) fn new(
        model: &ConsulSource,
        token: Option<&str>,
    ) -> Result<Self, (&'static str, String)> {
        let wrong = |what: &str| ("url", format!("the URL of the agent {what}"));
        let mut url = Url::parse(&model.url).map_err(|_| wrong("cannot be read"))?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(wrong("begins with `http://` or `https://` and a host"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(wrong("holds no user or password; a token goes into `token`"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(wrong("has no query"));
        }
        if model.service.is_empty() {
            return Err(("service", "a service needs a name".to_owned()));
        }
        {
            let mut path = url.path_segments_mut().map_err(|()| wrong("cannot be a base"))?;
            path.pop_if_empty().extend(["v1", "health", "service", model.service.as_str()]);
        }
        let token = token.map(|token| {
            let mut value = HeaderValue::from_str(token)
                .map_err(|_| ("token", "the token holds characters that no header can".into()))?;
            value.set_sensitive(true);
            Ok(Token(value))
        });
        Ok(Self {
            url,
            service: model.service.clone(),
            tag: model.tag.clone(),
            datacenter: model.datacenter.clone(),
            token: token.transpose()?,
        })
    }

    /// Makes a client. Call it on the runtime that will use it. `refresh` is how long the agent
    /// is asked to wait for a change, `limit` the time for an answer beyond that.
    ///
    /// # Errors
    /// What is missing for TLS: usually the system's root certificates.
    pub(super) fn agent(&self, refresh: Duration, limit: Duration) -> Result<Agent, String> {
        // Whoever was first wins; both install ring.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = Client::builder()
            .user_agent("tidegate")
            .connect_timeout(limit)
            .redirect(redirect::Policy::none())
            .pool_max_idle_per_host(1);
        if self.url.scheme() == "http" {
            // Without TLS there is no reason to need the system's certificates.
            builder = builder.tls_certs_only([]);
        }
        if is_loopback(&self.url) {
            builder = builder.no_proxy();
        }
        let client = builder.build().map_err(|error| in_one_line(&error.without_url()))?;
        Ok(Agent { client, wait: refresh.min(WAIT_MAX), limit })
    }

    /// The query; `index` 0 asks for an answer at once.
    fn query(&self, index: u64, wait: Duration) -> Url {
        let mut url = self.url.clone();
        {
            let mut query = url.query_pairs_mut();
            query.append_pair("passing", "true");
            for (name, value) in [("tag", &self.tag), ("dc", &self.datacenter)] {
                if let Some(value) = value {
                    query.append_pair(name, value);
                }
            }
            if index > 0 {
                query.append_pair("index", &index.to_string());
                query.append_pair("wait", &format!("{}ms", wait.as_millis()));
            }
        }
        url
    }
}

impl fmt::Display for Catalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "consul:{}", self.service)?;
        for (name, value) in [("tag", &self.tag), ("dc", &self.datacenter)] {
            if let Some(value) = value {
                write!(f, " {name}={value}")?;
            }
        }
        Ok(())
    }
}

/// A client of one agent.
pub(super) struct Agent {
    client: Client,
    wait: Duration,
    limit: Duration,
}

impl Agent {
    /// Asks once; with a `cursor`, for what has changed since.
    pub(super) async fn ask(&self, catalog: &Catalog, cursor: u64) -> Answer {
        let began = Instant::now();
        // An agent adds up to a sixteenth to the time it is asked to wait.
        let wait = if cursor > 0 { self.wait + self.wait / 16 } else { Duration::ZERO };
        let mut request = self
            .client
            .get(catalog.query(cursor, self.wait))
            .header("accept", "application/json")
            .timeout(wait + self.limit);
        if let Some(Token(token)) = &catalog.token {
            request = request.header("x-consul-token", token.clone());
        }
        match fetch(request).await {
            Ok((places, index)) => {
                let early = cursor > 0 && began.elapsed() < self.wait / 2;
                let hint = Hint::Watch { index: next_index(cursor, index), early };
                Answer { places: Ok(places), hint }
            }
            Err(refused) => Answer::failed(in_one_line(&refused)),
        }
    }
}

async fn fetch(request: reqwest::RequestBuilder) -> Result<(Vec<Place>, u64), Refused> {
    let mut response = request.send().await?;
    if response.status() != StatusCode::OK {
        return Err(Refused::Status(response.status()));
    }
    let index = response.headers().get("x-consul-index");
    let index = index.and_then(|index| index.to_str().ok()?.parse().ok()).unwrap_or(0);
    let mut document = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if document.len() + chunk.len() > DOCUMENT_BYTES_MAX {
            return Err(Refused::TooLong);
        }
        document.extend_from_slice(&chunk);
    }
    Ok((read(&document)?, index))
}

/// Where to count changes from next. An index that goes back, as after the agent's state was
/// restored, would wait for changes that lie behind: the count begins anew.
const fn next_index(asked: u64, answered: u64) -> u64 {
    if answered < asked { 0 } else { answered }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    node: Node,
    service: Service,
    checks: Vec<Check>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Node {
    #[serde(default)]
    address: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Service {
    #[serde(default)]
    address: String,
    port: u16,
    #[serde(default)]
    weights: Option<Weights>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Weights {
    passing: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Check {
    status: String,
}

/// Reads an answer of the health API. An answer that is wrong in one place is refused whole: an
/// instance that is left out by mistake is an outage.
fn read(document: &[u8]) -> Result<Vec<Place>, Refused> {
    let entries: Vec<Entry> = serde_json::from_slice(document)?;
    if entries.len() > INSTANCES_MAX {
        return Err(Refused::TooMany);
    }
    let passing = |entry: &&Entry| entry.checks.iter().all(|check| check.status == "passing");
    let passing: Vec<&Entry> = entries.iter().filter(passing).collect();
    let places: Vec<Place> = passing.iter().filter_map(|entry| place(entry)).collect();
    if places.is_empty() && !passing.is_empty() {
        return Err(Refused::NoAddress);
    }
    Ok(places)
}

/// Where an instance is; none where its address is a name, which only its own network may know.
fn place(entry: &Entry) -> Option<Place> {
    let service = &entry.service;
    let address = match service.address.as_str() {
        "" => entry.node.address.as_str(),
        address => address,
    };
    let Ok(ip) = address.parse::<IpAddr>() else {
        tracing::debug!(address, "an instance whose address is not an IP address is left out");
        return None;
    };
    let weight = service.weights.as_ref().map_or(1, |weights| weights.passing);
    Some(Place {
        ip,
        port: (service.port != 0).then_some(service.port),
        host: Arc::from(address),
        weight: u32::try_from(weight.clamp(0, WEIGHT_MAX)).unwrap_or(1),
    })
}

/// Whether a URL leads to this machine; a proxy could not reach it.
fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let literal = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || literal.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests;
