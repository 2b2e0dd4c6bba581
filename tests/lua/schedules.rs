//! The scripts against the sums, step by step over random schedules with a given clock.

use std::fmt::Write as _;

use redis::aio::MultiplexedConnection;
use redis::{Cmd, Value};
use tidegate::limit::math::{Algorithm, Ask, Counter, EXACT_MAX, Numbers, Reply, Standing, State};
use tidegate::limit::script;
use tidegate_kit::Redis;

use crate::support::{
    START_US, bucket, connect, eval, peek, random, replies, server, take_command, window,
    with_counter,
};

/// Steps of a schedule, and what may come of a take.
#[derive(Debug, Default)]
struct Tally {
    allowed: u32,
    refused: u32,
    shadowed: u32,
    in_advance: u32,
    charged: u32,
    given_back: u32,
    released: u32,
    renewed: u32,
}

/// Counters of a schedule, once as sums and once in Redis, and what is done to both.
struct Both {
    _server: Redis,
    connection: MultiplexedConnection,
    tally: Tally,
    calls: u64,
}

/// One counter: its key, what it allows and what the sums have stored.
#[derive(Clone, Debug)]
struct Tracked {
    key: String,
    numbers: Numbers,
    state: Option<State>,
    /// Calls that took, how much and in which window.
    taken: Vec<(u64, u64, u64)>,
}

impl Tracked {
    fn open(&self, now_us: u64) -> Counter {
        Counter::open(self.numbers, self.state.clone(), now_us)
    }
}

impl Both {
    async fn start() -> Self {
        let server = server().await;
        let connection = connect(&server).await;
        Self { _server: server, connection, tally: Tally::default(), calls: 0 }
    }

    /// Runs a call and looks at the lives that it gave to `keys`, all at one instant of the
    /// server's clock. Then these live on: their clock is that of the test. The call's reply, and
    /// for each key its time to live.
    async fn run(&mut self, command: &Cmd, keys: &[String]) -> (Value, Vec<i64>) {
        let mut pipe = redis::pipe();
        pipe.atomic().add_command(command.clone());
        for key in keys {
            pipe.cmd("PTTL").arg(key).cmd("PERSIST").arg(key).ignore();
        }
        let values: Vec<Value> = pipe.query_async(&mut self.connection).await.unwrap();
        let mut values = values.into_iter();
        let reply = values.next().unwrap();
        (reply, values.map(|ttl| redis::from_redis_value(ttl).unwrap()).collect())
    }

    async fn number(&mut self, command: &Cmd, key: &str) -> (u64, i64) {
        let (reply, lives) = self.run(command, &[key.to_owned()]).await;
        (redis::from_redis_value(reply).unwrap(), lives[0])
    }

    /// What Redis holds, in the form of [`texts`].
    async fn stored(&mut self, counter: &Tracked) -> Vec<String> {
        let key = &counter.key;
        if matches!(counter.numbers.algorithm, Algorithm::SlidingWindow { .. }) {
            let value: Option<Vec<u8>> =
                redis::cmd("GET").arg(key).query_async(&mut self.connection).await.unwrap();
            return value.into_iter().map(|bytes| doubles(&bytes)).collect();
        }
        if !counter.numbers.algorithm.remembers_requests() {
            let value: Option<String> =
                redis::cmd("GET").arg(key).query_async(&mut self.connection).await.unwrap();
            return value.into_iter().collect();
        }
        let mut range = redis::cmd("ZRANGE");
        range.arg(key).arg(0).arg(-1).arg("WITHSCORES");
        let entries: Vec<(String, String)> = range.query_async(&mut self.connection).await.unwrap();
        let named = matches!(counter.numbers.algorithm, Algorithm::Concurrency { .. });
        let text = |(member, score): (String, String)| {
            if named { format!("{member} {score}") } else { score }
        };
        let mut texts: Vec<_> = entries.into_iter().map(text).collect();
        texts.sort();
        texts
    }

