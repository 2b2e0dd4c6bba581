//! The one answer that is written without Pingora.

use std::pin::Pin;
use std::task::Context;

use tokio::io::AsyncWrite;

use super::{Follow, Guard};
use crate::edge::{RequestId, X_REQUEST_ID};
use crate::fault::{Fault, Reject, problem_body};

impl Guard {
    /// The client has been too slow over a header. Pingora closes such connections without a
    /// word, and there is no request yet that `proxy::reply` could answer.
    pub(super) fn apologise(&mut self, cx: &mut Context<'_>) {
        if matches!(self.follow, Follow::Http2(_)) {
            return;
        }
        let id = RequestId::accept_or_mint(&http::HeaderMap::new(), fastrand::u128(..));
        let id = id.as_str();
        let peer = self.watched.connection.peer;
        tracing::debug!(request_id = id, %peer, "a request header did not come in time");
        let body = problem_body(&Reject::new(Fault::RequestTimeout), id);
        let mut answer = format!(
            "HTTP/1.1 408 Request Timeout\r\n{X_REQUEST_ID}: {id}\r\n\
             content-type: application/problem+json\r\ncontent-length: {}\r\n\
             cache-control: no-store\r\nconnection: close\r\n\r\n",
            body.len()
        )
        .into_bytes();
        answer.extend_from_slice(&body);
        // As much as goes out at once: nobody waits for this client any more.
        let _ = Pin::new(&mut self.inner).poll_write(cx, &answer);
        let _ = Pin::new(&mut self.inner).poll_flush(cx);
    }
}
