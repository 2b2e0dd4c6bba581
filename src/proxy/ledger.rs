//! Where the time of a request goes: readings of the clock that are made anyway end one phase and
//! begin the next.

use std::fmt::Write;
use std::time::Duration;

use http::HeaderValue;

use crate::clock::Tick;
use crate::telemetry::Phase;

/// The phases of one request, as far as it has come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ledger {
    phase: Phase,
    since: Tick,
    /// Nanoseconds by phase; none where it has not been.
    spent: [Option<u64>; Phase::ALL.len()],
}

impl Ledger {
    /// Begins with a request.
    pub(super) const fn begin(now: Tick) -> Self {
        Self { phase: Phase::Admit, since: now, spent: [None; Phase::ALL.len()] }
    }

    /// What has passed since the last call was the phase before; this one begins.
    pub(super) fn enter(&mut self, phase: Phase, now: Tick) {
        self.close(now);
        self.phase = phase;
    }

    /// The request is over.
    pub(super) fn close(&mut self, now: Tick) {
        if let Some(spent) = self.spent.get_mut(self.phase as usize) {
            let passed = now.nanos().saturating_sub(self.since.nanos());
            *spent = Some(spent.unwrap_or(0).saturating_add(passed));
        }
        self.since = now;
    }

    /// The phases that have been, and how long each took.
    pub(super) fn spent(&self) -> impl Iterator<Item = (Phase, Duration)> {
        let phases = Phase::ALL.into_iter().zip(&self.spent);
        phases.filter_map(|(phase, spent)| Some((phase, Duration::from_nanos((*spent)?))))
    }

    /// The same as the value of `Server-Timing`, in milliseconds (W3C, Server Timing).
    pub(super) fn server_timing(&self) -> Option<HeaderValue> {
        let mut text = String::with_capacity(128);
        for (phase, spent) in self.spent() {
            let comma = if text.is_empty() { "" } else { ", " };
            let ms = spent.as_secs_f64() * 1000.0;
            // Writing into a string cannot fail.
            let _ = write!(text, "{comma}{};dur={ms:.3}", phase.word());
        }
        HeaderValue::try_from(text).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(us: u64) -> Tick {
        Tick::from_nanos(us * 1000)
    }

    #[test]
    fn each_phase_takes_until_the_next_begins() {
        let mut ledger = Ledger::begin(at(100));
        ledger.enter(Phase::Limits, at(150));
        ledger.enter(Phase::Admit, at(1150));
        ledger.enter(Phase::Connect, at(1160));
        ledger.enter(Phase::Service, at(1200));
        // A second attempt.
        ledger.enter(Phase::Connect, at(5200));
        ledger.enter(Phase::Service, at(5210));
        ledger.enter(Phase::Body, at(9210));
        ledger.close(at(9310));
        let spent: Vec<_> =
            ledger.spent().map(|(phase, spent)| (phase.word(), spent.as_micros())).collect();
        let [admit, limits, connect] = [("admit", 60), ("limits", 1000), ("connect", 50)];
        assert_eq!(spent, [admit, limits, connect, ("service", 8000), ("body", 100)]);
        let sum: u128 = spent.iter().map(|(_, us)| us).sum();
        assert_eq!(sum, 9310 - 100);
        assert_eq!(
            ledger.server_timing().unwrap(),
            "admit;dur=0.060, limits;dur=1.000, connect;dur=0.050, service;dur=8.000, \
             body;dur=0.100"
        );
    }

    #[test]
    fn a_clock_that_stands_still_takes_nothing() {
        let mut ledger = Ledger::begin(at(100));
        ledger.enter(Phase::Body, at(90));
        ledger.close(at(90));
        assert!(ledger.spent().all(|(_, spent)| spent.is_zero()));
        assert_eq!(ledger.spent().count(), 2);
    }
}
