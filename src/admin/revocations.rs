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

use http::{Method, StatusCode};
use pingora::protocols::http::ServerSession;
use serde_json::Value;

use super::Admin;
use super::answer::Answer;
use super::body::json_body;
use super::operator::{name, peer, problems, unread};
use crate::clock;
use crate::live::{Operator, Ordered, Refused};

/// Where revocations are.
pub(super) const PATH: &str = "/admin/revocations";

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
        let body = match json_body(session).await {
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
