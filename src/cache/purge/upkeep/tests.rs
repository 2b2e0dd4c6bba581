//! What is made of replies of the log, and of purges that wait, without a Redis. With one:
//! `tests/e2e/purge.rs`.

use std::time::Duration;

use super::super::super::Note;
use super::super::desk::By;
use super::super::order::Tagged;
use super::super::table::{Verdict, fleet};
use super::super::tag::Tag;
use super::*;
use crate::clock::Tick;
use crate::link::Settings;

/// A process that has run for so many seconds.
fn at(seconds: u64) -> Moment {
    let tick = Tick::from_nanos(0).plus(Duration::from_secs(seconds));
    Moment { tick, unix_ms: 1_000_000 }
}

/// A node that shares its purges; nobody answers.
fn node() -> Purges {
    let purges = Purges::default();
    purges.configure(Some(&Settings::server("redis://127.0.0.1:1", "p")));
    purges
}

fn order(tag: u64) -> Order {
    let mut tagged = Tagged::default();
    tagged.add(Tag(tag));
    tagged.hard().into_iter().next().unwrap()
}

fn entry(seen: u64, tag: u64) -> Note {
    Note { tags: std::iter::once(Tag(tag)).collect(), seen, ..Note::default() }
}

fn foreign(tag: u64, number: u64) -> (Vec<u8>, u64) {
    (order(tag).message(1, number).into_bytes(), number)
}

const NOW: u64 = 1_700_000_000_000_000;

fn reply(epoch: &str, last: u64, floor: u64, purges: Vec<(Vec<u8>, u64)>) -> Reply {
    Reply { epoch: epoch.to_owned(), now: NOW, last, floor, purges }
}

/// A node that has read the log `a` to its end, `NOW - 5`.
fn level() -> (Purges, Known) {
    let (node, mut known) = (node(), Known::default());
    assert!(node.learn(&mut known, &reply("a", NOW - 5, NOW - 9, vec![]), at(1)));
    (node, known)
}

#[test]
fn purges_of_others_are_obeyed_in_the_order_of_the_log() {
    let (node, mut known) = level();
    let before = entry(node.seen(), 7);
    assert_eq!(node.judge(&before), Verdict::Keep);
    assert!(node.learn(&mut known, &reply("a", NOW, NOW - 9, vec![foreign(7, NOW)]), at(2)));
    assert_eq!(node.judge(&before), Verdict::Gone);
    assert_eq!(node.judge(&entry(node.seen(), 7)), Verdict::Keep);
    assert_eq!(known.after, NOW);
    assert_eq!(node.export(node.seen()), Some(NOW));
}

/// Redis has lost its data: purges may be among them.
#[test]
fn another_log_means_that_everything_must_be_confirmed() {
    let (node, mut known) = level();
    let before = entry(node.seen(), 7);
    let other = || reply("b", NOW, NOW, vec![]);
    assert!(!node.learn(&mut known, &other(), at(2)), "to be read from its begin");
    assert!(node.learn(&mut known, &other(), at(2)));
    assert_eq!(node.judge(&before), Verdict::Confirm);
    assert_eq!(node.judge(&entry(node.seen(), 7)), Verdict::Keep);
    assert_eq!(node.judge(&entry(fleet(NOW), 7)), Verdict::Keep, "also of other nodes");
    assert!(node.learn(&mut known, &other(), at(3)));
    assert_eq!(node.judge(&entry(node.seen(), 7)), Verdict::Keep, "once");
}

#[test]
fn a_gap_in_the_log_means_the_same() {
    let (node, mut known) = level();
    let before = entry(node.seen(), 7);
    assert!(node.learn(&mut known, &reply("a", NOW, NOW - 2, vec![foreign(8, NOW)]), at(2)));
    assert_eq!(node.judge(&before), Verdict::Confirm);
    let (node, mut known) = level();
    let before = entry(node.seen(), 7);
    assert!(node.learn(&mut known, &reply("a", NOW, NOW - 5, vec![foreign(8, NOW)]), at(2)));
    assert_eq!(node.judge(&before), Verdict::Keep, "what was known already may be trimmed");
}

