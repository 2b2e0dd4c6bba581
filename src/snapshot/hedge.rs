//! When a second attempt is begun while the first has not answered.

use std::time::Duration;

use crate::model::{Policies, Problem, Problems};

/// When a second attempt is begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HedgePolicy {
    /// The share of the service's answers, in percent, that come sooner.
    pub percentile: u32,
    /// The shortest wait.
    pub min_delay: Duration,
}

impl HedgePolicy {
    pub(super) fn compile(
        policies: &Policies,
        path: &str,
        problems: &mut Problems,
    ) -> Option<Self> {
        let hedge = policies.hedge.as_ref()?;
        if !(1..=99).contains(&hedge.percentile) {
            let what = format!("{} is not a percentile to wait for", hedge.percentile);
            problems.push(
                Problem::error("hedge.percentile", format!("{path}.hedge.percentile"), what)
                    .help("use 1 to 99; 95 asks again for the slowest twentieth"),
            );
        }
        if policies.cache.is_some() {
            let what = "a route cannot both keep answers and ask twice for them";
            problems.push(
                Problem::error("hedge.cache", format!("{path}.hedge"), what).help(
                    "leave `hedge` or `cache` out; requests for one entry wait for the first",
                ),
            );
        }
        Some(Self { percentile: hedge.percentile, min_delay: hedge.min_delay.get() })
    }

    /// How long the first attempt is waited for; `usual` is the percentile of the service's
    /// answers, where that is known. None where nothing is known yet: a service that is slow
    /// as a whole would be asked twice for everything.
    #[must_use]
    pub fn delay(&self, usual: Option<Duration>) -> Option<Duration> {
        usual.map(|usual| usual.max(self.min_delay))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Cache, Hedge};

    fn codes(hedge: Hedge, cache: Option<Cache>) -> Vec<&'static str> {
        let mut problems = Problems::default();
        let policies = Policies { hedge: Some(hedge), cache, ..Policies::default() };
        let compiled = HedgePolicy::compile(&policies, "p", &mut problems);
        assert!(compiled.is_some());
        problems.0.iter().map(|problem| problem.code).collect()
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let percentile = |percentile| Hedge { percentile, ..Hedge::default() };
        assert!(codes(Hedge::default(), None).is_empty());
        assert!(codes(percentile(1), None).is_empty() && codes(percentile(99), None).is_empty());
        assert_eq!(codes(percentile(0), None), ["hedge.percentile"]);
        assert_eq!(codes(percentile(100), None), ["hedge.percentile"]);
        assert_eq!(codes(Hedge::default(), Some(Cache::default())), ["hedge.cache"]);
        let mut none = Problems::default();
        assert_eq!(HedgePolicy::compile(&Policies::default(), "p", &mut none), None);
    }

    #[test]
    fn the_wait_is_the_longer_of_the_two() {
        let ms = Duration::from_millis;
        let policy = HedgePolicy { percentile: 95, min_delay: ms(10) };
        assert_eq!(policy.delay(None), None);
        assert_eq!(policy.delay(Some(ms(5))), Some(ms(10)));
        assert_eq!(policy.delay(Some(ms(50))), Some(ms(50)));
    }
}
