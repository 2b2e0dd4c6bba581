//! Refusals and failures in the words of gRPC: with status 200, and the error in `grpc-status`.
//!
//! A gRPC client reads nothing else: it would call `401` with a body of JSON an unknown error.
//! Which error stands for which status is the mapping of the gRPC project, with three that it has
//! no word for: 429 is a used-up quota, 504 a missed deadline, 413 a resource that is used up.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Version, header};
use pingora::protocols::http::HttpTask;
use pingora_proxy::Session;

use super::RequestCtx;
use crate::action::Answer;
use crate::fault::{Fault, Reject};

const GRPC: &[u8] = b"application/grpc";
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// Longest message, in bytes before escaping.
const MESSAGE_BYTES_MAX: usize = 512;

/// The content type of an answer to a request that speaks gRPC or gRPC-Web; none to others.
pub(super) fn spoken(headers: &HeaderMap) -> Option<HeaderValue> {
    let sent = headers.get(header::CONTENT_TYPE)?.as_bytes();
    let (start, rest) = sent.split_at_checked(GRPC.len())?;
    if !start.eq_ignore_ascii_case(GRPC) {
        return None;
    }
    let family = match rest {
        [] | [b'+' | b';' | b' ', ..] => "application/grpc",
        _ if rest.starts_with(b"-web-text") => "application/grpc-web-text",
        _ if rest.starts_with(b"-web") => "application/grpc-web",
        _ => return None,
    };
    Some(HeaderValue::from_static(family))
}

/// A refusal as an answer of headers only, which are its trailers too.
pub(super) fn render(reject: &Reject, content_type: HeaderValue) -> Answer {
    let mut headers = errors(reject);
    headers.insert(header::CONTENT_TYPE, content_type);
    Answer { status: StatusCode::OK, headers, body: Bytes::new() }
}

/// Ends an answer that has begun with the error as its trailers, where the client can be told:
/// else it would only see a broken stream. HTTP/2 has trailers; with HTTP/1 it stays broken.
pub(super) async fn end(session: &mut Session, reject: &Reject) {
    let header = session.req_header();
    if header.version != Version::HTTP_2 || spoken(&header.headers).is_none() {
        return;
    }
    let trailers = HttpTask::Trailer(Some(Box::new(errors(reject))));
    let ended = session.as_downstream_mut().response_duplex_vec(vec![trailers]).await;
    if let Err(error) = ended {
        tracing::debug!(%error, "an error could not be told at the end of an answer");
    }
}

/// Notes how a call ended, from what its answer ends with.
pub(super) fn note(ctx: &mut RequestCtx, headers: &HeaderMap) {
    let status = headers.get(GRPC_STATUS).and_then(|status| status.to_str().ok()?.parse().ok());
    if status.is_some() {
        ctx.grpc_status = status;
    }
}

fn errors(reject: &Reject) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(4);
    headers.insert(GRPC_STATUS, HeaderValue::from(status(reject.fault)));
    let mut text = reject.fault.title().to_owned();
    if let Some(hint) = &reject.hint {
        text.push(' ');
        text.push_str(hint.as_str());
    }
    if let Ok(message) = HeaderValue::try_from(escape(&text)) {
        headers.insert(GRPC_MESSAGE, message);
    }
    headers
}

/// The status of gRPC that a fault amounts to.
pub(super) const fn status(fault: Fault) -> u16 {
    const CANCELLED: u16 = 1;
    const UNKNOWN: u16 = 2;
    const DEADLINE_EXCEEDED: u16 = 4;
    const PERMISSION_DENIED: u16 = 7;
    const RESOURCE_EXHAUSTED: u16 = 8;
    const UNIMPLEMENTED: u16 = 12;
    const INTERNAL: u16 = 13;
    const UNAVAILABLE: u16 = 14;
    const UNAUTHENTICATED: u16 = 16;
    match fault.status() {
        400 | 414 | 415 | 431 | 500 => INTERNAL,
        401 => UNAUTHENTICATED,
        403 => PERMISSION_DENIED,
        404 | 405 => UNIMPLEMENTED,
        408 | 504 => DEADLINE_EXCEEDED,
        413 | 429 => RESOURCE_EXHAUSTED,
        499 => CANCELLED,
        502 | 503 => UNAVAILABLE,
        _ => UNKNOWN,
    }
}

/// Percent-encodes what `grpc-message` cannot hold: all but printable ASCII, and `%`.
fn escape(text: &str) -> String {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes().take(MESSAGE_BYTES_MAX) {
        if matches!(byte, b' '..=b'~') && byte != b'%' {
            escaped.push(char::from(byte));
            continue;
        }
        escaped.push('%');
        for nibble in [byte >> 4, byte & 0xf] {
            let digit = DIGITS.get(usize::from(nibble)).copied().unwrap_or(b'0');
            escaped.push(char::from(digit));
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::Hint;

    fn spoken_as(content_type: &'static str) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        spoken(&headers).map(|value| value.to_str().unwrap().to_owned())
    }

    #[test]
    fn grpc_is_told_by_its_content_type() {
        for sent in ["application/grpc", "application/grpc+proto", "Application/GRPC;a=b"] {
            assert_eq!(spoken_as(sent).as_deref(), Some("application/grpc"), "{sent}");
        }
        let web = "application/grpc-web+proto";
        assert_eq!(spoken_as(web).as_deref(), Some("application/grpc-web"));
        for sent in ["application/json", "application/grp", "application/grpcx", "text/plain"] {
            assert_eq!(spoken_as(sent), None, "{sent}");
        }
        assert!(spoken(&HeaderMap::new()).is_none());
    }

    #[test]
    fn every_fault_has_a_status() {
        for (fault, expected) in [
            (Fault::CredentialsMissing, 16),
            (Fault::ScopeInsufficient, 7),
            (Fault::RouteNotFound, 12),
            (Fault::LimitExceeded, 8),
            (Fault::NoEndpoint, 14),
            (Fault::ConnectFailed, 14),
            (Fault::ResponseTimeout, 4),
            (Fault::BodyTooLarge, 8),
            (Fault::MalformedRequest, 13),
            (Fault::Internal, 13),
            (Fault::ClientGone, 1),
        ] {
            assert_eq!(status(fault), expected, "{fault:?}");
        }
        assert!(Fault::ALL.iter().all(|fault| status(*fault) != 2), "each has a better word");
    }

    #[test]
    fn a_message_is_escaped() {
        let hint = Hint::from_config("100 % of »x«\n".to_owned());
        let reject = Reject::new(Fault::LimitExceeded).with_hint(hint);
        let answer = render(&reject, HeaderValue::from_static("application/grpc"));
        assert_eq!(answer.status, 200);
        assert_eq!(answer.headers["grpc-status"], "8");
        assert_eq!(
            answer.headers["grpc-message"],
            "The rate limit has been used up. 100 %25 of %C2%BBx%C2%AB%0A"
        );
        assert!(answer.body.is_empty());
    }
}
