//! The world of the simulation: what happens, and when.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::sync::{Arc, LazyLock};

use super::super::super::math::{Algorithm, Ask, Numbers, Reply};
use super::super::super::settle::Due;
use super::super::super::testing::{rule, take};
use super::super::super::{LimitRule, Take};
use super::super::{HELD_MAX, LATE, LIFE, Leases, RETURN};
use super::checker::Ledger;
use super::redis::{Kind, Redis};
use crate::clock::{Moment, Tick};
use crate::telemetry::Metrics;

const MS: u64 = 1_000;
const END: u64 = 9_000 * MS;

/// How long a node waits for an answer.
const TIMEOUT: u64 = 50 * MS;
/// How often a node is heard of, and gives back what has expired.
const BEAT: u64 = 600 * MS;
const SWEEP: u64 = 500 * MS;
/// How old a node's view of the fleet may be for it to take in advance.
const FRESH: u64 = 1_500 * MS;
/// For how long a node must have been known before it takes in advance.
const KNOWN: u64 = FRESH + HELD_MAX.as_micros() as u64;
/// After so long without a heartbeat a node is gone: not before the last of what it may hold is
/// spent or back, whatever a failover forgets.
const GONE: u64 = KNOWN + 1_000 * MS;

/// What is wrong on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    None,
    /// Nodes see half of the others.
    HalfTheFleet,
    /// Nodes take in advance before the others have heard of them.
    LendsAtOnce,
    /// A give-back is tried again after its connection was lost.
    GivesBackTwice,
    /// A request that was refused gives back what it did not take.
    SpendsTwice,
}

/// What happened in a history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) admitted: u64,
    pub(super) leased: u64,
    pub(super) refused: u64,
    pub(super) given_back: u64,
    pub(super) put_back: u64,
    pub(super) lost: u64,
    pub(super) twice: u64,
    pub(super) late: u64,
    pub(super) frozen: u64,
    pub(super) crashed: u64,
    pub(super) joined: u64,
    pub(super) forgotten: u64,
}

impl Tally {
    pub(super) fn add(&mut self, other: &Self) {
        self.admitted += other.admitted;
        self.leased += other.leased;
        self.refused += other.refused;
        self.given_back += other.given_back;
        self.put_back += other.put_back;
        self.lost += other.lost;
        self.twice += other.twice;
        self.late += other.late;
        self.frozen += other.frozen;
        self.crashed += other.crashed;
        self.joined += other.joined;
        self.forgotten += other.forgotten;
    }
}

/// A request for some of the keys, or (`fetch`) a call for more of one.
struct Call {
    node: usize,
    fetch: bool,
    /// Keys that were paid for in advance.
    held: Vec<usize>,
    asks: Vec<(usize, Ask)>,
    at: Tick,
    sent: u64,
    /// What Redis gave in advance for each ask, as long as nobody has it.
    advance: Option<Vec<u64>>,
    over: bool,
}

enum Event {
    Request { node: usize, keys: u8 },
    Execute { call: usize, answers: bool },
    Reply { call: usize, replies: Vec<Reply> },
    Timeout { call: usize },
    Dead { call: usize },
    Beat { node: usize },
    BeatExecute { node: usize, sent: u64, lost: bool },
    BeatReply { node: usize, view: View },
    Sweep { node: usize },
    GiveBack { key: usize, amount: u64, epoch_ms: u64, lost: bool },
    Burst,
    Trouble,
    Leave { node: usize },
    Gone { node: usize },
}

struct Queued {
    at: u64,
    number: u64,
    event: Event,
}

