use super::*;

fn at(ms: u64) -> Tick {
    Tick::from_nanos(ms * 1_000_000)
}

/// A Redis whose clock and answers the test decides.
struct Set {
    nodes: u32,
    last_ms: Option<u64>,
}

impl Set {
    /// A heartbeat that is executed, and answered without delay, at `ms` by all clocks.
    fn beat(&mut self, fleet: &Fleet, ms: u64) {
        let answer = Answer { nodes: self.nodes, now_ms: ms, last_ms: self.last_ms };
        self.last_ms = Some(ms);
        fleet.note(answer, at(ms), at(ms));
    }
}

/// A node that has been known since 0 and lends, among three.
fn lending() -> (Fleet, Set) {
    let (fleet, mut set) = (Fleet::new(1), Set { nodes: 3, last_ms: None });
    for ms in (0..6_500).step_by(1_000).chain([6_500]) {
        set.beat(&fleet, ms);
    }
    assert_eq!(fleet.lenders(at(6_500)), Some(3));
    (fleet, set)
}

#[test]
fn a_node_lends_once_it_has_been_known_for_long_enough() {
    let (fleet, mut set) = (Fleet::new(1), Set { nodes: 3, last_ms: None });
    for ms in (0..6_000).step_by(1_000).chain([6_499]) {
        assert_eq!(fleet.lenders(at(ms)), None);
        set.beat(&fleet, ms);
    }
    assert_eq!(fleet.lenders(at(6_499)), None);
    set.beat(&fleet, 6_500);
    assert_eq!(fleet.lenders(at(6_500)), Some(3));
}

#[test]
fn a_view_counts_from_before_it_was_asked_for() {
    let (fleet, set) = lending();
    assert_eq!(fleet.lenders(at(8_999)), Some(3));
    assert_eq!(fleet.lenders(at(9_000)), None);
    assert_eq!(fleet.nodes(), 3, "kept while Redis is away");
    let answer = Answer { nodes: 4, now_ms: 8_000, last_ms: set.last_ms };
    fleet.note(answer, at(7_500), at(13_000));
    assert_eq!(fleet.lenders(at(9_999)), Some(4));
    assert_eq!(fleet.lenders(at(10_000)), None, "by when it was sent, not answered");
}

#[test]
fn a_node_that_was_unknown_for_a_moment_starts_anew() {
    let (fleet, mut set) = lending();
    // FLUSHALL, or a primary that had not heard of it.
    set.last_ms = None;
    set.nodes = 1;
    set.beat(&fleet, 7_000);
    assert_eq!(fleet.lenders(at(7_000)), None);
    assert_eq!(fleet.nodes(), 3, "the others have not come round yet");
    for ms in (8_000..=13_000).step_by(1_000).chain([13_499]) {
        set.beat(&fleet, ms);
        assert_eq!(fleet.lenders(at(ms)), None);
    }
    set.beat(&fleet, 13_500);
    assert_eq!(fleet.lenders(at(13_500)), Some(1));
    assert_eq!(fleet.nodes(), 1);
}

#[test]
fn a_heartbeat_whose_answer_was_lost_cannot_hide_a_gap() {
    let (fleet, mut set) = lending();
    // Redis forgot the node, executed a heartbeat, and the answer to that was lost.
    set.last_ms = Some(7_000);
    set.beat(&fleet, 7_500);
    assert_eq!(fleet.lenders(at(7_500)), None);
    // One that never arrived hides nothing.
    let (fleet, mut set) = lending();
    set.beat(&fleet, 8_500);
    assert_eq!(fleet.lenders(at(8_500)), Some(3));
}

#[test]
fn a_clock_that_jumps_ends_the_series() {
    for (ahead, lends) in [(1_000, true), (1_001, false)] {
        let (fleet, set) = lending();
        let answer = Answer { nodes: 3, now_ms: 7_000 + ahead, last_ms: set.last_ms };
        fleet.note(answer, at(7_000), at(7_000));
        assert_eq!(fleet.lenders(at(7_000)).is_some(), lends);
    }
    let (fleet, set) = lending();
    let back = Answer { nodes: 3, now_ms: 10, last_ms: set.last_ms };
    fleet.note(back, at(7_000), at(7_000));
    assert_eq!(fleet.lenders(at(7_000)), Some(3), "backwards nobody is removed");
}

#[test]
fn who_has_left_never_lends_again() {
    let (fleet, mut set) = lending();
    fleet.close();
    assert_eq!(fleet.lenders(at(6_600)), None);
    set.beat(&fleet, 7_000);
    assert_eq!(fleet.lenders(at(7_000)), None);
}

