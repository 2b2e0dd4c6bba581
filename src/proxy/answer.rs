//! Is this answer of a service clean HTTP?
//!
//! Pingora reads answers more generously than a gateway should pass them on. What two readers
//! could take for different answers is refused: the client gets 502, and the connection to the
//! service is not used again. A `Content-Length` beside `Transfer-Encoding` is not among it:
//! Pingora removes the former before anybody sees it, so that is never passed on.

use http::{HeaderMap, HeaderValue, StatusCode, Version, header};
use pingora::http::ResponseHeader;
use pingora::{Error, ErrorType, Result};
use pingora_proxy::Session;

use super::RequestCtx;
use crate::upstream;

/// Checks the header of an answer, an interim one (1xx) too, and takes out what has no place in
/// it though it does no harm.
///
/// # Errors
/// One that the fault table calls `ResponseInvalid`; it is never worth another attempt.
pub(super) fn check(
    session: &Session,
    response: &mut ResponseHeader,
    ctx: &mut RequestCtx,
) -> Result<()> {
    judge(response.status, response.version, &response.headers).map_err(refuse)?;
    match response.status {
        StatusCode::SWITCHING_PROTOCOLS => {
            let wanted = session.req_header().headers.get(header::UPGRADE);
            if !session.is_upgrade_req() || !is_offered(wanted, &response.headers) {
                return Err(refuse("a switch to a protocol that nobody asked for"));
            }
        }
        StatusCode::NO_CONTENT => {
            response.remove_header(&header::CONTENT_LENGTH);
            response.remove_header(&header::TRANSFER_ENCODING);
        }
        _ => {}
    }
    count_interim(response.status, ctx)
}

/// Makes the answer a failure during a drill of its service; otherwise one relaxed load.
///
/// # Errors
/// Never; Pingora wants to know.
#[inline]
pub(super) fn drill(response: &mut ResponseHeader, ctx: &RequestCtx) -> Result<()> {
    let Some(endpoint) = &ctx.endpoint else { return Ok(()) };
    let before = response.status;
    let status = upstream::drilled::status(before, endpoint);
    if status == before || before == StatusCode::SWITCHING_PROTOCOLS {
        return Ok(());
    }
    response.set_status(status)?;
    if matches!(before, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
        response.insert_header(header::CONTENT_LENGTH, HeaderValue::from_static("0"))?;
    }
    Ok(())
}

#[expect(clippy::unnecessary_box_returns, reason = "Pingora's errors are boxed")]
fn refuse(why: &'static str) -> Box<Error> {
    let mut error = Error::explain(ErrorType::InvalidHTTPHeader, why);
    error.as_up();
    error
}

/// What may be said of an answer without its request.
fn judge(status: StatusCode, version: Version, headers: &HeaderMap) -> Result<(), &'static str> {
    if status.as_u16() > 599 {
        return Err("a status above 599");
    }
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    let length = lengths.next();
    if lengths.next().is_some() {
        return Err("Content-Length is given more than once");
    }
    if length.is_some_and(|value| value.as_bytes().contains(&b',')) {
        return Err("Content-Length is a list");
    }
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let coding = codings.next();
    if codings.next().is_some()
        || coding.is_some_and(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"chunked"))
    {
        return Err("Transfer-Encoding is anything but exactly `chunked`");
    }
    if coding.is_some() && version < Version::HTTP_11 {
        return Err("HTTP/1.0 has no Transfer-Encoding");
    }
    let is_empty = |value: &HeaderValue| value.as_bytes().iter().all(|byte| *byte == b'0');
    // HTTP/2 has no codings of transfer: it was Pingora that wrote that one, for the client.
    let coded = coding.is_some() && version < Version::HTTP_2;
    let framed = coded || length.is_some_and(|value| !is_empty(value));
    if framed && (status.is_informational() || status == StatusCode::NO_CONTENT) {
        return Err("a body where the status allows none");
    }
    let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if bytes > HEADER_BYTES_MAX {
        return Err("a header larger than any that is passed on");
    }
    Ok(())
}

