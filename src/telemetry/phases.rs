//! Where the time of requests goes, phase by phase.

use std::time::Duration;

use prometheus::Histogram;

use super::Metrics;

/// What a request spends its time on. A phase may come more than once; then it counts together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Route, identity, rights, what the service is sent: whatever has no phase of its own.
    Admit,
    /// Rate limits.
    Limits,
    /// Waiting for a place on this node, or at a service.
    Queue,
    /// Looking for a kept answer, waiting for another request that fetches one included.
    Cache,
    /// Choosing an endpoint and connecting to it.
    Connect,
    /// Waiting for the header of the service's answer, attempts that failed and the pauses behind
    /// them included.
    Service,
    /// Reading a body that is needed whole, passing the answer on: at the pace of others.
    Body,
}

impl Phase {
    /// All phases, in order.
    pub const ALL: [Self; 7] = [
        Self::Admit,
        Self::Limits,
        Self::Queue,
        Self::Cache,
        Self::Connect,
        Self::Service,
        Self::Body,
    ];

    /// Its name in metrics and in `Server-Timing`.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Admit => "admit",
            Self::Limits => "limits",
            Self::Queue => "queue",
            Self::Cache => "cache",
            Self::Connect => "connect",
            Self::Service => "service",
            Self::Body => "body",
        }
    }

    /// Whether the gateway itself takes the time, rather than a service, a client or the way to
    /// them.
    #[must_use]
    pub const fn is_own(self) -> bool {
        matches!(self, Self::Admit | Self::Limits | Self::Queue | Self::Cache)
    }
}

/// The meters of phases, resolved once for a process.
#[derive(Debug)]
pub struct PhaseMeters {
    phases: [Histogram; Phase::ALL.len()],
    own: Histogram,
}

impl PhaseMeters {
    /// Registers every phase, so that each is there before its first request.
    #[must_use]
    pub fn new(metrics: &Metrics) -> Self {
        let phase = |phase: Phase| metrics.phase_duration.with_label_values(&[phase.word()]);
        Self { phases: Phase::ALL.map(phase), own: metrics.gateway_duration.clone() }
    }

    /// A request has spent so much time in each of the phases that it came through.
    pub fn observe(&self, spent: impl Iterator<Item = (Phase, Duration)>) {
        let mut own = Duration::ZERO;
        for (phase, time) in spent {
            if phase.is_own() {
                own += time;
            }
            if let Some(histogram) = self.phases.get(phase as usize) {
                histogram.observe(time.as_secs_f64());
            }
        }
        self.own.observe(own.as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_stand_in_the_order_of_their_numbers() {
        for (n, phase) in Phase::ALL.into_iter().enumerate() {
            assert_eq!(phase as usize, n);
        }
    }

    #[test]
    fn what_the_gateway_takes_itself_is_the_sum_of_its_own_phases() {
        let metrics = Metrics::new().unwrap();
        let meters = PhaseMeters::new(&metrics);
        let ms = Duration::from_millis;
        let spent = [(Phase::Admit, ms(1)), (Phase::Limits, ms(3)), (Phase::Service, ms(250))];
        meters.observe(spent.into_iter());
        let text = String::from_utf8(metrics.render()).unwrap();
        for line in [
            r#"tidegate_phase_duration_seconds_sum{phase="limits"} 0.003"#,
            r#"tidegate_phase_duration_seconds_sum{phase="service"} 0.25"#,
            r#"tidegate_phase_duration_seconds_count{phase="queue"} 0"#,
            "tidegate_gateway_duration_seconds_sum 0.004",
            "tidegate_gateway_duration_seconds_count 1",
        ] {
            assert!(text.contains(line), "{line}");
        }
    }
}
