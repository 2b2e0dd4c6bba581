//! `/admin/revocations`: credentials that are refused before their end (R099).
//!
//! | Request | Does |
//! |---|---|
//! | `GET /admin/revocations` | lists those in force, the latest first |
//! | `POST /admin/revocations` | makes one, of a JSON object |
//! | `DELETE /admin/revocations/ID` | takes one back |
//!
//! The object names a `tokenId` (and its `provider`), or a `provider` and `subject` (and
//! `issuedBefore`), or a `provider` and `issuedBefore`; and when that ends, `expiresAt`.
//!
//! Every change is a line in the process log that says who made it. Names of callers and ids of
//! tokens may be logged; tokens are never sent here.

use std::net::SocketAddr;
use std::time::Duration;

use http::{HeaderMap, Method, StatusCode, header};
use pingora::protocols::http::ServerSession;
use serde_json::Value;

use super::Admin;
use super::answer::Answer;
use super::operator::{name, peer, problems, unread};
use crate::clock;
use crate::live::{Operator, Ordered, Refused};

/// Where revocations are.
pub(super) const PATH: &str = "/admin/revocations";

/// Longest body, in bytes.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// Longest time that a body may take.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);

impl Admin {
    /// Answers a request for `/admin/revocations`, or for one of them by its id.
    pub(super) async fn revocations(
        &self,
        session: &mut ServerSession,
        id: Option<&str>,
    ) -> Answer {
        let method = session.req_header().method.clone();
        match (&method, id) {
            (&(Method::GET | Method::HEAD), None) => {
                Answer::json(StatusCode::OK, &self.live.auth.revocations().listed())
            }
            (&Method::POST, None) => match self.allowed(session) {
                Ok(operator) => self.revoke(session, operator).await,
                Err(answer) => unread(session, answer),
            },
            (&Method::DELETE, Some(id)) => match self.allowed(session) {
                Ok(operator) => self.take_back(session, operator, id).await,
                Err(answer) => unread(session, answer),
            },
            (_, None) => unread(session, Answer::only("GET, HEAD, POST")),
            (_, Some(_)) => unread(session, Answer::only("DELETE")),
        }
    }

    async fn revoke(&self, session: &mut ServerSession, operator: Operator) -> Answer {
        if !is_json(&session.req_header().headers) {
            let why = "the content type is not application/json".to_owned();
            return unread(session, problems(StatusCode::UNSUPPORTED_MEDIA_TYPE, &[why]));
        }
        let body = match body(session).await {
            Ok(body) => body,
            Err(answer) => return unread(session, answer),
        };
        let peer = peer(session);
        match self.live.auth.revocations().revoke(&body, clock::now()).await {
            Ok(ordered) => {
                log("revoked", operator, peer, &ordered);
                done(StatusCode::CREATED, ordered)
            }
            Err(refused) => refusal(refused),
        }
    }

    async fn take_back(&self, session: &ServerSession, operator: Operator, id: &str) -> Answer {
        let peer = peer(session);
        match self.live.auth.revocations().take_back(id, clock::now()).await {
            Ok(ordered) => {
                log("taken back", operator, peer, &ordered);
                done(StatusCode::OK, ordered)
            }
            Err(refused) => refusal(refused),
        }
    }
}

fn refusal(refused: Refused) -> Answer {
    match refused {
        Refused::Malformed(found) => problems(StatusCode::BAD_REQUEST, &found),
        Refused::Unknown => {
            let why = "there is no such revocation in force".to_owned();
            problems(StatusCode::NOT_FOUND, &[why])
        }
        Refused::Full(entries) => {
            let why = format!(
                "the list holds {entries} revocations, as many as `revocation.maxEntries` allows; \
                 nothing was revoked"
            );
            problems(StatusCode::INSUFFICIENT_STORAGE, &[why])
        }
    }
}

/// What was done, and how far it has come.
fn done(status: StatusCode, ordered: Ordered) -> Answer {
    let Ordered { mut revocation, is_shared, is_kept } = ordered;
    revocation.insert("shared".to_owned(), is_shared.into());
    revocation.insert("kept".to_owned(), is_kept.into());
    Answer::json(status, &Value::Object(revocation))
}

fn log(what: &'static str, operator: Operator, peer: Option<SocketAddr>, ordered: &Ordered) {
    let by = name(operator);
    // As JSON, so that no name can pretend to be a line of the log.
    let revocation = Value::Object(ordered.revocation.clone());
    let peer = peer.map(|peer| peer.to_string());
    let Ordered { is_shared, is_kept, .. } = ordered;
    tracing::info!(by, peer, is_shared, is_kept, %revocation, "credentials: {what}");
}

/// Whether the body says that it is JSON. Pages of other sites cannot make a browser say so.
fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = value.and_then(|value| value.split(';').next()).unwrap_or_default();
    essence.trim().eq_ignore_ascii_case("application/json")
}

/// The body, read within bounds of size and time.
async fn body(session: &mut ServerSession) -> Result<Vec<u8>, Answer> {
    let refused = |status, why: String| Err(problems(status, &[why]));
    let reading = async {
        let mut body = Vec::new();
        while body.len() <= BODY_BYTES_MAX {
            match session.read_request_body().await {
                Ok(Some(part)) => body.extend_from_slice(&part),
                Ok(None) => return Ok(body),
                Err(_) => {
                    let why = "the body could not be read".to_owned();
                    return refused(StatusCode::BAD_REQUEST, why);
                }
            }
        }
        let why = format!("the body is longer than {BODY_BYTES_MAX} bytes");
        refused(StatusCode::PAYLOAD_TOO_LARGE, why)
    };
    tokio::time::timeout(BODY_TIMEOUT, reading).await.unwrap_or_else(|_| {
        refused(StatusCode::REQUEST_TIMEOUT, "the body took too long".to_owned())
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn only_json_is_json() {
        let says = |value: &'static str| {
            let value = HeaderValue::from_static(value);
            is_json(&HeaderMap::from_iter([(header::CONTENT_TYPE, value)]))
        };
        assert!(says("application/json"));
        assert!(says("Application/JSON; charset=utf-8"));
        for other in ["text/plain", "application/jsonx", "application/x-www-form-urlencoded", ""] {
            assert!(!says(other), "{other}");
        }
        assert!(!is_json(&HeaderMap::new()));
    }
}
