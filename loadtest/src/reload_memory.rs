//! Whether what a gateway holds in memory grows from each configuration to the next.
//!
//! What a process holds while the same configuration is applied again and again is no line but a
//! band: for a moment there are two configurations and a parsed document, the allocator gives
//! back what was freed when it likes, in pieces that the kernel makes larger, and the level of one
//! sample says more about when it was taken than about what is needed. What can be compared is the
//! upper edge of the band, the memory that must be there. It rises over the first configurations,
//! until what was freed by one suffices for the next; a leak makes it rise for ever.

use std::fmt;

/// Configurations that do not count: by then there is room that later ones use again.
const WARM_UP: usize = 30;

/// Configurations from which on there is something to tell, with those that do not count.
pub const RELOADS_MIN: usize = WARM_UP + 40;

/// The upper edge lies above so many hundredths of the samples; what is above it is chance.
const EDGE: usize = 90;

/// The upper edge of what was held in memory, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Growth {
    /// Over the first half of what counts.
    pub early: u64,
    /// Over the second.
    pub late: u64,
}

impl Growth {
    /// Judges what the process held, in bytes, one sample for each configuration, in order. None
    /// where there are fewer than [`RELOADS_MIN`].
    #[must_use]
    pub fn of(samples: &[u64]) -> Option<Self> {
        let counted = samples.get(WARM_UP..).filter(|_| samples.len() >= RELOADS_MIN)?;
        let (first, second) = counted.split_at(counted.len() / 2);
        Some(Self { early: edge(first), late: edge(second) })
    }

    /// By how much it grew, as a part of what there was; less than nothing where it shrank.
    #[must_use]
    pub fn share(self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a ratio for people")]
        let share = self.late as f64 / self.early.max(1) as f64 - 1.0;
        share
    }
}

impl fmt::Display for Growth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (early, late, percent) = (self.early >> 20, self.late >> 20, self.share() * 100.0);
        write!(
            f,
            "after {WARM_UP} configurations: {early} MiB in the first half, {late} MiB in the \
             second, {percent:.1} % more"
        )
    }
}

fn edge(samples: &[u64]) -> u64 {
    let mut samples = samples.to_vec();
    samples.sort_unstable();
    samples.get(samples.len() * EDGE / 100).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    /// As measured over 100 configurations with 10,000 routes, in MiB: two configurations take
    /// turns, now and then much is given back.
    const MEASURED: [u64; 100] = [
        210, 168, 188, 169, 180, 171, 204, 188, 207, 154, 207, 163, 197, 181, 206, 176, 202, 176,
        201, 179, 205, 174, 206, 169, 194, 155, 171, 190, 214, 183, 211, 189, 211, 175, 207, 163,
        202, 175, 203, 177, 204, 179, 203, 174, 203, 184, 215, 175, 205, 120, 203, 154, 206, 146,
        215, 177, 210, 185, 211, 143, 201, 170, 206, 196, 208, 168, 203, 187, 206, 203, 208, 187,
        206, 181, 204, 174, 209, 191, 205, 180, 206, 179, 199, 180, 198, 193, 217, 171, 207, 179,
        209, 159, 207, 185, 213, 169, 202, 113, 202, 132,
    ];

    /// The samples in bytes, with so many KiB more for each configuration.
    fn leaking(kib: u64) -> Vec<u64> {
        (0..).zip(MEASURED).map(|(number, mib)| mib * MIB + number * kib * 1024).collect()
    }

    fn share(samples: &[u64]) -> f64 {
        Growth::of(samples).unwrap().share()
    }

    #[test]
    fn a_band_is_no_growth() {
        assert!(share(&leaking(0)).abs() < 0.03, "{:?}", Growth::of(&leaking(0)));
    }

    /// A hundredth of a configuration that stays behind each time, which is about 75 MiB.
    #[test]
    fn what_stays_behind_is_found() {
        let growth = Growth::of(&leaking(768)).unwrap();
        assert!(growth.share() > 0.05, "{growth}");
        assert!(share(&leaking(4096)) > 0.2);
    }

    #[test]
    fn warming_up_does_not_count_and_going_on_does() {
        let rising = |until: u64| -> Vec<u64> {
            (0..100).map(|number: u64| (200 + number.min(until) * 4) * MIB).collect()
        };
        assert!(share(&rising(24)).abs() < 1e-9);
        assert!(share(&rising(100)) > 0.3);
    }

    #[test]
    fn a_few_are_not_judged() {
        let flat = vec![MIB; RELOADS_MIN];
        assert_eq!(Growth::of(&flat), Some(Growth { early: MIB, late: MIB }));
        assert_eq!(Growth::of(flat.split_last().unwrap().1), None);
        assert_eq!(Growth::of(&[]), None);
    }
}
