//! `/admin/cache`: what is kept on this node, and purging it everywhere (R149).
//!
//! | Request | Does |
//! |---|---|
//! | `GET /admin/cache` | totals, hit ratios by route, how purges stand |
//! | `GET /admin/cache/entries/KEY` | says what this node's memory has under a key |
//! | `POST /admin/cache/purge` | purges, by a JSON object |
//!
//! The object names at least one of `tags`, `keys`, `urls`, `prefixes`, `routes`, `tenants` (lists
//! of text) and `everything` (`true`). With `tenant`, only entries of that tenant are meant; with
//! `soft`, they become stale instead of being gone.
//!
//! Every purge of an operator is a line in the process log that says who made it.

use std::net::SocketAddr;

use http::{Method, StatusCode};
use pingora::protocols::http::ServerSession;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Admin;
use super::answer::Answer;
use super::body::json_body;
use super::operator::{name, peer, problems, unread};
use crate::clock;
use crate::live::{NotPurged, Operator, PurgeOrder, Purged};

/// Where the cache is.
pub(super) const PATH: &str = "/admin/cache";

/// An order as it is sent.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Written {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tags: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    keys: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    urls: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    prefixes: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    routes: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tenants: Vec<String>,
    everything: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<String>,
    soft: bool,
}

impl Admin {
    /// Answers a request for `/admin/cache`, or for what stands below it.
    pub(super) async fn cache(&self, session: &mut ServerSession, below: Option<&str>) -> Answer {
        let method = session.req_header().method.clone();
        let is_read = matches!(method, Method::GET | Method::HEAD);
        match below {
            None if is_read => Answer::json(StatusCode::OK, &self.live.cache_report()),
            Some("purge") if method == Method::POST => match self.allowed(session) {
                Ok(operator) => self.purge(session, operator).await,
                Err(answer) => unread(session, answer),
            },
            Some("purge") => unread(session, Answer::only("POST")),
            Some(rest) => match rest.strip_prefix("entries/") {
                Some(key) if is_read => self.entry(key),
                Some(_) => unread(session, Answer::only("GET, HEAD")),
                None => unread(session, Answer::text(StatusCode::NOT_FOUND, "not here\n")),
            },
            None => unread(session, Answer::only("GET, HEAD")),
        }
    }

    fn entry(&self, key: &str) -> Answer {
        if let Some(entry) = self.live.cache_entry(key) {
            return Answer::json(StatusCode::OK, &entry);
        }
        let why = "this node keeps nothing under that key".to_owned();
        problems(StatusCode::NOT_FOUND, &[why])
    }

    async fn purge(&self, session: &mut ServerSession, operator: Operator) -> Answer {
        let body = match json_body(session).await {
            Ok(body) => body,
            Err(answer) => return unread(session, answer),
        };
        let written: Written = match serde_json::from_slice(&body) {
            Ok(written) => written,
            Err(error) => return problems(StatusCode::BAD_REQUEST, &[error.to_string()]),
        };
        // As JSON, so that no name can pretend to be a line of the log.
        let order = json!(written);
        let peer = peer(session);
        match self.live.purge(&written.into(), clock::now()).await {
            Ok(purged) => {
                log(operator, peer, &order, &purged);
                Answer::json(StatusCode::OK, &purged)
            }
            Err(NotPurged(found)) => problems(StatusCode::BAD_REQUEST, &found),
        }
    }
}

impl From<Written> for PurgeOrder {
    fn from(written: Written) -> Self {
        let Written { tags, keys, urls, prefixes, routes, tenants, everything, tenant, soft } =
            written;
        Self { tags, keys, urls, prefixes, routes, tenants, everything, tenant, soft }
    }
}

fn log(operator: Operator, peer: Option<SocketAddr>, order: &serde_json::Value, purged: &Purged) {
    let by = name(operator);
    let peer = peer.map(|peer| peer.to_string());
    let Purged { number, told, pending, .. } = purged;
    tracing::info!(by, peer, number, told, pending, %order, "cache: entries were purged");
}
