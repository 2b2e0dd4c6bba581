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
//! | `/admin/limits` | every limit, the limiter, and single counters; can be reset |
//! | `/admin/cache` | kept answers of this node, single entries; can be purged (R149) |
//! | `/admin/drills` | faults on purpose, where `admin.drills` allows them |
//! | `/admin/revocations` | credentials that are refused before their end; can be changed (R099) |
//! | `/admin/reload` | takes an order to read the configuration again |
//! | `/admin/config-version` | version, time and checksum of the configuration in force (R189) |

mod answer;
mod body;
mod cache;
mod drills;
mod limits;
mod operator;
mod reload;
mod revocations;

use std::sync::Arc;

use async_trait::async_trait;
use http::{Method, Response, StatusCode};
use pingora::apps::http_app::ServeHttp;
use pingora::protocols::http::ServerSession;

use crate::live::Live;
use crate::telemetry::Metrics;
use answer::Answer;

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
            return Answer::only("GET, HEAD");
        }
        match path {
            "/livez" => Answer::text(StatusCode::OK, "ok\n"),
            "/readyz" => self.ready(),
            "/health" => self.health(),
            "/metrics" => Answer {
                status: StatusCode::OK,
                content_type: Metrics::CONTENT_TYPE,
                body: self.live.scrape(),
                allow: None,
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

#[async_trait]
impl ServeHttp for Admin {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        let header = session.req_header();
        let (method, path) = (header.method.clone(), header.uri.path().to_owned());
        let answer = if let Some(id) = below(&path, revocations::PATH) {
            self.revocations(session, (!id.is_empty()).then_some(id)).await
        } else if let Some(rest) = below(&path, limits::PATH) {
            self.limits(session, (!rest.is_empty()).then_some(rest)).await
        } else if let Some(rest) = below(&path, cache::PATH) {
            self.cache(session, (!rest.is_empty()).then_some(rest)).await
        } else if path == reload::PATH {
            self.reload(session).await
        } else if let Some(rest) = below(&path, drills::PATH) {
            self.drills(session, (!rest.is_empty()).then_some(rest)).await
        } else {
            self.answer(&method, &path)
        };
        answer.response(&method)
    }
}

/// What stands below `place` in a path that leads there, empty for `place` itself.
fn below<'a>(path: &'a str, place: &str) -> Option<&'a str> {
    match path.strip_prefix(place)? {
        "" => Some(""),
        // A final `/` names nothing, and is not the same as none.
        "/" => None,
        rest => rest.strip_prefix('/'),
    }
}
