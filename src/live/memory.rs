//! What this process holds in memory, and what is done when that is too much (R012).
//!
//! Above `overload.maxMemory` new requests are refused and the cache gives room back, a quarter
//! each second, until memory is below the ceiling by a margin. Whoever is being served goes on.

use std::time::{Duration, UNIX_EPOCH};

use tokio::time::{MissedTickBehavior, interval};

use super::Live;
use crate::clock::{self, Moment};
use crate::telemetry::{resident_bytes, tell_left_out};

/// How often memory is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// Looks between two times at which the cache gives room back: memory that was given back is
/// not at once the kernel's again.
const LOOKS_BETWEEN: u32 = 5;

impl Live {
    /// Looks at memory for as long as it is polled.
    pub async fn look_after_memory(&self) {
        let mut ticks = interval(LOOK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut pressure, mut squeeze) = (Pressure::default(), Squeeze::default());
        loop {
            ticks.tick().await;
            tell_left_out(&self.metrics);
            let Some(resident) = resident_bytes() else { continue };
            self.metrics.memory_resident.set(i64::try_from(resident).unwrap_or(i64::MAX));
            let snapshot = self.snapshot();
            let ceiling = snapshot.overload.as_ref().and_then(|overload| overload.max_memory);
            drop(snapshot);
            self.under(pressure.judge(resident, ceiling), (resident, ceiling));
            self.overload.close_for_memory(pressure.high);
            self.squeeze(&mut squeeze, pressure.high, clock::now());
        }
    }

    fn under(&self, change: Change, (resident, ceiling): (u64, Option<u64>)) {
        let entries = self.metrics.cache_bytes.get();
        match change {
            Change::Rises => tracing::error!(
                resident,
                ceiling,
                cache = entries,
                "memory is above `overload.maxMemory`: requests are refused"
            ),
            Change::Falls => {
                tracing::info!(resident, ceiling, "memory is below `overload.maxMemory` again");
            }
            Change::None => {}
        }
    }

    fn squeeze(&self, squeeze: &mut Squeeze, is_high: bool, now: Moment) {
        let memory = self.cache.memory;
        if let Some(capacity) = squeeze.capacity(is_high, memory.capacity(), memory.weight()) {
            memory.set_capacity(capacity, UNIX_EPOCH + Duration::from_millis(now.unix_ms));
        }
    }
}

/// Whether there is too much in memory, with a margin between too much and no longer.
#[derive(Debug, Default)]
struct Pressure {
    high: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    None,
    Rises,
    Falls,
}

/// The margin is one part in so many of the ceiling.
const MARGIN: u64 = 16;

impl Pressure {
    fn judge(&mut self, resident: u64, ceiling: Option<u64>) -> Change {
        let high = match ceiling {
            None => false,
            Some(ceiling) if self.high => resident > ceiling - ceiling / MARGIN,
            Some(ceiling) => resident > ceiling,
        };
        match (std::mem::replace(&mut self.high, high), high) {
            (false, true) => Change::Rises,
            (true, false) => Change::Falls,
            _ => Change::None,
        }
    }
}

/// What the cache may weigh while memory is short.
#[derive(Debug, Default)]
struct Squeeze {
    /// What it may weigh otherwise, and what it was told instead.
    told: Option<(u64, u64)>,
    looks: u32,
}

impl Squeeze {
    /// The capacity that the cache is to have from now on; none where it stays. `capacity` is the
    /// one that it has: another one than it was told is that of a new configuration.
    fn capacity(&mut self, is_high: bool, capacity: u64, weight: u64) -> Option<u64> {
        let whole = match self.told {
            Some((whole, told)) if told == capacity => whole,
            _ => capacity,
        };
        if !is_high {
            self.looks = 0;
            return self.told.take().map(|_| whole);
        }
        self.looks += 1;
        if self.looks % LOOKS_BETWEEN != 1 {
            return None;
        }
        let less = weight.min(capacity) / 4 * 3;
        self.told = Some((whole, less));
        Some(less)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_margin_between_too_much_and_no_longer() {
        let mut pressure = Pressure::default();
        let mut judge = |resident| pressure.judge(resident, Some(1600));
        assert_eq!(judge(1600), Change::None);
        assert_eq!(judge(1601), Change::Rises);
        assert_eq!(judge(1601), Change::None);
        assert_eq!(judge(1501), Change::None, "within the margin");
        assert_eq!(judge(1500), Change::Falls);
        assert_eq!(judge(1501), Change::None);
        assert_eq!(judge(1700), Change::Rises);
        assert_eq!(pressure.judge(1700, None), Change::Falls, "no ceiling any more");
        assert_eq!(pressure.judge(u64::MAX, None), Change::None);
    }

    #[test]
    fn the_cache_gives_room_back_step_by_step_and_gets_it_back_at_once() {
        let mut squeeze = Squeeze::default();
        assert_eq!(squeeze.capacity(false, 1000, 800), None);
        assert_eq!(squeeze.capacity(true, 1000, 800), Some(600));
        for _ in 1..LOOKS_BETWEEN {
            assert_eq!(squeeze.capacity(true, 600, 600), None);
        }
        assert_eq!(squeeze.capacity(true, 600, 600), Some(450));
        assert_eq!(squeeze.capacity(false, 450, 450), Some(1000));
        assert_eq!(squeeze.capacity(false, 1000, 450), None);
    }

    #[test]
    fn a_capacity_that_was_configured_meanwhile_counts() {
        let mut squeeze = Squeeze::default();
        assert_eq!(squeeze.capacity(true, 1000, 1000), Some(750));
        assert_eq!(squeeze.capacity(false, 2000, 700), Some(2000));
        assert_eq!(squeeze.capacity(true, 2000, 400), Some(300));
        for _ in 1..LOOKS_BETWEEN {
            assert_eq!(squeeze.capacity(true, 300, 300), None);
        }
        assert_eq!(squeeze.capacity(true, 500, 300), Some(225));
        assert_eq!(squeeze.capacity(false, 225, 200), Some(500));
    }
}
