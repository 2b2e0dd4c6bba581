//! One request in, one decision out.
//!
//! The functions here are the whole judgement of the gateway and touch neither clock nor
//! network. The data plane calls them one after the other, with Redis and the identity provider
//! in between; `tidegate explain` calls the same ones and prints what they said. That is why an
//! explanation cannot drift from what happens.
//!
//! The order is a promise: route, shape, identity, authorisation, then limits, cache key and
//! version. A stored answer is never a way around identity or quota.

mod explain;
mod outbound;
mod plan;

pub use explain::{Assumed, Explanation, explain};
pub use outbound::{Attempt, Outbound};
pub use plan::{Plan, plan, takes, way};

use std::borrow::Cow;
use std::sync::Arc;

use http::{HeaderValue, header};

use crate::edge::{self, Identity, RequestView};
use crate::fault::{Fault, Hint, Reject};
use crate::routing::{Caller, Found, RouteIndex};
use crate::snapshot::{Route, Snapshot};

/// What is to be done with a request, as far as its route is concerned.
#[derive(Debug)]
pub enum Choice<'a> {
    /// This route takes it.
    Take(&'a Arc<Route>),
    /// Whether this route takes it is for its caller to decide: authenticate as the route does,
    /// [`learn`] the outcome, and ask again.
    Ask(&'a Arc<Route>),
    /// This route takes it, and refuses it.
    Refuse(&'a Arc<Route>, Reject),
}

/// The route that takes a request, as far as its caller is known.
///
/// # Errors
/// 404 when there is none, 405 with `Allow` when there is one for other methods, and for TRACE,
/// which shows clients what proxies add on the way (RFC 9110 section 9.3.8).
pub fn find<'a>(
    snapshot: &'a Snapshot,
    view: &RequestView<'_>,
    caller: &Caller,
) -> Result<Choice<'a>, Reject> {
    let route = |index: RouteIndex| snapshot.route(index).ok_or(Fault::Internal);
    match snapshot.table.find(view, caller) {
        Found::Route(_) | Found::AskCaller(_) if view.method == http::Method::TRACE => {
            Err(Reject::new(Fault::MethodNotAllowed).with_header(header::ALLOW, NOT_TRACE))
        }
        Found::Route(index) => Ok(Choice::Take(route(index)?)),
        Found::AskCaller(index) => Ok(Choice::Ask(route(index)?)),
        Found::TenantRefused(index) => {
            let why = Hint::literal("the host belongs to another tenant than the caller");
            Ok(Choice::Refuse(route(index)?, Reject::new(Fault::TenantRefused).with_hint(why)))
        }
        Found::MethodNotAllowed(allow) => {
            Err(Reject::new(Fault::MethodNotAllowed).with_header(header::ALLOW, allow))
        }
        Found::Nothing => Err(Fault::RouteNotFound.into()),
    }
}

/// Notes who the caller is by the credentials that a route accepts. Credentials that are missing
/// or not good prove nobody: such a caller is left to less specific routes, and to what those
/// ask of it.
///
/// # Errors
/// What keeps the caller from being known at the moment, such as missing keys (503): to go on
/// then would lead a caller astray who has done nothing wrong.
pub fn learn(
    caller: &mut Caller,
    snapshot: &Snapshot,
    route: &Route,
    outcome: Result<Option<Arc<Identity>>, Reject>,
) -> Result<(), Reject> {
    let identity = match outcome {
        Ok(identity) => identity,
        Err(reject) if reject.fault.status() == UNAUTHENTICATED => None,
        Err(reject) => return Err(reject),
    };
    let set = snapshot.table.credentials(route.index).ok_or(Fault::Internal)?;
    caller.learn(set, identity);
    Ok(())
}

/// The status of every fault that means: these credentials prove nobody.
const UNAUTHENTICATED: u16 = 401;

/// The caller whom finding the route has proved already, by the credentials that it accepts.
#[must_use]
pub fn proved(caller: &Caller, snapshot: &Snapshot, route: &Route) -> Option<Arc<Identity>> {
    if caller.is_unknown() {
        return None;
    }
    let set = snapshot.table.credentials(route.index)?;
    caller.proof(set)?.cloned()
}

/// The query that every policy behind authentication sees: without the API key, which must be in
/// no cache key and in no answer. None where there is no query, or nothing else in it.
#[must_use]
pub fn query<'a>(route: &Route, query: Option<&'a str>) -> Option<Cow<'a, str>> {
    let query = query?;
    let left = route.key_parameter.as_deref().and_then(|name| edge::without(query, name));
    match left {
        None => Some(Cow::Borrowed(query)),
        Some(left) if left.is_empty() => None,
        Some(left) => Some(Cow::Owned(left)),
    }
}

const NOT_TRACE: HeaderValue =
    HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
