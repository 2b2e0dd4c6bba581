//! Where what is known of endpoints and services is found again by the next configuration.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;

use super::EndpointHealth;
use super::state::ServiceMemory;

/// Health of all endpoints by service and address, and memories of services by name.
#[derive(Debug, Default)]
pub struct HealthBoard {
    /// Locked only while a configuration is compiled or endpoints change, and for a round of
    /// probes.
    seen: Mutex<HashMap<EndpointKey, Arc<EndpointHealth>>>,
    /// Locked only while a configuration is compiled.
    services: Mutex<HashMap<Box<str>, Arc<ServiceMemory>>>,
}

/// A service and one of its addresses.
type EndpointKey = (Box<str>, SocketAddr);

impl HealthBoard {
    /// The health of an endpoint, created when first seen.
    #[must_use]
    pub fn of(&self, service: &str, address: SocketAddr) -> Arc<EndpointHealth> {
        let mut seen = self.seen.lock();
        if seen.len() == seen.capacity() {
            seen.retain(|_, health| Arc::strong_count(health) > 1);
        }
        let entry = seen.entry((service.into(), address));
        Arc::clone(entry.or_insert_with(|| Arc::new(EndpointHealth::new(service, address))))
    }

    /// What is remembered about a service.
    pub(super) fn service(&self, name: &str) -> Arc<ServiceMemory> {
        let mut services = self.services.lock();
        if services.len() == services.capacity() {
            services.retain(|_, memory| Arc::strong_count(memory) > 1);
        }
        Arc::clone(services.entry(name.into()).or_default())
    }

    /// Forgets what no snapshot uses any more: addresses that come and go do not pile up, and
    /// one that comes back after a while is met without prejudice.
    pub(super) fn forget_unused(&self) {
        self.seen.lock().retain(|_, health| Arc::strong_count(health) > 1);
        self.services.lock().retain(|_, memory| Arc::strong_count(memory) > 1);
    }

    /// Endpoints that take no connection and that a snapshot still uses.
    pub(super) fn unreachable(&self) -> Vec<Arc<EndpointHealth>> {
        let seen = self.seen.lock();
        let used = seen.values().filter(|health| Arc::strong_count(health) > 1);
        used.filter(|health| health.is_unreachable()).map(Arc::clone).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::HealthBoard;

    #[test]
    fn the_board_remembers_by_service_and_address() {
        let board = HealthBoard::default();
        let address = "10.0.0.1:80".parse().unwrap();
        let orders = board.of("orders", address);
        assert!(Arc::ptr_eq(&orders, &board.of("orders", address)));
        assert!(!Arc::ptr_eq(&orders, &board.of("users", address)));
        assert!(!Arc::ptr_eq(&orders, &board.of("orders", "10.0.0.1:81".parse().unwrap())));
    }

    #[test]
    fn the_board_forgets_what_nobody_uses() {
        let board = HealthBoard::default();
        let kept = board.of("orders", "10.0.0.1:80".parse().unwrap());
        for port in 1..10_000 {
            let _ = board.of("orders", format!("10.0.0.2:{port}").parse().unwrap());
        }
        assert!(board.seen.lock().len() < 20, "before it grows");
        board.forget_unused();
        assert_eq!(board.seen.lock().len(), 1, "and when it is told to");
        assert!(Arc::ptr_eq(&kept, &board.of("orders", "10.0.0.1:80".parse().unwrap())));
    }
}
