//! Who may come in: connections of a listener, counted in all and by client.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::Ceiling;
use crate::telemetry::{ListenerMeters, Refused};

/// The way in of one listener. It outlives configurations: whoever came in under the one before
/// still counts.
#[derive(Debug)]
pub struct Door {
    meters: ListenerMeters,
    ceiling: Arc<Ceiling>,
    open: AtomicUsize,
    /// Open connections by client, while the listener limits them. Locked for a look-up, when a
    /// connection comes and when it goes; never bigger than `open`.
    clients: Mutex<HashMap<IpAddr, usize>>,
}

impl Door {
    /// A door that nobody has come through, under the ceiling of all listeners.
    #[must_use]
    pub fn new(meters: ListenerMeters, ceiling: Arc<Ceiling>) -> Self {
        Self { meters, ceiling, open: AtomicUsize::new(0), clients: Mutex::default() }
    }

    /// Takes one of `max` places for a connection, and one of those of this node.
    ///
    /// # Errors
    /// When all are taken, here or on this node. The refusal is counted.
    pub fn enter(self: &Arc<Self>, max: usize) -> Result<Place, Refused> {
        self.meters.accepted();
        let before = self.open.fetch_add(1, Ordering::Relaxed);
        let fits = self.ceiling.enter();
        self.meters.opened();
        // From here on the place counts and gives itself back.
        let place = Place { door: Arc::clone(self), client: None };
        let why = match (before < max, fits) {
            (true, true) => return Ok(place),
            (false, _) => Refused::Limit,
            (true, false) => {
                self.ceiling.turned_away();
                Refused::NodeLimit
            }
        };
        place.refused(why);
        Err(why)
    }
}

/// The place of one connection; dropping it gives it back.
#[derive(Debug)]
pub struct Place {
    door: Arc<Door>,
    client: Option<IpAddr>,
}

impl Place {
    /// Counts the connection for its client, who may have `max`. To be called once at most.
    ///
    /// # Errors
    /// When the client has as many already. The refusal is counted.
    pub fn claim(&mut self, client: IpAddr, max: usize) -> Result<(), Refused> {
        let client = as_client(client);
        let mut clients = self.door.clients.lock();
        let count = clients.entry(client).or_insert(0);
        if *count >= max {
            if *count == 0 {
                clients.remove(&client);
            }
            drop(clients);
            self.refused(Refused::ClientLimit);
            return Err(Refused::ClientLimit);
        }
        *count += 1;
        drop(clients);
        self.client = Some(client);
        Ok(())
    }

    /// Counts a refusal.
    pub fn refused(&self, why: Refused) {
        self.door.meters.refused(why);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.door.open.fetch_sub(1, Ordering::Relaxed);
        self.door.ceiling.leave();
        self.door.meters.closed();
        let Some(client) = self.client else { return };
        let mut clients = self.door.clients.lock();
        if let Some(count) = clients.get_mut(&client) {
            *count -= 1;
            if *count == 0 {
                clients.remove(&client);
            }
        }
    }
}

/// The address that stands for a client: an IPv6 client has a /64 to itself (RFC 6177).
fn as_client(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let network = u128::from(address) & (u128::MAX << 64);
            IpAddr::V6(Ipv6Addr::from(network))
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Metrics;

    fn door() -> Arc<Door> {
        doors(1, 100).remove(0)
    }

    /// So many doors under one ceiling.
    fn doors(count: usize, most: usize) -> Vec<Arc<Door>> {
        let metrics = Metrics::new().unwrap();
        let ceiling = Arc::new(Ceiling::new(most, &metrics.connections_ceiling));
        let meters = || ListenerMeters::new(&metrics, "main");
        (0..count).map(|_| Arc::new(Door::new(meters(), Arc::clone(&ceiling)))).collect()
    }

    #[test]
    fn all_doors_share_the_places_of_the_node() {
        let doors = doors(2, 3);
        let (a, b) = (&doors[0], &doors[1]);
        let first = a.enter(2).unwrap();
        let _others = (b.enter(9).unwrap(), b.enter(9).unwrap());
        assert_eq!(a.enter(2).unwrap_err(), Refused::NodeLimit);
        assert_eq!(b.enter(2).unwrap_err(), Refused::Limit, "the nearer reason comes first");
        drop(first);
        let _again = a.enter(2).unwrap();
        assert_eq!(a.enter(2).unwrap_err(), Refused::NodeLimit);
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn as_many_come_in_as_there_are_places() {
        let door = door();
        let first = door.enter(2).unwrap();
        let _second = door.enter(2).unwrap();
        assert_eq!(door.enter(2).unwrap_err(), Refused::Limit);
        drop(first);
        let _third = door.enter(2).unwrap();
        assert_eq!(door.enter(2).unwrap_err(), Refused::Limit);
    }

    #[test]
    fn a_client_has_its_own_number_of_places() {
        let door = door();
        let mut place = door.enter(9).unwrap();
        place.claim(ip("192.0.2.1"), 1).unwrap();
        let mut other = door.enter(9).unwrap();
        assert_eq!(other.claim(ip("::ffff:192.0.2.1"), 1), Err(Refused::ClientLimit));
        let mut other = door.enter(9).unwrap();
        other.claim(ip("192.0.2.2"), 1).unwrap();
        drop(place);
        let mut again = door.enter(9).unwrap();
        again.claim(ip("192.0.2.1"), 1).unwrap();
    }

    #[test]
    fn an_ipv6_client_is_its_network() {
        let door = door();
        let mut place = door.enter(9).unwrap();
        place.claim(ip("2001:db8:0:1::1"), 1).unwrap();
        let mut same = door.enter(9).unwrap();
        assert!(same.claim(ip("2001:db8:0:1:ffff::2"), 1).is_err());
        let mut other = door.enter(9).unwrap();
        other.claim(ip("2001:db8:0:2::1"), 1).unwrap();
    }

    #[test]
    fn nothing_is_left_when_all_have_gone() {
        let door = door();
        let mut places: Vec<Place> = (0..10).map(|_| door.enter(10).unwrap()).collect();
        for (index, place) in (0_u8..).zip(&mut places) {
            let _ = place.claim(IpAddr::from([192, 0, 2, index % 3]), 2);
        }
        assert_eq!(door.clients.lock().values().sum::<usize>(), 6);
        drop(places);
        assert!(door.clients.lock().is_empty());
        assert_eq!(door.open.load(Ordering::Relaxed), 0);
    }
}
