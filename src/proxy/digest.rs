//! The body of a signed request on its way: no service gets all of one that was not signed.
//!
//! Each piece is hashed and held back until the next one comes, and the last until the digest is
//! known to be right. So a service that waits for the end of a body, as its framing says, never
//! sees it; one that acts on parts of a body has seen parts that nobody vouches for, which
//! `docs/ARCHITECTURE.md` tells. What was held back is kept in the request's context; another
//! attempt begins anew, from the beginning of the body.

use bytes::{Bytes, BytesMut};
use pingora::Result;
use pingora_proxy::Session;

use super::RequestCtx;
use crate::auth::BodyDigest;
use crate::clock;
use crate::fault::{Fault, Reject};
use crate::telemetry::Phase;

/// The body of a signed request.
pub(super) struct SignedBody {
    digest: BodyDigest,
    /// The piece that waits for the next.
    held: Option<Bytes>,
    /// Whether all of it was passed on.
    passed: bool,
}

/// Gets ready for the body of an admitted request, where its caller has signed it. A body that
/// is empty is judged here, because then the header is all that the service waits for.
///
/// # Errors
/// The outer one when the client has gone, the inner one is the refusal.
pub(super) async fn begin(
    session: &mut Session,
    ctx: &mut RequestCtx,
) -> Result<Result<(), Reject>> {
    if !ctx.route.as_ref().is_some_and(|route| route.auth.takes_signatures())
        || !ctx.identity.as_ref().is_some_and(|identity| identity.is_by_signature())
    {
        return Ok(Ok(()));
    }
    if let Some(body) = &ctx.query_body {
        // It was read already, and the cache may answer, so that nothing is passed on.
        return Ok(BodyDigest::expected(&session.req_header().headers).and_then(|mut digest| {
            digest.update(body)?;
            digest.judge()
        }));
    }
    let now = clock::now().tick;
    ctx.ledger.enter(Phase::Body, now);
    let left = ctx.deadline.left(now);
    let Ok(is_empty) = tokio::time::timeout(left, is_empty(session)).await else {
        return Ok(Err(Fault::RequestTimeout.into()));
    };
    let is_empty = is_empty?;
    ctx.ledger.enter(Phase::Admit, clock::now().tick);
    Ok(BodyDigest::expected(&session.req_header().headers).and_then(|digest| {
        if is_empty {
            return digest.judge();
        }
        ctx.signed_body = Some(Box::new(SignedBody { digest, held: None, passed: false }));
        Ok(())
    }))
}

/// Whether there is no body. HTTP/1 says so in the header. Over HTTP/2 a stream may end behind
/// it without one: whether it did would be found out too late, after the header was sent on.
/// So the first piece is waited for; Pingora keeps it and sends it again when it comes to that.
async fn is_empty(session: &mut Session) -> Result<bool> {
    let client = session.as_downstream_mut();
    if client.is_body_empty() {
        return Ok(true);
    }
    if !client.is_http2() {
        return Ok(false);
    }
    client.enable_retry_buffering();
    loop {
        match client.read_request_body().await.map_err(pingora::Error::into_down)? {
            Some(piece) if piece.is_empty() => {}
            piece => return Ok(piece.is_none()),
        }
    }
}

/// Takes a piece of the body and gives the one before it in its place.
///
/// # Errors
/// When the body turns out not to be the one that was signed; the last piece is never passed on
/// then.
pub(super) fn pass(body: &mut Option<Bytes>, end: bool, ctx: &mut RequestCtx) -> Result<()> {
    let Some(signed) = &mut ctx.signed_body else { return Ok(()) };
    match signed.pass(body.take(), end) {
        Ok(piece) => {
            *body = piece;
            Ok(())
        }
        Err(reject) => {
            let mut error = ctx.refuse(reject);
            error.as_down();
            Err(error)
        }
    }
}

/// Begins anew: the body is sent once more.
pub(super) fn restart(ctx: &mut RequestCtx) {
    if let Some(signed) = &mut ctx.signed_body {
        signed.digest.restart();
        signed.held = None;
        signed.passed = false;
    }
}