impl PartialEq for Queued {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl Eq for Queued {}
impl PartialOrd for Queued {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Queued {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// The answer to a heartbeat.
#[derive(Clone, Copy)]
struct View {
    /// When it was sent, by the clock of the node.
    sent: u64,
    /// When Redis executed it, and had executed the one before.
    stamp: u64,
    last: Option<u64>,
    nodes: u32,
}

struct Node {
    leases: Leases,
    /// Its clock: when it began, and how much too fast it runs, in millionths.
    offset: u64,
    drift: u64,
    frozen_until: u64,
    running: bool,
    /// Since when Redis has known it without a break, and the last heartbeat that was answered.
    known_since: u64,
    view: Option<View>,
    /// What it holds of each key, and until when that can be spent or credited.
    held: Vec<(i64, Tick)>,
}

impl Node {
    fn tick(&self, now: u64) -> Tick {
        Tick::from_nanos(self.clock(now) * 1_000)
    }

    fn clock(&self, now: u64) -> u64 {
        self.offset + now + now / 1_000_000 * self.drift
    }
}

pub(super) struct World {
    now: u64,
    flaw: Flaw,
    random: fastrand::Rng,
    queue: BinaryHeap<Reverse<Queued>>,
    events: u64,
    redis: Redis,
    takes: Vec<Take>,
    ledgers: Vec<Ledger>,
    nodes: Vec<Node>,
    calls: Vec<Call>,
    tally: Tally,
}

/// The limits of the simulation.
static RULES: LazyLock<Vec<(Kind, Arc<LimitRule>)>> = LazyLock::new(|| {
    let bucket = "{algorithm: token_bucket, capacity: 160, refillPerSecond: 20, cost: 1, \
                  key: [clientIp], overage: 10%}";
    // Cells of whole tenths of a second, so that the counter knows whole windows exactly.
    let window = "{limit: 360, window: 6s, key: [clientIp], overage: 10%}";
    let dear = "{algorithm: fixed_window, limit: 320, window: 3s, cost: 2, key: [clientIp], \
                overage: 10%}";
    vec![
        (Kind::Bucket, rule("bucket", bucket)),
        (Kind::Sliding, rule("sliding", window)),
        (Kind::Fixed, rule("fixed", dear)),
    ]
});

static METRICS: LazyLock<Metrics> = LazyLock::new(|| Metrics::new().unwrap());

fn ledger(kind: Kind, numbers: Numbers, bound: u64) -> Ledger {
    match numbers.algorithm {
        Algorithm::TokenBucket { units_per_us, units_per_token } => {
            let refill = units_per_us * 1_000_000 / units_per_token;
            Ledger::new(kind, numbers.limit, bound, refill, END)
        }
        Algorithm::SlidingWindow { window_ms } | Algorithm::FixedWindow { window_ms } => {
            Ledger::new(kind, numbers.limit, bound, 0, window_ms * MS)
        }
        other => panic!("{other:?} is never leased"),
    }
}

impl World {
    /// Lets a history happen.
    ///
    /// # Errors
    /// What did not hold, and when.
    pub(super) fn run(seed: u64, flaw: Flaw) -> Result<Tally, String> {
        let epoch = Moment { tick: Tick::from_nanos(0), unix_ms: 0 };
        let numbers = |rule: &LimitRule| rule.tiers[0].numbers(epoch);
        let rules = RULES.iter().map(|(kind, rule)| (*kind, numbers(rule))).collect();
        let book = |(kind, rule): &(Kind, Arc<LimitRule>)| {
            ledger(*kind, numbers(rule), rule.tiers[0].lease)
        };
        let mut world = Self {
            now: 0,
            flaw,
            random: fastrand::Rng::with_seed(seed),
            queue: BinaryHeap::new(),
            events: 0,
            redis: Redis::new(rules),
            takes: RULES.iter().map(|(_, rule)| take(rule, "client")).collect(),
            ledgers: RULES.iter().map(book).collect(),
            nodes: Vec::new(),
            calls: Vec::new(),
            tally: Tally::default(),
        };
        for _ in 0..world.random.usize(1..=8) {
            world.join();
        }
        // Those that are there from the beginning have been so for long.
        for node in 0..world.nodes.len() {
            world.redis.beat(node, 0, GONE);
        }
        world.redis.settle();
        let nodes = u32::try_from(world.nodes.len()).unwrap();
        for node in &mut world.nodes {
            let sent = node.clock(0);
            node.known_since = sent - KNOWN;
            node.view = Some(View { sent, stamp: 0, last: Some(0), nodes });
        }
        world.after(0, Event::Burst);
        world.after(0, Event::Trouble);
        while let Some(Reverse(Queued { at, event, .. })) = world.queue.pop() {
            if at > END {
                break;
            }
            world.now = at;
            world.step(event);
            world.check().map_err(|broken| format!("at {} ms: {broken}", at / MS))?;
        }
        Ok(world.tally)
    }

