//! Can a request be sent again?
//!
//! Pingora keeps what it has read of a body, up to 64 KiB, and sends that first when an attempt
//! is repeated; beyond it keeps nothing. A route may draw the line earlier.

use pingora_proxy::Session;

use super::RequestCtx;
use crate::shape;

/// Whether a request can be sent again as it is: its method or key permits it, its body is at
/// hand, and the client has seen no answer.
pub(super) fn is_possible(session: &Session, ctx: &RequestCtx) -> bool {
    let Some(route) = &ctx.route else { return false };
    let header = session.req_header();
    let headers = &header.headers;
    route.retry.permits(&header.method, headers)
        && fits(shape::content_length(headers), ctx.body_bytes, route.retry.body_bytes_max)
        && !session.as_ref().retry_buffer_truncated()
        && session.response_written().is_none()
}

/// Whether a body is small enough: by its length, where that was given, and by what has come.
fn fits(declared: Option<u64>, counted: u64, most: u64) -> bool {
    declared.unwrap_or(0).max(counted) <= most
}

#[cfg(test)]
mod tests {
    use super::fits;

    #[test]
    fn a_body_is_measured_by_its_length_and_by_what_has_come() {
        assert!(fits(None, 0, 0) && fits(Some(0), 0, 0));
        assert!(fits(Some(10), 0, 10) && fits(None, 10, 10) && fits(Some(10), 10, 10));
        assert!(!fits(Some(11), 0, 10), "nothing has come yet, but too much will");
        assert!(!fits(None, 11, 10));
    }
}
