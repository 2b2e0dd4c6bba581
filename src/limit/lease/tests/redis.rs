//! Redis as the nodes meet it: counters by the sums of `math`, the list of nodes, and a replica
//! that may not have heard of the last writes.

use super::super::super::math::{Algorithm, Ask, Counter, Numbers, Reply, State};

/// Which algorithm counts, as far as the simulation tells them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Bucket,
    Sliding,
    Fixed,
}

/// A write, as it can be undone.
enum Write {
    Counter { key: usize, before: Option<State>, net: i64 },
    Node { node: usize, before: Option<u64> },
}

pub(super) struct Redis {
    rules: Vec<(Kind, Numbers)>,
    states: Vec<Option<State>>,
    /// For each node when it was last heard of.
    nodes: Vec<Option<u64>>,
    log: Vec<(u64, Write)>,
}

impl Redis {
    pub(super) fn new(rules: Vec<(Kind, Numbers)>) -> Self {
        let states = vec![None; rules.len()];
        Self { rules, states, nodes: Vec::new(), log: Vec::new() }
    }

    fn open(&self, key: usize, now: u64) -> Counter {
        let (_, numbers) = self.rules[key];
        Counter::open(numbers, self.states[key].clone(), now)
    }

    fn store(&mut self, key: usize, state: State, net: i64, now: u64) {
        let before = self.states[key].replace(state);
        self.log.push((now, Write::Counter { key, before, net }));
    }

    /// `take.lua`: all or nothing.
    pub(super) fn take(&mut self, asks: &[(usize, Ask)], now: u64) -> Vec<Reply> {
        let counters: Vec<_> = asks.iter().map(|(key, _)| self.open(*key, now)).collect();
        let enough = |(counter, (_, ask)): (&Counter, &(usize, Ask))| counter.has_enough(ask.cost);
        let passes = counters.iter().zip(asks).all(enough);
        let mut replies = Vec::new();
        for (mut counter, (key, ask)) in counters.into_iter().zip(asks) {
            let (allowed, mut taken) = (counter.has_enough(ask.cost), 0);
            if passes {
                taken = counter.grant(*ask);
                counter.take(taken);
                self.store(*key, counter.state(), taken as i64, now);
            }
            replies.push(counter.reply(allowed, taken, ask.cost));
        }
        replies
    }

    /// `give_back.lua`: what was taken in a window that is over is gone with it. Returns by how
    /// much less is used.
    pub(super) fn give_back(&mut self, key: usize, amount: u64, epoch_ms: u64, now: u64) -> u64 {
        let (counter, numbers) = (self.open(key, now), self.rules[key].1);
        let (state, back) = if let (
            State::Bucket { debt, at_us },
            Algorithm::TokenBucket { units_per_token, .. },
        ) = (counter.state(), numbers.algorithm)
        {
            let units = debt.min(amount * units_per_token);
            let state = State::Bucket { debt: debt - units, at_us };
            // Part of a token counts as a whole one, against us.
            (state, units.div_ceil(units_per_token))
        } else {
            let (mut counter, before) = (counter.clone(), counter.used());
            counter.give_back(amount, epoch_ms);
            let back = before - counter.used();
            (counter.into_state(), back)
        };
        self.store(key, state, -(back as i64), now);
        back
    }

    /// `heartbeat.lua`: how many nodes were heard of in the last `gone`, and when this one was.
    pub(super) fn beat(&mut self, node: usize, now: u64, gone: u64) -> (u32, Option<u64>) {
        self.nodes.resize(self.nodes.len().max(node + 1), None);
        let before = self.nodes[node].replace(now);
        self.log.push((now, Write::Node { node, before }));
        let live = |heard: &&Option<u64>| heard.is_some_and(|heard| heard + gone > now);
        let count = self.nodes.iter().filter(live).count();
        (u32::try_from(count).unwrap(), before.filter(|heard| heard + gone > now))
    }

    /// The replica has heard of everything so far.
    pub(super) fn settle(&mut self) {
        self.log.clear();
    }

    pub(super) fn leave(&mut self, node: usize) {
        if let Some(heard) = self.nodes.get_mut(node) {
            *heard = None;
        }
    }

    /// The replica takes over, which has not heard of the writes since `since`. Returns for
    /// each key how much was debited that nobody knows of any more.
    pub(super) fn fail_over(&mut self, since: u64) -> Vec<u64> {
        let mut forgotten = vec![0; self.states.len()];
        while let Some((_, write)) = self.log.pop_if(|(at, _)| *at >= since) {
            match write {
                Write::Counter { key, before, net } => {
                    self.states[key] = before;
                    forgotten[key] += net.max(0) as u64;
                }
                // A node that left stays away: its heartbeat is not undone into life.
                Write::Node { node, before } => {
                    if self.nodes[node].is_some() {
                        self.nodes[node] = before;
                    }
                }
            }
        }
        forgotten
    }
}
