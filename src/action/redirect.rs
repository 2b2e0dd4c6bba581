//! Sends clients elsewhere.
//!
//! Where to is put together from the configuration and from the request in its normal form, so
//! that a client can choose neither another place nor further headers.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::Answer;
use crate::edge::{RequestView, Scheme, normalise_path, read_host_port};
use crate::fault::{Fault, Reject};
use crate::model::{self, Problem, Problems};

/// A compiled redirect.
#[derive(Debug)]
pub struct Redirect {
    status: StatusCode,
    scheme: Option<Scheme>,
    host: Option<Box<str>>,
    path: Option<Box<str>>,
    keep_query: bool,
}

/// How long clients may keep a redirect that is for good. Without a word they would keep it for
/// ever, and a mistake with it.
const FOR_GOOD: HeaderValue = HeaderValue::from_static("max-age=3600");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

impl Redirect {
    pub(super) fn compile(
        model: &model::Redirect,
        matches: &model::Match,
        path: &str,
        problems: &mut Problems,
    ) -> Option<Self> {
        let before = problems.0.len();
        let mut wrong = |key: &str, what: String, help: &str| {
            let problem = Problem::error("redirect.value", format!("{path}.{key}"), what);
            problems.push(if help.is_empty() { problem } else { problem.help(help) });
        };
        if ![301, 302, 303, 307, 308].contains(&model.status) {
            let what = format!("{} is not the status of a redirect", model.status);
            wrong("status", what, "use 301, 302, 303, 307 or 308");
        }
        let scheme = model.scheme.as_deref().and_then(|scheme| match scheme {
            "http" => Some(Scheme::Http),
            "https" => Some(Scheme::Https),
            other => {
                wrong("scheme", format!("`{other}` is neither `http` nor `https`"), "");
                None
            }
        });
        if let Some(Err(why)) = model.host.as_deref().map(read_host_port) {
            wrong("host", format!("not a host with or without a port: {}", why.0), "");
        }
        match model.path.as_deref().map(|path| (path, normalise_path(path))) {
            Some((written, Ok(normal))) if normal != written => {
                let help = format!("write `{normal}`");
                wrong("path", format!("`{written}` is not in normal form"), &help);
            }
            Some((written, Err(why))) => {
                wrong("path", format!("`{written}` is not a path: {}", why.0), "");
            }
            _ => {}
        }
        if problems.0.len() == before && leads_back(model, matches) {
            problems.push(
                Problem::error("redirect.loop", path, "the redirect leads to itself")
                    .help("change the scheme, the host or the path"),
            );
        }
        let status = StatusCode::from_u16(model.status).ok()?;
        (problems.0.len() == before).then(|| Self {
            status,
            scheme,
            host: model.host.as_deref().map(|host| host.to_ascii_lowercase().into()),
            path: model.path.as_deref().map(Into::into),
            keep_query: model.keep_query,
        })
    }

    pub(super) fn answer(&self, view: &RequestView<'_>) -> Result<Answer, Reject> {
        let location = self.location(view).ok_or(Fault::RedirectLoop)?;
        let location = HeaderValue::try_from(location).map_err(|_| Fault::MalformedRequest)?;
        let for_good =
            matches!(self.status, StatusCode::MOVED_PERMANENTLY | StatusCode::PERMANENT_REDIRECT);
        let mut headers = HeaderMap::with_capacity(2);
        headers.insert(header::LOCATION, location);
        headers.insert(header::CACHE_CONTROL, if for_good { FOR_GOOD } else { NO_STORE });
        Ok(Answer { status: self.status, headers, body: Bytes::new() })
    }

    /// Where a client is sent; none where it is already there. Without a scheme and a host the
    /// place is relative: what stands in front of the gateway may have changed both.
    fn location(&self, view: &RequestView<'_>) -> Option<String> {
        let path = self.path.as_deref().unwrap_or(&view.path);
        let query = view.query.filter(|_| self.keep_query);
        let same_place = path == view.path && query == view.query;
        let mut location = String::new();
        if self.scheme.is_some() || self.host.is_some() {
            let scheme = self.scheme.unwrap_or(view.scheme);
            // A port belongs to a scheme; the client's says nothing about another one's.
            let host = self.host.as_deref().unwrap_or(&view.host);
            let same_host = read_host_port(host).is_ok_and(|named| named.host == view.host);
            if same_place && same_host && scheme == view.scheme && !self.other_port(view) {
                return None;
            }
            location.push_str(scheme.as_str());
            location.push_str("://");
            location.push_str(host);
        } else if same_place {
            return None;
        }
        location.push_str(path);
        if let Some(query) = query {
            location.push('?');
            location.push_str(query);
        }
        Some(location)
    }

    /// Whether the configured host has another port than the request's.
    fn other_port(&self, view: &RequestView<'_>) -> bool {
        let port = |host: &str| read_host_port(host).ok().and_then(|named| named.port);
        let asked = view.headers.get(header::HOST).and_then(|host| host.to_str().ok());
        self.host.as_deref().and_then(port) != asked.and_then(port)
    }
}

/// Whether every request of a route is sent to where it came from.
fn leads_back(model: &model::Redirect, matches: &model::Match) -> bool {
    let same_path = match &model.path {
        None => model.keep_query,
        // A request without a query comes back even where queries are dropped.
        Some(path) => matches.path.as_ref() == Some(path),
    };
    let same_host = match (&model.host, &matches.host) {
        (None, _) => true,
        (Some(host), Some(taken)) => host.eq_ignore_ascii_case(taken),
        (Some(_), None) => false,
    };
    same_path && same_host && model.scheme.is_none()
}

#[cfg(test)]
mod tests;
