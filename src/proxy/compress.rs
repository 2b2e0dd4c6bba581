//! Answers on their way through an encoder, before the cache sees them: what is kept is what was
//! sent, and a hit costs no compressing.

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{HeaderName, Method, StatusCode, header};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::{Error, ErrorType, Result};
use pingora_cache::{CacheMeta, CachePhase, NoCacheReason};
use pingora_proxy::Session;

use super::RequestCtx;
use crate::compress::{self, CompressionPolicy, Encoder, Verdict, tag};
use crate::model::Coding;

/// An answer that is being compressed.
pub(super) struct Running {
    encoder: Option<Encoder>,
    coding: Coding,
    /// Bytes that have yet to come, where that is known.
    left: Option<u64>,
    taken: u64,
    given: u64,
    /// What an answer ends with that had trailers behind it.
    tail: Option<Bytes>,
}

fn policy(ctx: &RequestCtx) -> Option<&CompressionPolicy> {
    // What is compared with an entry is compared as the service sends it.
    let compares = ctx.errand.as_ref().is_some_and(|errand| !errand.renews());
    ctx.route.as_ref()?.compression.as_ref().filter(|_| !compares)
}

/// What tells the entries of a URL apart on a route that compresses, instead of the text of
/// `Accept-Encoding`: the coding that this client gets. None on other routes.
pub(super) fn variant(ctx: &RequestCtx, request: &RequestHeader) -> Option<&'static str> {
    let coding = policy(ctx)?.negotiate(&request.headers);
    Some(coding.map_or(IDENTITY, Coding::token))
}

const IDENTITY: &str = "identity";

/// Asks the service for what the client can get: the negotiated coding or none, by the tags that
/// the service knows.
pub(super) fn ask(session: &Session, upstream: &mut RequestHeader, ctx: &RequestCtx) -> Result<()> {
    let Some(policy) = policy(ctx) else { return Ok(()) };
    let coding = policy.negotiate(&session.req_header().headers);
    let token = coding.map_or(IDENTITY, Coding::token);
    upstream.insert_header(header::ACCEPT_ENCODING, token)?;
    for name in [header::IF_NONE_MATCH, header::IF_MATCH] {
        translate(upstream, &name)?;
    }
    if coding.is_some() && may_have_compressed_part(upstream) {
        upstream.remove_header(&header::RANGE);
        upstream.remove_header(&header::IF_RANGE);
    }
    Ok(())
}

fn translate(upstream: &mut RequestHeader, name: &HeaderName) -> Result<()> {
    let lists = upstream.headers.get_all(name).iter();
    let lists: Vec<_> = lists.map(|list| (list.clone(), tag::translate(list))).collect();
    if lists.iter().all(|(_, translated)| translated.is_none()) {
        return Ok(());
    }
    upstream.remove_header(name);
    for (list, translated) in lists {
        upstream.append_header(name.clone(), translated.unwrap_or(list))?;
    }
    Ok(())
}

/// Whether a client that asks for the rest of an answer may have the beginning of a compressed
/// one. A date does not tell; the service's own tag does. What the service sent would then be the
/// rest of something else, so it is asked for the whole.
fn may_have_compressed_part(upstream: &RequestHeader) -> bool {
    upstream.headers.get(header::IF_RANGE).is_some_and(|condition| {
        let text = condition.to_str().unwrap_or_default().trim();
        !text.ends_with('"') || tag::is_coded(text)
    })
}

/// Looks at the final header of an answer, and begins to compress what is worth it.
///
/// # Errors
/// When the header cannot hold what has to be said.
pub(super) fn begin(
    session: &Session,
    response: &mut ResponseHeader,
    ctx: &mut RequestCtx,
) -> Result<()> {
    ctx.compressing = None;
    let Some(policy) = policy(ctx) else { return Ok(()) };
    let request = session.req_header();
    let wanted = policy.negotiate(&request.headers);
    if response.status == StatusCode::NOT_MODIFIED {
        return confirm(session, response, wanted);
    }
    match policy.judge(response.status, &response.headers, wanted) {
        Verdict::Leave => Ok(()),
        Verdict::Vary => compress::vary_by_coding(response),
        Verdict::Code(coding, length) => {
            // To fill the cache, the service was asked for more than the header.
            let header_only =
                request.method == Method::HEAD && !session.upstream_headers_mutated_for_cache();
            if !header_only {
                let Ok(encoder) = Encoder::new(coding, length) else {
                    return compress::vary_by_coding(response);
                };
                ctx.compressing = Some(Box::new(Running {
                    encoder: Some(encoder),
                    coding,
                    left: length,
                    taken: 0,
                    given: 0,
                    tail: None,
                }));
            }
            compress::label(response, coding)
        }
    }
}

