//! What the service is sent: the client's request, cleaned, with what the gateway knows.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
use pingora::http::RequestHeader;

use crate::edge::{
    Connection, Identity, RequestId, RequestView, TraceContext, X_REQUEST_ID, forwarded_for,
    forwarded_host, forwarded_proto,
};
use crate::fault::{Fault, Reject};
use crate::snapshot::Route;
use crate::upstream::Endpoint;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The gateway's entry in `Via` (RFC 9110 section 7.6.3).
const VIA: HeaderValue = HeaderValue::from_static("1.1 tidegate");

/// What differs from one attempt to the next.
#[derive(Clone, Copy, Debug)]
pub struct Attempt<'a> {
    /// The endpoint that it goes to.
    pub endpoint: Option<&'a Endpoint>,
    /// When it is made, in Unix seconds: the time of its signature. Read only where the route
    /// has a signer.
    pub unix_seconds: u64,
}

/// Everything about a request that its upstream copy needs, kept while the request lives:
/// attempts are repeated, and each starts again from what the client sent.
#[derive(Clone, Debug)]
pub struct Outbound {
    /// The target as the service sees it, where that differs from what the client sent.
    target: Option<Uri>,
    /// The path of it, where the route rewrites it.
    rewritten: Option<Box<str>>,
    /// The host, where the request names it in its target only (HTTP/2).
    host: Option<HeaderValue>,
    forwarded_for: HeaderValue,
    forwarded_host: HeaderValue,
    forwarded_proto: HeaderValue,
    /// The language that the cache key names: the service must not answer in another.
    language: Option<HeaderValue>,
}

impl Outbound {
    /// Notes what a request's upstream copy needs. `view` is without the API key ([`query`]),
    /// `uri` as the client sent it.
    ///
    /// [`query`]: super::query
    ///
    /// # Errors
    /// 400 when the target cannot be written in origin form, or not be rewritten.
    pub fn of(
        view: &RequestView<'_>,
        uri: &Uri,
        connection: &Connection,
        route: &Route,
    ) -> Result<Self, Reject> {
        let rewritten = match route.forward() {
            Some(forward) => forward.rewrite.path(&view.path)?,
            None => None,
        };
        let path = rewritten.as_deref().unwrap_or(&view.path);
        // What the view lacks is an API key, and that is for services only if the route says so.
        let query = if route.forward_credentials { uri.query() } else { view.query };
        let same = uri.authority().is_none() && uri.path() == path && uri.query() == query;
        let target = if same { None } else { Some(origin_form(path, query)?) };
        let host = match uri.authority() {
            Some(authority) if !view.headers.contains_key(header::HOST) => {
                Some(HeaderValue::try_from(authority.as_str()).map_err(|_| Fault::HostInvalid)?)
            }
            _ => None,
        };
        // A target names the port too, where a view has the bare name.
        let told = match (&host, forwarded_host(view).ok_or(Fault::HostInvalid)?) {
            (Some(host), told) if told == *view.host => host.clone(),
            (_, told) => told,
        };
        Ok(Self {
            target,
            rewritten: rewritten.map(Into::into),
            host,
            forwarded_for: forwarded_for(connection, view.headers, view.peer_trusted),
            forwarded_host: told,
            forwarded_proto: forwarded_proto(view.scheme),
            language: route
                .cache
                .as_ref()
                .and_then(|policy| policy.language(view.headers).cloned()),
        })
    }

    /// The path that the service sees, where the route rewrites it.
    #[must_use]
    pub fn rewritten(&self) -> Option<&str> {
        self.rewritten.as_deref()
    }

