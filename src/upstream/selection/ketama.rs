//! Endpoints by the hash of a key.
//!
//! The ring is Pingora's ketama: every endpoint owns many points of it, and a key belongs to the
//! next point. Removing one of n endpoints moves the keys that it had and no others.

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use pingora_ketama::{Bucket, Continuum};

use super::Candidates;
use crate::upstream::Instance;

/// Points of an endpoint of weight 1.
const POINTS: usize = 160;

/// The largest weight on the ring; larger ones are halved, all together, until they fit, so that
/// the ring stays small enough to be built at a reload.
const WEIGHT_MAX: u32 = 64;

/// A ring and the places of its addresses.
pub(in crate::upstream) struct Ring {
    continuum: Continuum,
    places: HashMap<SocketAddr, usize>,
    members: Box<[(SocketAddr, u32)]>,
    points: usize,
}

impl Ring {
    fn new(members: Box<[(SocketAddr, u32)]>) -> Self {
        let most = members.iter().map(|(_, weight)| *weight).max().unwrap_or(0);
        let mut halvings = 0;
        while most >> halvings > WEIGHT_MAX {
            halvings += 1;
        }
        let with_weight = || members.iter().copied().enumerate().filter(|(_, (_, w))| *w > 0);
        let buckets: Vec<Bucket> = with_weight()
            .map(|(_, (address, weight))| Bucket::new(address, (weight >> halvings).max(1)))
            .collect();
        let points = with_weight().map(|(_, (_, weight))| (weight >> halvings).max(1) as usize);
        Self {
            points: points.sum::<usize>() * POINTS,
            continuum: Continuum::new(&buckets),
            places: with_weight().map(|(place, (address, _))| (address, place)).collect(),
            members,
        }
    }

    /// The place of the endpoint that a key belongs to; of the next on the ring where that one
    /// is not eligible.
    pub(super) fn find(&self, hash: u64, from: &impl Candidates) -> Option<usize> {
        if self.places.is_empty() {
            return None;
        }
        self.continuum
            .node_iter(&hash.to_be_bytes())
            .take(self.points)
            .filter_map(|address| self.places.get(address).copied())
            .find(|place| from.share(*place) > 0)
    }
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring").field("members", &self.members).finish_non_exhaustive()
    }
}

/// The rings of a service. Routes that lead to the same endpoints share one.
#[derive(Debug, Default)]
pub(in crate::upstream) struct Rings(Mutex<Vec<Weak<Ring>>>);

impl Rings {
    /// The ring of these instances.
    pub(super) fn of(&self, instances: &[Instance]) -> Arc<Ring> {
        let members: Box<[_]> = instances.iter().map(|one| (one.address, one.weight)).collect();
        let mut known = self.0.lock();
        let same = known.iter().filter_map(Weak::upgrade).find(|ring| ring.members == members);
        if let Some(ring) = same {
            return ring;
        }
        let ring = Arc::new(Ring::new(members));
        known.retain(|ring| ring.strong_count() > 0);
        known.push(Arc::downgrade(&ring));
        ring
    }
}