    async fn take(&mut self, counters: &mut [Tracked], asks: &[Ask], now_us: u64) -> Vec<Reply> {
        self.calls += 1;
        let call = self.calls;
        let mut opened: Vec<Counter> = counters.iter().map(|c| c.open(now_us)).collect();
        let passes = opened
            .iter()
            .zip(asks)
            .all(|(counter, ask)| ask.shadow || counter.has_enough(ask.cost));
        let mut expected = Vec::new();
        for (counter, ask) in opened.iter_mut().zip(asks) {
            let allowed = counter.has_enough(ask.cost);
            let taken = if passes && allowed { counter.grant(*ask) } else { 0 };
            counter.take_as(call, taken);
            expected.push(counter.reply(allowed, taken, ask.cost));
            self.tally.in_advance += u32::from(taken > ask.cost);
            self.tally.shadowed += u32::from(passes && !allowed);
        }
        let rules = counters.iter().zip(asks).map(|(c, ask)| (&*c.key, c.numbers, *ask));
        let command = take_command(Some(now_us), &format!("c{call}"), &rules.collect::<Vec<_>>());
        let keys: Vec<_> = counters.iter().map(|c| c.key.clone()).collect();
        let (reply, lives) = self.run(&command, &keys).await;
        let given = replies(&redis::from_redis_value::<String>(reply).unwrap());
        let place = format!("now {now_us}, {counters:?}, {asks:?}");
        assert_eq!(given, expected, "{place}");
        for (((tracked, counter), reply), life) in
            counters.iter_mut().zip(opened).zip(&given).zip(lives)
        {
            if reply.taken > 0 {
                assert_life(&counter, life, &place);
                tracked.state = Some(counter.into_state());
                tracked.taken.push((call, reply.taken, reply.epoch_ms));
            } else {
                assert!(life < 0, "{place}: nothing is written");
            }
        }
        if passes {
            self.tally.allowed += 1;
        } else {
            self.tally.refused += 1;
        }
        given
    }

    async fn charge(&mut self, tracked: &mut Tracked, amount: u64, now_us: u64) {
        self.calls += 1;
        let mut command = eval(script::CHARGE, &[&tracked.key], Some(now_us));
        command.arg(format!("c{}", self.calls));
        with_counter(&mut command, &tracked.numbers);
        command.arg(amount);
        let mut counter = tracked.open(now_us);
        let expected = counter.charge(amount);
        let (given, life) = self.number(&command, &tracked.key).await;
        let place = format!("charge {amount} at {now_us}: {tracked:?}");
        assert_eq!(given, expected, "{place}");
        if given > 0 {
            assert!(counter.used() <= 2 * tracked.numbers.limit, "{place}");
            assert_life(&counter, life, &place);
            tracked.state = Some(counter.into_state());
            self.tally.charged += 1;
        }
    }

    async fn give_back(&mut self, tracked: &mut Tracked, amount: u64, epoch_ms: u64, now_us: u64) {
        let mut command = eval(script::GIVE_BACK, &[&tracked.key], Some(now_us));
        with_counter(&mut command, &tracked.numbers);
        command.arg(amount).arg(epoch_ms);
        let (given, _) = self.number(&command, &tracked.key).await;
        let place = format!("give back {amount} of {epoch_ms} at {now_us}: {tracked:?}");
        if tracked.state.is_none() {
            assert_eq!(given, 0, "{place}");
            return;
        }
        let mut counter = tracked.open(now_us);
        let before = counter.used();
        counter.give_back(amount, epoch_ms);
        assert_eq!(given, before - counter.used(), "{place}");
        tracked.state = Some(counter.into_state());
        self.tally.given_back += u32::from(given > 0);
    }

    async fn release(&mut self, tracked: &mut Tracked, call: u64, amount: u64) {
        let mut command = redis::cmd("EVAL");
        command.arg(script::RELEASE).arg(1).arg(&tracked.key);
        script::members(&format!("c{call}"), amount).for_each(|member| {
            command.arg(member);
        });
        // A place that nobody has renewed is free already, and stays until somebody looks.
        let mut counter = tracked.open(0);
        let expected = counter.release(call);
        let (given, _) = self.number(&command, &tracked.key).await;
        assert_eq!(given, expected, "release {call} of {tracked:?}");
        if tracked.state.is_some() {
            tracked.state = Some(counter.into_state());
        }
        self.tally.released += u32::from(given > 0);
    }

    async fn renew(&mut self, tracked: &mut Tracked, call: u64, amount: u64, now_us: u64) {
        let Algorithm::Concurrency { hold_ms } = tracked.numbers.algorithm else { return };
        let mut command = eval(script::RENEW, &[&tracked.key], Some(now_us));
        command.arg(hold_ms);
        script::members(&format!("c{call}"), amount).for_each(|member| {
            command.arg(member);
        });
        let mut counter = tracked.open(now_us);
        let held = counter.renew(call);
        let (given, life) = self.number(&command, &tracked.key).await;
        let place = format!("renew {call} of {tracked:?} at {now_us}");
        assert_eq!(given, if held { amount } else { 0 }, "{place}");
        if held {
            assert_life(&counter, life, &place);
            self.tally.renewed += 1;
        }
        if tracked.state.is_some() {
            tracked.state = Some(counter.into_state());
        }
    }

