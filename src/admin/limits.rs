//! `/admin/limits`: the limits in force, and single counters.
//!
//! | Request | Does |
//! |---|---|
//! | `GET /admin/limits` | lists the limits and says how the limiter does |
//! | `GET /admin/limits/NAME?PART=VALUE&...` | says how a counter stands |
//! | `DELETE` of the same | starts the counter afresh, on every node |
//! | `POST /admin/limits/NAME/reset?PART=VALUE&...` | the same, for clients without `DELETE` |
//!
//! Parts are those of the limit's key (`tenantId=acme`), and `plan`; instead of them `key` names
//! the counter as `tidegate explain` does. Every reset is a line in the process log that says
//! who did it.

use std::net::SocketAddr;

use http::{Method, StatusCode};
use pingora::protocols::http::ServerSession;
use serde_json::{Value, json};

use super::Admin;
use super::answer::Answer;
use super::operator::{name, peer, problems, unread};
use crate::clock;
use crate::edge;
use crate::live::{NoCounter, Operator, ResetReport, Which};

/// Where limits are.
pub(super) const PATH: &str = "/admin/limits";

/// What is asked of a counter.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wish {
    Look,
    Reset,
}

impl Admin {
    /// Answers a request for `/admin/limits`, or for what stands below it.
    pub(super) async fn limits(&self, session: &mut ServerSession, below: Option<&str>) -> Answer {
        let method = session.req_header().method.clone();
        let Some(below) = below else {
            return match method {
                Method::GET | Method::HEAD => Answer::json(StatusCode::OK, &self.live.limits()),
                _ => unread(session, Answer::only("GET, HEAD")),
            };
        };
        let (limit, wish) = match (below.strip_suffix("/reset"), method) {
            (Some(limit), Method::POST) => (limit, Wish::Reset),
            (Some(_), _) => return unread(session, Answer::only("POST")),
            (None, Method::GET | Method::HEAD) => (below, Wish::Look),
            (None, Method::DELETE) => (below, Wish::Reset),
            (None, _) => return unread(session, Answer::only("GET, HEAD, DELETE")),
        };
        let limit = edge::decode(limit).into_owned();
        let query = session.req_header().uri.query().unwrap_or_default();
        let parts: Vec<(String, String)> = edge::parameters(query)
            .map(|(name, value)| (name.into_owned(), value.into_owned()))
            .collect();
        if wish == Wish::Look {
            return self.look(&limit, &parts).await;
        }
        match self.allowed(session) {
            Ok(operator) => self.reset(&limit, &parts, operator, peer(session)).await,
            Err(answer) => unread(session, answer),
        }
    }

    async fn look(&self, limit: &str, parts: &[(String, String)]) -> Answer {
        match self.live.counter(limit, &which(parts)) {
            Ok(take) => Answer::json(StatusCode::OK, &self.live.look(&take, clock::now()).await),
            Err(none) => no_counter(limit, &none),
        }
    }

    async fn reset(
        &self,
        limit: &str,
        parts: &[(String, String)],
        operator: Operator,
        peer: Option<SocketAddr>,
    ) -> Answer {
        let take = match self.live.counter(limit, &which(parts)) {
            Ok(take) => take,
            Err(none) => return no_counter(limit, &none),
        };
        let done = self.live.reset(&take).await;
        log(operator, peer, parts, &done);
        match &done.redis_error {
            None => Answer::json(StatusCode::OK, &done),
            Some(why) => {
                let why =
                    format!("Redis still counts, only this node has forgotten the counter: {why}");
                problems(StatusCode::SERVICE_UNAVAILABLE, &[why])
            }
        }
    }
}

fn which(parts: &[(String, String)]) -> Which<'_> {
    match parts {
        [(name, key)] if name == "key" => Which::Key(key),
        parts => Which::Parts(parts),
    }
}

fn no_counter(limit: &str, none: &NoCounter) -> Answer {
    match none {
        NoCounter::NoLimit(help) => {
            let help = help.as_ref().map(|help| format!("; {help}")).unwrap_or_default();
            let why = format!("there is no limit `{limit}`{help}");
            problems(StatusCode::NOT_FOUND, &[why])
        }
        NoCounter::NoKey => {
            let why = format!("that is not the name of a counter of `{limit}` as it is in force");
            problems(StatusCode::NOT_FOUND, &[why])
        }
        NoCounter::Parts(why) => problems(StatusCode::BAD_REQUEST, &[why.to_string()]),
    }
}

fn log(
    operator: Operator,
    peer: Option<SocketAddr>,
    parts: &[(String, String)],
    done: &ResetReport,
) {
    let by = name(operator);
    // As JSON, so that no value can pretend to be a line of the log.
    let parts: serde_json::Map<String, Value> =
        parts.iter().map(|(part, value)| (part.clone(), shown(part, value))).collect();
    let counter = json!({"limit": done.limit, "key": done.key, "parts": parts});
    let peer = peer.map(|peer| peer.to_string());
    let is_shared = done.redis.unwrap_or(false);
    tracing::info!(by, peer, is_shared, %counter, "limits: a counter was reset");
}

/// The value of a part for the log. Headers and cookies may carry credentials.
fn shown(part: &str, value: &str) -> Value {
    let is_secret = ["header:", "cookie:"].iter().any(|kind| part.starts_with(kind));
    if is_secret { "***".into() } else { value.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_a_credential_is_not_logged() {
        for (part, shows) in [
            ("tenantId", true),
            ("userId", true),
            ("apiKey", true),
            ("claim:dept", true),
            ("header:x-api-key", false),
            ("cookie:session", false),
        ] {
            assert_eq!(shown(part, "value") == json!("value"), shows, "{part}");
        }
    }

    #[test]
    fn a_key_stands_alone_and_parts_are_parts() {
        let pair = |name: &str| (name.to_owned(), "x".to_owned());
        assert!(matches!(which(&[pair("key")]), Which::Key("x")));
        assert!(matches!(which(&[pair("key"), pair("userId")]), Which::Parts([_, _])));
        assert!(matches!(which(&[]), Which::Parts([])));
    }
}