impl SignedBody {
    /// What may go on now. Pingora takes none for the end of the body, and an empty piece for
    /// nothing to be sent.
    fn pass(&mut self, piece: Option<Bytes>, end: bool) -> Result<Option<Bytes>, Reject> {
        let end = end || piece.is_none();
        let piece = piece.unwrap_or_default();
        if self.passed && piece.is_empty() {
            return Ok(None);
        }
        self.digest.update(&piece)?;
        if end {
            self.digest.judge()?;
            self.passed = true;
            return Ok(join(self.held.take(), piece));
        }
        if piece.is_empty() {
            return Ok(Some(piece));
        }
        Ok(Some(self.held.replace(piece).unwrap_or_default()))
    }
}

/// Two pieces as one; none where both are empty.
fn join(first: Option<Bytes>, second: Bytes) -> Option<Bytes> {
    match first {
        Some(first) if second.is_empty() => Some(first),
        Some(first) => {
            let mut both = BytesMut::with_capacity(first.len() + second.len());
            both.extend_from_slice(&first);
            both.extend_from_slice(&second);
            Some(both.freeze())
        }
        None if second.is_empty() => None,
        None => Some(second),
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};

    use super::*;

    /// The SHA-256 of `abc`, FIPS 180-4.
    const ABC: &str = "sha-256=:ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=:";

    fn body(digest: Option<&'static str>) -> SignedBody {
        let digest = digest.map(|digest| ("content-digest", HeaderValue::from_static(digest)));
        let headers: HeaderMap = digest
            .into_iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), value))
            .collect();
        let digest = BodyDigest::expected(&headers).unwrap();
        SignedBody { digest, held: None, passed: false }
    }

    /// What goes on of these pieces, the last of which ends the body; none where it is refused.
    fn pass(body: &mut SignedBody, pieces: &[&'static str]) -> Vec<Option<String>> {
        let last = pieces.len() - 1;
        let text = |bytes: Option<Bytes>| {
            bytes.map_or("end".to_owned(), |b| String::from_utf8(b.to_vec()).unwrap())
        };
        let pieces = pieces.iter().enumerate();
        pieces
            .map(|(at, piece)| body.pass(Some(Bytes::from_static(piece.as_bytes())), at == last))
            .map(|outcome| outcome.ok().map(text))
            .collect()
    }

    fn some(texts: &[&str]) -> Vec<Option<String>> {
        texts.iter().map(|text| Some((*text).to_owned())).collect()
    }

    #[test]
    fn every_piece_waits_for_the_next_and_the_last_for_the_judgement() {
        assert_eq!(pass(&mut body(Some(ABC)), &["abc"]), some(&["abc"]));
        assert_eq!(pass(&mut body(Some(ABC)), &["a", "b", "c"]), some(&["", "a", "bc"]));
        assert_eq!(pass(&mut body(Some(ABC)), &["abc", ""]), some(&["", "abc"]));
        assert_eq!(
            pass(&mut body(Some(ABC)), &["", "ab", "", "c", ""]),
            some(&["", "", "", "ab", "c"])
        );
        let mut wrong = some(&["", "a"]);
        wrong.push(None);
        assert_eq!(pass(&mut body(Some(ABC)), &["a", "b", "d"]), wrong);
        assert_eq!(pass(&mut body(Some(ABC)), &["abd", ""]), [Some(String::new()), None]);
        assert_eq!(pass(&mut body(Some(ABC)), &[""]), [None]);
    }

    #[test]
    fn none_is_the_end_and_what_comes_behind_it_is_not_judged_again() {
        let mut body = body(Some(ABC));
        assert_eq!(body.pass(Some(Bytes::from_static(b"abc")), false).unwrap().unwrap(), "");
        assert_eq!(body.pass(None, false).unwrap().unwrap(), "abc");
        assert_eq!(body.pass(None, true).unwrap(), None);
        assert!(body.pass(Some(Bytes::from_static(b"d")), true).is_err());
    }

    #[test]
    fn without_a_digest_nothing_goes_on() {
        assert_eq!(pass(&mut body(None), &["", ""]), some(&["", "end"]));
        assert_eq!(pass(&mut body(None), &["", "x"]), [Some(String::new()), None]);
        assert_eq!(pass(&mut body(None), &["x", ""])[0], None);
    }
}
