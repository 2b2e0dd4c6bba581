//! The identity provider: a JWKS endpoint over HTTP, keys that rotate, tokens, outages.

mod keys;
mod token;

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::{Response, StatusCode};
use parking_lot::Mutex;
use serde_json::json;

use crate::http_server::{Abort, Answer, Connection, Handler, HttpServer};
use crate::{Context, Result};

pub use keys::Algorithm;
pub use token::{Signature, TokenBuilder};

use keys::SigningKey;

/// The public half of the issuer's RSA key. A test key, published with this repository.
pub const RSA_PUBLIC_PEM: &str = include_str!("testdata/TEST-ONLY-rsa-public.pem");

/// The audience of the tokens that [`Issuer::token`] builds.
pub(crate) const AUDIENCE: &str = "api.example.com";

/// What fetching the key set is like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mood {
    /// It works.
    #[default]
    Well,
    /// It answers with this status and no keys.
    Status(u16),
    /// It accepts the request and never answers.
    Hang,
}

/// A real HTTP identity provider on loopback.
///
/// `/.well-known/jwks.json` is the key set, `/.well-known/openid-configuration` names it.
pub struct Issuer {
    server: HttpServer,
    state: Arc<State>,
}

struct State {
    address: Mutex<Option<SocketAddr>>,
    keys: Mutex<Vec<Arc<SigningKey>>>,
    mood: Mutex<Mood>,
    fetches: AtomicU64,
    /// Numbers the keys, so that no key id comes twice.
    minted: AtomicU64,
}

impl Issuer {
    /// Starts with one key of each algorithm.
    pub async fn start() -> Result<Self> {
        Self::start_on(0).await
    }

    /// Starts on a port; 0 takes a free one.
    pub async fn start_on(port: u16) -> Result<Self> {
        let state = Arc::new(State {
            address: Mutex::default(),
            keys: Mutex::default(),
            mood: Mutex::default(),
            fetches: AtomicU64::new(0),
            minted: AtomicU64::new(0),
        });
        let handler: Arc<dyn Handler> = Arc::clone(&state) as Arc<dyn Handler>;
        let server = HttpServer::start(handler, port).await?;
        *state.address.lock() = Some(server.address());
        let issuer = Self { server, state };
        for algorithm in Algorithm::ALL {
            issuer.add_key(algorithm)?;
        }
        Ok(issuer)
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// The `iss` claim of its tokens.
    #[must_use]
    pub fn name(&self) -> String {
        format!("http://{}", self.address())
    }

    /// The URL of the key set.
    #[must_use]
    pub fn jwks_url(&self) -> String {
        format!("{}/.well-known/jwks.json", self.name())
    }

    /// Adds a key to the set; returns its id.
    pub fn add_key(&self, algorithm: Algorithm) -> Result<String> {
        let key = self.mint(algorithm)?;
        let kid = key.kid.clone();
        self.state.keys.lock().push(key);
        Ok(kid)
    }

    /// Replaces all keys by new ones; only tokens signed from now on can be verified with the
    /// set as it is served from now on. (The RSA key pair stays, under a new id.)
    pub fn rotate(&self) -> Result<()> {
        let new: Result<Vec<_>> = Algorithm::ALL.into_iter().map(|alg| self.mint(alg)).collect();
        *self.state.keys.lock() = new?;
        Ok(())
    }

    /// A token with sound claims: subject `alice`, issuer, audience, issued now, good for an
    /// hour, signed ES256 by the newest key of that algorithm. The builder changes any of it.
    #[must_use]
    pub fn token(&self) -> TokenBuilder<'_> {
        TokenBuilder::new(self)
    }

    /// Changes what fetching the key set is like.
    pub fn set_mood(&self, mood: Mood) {
        *self.state.mood.lock() = mood;
    }

    /// Refuses connections until [`Issuer::restart`].
    pub async fn stop(&self) {
        self.server.stop().await;
    }

    /// Listens again, on the same port.
    pub async fn restart(&self) -> Result<()> {
        self.server.restart().await
    }

    /// How often the key set was asked for.
    #[must_use]
    pub fn fetches(&self) -> u64 {
        self.state.fetches.load(Ordering::SeqCst)
    }

    /// The key set as it is served, as text.
    #[must_use]
    pub fn jwks(&self) -> String {
        self.state.jwks()
    }

    fn mint(&self, algorithm: Algorithm) -> Result<Arc<SigningKey>> {
        let number = self.state.minted.fetch_add(1, Ordering::SeqCst);
        SigningKey::generate(algorithm, format!("{algorithm:?}-{number}").to_lowercase())
            .map(Arc::new)
    }

    /// The newest key of an algorithm.
    fn key(&self, algorithm: Algorithm) -> Result<Arc<SigningKey>> {
        let keys = self.state.keys.lock();
        let newest = keys.iter().rev().find(|key| key.algorithm == algorithm);
        newest.cloned().context(format_args!("the issuer has no {algorithm:?} key"))
    }
}

impl State {
    fn jwks(&self) -> String {
        let keys: Vec<_> = self.keys.lock().iter().map(|key| key.jwk()).collect();
        json!({ "keys": keys }).to_string()
    }
}

impl Handler for State {
    fn handle(
        self: Arc<Self>,
        request: hyper::Request<Incoming>,
        _connection: Connection,
    ) -> Pin<Box<dyn Future<Output = std::result::Result<Answer, Abort>> + Send>> {
        Box::pin(async move {
            let base = self.address.lock().map(|at| format!("http://{at}")).unwrap_or_default();
            let text = match request.uri().path() {
                "/.well-known/jwks.json" => {
                    self.fetches.fetch_add(1, Ordering::SeqCst);
                    self.jwks()
                }
                "/.well-known/openid-configuration" => {
                    let jwks = format!("{base}/.well-known/jwks.json");
                    json!({ "issuer": base, "jwks_uri": jwks }).to_string()
                }
                _ => return Ok(answer(StatusCode::NOT_FOUND, String::new())),
            };
            let mood = *self.mood.lock();
            match mood {
                Mood::Well => Ok(answer(StatusCode::OK, text)),
                Mood::Status(status) => {
                    Ok(answer(StatusCode::from_u16(status).map_err(|_| Abort)?, String::new()))
                }
                Mood::Hang => std::future::pending().await,
            }
        })
    }
}

fn answer(status: StatusCode, text: String) -> Answer {
    let mut response = Response::new(Either::Left(Full::new(Bytes::from(text))));
    *response.status_mut() = status;
    response.headers_mut().insert(
        hyper::header::CONTENT_TYPE,
        hyper::header::HeaderValue::from_static("application/json"),
    );
    response
}
