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
pub use outbound::Outbound;
pub use plan::{Plan, plan};

use std::sync::Arc;

use http::header;

use crate::edge::RequestView;
use crate::fault::{Fault, Reject};
use crate::routing::Found;
use crate::snapshot::{Route, Snapshot};

/// The route that takes a request.
///
/// # Errors
/// 404 when there is none, 405 with `Allow` when there is one for other methods.
pub fn find<'a>(snapshot: &'a Snapshot, view: &RequestView<'_>) -> Result<&'a Arc<Route>, Reject> {
    match snapshot.table.find(view) {
        Found::Route(index) => snapshot.route(index).ok_or_else(|| Fault::Internal.into()),
        Found::MethodNotAllowed(allow) => {
            Err(Reject::new(Fault::MethodNotAllowed).with_header(header::ALLOW, allow))
        }
        Found::Nothing => Err(Fault::RouteNotFound.into()),
    }
}
