//! Interleavings of fills, purges and judgements, one by one and at random.

use proptest::prelude::*;

use super::super::super::Note;
use super::super::order::{Order, Tagged};
use super::super::tag::{Tag, Target};
use super::*;

const ROOM: usize = 64 * 16;

fn order(tags: &[u64], soft: bool) -> Order {
    let mut tagged = Tagged::default();
    for tag in tags {
        tagged.add(Tag(*tag));
    }
    let orders = if soft { tagged.soft() } else { tagged.hard() };
    orders.into_iter().next().unwrap()
}

/// An entry that is asked for now.
fn fetch(table: &Table, tags: &[u64]) -> Note {
    imported(table.seen(), tags)
}

fn imported(seen: u64, tags: &[u64]) -> Note {
    Note { tags: tags.iter().map(|tag| Tag(*tag)).collect(), seen, ..Note::default() }
}

fn purge(table: &Table, tags: &[u64]) -> u64 {
    table.apply(&order(tags, false), Numbered::Next, 1).0
}

#[test]
fn what_was_asked_for_before_a_purge_is_gone_and_what_after_is_kept() {
    let table = Table::new(ROOM);
    let before = fetch(&table, &[1, 2]);
    let other = fetch(&table, &[2, 3]);
    assert_eq!(table.judge(&before), Verdict::Keep);
    purge(&table, &[1]);
    let after = fetch(&table, &[1, 2]);
    for _ in 0..2 {
        assert_eq!(table.judge(&before), Verdict::Gone);
        assert_eq!(table.judge(&other), Verdict::Keep);
        assert_eq!(table.judge(&after), Verdict::Keep);
    }
}

#[test]
fn an_answer_on_its_way_when_the_purge_came_is_gone_although_it_is_kept_later() {
    let table = Table::new(ROOM);
    let under_way = fetch(&table, &[1]);
    purge(&table, &[1]);
    purge(&table, &[9]);
    // Kept only now, with what it knew when it was asked for.
    assert_eq!(table.judge(&under_way), Verdict::Gone);
}

#[test]
fn an_entry_that_was_judged_is_judged_again_by_every_later_purge() {
    let table = Table::new(ROOM);
    let entry = fetch(&table, &[1]);
    let other = purge(&table, &[2]);
    assert_eq!(table.judge(&entry), Verdict::Keep);
    assert_eq!(entry.judged.get(), other, "which costs one look from now on");
    purge(&table, &[1]);
    assert_eq!(table.judge(&entry), Verdict::Gone);
}

/// The purge is noted, and not yet counted: whoever judges in between judges again.
#[test]
fn a_judgement_in_the_middle_of_a_purge_settles_nothing() {
    let table = Table::new(ROOM);
    purge(&table, &[7]);
    let entry = imported(0, &[1]);
    let number = table.seen() + 1;
    table.note(&order(&[1], false), number, false, 1);
    assert_eq!(table.judge(&entry), Verdict::Gone, "seen as soon as it is noted");
    let entry = imported(0, &[2]);
    assert_eq!(table.judge(&entry), Verdict::Keep);
    table.note(&order(&[2], false), number, false, 1);
    table.seen.store(number, Ordering::Release);
    assert_eq!(table.judge(&entry), Verdict::Gone, "what was judged by the number before");
}

#[test]
fn soft_purges_make_stale_since_then_and_hard_ones_win() {
    let table = Table::new(ROOM);
    let entry = fetch(&table, &[1, 2]);
    table.apply(&order(&[1], true), Numbered::Next, 1_000);
    assert_eq!(table.judge(&entry), Verdict::Stale(1_000));
    table.apply(&order(&[2], true), Numbered::Next, 2_000);
    assert_eq!(table.judge(&entry), Verdict::Stale(2_000));
    assert_eq!(table.judge(&fetch(&table, &[1, 2])), Verdict::Keep);
    purge(&table, &[2]);
    assert_eq!(table.judge(&entry), Verdict::Gone);
    let later = fetch(&table, &[2]);
    table.apply(&order(&[2], true), Numbered::Next, 3_000);
    assert_eq!(table.judge(&later), Verdict::Stale(3_000), "an older hard one is not against it");
}

#[test]
fn numbers_of_the_fleet_only_grow_whatever_its_clock_does() {
    let table = Table::new(ROOM);
    let first = table.apply(&order(&[1], false), Numbered::Fleet(1_000), 1).0;
    let entry = fetch(&table, &[1]);
    let second = table.apply(&order(&[1], false), Numbered::Fleet(900), 1).0;
    assert!(second > first);
    assert_eq!(table.judge(&entry), Verdict::Gone, "also by a purge with a lower number");
    let far = table.apply(&order(&[1], false), Numbered::Fleet(u64::MAX), 1).0;
    assert!(far > second && far < u64::MAX);
}

