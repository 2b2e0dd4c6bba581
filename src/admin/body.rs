//! Bodies of requests to the admin listener.

use std::time::Duration;

use http::{HeaderMap, StatusCode, header};
use pingora::protocols::http::ServerSession;

use super::answer::Answer;
use super::operator::problems;

/// Longest body, in bytes.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// Longest time that a body may take.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// The body of a request that says that it is JSON, read within bounds of size and time. It may be
/// no JSON all the same.
///
/// # Errors
/// The answer to a request without such a body; the rest of the body is not read.
pub(super) async fn json_body(session: &mut ServerSession) -> Result<Vec<u8>, Answer> {
    if !is_json(&session.req_header().headers) {
        let why = "the content type is not application/json".to_owned();
        return Err(problems(StatusCode::UNSUPPORTED_MEDIA_TYPE, &[why]));
    }
    body(session).await
}

/// Whether the body says that it is JSON. Pages of other sites cannot make a browser say so.
fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = value.and_then(|value| value.split(';').next()).unwrap_or_default();
    essence.trim().eq_ignore_ascii_case("application/json")
}

/// The body, read within bounds of size and time.
async fn body(session: &mut ServerSession) -> Result<Vec<u8>, Answer> {
    let refused = |status, why: String| Err(problems(status, &[why]));
    let reading = async {
        let mut body = Vec::new();
        while body.len() <= BODY_BYTES_MAX {
            match session.read_request_body().await {
                Ok(Some(part)) => body.extend_from_slice(&part),
                Ok(None) => return Ok(body),
                Err(_) => {
                    let why = "the body could not be read".to_owned();
                    return refused(StatusCode::BAD_REQUEST, why);
                }
            }
        }
        let why = format!("the body is longer than {BODY_BYTES_MAX} bytes");
        refused(StatusCode::PAYLOAD_TOO_LARGE, why)
    };
    tokio::time::timeout(BODY_TIMEOUT, reading).await.unwrap_or_else(|_| {
        refused(StatusCode::REQUEST_TIMEOUT, "the body took too long".to_owned())
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn only_json_is_json() {
        let says = |value: &'static str| {
            let value = HeaderValue::from_static(value);
            is_json(&HeaderMap::from_iter([(header::CONTENT_TYPE, value)]))
        };
        assert!(says("application/json"));
        assert!(says("Application/JSON; charset=utf-8"));
        for other in ["text/plain", "application/jsonx", "application/x-www-form-urlencoded", ""] {
            assert!(!says(other), "{other}");
        }
        assert!(!is_json(&HeaderMap::new()));
    }
}
