//! Asking the admin listener of a running gateway.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use reqwest::{StatusCode, redirect};
use serde_json::Value;

use crate::cli::args::Running;
use crate::live::{Missing, resolve};
use crate::model::{Admin, Problems, load_file};

/// The environment variable with the admin listener's token.
const TOKEN: &str = "TIDEGATE_ADMIN_TOKEN";

/// Longest time for an answer: the gateway itself may wait for Redis, twice.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub(super) enum Method {
    /// To be told something.
    Get,
    /// To undo something.
    Delete,
    /// To do something.
    Post,
}

/// A running gateway.
pub(super) struct Client {
    admin: String,
    token: Option<String>,
    timeout: Duration,
}

impl Client {
    /// The gateway that is meant.
    ///
    /// # Errors
    /// With everything that is wrong with its configuration, for people.
    pub(super) fn of(running: &Running) -> Result<Self, String> {
        let (admin, token) = match &running.config {
            Some(file) => configured(file)?,
            None => (Admin::default().address, None),
        };
        let token = std::env::var(TOKEN).ok().filter(|token| !token.is_empty()).or(token);
        let admin = running.admin.clone().unwrap_or_else(|| reachable(&admin));
        Ok(Self { admin, token, timeout: TIMEOUT })
    }

    /// The same, waiting for an answer for longer than is usual.
    #[must_use]
    pub(super) fn patient(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Asks, and reads the answer.
    ///
    /// # Errors
    /// What the gateway says is wrong, or that it cannot be reached.
    pub(super) fn ask(&self, method: Method, target: &str) -> Result<Value, String> {
        self.exchange(method, target, None)?.map_err(|(_, why)| why)
    }

    /// Asks for something that may not be there.
    ///
    /// # Errors
    /// As [`ask`](Self::ask), but for 404.
    pub(super) fn find(&self, target: &str) -> Result<Option<Value>, String> {
        match self.exchange(Method::Get, target, None)? {
            Ok(found) => Ok(Some(found)),
            Err((StatusCode::NOT_FOUND, _)) => Ok(None),
            Err((_, why)) => Err(why),
        }
    }

    /// Asks for a page that is not JSON.
    ///
    /// # Errors
    /// As [`ask`](Self::ask).
    pub(super) fn text(&self, target: &str) -> Result<String, String> {
        let (status, body) = self.roundtrip(Method::Get, target, None)?;
        if !status.is_success() {
            return Err(format!("the gateway at {} answered {status}\n", self.admin));
        }
        Ok(String::from_utf8_lossy(&body).into_owned())
    }

    /// Posts JSON, and reads the answer.
    ///
    /// # Errors
    /// As [`ask`](Self::ask).
    pub(super) fn send_json(&self, target: &str, body: &Value) -> Result<Value, String> {
        self.exchange(Method::Post, target, Some(body))?.map_err(|(_, why)| why)
    }

    fn exchange(
        &self,
        method: Method,
        target: &str,
        body: Option<&Value>,
    ) -> Result<Result<Value, (StatusCode, String)>, String> {
        let (status, body) = self.roundtrip(method, target, body)?;
        let told = serde_json::from_slice::<Value>(&body).unwrap_or(Value::Null);
        if status.is_success() && !told.is_null() {
            return Ok(Ok(told));
        }
        let problems = told.get("problems").and_then(Value::as_array).into_iter().flatten();
        let problems: Vec<String> = problems.filter_map(in_words).collect();
        if problems.is_empty() {
            return Ok(Err((status, format!("the gateway at {} answered {status}\n", self.admin))));
        }
        let hint = match (status, &self.token) {
            (StatusCode::UNAUTHORIZED, None) => {
                format!("give it by {TOKEN}, or by --config FILE\n")
            }
            (StatusCode::UNAUTHORIZED, Some(_)) => "the token that was given is another\n".into(),
            _ => String::new(),
        };
        Ok(Err((status, format!("{}\n{hint}", problems.join("\n")))))
    }

    fn roundtrip(
        &self,
        method: Method,
        target: &str,
        body: Option<&Value>,
    ) -> Result<(StatusCode, Vec<u8>), String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| format!("{error}\n"))?;
        runtime.block_on(self.send(method, target, body)).map_err(|error| self.unreachable(&error))
    }

    async fn send(
        &self,
        method: Method,
        target: &str,
        body: Option<&Value>,
    ) -> Result<(StatusCode, Vec<u8>), reqwest::Error> {
        // An error here means that a provider is installed already, which is what is wanted.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .no_proxy()
            .redirect(redirect::Policy::none())
            .timeout(self.timeout)
            .build()?;
        let url = format!("http://{}{target}", self.admin);
        let mut request = match method {
            Method::Get => client.get(url),
            Method::Delete => client.delete(url),
            Method::Post => client.post(url),
        };
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        let response = request.send().await?;
        let status = response.status();
        Ok((status, response.bytes().await?.to_vec()))
    }

    /// Without the address of what was asked: it may hold parts of a key.
    fn unreachable(&self, error: &reqwest::Error) -> String {
        let why = if error.is_builder() {
            "that is not an address such as 127.0.0.1:9901"
        } else if error.is_timeout() {
            "no answer in time"
        } else if error.is_connect() {
            "no connection"
        } else {
            "the answer broke off"
        };
        format!("the gateway at {} cannot be asked: {why}\n", self.admin)
    }
}