    fn check(&mut self) -> Result<(), String> {
        let mut on_nodes = [0; 3];
        for node in self.nodes.iter().filter(|node| node.running) {
            let now = node.tick(self.now);
            for (sum, (held, until)) in on_nodes.iter_mut().zip(&node.held) {
                if *held > 0 && now < until.plus(LATE) {
                    *sum += held;
                }
            }
        }
        let mut ledgers = self.ledgers.iter_mut().zip(on_nodes);
        ledgers.try_for_each(|(ledger, held)| ledger.check(held, self.now))
    }

    fn after(&mut self, delay: u64, event: Event) {
        self.events += 1;
        let queued = Queued { at: self.now + delay, number: self.events, event };
        self.queue.push(Reverse(queued));
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.random.u32(0..100) < percent
    }

    /// How long a message is under way: mostly not long.
    fn delay(&mut self) -> u64 {
        let most = if self.chance(4) { 300 * MS } else { 4 * MS };
        self.random.u64(100..most)
    }

    fn step(&mut self, event: Event) {
        let node = match &event {
            Event::Request { node, .. }
            | Event::Beat { node }
            | Event::BeatReply { node, .. }
            | Event::Sweep { node }
            | Event::Leave { node } => Some(*node),
            Event::Reply { call, .. } | Event::Timeout { call } => Some(self.calls[*call].node),
            _ => None,
        };
        if let Some(node) = node {
            let Node { running, frozen_until, .. } = self.nodes[node];
            if self.now < frozen_until {
                return self.after(frozen_until - self.now, event);
            }
            if !running {
                if let Event::Reply { call, .. } | Event::Timeout { call } = event {
                    self.lose(call);
                }
                return;
            }
        }
        self.happen(event);
        if let Some(node) = node {
            self.look_at(node);
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Request { node, keys } => self.request(node, keys),
            Event::Execute { call, answers } => self.execute(call, answers),
            Event::Reply { call, replies } => self.reply(call, &replies),
            Event::Timeout { call } => self.timeout(call),
            Event::Dead { call } => self.bury(call),
            Event::Beat { node } => {
                let (delay, lost) = (self.delay(), self.chance(10));
                let sent = self.nodes[node].clock(self.now);
                self.after(delay, Event::BeatExecute { node, sent, lost });
                self.after(BEAT, Event::Beat { node });
            }
            Event::BeatExecute { node, sent, lost } => {
                let (nodes, last) = self.redis.beat(node, self.now, GONE);
                let view = View { sent, stamp: self.now, last, nodes };
                if !lost {
                    let delay = self.delay();
                    self.after(delay, Event::BeatReply { node, view });
                }
            }
            Event::BeatReply { node, view } => self.see(node, view),
            Event::Sweep { node } => {
                self.sweep(node, false);
                self.after(SWEEP, Event::Sweep { node });
            }
            Event::GiveBack { key, amount, epoch_ms, lost } => {
                self.ledgers[key].on_its_way -= amount as i64;
                if !lost {
                    let back = self.redis.give_back(key, amount, epoch_ms, self.now);
                    self.ledgers[key].debited -= back as i64;
                    self.tally.given_back += back;
                }
            }
            Event::Burst => self.burst(),
            Event::Trouble => self.trouble(),
            Event::Leave { node } => {
                self.nodes[node].leases.close();
                self.sweep(node, true);
                self.nodes[node].running = false;
                // What it gave back has arrived before it is forgotten.
                self.after(RETURN.as_micros() as u64, Event::Gone { node });
            }
            Event::Gone { node } => self.redis.leave(node),
        }
    }

