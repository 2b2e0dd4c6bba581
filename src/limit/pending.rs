//! A request that waits for Redis's word: what it holds meanwhile is not lost, however it ends.

use smallvec::SmallVec;

use super::answer::{Answers, Source, conclude};
use super::math::{Ask, Reply};
use super::shared::{Shared, Step, Steps};
use super::{Decision, Outcome, Take};
use crate::clock::Tick;

/// A request that waits. When it is dropped, because its client went away, it has not passed.
pub(super) struct Pending<'a> {
    shared: &'a Shared,
    takes: &'a [Take],
    steps: Steps,
    /// For each step that is asked: what.
    asks: SmallVec<[Ask; 2]>,
    /// Whether tokens that it holds wait for it.
    holds: bool,
    /// Whether a call that asked for more is under way.
    calls: bool,
}

impl<'a> Pending<'a> {
    pub(super) fn new(shared: &'a Shared, takes: &'a [Take], steps: Steps) -> Self {
        Self { shared, takes, steps, asks: SmallVec::new(), holds: true, calls: false }
    }

    pub(super) const fn takes(&self) -> &'a [Take] {
        self.takes
    }

    pub(super) fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// What to ask of Redis.
    pub(super) fn asks(&mut self, now: Tick) -> Vec<(&'a Take, Ask)> {
        self.calls = true;
        self.asks = asked(self.takes, &self.steps)
            .map(|take| self.shared.ask(take, take.cost, now))
            .collect();
        asked(self.takes, &self.steps).zip(self.asks.iter().copied()).collect()
    }

    /// Redis has answered, in the order of the asks.
    pub(super) fn answered(mut self, replies: &[Option<Reply>], asked_at: Tick) -> Outcome {
        self.calls = false;
        let (shared, mut left) = (self.shared, replies.iter().zip(&self.asks));
        let mut answer = |(take, step): (&Take, &Step)| match step {
            Step::Held(reply) => (Source::Lease, Some(*reply)),
            Step::Known(reply) => (Source::Redis, Some(*reply)),
            Step::Ask => {
                let Some((reply, ask)) = left.next() else { return (Source::Nobody, None) };
                let Some(reply) = reply else {
                    if ask.want > ask.cost {
                        shared.leases.failed(take);
                    }
                    return (Source::Nobody, None);
                };
                if ask.want > ask.cost {
                    shared.leases.granted(take, ask.cost, reply);
                }
                if !reply.allowed {
                    shared.known.note(take, reply.reset_ms, asked_at);
                }
                let leased = take.tier().lease > 0;
                let brought = ask.want > ask.cost;
                let told = |take| shared.leases.told(take, *reply, asked_at, brought);
                (Source::Redis, Some(if leased { told(take) } else { *reply }))
            }
        };
        let answers: Answers = self.takes.iter().zip(&self.steps).map(&mut answer).collect();
        let outcome = conclude(self.takes, &answers);
        self.close(outcome.decision == Decision::Allowed);
        outcome
    }

    /// Redis has not answered.
    pub(super) fn failed(&mut self) {
        if !std::mem::take(&mut self.calls) {
            return;
        }
        for (take, ask) in asked(self.takes, &self.steps).zip(&self.asks) {
            if ask.want > ask.cost {
                self.shared.leases.failed(take);
            }
        }
    }

    /// The request is decided.
    pub(super) fn close(mut self, passes: bool) {
        self.release(passes);
    }

    fn release(&mut self, passes: bool) {
        self.failed();
        if !std::mem::take(&mut self.holds) {
            return;
        }
        for (take, step) in self.takes.iter().zip(&self.steps) {
            match step {
                Step::Held(_) if passes => self.shared.leases.keep(take),
                Step::Held(_) => self.shared.leases.put_back(take),
                Step::Known(_) | Step::Ask => {}
            }
        }
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.release(false);
    }
}

fn asked<'a>(takes: &'a [Take], steps: &[Step]) -> impl Iterator<Item = &'a Take> {
    let open = |(take, step): (&'a Take, &Step)| matches!(step, Step::Ask).then_some(take);
    takes.iter().zip(steps).filter_map(open)
}