#[test]
fn a_shared_entry_obeys_the_purges_that_its_node_did_not_know() {
    let table = Table::new(ROOM);
    table.apply(&order(&[1], false), Numbered::Fleet(500), 1);
    assert_eq!(table.judge(&imported(fleet(499), &[1])), Verdict::Gone);
    assert_eq!(table.judge(&imported(fleet(500), &[1])), Verdict::Keep);
    assert_eq!(table.judge(&imported(fleet(499), &[2])), Verdict::Keep);
}

/// A purge of this node: in force at once, numbered by the fleet a moment later.
#[test]
fn what_was_fetched_since_a_purge_of_this_node_outlives_its_echo() {
    for soft in [false, true] {
        let table = Table::new(ROOM);
        table.apply(&order(&[9], false), Numbered::Fleet(100), 1);
        let before = fetch(&table, &[1]);
        let purge = order(&[1], soft);
        table.apply(&purge, Numbered::Next, 5);
        let since = fetch(&table, &[1]);
        let shared = imported(fleet(150), &[1]);
        table.apply(&purge, Numbered::Echo(200), 6);
        let against = if soft { Verdict::Stale(5) } else { Verdict::Gone };
        assert_eq!(table.judge(&before), against);
        assert_eq!(table.judge(&since), Verdict::Keep);
        assert_eq!(table.judge(&shared), against, "its node knew 150, not 200");
        assert_eq!(table.judge(&imported(fleet(200), &[1])), Verdict::Keep);
    }
}

/// Another node's purge comes between a purge of this node and its echo.
#[test]
fn a_foreign_purge_before_the_echo_is_obeyed() {
    let table = Table::new(ROOM);
    purge(&table, &[1]);
    let since = fetch(&table, &[1]);
    table.apply(&order(&[1], false), Numbered::Fleet(150), 1);
    table.apply(&order(&[1], false), Numbered::Echo(200), 1);
    assert_eq!(table.judge(&since), Verdict::Gone);
}

#[test]
fn what_was_lost_must_be_confirmed_once() {
    let table = Table::new(ROOM);
    purge(&table, &[2]);
    let (entry, purged) = (fetch(&table, &[1]), imported(0, &[2]));
    table.lose(1_000);
    assert_eq!(table.judge(&entry), Verdict::Confirm);
    assert_eq!(table.judge(&purged), Verdict::Gone, "what is known still counts");
    assert_eq!(table.judge(&fetch(&table, &[1])), Verdict::Keep);
    assert_eq!(table.judge(&imported(fleet(999), &[1])), Verdict::Confirm);
    assert_eq!(table.judge(&imported(fleet(1_000), &[1])), Verdict::Keep);
}

#[test]
fn of_too_many_purges_the_oldest_are_folded_and_nothing_survives_them() {
    let table = Table::new(ROOM);
    let entries: Vec<Note> = (0..4_000).map(|tag| fetch(&table, &[tag])).collect();
    let (early, late) = (fetch(&table, &[1 << 40]), 2_000);
    let mut folded = 0;
    let mut between = None;
    for tag in 0..4_000 {
        if tag == 3_990 {
            between = Some(fetch(&table, &[1 << 40]));
        }
        folded += table.apply(&order(&[tag], false), Numbered::Next, 1).1;
    }
    assert!(table.records() <= ROOM, "{}", table.records());
    assert_eq!(folded + table.records(), 4_000);
    for entry in &entries {
        assert_ne!(table.judge(entry), Verdict::Keep);
    }
    assert_eq!(table.judge(&entries[3_999]), Verdict::Gone);
    assert_eq!(table.judge(&entries[0]), Verdict::Confirm, "nobody knows any more");
    assert!(late > 0);
    assert_eq!(table.judge(&early), Verdict::Confirm);
    assert_eq!(table.judge(&between.unwrap()), Verdict::Keep, "younger than what was folded");
}

#[test]
fn an_entry_that_was_judged_by_a_record_need_not_be_confirmed_when_it_is_folded() {
    let table = Table::new(ROOM);
    let entry = fetch(&table, &[1]);
    purge(&table, &[2]);
    assert_eq!(table.judge(&entry), Verdict::Keep);
    assert_eq!(table.expire(u64::MAX), 1);
    purge(&table, &[3]);
    assert_eq!(table.judge(&entry), Verdict::Keep);
    assert_eq!(table.judge(&imported(0, &[1])), Verdict::Confirm);
}

