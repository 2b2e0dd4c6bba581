use std::sync::Arc;

use super::super::meters::Reason;
use super::super::record::Record;
use super::{GHOSTS_MIN, Queues};

/// Queues of a store of a hundred bytes, with entries of one byte each.
const CAPACITY: u64 = 100;

fn record() -> Arc<Record> {
    Arc::new(Record::new([0; 32], 0))
}

fn key(number: u64) -> [u8; 16] {
    let [mut key, half] = [[0; 16], [0; 16]];
    key[..8].copy_from_slice(&number.to_le_bytes());
    key[8..].copy_from_slice(&half[8..]);
    key
}

fn push(queues: &mut Queues, number: u64, uses: u8) -> Arc<Record> {
    let record = record();
    record.set_uses(uses);
    queues.push(key(number), Arc::clone(&record), 1);
    record
}

fn victim(queues: &mut Queues) -> Option<u64> {
    let (slot, reason) = queues.victim(CAPACITY, 0)?;
    assert_eq!(reason, Reason::Room);
    slot.record.leave();
    Some(u64::from_le_bytes(slot.key[..8].try_into().unwrap()))
}

#[test]
fn who_was_used_twice_stays_and_who_was_used_once_goes() {
    let mut queues = Queues::default();
    for (number, uses) in [(0, 0), (1, 1), (2, 2), (3, 3)] {
        push(&mut queues, number, uses);
    }
    assert_eq!(queues.bytes(), 4);
    let order: Vec<_> = std::iter::from_fn(|| victim(&mut queues)).collect();
    assert_eq!(order, [0, 1, 2, 3]);
    assert_eq!((queues.bytes(), queues.len()), (0, 0));
}

#[test]
fn the_main_queue_is_left_alone_while_the_small_one_is_large() {
    let mut queues = Queues::default();
    let main = push(&mut queues, 0, 2);
    for number in 1..=11 {
        push(&mut queues, number, 0);
    }
    // Eleven bytes in the small queue are a tenth of the capacity or more until two are gone.
    assert_eq!([victim(&mut queues), victim(&mut queues)], [Some(1), Some(2)]);
    assert_eq!(victim(&mut queues), Some(0), "now it is the main queue's turn");
    assert!(main.is_gone());
}

#[test]
fn a_use_in_the_main_queue_buys_another_round() {
    let mut queues = Queues::default();
    let [one, _two] = [0, 1].map(|number| push(&mut queues, number, 2));
    for number in 2..=11 {
        push(&mut queues, number, 0);
    }
    assert_eq!(victim(&mut queues), Some(2), "those two have moved on");
    one.note_use();
    assert_eq!(victim(&mut queues), Some(1));
    assert_eq!(victim(&mut queues), Some(0), "one use, one round");
}

#[test]
fn who_comes_back_soon_goes_to_the_main_queue() {
    let mut queues = Queues::default();
    push(&mut queues, 7, 0);
    assert_eq!(victim(&mut queues), Some(7));
    push(&mut queues, 7, 0);
    for number in 10..=19 {
        push(&mut queues, number, 0);
    }
    assert_eq!(victim(&mut queues), Some(10), "the one that came back is not among the new ones");

    // A ghost is forgotten in time.
    let mut queues = Queues::default();
    push(&mut queues, 7, 0);
    assert_eq!(victim(&mut queues), Some(7));
    for number in 100..100 + GHOSTS_MIN as u64 {
        push(&mut queues, number, 0);
        assert_eq!(victim(&mut queues), Some(number));
    }
    push(&mut queues, 7, 0);
    push(&mut queues, 8, 0);
    assert_eq!(victim(&mut queues), Some(7), "in the small queue like any new one");
}

#[test]
fn what_is_over_goes_whatever_its_use() {
    let mut queues = Queues::default();
    let [over, _] = [0, 1].map(|number| push(&mut queues, number, 3));
    over.set_over(5);
    let (first, reason) = queues.victim(CAPACITY, 6).unwrap();
    assert_eq!((first.key, reason), (key(0), Reason::Over));
    let mut fresh = Queues::default();
    push(&mut fresh, 0, 0).set_over(5);
    assert_eq!(fresh.victim(CAPACITY, 5).unwrap().1, Reason::Room, "until the second is over");
}

#[test]
fn who_is_forgotten_leaves_no_weight_and_few_places() {
    let mut queues = Queues::default();
    let keeper = push(&mut queues, 0, 0);
    for number in 1..10_000 {
        let record = push(&mut queues, number, 0);
        record.leave();
        queues.forget(&record);
        assert_eq!(queues.bytes(), 1);
        assert!(queues.len() < 200, "{}", queues.len());
    }
    queues.weigh(&keeper, 5);
    assert_eq!(queues.bytes(), 5);
    assert_eq!(victim(&mut queues), Some(0));
    assert_eq!((victim(&mut queues), queues.bytes()), (None, 0));

    let gone = record();
    gone.leave();
    queues.push(key(1), gone, 1);
    assert_eq!(queues.len(), 0, "who left before it came in does not come in");
}
