//! The identity provider: a JWKS endpoint over HTTP, keys that rotate, tokens, outages.

mod answers;
mod introspection;
mod keys;
mod token;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use hyper::header::{HeaderName, HeaderValue};
use parking_lot::Mutex;

use crate::http_server::{Handler, HttpServer, Speaks};
use crate::{Context, Pair, Result, TlsServer};

pub use answers::Mood;
pub use introspection::{IntrospectionMood, TlsFront};
pub use keys::Algorithm;
pub use token::{Signature, TokenBuilder};

use answers::{DISCOVERY, JWKS, State};
use keys::SigningKey;

/// The public half of the issuer's RSA key. A test key, published with this repository.
pub const RSA_PUBLIC_PEM: &str = include_str!("testdata/TEST-ONLY-rsa-public.pem");

/// The audience of the tokens that [`Issuer::token`] builds.
pub(crate) const AUDIENCE: &str = "api.example.com";

/// A real HTTP identity provider on loopback.
///
/// `/.well-known/jwks.json` is the key set, `/.well-known/openid-configuration` names it.
pub struct Issuer {
    server: HttpServer,
    state: Arc<State>,
}

impl Issuer {
    /// Starts with one key of each algorithm.
    pub async fn start() -> Result<Self> {
        Self::start_on(0).await
    }

    /// Starts on a port; 0 takes a free one.
    pub async fn start_on(port: u16) -> Result<Self> {
        Self::begin(Speaks::Http1, port).await
    }

    /// Starts behind TLS, with this certificate, which should be one for `127.0.0.1`.
    pub async fn start_tls(pair: &Pair) -> Result<Self> {
        Self::begin(Speaks::Tls(TlsServer::new(pair)), 0).await
    }

    async fn begin(speaks: Speaks, port: u16) -> Result<Self> {
        let is_tls = matches!(speaks, Speaks::Tls(_));
        let state = Arc::new(State { is_tls, address: Mutex::default(), ..State::default() });
        let handler: Arc<dyn Handler> = Arc::clone(&state) as Arc<dyn Handler>;
        let server = HttpServer::start_speaking(speaks, handler, port).await?;
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
        self.state.base()
    }

    /// The URL of the key set.
    #[must_use]
    pub fn jwks_url(&self) -> String {
        format!("{}{JWKS}", self.name())
    }

    /// The URL of the discovery document.
    #[must_use]
    pub fn discovery_url(&self) -> String {
        format!("{}{DISCOVERY}", self.name())
    }

    /// Adds a key to the set; returns its id.
    pub fn add_key(&self, algorithm: Algorithm) -> Result<String> {
        let key = self.mint(algorithm)?;
        let kid = key.kid.clone();
        self.state.keys.lock().push(key);
        Ok(kid)
    }

    /// Takes a key out of the set.
    pub fn drop_key(&self, kid: &str) {
        self.state.keys.lock().retain(|key| key.kid != kid);
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

    /// Adds a header to its documents: `cache-control`. Those of other moods that answer with a
    /// status carry it too.
    pub fn set_header(&self, name: &'static str, value: &str) -> Result<()> {
        let value = HeaderValue::from_str(value).context(name)?;
        self.state.headers.lock().insert(HeaderName::from_static(name), value);
        Ok(())
    }

    /// Gives the key set an etag from now on, and answers 304 to whoever holds it already.
    pub fn use_etags(&self) {
        *self.state.has_etag.lock() = true;
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
        self.state.counts.fetches.load(Ordering::SeqCst)
    }

    /// How often the discovery document was asked for.
    #[must_use]
    pub fn discoveries(&self) -> u64 {
        self.state.counts.discoveries.load(Ordering::SeqCst)
    }

    /// How often the key set was asked for by whoever held one already and said so.
    #[must_use]
    pub fn conditional(&self) -> u64 {
        self.state.counts.conditional.load(Ordering::SeqCst)
    }

    /// How often a redirect was followed.
    #[must_use]
    pub fn followed(&self) -> u64 {
        self.state.counts.followed.load(Ordering::SeqCst)
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

    /// The key with an id, or the newest of an algorithm.
    fn key(&self, algorithm: Algorithm, kid: Option<&str>) -> Result<Arc<SigningKey>> {
        let keys = self.state.keys.lock();
        let mut newest = keys.iter().rev();
        let found = newest.find(|key| kid.map_or(key.algorithm == algorithm, |kid| key.kid == kid));
        found.cloned().context(format_args!("the issuer has no {algorithm:?} key"))
    }
}
