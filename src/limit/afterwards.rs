//! What a request has cost, once its service has said so.
//!
//! A rule with `responseCost` takes its usual cost before the request is sent, and the service
//! names the true one in a header of its answer. The difference is charged, or given back, where
//! the request was counted: on this node at once, in Redis through the queue that no request
//! waits for. What was charged shows in the answer's own headers; what was given back shows to
//! the next request. Nothing here is kept, or asked, for rules without `responseCost`.

use std::time::Duration;

use http::HeaderMap;
use http::HeaderName;

use super::math::Reply;
use super::rule::ResponseCosts;
use super::settle::Due;
use super::{Limiter, Outcome, Take};
use crate::clock::Moment;

/// Until then what was not needed is given back, or never.
const GIVEN_BACK_WITHIN: Duration = Duration::from_secs(5);

/// Where a take was counted, for rules whose services say what requests cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Which take of the request it was.
    at: usize,
    /// Whether this node counted it by itself.
    here: bool,
    /// The window that it was taken in, as the reply told.
    epoch_ms: u64,
}

impl Receipt {
    /// The receipt for the take at `at`; none where nothing can be set off: the rule has fixed
    /// costs, nobody counted, or nothing was taken.
    pub(super) fn of(at: usize, take: &Take, here: bool, reply: Option<Reply>) -> Option<Self> {
        let reply = reply.filter(|reply| reply.allowed)?;
        take.rule.response_costs.as_ref()?;
        Some(Self { at, here, epoch_ms: reply.epoch_ms })
    }
}

/// What a request may yet owe, or get back.
#[derive(Debug)]
pub struct Owed(Box<[(Take, Receipt)]>);

impl Owed {
    /// What `takes` leave open after they were decided; nothing for most requests.
    #[must_use]
    pub fn of(takes: &[Take], outcome: &Outcome) -> Option<Self> {
        if outcome.receipts.is_empty() {
            return None;
        }
        let open = |receipt: &Receipt| Some((takes.get(receipt.at)?.clone(), *receipt));
        Some(Self(outcome.receipts.iter().filter_map(open).collect()))
    }
}

/// What a service said of a cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    Cost(u64),
    Nothing,
    /// Something else than one whole number up to the most that is believed.
    Nonsense,
}

/// Reads the cost. A header that stands there twice has no one meaning.
fn read(headers: &HeaderMap, name: &HeaderName, max: u64) -> Said {
    let mut lines = headers.get_all(name).iter();
    let Some(line) = lines.next() else { return Said::Nothing };
    let digits = line.as_bytes().trim_ascii();
    let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    let number = || std::str::from_utf8(digits).ok()?.parse().ok().filter(|cost| *cost <= max);
    match number() {
        Some(cost) if is_number && lines.next().is_none() => Said::Cost(cost),
        _ => Said::Nonsense,
    }
}

impl Limiter {
    /// Sets what the service's answer says of the request's cost off against what was taken.
    /// `outcome` is what its client is told. Waits for nothing.
    pub fn settle_costs(
        &self,
        owed: &Owed,
        answer: &HeaderMap,
        outcome: Option<&mut Outcome>,
        now: Moment,
    ) {
        let mut outcome = outcome;
        for (take, receipt) in &owed.0 {
            let Some(costs) = &take.rule.response_costs else { continue };
            let more = self.settle_cost((take, receipt), costs, answer, now);
            if let Some(outcome) = outcome.as_deref_mut().filter(|_| more > 0) {
                outcome.note_charged(&take.rule.name, more);
            }
        }
    }

