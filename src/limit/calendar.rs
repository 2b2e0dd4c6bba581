//! Periods of the calendar in a time zone, for quotas.
//!
//! Midnight is not every 24 hours and months differ, so periods are reckoned from the calendar of
//! the zone. The result changes once a period: it is kept, and reckoned again only when a time
//! lies outside of it. No lock is taken.

use std::sync::Arc;

use arc_swap::ArcSwap;
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{Timestamp, ToSpan};

use crate::model::Period;

/// Begins of four periods in a row, milliseconds since the epoch: the last, this one, the next
/// and the one after.
pub(super) type Bounds = [u64; 4];

/// A calendar.
#[derive(Debug)]
pub(super) struct Calendar {
    zone: TimeZone,
    period: Period,
    /// As reckoned last.
    bounds: ArcSwap<Bounds>,
}

impl Calendar {
    /// Periods in a zone, an IANA name; without it UTC.
    ///
    /// # Errors
    /// For an unknown zone: the names that are nearest to it, if any are near.
    pub(super) fn new(period: Period, zone: Option<&str>) -> Result<Self, Vec<String>> {
        let name = zone.unwrap_or("UTC");
        let zone = TimeZone::get(name).map_err(|_| near(name))?;
        let bounds = ArcSwap::new(Arc::new([0; 4]));
        Ok(Self { zone, period, bounds })
    }

    /// The periods around a time, in milliseconds since the epoch.
    pub(super) fn bounds(&self, now_ms: u64) -> Bounds {
        let kept = **self.bounds.load();
        let [_, begin, end, _] = kept;
        if (begin..end).contains(&now_ms) {
            return kept;
        }
        let Some(bounds) = self.reckon(now_ms) else { return self.without_calendar(now_ms) };
        self.bounds.store(Arc::new(bounds));
        bounds
    }

    /// The longest that a period can be, in seconds, leaving the hour aside that clocks may be
    /// set back.
    pub(super) const fn length_s(&self) -> u64 {
        match self.period {
            Period::Hour => 3_600,
            Period::Day => 86_400,
            Period::Week => 7 * 86_400,
            Period::Month => 31 * 86_400,
        }
    }

    fn reckon(&self, now_ms: u64) -> Option<Bounds> {
        let now = Timestamp::from_millisecond(i64::try_from(now_ms).ok()?).ok()?;
        let begin = self.begin_of(self.zone.to_datetime(now))?;
        // Two civil begins can be one instant, where clocks are set forward: once a whole day was
        // left out (Samoa, 2011), so more are looked at than are needed.
        let reach = if self.period == Period::Hour { 28 } else { 4 };
        let mut begins = Vec::new();
        for n in -reach..=reach {
            self.instants(self.plus(begin, n)?, &mut begins)?;
        }
        begins.sort_unstable();
        begins.dedup();
        let this = begins.partition_point(|begin| *begin <= now_ms).checked_sub(1)?;
        let four = begins.get(this.checked_sub(1)?..)?;
        four.first_chunk().copied()
    }

    /// Where the period begins in which a civil time lies.
    fn begin_of(&self, time: DateTime) -> Option<DateTime> {
        let date = time.date();
        let date = match self.period {
            Period::Hour => return Some(date.at(time.hour(), 0, 0, 0)),
            Period::Day => date,
            Period::Week => {
                let days = i64::from(date.weekday().to_monday_zero_offset());
                date.checked_sub(days.days()).ok()?
            }
            Period::Month => date.first_of_month(),
        };
        Some(date.at(0, 0, 0, 0))
    }

    fn plus(&self, begin: DateTime, n: i32) -> Option<DateTime> {
        let span = match self.period {
            Period::Hour => n.hours(),
            Period::Day => n.days(),
            Period::Week => n.weeks(),
            Period::Month => n.months(),
        };
        begin.checked_add(span).ok()
    }

    /// When a civil time is. An hour that is there twice, because clocks are set back, begins
    /// twice; a day that would begin twice begins the first time. What clocks skip when they are
    /// set forward begins where they go on.
    fn instants(&self, civil: DateTime, to: &mut Vec<u64>) -> Option<()> {
        let ambiguous = self.zone.to_ambiguous_timestamp(civil);
        let twice = matches!(ambiguous.offset(), AmbiguousOffset::Fold { .. });
        let mut add = |timestamp: Timestamp| {
            to.push(u64::try_from(timestamp.as_millisecond()).unwrap_or(0));
        };
        if twice && self.period == Period::Hour {
            add(ambiguous.later().ok()?);
        }
        add(ambiguous.compatible().ok()?);
        Some(())
    }

    /// For times that no calendar knows, far beyond any clock that is merely wrong.
    const fn without_calendar(&self, now_ms: u64) -> Bounds {
        let length = self.length_s() * 1000;
        let begin = now_ms - now_ms % length;
        let next = begin.saturating_add(length);
        [begin.saturating_sub(length), begin, next, next.saturating_add(length)]
    }
}

/// Zones whose names are near to one that does not exist: in spelling, or the same place in
/// another region.
fn near(name: &str) -> Vec<String> {
    let wanted = place(name);
    let distance = |zone: &str| {
        let whole = strsim::damerau_levenshtein(&name.to_lowercase(), &zone.to_lowercase());
        whole.min(1 + strsim::damerau_levenshtein(&wanted, &place(zone)))
    };
    let zones = jiff::tz::db().available().map(|zone| zone.as_str().to_owned());
    let mut found: Vec<_> = zones.map(|zone| (distance(&zone), zone)).collect();
    found.retain(|(distance, zone)| *distance <= 1 + zone.len() / 4);
    found.sort();
    found.into_iter().take(3).map(|(_, zone)| zone).collect()
}

/// The last part of a zone's name.
fn place(zone: &str) -> String {
    zone.rsplit('/').next().unwrap_or(zone).to_lowercase()
}

#[cfg(test)]
mod tests;
