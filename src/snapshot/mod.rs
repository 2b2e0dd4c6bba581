//! The compiled configuration: everything a request needs, immutable.
//!
//! [`compile()`] is the only way to make a [`Snapshot`], and it does no I/O: the same function
//! judges a file for `tidegate check`, for `tidegate explain` and for the running process. What
//! outlives a configuration (health, keys, counters) is not here; a snapshot only holds handles
//! to it.

mod action;
mod compile;
mod deadline;
mod hedge;
mod listeners;
mod merge;
mod retry;
mod route;
mod store;
mod unproved;

pub use action::{Action, Forward};
pub use compile::{Parts, compile};
pub use deadline::{DeadlineHeader, DeadlinePolicy};
pub use hedge::HedgePolicy;
pub use listeners::{Listener, Listeners};
pub use retry::RetryPolicy;
pub use route::Route;
pub use store::redis_settings;
pub use unproved::Unproved;

use std::sync::Arc;

use crate::auth::Providers;
use crate::edge::AddressSet;
use crate::limit::LimitRule;
use crate::limit::fair::Overload;
use crate::routing::{Places, RouteIndex, Table};
use crate::upstream::Upstream;

/// A compiled configuration.
#[derive(Debug)]
pub struct Snapshot {
    /// Version of the configuration, as logged and reported.
    pub version: u64,
    /// SHA-256 of the document, in lower-case hexadecimal.
    pub sha256: String,
    /// What each listener accepts.
    pub listeners: Listeners,
    /// Which route takes a request.
    pub table: Table,
    /// Routes, by [`RouteIndex`].
    pub routes: Box<[Arc<Route>]>,
    /// Whether any of them hedges.
    pub hedges: bool,
    /// Where answers may be kept; none where no route keeps any.
    pub kept: Option<Places>,
    /// Identity providers, API keys and the identity headers.
    pub providers: Arc<Providers>,
    /// Headers that are taken out of requests before they are read.
    pub unproved: Unproved,
    /// Rate limits, by name.
    pub limits: Box<[Arc<LimitRule>]>,
    /// How this node is shared while it is full, where it may ever be.
    pub overload: Option<Overload>,
    /// Clients that are told the key of an answer.
    pub cache_key_visible_to: AddressSet,
    /// Clients that are told where the time of their requests went.
    pub timing_visible_to: AddressSet,
}

impl Route {
    /// The name of its service; empty where it has none.
    #[must_use]
    pub fn service(&self) -> &str {
        self.upstream().map_or("", |upstream| &upstream.service)
    }
}

impl Snapshot {
    /// The route of an index that this snapshot's table gave.
    #[must_use]
    pub fn route(&self, index: RouteIndex) -> Option<&Arc<Route>> {
        self.routes.get(index.0 as usize)
    }

    /// The upstream of every route that has one.
    pub fn upstreams(&self) -> impl Iterator<Item = &Upstream> {
        self.routes.iter().filter_map(|route| route.upstream())
    }
}
