//! What the gateway may add to a latency.

use super::PERCENTILES;
use crate::{Context, Error, Result};

/// What may be added at a percentile.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Budget {
    /// The name of the percentile.
    pub name: &'static str,
    /// The percentile.
    pub percent: f64,
    /// Milliseconds.
    pub most_ms: f64,
}

impl Budget {
    /// At most 1 ms at the median and 5 ms at the 99th percentile (R007).
    pub const DEFAULT: [Self; 2] = [
        Self { name: "p50", percent: 50.0, most_ms: 1.0 },
        Self { name: "p99", percent: 99.0, most_ms: 5.0 },
    ];

    /// Reads `p99=5ms`; milliseconds or microseconds (`us`).
    pub fn read(text: &str) -> Result<Self> {
        let wrong = || format!("--budget {text}: not like p99=5ms");
        let (name, time) = text.split_once('=').context(wrong())?;
        let known = PERCENTILES.into_iter().find(|(known, _)| *known == name);
        let (name, percent) = known.context(wrong())?;
        let (number, scale) = match time.strip_suffix("us") {
            Some(number) => (number, 1e-3),
            None => (time.strip_suffix("ms").context(wrong())?, 1.0),
        };
        let number: f64 = number.parse().context(wrong())?;
        if !(number.is_finite() && number > 0.0) {
            return Err(Error::new(wrong()));
        }
        Ok(Self { name, percent, most_ms: number * scale })
    }

    /// Puts this in the place of what was said of the same percentile.
    pub fn replace(self, all: &mut Vec<Self>) {
        all.retain(|other| other.name != self.name);
        all.push(self);
    }
}