#[test]
fn a_purge_that_cannot_be_read_means_the_same() {
    let (node, mut known) = level();
    let before = entry(node.seen(), 7);
    let strange = (b"0000000000000001.1 z 0000000000000007".to_vec(), NOW);
    assert!(node.learn(&mut known, &reply("a", NOW, NOW - 9, vec![strange]), at(2)));
    assert_eq!(node.judge(&before), Verdict::Confirm);
    assert_eq!(node.judge(&entry(node.seen(), 7)), Verdict::Keep);
}

/// What happened before the process began concerns entries that others have shared, not its own.
#[test]
fn a_process_that_begins_reads_the_whole_log() {
    for (age, is_old_known) in [(5, true), (59, true), (61, false)] {
        let (node, mut known) = (node(), Known::default());
        let (mine, younger) = (entry(node.seen(), 7), entry(node.seen(), 8));
        let (long_ago, just_now) = (NOW - 120_000_000, NOW - 1_000);
        let log = vec![foreign(7, long_ago), foreign(8, just_now)];
        assert!(node.learn(&mut known, &reply("a", just_now, long_ago - 1, log), at(age)));
        let expected = if is_old_known { Verdict::Keep } else { Verdict::Gone };
        assert_eq!(node.judge(&mine), expected, "{age}");
        assert_eq!(node.judge(&younger), Verdict::Gone);
        assert_eq!(node.judge(&entry(fleet(long_ago - 1), 7)), Verdict::Gone);
        assert_eq!(node.judge(&entry(fleet(long_ago), 7)), Verdict::Keep);
        assert_eq!(node.judge(&entry(fleet(long_ago - 2), 9)), Verdict::Confirm);
        assert_eq!(node.judge(&entry(node.seen(), 7)), Verdict::Keep);
    }
}

/// The first of a fleet: the log begins with it.
#[test]
fn a_log_that_is_new_is_not_one_that_was_lost() {
    for (age, verdict) in [(9, Verdict::Keep), (11, Verdict::Confirm)] {
        let (node, mut known) = (node(), Known::default());
        let before = entry(node.seen(), 7);
        assert!(node.learn(&mut known, &reply("a", NOW, NOW, vec![]), at(age)));
        assert_eq!(node.judge(&before), verdict, "{age}");
        assert_eq!(node.judge(&entry(node.seen(), 7)), Verdict::Keep);
    }
}

#[test]
fn a_purge_of_this_node_waits_and_counts_at_once() {
    let (node, mut known) = level();
    let before = entry(node.seen(), 7);
    let made = node.order([order(7)], By::Answer, at(2)).unwrap();
    assert_eq!(node.judge(&before), Verdict::Gone);
    assert_eq!(node.report().pending, 1);
    // The same once more is told once.
    node.order([order(7)], By::Answer, at(2));
    assert_eq!(node.report().pending, 1);
    let since = entry(node.seen(), 7);
    assert_eq!(node.import(NOW + 5), fleet(NOW - 5), "others do not know of it");

    let (messages, upto) = node.queue.lock().messages(node.node, TOLD_MAX);
    let (again, _) = node.queue.lock().messages(node.node, TOLD_MAX);
    assert_eq!(messages, again, "one name however often it is told");
    assert_eq!((messages.len(), made.number < node.seen()), (1, true));
    // Made after it may have been numbered: to be told too.
    node.order([order(7)], By::Answer, at(2));
    assert_eq!(node.report().pending, 2);
    let echo = vec![(messages[0].clone().into_bytes(), NOW)];
    assert!(node.learn(&mut known, &reply("a", NOW, NOW - 9, echo), at(2)));
    node.forget(upto);
    assert_eq!(node.report().pending, 1);
    assert_eq!(node.judge(&since), Verdict::Gone, "by the third");
    let (last, upto) = node.queue.lock().messages(node.node, TOLD_MAX);
    assert_ne!(last, messages);
    node.forget(upto);
    assert_eq!(node.import(NOW + 5), fleet(NOW + 5));
}

