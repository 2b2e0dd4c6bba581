//! What is known about one request, gathered on the way.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use pingora::Error;
use pingora::prelude::ErrorType;

use super::caching::Caching;
use super::compress::Running;
use super::deadline::Deadline;
use super::digest::SignedBody;
use super::errand::Errand;
use super::hedge::Leg;
use super::ledger::Ledger;
use super::stream::Patience;
use crate::action::Upgrade;
use crate::cache::{CachePlan, CacheStatus};
use crate::clock::{Moment, Tick};
use crate::decide::Outbound;
use crate::edge::{AddressSet, Connection, Identity, RequestId, TraceContext};
use crate::fault::{Fault, Reject};
use crate::limit::fair::Place;
use crate::limit::{Outcome, Owed};
use crate::live::Live;
use crate::snapshot::{Route, Snapshot};
use crate::telemetry::InFlight;
use crate::upstream::{Attempt, Bucket, Endpoint, Passage, Tried, Version};
use crate::wire::{Violation, Watched};

/// The context of one request. It pins the snapshot that the request began with.
pub struct RequestCtx {
    /// The configuration that this request sees, to its end.
    pub(super) snapshot: Arc<Snapshot>,
    /// The connection that it came on; none only before the header was looked at.
    pub(super) watched: Option<Arc<Watched>>,
    /// When the header had been read.
    pub(super) began: Moment,
    /// What the time since has been spent on.
    pub(super) ledger: Ledger,
    /// The request id; none only before the header was looked at.
    pub(super) request_id: Option<RequestId>,
    /// The trace; none only before the header was looked at.
    pub(super) trace: Option<TraceContext>,
    /// The client's address, behind trusted proxies.
    pub(super) client: Option<IpAddr>,
    /// The path in normal form, where it differs from the one sent.
    pub(super) path: Option<Box<str>>,
    /// The route.
    pub(super) route: Option<Arc<Route>>,
    /// The caller.
    pub(super) identity: Option<Arc<Identity>>,
    /// What the limiter said.
    pub(super) limited: Option<Outcome>,
    /// What it holds of this node, where that bounds its requests.
    pub(super) place: Option<Place>,
    /// What it may yet owe of limits, once its service has said what it cost.
    pub(super) owed: Option<Box<Owed>>,
    /// How the cache is used.
    pub(super) cache: Option<CachePlan>,
    /// What is noted of the cache on the way.
    pub(super) caching: Caching,
    /// What the cache did.
    pub(super) cache_status: Option<CacheStatus>,
    /// What the upstream copy needs.
    pub(super) outbound: Option<Outbound>,
    /// The version of the service.
    pub(super) bucket: Option<Bucket>,
    /// The hash of what keeps the caller on one endpoint.
    pub(super) hash: u64,
    /// What it holds of its service, where that bounds its requests.
    pub(super) passage: Option<Passage>,
    /// The current attempt at an endpoint.
    pub(super) endpoint: Option<Attempt>,
    /// Endpoints tried.
    pub(super) tried: Tried,
    /// Attempts begun.
    pub(super) attempts: u32,
    /// When the current attempt's request was sent.
    pub(super) sent: Tick,
    /// Time the last attempt took for the header of its answer.
    pub(super) answered_after: Option<Duration>,
    /// Whether no header of the request concerns its connection only.
    pub(super) end_to_end: bool,
    /// Whether other exchanges share the client's connection (HTTP/2).
    pub(super) multiplexed: bool,
    /// The protocol that the connection is to be upgraded to.
    pub(super) upgrade: Option<Upgrade>,
    /// Until when the exchange with the service is waited for.
    pub(super) patience: Option<Patience>,
    /// How a gRPC call ended.
    pub(super) grpc_status: Option<u16>,
    /// How long the connection may idle behind this request; none if it ends with it.
    pub(super) keepalive_s: Option<u64>,
    /// Interim answers (1xx) of services so far.
    pub(super) interim: u32,
    /// How long the request may take.
    pub(super) deadline: Deadline,
    /// The pause before the next attempt.
    pub(super) pause: Duration,
    /// Why the last attempt was repeated.
    pub(super) retry_reason: Option<&'static str>,
    /// The endpoint that answered, where attempts were made apart from the request.
    pub(super) served_by: Option<Arc<Endpoint>>,
    /// Whether a second attempt was begun beside the first.
    pub(super) hedged: bool,
    /// The exchange of a hedged request that this is.
    pub(super) leg: Option<Arc<Leg>>,
    /// The errand for the cache that this is.
    pub(super) errand: Option<Arc<Errand>>,
    /// The answer, while it is being compressed.
    pub(super) compressing: Option<Box<Running>>,
    /// Body bytes received from the client.
    pub(super) body_bytes: u64,
    /// The body, where it was read for the key of its answer.
    pub(super) query_body: Option<Bytes>,
    /// The body, where it is signed.
    pub(super) signed_body: Option<Box<SignedBody>>,
    /// Why the request is not served, once that is known.
    pub(super) refusal: Option<Reject>,
    /// Counts a connection that has become something else than HTTP.
    pub(super) tunnel: Option<InFlight>,
    _in_flight: InFlight,
}

