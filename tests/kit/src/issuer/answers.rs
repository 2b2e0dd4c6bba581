//! What the identity provider answers: its documents, and everything else that an issuer may do
//! on a bad day.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, ETAG, IF_MODIFIED_SINCE, IF_NONE_MATCH, LOCATION};
use hyper::{HeaderMap, Response, StatusCode};
use parking_lot::Mutex;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;

use super::introspection;
use super::keys::SigningKey;
use crate::http_server::{Abort, Answer, Connection, Handler, Pieces};
use crate::origin::hex;

/// What fetching the key set and the discovery document is like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mood {
    /// It works.
    #[default]
    Well,
    /// It answers with this status and no keys.
    Status(u16),
    /// It accepts the request and never answers.
    Hang,
    /// It answers after this time.
    Slow(Duration),
    /// It answers 200 and a web page.
    Garbage,
    /// It answers 200 and a body that does not end.
    Huge,
    /// It answers 302, to a place where the documents are.
    Redirect,
    /// Its key set holds a thousand keys.
    TooManyKeys,
    /// Its key set holds no key.
    EmptySet,
    /// Its discovery document speaks for another issuer.
    WrongIssuer,
}

/// Paths of the documents, and where a redirect leads.
pub(super) const JWKS: &str = "/.well-known/jwks.json";
pub(super) const DISCOVERY: &str = "/.well-known/openid-configuration";
const MOVED: &str = "/moved";

/// A piece of a body that does not end.
const PIECE: &[u8] = &[b' '; 64 * 1024];

#[derive(Default)]
pub(super) struct State {
    pub(super) is_tls: bool,
    pub(super) address: Mutex<Option<SocketAddr>>,
    pub(super) keys: Mutex<Vec<Arc<SigningKey>>>,
    pub(super) mood: Mutex<Mood>,
    /// Further headers of both documents.
    pub(super) headers: Mutex<HeaderMap>,
    /// Whether the key set has an etag.
    pub(super) has_etag: Mutex<bool>,
    pub(super) counts: Counts,
    pub(super) introspection: introspection::Endpoint,
    /// Numbers the keys, so that no key id comes twice.
    pub(super) minted: AtomicU64,
}

/// What was asked for.
#[derive(Default)]
pub(super) struct Counts {
    pub(super) fetches: AtomicU64,
    pub(super) discoveries: AtomicU64,
    /// Fetches of the key set that named what they hold already.
    pub(super) conditional: AtomicU64,
    /// Requests for the place that a redirect leads to.
    pub(super) followed: AtomicU64,
}

impl State {
    pub(super) fn base(&self) -> String {
        let scheme = if self.is_tls { "https" } else { "http" };
        self.address.lock().map(|at| format!("{scheme}://{at}")).unwrap_or_default()
    }

    pub(super) fn jwks(&self) -> String {
        let keys: Vec<_> = self.keys.lock().iter().map(|key| key.jwk()).collect();
        json!({ "keys": keys }).to_string()
    }

    fn discovery(&self, issuer: &str) -> String {
        let jwks = format!("{}{JWKS}", self.base());
        json!({ "issuer": issuer, "jwks_uri": jwks }).to_string()
    }

    /// The key set, or that nothing has changed since the client asked last.
    fn key_set(&self, request: &HeaderMap, text: String) -> Answer {
        let etag = format!("\"{}\"", hex(&Sha256::digest(&text)));
        let asked = request.get(IF_NONE_MATCH);
        if asked.is_some() || request.contains_key(IF_MODIFIED_SINCE) {
            self.counts.conditional.fetch_add(1, Ordering::SeqCst);
        }
        let has_etag = *self.has_etag.lock();
        let is_known = has_etag && asked.is_some_and(|asked| *asked == etag);
        let status = if is_known { StatusCode::NOT_MODIFIED } else { StatusCode::OK };
        let mut response = answer(status, if is_known { String::new() } else { text });
        if has_etag && let Ok(etag) = etag.try_into() {
            response.headers_mut().insert(ETAG, etag);
        }
        response
    }

    /// A document on a good day; none where there is none.
    fn document(&self, path: &str, request: &HeaderMap) -> Option<Answer> {
        let mut response = match path {
            JWKS | MOVED => self.key_set(request, self.jwks()),
            DISCOVERY => answer(StatusCode::OK, self.discovery(&self.base())),
            _ => return None,
        };
        response.headers_mut().extend(self.headers.lock().clone());
        Some(response)
    }

    async fn respond(
        &self,
        request: &hyper::Request<Incoming>,
    ) -> std::result::Result<Answer, Abort> {
        let path = request.uri().path();
        let count = match path {
            JWKS => &self.counts.fetches,
            DISCOVERY => &self.counts.discoveries,
            MOVED => &self.counts.followed,
            _ => return Ok(answer(StatusCode::NOT_FOUND, String::new())),
        };
        count.fetch_add(1, Ordering::SeqCst);
        let mood = *self.mood.lock();
        let well = || self.document(path, request.headers()).ok_or(Abort);
        match mood {
            Mood::Status(status) => {
                let status = StatusCode::from_u16(status).map_err(|_| Abort)?;
                let mut response = answer(status, String::new());
                response.headers_mut().extend(self.headers.lock().clone());
                Ok(response)
            }
            Mood::Hang => std::future::pending().await,
            Mood::Slow(time) => {
                tokio::time::sleep(time).await;
                well()
            }
            Mood::Garbage => Ok(answer(StatusCode::OK, "<html>Sign in</html>".to_owned())),
            Mood::Huge => Ok(endless()),
            Mood::Redirect => {
                let mut response = answer(StatusCode::FOUND, String::new());
                let place = hyper::header::HeaderValue::from_static(MOVED);
                response.headers_mut().insert(LOCATION, place);
                Ok(response)
            }
            Mood::TooManyKeys if path == JWKS => {
                let key = self.keys.lock().first().map_or(Value::Null, |key| key.jwk());
                Ok(answer(StatusCode::OK, json!({ "keys": vec![key; 1000] }).to_string()))
            }
            Mood::EmptySet if path == JWKS => {
                Ok(answer(StatusCode::OK, json!({ "keys": [] }).to_string()))
            }
            Mood::WrongIssuer if path == DISCOVERY => {
                Ok(answer(StatusCode::OK, self.discovery("https://issuer.example")))
            }
            Mood::Well | Mood::TooManyKeys | Mood::EmptySet | Mood::WrongIssuer => well(),
        }
    }
}

impl Handler for State {
    fn handle(
        self: Arc<Self>,
        request: hyper::Request<Incoming>,
        _connection: Connection,
    ) -> Pin<Box<dyn Future<Output = std::result::Result<Answer, Abort>> + Send>> {
        Box::pin(async move {
            if request.uri().path() == introspection::PATH {
                return self.introspection.answer(request).await;
            }
            self.respond(&request).await
        })
    }
}

/// A body that goes on for as long as anybody reads it.
fn endless() -> Answer {
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move { while sender.send(Ok(Bytes::from_static(PIECE))).await.is_ok() {} });
    Response::new(Either::Right(Pieces(receiver, None)))
}

fn answer(status: StatusCode, text: String) -> Answer {
    let mut response = Response::new(Either::Left(Full::new(Bytes::from(text))));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static("application/json"));
    response
}
