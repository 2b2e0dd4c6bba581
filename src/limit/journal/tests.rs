use super::super::testing::{rule, take};
use super::*;

fn journal() -> Journal {
    let journal = Journal::new(IntCounter::new("dropped", "dropped").unwrap());
    journal.keep();
    journal
}

fn at(seconds: u64) -> Moment {
    Moment { tick: Tick::from_nanos(seconds * 1_000_000_000), unix_ms: seconds * 1000 }
}

fn amounts(due: &[Due]) -> Vec<u64> {
    let amount = |due: &Due| match due {
        Due::Charge { amount, .. } => *amount,
        other => panic!("{other:?}"),
    };
    due.iter().map(amount).collect()
}

/// 100 tokens, one of which comes back each second; a node of four has 25.
fn bucket() -> Take {
    let yaml = "{algorithm: token_bucket, capacity: 100, refillPerSecond: 1, key: [clientIp]}";
    take(&rule("bucket", yaml), "a")
}

#[test]
fn what_was_admitted_is_charged_once() {
    let (journal, take) = (journal(), bucket());
    (0..20).for_each(|_| journal.note(&take, 4, at(0)));
    assert!(!journal.is_empty());
    let due = journal.begin(10, at(0));
    assert_eq!(amounts(&due), [20]);
    assert!(journal.finish(&due, true, at(0)).is_empty());
    assert!(journal.is_empty() && journal.begin(10, at(0)).is_empty());
}

#[test]
fn what_time_has_given_back_is_not_charged() {
    let (journal, take) = (journal(), bucket());
    (0..20).for_each(|_| journal.note(&take, 4, at(0)));
    // A quarter of a token each second.
    assert_eq!(amounts(&journal.begin(10, at(40))), [10]);
    let journal = self::journal();
    journal.note(&take, 4, at(0));
    assert!(journal.begin(10, at(4)).is_empty());
    assert!(journal.is_empty());
}

#[test]
fn a_node_charges_its_share_at_most() {
    let (journal, take) = (journal(), bucket());
    (0..80).for_each(|_| journal.note(&take, 4, at(0)));
    assert_eq!(amounts(&journal.begin(10, at(0))), [25]);
}

#[test]
fn a_charge_that_failed_is_made_again() {
    let (journal, take) = (journal(), bucket());
    (0..5).for_each(|_| journal.note(&take, 4, at(0)));
    let due = journal.begin(10, at(0));
    journal.note(&take, 4, at(0));
    assert!(journal.finish(&due, false, at(0)).is_empty());
    assert_eq!(amounts(&journal.begin(10, at(0))), [6]);
}

#[test]
fn what_is_admitted_while_a_charge_is_under_way_is_charged_at_once() {
    let (journal, take) = (journal(), bucket());
    (0..5).for_each(|_| journal.note(&take, 4, at(0)));
    let due = journal.begin(10, at(0));
    (0..3).for_each(|_| journal.note(&take, 4, at(0)));
    assert_eq!(amounts(&journal.finish(&due, true, at(0))), [3]);
    assert!(journal.is_empty());
}

#[test]
fn charges_come_in_batches_and_none_is_forgotten() {
    let journal = journal();
    let rule = rule("r", "{limit: 100, window: 1h, key: [clientIp]}");
    (0..1_000).for_each(|n: u32| journal.note(&take(&rule, &n.to_string()), 1, at(0)));
    let mut charged = 0;
    while !journal.is_empty() {
        let due = journal.begin(64, at(0));
        assert!((1..=64).contains(&due.len()));
        charged += amounts(&due).iter().sum::<u64>();
        journal.finish(&due, true, at(0));
    }
    assert_eq!(charged, 1_000);
}

#[test]
fn memory_is_bounded_and_what_finds_no_room_is_counted() {
    let journal = journal();
    let rule = rule("r", "{limit: 100, window: 1m, key: [clientIp]}");
    let keys: Vec<Take> = (0..KEYS_MAX + 10_000).map(|n| take(&rule, &n.to_string())).collect();
    for take in &keys {
        journal.note(take, 1, at(0));
    }
    let held = journal.keys.load(Ordering::Relaxed);
    assert!(held <= KEYS_MAX);
    assert_eq!(journal.dropped.get(), (keys.len() - held) as u64);
    // Two windows later there is room again.
    let dropped = journal.dropped.get();
    journal.note(&take(&rule, "new"), 1, at(120));
    assert_eq!(journal.dropped.get(), dropped);
}

#[test]
fn decisions_stay_local_until_every_node_can_have_charged() {
    let journal = journal();
    assert!(!journal.stays_local(at(1).tick));
    journal.begin_outage();
    assert!(journal.stays_local(at(1_000).tick));
    journal.note_charged(at(1_000).tick);
    journal.note_charged(at(1_001).tick);
    let end = at(1_000).tick.plus(QUIET);
    assert!(journal.stays_local(Tick::from_nanos(end.nanos() - 1)));
    assert!(!journal.stays_local(end), "from the first heartbeat on");
    // Nor for ever, should charging fail although requests are answered.
    journal.begin_outage();
    journal.note_answer(at(2_000).tick);
    assert!(journal.stays_local(at(2_000).tick));
    assert!(!journal.stays_local(at(2_000).tick.plus(QUIET_MAX)));
    journal.note_charged(at(2_500).tick);
    assert!(!journal.stays_local(at(2_500).tick.plus(QUIET)), "charged sooner than that");
}

#[test]
fn without_an_upkeep_nothing_is_noted() {
    let journal = Journal::new(IntCounter::new("dropped", "dropped").unwrap());
    journal.note(&bucket(), 4, at(0));
    journal.begin_outage();
    assert!(journal.is_empty() && !journal.stays_local(at(0).tick));
}