impl RequestCtx {
    /// Begins a request: pins the snapshot, counts it as in flight.
    pub(super) fn begin(live: &Live, now: Moment) -> Self {
        Self {
            snapshot: live.snapshot(),
            watched: None,
            began: now,
            ledger: Ledger::begin(now.tick),
            request_id: None,
            trace: None,
            client: None,
            path: None,
            route: None,
            identity: None,
            limited: None,
            place: None,
            owed: None,
            cache: None,
            caching: Caching::default(),
            cache_status: None,
            outbound: None,
            bucket: None,
            hash: 0,
            passage: None,
            endpoint: None,
            tried: Tried::default(),
            attempts: 0,
            sent: now.tick,
            answered_after: None,
            end_to_end: false,
            multiplexed: false,
            upgrade: None,
            patience: None,
            grpc_status: None,
            keepalive_s: None,
            interim: 0,
            deadline: Deadline::unrouted(now.tick),
            pause: Duration::ZERO,
            retry_reason: None,
            served_by: None,
            hedged: false,
            leg: None,
            errand: None,
            compressing: None,
            body_bytes: 0,
            query_body: None,
            signed_body: None,
            refusal: None,
            tunnel: None,
            _in_flight: InFlight::enter(&live.metrics.in_flight),
        }
    }

    /// Whether this is an exchange of the gateway's own, not a request of a client's.
    pub(super) const fn is_own(&self) -> bool {
        self.leg.is_some() || self.errand.is_some()
    }

    /// Keeps a refusal for `fail_to_proxy` and gives Pingora the error that leads there.
    #[expect(clippy::unnecessary_box_returns, reason = "Pingora's errors are boxed")]
    pub(super) fn refuse(&mut self, reject: Reject) -> Box<Error> {
        let fault = reject.fault;
        self.refusal = Some(reject);
        Error::new_in(ErrorType::CustomCode(fault.code(), fault.status()))
    }

    /// The connection that the request came on.
    pub(super) fn connection(&self) -> Option<&Connection> {
        self.watched.as_ref().map(|watched| &watched.connection)
    }

    /// What the client has sent that cannot be read in one way only.
    pub(super) fn violation(&self) -> Option<Violation> {
        self.watched.as_ref()?.violation()
    }

    /// Whether its client is told the keys of kept answers.
    pub(super) fn sees_cache_key(&self) -> bool {
        self.is_among(&self.snapshot.cache_key_visible_to)
    }

    /// Whether its client is told what its time was spent on.
    pub(super) fn sees_timing(&self) -> bool {
        self.is_among(&self.snapshot.timing_visible_to)
    }

    fn is_among(&self, known: &AddressSet) -> bool {
        !known.is_empty() && self.client.is_some_and(|client| known.contains(client))
    }

    /// Why it is not served, where that is known.
    pub(super) fn fault(&self) -> Option<Fault> {
        self.refusal.as_ref().map(|reject| reject.fault)
    }

    /// The version that the request goes to.
    pub(super) fn version(&self) -> Option<&Version> {
        let bucket = self.bucket.as_ref()?;
        self.route.as_ref()?.upstream()?.versions.get(bucket.version)
    }

    /// Counts an attempt to the version that the request goes to.
    pub(super) fn count_pick(&self) {
        if let (Some(route), Some(bucket)) = (&self.route, &self.bucket)
            && let Some(counter) = route.forward().and_then(|f| f.picks.get(bucket.version))
        {
            counter.inc();
        }
    }

    /// The endpoint of the current attempt.
    pub(super) fn current_endpoint(&self) -> Option<&Endpoint> {
        self.endpoint.as_deref().or(self.served_by.as_deref())
    }

    /// The request id as a header value, where there is one yet.
    pub(super) fn request_id_header(&self) -> Option<HeaderValue> {
        self.request_id.as_ref().map(RequestId::header_value)
    }
}