    // --- What nodes do ---------------------------------------------------------------------

    fn join(&mut self) {
        let node = self.nodes.len();
        self.nodes.push(Node {
            leases: Leases::with_capacity(8, 0, &METRICS),
            offset: self.random.u64(60_000 * MS..600_000_000 * MS),
            drift: self.random.u64(0..500),
            frozen_until: 0,
            running: true,
            known_since: u64::MAX,
            view: None,
            held: vec![(0, Tick::default()); self.takes.len()],
        });
        let phase = self.random.u64(0..SWEEP);
        self.after(0, Event::Beat { node });
        self.after(phase, Event::Sweep { node });
    }

    /// What `Fleet` does with the answer to a heartbeat.
    fn see(&mut self, node: usize, mut view: View) {
        let node = &mut self.nodes[node];
        let unbroken = node.view.is_some_and(|before| Some(before.stamp) == view.last);
        if !unbroken {
            node.known_since = node.clock(self.now);
        }
        if self.flaw == Flaw::HalfTheFleet {
            view.nodes = view.nodes.div_ceil(2);
        }
        node.view = Some(view);
    }

    fn lenders(&self, node: usize) -> Option<u32> {
        let node = &self.nodes[node];
        let (clock, view) = (node.clock(self.now), node.view?);
        let known = if self.flaw == Flaw::LendsAtOnce { 0 } else { KNOWN };
        let long_known = view.sent.saturating_sub(node.known_since) >= known;
        (long_known && clock.saturating_sub(view.sent) < FRESH).then_some(view.nodes)
    }

    /// What `Limiter::take` does.
    fn request(&mut self, node: usize, keys: u8) {
        let keys: Vec<usize> = (0..self.takes.len()).filter(|key| keys >> key & 1 == 1).collect();
        let takes: Vec<Take> = keys.iter().map(|key| self.takes[*key].clone()).collect();
        let now = self.nodes[node].tick(self.now);
        let spent = self.nodes[node].leases.spend(&takes, now);
        let mut call = Call {
            node,
            fetch: false,
            held: Vec::new(),
            asks: Vec::new(),
            at: now,
            sent: self.now,
            advance: None,
            over: false,
        };
        for ((key, take), reply) in keys.iter().zip(&takes).zip(&spent.replies) {
            if reply.is_some() {
                self.ledgers[*key].admit(take.cost as i64, self.now, self.now);
                call.held.push(*key);
            } else {
                let ask = self.ask(node, *key, take.cost);
                call.asks.push((*key, ask));
            }
        }
        if call.asks.is_empty() {
            self.tally.admitted += 1;
            self.tally.leased += 1;
            if let Some(low) = spent.low {
                self.fetch(node, keys[low]);
            }
            return;
        }
        self.send(call);
    }

    /// What `Shared::ask` does.
    fn ask(&mut self, node: usize, key: usize, cost: u64) -> Ask {
        let exact = Ask { cost, want: cost, share: 1, shadow: false };
        let Some(lenders) = self.lenders(node) else { return exact };
        let take = self.takes[key].clone();
        let most = take.tier().lease / u64::from(lenders);
        if most < 2 {
            return exact;
        }
        let now = self.nodes[node].tick(self.now);
        let (advance, due) = self.nodes[node].leases.ask(&take, cost, now, most);
        if let Some(due) = due {
            self.settle(due);
        }
        Ask { want: cost + advance, share: 2 * u64::from(lenders), ..exact }
    }

    fn fetch(&mut self, node: usize, key: usize) {
        let ask = self.ask(node, key, 0);
        if ask.want > 0 {
            let at = self.nodes[node].tick(self.now);
            self.send(Call {
                node,
                fetch: true,
                held: Vec::new(),
                asks: vec![(key, ask)],
                at,
                sent: self.now,
                advance: None,
                over: false,
            });
        }
    }