/// A problem as the gateway tells it: a sentence, or one of a configuration.
fn in_words(problem: &Value) -> Option<String> {
    if let Some(sentence) = problem.as_str() {
        return Some(sentence.to_owned());
    }
    let text = |key: &str| problem.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    let number = |key: &str| problem.get(key).and_then(Value::as_u64);
    let mut words = format!("{}[{}]: ", text("severity")?, text("code")?);
    // Writing to a string cannot fail.
    if let Some(file) = text("file") {
        words.push_str(file);
        if let (Some(line), Some(column)) = (number("line"), number("column")) {
            let _ = write!(words, ":{line}:{column}");
        }
        words.push_str(": ");
    }
    if let Some(path) = text("path") {
        words.push_str(path);
        words.push_str(": ");
    }
    words.push_str(text("message")?);
    if let Some(help) = text("help") {
        let _ = write!(words, " ({help})");
    }
    Some(words)
}

/// The admin listener's address and token.
fn configured(file: &Path) -> Result<(String, Option<String>), String> {
    let loaded = load_file(file);
    let Some(config) = loaded.config.clone().filter(|_| !loaded.problems.has_errors()) else {
        return Err(loaded.render(&loaded.problems));
    };
    // What else cannot be resolved here is of no concern.
    let resolved = resolve(&config, Missing::Refused, &mut Problems::default());
    let token = config.admin.token.as_ref().and_then(|token| resolved.secret(token));
    Ok((config.admin.address.clone(), token.map(ToOwned::to_owned)))
}

/// An address that can be connected to: who listens on all addresses listens on loopback too.
pub(super) fn reachable(address: &str) -> String {
    match address.parse::<SocketAddr>() {
        Ok(at) if at.ip().is_unspecified() => {
            let loopback: IpAddr = match at {
                SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
                SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
            };
            SocketAddr::new(loopback, at.port()).to_string()
        }
        _ => address.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{in_words, reachable};
    use crate::model::Problem;

    /// As the gateway itself would say it.
    #[test]
    fn problems_are_told_in_the_words_of_the_gateway() {
        assert_eq!(in_words(&json!("no")).as_deref(), Some("no"));
        let plain = Problem::error("file.unreadable", "", "it cannot be read");
        let mut placed = Problem::warning("value.odd", "routes[0].name", "odd").help("say `even`");
        (placed.file, placed.line, placed.column) =
            (Some("gateway.yaml".to_owned()), Some(3), Some(7));
        for problem in [plain, placed] {
            assert_eq!(in_words(&json!(problem)), Some(problem.to_string()));
        }
        assert_eq!(in_words(&json!({"severity": "error"})), None);
    }

    #[test]
    fn every_listener_can_be_reached() {
        assert_eq!(reachable("0.0.0.0:9901"), "127.0.0.1:9901");
        assert_eq!(reachable("[::]:9901"), "[::1]:9901");
        assert_eq!(reachable("10.0.0.1:1"), "10.0.0.1:1");
    }
}
