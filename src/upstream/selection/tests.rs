use std::collections::HashMap;
use std::sync::Arc;

use super::ketama::Rings;
use super::sample::Sampler;
use super::turns::Turns;
use super::{Candidates, mix};
use crate::upstream::Instance;
use crate::upstream::health::WHOLE;

/// Endpoints with these shares and so many requests each.
struct Fixed(Vec<u32>, Vec<u32>);

impl Candidates for Fixed {
    fn share(&self, place: usize) -> u32 {
        self.0[place]
    }

    fn in_flight(&self, place: usize) -> u32 {
        self.1[place]
    }
}

fn idle(shares: &[u32]) -> Fixed {
    Fixed(shares.to_vec(), vec![0; shares.len()])
}

fn all(count: usize) -> Fixed {
    idle(&vec![WHOLE; count])
}

fn count(picks: u64, places: usize, mut pick: impl FnMut(u64) -> Option<usize>) -> Vec<u64> {
    let mut counts = vec![0; places];
    for number in 0..picks {
        counts[pick(number).unwrap()] += 1;
    }
    counts
}

/// A count as a number that can be divided; counts here are small.
fn real(count: u64) -> f64 {
    f64::from(u32::try_from(count).unwrap())
}

/// Pearson's statistic of counts against weights.
fn chi_square(counts: &[u64], weights: &[u32]) -> f64 {
    let picks: f64 = counts.iter().map(|count| real(*count)).sum();
    let sum: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
    let each = counts.iter().zip(weights).filter(|(_, weight)| **weight > 0);
    each.map(|(count, weight)| {
        let expected = picks * f64::from(*weight) / sum;
        (real(*count) - expected).powi(2) / expected
    })
    .sum()
}

/// Weights, and the statistic that chance passes once in a thousand times, by degrees of freedom.
const WEIGHTS: [(&[u32], f64); 5] = [
    (&[95, 5], 10.828),
    (&[1, 0, 1, 1], 13.816),
    (&[90, 10, 0, 33], 13.816),
    (&[10_000, 1, 7], 13.816),
    (&[3, 5, 7, 11, 13, 17, 19, 23], 24.322),
];

/// R040.
#[test]
fn a_million_picks_match_the_weights() {
    for (weights, limit) in WEIGHTS {
        let from = all(weights.len());
        let turns = Turns::new(weights, 0);
        let in_turn = count(1_000_000, weights.len(), |n| turns.next(n, &from));
        let sampler = Sampler::new(weights);
        let at_random =
            count(1_000_000, weights.len(), |n| sampler.sample(mix(42, n), &from, None));
        for counts in [in_turn, at_random] {
            let statistic = chi_square(&counts, weights);
            assert!(statistic < limit, "{weights:?}: {counts:?}, {statistic}");
            for (count, weight) in counts.iter().zip(weights) {
                assert_eq!(*count == 0, *weight == 0, "{weights:?}: {counts:?}");
            }
        }
    }
}

#[test]
fn the_test_of_weights_can_fail() {
    assert!(chi_square(&[949_000, 51_000], &[95, 5]) > 10.828);
}

#[test]
fn turns_are_interleaved_and_not_in_bursts() {
    let longest = |weights: &[u32], of: usize| {
        let turns = Turns::new(weights, 0);
        let picks: Vec<_> = (0..10_000).map(|_| turns.next(0, &all(weights.len()))).collect();
        picks.split(|place| *place != Some(of)).map(<[_]>::len).max().unwrap()
    };
    assert_eq!(longest(&[1, 1, 1], 0), 1);
    assert!(longest(&[50, 50, 1], 0) <= 2);
    assert!(longest(&[5, 1, 1], 0) <= 3);
    assert!(longest(&[2000, 1000, 1], 0) <= 5, "without a table too");
}

#[test]
fn any_number_of_turns_in_a_row_is_near_its_share() {
    for weights in [&[5, 3, 2][..], &[4000, 2400, 1600, 1]] {
        let turns = Turns::new(weights, 0);
        let sum: u32 = weights.iter().sum();
        let mut counts = vec![0_f64; weights.len()];
        for number in 1..5_000_u32 {
            counts[turns.next(0, &all(weights.len())).unwrap()] += 1.0;
            for (count, weight) in counts.iter().zip(weights) {
                let due = f64::from(number) * f64::from(*weight) / f64::from(sum);
                assert!((count - due).abs() < 3.0, "{weights:?} after {number}: {counts:?}");
            }
        }
    }
}

#[test]
fn the_share_of_one_that_is_out_goes_to_the_others_by_weight() {
    let out = idle(&[WHOLE, 0, WHOLE]);
    let turns = Turns::new(&[1, 1, 1], 0);
    assert_eq!(count(30_000, 3, |n| turns.next(n, &out)), [15_000, 0, 15_000]);
    let turns = Turns::new(&[2, 3, 1], 0);
    assert_eq!(count(30_000, 3, |n| turns.next(n, &out)), [20_000, 0, 10_000]);
    let sampler = Sampler::new(&[2, 3, 1]);
    let counts = count(300_000, 3, |n| sampler.sample(mix(7, n), &out, None));
    assert_eq!(counts[1], 0);
    assert!(chi_square(&[counts[0], counts[2]], &[2, 1]) < 10.828, "{counts:?}");
}

#[test]
fn a_growing_share_takes_its_part() {
    let growing = idle(&[WHOLE, WHOLE / 4]);
    let near = |counts: &[u64]| {
        let part = real(counts[1]) / real(counts[0] + counts[1]);
        assert!((part - 0.2).abs() < 0.005, "{counts:?}");
    };
    let turns = Turns::new(&[1, 1], 0);
    near(&count(200_000, 2, |n| turns.next(mix(5, n), &growing)));
    let sampler = Sampler::new(&[1, 1]);
    near(&count(200_000, 2, |n| sampler.sample(mix(5, n), &growing, None)));
}