    fn send(&mut self, call: Call) {
        let number = self.calls.len();
        self.calls.push(call);
        self.after(TIMEOUT, Event::Timeout { call: number });
        if self.chance(2) {
            self.tally.lost += 1;
            return;
        }
        let delay = self.delay();
        // A connection that broke: Redis may have done it already, and does it again.
        let twice = self.chance(2);
        self.after(delay, Event::Execute { call: number, answers: !twice });
        if twice {
            let again = delay + self.delay();
            self.tally.twice += 1;
            self.after(again, Event::Execute { call: number, answers: true });
        }
    }

    fn execute(&mut self, number: usize, answers: bool) {
        let asks = self.calls[number].asks.clone();
        let replies = self.redis.take(&asks, self.now);
        for ((key, ask), reply) in asks.iter().zip(&replies) {
            self.ledgers[*key].debited += reply.taken as i64;
            if reply.taken > 0 {
                self.ledgers[*key].admit(ask.cost as i64, self.now, self.now);
            }
        }
        if !answers || self.chance(2) {
            self.tally.lost += 1;
            return;
        }
        if !self.calls[number].over {
            let advance =
                |((_, ask), reply): (&(usize, Ask), &Reply)| reply.taken.saturating_sub(ask.cost);
            let advance: Vec<u64> = asks.iter().zip(&replies).map(advance).collect();
            for ((key, _), advance) in asks.iter().zip(&advance) {
                self.ledgers[*key].on_its_way += *advance as i64;
            }
            if advance.iter().any(|advance| *advance > 0) {
                let dead = self.calls[number].sent + (LIFE + LATE).as_micros() as u64;
                self.after(dead.saturating_sub(self.now), Event::Dead { call: number });
            }
            self.calls[number].advance = Some(advance);
        }
        let delay = self.delay();
        self.after(delay, Event::Reply { call: number, replies });
    }

    /// The call is over; what Redis gave in advance is lost, or in the hands of the node.
    fn land(&mut self, number: usize) {
        self.calls[number].over = true;
        self.bury(number);
    }

    /// What Redis gave in advance is not on its way any more, or so late that it cannot be spent.
    fn bury(&mut self, number: usize) {
        let call = &mut self.calls[number];
        for ((key, _), advance) in call.asks.iter().zip(call.advance.take().into_iter().flatten()) {
            self.ledgers[*key].on_its_way -= advance as i64;
        }
    }

    fn lose(&mut self, number: usize) {
        if !self.calls[number].over {
            self.land(number);
        }
    }

    fn reply(&mut self, number: usize, replies: &[Reply]) {
        if self.calls[number].over {
            self.tally.late += 1;
            return;
        }
        self.land(number);
        let call = &self.calls[number];
        let node = &self.nodes[call.node];
        for ((key, ask), reply) in call.asks.iter().zip(replies) {
            if ask.want > ask.cost {
                node.leases.granted(&self.takes[*key], ask.cost, reply);
            }
            node.leases.told(&self.takes[*key], *reply, call.at, ask.want > ask.cost);
        }
        if call.fetch {
            return;
        }
        let passes = replies.iter().all(|reply| reply.allowed);
        self.decide(number, passes);
    }

    fn timeout(&mut self, number: usize) {
        if self.calls[number].over {
            return;
        }
        self.land(number);
        let call = &self.calls[number];
        for (key, ask) in &call.asks {
            if ask.want > ask.cost {
                self.nodes[call.node].leases.failed(&self.takes[*key]);
            }
        }
        if !call.fetch {
            self.decide(number, false);
        }
    }

