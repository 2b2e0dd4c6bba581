//! One fetch of a key set over HTTP, bounded in time and size.

use reqwest::{Client, StatusCode, Url, redirect};

use super::jwks::{self, SetRefused};
use super::key::Key;
use super::provider::is_loopback;
use crate::model::JwksSettings;

/// Largest document read, in bytes.
pub(super) const DOCUMENT_BYTES_MAX: usize = 1024 * 1024;

/// Why a fetch brought nothing. Says no URL: it may hold a key of its own.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    /// The issuer could not be reached or did not answer in time.
    #[error("the key set could not be fetched")]
    Http(#[source] reqwest::Error),
    /// The issuer answered something else than 200. Redirects are not followed: they would let
    /// whoever can write one place at the issuer name another server.
    #[error("the issuer answered {0}")]
    Status(StatusCode),
    /// The answer does not end.
    #[error("the answer is longer than 1 MiB")]
    TooLarge,
    /// The answer is not a key set that can be used.
    #[error(transparent)]
    Set(#[from] SetRefused),
}

impl From<reqwest::Error> for FetchError {
    fn from(error: reqwest::Error) -> Self {
        Self::Http(error.without_url())
    }
}

/// A key set as fetched.
#[derive(Debug)]
pub(super) struct Fetched {
    pub(super) keys: Vec<Key>,
    pub(super) document: Vec<u8>,
}

/// Makes the client for one URL. Call it on the runtime that will use it: connections are tasks
/// of the runtime they were made on.
///
/// # Errors
/// Returns what is missing for TLS: usually the system's root certificates.
pub(super) fn client(url: &Url, settings: &JwksSettings) -> Result<Client, reqwest::Error> {
    // Whoever was first wins; both install ring.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = Client::builder()
        .user_agent("tidegate")
        .timeout(settings.timeout.get())
        .connect_timeout(settings.timeout.get())
        .redirect(redirect::Policy::none())
        // Minutes pass between fetches; a kept connection would only be a stale one.
        .pool_max_idle_per_host(0);
    if url.scheme() == "http" {
        // Without TLS there is no reason to need the system's certificates.
        builder = builder.tls_certs_only([]);
    }
    if is_loopback(url) {
        builder = builder.no_proxy();
    }
    builder.build().map_err(reqwest::Error::without_url)
}

/// Fetches and reads a key set.
///
/// # Errors
/// Returns why there is nothing to use.
pub(super) async fn fetch(client: &Client, url: Url) -> Result<Fetched, FetchError> {
    let mut response = client.get(url).header("accept", ACCEPT).send().await?;
    if response.status() != StatusCode::OK {
        return Err(FetchError::Status(response.status()));
    }
    let mut document = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if document.len() + chunk.len() > DOCUMENT_BYTES_MAX {
            return Err(FetchError::TooLarge);
        }
        document.extend_from_slice(&chunk);
    }
    Ok(Fetched { keys: jwks::read(&document)?, document })
}

/// RFC 7517, 8.5.2; most issuers say `application/json` and are not held to either.
const ACCEPT: &str = "application/jwk-set+json, application/json";
