//! The simulation: several nodes, one Redis, and whatever can go wrong between them. Each seed
//! is another history; after every step the [`checker`] compares what was admitted with what was
//! debited, and what is held with the bound. `TIDEGATE_SEED` replays one seed.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "numbers of a simulation are small"
)]

mod checker;
mod redis;
mod world;

use world::{Flaw, Tally, World};

/// Histories that a run of the tests looks at.
const SEEDS: u64 = 2_000;

/// Histories at the same time.
const THREADS: usize = 4;

/// Enough to find a rule that is broken on purpose.
const SEEDS_FLAWED: u64 = 400;

#[test]
fn the_fleet_stays_within_the_bound_whatever_happens() {
    if let Ok(seed) = std::env::var("TIDEGATE_SEED") {
        let seed = seed.parse().unwrap();
        println!("seed {seed}: {:?}", World::run(seed, Flaw::None).unwrap());
        return;
    }
    let mut sum = Tally::default();
    std::thread::scope(|scope| {
        let part = |n| (n..SEEDS).step_by(THREADS).map(|seed| (seed, World::run(seed, Flaw::None)));
        let parts: Vec<_> =
            (0..THREADS as u64).map(|n| scope.spawn(move || part(n).collect::<Vec<_>>())).collect();
        for (seed, result) in parts.into_iter().flat_map(|part| part.join().unwrap()) {
            match result {
                Ok(tally) => sum.add(&tally),
                Err(broken) => panic!("seed {seed} (TIDEGATE_SEED={seed} replays it): {broken}"),
            }
        }
    });
    println!("{SEEDS} seeds: {sum:?}");
    // A simulation in which nothing happens proves nothing.
    assert!(sum.leased * 10 > sum.admitted, "few were paid for in advance: {sum:?}");
    for (what, count) in [
        ("refused", sum.refused),
        ("given back", sum.given_back),
        ("put back", sum.put_back),
        ("lost", sum.lost),
        ("executed twice", sum.twice),
        ("late replies", sum.late),
        ("frozen", sum.frozen),
        ("crashed", sum.crashed),
        ("joined", sum.joined),
        ("forgotten", sum.forgotten),
    ] {
        assert!(count > 100, "{what}: {sum:?}");
    }
}

/// The checker is worth something: it finds each rule that is broken on purpose.
#[test]
fn a_broken_rule_is_found() {
    for flaw in [Flaw::HalfTheFleet, Flaw::LendsAtOnce, Flaw::GivesBackTwice, Flaw::SpendsTwice] {
        let found = (0..SEEDS_FLAWED).find_map(|seed| World::run(seed, flaw).err());
        println!("{flaw:?}: {found:?}");
        assert!(found.is_some(), "{flaw:?} was not noticed in {SEEDS_FLAWED} seeds");
    }
}

#[test]
fn a_seed_is_one_history() {
    for seed in [1, 17] {
        assert_eq!(World::run(seed, Flaw::None), World::run(seed, Flaw::None));
    }
}
