//! Which of several endpoints is next.
//!
//! Everything that follows from the weights is computed when a set of endpoints is made; a pick
//! reads tables, takes no lock and allocates nothing. A pick is given what is eligible and never
//! asks why: health, attempts made before and growing shares are the caller's (`choose`).

mod ketama;
mod key;
mod sample;
mod turns;

pub(super) use ketama::Rings;
pub(super) use key::HashKey;

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use ketama::Ring;
use sample::Sampler;
use turns::Turns;

use super::{Instance, ServiceState};
use crate::model::Balance;

/// What a pick depends on beside the endpoints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Draw {
    /// Something random.
    pub entropy: u64,
    /// The hash of the request's key, see [`Upstream::hash`](super::Upstream::hash).
    pub hash: u64,
    /// Whether the request finds out if an open circuit may close again.
    pub trial: bool,
}

/// How one endpoint of a set is chosen. Endpoints are named by their place in the set; those
/// with weight 0 are in no table.
#[derive(Debug)]
pub(super) enum Selection {
    /// In turn.
    Turns(Turns),
    /// At random.
    Random(Sampler),
    /// The less busy of two.
    Less(Sampler),
    /// By the hash of a key.
    Hash(Arc<Ring>),
}

/// What a pick may choose from.
pub(super) trait Candidates {
    /// How much of its share the endpoint at this place takes, out of
    /// [`WHOLE`](super::health::WHOLE); 0 when it is not eligible.
    fn share(&self, place: usize) -> u32;

    /// Requests that it is answering.
    fn in_flight(&self, place: usize) -> u32;
}

impl Selection {
    /// Computes the tables for these instances.
    pub(super) fn new(service: &ServiceState, instances: &[Instance]) -> Self {
        let weights: Vec<u32> = instances.iter().map(|instance| instance.weight).collect();
        match service.balance {
            Balance::RoundRobin => {
                let first = service.memory.sets.fetch_add(1, Relaxed);
                Self::Turns(Turns::new(&weights, first))
            }
            Balance::Random => Self::Random(Sampler::new(&weights)),
            Balance::LeastRequests => Self::Less(Sampler::new(&weights)),
            Balance::ConsistentHash => Self::Hash(service.memory.rings.of(instances)),
        }
    }

    /// The place of the next endpoint; none where none is eligible.
    pub(super) fn pick(&self, draw: Draw, from: &impl Candidates) -> Option<usize> {
        match self {
            Self::Turns(turns) => turns.next(draw.entropy, from),
            Self::Random(sampler) => sampler.sample(draw.entropy, from, None),
            Self::Less(sampler) => sampler.less_busy(draw.entropy, from),
            Self::Hash(ring) => ring.find(draw.hash, from),
        }
    }
}

/// Another random number that follows from one (Steele, Lea, Flood: splitmix64).
const fn mix(entropy: u64, step: u64) -> u64 {
    let mut z = entropy.wrapping_add(step.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A number below `bound` from half a word of randomness.
fn below(bound: u64, random: u32) -> u64 {
    (bound * u64::from(random)) >> 32
}

/// The upper and the lower half of a word.
#[expect(clippy::cast_possible_truncation, reason = "the halves are what is wanted")]
const fn halves(word: u64) -> (u32, u32) {
    ((word >> 32) as u32, word as u32)
}

#[cfg(test)]
mod tests;
