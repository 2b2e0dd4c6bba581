//! One document of an issuer over HTTP, bounded in time and size.

use std::time::{Duration, SystemTime};

use reqwest::header::{
    ACCEPT, ETAG, HeaderMap, HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED,
};
use reqwest::{Certificate, Client, StatusCode, Url, redirect};

use super::discovery::DocumentRefused;
use super::freshness;
use super::settings::FetchSettings;
use crate::auth::jwt::jwks::SetRefused;
use crate::auth::jwt::provider::is_loopback;
use crate::drill::{self, Dependency, Trouble};

/// Largest document read, in bytes.
pub(in crate::auth) const DOCUMENT_BYTES_MAX: usize = 1024 * 1024;
/// Longest validator that is sent back, in bytes.
const VALIDATOR_BYTES_MAX: usize = 1024;

/// RFC 7517, 8.5.2; most issuers say `application/json` and are not held to either.
const ACCEPTED: &str = "application/jwk-set+json, application/json";

/// Why a fetch brought nothing. Says no URL: it may hold a key of its own.
#[derive(Debug, thiserror::Error)]
pub(in crate::auth) enum FetchError {
    /// What is needed for TLS is missing: usually the system's root certificates.
    #[error("no client for the issuer can be made")]
    Client(#[source] reqwest::Error),
    /// The issuer could not be reached, did not prove who it is, or did not answer in time.
    #[error("the issuer could not be asked")]
    Http(#[source] reqwest::Error),
    /// The issuer answered something else than 200. Redirects are not followed: they would let
    /// whoever can write one place at the issuer name another server.
    #[error("the issuer answered {status}")]
    Status {
        /// Its status.
        status: StatusCode,
        /// How long it asks to be left alone.
        retry_after: Option<Duration>,
    },
    /// The answer does not end.
    #[error("the answer is longer than 1 MiB")]
    TooLarge,
    /// The discovery document leads nowhere.
    #[error(transparent)]
    Discovery(#[from] DocumentRefused),
    /// The answer is not a key set that can be used.
    #[error(transparent)]
    Set(#[from] SetRefused),
    /// A drill is under way; the reason is that of the real thing.
    #[error("the issuer could not be asked: a drill")]
    Drill(&'static str),
    /// "Not modified", and the set that this is about is gone.
    #[error("the issuer confirmed a key set that is not in force")]
    NothingToConfirm,
}

impl FetchError {
    /// The reason in one word, for the metric.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::Client(_) => "client",
            Self::Http(error) if error.is_timeout() => "timeout",
            Self::Http(error) if error.is_connect() => "connect",
            Self::Http(_) => "broken",
            Self::Status { .. } => "status",
            Self::TooLarge => "too_large",
            Self::Discovery(_) => "discovery",
            Self::Set(SetRefused::Malformed(_)) => "malformed",
            Self::Set(_) => "keys",
            Self::NothingToConfirm => "unconfirmed",
            Self::Drill(reason) => reason,
        }
    }

    /// How long the issuer asks to be left alone.
    pub(super) const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

impl From<reqwest::Error> for FetchError {
    fn from(error: reqwest::Error) -> Self {
        Self::Http(error.without_url())
    }
}

/// By what an issuer can tell that nothing has changed (RFC 9110, 8.8).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Validators {
    pub(super) etag: Option<HeaderValue>,
    pub(super) last_modified: Option<HeaderValue>,
}

impl Validators {
    fn of(headers: &HeaderMap) -> Self {
        let value =
            |name| headers.get(name).filter(|value| value.len() <= VALIDATOR_BYTES_MAX).cloned();
        Self { etag: value(ETAG), last_modified: value(LAST_MODIFIED) }
    }

    const fn is_empty(&self) -> bool {
        self.etag.is_none() && self.last_modified.is_none()
    }
}

/// What an issuer answered.
#[derive(Debug)]
pub(super) struct Answer {
    /// The document; none where what is held already was confirmed.
    pub(super) document: Option<Vec<u8>>,
    /// What to ask with next time.
    pub(super) validators: Validators,
    /// How long it is fresh, if the issuer says so.
    pub(super) lifetime: Option<Duration>,
}

/// Asks one issuer. Its client is made on first use, so use it on one runtime only: connections
/// are tasks of the runtime they were made on.
#[derive(Debug)]
pub(super) struct Asker {
    settings: FetchSettings,
    client: Option<(Reach, Client)>,
}

/// What a client is made for: whether there is TLS, whether the issuer is on this machine.
type Reach = (bool, bool);

impl Asker {
    pub(super) const fn new(settings: FetchSettings) -> Self {
        Self { settings, client: None }
    }

    /// Asks for a document. `held` is what is known of the one that is here already; `now` is
    /// the time for dates in the answer.
    ///
    /// # Errors
    /// Why there is nothing to use.
    pub(super) async fn get(
        &mut self,
        url: &Url,
        held: Option<&Validators>,
        now: SystemTime,
    ) -> Result<Answer, FetchError> {
        if let Some(trouble) = drill::of(Dependency::Idp) {
            return drilled(trouble, self.settings.jwks.timeout.get()).await;
        }
        let mut request = self.client(url)?.get(url.clone()).header(ACCEPT, ACCEPTED);
        let held = held.filter(|held| !held.is_empty());
        if let Some(held) = held {
            let pairs = [(IF_NONE_MATCH, &held.etag), (IF_MODIFIED_SINCE, &held.last_modified)];
            for (name, value) in pairs {
                if let Some(value) = value {
                    request = request.header(name, value);
                }
            }
        }
        let mut response = request.send().await?;
        let (status, headers) = (response.status(), response.headers());
        let validators = Validators::of(headers);
        let lifetime = freshness::lifetime(headers, now);
        if let (StatusCode::NOT_MODIFIED, Some(held)) = (status, held) {
            // What a 304 leaves out stays as it was (RFC 9110, 15.4.5).
            let validators = if validators.is_empty() { held.clone() } else { validators };
            return Ok(Answer { document: None, validators, lifetime });
        }
        if status != StatusCode::OK {
            let retry_after = freshness::retry_after(headers, now);
            return Err(FetchError::Status { status, retry_after });
        }
        let mut document = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            if document.len() + chunk.len() > DOCUMENT_BYTES_MAX {
                return Err(FetchError::TooLarge);
            }
            document.extend_from_slice(&chunk);
        }
        Ok(Answer { document: Some(document), validators, lifetime })
    }

    fn client(&mut self, url: &Url) -> Result<&Client, FetchError> {
        let reach = (url.scheme() == "https", is_loopback(url));
        let client = match self.client.take().filter(|(known, _)| *known == reach) {
            Some((_, client)) => client,
            None => make(reach, &self.settings)
                .map_err(|error| FetchError::Client(error.without_url()))?,
        };
        Ok(&self.client.insert((reach, client)).1)
    }
}

/// What asking comes to during a drill; a slow one takes all of its time.
#[cold]
async fn drilled(trouble: Trouble, timeout: Duration) -> Result<Answer, FetchError> {
    match trouble {
        Trouble::Down => Err(FetchError::Drill("connect")),
        Trouble::Slow => {
            tokio::time::sleep(timeout).await;
            Err(FetchError::Drill("timeout"))
        }
        Trouble::Wrong => Ok(Answer {
            document: Some(drill::PAGE.to_vec()),
            validators: Validators::default(),
            lifetime: None,
        }),
    }
}

fn make((has_tls, is_local): Reach, settings: &FetchSettings) -> Result<Client, reqwest::Error> {
    // Whoever was first wins; both install ring.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let timeout = settings.jwks.timeout.get();
    let mut builder = Client::builder()
        .user_agent("tidegate")
        .timeout(timeout)
        .connect_timeout(timeout)
        .redirect(redirect::Policy::none())
        // Minutes pass between fetches; a kept connection would only be a stale one.
        .pool_max_idle_per_host(0);
    if let Some(authorities) = settings.authorities.as_ref().filter(|_| has_tls) {
        builder = builder.tls_certs_only(Certificate::from_pem_bundle(authorities)?);
    }
    if !has_tls {
        // Without TLS there is no reason to need the system's certificates.
        builder = builder.tls_certs_only([]);
    }
    if is_local {
        builder = builder.no_proxy();
    }
    builder.build()
}