    /// Settles with one counter; says what was charged.
    fn settle_cost(
        &self,
        (take, receipt): (&Take, &Receipt),
        costs: &ResponseCosts,
        answer: &HeaderMap,
        now: Moment,
    ) -> u64 {
        let cost = match read(answer, &costs.header, costs.max) {
            Said::Cost(cost) => cost,
            Said::Nothing => take.cost,
            Said::Nonsense => {
                costs.unreadable.inc();
                return 0;
            }
        };
        let (more, less) = (cost.saturating_sub(take.cost), take.cost.saturating_sub(cost));
        let epoch_ms = receipt.epoch_ms;
        if more > 0 {
            costs.charged.inc();
            if receipt.here {
                self.local.adjust(take, self.nodes(), now, |counter| {
                    counter.charge(more);
                });
            } else {
                self.settle.put(Due::Charge { take: take.clone(), amount: more });
            }
        } else if less > 0 {
            costs.given_back.inc();
            if receipt.here {
                self.local.adjust(take, self.nodes(), now, |counter| {
                    counter.give_back(less, epoch_ms);
                });
            } else {
                let (take, until) = (take.clone(), now.tick.plus(GIVEN_BACK_WITHIN));
                let due = Due::GiveBack { take, amount: less, epoch_ms, fleet: None, until };
                self.settle.put(due);
            }
        } else {
            costs.kept.inc();
        }
        more
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http::HeaderValue;

    use super::super::testing::{rule, take};
    use super::*;
    use crate::clock::Tick;
    use crate::limit::{Decision, LimitRule};
    use crate::telemetry::Metrics;

    fn headers(lines: &[&'static str]) -> HeaderMap {
        let line = |line: &&'static str| {
            (HeaderName::from_static("x-cost"), HeaderValue::from_static(line))
        };
        lines.iter().map(line).collect()
    }

    #[test]
    fn a_cost_is_one_whole_number_up_to_the_most() {
        let read = |lines: &[&'static str]| read(&headers(lines), &"x-cost".parse().unwrap(), 50);
        assert_eq!(read(&[]), Said::Nothing);
        assert_eq!(read(&["0"]), Said::Cost(0));
        assert_eq!(read(&[" 007 "]), Said::Cost(7));
        assert_eq!(read(&["50"]), Said::Cost(50));
        for nonsense in [
            &["51"][..],
            &[""],
            &["-1"],
            &["+1"],
            &["1.5"],
            &["1e1"],
            &["0x1"],
            &["many"],
            &["99999999999999999999999"],
            &["1", "1"],
            &["1, 1"],
            &["5", "x"],
        ] {
            assert_eq!(read(nonsense), Said::Nonsense, "{nonsense:?}");
        }
    }

    fn priced(limit: u32) -> Arc<LimitRule> {
        rule(
            "priced",
            &format!(
                "{{limit: {limit}, window: 1h, key: [clientIp], cost: 2,
                   responseCost: {{header: X-Cost, max: 10}}}}"
            ),
        )
    }

    fn moment() -> Moment {
        Moment { tick: Tick::from_nanos(7_200_000_000_000), unix_ms: 0 }
    }

    /// Takes, and settles what the service says; returns what the client is told is left.
    fn request(limiter: &Limiter, rule: &Arc<LimitRule>, said: &[&'static str]) -> Option<u64> {
        let takes = [take(rule, "a")];
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let mut outcome = runtime.block_on(limiter.take(&takes, moment()));
        if let Some(owed) = Owed::of(&takes, &outcome) {
            assert_eq!(outcome.decision, Decision::Allowed);
            limiter.settle_costs(&owed, &headers(said), Some(&mut outcome), moment());
        } else {
            assert_eq!(outcome.decision, Decision::Limited, "only refusals owe nothing");
        }
        outcome.quotas[0].remaining.filter(|_| outcome.decision == Decision::Allowed)
    }

    #[test]
    fn on_this_node_costs_are_settled_at_once() {
        let limiter = Limiter::new(Arc::new(Metrics::new().unwrap()));
        let rule = priced(20);
        assert_eq!(request(&limiter, &rule, &[]), Some(18));
        assert_eq!(request(&limiter, &rule, &["2"]), Some(16));
        assert_eq!(request(&limiter, &rule, &["9"]), Some(7), "2 and 7 more, told at once");
        assert_eq!(request(&limiter, &rule, &["0"]), Some(5), "what comes back shows later");
        assert_eq!(request(&limiter, &rule, &["11"]), Some(5), "too much is no cost: 2 stay");
        // 5 are left. A charge goes below nothing, and is paid off before anything passes.
        assert_eq!(request(&limiter, &rule, &["10"]), Some(0));
        assert_eq!(request(&limiter, &rule, &["0"]), None);
        let costs = rule.response_costs.as_ref().unwrap();
        let counts = [&costs.charged, &costs.given_back, &costs.kept, &costs.unreadable];
        assert_eq!(counts.map(prometheus::IntCounter::get), [2, 1, 2, 1]);
    }

    #[test]
    fn fixed_costs_leave_nothing_open() {
        let limiter = Limiter::new(Arc::new(Metrics::new().unwrap()));
        let takes = [take(&rule("r", "{limit: 5, window: 1h, key: [clientIp]}"), "a")];
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let outcome = runtime.block_on(limiter.take(&takes, moment()));
        assert!(Owed::of(&takes, &outcome).is_none());
    }
}
