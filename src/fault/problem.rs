//! The body of every error that the gateway writes: problem details, RFC 9457.
//!
//! Written by hand, from pieces that are made when the program is built: whoever floods the
//! gateway gets a body for each request, and that must not be what costs. The tests hold it
//! against a JSON library.

use super::{Fault, Hint, Reject};

/// Problem type that the rate limit draft registers for a used-up quota, in place of ours.
const QUOTA_EXCEEDED: &str = concat!(
    r#"{"type":"https://iana.org/assignments/http-problem-types#quota-exceeded","#,
    r#""title":"The rate limit has been used up.","status":429"#,
);

/// Room for members whose length varies little: numbers, keys, quotes.
const SPARE: usize = 96;

/// Renders a refusal as `application/problem+json`.
///
/// `type` is `about:blank#CODE` unless a registered problem type exists, so that it can be
/// compared and never has to be fetched. R084's `{error, retry_after}` are extension members.
#[must_use]
pub fn problem_body(reject: &Reject, request_id: &str) -> Vec<u8> {
    let fault = reject.fault;
    let head = if fault == Fault::LimitExceeded { QUOTA_EXCEEDED } else { fault.problem_head() };
    let middle = fault.problem_middle();
    let hint = reject.hint.as_ref().map(Hint::as_str);
    let violated = reject.violated.as_deref();
    let vary = request_id.len() + hint.map_or(0, str::len) + violated.map_or(0, str::len);
    let mut body = Vec::with_capacity(head.len() + middle.len() + vary + SPARE);
    body.extend_from_slice(head.as_bytes());
    if let Some(hint) = hint {
        body.extend_from_slice(br#","detail":"#);
        push_text(&mut body, hint);
    }
    body.extend_from_slice(middle.as_bytes());
    push_text(&mut body, request_id);
    if let Some(seconds) = reject.retry_after_seconds() {
        body.extend_from_slice(br#","retry_after":"#);
        push_number(&mut body, seconds);
    }
    if let Some(name) = violated {
        body.extend_from_slice(br#","violated-policies":["#);
        push_text(&mut body, name);
        body.push(b']');
    }
    body.push(b'}');
    body
}

/// Appends a JSON string. Nearly none of ours needs an escape.
fn push_text(body: &mut Vec<u8>, text: &str) {
    if text.bytes().any(|byte| matches!(byte, 0..=0x1f | b'"' | b'\\')) {
        // Writing into memory cannot fail.
        let _ = serde_json::to_writer(body, text);
        return;
    }
    body.push(b'"');
    body.extend_from_slice(text.as_bytes());
    body.push(b'"');
}

/// Appends a number in decimal digits.
fn push_number(body: &mut Vec<u8>, mut number: u64) {
    let start = body.len();
    loop {
        body.push(b'0' + (number % 10) as u8);
        number /= 10;
        if number == 0 {
            break;
        }
    }
    if let Some(digits) = body.get_mut(start..) {
        digits.reverse();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::*;

    fn read(reject: &Reject, id: &str) -> Value {
        serde_json::from_slice(&problem_body(reject, id)).unwrap()
    }

    #[test]
    fn every_fault_has_a_body_that_says_what_the_table_says() {
        for fault in Fault::ALL {
            let mut expected = json!({
                "type": format!("about:blank#{}", fault.code()),
                "title": fault.title(),
                "status": fault.status(),
                "code": fault.code(),
                "error": fault.title(),
                "request_id": "abc-1",
            });
            if *fault == Fault::LimitExceeded {
                expected["type"] =
                    json!("https://iana.org/assignments/http-problem-types#quota-exceeded");
            }
            assert_eq!(read(&(*fault).into(), "abc-1"), expected, "{fault:?}");
        }
    }

    #[test]
    fn details_are_escaped_where_they_have_to_be() {
        for text in ["", "plain", "with \"quotes\" and \\", "line\nbreak\u{1}", "schön »x«"] {
            let hint = Hint::from_config(text.to_owned());
            let mut reject = Reject::new(Fault::LimitExceeded)
                .with_hint(hint)
                .with_retry_after(Duration::from_millis(1001));
            reject.violated = Some(text.into());
            let body = read(&reject, text);
            assert_eq!(body["detail"], text);
            assert_eq!(body["request_id"], text);
            assert_eq!(body["violated-policies"], json!([text]));
            assert_eq!(body["retry_after"], 2);
        }
    }

    #[test]
    fn numbers_are_whole() {
        for seconds in [0, 9, 10, 1_234_567_890, u64::MAX] {
            let reject = Reject::new(Fault::LimitExceeded);
            let reject = reject.with_retry_after(Duration::from_secs(seconds));
            assert_eq!(read(&reject, "a")["retry_after"], seconds);
        }
    }

    /// A body is one allocation, with room to spare.
    #[test]
    fn a_body_never_grows() {
        for fault in Fault::ALL {
            let mut reject = Reject::new(*fault).with_retry_after(Duration::from_secs(u64::MAX));
            reject.violated = Some("a-policy-with-a-long-name".into());
            let reject = reject.with_hint(Hint::literal("Some words."));
            let id = "0123456789abcdef0123456789abcdef";
            let needed = fault.problem_head().len() + fault.problem_middle().len();
            let body = problem_body(&reject, id);
            let capacity = body.capacity();
            let head = if *fault == Fault::LimitExceeded { QUOTA_EXCEEDED.len() } else { 0 };
            assert!(capacity <= needed.max(head + needed) + 200, "{fault:?}: {capacity}");
            assert!(body.len() <= capacity);
        }
    }
}
