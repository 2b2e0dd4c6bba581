//! The body of every error that the gateway writes: problem details, RFC 9457.

use serde::Serialize;

use super::{Fault, Reject};

/// Problem type that the rate limit draft registers for a used-up quota.
const QUOTA_EXCEEDED: &str = "https://iana.org/assignments/http-problem-types#quota-exceeded";

#[derive(Serialize)]
struct Problem<'a> {
    r#type: &'a str,
    title: &'a str,
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
    code: &'a str,
    /// The member that clients written for the seeds' gateways read.
    error: &'a str,
    request_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after: Option<u64>,
    #[serde(rename = "violated-policies", skip_serializing_if = "Option::is_none")]
    violated_policies: Option<[&'a str; 1]>,
}

/// Renders a refusal as `application/problem+json`.
///
/// `type` is `about:blank#CODE` unless a registered problem type exists, so that it can be
/// compared and never has to be fetched. R084's `{error, retry_after}` are extension members.
#[must_use]
pub fn problem_body(reject: &Reject, request_id: &str) -> Vec<u8> {
    let fault = reject.fault;
    let fallback = format!("about:blank#{}", fault.code());
    let problem = Problem {
        r#type: if fault == Fault::LimitExceeded { QUOTA_EXCEEDED } else { &fallback },
        title: fault.title(),
        status: fault.status(),
        detail: reject.hint.as_ref().map(super::Hint::as_str),
        code: fault.code(),
        error: fault.title(),
        request_id,
        retry_after: reject.retry_after_seconds(),
        violated_policies: reject.violated.as_deref().map(|name| [name]),
    };
    serde_json::to_vec(&problem).unwrap_or_default()
}