    /// Whether Redis stores what the sums store, and tells the same of it.
    async fn compare(&mut self, counters: &[Tracked], now_us: u64) {
        let keys: Vec<_> = counters.iter().map(|c| (&*c.key, c.numbers)).collect();
        let given = peek(&mut self.connection, Some(now_us), &keys).await;
        let expected: Vec<Standing> =
            counters.iter().map(|counter| counter.open(now_us).standing()).collect();
        assert_eq!(given, expected, "peek at {now_us}: {counters:?}");
        for counter in counters {
            let expected = counter.state.as_ref().map_or_else(Vec::new, texts);
            assert_eq!(self.stored(counter).await, expected, "at {now_us}: {counter:?}");
        }
    }
}

/// A key lives until its state says no more than a missing one; the test is a little late to see.
fn assert_life(counter: &Counter, life: i64, place: &str) {
    let idle = i64::try_from(counter.idle_in_ms()).unwrap();
    assert!(life <= idle && life >= (idle - 5_000).max(0), "{place}: {life} of {idle}");
}

/// Packed doubles in words.
fn doubles(bytes: &[u8]) -> String {
    let (numbers, rest) = bytes.as_chunks::<8>();
    assert!(rest.is_empty());
    let words: Vec<_> =
        numbers.iter().map(|eight| f64::from_le_bytes(*eight).to_string()).collect();
    words.join(" ")
}

/// A state as Redis stores it, the members of a set sorted.
fn texts(state: &State) -> Vec<String> {
    let mut texts = match state {
        State::Bucket { debt, at_us } => vec![format!("{debt} {at_us}")],
        State::Cells(cells) => {
            let mut text = cells.iter().map(|cell| cell.count).sum::<u64>().to_string();
            for cell in cells {
                let _ = write!(text, " {} {}", cell.index, cell.count);
            }
            vec![text]
        }
        State::Window { .. } => panic!("sketches alone count so"),
        State::Period { start_ms, current } => vec![format!("{start_ms} {current}")],
        State::Log(taken) => {
            let each = |taken: &tidegate::limit::math::Taken| {
                vec![taken.until_us.to_string(); usize::try_from(taken.amount).unwrap()]
            };
            taken.iter().flat_map(each).collect()
        }
        State::Places(held) => {
            let mut texts = Vec::new();
            for place in held {
                let call = format!("c{}", place.member);
                let members = script::members(&call, place.amount);
                texts.extend(members.map(|member| format!("{member} {}", place.until_us)));
            }
            texts
        }
    };
    texts.sort();
    texts
}

/// Numbers of any algorithm.
fn some_numbers(random: &mut fastrand::Rng) -> Numbers {
    let most = *random.choice(&[3, 30, 1_000]).unwrap();
    let limit = random.u64(1..=most);
    let window_ms = random.u64(1_000..=90_000_000);
    let algorithm = match random.u32(..7) {
        0 | 1 => {
            let units_per_us = random.u64(1..=12);
            let units_per_token = units_per_us * 60_000_000 + random.u64(0..1_000_000_000);
            Algorithm::TokenBucket { units_per_us, units_per_token }
        }
        2 => Algorithm::SlidingWindow { window_ms },
        3 => Algorithm::SlidingLog { window_ms },
        4 => Algorithm::FixedWindow { window_ms },
        5 => {
            // Reckoned by a node whose clock is right, or wrong by a period or more.
            let first = START_US / 1000 - random.u64(0..3 * window_ms);
            let length = || window_ms;
            let second = first + length() + random.u64(..1_000);
            let third = second + length() - random.u64(..900);
            Algorithm::Quota { bounds: [first, second, third, third + length()] }
        }
        _ => Algorithm::Concurrency { hold_ms: window_ms },
    };
    Numbers { limit, algorithm }
}

fn some_ask(random: &mut fastrand::Rng, numbers: &Numbers) -> Ask {
    let cost = random.u64(1..=numbers.limit.min(4));
    let want = if random.u32(..4) == 0 { cost + random.u64(0..20) } else { cost };
    // A log and places are never taken from in advance; the script could.
    let want = if numbers.algorithm.remembers_requests() { cost } else { want };
    Ask { cost, want, share: random.u64(1..=8), shadow: random.u32(..6) == 0 }
}

