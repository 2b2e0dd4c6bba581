//! `POST /admin/reload`: reads the configuration again, with its secrets and all files it names,
//! as SIGHUP does, and says what became of it.
//!
//! | Answer | Means |
//! |---|---|
//! | 200 | it is in force: version, time, checksum, what needs a restart, warnings |
//! | 422 | it is refused for these problems; the running configuration stays in force |
//! | 503 | nobody reloads: the process starts or is on its way out, or too many orders wait |
//!
//! Every order is a line in the process log that says who gave it.

use std::net::SocketAddr;

use http::{Method, StatusCode};
use pingora::protocols::http::ServerSession;
use serde_json::json;

use super::Admin;
use super::answer::Answer;
use super::operator::{name, peer, problems, unread};
use crate::live::{NotReloaded, Operator, Outcome};

/// Where reloading is.
pub(super) const PATH: &str = "/admin/reload";

impl Admin {
    /// Answers a request for `/admin/reload`.
    pub(super) async fn reload(&self, session: &mut ServerSession) -> Answer {
        if session.req_header().method != Method::POST {
            return unread(session, Answer::only("POST"));
        }
        let operator = match self.allowed(session) {
            Ok(operator) => operator,
            Err(answer) => return unread(session, answer),
        };
        let outcome = self.live.order_reload().await;
        log(operator, peer(session), &outcome);
        // There is nothing to say in a body, so it is not read.
        unread(session, answer(&outcome))
    }
}

fn answer(outcome: &Outcome) -> Answer {
    match outcome {
        Ok(reloaded) => Answer::json(StatusCode::OK, reloaded),
        Err(NotReloaded::Refused(found)) => {
            Answer::json(StatusCode::UNPROCESSABLE_ENTITY, &json!({ "problems": found.0 }))
        }
        Err(NotReloaded::Busy) => {
            let why = "nobody reloads at the moment: the process starts, or is on its way out, or \
                       many orders wait"
                .to_owned();
            problems(StatusCode::SERVICE_UNAVAILABLE, &[why])
        }
    }
}

fn log(operator: Operator, peer: Option<SocketAddr>, outcome: &Outcome) {
    let (by, peer) = (name(operator), peer.map(|peer| peer.to_string()));
    let config_version = outcome.as_ref().ok().map(|reloaded| reloaded.applied.config_version);
    let outcome = match outcome {
        Ok(_) => "applied",
        Err(NotReloaded::Refused(_)) => "refused",
        Err(NotReloaded::Busy) => "not tried",
    };
    tracing::info!(by, peer, outcome, config_version, "configuration: a reload was ordered");
}