/// Largest header of an answer that is passed on, in bytes of names and values. Clients take
/// less: browsers 256 KiB, many libraries 64 KiB or 100 fields.
const HEADER_BYTES_MAX: usize = 64 * 1024;

/// Whether an answer switches to a protocol that the client has offered.
fn is_offered(wanted: Option<&HeaderValue>, headers: &HeaderMap) -> bool {
    let (Some(wanted), Some(chosen)) = (wanted, headers.get(header::UPGRADE)) else {
        return false;
    };
    let (wanted, chosen) = (wanted.as_bytes(), chosen.as_bytes());
    wanted
        .split(|byte| *byte == b',')
        .any(|one| one.trim_ascii().eq_ignore_ascii_case(chosen.trim_ascii()))
}

/// Bounds the interim answers to one request: each is work, and none is the answer.
fn count_interim(status: StatusCode, ctx: &mut RequestCtx) -> Result<()> {
    if !status.is_informational() {
        return Ok(());
    }
    ctx.interim += 1;
    if ctx.interim > INTERIM_MAX {
        return Err(refuse("too many interim answers"));
    }
    Ok(())
}

/// Most interim answers to one request.
const INTERIM_MAX: u32 = 16;

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;

    fn map(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        fields
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    fn judged(status: u16, version: Version, fields: &[(&'static str, &'static str)]) -> bool {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        judge(StatusCode::from_u16(status).unwrap(), version, &headers).is_ok()
    }

    #[test]
    fn clean_answers_pass() {
        for (status, fields) in [
            (200, &[][..]),
            (200, &[("content-length", "5")]),
            (200, &[("transfer-encoding", "Chunked")]),
            (204, &[]),
            (204, &[("content-length", "0")]),
            (304, &[("content-length", "5")]),
            (304, &[("transfer-encoding", "chunked")]),
            (103, &[("link", "</a>; rel=preload")]),
            (599, &[]),
        ] {
            assert!(judged(status, Version::HTTP_11, fields), "{status} {fields:?}");
        }
        assert!(judged(200, Version::HTTP_10, &[("content-length", "5")]));
    }

    #[test]
    fn ambiguous_answers_are_refused() {
        for (status, fields) in [
            (600, &[][..]),
            (200, &[("content-length", "5"), ("content-length", "5")]),
            (200, &[("content-length", "5, 5")]),
            (200, &[("transfer-encoding", "gzip, chunked")]),
            (200, &[("transfer-encoding", "chunked, chunked")]),
            (200, &[("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")]),
            (200, &[("transfer-encoding", "identity")]),
            (200, &[("transfer-encoding", "")]),
            (204, &[("content-length", "5")]),
            (204, &[("transfer-encoding", "chunked")]),
            (103, &[("content-length", "5")]),
            (101, &[("transfer-encoding", "chunked")]),
        ] {
            assert!(!judged(status, Version::HTTP_11, fields), "{status} {fields:?}");
        }
        assert!(!judged(200, Version::HTTP_10, &[("transfer-encoding", "chunked")]));
    }

    #[test]
    fn large_headers_are_refused_from_the_first_byte_above() {
        let sized = |bytes: usize| {
            let value = HeaderValue::from_str(&"v".repeat(bytes - 1)).unwrap();
            let headers = HeaderMap::from_iter([(HeaderName::from_static("x"), value)]);
            judge(StatusCode::OK, Version::HTTP_11, &headers)
        };
        assert!(sized(HEADER_BYTES_MAX).is_ok());
        assert!(sized(HEADER_BYTES_MAX + 1).is_err());
    }

    #[test]
    fn only_an_offered_protocol_is_switched_to() {
        let offered = |wanted: Option<&'static str>, chosen: &[(&'static str, &'static str)]| {
            is_offered(wanted.map(HeaderValue::from_static).as_ref(), &map(chosen))
        };
        assert!(offered(Some("websocket"), &[("upgrade", "WebSocket")]));
        assert!(offered(Some("a, websocket"), &[("upgrade", "websocket")]));
        assert!(!offered(Some("websocket"), &[("upgrade", "h2c")]));
        assert!(!offered(Some("websocket"), &[]));
        assert!(!offered(None, &[("upgrade", "websocket")]));
    }
}