#[test]
fn before_redis_has_said_anything_the_configuration_counts() {
    assert_eq!(Fleet::new(4).nodes(), 4);
    assert_eq!(Fleet::new(0).nodes(), 1);
    let fleet = Fleet::new(4);
    let mut set = Set { nodes: 1, last_ms: None };
    set.beat(&fleet, 0);
    assert_eq!(fleet.nodes(), 4, "the others may just be starting too");
    for ms in (1_000..=7_000).step_by(1_000) {
        set.beat(&fleet, ms);
    }
    assert_eq!(fleet.nodes(), 1);
}

/// The claim of `lenders`, over random histories of four nodes and one Redis that loses its set,
/// loses answers, delays them and jumps.
#[test]
fn whoever_lends_counts_everybody_who_does() {
    let seed = std::env::var("TIDEGATE_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = seed.unwrap_or_else(|| fastrand::u64(..));
    println!("TIDEGATE_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut lent = 0;
    for _ in 0..300 {
        lent += history(&mut random);
    }
    assert!(lent > 1_000, "the histories must have lenders to say anything: {lent}");
}

/// When an answer is due, when its heartbeat was sent, what it says, and whom it counted.
type OnItsWay = (u64, u64, Answer, Vec<usize>);

/// One minute of four nodes; returns how often two lent at once.
fn history(random: &mut fastrand::Rng) -> usize {
    use std::collections::BTreeMap;
    let fleets: Vec<Fleet> = (0..4).map(|_| Fleet::new(1)).collect();
    let mut views: Vec<Vec<usize>> = vec![Vec::new(); 4];
    // By which views each lent, and when last.
    let mut lent: Vec<Vec<(u64, Vec<usize>)>> = vec![Vec::new(); 4];
    let mut pending: Vec<Option<OnItsWay>> = vec![None; 4];
    let mut next: Vec<u64> = (0..4).map(|_| random.u64(0..20_000)).collect();
    let mut set: BTreeMap<usize, u64> = BTreeMap::new();
    let (mut jump, mut set_at, mut both) = (1_000_000_u64, 0, 0);
    for ms in (0..60_000).step_by(10) {
        match random.u32(0..2_000) {
            0 => set.clear(),
            // Back and forth within a few seconds is more than the claim allows.
            1 | 2 if ms < set_at + 15_000 => {}
            1 => (jump, set_at) = (jump + random.u64(0..15_000), ms),
            2 => (jump, set_at) = (jump - random.u64(0..15_000), ms),
            _ => {}
        }
        for node in 0..4 {
            if let Some((due, sent, answer, counted)) = pending[node].clone()
                && due <= ms
            {
                pending[node] = None;
                fleets[node].note(answer, at(sent), at(ms));
                views[node] = counted;
            }
            if next[node] <= ms && pending[node].is_none() {
                next[node] = ms + 1_000;
                if random.u32(0..8) == 0 {
                    next[node] += random.u64(0..12_000);
                }
                let now_ms = ms + jump;
                set.retain(|_, score| *score + GONE_MS >= now_ms);
                let last_ms = set.insert(node, now_ms);
                let counted: Vec<usize> = set.keys().copied().collect();
                let nodes = u32::try_from(counted.len()).unwrap();
                let answer = Answer { nodes, now_ms, last_ms };
                if random.u32(0..10) > 0 {
                    let late = if random.u32(0..5) == 0 { random.u64(0..1_000) } else { 0 };
                    pending[node] = Some((ms + late, ms, answer, counted));
                }
            }
        }
        let lenders: Vec<usize> =
            (0..4).filter(|node| fleets[*node].lenders(at(ms)).is_some()).collect();
        for x in &lenders {
            let nodes = fleets[*x].lenders(at(ms)).unwrap() as usize;
            assert_eq!(nodes, views[*x].len());
            lent[*x].retain(|(_, view)| *view != views[*x]);
            lent[*x].push((ms, views[*x].clone()));
        }
        for (x, lent) in lent.iter_mut().enumerate() {
            lent.retain(|(last, _)| at(ms) < at(*last).plus(HELD_MAX));
            for y in &lenders {
                let seen = lent.iter().all(|(_, view)| view.contains(y));
                assert!(seen, "{x} holds something at {ms} and did not count {y}, which lends");
                let seen = lent.is_empty() || views[*y].contains(&x);
                assert!(seen, "{y} lends at {ms} and does not count {x}, which holds something");
            }
        }
        both += usize::from(lenders.len() > 1);
    }
    both
}