    /// Turns the client's header into the one that is sent to the service. May be called again
    /// for each attempt, always on a fresh copy.
    ///
    /// Where the gateway signs, that comes last: the signature is over what the service sees.
    ///
    /// Works on the plain header map, not through Pingora's header: that keeps every name a
    /// second time in the case that it came in, and parses each name that is set. Names are
    /// written in lower case, which HTTP does not distinguish.
    pub fn prepare(
        &self,
        upstream: &mut RequestHeader,
        route: &Route,
        identity: Option<&Arc<Identity>>,
        request_id: &RequestId,
        trace: &TraceContext,
        attempt: Attempt<'_>,
    ) {
        let ends_stream = upstream.send_end_stream();
        let nothing = RequestHeader::from(http::Request::new(()).into_parts().0);
        let mut parts = http::request::Parts::from(std::mem::replace(upstream, nothing));
        keep_authority(&mut parts);
        if let Some(target) = &self.target {
            parts.uri = target.clone();
        }
        let headers = &mut parts.headers;
        route.removed.remove_from(headers);
        headers.reserve(ADDED + identity.map_or(0, |identity| identity.headers.len()));
        headers.insert(X_REQUEST_ID, request_id.header_value());
        headers.insert(TRACEPARENT, trace.traceparent.clone());
        if let Some(state) = &trace.tracestate {
            headers.insert(TRACESTATE, state.clone());
        }
        headers.insert(X_FORWARDED_FOR, self.forwarded_for.clone());
        headers.insert(X_FORWARDED_HOST, self.forwarded_host.clone());
        headers.insert(X_FORWARDED_PROTO, self.forwarded_proto.clone());
        if let Some(language) = &self.language {
            headers.insert(header::ACCEPT_LANGUAGE, language.clone());
        }
        if let Some(host) = seen_host(route, attempt.endpoint).or_else(|| self.host.clone()) {
            headers.insert(header::HOST, host);
        }
        headers.append(header::VIA, VIA);
        let told = identity.map_or(&[][..], |identity| &identity.headers);
        for (name, value) in told {
            headers.insert(name.clone(), value.clone());
        }
        if let Some(signer) = &route.signer {
            signer.sign((&parts.method, &parts.uri), told, attempt.unix_seconds, headers);
        }
        *upstream = RequestHeader::from(parts);
        upstream.set_send_end_stream(ends_stream.unwrap_or(true));
    }
}

/// Headers that are added to every request, at most.
const ADDED: usize = 11;

/// The host of an HTTP/2 request stands in its target, which is replaced: services are told of it
/// in `Host`, from which Pingora makes `:authority` again where HTTP/2 is spoken with them.
fn keep_authority(parts: &mut http::request::Parts) {
    if parts.headers.contains_key(header::HOST) {
        return;
    }
    let authority = parts.uri.authority().map(http::uri::Authority::as_str);
    if let Some(Ok(host)) = authority.map(HeaderValue::from_str) {
        parts.headers.insert(header::HOST, host);
    }
}

/// The `Host` that the service sees instead of the client's: the one that the route names, or
/// its endpoint's own, without the port that goes without saying (R037).
fn seen_host(route: &Route, endpoint: Option<&Endpoint>) -> Option<HeaderValue> {
    let forward = route.forward()?;
    if !forward.change_origin {
        return forward.rewrite.host.clone();
    }
    let endpoint = endpoint?;
    let default = if endpoint.peer.is_tls() { ":443" } else { ":80" };
    let authority = &*endpoint.authority;
    HeaderValue::from_str(authority.strip_suffix(default).unwrap_or(authority)).ok()
}

/// A path and the query as it was sent.
fn origin_form(path: &str, query: Option<&str>) -> Result<Uri, Reject> {
    let target = match query {
        None => path.to_owned(),
        Some(query) => format!("{path}?{query}"),
    };
    Uri::try_from(target).map_err(|_| Fault::MalformedRequest.into())
}

/// Header names and values of a map, for explanations; repeated names stay apart.
pub(super) fn listed(headers: &HeaderMap) -> Vec<(String, String)> {
    headers
        .iter()
        .map(|(name, value)| {
            (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
        })
        .collect()
}
