//! One question over HTTP, bounded in time and size.

use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use reqwest::{Client, StatusCode, redirect};

use super::Endpoint;
use super::answer::Malformed;
use super::endpoint::form_encode;
use crate::auth::jwt::provider::is_loopback;
use crate::drill::{self, Dependency, Trouble};

/// Largest answer read, in bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Connections kept for the next questions.
const IDLE_CONNECTIONS: usize = 8;

/// Why there is no answer. Says no URL and nothing that the issuer sent.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The configuration has no URL that could be asked.
    #[error("there is no URL to ask")]
    NoUrl,
    /// The issuer could not be reached, or broke off.
    #[error("the issuer could not be reached")]
    Unreachable(#[source] reqwest::Error),
    /// A drill is under way.
    #[error("the issuer could not be reached: a drill")]
    Drill,
    /// No answer within the time limit.
    #[error("no answer in time")]
    Timeout,
    /// The issuer does not know the gateway: `clientId` or `clientSecret` is wrong.
    #[error("the issuer refuses the gateway's own clientId and clientSecret: {0}")]
    Credentials(StatusCode),
    /// The issuer answered something else than 200. Redirects are not followed: they would
    /// carry tokens to another server.
    #[error("the issuer answered {0}")]
    Status(StatusCode),
    /// The answer does not end.
    #[error("the answer is longer than 64 KiB")]
    TooLarge,
    /// The answer says nothing that can be relied on.
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

impl From<reqwest::Error> for Failure {
    fn from(error: reqwest::Error) -> Self {
        if error.is_timeout() { Self::Timeout } else { Self::Unreachable(error.without_url()) }
    }
}

impl Failure {
    /// The word for the metric.
    pub(super) const fn outcome(&self) -> &'static str {
        match self {
            Self::NoUrl | Self::Unreachable(_) | Self::Drill => "unreachable",
            Self::Timeout => "timeout",
            Self::Credentials(_) => "credentials",
            Self::Status(_) => "status",
            Self::TooLarge | Self::Malformed(_) => "malformed",
        }
    }
}

/// Makes the client for an endpoint. Call it on the runtime that will use it: connections are
/// tasks of the runtime they were made on.
///
/// # Errors
/// Returns what is missing for TLS: usually the system's root certificates.
pub(super) fn client(endpoint: &Endpoint) -> Result<Client, Failure> {
    let url = endpoint.url.as_ref().ok_or(Failure::NoUrl)?;
    // Whoever was first wins; both install ring.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = Client::builder()
        .user_agent("tidegate")
        .timeout(endpoint.timeout)
        .connect_timeout(endpoint.timeout)
        .redirect(redirect::Policy::none())
        .pool_max_idle_per_host(IDLE_CONNECTIONS);
    if url.scheme() == "http" {
        // Without TLS there is no reason to need the system's certificates.
        builder = builder.tls_certs_only([]);
    } else if let Some(authorities) = &endpoint.authorities {
        builder = builder.tls_certs_only(authorities.clone());
    }
    if is_loopback(url) {
        builder = builder.no_proxy();
    }
    Ok(builder.build()?)
}

/// Asks about a token (RFC 7662, 2.1); the answer as it came.
///
/// # Errors
/// Returns why there is none.
pub(super) async fn ask(
    client: &Client,
    endpoint: &Endpoint,
    token: &str,
) -> Result<Vec<u8>, Failure> {
    let url = endpoint.url.clone().ok_or(Failure::NoUrl)?;
    match drill::of(Dependency::Introspection) {
        None => {}
        Some(Trouble::Down) => return Err(Failure::Drill),
        // The caller bounds the wait.
        Some(Trouble::Slow) => return std::future::pending().await,
        Some(Trouble::Wrong) => return Ok(drill::PAGE.to_vec()),
    }
    let body = format!("token={}&token_type_hint=access_token", form_encode(token));
    let mut response = client
        .post(url)
        .header(AUTHORIZATION, endpoint.authorization.clone())
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header(ACCEPT, "application/json")
        .body(body)
        .send()
        .await?;
    match response.status() {
        StatusCode::OK => {}
        status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
            return Err(Failure::Credentials(status));
        }
        status => return Err(Failure::Status(status)),
    }
    let mut answer = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if answer.len().saturating_add(chunk.len()) > ANSWER_BYTES_MAX {
            return Err(Failure::TooLarge);
        }
        answer.extend_from_slice(&chunk);
    }
    Ok(answer)
}