/// A step of the clock that meets borders as well as the middle of nowhere.
fn some_step(random: &mut fastrand::Rng, last: &[Reply]) -> i64 {
    let wait_us = last.iter().map(|reply| reply.reset_ms * 1000).max().unwrap_or(0);
    let wait = i64::try_from(wait_us).unwrap();
    match random.u32(..10) {
        0..4 => 0,
        4 => random.i64(0..2_000),
        5 => random.i64(0..60_000_000),
        6 => wait,
        7 => (wait - 1000).max(0),
        8 => wait / 2,
        _ => -random.i64(0..5_000_000),
    }
}

#[tokio::test]
async fn the_scripts_and_the_sums_agree_at_every_step() {
    // R055 to R062, R066, R067, R085, T25: every algorithm, alone and together.
    let mut random = random();
    let mut both = Both::start().await;
    for schedule in 0..80 {
        let count = random.usize(1..=4);
        let counter = |n| Tracked {
            key: format!("{schedule}:{n}"),
            numbers: some_numbers(&mut random),
            state: None,
            taken: Vec::new(),
        };
        let mut counters: Vec<Tracked> = (0..count).map(counter).collect();
        let mut now_us = START_US + random.u64(0..1_000_000_000);
        let mut last = Vec::new();
        for _ in 0..60 {
            now_us = now_us.checked_add_signed(some_step(&mut random, &last)).unwrap();
            let one = random.usize(..count);
            let limit = counters[one].numbers.limit;
            let held = random.choice(&counters[one].taken).copied();
            let action = random.u32(..10);
            let one = &mut counters[one];
            match (action, held) {
                (0, _) => both.charge(one, random.u64(1..=3 * limit), now_us).await,
                (1, Some((_, amount, epoch_ms))) => {
                    let epoch_ms = if random.u32(..5) == 0 { epoch_ms + 1 } else { epoch_ms };
                    both.give_back(one, random.u64(1..=2 * amount), epoch_ms, now_us).await;
                }
                (2, Some((call, amount, _)))
                    if matches!(one.numbers.algorithm, Algorithm::Concurrency { .. }) =>
                {
                    both.release(one, call, amount).await;
                }
                (3, Some((call, amount, _))) => both.renew(one, call, amount, now_us).await,
                _ => {
                    let asks: Vec<Ask> =
                        counters.iter().map(|c| some_ask(&mut random, &c.numbers)).collect();
                    last = both.take(&mut counters, &asks, now_us).await;
                }
            }
            both.compare(&counters, now_us).await;
        }
    }
    let Tally { allowed, refused, shadowed, in_advance, charged, given_back, released, renewed } =
        both.tally;
    assert!(allowed > 400 && refused > 400, "{:?}", both.tally);
    assert!(shadowed > 40 && in_advance > 40 && charged > 40, "{:?}", both.tally);
    assert!(given_back > 20 && released > 5 && renewed > 2, "{:?}", both.tally);
}

#[tokio::test]
async fn the_largest_numbers_are_exact() {
    let mut both = Both::start().await;
    let month = 31 * 86_400_000;
    for (n, (numbers, cost)) in [
        bucket(EXACT_MAX, EXACT_MAX / 3, 1, 1),
        bucket(EXACT_MAX / 1_000_003, EXACT_MAX / 3_000_013, 7, 1_000_003),
        bucket(1_000, 301, 1_000, EXACT_MAX / 1_000),
        window(EXACT_MAX / month, EXACT_MAX / month / 3, month),
        window(EXACT_MAX / 60_001, EXACT_MAX / 180_007, 60_001),
    ]
    .into_iter()
    .enumerate()
    {
        let mut counters =
            [Tracked { key: n.to_string(), numbers, state: None, taken: Vec::new() }];
        let before = both.tally.refused;
        for step in 0..100 {
            let now_us = START_US + step * 17_333_337;
            both.take(&mut counters, &[Ask::exactly(cost)], now_us).await;
            both.compare(&counters, now_us).await;
        }
        assert!(both.tally.refused - before > 10, "{numbers:?}");
        // A debt of the limit once more is as exact.
        let now_us = START_US + 100 * 17_333_337;
        both.charge(&mut counters[0], u64::from(u32::MAX), now_us).await;
        both.charge(&mut counters[0], 2 * EXACT_MAX, now_us).await;
        both.compare(&counters, now_us + 1).await;
    }
}
