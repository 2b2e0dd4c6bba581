//! Who makes a change, and what is answered to those who may not.

use std::net::SocketAddr;

use http::StatusCode;
use pingora::protocols::http::ServerSession;
use serde_json::json;

use super::Admin;
use super::answer::Answer;
use crate::live::{NotAllowed, Operator};

impl Admin {
    /// Who makes a change, or the answer to somebody who may not.
    pub(super) fn allowed(&self, session: &ServerSession) -> Result<Operator, Answer> {
        let refused = |status, why: &str| Err(problems(status, &[why.to_owned()]));
        match self.live.operators.admit(&session.req_header().headers) {
            Ok(operator) => Ok(operator),
            Err(NotAllowed::Token) => refused(
                StatusCode::UNAUTHORIZED,
                "changes need the token of `admin.token` in `Authorization: Bearer`",
            ),
            Err(NotAllowed::Remote) => refused(
                StatusCode::FORBIDDEN,
                "this listener can be reached from other machines: changes need `admin.token`",
            ),
            Err(NotAllowed::Browser) => refused(
                StatusCode::FORBIDDEN,
                "browsers may change something only with `admin.token`",
            ),
        }
    }
}

/// An operator, for the log.
pub(super) const fn name(operator: Operator) -> &'static str {
    match operator {
        Operator::Token => "the bearer of the admin token",
        Operator::Local => "somebody on this machine",
    }
}

/// Where the request comes from, for the log.
pub(super) fn peer(session: &ServerSession) -> Option<SocketAddr> {
    session.client_addr().and_then(|address| address.as_inet().copied())
}

/// Ends the connection after an answer to a request whose body was not read.
pub(super) fn unread(session: &mut ServerSession, answer: Answer) -> Answer {
    session.set_keepalive(None);
    answer
}

/// What is wrong with a request.
pub(super) fn problems(status: StatusCode, problems: &[String]) -> Answer {
    Answer::json(status, &json!({ "problems": problems }))
}