#[test]
fn too_many_purges_that_wait_become_one_of_everything() {
    let (node, _) = level();
    for tag in 0..4_096 {
        node.order([order(tag)], By::Answer, at(2));
    }
    assert_eq!(node.report().pending, 4_096);
    node.order([order(5_000)], By::Answer, at(2));
    assert_eq!(node.report().pending, 1);
    let (messages, _) = node.queue.lock().messages(node.node, TOLD_MAX);
    let everything = super::super::tag::Target::Everything.tag(None).bits();
    assert!(messages[0].ends_with(&format!(" h {everything:016x}")), "{messages:?}");
}

#[test]
fn a_node_alone_numbers_by_its_clock() {
    let node = Purges::default();
    let before = entry(node.seen(), 7);
    let made = node.order([order(7)], By::Operator, at(1)).unwrap();
    assert_eq!(made.number, fleet(1_000_000_000));
    let next = node.order([order(8)], By::Operator, at(1)).unwrap();
    assert!(next.number > made.number, "also within one tick of the clock");
    assert_eq!(node.judge(&before), Verdict::Gone);
    assert_eq!(node.report().pending, 0);
    assert!(node.is_caught_up());
    assert!(node.order([], By::Operator, at(1)).is_none());
}

/// What was asked for before the log was read is as old as the process to others, and nothing of
/// the log's own beginning is taken for granted.
#[test]
fn what_a_young_process_fetched_first_is_shared_as_old_as_the_process() {
    for (age, floor) in [(5, NOW - 9_000_000), (5, NOW), (59, NOW - 60_000_000), (60, NOW)] {
        let (one, mut known) = (node(), Known::default());
        let first = one.seen();
        one.order([order(7)], By::Answer, at(age));
        let second = one.seen();
        assert!(one.learn(&mut known, &reply("a", NOW, floor, vec![]), at(age)));
        if age == 60 {
            assert_eq!((one.export(first), one.export(second)), (None, None));
            continue;
        }
        let told = one.export(first).unwrap();
        assert_eq!(one.export(second), Some(told));
        let began = NOW - age * 1_000_000;
        assert!((began - 100_000..began).contains(&told), "{age}: {told}");

        let (other, mut known) = level();
        let verdict = |other: &Purges, tag| other.judge(&entry(other.import(told), tag));
        let purged = vec![foreign(8, told), foreign(9, told + 1)];
        let mut log = reply("a", NOW, NOW - 90_000_000, purged);
        known.after = NOW - 90_000_000;
        known.covered = NOW;
        assert!(other.learn(&mut known, &log, at(300)));
        assert_eq!(verdict(&other, 8), Verdict::Confirm, "the log of `level` begins later");
        let (other, mut known) = (node(), Known::default());
        assert!(other.learn(&mut known, &log, at(300)));
        assert_eq!(verdict(&other, 8), Verdict::Keep, "{age}");
        assert_eq!(verdict(&other, 9), Verdict::Gone, "{age}");
        // Redis loses its data: the new log begins after the entry was asked for.
        log = reply("b", NOW + 5, NOW + 5, vec![]);
        assert!(!other.learn(&mut known, &log, at(301)));
        assert_eq!(verdict(&other, 8), Verdict::Confirm, "{age}");
    }
}

/// A request waits for the first reading of the log, not for later ones.
#[tokio::test(start_paused = true)]
async fn the_first_reading_is_waited_for() {
    let node = std::sync::Arc::new(node());
    let waiting = std::sync::Arc::clone(&node);
    let patient = Duration::from_mins(1);
    let reader = tokio::spawn(async move { waiting.catches_up(patient).await });
    tokio::task::yield_now().await;
    assert!(!reader.is_finished());
    node.level.send_replace(Level::Reached);
    assert!(reader.await.unwrap());
    node.level.send_replace(Level::Behind);
    let began = tokio::time::Instant::now();
    assert!(!node.catches_up(patient).await);
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test]
async fn nothing_is_shared_before_the_log_was_read() {
    let node = node();
    assert!(!node.is_caught_up());
    assert_eq!(node.export(node.seen()), None);
    node.order([order(7)], By::Answer, at(1));
    assert_eq!(node.export(node.seen()), None);
    assert!(!node.catches_up(Duration::ZERO).await, "patience ends");
    node.configure(None);
    assert!(node.catches_up(Duration::ZERO).await, "nothing to wait for");
    assert!(node.is_caught_up());
    assert_eq!(node.report().pending, 0);
}
