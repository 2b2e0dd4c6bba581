//! What the admin listener answers.

use http::{HeaderValue, Method, Response, StatusCode, header};

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) content_type: &'static str,
    pub(super) body: Vec<u8>,
    /// What may be asked for instead, with 405.
    pub(super) allow: Option<&'static str>,
}

impl Answer {
    pub(super) fn text(status: StatusCode, text: &str) -> Self {
        let content_type = "text/plain; charset=utf-8";
        Self { status, content_type, body: text.into(), allow: None }
    }

    pub(super) fn json(status: StatusCode, value: &impl serde::Serialize) -> Self {
        let body = serde_json::to_vec(value).unwrap_or_default();
        Self { status, content_type: "application/json", body, allow: None }
    }

    /// 405, naming what is possible.
    pub(super) fn only(methods: &'static str) -> Self {
        let answer = Self::text(StatusCode::METHOD_NOT_ALLOWED, &format!("only {methods}\n"));
        Self { allow: Some(methods), ..answer }
    }

    /// As it is sent.
    pub(super) fn response(self, method: &Method) -> Response<Vec<u8>> {
        let mut response = Response::new(Vec::new());
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        headers.insert(header::CONTENT_LENGTH, self.body.len().into());
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(methods) = self.allow {
            headers.insert(header::ALLOW, HeaderValue::from_static(methods));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Bearer realm=\"tidegate-admin\"");
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        if *method != Method::HEAD {
            *response.body_mut() = self.body;
        }
        response
    }
}
