//! The issuer's introspection endpoint (RFC 7662): opaque tokens, what is said about them, and
//! every way in which that can go wrong.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Either, Full};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, LOCATION};
use hyper::{Response, StatusCode};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::{AUDIENCE, Issuer};
use crate::http_server::{Abort, Answer, Handler, HttpServer, Speaks};
use crate::{Result, TlsServer};

/// Where the endpoint is.
pub(super) const PATH: &str = "/introspect";

/// What the endpoint knows the gateway by; both hold characters that must be encoded.
const CLIENT_ID: &str = "gate way:1";
const CLIENT_SECRET: &str = "s+cret/%with&all=";

/// What asking about tokens is like.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum IntrospectionMood {
    /// It works.
    #[default]
    Well,
    /// It answers with this status.
    Status(u16),
    /// It accepts the question and never answers.
    Hang,
    /// It answers 200 with this text.
    Says(String),
    /// It answers 200 with more than anybody should read.
    Huge,
    /// It sends the asker to another place.
    Redirect(String),
    /// It breaks the connection off.
    Abort,
}

/// An issuer behind TLS; dropping it closes the address.
pub struct TlsFront(HttpServer);

impl TlsFront {
    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.0.address()
    }
}

/// The endpoint.
#[derive(Default)]
pub(super) struct Endpoint {
    mood: Mutex<IntrospectionMood>,
    /// What is said about each token.
    tokens: Mutex<HashMap<String, Value>>,
    questions: AtomicU64,
    /// Questions that did not have the form of RFC 7662.
    malformed: AtomicU64,
    /// Answers wait while this is so.
    held: Mutex<bool>,
    released: Notify,
}

impl Issuer {
    /// `introspection` of a provider that asks this issuer, as a YAML mapping without its
    /// braces. The secret is in the environment variable `INTROSPECTION_SECRET`, whose value is
    /// [`Issuer::introspection_secret`].
    #[must_use]
    pub fn introspection(&self) -> String {
        self.introspection_at(&self.name())
    }

    /// The same where the issuer is at another address: `https://127.0.0.1:1`.
    #[must_use]
    pub fn introspection_at(&self, base: &str) -> String {
        format!(
            "url: '{base}{PATH}', clientId: '{CLIENT_ID}', \
             clientSecret: '${{env:INTROSPECTION_SECRET}}'"
        )
    }

    /// A second address of the issuer, behind TLS.
    pub async fn tls_front(&self, server: &TlsServer) -> Result<TlsFront> {
        let handler: Arc<dyn Handler> = Arc::clone(&self.state) as Arc<dyn Handler>;
        let speaks = Speaks::Tls(server.clone());
        HttpServer::start_speaking(speaks, handler, 0).await.map(TlsFront)
    }

    /// The gateway's own secret at this issuer.
    #[must_use]
    pub const fn introspection_secret(&self) -> &'static str {
        CLIENT_SECRET
    }

    /// Makes a token good: subject `alice`, issuer, audience, good for an hour, changed by
    /// `change` (null removes a member).
    pub fn issue_opaque(&self, token: &str, change: &Value) {
        let mut answer = json!({
            "active": true,
            "iss": self.name(),
            "aud": AUDIENCE,
            "sub": "alice",
            "exp": super::token::unix_now() + 3600,
        });
        for (name, value) in change.as_object().into_iter().flatten() {
            answer[name] = value.clone();
        }
        if let Some(members) = answer.as_object_mut() {
            members.retain(|_, value| !value.is_null());
        }
        self.state.introspection.tokens.lock().insert(token.to_owned(), answer);
    }

    /// Makes a token bad.
    pub fn revoke_opaque(&self, token: &str) {
        self.state.introspection.tokens.lock().remove(token);
    }

    /// Changes what asking about tokens is like.
    pub fn set_introspection_mood(&self, mood: IntrospectionMood) {
        *self.state.introspection.mood.lock() = mood;
    }

    /// Holds answers back until [`Issuer::release_answers`].
    pub fn hold_answers(&self) {
        *self.state.introspection.held.lock() = true;
    }

    /// Lets answers go.
    pub fn release_answers(&self) {
        *self.state.introspection.held.lock() = false;
        self.state.introspection.released.notify_waiters();
    }

    /// How often it was asked about a token.
    #[must_use]
    pub fn questions(&self) -> u64 {
        self.state.introspection.questions.load(Ordering::SeqCst)
    }

    /// How many questions did not have the form of RFC 7662.
    #[must_use]
    pub fn malformed_questions(&self) -> u64 {
        self.state.introspection.malformed.load(Ordering::SeqCst)
    }
}

