//! One question to one endpoint.
//!
//! Asked with the peer that requests use: what stands in the way of requests (certificates,
//! protocol) stands in the way of checks.

use std::time::Duration;

use bytes::BytesMut;
use http::{HeaderValue, Uri, header};
use pingora::connectors::http::Connector;
use pingora::http::RequestHeader;
use pingora::protocols::ALPN;
use pingora::protocols::http::client::HttpSession;
use pingora::protocols::http::v2::client::Http2Session;
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorType, OrErr, Result};

use super::{CheckPlan, Question, grpc};
use crate::upstream::{Endpoint, drilled};

/// How long a connection with HTTP/2 is kept for the next check, beyond the interval.
const KEPT: Duration = Duration::from_secs(5);

impl CheckPlan {
    /// Puts the question to an endpoint.
    ///
    /// # Errors
    /// Why it did not pass.
    pub(super) async fn ask(&self, connector: &Connector, endpoint: &Endpoint) -> Result<()> {
        let peer = self.peer(endpoint);
        let connecting = tokio::time::timeout(self.timeout, connector.get_http_session(&peer));
        let (mut session, _) = connecting.await.map_err(|_| late())??;
        // Outside of the time limit, so that it is given back in any case.
        let passed = tokio::time::timeout(self.timeout, self.converse(&mut session, endpoint));
        let passed = passed.await.map_err(|_| late()).and_then(|passed| passed);
        // HTTP/1.1 connections are closed; a new one each time shows that there can be one.
        if let HttpSession::H2(mut stream) = session {
            if passed.is_err() {
                stream.shutdown();
            }
            let kept = Some(self.interval + KEPT);
            connector.release_http_session(HttpSession::H2(stream), &peer, kept).await;
        }
        passed
    }

    /// The peer of an endpoint, as this question needs it.
    fn peer(&self, endpoint: &Endpoint) -> HttpPeer {
        let mut peer = endpoint.peer.clone();
        if let Some(port) = self.port {
            peer._address.set_port(port);
        }
        drilled::redirect(&mut peer, endpoint);
        match self.question {
            Question::Connect => peer.options.alpn = ALPN::H1,
            Question::Grpc(_) => peer.options.set_http_version(2, 2),
            Question::Get { .. } => {}
        }
        peer
    }

    async fn converse(&self, session: &mut HttpSession, endpoint: &Endpoint) -> Result<()> {
        match (&self.question, session) {
            (Question::Connect, _) => Ok(()),
            (Question::Get { path, statuses }, session) => {
                self.get(path, statuses, session, endpoint).await
            }
            (Question::Grpc(message), HttpSession::H2(stream)) => {
                let mut header = self.header("POST", grpc::PATH, endpoint)?;
                let grpc = HeaderValue::from_static("application/grpc");
                header.insert_header(header::CONTENT_TYPE, grpc)?;
                header.insert_header(header::TE, HeaderValue::from_static("trailers"))?;
                stream.write_request_header(header, false)?;
                stream.write_request_body(message.clone(), true).await?;
                serves(stream).await
            }
            (Question::Grpc(_), _) => Error::e_explain(FAILED, "gRPC needs HTTP/2"),
        }
    }

    async fn get(
        &self,
        path: &str,
        statuses: &[u16],
        session: &mut HttpSession,
        endpoint: &Endpoint,
    ) -> Result<()> {
        let header = self.header("GET", path, endpoint)?;
        session.write_request_header(header).await?;
        session.finish_request_body().await?;
        session.read_response_header().await?;
        let status = session.response_header().map(|response| response.status);
        let status = status.map_or(0, |status| drilled::status(status, endpoint).as_u16());
        let passed = match statuses {
            [] => (200..300).contains(&status),
            statuses => statuses.contains(&status),
        };
        if passed { Ok(()) } else { Error::e_explain(FAILED, format!("status {status}")) }
    }

    fn header(&self, method: &str, path: &str, endpoint: &Endpoint) -> Result<Box<RequestHeader>> {
        let mut header = RequestHeader::build(method, path.as_bytes(), Some(4))?;
        let authority = self.host.as_ref().and_then(|host| host.to_str().ok());
        let authority = authority.unwrap_or(&endpoint.authority);
        header.insert_header(header::HOST, authority)?;
        header.insert_header(header::USER_AGENT, HeaderValue::from_static("tidegate"))?;
        if endpoint.peer.options.alpn != ALPN::H1 || matches!(self.question, Question::Grpc(_)) {
            // HTTP/2 wants all of it; HTTP/1.1 sends the path as it was built.
            let scheme = if endpoint.peer.is_tls() { "https" } else { "http" };
            let uri = Uri::builder().scheme(scheme).authority(authority).path_and_query(path);
            header.set_uri(uri.build().or_err(FAILED, "the path of the check")?);
        }
        Ok(Box::new(header))
    }
}

/// Reads the answer to a gRPC check.
async fn serves(stream: &mut Http2Session) -> Result<()> {
    stream.read_response_header().await?;
    let header = stream.response_header();
    let status = header.map_or(0, |response| response.status.as_u16());
    if status != 200 {
        return Error::e_explain(FAILED, format!("status {status}"));
    }
    // Where there is no body, the outcome stands in the header.
    check_outcome(header.and_then(|response| response.headers.get(GRPC_STATUS)))?;
    let mut answer = BytesMut::new();
    while let Some(part) = stream.read_response_body().await? {
        if answer.len() + part.len() > grpc::ANSWER_MAX {
            return Error::e_explain(FAILED, "the answer is too long");
        }
        answer.extend_from_slice(&part);
    }
    let trailers = stream.read_trailers().await?;
    check_outcome(trailers.as_ref().and_then(|trailers| trailers.get(GRPC_STATUS)))?;
    if grpc::serves(&answer) { Ok(()) } else { Error::e_explain(FAILED, "it does not serve") }
}

fn check_outcome(status: Option<&HeaderValue>) -> Result<()> {
    match status {
        None => Ok(()),
        Some(status) if status.as_bytes() == b"0" => Ok(()),
        Some(status) => Error::e_explain(FAILED, format!("grpc-status {status:?}")),
    }
}

const GRPC_STATUS: &str = "grpc-status";
const FAILED: ErrorType = ErrorType::Custom("check failed");

#[expect(clippy::unnecessary_box_returns, reason = "Pingora's errors are boxed")]
fn late() -> Box<Error> {
    Error::explain(FAILED, "no answer in time")
}
