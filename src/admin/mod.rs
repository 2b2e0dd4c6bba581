//! The operator's endpoints: health, metrics, configuration version.
//!
//! | Path | Answers |
//! |---|---|
//! | `/livez` | 200 while the process runs |
//! | `/readyz` | 200 while it takes traffic, 503 while it starts or drains |
//! | `/health` | as `/readyz`, with `{"status":"ok"}` (R168) |
//! | `/metrics` | Prometheus text |
//! | `/admin/discovery` | what is known of each source of endpoints, and since when |
//! | `/admin/services` | every service: endpoints, health, circuit, retry budget |
//! | `/admin/config-version` | version, time and checksum of the configuration in force (R189) |

use std::sync::Arc;

use async_trait::async_trait;
use http::{Method, Response, StatusCode, header};
use pingora::apps::http_app::ServeHttp;
use pingora::protocols::http::ServerSession;

use crate::live::Live;
use crate::telemetry::Metrics;

/// The admin application.
pub struct Admin {
    live: Arc<Live>,
}

impl Admin {
    /// Endpoints over the state of a process.
    #[must_use]
    pub const fn new(live: Arc<Live>) -> Self {
        Self { live }
    }

    fn answer(&self, method: &Method, path: &str) -> Answer {
        if method != Method::GET && method != Method::HEAD {
            return Answer::text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
        }
        match path {
            "/livez" => Answer::text(StatusCode::OK, "ok\n"),
            "/readyz" => self.ready(),
            "/health" => self.health(),
            "/metrics" => Answer {
                status: StatusCode::OK,
                content_type: Metrics::CONTENT_TYPE,
                body: self.live.scrape(),
            },
            "/admin/services" => Answer::json(StatusCode::OK, &self.live.services()),
            "/admin/config-version" => Answer::json(StatusCode::OK, &*self.live.applied()),
            "/admin/discovery" => {
                Answer::json(StatusCode::OK, &self.live.upstreams.directory.known())
            }
            _ => Answer::text(StatusCode::NOT_FOUND, "not here\n"),
        }
    }

    fn ready(&self) -> Answer {
        if self.live.is_ready() {
            Answer::text(StatusCode::OK, "ok\n")
        } else {
            Answer::text(StatusCode::SERVICE_UNAVAILABLE, self.why_not())
        }
    }

    fn health(&self) -> Answer {
        if self.live.is_ready() {
            Answer::json(StatusCode::OK, &serde_json::json!({"status": "ok"}))
        } else {
            let body = serde_json::json!({"status": self.why_not().trim_end()});
            Answer::json(StatusCode::SERVICE_UNAVAILABLE, &body)
        }
    }

    fn why_not(&self) -> &'static str {
        if self.live.is_draining() { "draining\n" } else { "starting\n" }
    }
}

struct Answer {
    status: StatusCode,
    content_type: &'static str,
    body: Vec<u8>,
}

impl Answer {
    fn text(status: StatusCode, text: &str) -> Self {
        Self { status, content_type: "text/plain; charset=utf-8", body: text.into() }
    }

    fn json(status: StatusCode, value: &impl serde::Serialize) -> Self {
        let body = serde_json::to_vec(value).unwrap_or_default();
        Self { status, content_type: "application/json", body }
    }
}

#[async_trait]
impl ServeHttp for Admin {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        let header = session.req_header();
        let head = header.method == Method::HEAD;
        let answer = self.answer(&header.method, header.uri.path());
        let mut response = Response::new(Vec::new());
        *response.status_mut() = answer.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(answer.content_type));
        headers.insert(header::CONTENT_LENGTH, answer.body.len().into());
        headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
        if answer.status == StatusCode::METHOD_NOT_ALLOWED {
            headers.insert(header::ALLOW, header::HeaderValue::from_static("GET, HEAD"));
        }
        if !head {
            *response.body_mut() = answer.body;
        }
        response
    }
}
