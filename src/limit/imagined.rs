//! A request that is not there: what its counters would be called.
//!
//! Whoever looks for a counter by the name of a caller, or replays a log, has no request. Keys
//! are still made by [`plan()`] alone, of facts made up here: so they cannot differ from those of
//! real requests.

use std::net::{IpAddr, Ipv4Addr};

use http::{HeaderMap, Method};

use super::{Applied, Takes, plan};
use crate::edge::{Facts, Identity, IdentityFacts, RequestView, Scheme};
use crate::fault::Reject;

/// What would be known of a request.
#[derive(Debug)]
pub struct Imagined<'a> {
    /// What would have been proved about its caller; an empty subject is a missing one.
    pub caller: IdentityFacts,
    /// The client's address.
    pub client: IpAddr,
    /// The name of the route.
    pub route: &'a str,
    /// The name of its service.
    pub service: &'a str,
    /// Its headers.
    pub headers: HeaderMap,
}

impl Default for Imagined<'_> {
    fn default() -> Self {
        Self {
            caller: IdentityFacts::default(),
            client: Ipv4Addr::UNSPECIFIED.into(),
            route: "",
            service: "",
            headers: HeaderMap::new(),
        }
    }
}

impl Imagined<'_> {
    /// What the request would take, and what its keys are made of, in words for each.
    ///
    /// `assume` makes a caller of facts without proof.
    ///
    /// # Errors
    /// 403 where it lacks what a rule counts by and nothing may stand for that.
    pub fn takes(
        self,
        limits: &[Applied],
        assume: impl Fn(IdentityFacts) -> Identity,
    ) -> Result<Takes, Reject> {
        self.read(assume, |facts| plan(limits, facts))
    }

    /// Reads the facts of the request.
    pub(super) fn read<T>(
        self,
        assume: impl Fn(IdentityFacts) -> Identity,
        read: impl FnOnce(&Facts<'_>) -> T,
    ) -> T {
        let view = RequestView {
            method: &Method::GET,
            scheme: Scheme::Https,
            host: "".into(),
            port: None,
            path: "/".into(),
            query: None,
            headers: &self.headers,
            client: self.client,
            peer_trusted: false,
            certificate: None,
        };
        let identity = assume(self.caller);
        read(&Facts {
            view: &view,
            identity: Some(&identity),
            request_id: "",
            route: self.route,
            service: self.service,
        })
    }
}
