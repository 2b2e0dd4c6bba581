//! Fixed answers.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::Answer;
use crate::edge::X_REQUEST_ID;
use crate::model::{self, Problem, Problems};

/// A compiled fixed answer.
#[derive(Debug)]
pub struct Respond {
    answer: Answer,
}

/// Headers that the connection or the gateway itself decides.
const OURS: [&str; 12] = [
    "connection",
    "content-length",
    "date",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-cache",
    "cache-status",
    "age",
];

/// Longest body, in bytes: it is kept in memory with the configuration.
const BODY_BYTES_MAX: usize = 64 * 1024;

impl Respond {
    pub(super) fn compile<'a>(
        model: &model::Respond,
        identity: impl Iterator<Item = &'a str>,
        path: &str,
        problems: &mut Problems,
    ) -> Option<Self> {
        let before = problems.0.len();
        let status =
            StatusCode::from_u16(model.status).ok().filter(|_| (200..600).contains(&model.status));
        if status.is_none() {
            let what = format!("{} is not a status to answer with", model.status);
            problems.push(
                Problem::error("respond.status", format!("{path}.status"), what)
                    .help("use 200 to 599"),
            );
        }
        check_body(model, path, problems);
        let mut headers = HeaderMap::with_capacity(model.headers.len() + 2);
        match HeaderValue::try_from(&model.content_type) {
            Ok(value) if model.content_type.contains('/') => {
                if !model.body.is_empty() {
                    headers.insert(header::CONTENT_TYPE, value);
                }
            }
            _ => {
                let what = format!("`{}` is not a content type", model.content_type);
                let place = format!("{path}.contentType");
                problems.push(Problem::error("respond.content_type", place, what));
            }
        }
        let identity: Vec<&str> = identity.collect();
        for (name, value) in &model.headers {
            let place = format!("{path}.headers.{name}");
            match field(name, value, &identity) {
                Ok((name, value)) => {
                    headers.insert(name, value);
                }
                Err(why) => problems.push(Problem::error("respond.header", place, why)),
            }
        }
        // Whoever writes no rule for caches means the answer of now.
        let no_store = HeaderValue::from_static("no-store");
        headers.entry(header::CACHE_CONTROL).or_insert(no_store);
        let body = Bytes::copy_from_slice(model.body.as_bytes());
        let answer = Answer { status: status?, headers, body };
        (problems.0.len() == before).then_some(Self { answer })
    }

    pub(super) fn answer(&self) -> Answer {
        self.answer.clone()
    }
}

fn check_body(model: &model::Respond, path: &str, problems: &mut Problems) {
    let place = format!("{path}.body");
    if matches!(model.status, 204 | 205 | 304) && !model.body.is_empty() {
        let what = format!("an answer with {} has no body", model.status);
        problems.push(Problem::error("respond.body", place, what));
    } else if model.body.len() > BODY_BYTES_MAX {
        let what = format!("the body is longer than {BODY_BYTES_MAX} bytes");
        problems.push(
            Problem::error("respond.body", place, what).help("serve it from a service instead"),
        );
    }
}

fn field(name: &str, value: &str, identity: &[&str]) -> Result<(HeaderName, HeaderValue), String> {
    let header = HeaderName::try_from(name).map_err(|_| format!("`{name}` is no header name"))?;
    if header == header::CONTENT_TYPE {
        return Err("the content type is written as `contentType`".to_owned());
    }
    if OURS.contains(&header.as_str()) || header == X_REQUEST_ID {
        return Err(format!("`{header}` is the gateway's own to write"));
    }
    let forwarding = header == header::FORWARDED || header.as_str().starts_with("x-forwarded-");
    if forwarding || identity.iter().any(|known| known.eq_ignore_ascii_case(header.as_str())) {
        return Err(format!("`{header}` tells services who calls, not clients"));
    }
    let value =
        HeaderValue::try_from(value).map_err(|_| format!("`{value}` cannot be a header value"))?;
    Ok((header, value))
}

#[cfg(test)]
mod tests;