#[test]
fn old_records_are_folded_and_young_ones_stay() {
    let table = Table::new(ROOM);
    table.apply(&order(&[1], false), Numbered::Next, 1_000);
    table.apply(&order(&[2], true), Numbered::Next, 2_000);
    assert_eq!(table.expire(1_000), 0);
    assert_eq!(table.expire(1_001), 1);
    assert_eq!(table.judge(&imported(0, &[1])), Verdict::Confirm);
    assert_eq!(table.judge(&imported(1, &[2])), Verdict::Stale(2_000));
    assert_eq!(table.records(), 1);
}

/// A process begins to serve before it has heard from the fleet.
#[test]
fn the_past_of_the_fleet_concerns_nothing_that_was_fetched_here() {
    let table = Table::new(ROOM);
    let entry = fetch(&table, &[1]);
    let waiting = order(&[5], false);
    let purged = fetch(&table, &[5]);
    table.apply(&waiting, Numbered::Next, 1);
    let since = fetch(&table, &[5, 6]);
    table.begin(1_000, 800, std::iter::once(&waiting), 1);
    table.recall(&order(&[1], false), 900, 1);
    table.reach(1_000);
    assert_eq!(table.judge(&entry), Verdict::Keep);
    assert_eq!(table.judge(&purged), Verdict::Gone, "by the purge that waits");
    assert_ne!(table.judge(&since), Verdict::Keep, "nobody knows the order any more");
    assert_eq!(table.judge(&imported(fleet(899), &[1])), Verdict::Gone);
    assert_eq!(table.judge(&imported(fleet(900), &[1])), Verdict::Keep);
    assert_eq!(table.judge(&imported(fleet(799), &[3])), Verdict::Confirm);
    table.apply(&order(&[1], false), Numbered::Fleet(1_001), 1);
    assert_eq!(table.judge(&entry), Verdict::Gone);
}

/// R150. Two entries of every kind, one of each tenant; a purge that is limited to one.
#[test]
fn a_purge_of_one_tenant_leaves_the_other() {
    let table = Table::new(ROOM);
    let of = |tenant| {
        let targets = [Target::Everything, Target::Route("shop"), Target::Text(b"products")];
        let both = targets.map(|target| [target.tag(None), target.tag(Some(tenant))]);
        Note { tags: both.concat().into(), seen: table.seen(), ..Note::default() }
    };
    for target in [Target::Everything, Target::Route("shop"), Target::Text(b"products")] {
        let (acme, umbrella) = (of("acme"), of("umbrella"));
        table.apply(&order(&[target.tag(Some("acme")).bits()], false), Numbered::Next, 1);
        assert_eq!(table.judge(&acme), Verdict::Gone, "{target:?}");
        assert_eq!(table.judge(&umbrella), Verdict::Keep, "{target:?}");
        table.apply(&order(&[target.tag(None).bits()], false), Numbered::Next, 1);
        assert_eq!(table.judge(&umbrella), Verdict::Gone, "{target:?}");
    }
}

/// R149: a purge costs the same whatever carries the tag, and judging stays cheap.
#[test]
fn a_hundred_thousand_entries_are_purged_in_one_step() {
    let table = Table::new(ROOM);
    let entries: Vec<Note> = (0..100_000).map(|n| fetch(&table, &[1, 1_000 + n])).collect();
    let kept: Vec<Note> = (0..1_000).map(|n| fetch(&table, &[2, 1_000 + n])).collect();
    purge(&table, &[1]);
    assert_eq!(table.records(), 1, "nothing was done entry by entry");
    assert!(entries.iter().all(|entry| table.judge(entry) == Verdict::Gone));
    assert!(kept.iter().all(|entry| table.judge(entry) == Verdict::Keep));
}

/// What a schedule does in one step.
#[derive(Clone, Debug)]
enum Step {
    /// Asks a service for an answer with these tags.
    Fetch(Vec<u64>),
    /// Purges here, hard or softly.
    Here(u64, bool),
    /// Learns of a foreign purge.
    There(u64, bool, u64),
    /// Learns how the oldest purge of this node was numbered.
    Echo,
    Judge,
    Fold(u64),
    Lose,
}

fn step() -> impl Strategy<Value = Step> {
    let tag = 0_u64..6;
    prop_oneof![
        4 => prop::collection::vec(tag.clone(), 1..4).prop_map(Step::Fetch),
        2 => (tag.clone(), any::<bool>()).prop_map(|(tag, soft)| Step::Here(tag, soft)),
        2 => (tag, any::<bool>(), 0_u64..2_000).prop_map(|(t, s, us)| Step::There(t, s, us)),
        2 => Just(Step::Echo),
        3 => Just(Step::Judge),
        1 => (0_u64..100).prop_map(Step::Fold),
        1 => Just(Step::Lose),
    ]
}