impl Endpoint {
    /// Answers a question.
    pub(super) async fn answer(
        &self,
        request: hyper::Request<Incoming>,
    ) -> std::result::Result<Answer, Abort> {
        self.questions.fetch_add(1, Ordering::SeqCst);
        let is_known = request.headers().get(AUTHORIZATION).is_some_and(is_gateway);
        let is_form = request
            .headers()
            .get(CONTENT_TYPE)
            .is_some_and(|kind| kind == "application/x-www-form-urlencoded");
        let is_post = request.method() == hyper::Method::POST;
        let body = request.into_body().collect().await.map_err(|_| Abort)?.to_bytes();
        let form = form(&String::from_utf8_lossy(&body));
        let token = form.get("token").cloned();
        let is_hinted = form.get("token_type_hint").is_some_and(|hint| hint == "access_token");
        if !(is_post && is_form && is_hinted && token.is_some() && form.len() == 2) {
            self.malformed.fetch_add(1, Ordering::SeqCst);
            return Ok(text(StatusCode::BAD_REQUEST, "{\"error\":\"invalid_request\"}".into()));
        }
        self.wait_for_release().await;
        let mood = self.mood.lock().clone();
        match mood {
            IntrospectionMood::Well if !is_known => {
                Ok(text(StatusCode::UNAUTHORIZED, "{\"error\":\"invalid_client\"}".into()))
            }
            IntrospectionMood::Well => {
                let known = token.and_then(|token| self.tokens.lock().get(&token).cloned());
                let answer = known.unwrap_or_else(|| json!({ "active": false }));
                Ok(text(StatusCode::OK, answer.to_string()))
            }
            IntrospectionMood::Status(status) => {
                Ok(text(StatusCode::from_u16(status).map_err(|_| Abort)?, String::new()))
            }
            IntrospectionMood::Hang => std::future::pending().await,
            IntrospectionMood::Says(said) => Ok(text(StatusCode::OK, said)),
            IntrospectionMood::Huge => {
                let filler = "x".repeat(64 * 1024);
                let answer = json!({ "active": true, "aud": AUDIENCE, "sub": "a", "x": filler });
                Ok(text(StatusCode::OK, answer.to_string()))
            }
            IntrospectionMood::Redirect(place) => {
                let mut answer = text(StatusCode::TEMPORARY_REDIRECT, String::new());
                let place = HeaderValue::try_from(place).map_err(|_| Abort)?;
                answer.headers_mut().insert(LOCATION, place);
                Ok(answer)
            }
            IntrospectionMood::Abort => Err(Abort),
        }
    }

    async fn wait_for_release(&self) {
        loop {
            let mut released = std::pin::pin!(self.released.notified());
            // Listening begins before looking, or a release could go unheard.
            released.as_mut().enable();
            if !*self.held.lock() {
                return;
            }
            released.await;
        }
    }
}

/// Whether this is HTTP Basic with the gateway's credentials, each part form-encoded
/// (RFC 6749, 2.3.1).
fn is_gateway(value: &HeaderValue) -> bool {
    let pair = value
        .to_str()
        .ok()
        .and_then(|value| value.strip_prefix("Basic "))
        .and_then(|pair| STANDARD.decode(pair).ok())
        .and_then(|pair| String::from_utf8(pair).ok());
    let Some((id, secret)) = pair.as_deref().and_then(|pair| pair.split_once(':')) else {
        return false;
    };
    decode(id) == CLIENT_ID && decode(secret) == CLIENT_SECRET
}

fn form(body: &str) -> HashMap<String, String> {
    body.split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (decode(name), decode(value)))
        .collect()
}

/// Reads `application/x-www-form-urlencoded`.
fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        match (first, hex.and_then(|two| u8::from_str_radix(two, 16).ok())) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &after[2..];
                continue;
            }
            (b'+', _) => bytes.push(b' '),
            (other, _) => bytes.push(*other),
        }
        rest = after;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn text(status: StatusCode, text: String) -> Answer {
    let mut response = Response::new(Either::Left(Full::new(Bytes::from(text))));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
