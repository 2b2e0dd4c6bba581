//! Which requests are refused for their shape: size, content type, required headers.
//!
//! Protocol and safety only (R123): nothing here looks into a body. All checks run before Redis
//! or any service is asked.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, header};

use crate::edge::RequestView;
use crate::fault::{Fault, Hint, Reject};
use crate::model::{Problem, Problems, RequestPolicy};

/// Largest body where the configuration does not say.
const DEFAULT_BODY_BYTES: u64 = 10 * 1024 * 1024;

/// The request policy of a route, compiled.
#[derive(Debug)]
pub struct RequestShape {
    /// Largest request body in bytes.
    pub body_bytes_max: u64,
    content_types: Option<Box<[Box<str>]>>,
    required: Box<[HeaderName]>,
}

impl RequestShape {
    /// Compiles the effective request policy of a route; problems carry `path`.
    pub fn compile(policy: &RequestPolicy, path: &str, problems: &mut Problems) -> Self {
        let mut required = Vec::new();
        for (index, name) in policy.require_headers.iter().flatten().enumerate() {
            match HeaderName::try_from(name.as_str()) {
                // Every request has an id by the time it is checked (T20).
                Ok(name) if name == "x-request-id" => {}
                Ok(name) => required.push(name),
                Err(_) => problems.push(Problem::error(
                    "header.invalid",
                    format!("{path}.requireHeaders[{index}]"),
                    format!("`{name}` is not a header name"),
                )),
            }
        }
        let content_types = policy.allowed_content_types.as_ref().map(|types| {
            for (index, media_type) in types.iter().enumerate() {
                if !is_media_type(media_type) {
                    problems.push(
                        Problem::error(
                            "content_type.invalid",
                            format!("{path}.allowedContentTypes[{index}]"),
                            format!("`{media_type}` is not a media type"),
                        )
                        .help("write `type/subtype` without parameters, as in `application/json`"),
                    );
                }
            }
            types.iter().map(|t| t.to_ascii_lowercase().into_boxed_str()).collect()
        });
        Self {
            body_bytes_max: policy
                .max_body_bytes
                .map_or(DEFAULT_BODY_BYTES, crate::model::ByteSize::get),
            content_types,
            required: required.into(),
        }
    }

    /// Checks a request's header.
    ///
    /// # Errors
    /// 400 for a missing header, 413 for a declared length above the limit, 415 for a content
    /// type that is not allowed.
    pub fn check(&self, view: &RequestView<'_>) -> Result<(), Reject> {
        for name in &self.required {
            if !view.headers.contains_key(name) {
                let hint = Hint::from_config(format!("The header `{name}` is required."));
                return Err(Reject::new(Fault::HeaderMissing).with_hint(hint));
            }
        }
        if content_length(view.headers).is_some_and(|length| length > self.body_bytes_max) {
            return Err(self.too_large());
        }
        let Some(allowed) = &self.content_types else { return Ok(()) };
        if !has_body(view.headers) {
            return Ok(());
        }
        let sent = view.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let sent = sent.map(media_type);
        if sent.is_some_and(|sent| allowed.iter().any(|known| **known == *sent)) {
            return Ok(());
        }
        let hint = Hint::from_config(format!("Accepted here: {}.", allowed.join(", ")));
        Err(Reject::new(Fault::ContentTypeRefused).with_hint(hint))
    }

    /// The refusal of a body that turns out longer than its limit.
    #[must_use]
    pub fn too_large(&self) -> Reject {
        let hint = Hint::from_config(format!("The limit is {} bytes.", self.body_bytes_max));
        Reject::new(Fault::BodyTooLarge).with_hint(hint)
    }
}

/// The media type of a `Content-Type`, in lower case, without parameters (R118).
fn media_type(value: &str) -> Cow<'_, str> {
    let essence = value.split(';').next().unwrap_or_default().trim();
    if essence.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(essence.to_ascii_lowercase())
    } else {
        Cow::Borrowed(essence)
    }
}

/// The declared length of the body.
#[must_use]
pub fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Whether the request has a body: a length above zero, or a transfer coding.
#[must_use]
pub fn has_body(headers: &HeaderMap) -> bool {
    headers.contains_key(header::TRANSFER_ENCODING)
        || content_length(headers).is_some_and(|n| n > 0)
}

fn is_media_type(text: &str) -> bool {
    let token = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b))
    };
    text.split_once('/').is_some_and(|(kind, sub)| token(kind) && token(sub))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use http::{HeaderValue, Method};

    use super::*;
    use crate::edge::Scheme;
    use crate::model::ByteSize;

    fn shape() -> RequestShape {
        let policy = RequestPolicy {
            max_body_bytes: Some(ByteSize::new(1_048_576)),
            allowed_content_types: Some(vec!["application/json".to_owned()]),
            require_headers: Some(vec!["x-request-id".to_owned(), "x-device".to_owned()]),
        };
        let mut problems = Problems::default();
        let shape = RequestShape::compile(&policy, "requestPolicy", &mut problems);
        assert!(problems.0.is_empty());
        shape
    }

    fn check(headers: &[(&'static str, &'static str)]) -> Result<(), Fault> {
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect();
        let view = RequestView {
            method: &Method::POST,
            scheme: Scheme::Http,
            host: "api.example.com".into(),
            port: None,
            path: "/".into(),
            query: None,
            headers: &headers,
            client: Ipv4Addr::LOCALHOST.into(),
            peer_trusted: false,
            certificate: None,
        };
        shape().check(&view).map_err(|reject| reject.fault)
    }

    #[test]
    fn the_body_may_be_as_long_as_the_limit_and_no_longer() {
        let json = ("content-type", "application/json");
        let device = ("x-device", "d");
        assert_eq!(check(&[device, json, ("content-length", "1048576")]), Ok(()));
        assert_eq!(check(&[device, json, ("content-length", "1048577")]), Err(Fault::BodyTooLarge));
    }

    #[test]
    fn a_media_type_is_compared_without_parameters_and_case() {
        let device = ("x-device", "d");
        let length = ("content-length", "2");
        for good in ["application/json", "Application/JSON; charset=utf-8"] {
            assert_eq!(check(&[device, length, ("content-type", good)]), Ok(()), "{good}");
        }
        for bad in ["text/plain", "application/jsonx", ""] {
            assert_eq!(
                check(&[device, length, ("content-type", bad)]),
                Err(Fault::ContentTypeRefused),
                "{bad}"
            );
        }
        assert_eq!(check(&[device, length]), Err(Fault::ContentTypeRefused));
        assert_eq!(check(&[device]), Ok(()), "no body, no type");
        assert_eq!(
            check(&[device, ("transfer-encoding", "chunked")]),
            Err(Fault::ContentTypeRefused)
        );
    }

    #[test]
    fn required_headers_are_required_but_the_request_id_is_ours() {
        assert_eq!(check(&[]), Err(Fault::HeaderMissing));
        assert_eq!(check(&[("x-device", "d")]), Ok(()));
    }
}
