//! Requests to the listener before, during and after a drill: few, and bounded in every way.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Method, redirect};
use serde::Serialize;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

/// Time between two requests for one path.
pub(super) const EVERY: Duration = Duration::from_millis(250);
/// Longest time for one answer: a route may take 30 s (R177).
const TIMEOUT: Duration = Duration::from_secs(35);
/// Requests under way at once; beyond it none are sent.
const AT_ONCE: usize = 64;
/// Most bytes that are read of an answer: a problem has far less.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) struct Outcome {
    /// The status; 0 where there was no answer.
    pub(super) status: u16,
    /// The code of the gateway's own answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) code: Option<String>,
}

impl Outcome {
    pub(super) fn new(status: u16, code: &str) -> Self {
        Self { status, code: (!code.is_empty()).then(|| code.to_owned()) }
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.status, &self.code) {
            (0, _) => f.write_str("no answer"),
            (status, None) => write!(f, "{status}"),
            (status, Some(code)) => write!(f, "{status} {code}"),
        }
    }
}

/// What came of the requests for one path: how long each took, by outcome.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen(pub(super) BTreeMap<Outcome, Vec<Duration>>);

impl Seen {
    fn add(&mut self, outcome: Outcome, took: Duration) {
        self.0.entry(outcome).or_default().push(took);
    }

    /// Adds what another round saw.
    pub(super) fn join(&mut self, other: Self) {
        for (outcome, took) in other.0 {
            self.0.entry(outcome).or_default().extend(took);
        }
    }
}

/// Sends requests.
pub(super) struct Prober {
    runtime: Runtime,
    client: Client,
    method: Method,
    headers: HeaderMap,
    urls: Vec<String>,
}

impl Prober {
    /// Requests to `base` for each of these paths.
    ///
    /// # Errors
    /// What is wrong with them, for people.
    pub(super) fn new(
        base: &str,
        paths: &[String],
        method: &str,
        headers: HeaderMap,
        insecure: bool,
    ) -> Result<Self, String> {
        // An error here means that a provider is installed already, which is what is wanted.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let wrong = |error: &dyn std::fmt::Display| format!("{error}\n");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let client = Client::builder()
            .no_proxy()
            .redirect(redirect::Policy::none())
            .timeout(TIMEOUT)
            .tls_danger_accept_invalid_certs(insecure)
            .build();
        let slash = |path: &str| if path.starts_with('/') { "" } else { "/" };
        let base = base.trim_end_matches('/');
        Ok(Self {
            runtime: runtime.map_err(|error| wrong(&error))?,
            client: client.map_err(|error| wrong(&error))?,
            method: Method::from_bytes(method.as_bytes()).map_err(|error| wrong(&error))?,
            headers,
            urls: paths.iter().map(|path| format!("{base}{}{path}", slash(path))).collect(),
        })
    }

    /// Asks for every path again and again for so long, and waits for the answers.
    pub(super) fn ask_for(&self, length: Duration) -> Vec<Seen> {
        self.runtime.block_on(async {
            let end = clock::now().tick.instant() + length;
            let mut ticks = tokio::time::interval(EVERY);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut tasks = JoinSet::new();
            loop {
                ticks.tick().await;
                for (index, url) in self.urls.iter().enumerate() {
                    if tasks.len() < AT_ONCE {
                        tasks.spawn(self.ask(index, url));
                    }
                }
                if clock::now().tick.instant() + EVERY > end {
                    break;
                }
            }
            let mut seen = vec![Seen::default(); self.urls.len()];
            while let Some(answered) = tasks.join_next().await {
                if let Ok((index, outcome, took)) = answered
                    && let Some(seen) = seen.get_mut(index)
                {
                    seen.add(outcome, took);
                }
            }
            seen
        })
    }

    fn ask(
        &self,
        index: usize,
        url: &str,
    ) -> impl Future<Output = (usize, Outcome, Duration)> + use<> {
        let request = self.client.request(self.method.clone(), url).headers(self.headers.clone());
        async move {
            let began = clock::now().tick.instant();
            let outcome = answer(request).await;
            (index, outcome.unwrap_or_else(|_| Outcome::new(0, "")), began.elapsed())
        }
    }
}

async fn answer(request: reqwest::RequestBuilder) -> Result<Outcome, reqwest::Error> {
    let mut response = request.send().await?;
    let status = response.status().as_u16();
    let kind = response.headers().get("content-type").cloned();
    let is_problem = kind.is_some_and(|kind| kind.as_bytes() == b"application/problem+json");
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > BODY_BYTES_MAX {
            break;
        }
        body.extend_from_slice(&chunk);
    }
    let told = serde_json::from_slice::<serde_json::Value>(&body).ok().filter(|_| is_problem);
    let code = told.as_ref().and_then(|told| told.get("code")?.as_str()).unwrap_or_default();
    Ok(Outcome::new(status, code))
}

/// Header lines as they are typed, and the host that is named.
///
/// # Errors
/// Which is none.
pub(super) fn headers(lines: &[String], host: Option<&str>) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    let host = host.map(|host| format!("host: {host}"));
    for line in host.iter().chain(lines) {
        let (name, value) = line
            .split_once(':')
            .and_then(|(name, value)| {
                let name = HeaderName::try_from(name.trim()).ok()?;
                Some((name, HeaderValue::from_str(value.trim()).ok()?))
            })
            .ok_or_else(|| format!("`{line}` is not a header line, `name: value`\n"))?;
        headers.append(name, value);
    }
    Ok(headers)
}