    /// The end of a request that had to call.
    fn decide(&mut self, number: usize, passes: bool) {
        let call = &self.calls[number];
        for key in &call.held {
            let take = &self.takes[*key];
            let leases = &self.nodes[call.node].leases;
            if passes {
                leases.keep(take);
                continue;
            }
            leases.put_back(take);
            self.tally.put_back += 1;
            if self.flaw != Flaw::SpendsTwice {
                self.ledgers[*key].admit(-(take.cost as i64), call.sent, self.now);
            }
        }
        let count = if passes { &mut self.tally.admitted } else { &mut self.tally.refused };
        *count += 1;
    }

    fn sweep(&mut self, node: usize, everything: bool) {
        let (mut dues, now) = (Vec::new(), self.nodes[node].tick(self.now));
        self.nodes[node].leases.sweep(now, everything, |due| dues.push(due));
        // The order in a map is another one each time; a seed is one history.
        let key = |due: &Due| match due {
            Due::GiveBack { take, .. } | Due::Charge { take, .. } | Due::Release { take, .. } => {
                take.key
            }
        };
        dues.sort_by_key(key);
        for due in dues {
            self.settle(due);
        }
    }

    /// What the upkeep does with it: one try, not later than it may.
    fn settle(&mut self, due: Due) {
        let Due::GiveBack { take, amount, epoch_ms, .. } = due else { return };
        let key = self.takes.iter().position(|known| known.key == take.key).unwrap();
        let delay = self.random.u64(100..RETURN.as_micros() as u64 * 9 / 10);
        let lost = self.chance(10);
        self.ledgers[key].on_its_way += amount as i64;
        self.after(delay, Event::GiveBack { key, amount, epoch_ms, lost });
        if self.flaw == Flaw::GivesBackTwice {
            self.ledgers[key].on_its_way += amount as i64;
            self.after(delay, Event::GiveBack { key, amount, epoch_ms, lost });
        }
    }

    /// Notes what a node holds, for the checker.
    fn look_at(&mut self, node: usize) {
        let node = &mut self.nodes[node];
        for (held, take) in node.held.iter_mut().zip(&self.takes) {
            let (tokens, until) = node.leases.held(&take.key);
            *held = (tokens as i64, until);
        }
    }

    // --- What comes from outside ----------------------------------------------------------

    /// Requests of one kind at one node, and when the next come.
    fn burst(&mut self) {
        let running: Vec<usize> =
            (0..self.nodes.len()).filter(|node| self.nodes[*node].running).collect();
        let keys = [1, 1, 2, 2, 4, 4, 3, 5, 6, 7][self.random.usize(0..10)];
        // Sometimes everybody comes at once: then every node holds as much as it may.
        let all = self.chance(25);
        let chosen = self.random.usize(0..running.len().max(1));
        for (n, node) in running.into_iter().enumerate() {
            if all || n == chosen {
                let (count, gap) = (self.random.u64(1..40), self.random.u64(1..12 * MS));
                for n in 0..count {
                    self.after(n * gap, Event::Request { node, keys });
                }
            }
        }
        let pause = self.random.u64(0..1_800 * MS);
        self.after(pause, Event::Burst);
    }

    fn trouble(&mut self) {
        let node = self.random.usize(0..self.nodes.len());
        match self.random.u32(0..20) {
            0..5 => {
                let span = self.random.u64(50 * MS..9_000 * MS);
                self.nodes[node].frozen_until = self.now + span;
                self.tally.frozen += 1;
            }
            5..7 if self.nodes[node].running => {
                self.nodes[node].running = false;
                self.tally.crashed += 1;
            }
            7..9 => self.after(0, Event::Leave { node }),
            9..14 if self.nodes.len() < 12 => {
                self.join();
                self.tally.joined += 1;
            }
            14..16 => {
                let since = self.now.saturating_sub(self.random.u64(0..500 * MS));
                for (ledger, lost) in self.ledgers.iter_mut().zip(self.redis.fail_over(since)) {
                    ledger.forgotten += lost as i64;
                    self.tally.forgotten += lost;
                }
            }
            _ => {}
        }
        let pause = self.random.u64(0..1_500 * MS);
        self.after(pause, Event::Trouble);
    }
}
