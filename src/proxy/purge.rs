//! Where requests and purges meet: what an answer can be purged by, whether an entry was purged,
//! and what an answer purges itself.

use http::HeaderMap;
use pingora::http::ResponseHeader;
use pingora_proxy::Session;

use super::RequestCtx;
use crate::cache::{self, By, CachePolicy, Note};
use crate::clock::Moment;
use crate::decide;
use crate::edge::{Facts, RequestId, RequestView};
use crate::live::Live;

/// What an entry is to know of itself.
///
/// # Errors
/// Why the answer is not kept: it could not be purged by all that it says.
pub(super) fn note(
    session: &Session,
    ctx: &RequestCtx,
    policy: &CachePolicy,
    answer: &HeaderMap,
) -> Result<Note, &'static str> {
    let key = ctx.cache.as_ref().map(|plan| plan.key).ok_or("the request has no key")?;
    let tags = with_facts(session, ctx, |facts| cache::tags_of(policy, facts, &key, answer));
    let tags = tags.ok_or("the request cannot be read again")??;
    Ok(Note {
        key,
        tags,
        seen: ctx.caching.seen(),
        caller: Note::caller(ctx.identity.as_deref()),
        ..Note::default()
    })
}

/// Purges what an answer to an unsafe method makes out of date (RFC 9111 section 4.4). Waits for
/// nothing: other nodes are told by the upkeep.
pub(super) fn invalidate(
    live: &Live,
    session: &Session,
    ctx: &RequestCtx,
    answer: &ResponseHeader,
    now: Moment,
) {
    let Some(places) = &ctx.snapshot.kept else { return };
    if cache::is_safe(&session.req_header().method) {
        return;
    }
    let policy = ctx.route.as_ref().and_then(|route| route.cache.as_ref());
    let orders = with_facts(session, ctx, |facts| {
        // What can be kept nowhere need not be purged everywhere.
        let kept = |path: &str| places.hold(facts.view, path);
        cache::invalidated_by(policy, facts, (answer.status, &answer.headers), kept)
    });
    live.cache.purges.order(orders.unwrap_or_default(), By::Answer, now);
}

/// Reads the request once more, as it was when it was admitted; none where it never was.
fn with_facts<T>(
    session: &Session,
    ctx: &RequestCtx,
    read: impl FnOnce(&Facts<'_>) -> T,
) -> Option<T> {
    let route = ctx.route.as_ref()?;
    let of_errand = || ctx.errand.as_ref().and_then(|errand| errand.connection());
    let connection = ctx.connection().or_else(of_errand)?;
    let header = session.req_header();
    let limits = &ctx.snapshot.listeners.accepting(Some(connection.local)).limits;
    let (method, uri, headers) = (&header.method, &header.uri, &header.headers);
    let view = RequestView::read(method, uri, headers, connection, limits).ok()?;
    let query = decide::query(route, view.query);
    let view = RequestView { query: query.as_deref(), ..view };
    Some(read(&Facts {
        view: &view,
        identity: ctx.identity.as_deref(),
        request_id: ctx.request_id.as_ref().map_or("", RequestId::as_str),
        route: &route.name,
        service: route.service(),
    }))
}