#[test]
fn the_last_one_left_is_found_however_many_are_out() {
    for last in [0, 63, 64, 65, 998, 999] {
        let mut shares = vec![0; 1000];
        shares[last] = 1;
        let from = idle(&shares);
        let weights = vec![1; 1000];
        let (turns, sampler) = (Turns::new(&weights, 0), Sampler::new(&weights));
        let ring = Rings::default().of(&instances(1000));
        for number in 0..10 {
            assert_eq!(turns.next(number, &from), Some(last));
            assert_eq!(sampler.sample(number, &from, None), Some(last));
            assert_eq!(sampler.less_busy(number, &from), Some(last));
        }
        assert_eq!(ring.find(1, &from), Some(last));
    }
}

#[test]
fn nothing_eligible_is_none() {
    for weights in [&[][..], &[0, 0], &[1, 1]] {
        let from = idle(&vec![0; weights.len()]);
        assert_eq!(Turns::new(weights, 3).next(1, &from), None);
        assert_eq!(Sampler::new(weights).sample(1, &from, None), None);
        assert_eq!(Sampler::new(weights).less_busy(1, &from), None);
    }
    assert_eq!(Rings::default().of(&[]).find(1, &idle(&[])), None);
}

#[test]
fn of_two_the_less_busy_is_taken_for_its_weight() {
    let sampler = Sampler::new(&[1, 1]);
    let busy = Fixed(vec![WHOLE; 2], vec![1, 0]);
    assert_eq!(count(1000, 2, |n| sampler.less_busy(mix(1, n), &busy)), [0, 1000]);
    let sampler = Sampler::new(&[10, 1]);
    let five_to_one = Fixed(vec![WHOLE; 2], vec![5, 1]);
    assert_eq!(count(1000, 2, |n| sampler.less_busy(mix(1, n), &five_to_one)), [1000, 0]);
    let counts = count(100_000, 2, |n| sampler.less_busy(mix(1, n), &all(2)));
    assert!(chi_square(&counts, &[10, 1]) < 10.828, "idle ones by weight: {counts:?}");
}

type Pick = Box<dyn Fn(u64, &Fixed) -> usize>;

/// Requests that each last for as long as a thousand others take to come: the busiest of a
/// hundred endpoints has few more than the average.
#[test]
fn two_choices_keep_the_busiest_near_the_average() {
    let most = |pick: Pick| {
        let mut from = all(100);
        let mut running = std::collections::VecDeque::new();
        let mut most = 0;
        for number in 0..50_000 {
            let place = pick(number, &from);
            from.1[place] += 1;
            most = most.max(from.1[place]);
            running.push_back(place);
            if running.len() > 1000 {
                from.1[running.pop_front().unwrap()] -= 1;
            }
        }
        most
    };
    let sampler = || Sampler::new(&[1; 100]);
    let (two, one) = (sampler(), sampler());
    let two = most(Box::new(move |n, from| two.less_busy(mix(9, n), from).unwrap()));
    let one = most(Box::new(move |n, from| one.sample(mix(9, n), from, None).unwrap()));
    assert!(two <= 14 && one >= 20, "the average is 10: {two} and {one}");
}

fn instances(count: usize) -> Vec<Instance> {
    (0..count)
        .map(|number| Instance {
            address: format!("10.0.{}.{}:80", number / 256, number % 256).parse().unwrap(),
            host: "orders".into(),
            weight: 1,
        })
        .collect()
}

#[test]
fn removing_an_endpoint_moves_its_keys_and_no_others() {
    let ten = instances(10);
    let mut nine = ten.clone();
    let gone = nine.remove(3).address;
    let (before, after) = (Rings::default().of(&ten), Rings::default().of(&nine));
    let mut counts: HashMap<_, u32> = HashMap::new();
    for key in 0..100_000 {
        let was = ten[before.find(mix(1, key), &all(10)).unwrap()].address;
        let is = nine[after.find(mix(1, key), &all(9)).unwrap()].address;
        *counts.entry(was).or_default() += 1;
        assert!(is == was || was == gone, "{key} moved from {was} to {is}");
    }
    let (least, most) = (counts.values().min().unwrap(), counts.values().max().unwrap());
    assert!(*least > 6_500 && *most < 14_000, "{counts:?}");
}

#[test]
fn keys_of_one_that_is_out_go_where_they_would_without_it() {
    let ten = instances(10);
    let mut nine = ten.clone();
    nine.remove(3);
    let (ring, without) = (Rings::default().of(&ten), Rings::default().of(&nine));
    let mut shares = vec![WHOLE; 10];
    shares[3] = 0;
    for key in 0..10_000 {
        let is = ten[ring.find(mix(1, key), &idle(&shares)).unwrap()].address;
        assert_eq!(is, nine[without.find(mix(1, key), &all(9)).unwrap()].address);
    }
}

#[test]
fn weights_count_on_the_ring_however_large() {
    let mut three = instances(3);
    (three[0].weight, three[1].weight, three[2].weight) = (90_000, 30_000, 0);
    let ring = Rings::default().of(&three);
    let counts = count(100_000, 3, |n| ring.find(mix(1, n), &all(3)));
    assert_eq!(counts[2], 0);
    assert!((70_000..80_000).contains(&counts[0]), "{counts:?}");
}

#[test]
fn the_same_endpoints_have_one_ring() {
    let rings = Rings::default();
    let one = rings.of(&instances(3));
    assert!(Arc::ptr_eq(&one, &rings.of(&instances(3))));
    assert!(!Arc::ptr_eq(&one, &rings.of(&instances(4))));
}