/// The service says that nothing has changed: in the words of whoever asked, which is the cache or
/// the client.
fn confirm(session: &Session, response: &mut ResponseHeader, wanted: Option<Coding>) -> Result<()> {
    compress::vary_by_coding(response)?;
    let kept = session.cache.maybe_cache_meta().map(CacheMeta::headers);
    if kept.is_some_and(|kept| kept.contains_key(header::CONTENT_ENCODING)) {
        // What is said of the plain content must not become the kept one's. Where the service
        // itself coded that, it stays as it was said then.
        compress::take_out_outdated(response);
    }
    let Some(given) = response.headers.get(header::ETAG) else { return Ok(()) };
    let told = if let Some(kept) = kept {
        // What the service coded has its tag; what is coded here has none like it.
        let differs = kept.get(header::ETAG) != Some(given);
        let coding = wanted.filter(|_| differs && kept.contains_key(header::CONTENT_ENCODING));
        match coding.map(|coding| tag::coded(given, coding)) {
            Some(tag::Coded::Other(tag)) => Some(tag),
            _ => None,
        }
    } else {
        let asked = session.req_header().headers.get_all(header::IF_NONE_MATCH);
        tag::told(given, &asked, wanted)
    };
    if let Some(told) = told {
        compress::take_out_outdated(response);
        response.insert_header(header::ETAG, told)?;
    }
    Ok(())
}

/// Puts compressed bytes into the place of a piece of the answer, if it is being compressed.
///
/// # Errors
/// When the answer is not as long as its header said.
pub(super) fn piece(ctx: &mut RequestCtx, body: &mut Option<Bytes>, end: bool) -> Result<()> {
    if ctx.compressing.is_none() {
        return Ok(());
    }
    let coded = advance(ctx, body.take(), end)?;
    // An empty piece would be read as the end.
    *body = (!coded.is_empty()).then_some(coded);
    Ok(())
}

/// The end of an answer that has trailers, which nobody announced. The cache and the client get
/// what is left of the compressed content, the client in the place of the trailers.
///
/// # Errors
/// When the answer is not as long as its header said.
pub(super) fn trailers(session: &mut Session, ctx: &mut RequestCtx) -> Result<()> {
    let tail = advance(ctx, None, true)?;
    let Some(running) = ctx.compressing.as_mut().filter(|_| !tail.is_empty()) else {
        return Ok(());
    };
    running.tail = Some(tail.clone());
    let fills = matches!(session.cache.phase(), CachePhase::Miss | CachePhase::Expired);
    if fills && let Some(handler) = session.cache.miss_handler() {
        // Stores keep what they are given without waiting; one that would not keeps nothing.
        let written = handler.write_body(tail, true).now_or_never();
        if !matches!(written, Some(Ok(()))) {
            session.cache.disable(NoCacheReason::StorageError);
        }
    }
    Ok(())
}

/// What the client gets in the place of trailers.
pub(super) fn instead_of_trailers(ctx: &mut RequestCtx) -> Option<Bytes> {
    ctx.compressing.as_mut()?.tail.take()
}

/// Takes a piece and returns what has come out; counts the answer when it has ended.
fn advance(ctx: &mut RequestCtx, piece: Option<Bytes>, end: bool) -> Result<Bytes> {
    let Some(running) = &mut ctx.compressing else { return Ok(Bytes::new()) };
    let had_ended = running.encoder.is_none();
    let coded = running.piece(piece, end)?;
    if running.encoder.is_none()
        && !had_ended
        && let Some(route) = &ctx.route
    {
        let index = match running.coding {
            Coding::Br => 0,
            Coding::Zstd => 1,
            Coding::Gzip => 2,
        };
        let bytes = (running.taken, running.given);
        route.meters.compressed(index, running.coding.token(), bytes);
    }
    Ok(Bytes::from(coded))
}

impl Running {
    /// Takes a piece; returns what has come out. Where the length is not known, that is all that
    /// the service has said, because it may say no more for a while.
    fn piece(&mut self, piece: Option<Bytes>, end: bool) -> Result<Vec<u8>> {
        let Some(encoder) = &mut self.encoder else { return Ok(Vec::new()) };
        let piece = piece.unwrap_or_default();
        encoder.write(&piece).map_err(|error| failed(&error))?;
        self.taken += piece.len() as u64;
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(piece.len() as u64);
        } else if !end && !piece.is_empty() {
            encoder.flush().map_err(|error| failed(&error))?;
        }
        let coded = if end || self.left == Some(0) {
            let encoder = self.encoder.take();
            let last = encoder.map(Encoder::finish).transpose();
            last.map_err(|error| failed(&error))?.unwrap_or_default()
        } else {
            encoder.take()
        };
        self.given += coded.len() as u64;
        Ok(coded)
    }
}

#[expect(clippy::unnecessary_box_returns, reason = "Pingora's errors are boxed")]
fn failed(error: &std::io::Error) -> Box<Error> {
    let why = format!("an answer could not be compressed: {error}");
    let mut error = Error::explain(ErrorType::InternalError, why);
    error.as_up();
    error
}
