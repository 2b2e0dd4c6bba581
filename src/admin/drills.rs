//! `/admin/drills`: faults on purpose, on a staging node.
//!
//! | Request | Does |
//! |---|---|
//! | `GET /admin/drills` | lists every drill, and which are under way |
//! | `POST /admin/drills/NAME` | begins one, by a JSON object |
//! | `DELETE /admin/drills/NAME` | calls one off |
//!
//! The object says how long it lasts, `for` (30s without it), and for drills of endpoints may
//! name the one `service` that is meant. Without `admin.drills` all of this is 404.
//!
//! Every order is a line in the process log that says who gave it.

use std::net::SocketAddr;
use std::sync::Arc;

use http::{Method, StatusCode};
use pingora::protocols::http::ServerSession;
use serde::Deserialize;
use serde_json::json;

use super::Admin;
use super::answer::Answer;
use super::body::json_body;
use super::operator::{name, peer, problems, unread};
use crate::clock;
use crate::live::{Live, NotBegun, Operator};
use crate::model::Span;

/// Where drills are.
pub(super) const PATH: &str = "/admin/drills";

/// An order as it is sent.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Written {
    r#for: Span,
    service: Option<String>,
}

impl Default for Written {
    fn default() -> Self {
        Self { r#for: Span::from_secs(30), service: None }
    }
}

impl Admin {
    /// Answers a request for `/admin/drills`, or for one of them by its name.
    pub(super) async fn drills(&self, session: &mut ServerSession, drill: Option<&str>) -> Answer {
        let method = session.req_header().method.clone();
        let Some(listed) = self.live.drills.listed(clock::now()) else {
            return unread(session, refusal(&NotBegun::Off));
        };
        match (&method, drill) {
            (&(Method::GET | Method::HEAD), None) => {
                Answer::json(StatusCode::OK, &json!({ "drills": listed }))
            }
            (&Method::POST, Some(drill)) => match self.allowed(session) {
                Ok(operator) => self.begin(session, operator, drill).await,
                Err(answer) => unread(session, answer),
            },
            (&Method::DELETE, Some(drill)) => match self.allowed(session) {
                Ok(operator) => self.call_off(session, operator, drill),
                Err(answer) => unread(session, answer),
            },
            (_, None) => unread(session, Answer::only("GET, HEAD")),
            (_, Some(_)) => unread(session, Answer::only("POST, DELETE")),
        }
    }

    async fn begin(&self, session: &mut ServerSession, operator: Operator, drill: &str) -> Answer {
        let body = match json_body(session).await {
            Ok(body) => body,
            Err(answer) => return unread(session, answer),
        };
        let order: Written = match serde_json::from_slice(&body) {
            Ok(order) => order,
            Err(error) => return problems(StatusCode::BAD_REQUEST, &[error.to_string()]),
        };
        let length = order.r#for.get();
        let service = order.service.as_deref();
        match self.live.begin_drill(drill, service, length, clock::now()) {
            Ok((begun, report)) => {
                log("begun", operator, peer(session), report.name);
                let live = Arc::clone(&self.live);
                let wants_reload = Live::drill_wants_reload(drill);
                // From here on, whatever else takes time.
                let end = tokio::time::sleep(length);
                tokio::spawn(async move {
                    reload_where(wants_reload, &live).await;
                    end.await;
                    live.drill_is_over(begun, clock::now());
                    reload_where(wants_reload, &live).await;
                });
                Answer::json(StatusCode::CREATED, &report)
            }
            Err(not) => refusal(&not),
        }
    }

    fn call_off(&self, session: &ServerSession, operator: Operator, drill: &str) -> Answer {
        match self.live.call_drill_off(drill, clock::now()) {
            Ok(true) => {
                log("called off", operator, peer(session), drill);
                let (live, wants) = (Arc::clone(&self.live), Live::drill_wants_reload(drill));
                tokio::spawn(async move { reload_where(wants, &live).await });
                Answer::json(StatusCode::OK, &json!({ "name": drill, "active": false }))
            }
            Ok(false) => problems(StatusCode::NOT_FOUND, &[format!("`{drill}` is not under way")]),
            Err(not) => refusal(&not),
        }
    }
}

/// What the control plane does now and then: offers the file. What came of it is in the log.
async fn reload_where(wanted: bool, live: &Arc<Live>) {
    if wanted {
        let live = Arc::clone(live);
        let reload = tokio::task::spawn_blocking(move || live.reload(clock::now()));
        // A defect in there is in the log; the drill ends all the same.
        let _ = reload.await;
    }
}

fn refusal(not: &NotBegun) -> Answer {
    let status = match not {
        NotBegun::Off | NotBegun::Unknown(_) => StatusCode::NOT_FOUND,
        NotBegun::Length | NotBegun::Service(_) => StatusCode::BAD_REQUEST,
        NotBegun::Busy(_) => StatusCode::CONFLICT,
        NotBegun::Unable(_) => StatusCode::SERVICE_UNAVAILABLE,
    };
    problems(status, &[not.to_string()])
}

fn log(what: &'static str, operator: Operator, peer: Option<SocketAddr>, drill: &str) {
    let by = name(operator);
    let peer = peer.map(|peer| peer.to_string());
    tracing::info!(by, peer, drill, "drill: {what}");
}
