//! The endpoints of one version, as they are at the moment.
//!
//! A pool belongs to a snapshot and is replaced with it; the set of endpoints in it is replaced
//! whole whenever discovery finds other instances. What must outlive both, health above all, is
//! found again on the [`HealthBoard`] by service and address.

use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::peer::PeerTemplate;
use super::selection::Selection;
use super::{Endpoint, HealthBoard, ServiceState};

/// One instance of a service, as discovery finds it: where to connect.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Instance {
    /// Where to connect.
    pub address: SocketAddr,
    /// The host as configured or found, for TLS and `changeOrigin`; without a port.
    pub host: Arc<str>,
    /// Its share beside the others; 0 gets nothing.
    pub weight: u32,
}

/// The endpoints of one version.
#[derive(Debug)]
pub struct Pool {
    service: Arc<ServiceState>,
    template: PeerTemplate,
    current: ArcSwap<EndpointSet>,
}

/// The endpoints of a version at one moment.
#[derive(Debug)]
pub struct EndpointSet {
    /// The endpoints, in the order of their instances.
    pub endpoints: Box<[Arc<Endpoint>]>,
    /// The service that they belong to.
    pub(super) service: Arc<ServiceState>,
    /// How one of them is chosen.
    pub(super) selection: Selection,
}

impl Pool {
    /// A pool of these instances.
    pub(super) fn new(
        service: &Arc<ServiceState>,
        template: PeerTemplate,
        instances: &[Instance],
        health: &HealthBoard,
    ) -> Self {
        let set = EndpointSet::new(service, &template, instances, health);
        Self { service: Arc::clone(service), template, current: ArcSwap::from_pointee(set) }
    }

    /// The service that these are endpoints of.
    #[must_use]
    pub const fn service(&self) -> &Arc<ServiceState> {
        &self.service
    }

    /// The endpoints at this moment; lock-free.
    #[must_use]
    pub fn current(&self) -> Arc<EndpointSet> {
        self.current.load_full()
    }

    /// Replaces the instances. Requests under way keep the endpoint they have.
    pub fn replace(&self, instances: &[Instance], health: &HealthBoard) {
        let set = EndpointSet::new(&self.service, &self.template, instances, health);
        self.current.store(Arc::new(set));
    }
}

impl EndpointSet {
    fn new(
        service: &Arc<ServiceState>,
        template: &PeerTemplate,
        instances: &[Instance],
        health: &HealthBoard,
    ) -> Self {
        let endpoints: Box<[Arc<Endpoint>]> =
            instances.iter().map(|one| Arc::new(template.endpoint(one, health))).collect();
        // Where all are new the service starts, and nobody has to be spared.
        let joining = endpoints.iter().any(|endpoint| !endpoint.health.is_fresh());
        for endpoint in &endpoints {
            endpoint.health.settle(joining, service.check.is_some());
        }
        let selection = Selection::new(service, instances);
        Self { endpoints, service: Arc::clone(service), selection }
    }
}