proptest! {
    /// However fills, purges of this node and of others, their echoes, folding and losses follow
    /// each other: an entry that was asked for before a purge of one of its tags became known is
    /// never kept, and one that no purge names is kept unless something was folded or lost.
    #[test]
    fn no_entry_survives_a_purge_that_came_after_it_was_asked_for(
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let table = Table::new(ROOM);
        // Each entry with whether it was purged hard, softly, and whether it may have to be
        // confirmed.
        let mut entries: Vec<(Note, bool, bool, bool)> = Vec::new();
        let mut waiting = std::collections::VecDeque::new();
        let mut last_us = 3_000;
        for (at, step) in steps.into_iter().enumerate() {
            let purged = |entries: &mut Vec<(Note, bool, bool, bool)>, tag, soft| {
                for (note, hard, softly, _) in entries.iter_mut() {
                    if note.tags.contains(&Tag(tag)) {
                        *(if soft { softly } else { hard }) = true;
                    }
                }
            };
            match step {
                Step::Fetch(tags) => entries.push((fetch(&table, &tags), false, false, false)),
                Step::Here(tag, soft) => {
                    table.apply(&order(&[tag], soft), Numbered::Next, at as u64);
                    waiting.push_back((tag, soft));
                    purged(&mut entries, tag, soft);
                }
                Step::There(tag, soft, us) => {
                    table.apply(&order(&[tag], soft), Numbered::Fleet(us), at as u64);
                    purged(&mut entries, tag, soft);
                }
                Step::Echo => {
                    if let Some((tag, soft)) = waiting.pop_front() {
                        last_us += 10;
                        table.apply(&order(&[tag], soft), Numbered::Echo(last_us), at as u64);
                    }
                }
                Step::Judge => {}
                Step::Fold(before) => {
                    table.expire(before);
                    for entry in &mut entries {
 entry.3 = true;
}
                }
                Step::Lose => {
                    table.lose(last_us);
                    for entry in &mut entries {
 entry.3 = true;
}
                }
            }
            for (note, hard, soft, confirm) in &entries {
                let verdict = table.judge(note);
                prop_assert!(!hard || matches!(verdict, Verdict::Gone | Verdict::Confirm));
                prop_assert!(!soft || verdict != Verdict::Keep);
                if *hard && !confirm {
                    prop_assert_eq!(verdict, Verdict::Gone);
                }
                // An echo may take more than it must, where entries were asked for in between.
                if !hard && !soft && !confirm && last_us == 3_000 {
                    prop_assert_eq!(verdict, Verdict::Keep);
                }
            }
        }
    }

    /// The same for tenants: whatever is purged of one, entries of the other are kept.
    #[test]
    fn purges_of_one_tenant_never_touch_the_other(
        texts in prop::collection::vec("[a-c]{0,3}", 1..8),
        purges in prop::collection::vec(("[a-c]{0,3}", any::<bool>()), 0..20),
    ) {
        let table = Table::new(ROOM);
        let of = |tenant| {
            let all = texts.iter().map(|text| Target::Text(text.as_bytes()));
            let all = all.chain([Target::Everything]);
            let tags = all.flat_map(|target| [target.tag(None), target.tag(Some(tenant))]);
            Note { tags: tags.collect(), seen: table.seen(), ..Note::default() }
        };
        let (mine, other) = (of("a"), of("b"));
        let mut is_purged = false;
        for (text, soft) in purges {
            let tag = Target::Text(text.as_bytes()).tag(Some("a"));
            table.apply(&order(&[tag.bits()], soft), Numbered::Next, 1);
            is_purged |= texts.contains(&text);
            prop_assert_eq!(table.judge(&mine) == Verdict::Keep, !is_purged);
            prop_assert_eq!(table.judge(&other), Verdict::Keep);
        }
        table.apply(&order(&[Target::Everything.tag(Some("a")).bits()], false), Numbered::Next, 1);
        prop_assert_eq!(table.judge(&mine), Verdict::Gone);
        prop_assert_eq!(table.judge(&other), Verdict::Keep);
    }
}

/// Threads that fetch, purge and judge at once.
#[test]
fn threads_see_every_purge_that_was_done_when_they_look() {
    let table = Table::new(ROOM);
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let table = &table;
            scope.spawn(move || {
                for n in 0..2_000 {
                    let tag = (thread + n) % 3;
                    let entry = fetch(table, &[tag]);
                    let _ = table.judge(&entry);
                    purge(table, &[tag]);
                    assert_eq!(table.judge(&entry), Verdict::Gone);
                    let next = fetch(table, &[100 + thread]);
                    assert_eq!(table.judge(&next), Verdict::Keep);
                }
            });
        }
    });
    assert_eq!(table.seen(), 8_000, "no number was given out twice");
}
