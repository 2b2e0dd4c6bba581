use pingora::http::ResponseHeader;

use super::super::Printer;
use super::*;

const KEY: KeyHash = [7; 32];
const ENTRY: HashBinary = [7; 16];
const ALICE: u64 = 1;
const BOB: u64 = 2;

fn print(content: &str) -> Print {
    let mut printer = Printer::new(&ResponseHeader::build(200, None).unwrap(), 100);
    assert!(printer.update(content.as_bytes()));
    printer.finish().unwrap()
}

fn saw(caller: u64, content: &str, at_ms: u64) -> Sighting {
    Sighting { caller, print: print(content), at_ms }
}

fn at(seconds: u64) -> Tick {
    Tick::from_nanos(seconds * 1_000_000_000)
}

/// Who was given what.
type Given<'a> = (u64, &'a str);

/// Compares what each pair was given, a second apart: who filled with what, who fetched what.
fn compare(leaks: &Leaks, pairs: &[(Given<'_>, Given<'_>)]) -> Vec<Finding> {
    let pairs = (0..).zip(pairs);
    pairs
        .map(|(second, ((filler, filled), (fetcher, fetched)))| {
            let time = 1000 * second;
            let (filled, fetched) =
                (saw(*filler, filled, time), saw(*fetcher, fetched, time + 500));
            leaks.differ((&KEY, ENTRY), filled, fetched, at(100 + second))
        })
        .collect()
}

#[test]
fn answers_that_come_back_with_their_callers_are_a_leak() {
    let leaks = Leaks::default();
    assert!(!leaks.suspects(ENTRY, at(100)) && !leaks.bars(&KEY, at(100)));
    let found = compare(&leaks, &[((ALICE, "a"), (BOB, "b"))]);
    assert_eq!(found, [Finding::Changed]);
    assert!(leaks.suspects(ENTRY, at(100)) && !leaks.suspects([8; 16], at(100)));
    assert!(!leaks.bars(&KEY, at(101)), "a difference is no proof");

    let leaks = Leaks::default();
    let twice = [((ALICE, "a"), (BOB, "b")); 2];
    assert_eq!(compare(&leaks, &twice), [Finding::Changed, Finding::Leak { tell: true }]);
    assert!(leaks.bars(&KEY, at(101)) && !leaks.bars(&[8; 32], at(101)));
    assert!(!leaks.suspects(ENTRY, at(101)), "the case is closed");
}

#[test]
fn others_in_between_and_changed_parts_do_not_hide_a_leak() {
    let found = compare(
        &Leaks::default(),
        &[
            ((ALICE, "a"), (BOB, "b")),
            ((BOB, "b"), (3, "c")),
            ((ALICE, "a"), (4, "d")),
            ((4, "d"), (BOB, "b")),
            ((BOB, "b"), (ALICE, "a")),
        ],
    );
    let (last, before) = found.split_last().unwrap();
    assert!(matches!(last, Finding::Leak { .. }), "{found:?}");
    assert!(before.iter().all(|one| *one == Finding::Changed), "{found:?}");
}

#[test]
fn content_that_goes_on_is_never_a_leak() {
    let leaks = Leaks::default();
    let names: Vec<String> = (0..200).map(|number| format!("version {number}")).collect();
    let pairs: Vec<_> = names
        .windows(2)
        .enumerate()
        .map(|(at, pair)| {
            let (one, other) = if at % 2 == 0 { (ALICE, BOB) } else { (BOB, ALICE) };
            ((one, pair[0].as_str()), (other, pair[1].as_str()))
        })
        .collect();
    assert!(compare(&leaks, &pairs).iter().all(|found| *found == Finding::Changed));
    assert_eq!(leaks.barred_count.load(Ordering::Relaxed), 0);
}

#[test]
fn content_that_swings_for_all_is_no_leak_where_callers_swing_with_it() {
    let found = compare(
        &Leaks::default(),
        &[
            ((ALICE, "open"), (BOB, "shut")),
            ((BOB, "open"), (ALICE, "shut")),
            ((ALICE, "open"), (3, "shut")),
            ((BOB, "open"), (3, "shut")),
        ],
    );
    assert!(found.iter().all(|found| *found == Finding::Changed), "{found:?}");
}

#[test]
fn who_was_given_what_is_anothers_has_no_content_of_their_own() {
    let leaks = Leaks::default();
    let pair = [((ALICE, "open"), (BOB, "shut"))];
    assert_eq!(compare(&leaks, &pair), [Finding::Changed]);
    leaks.agree(ENTRY, saw(ALICE, "open", 700), saw(BOB, "open", 800), at(100));
    for _ in 0..9 {
        assert_eq!(compare(&leaks, &pair), [Finding::Changed]);
    }
    let leaks = Leaks::default();
    leaks.agree(ENTRY, saw(ALICE, "a", 0), saw(BOB, "a", 0), at(100));
    assert!(leaks.suspects.read().is_empty(), "nothing is noted of entries above suspicion");
}

#[test]
fn one_fill_compared_twice_is_one_sighting() {
    let leaks = Leaks::default();
    let (filled, key) = (saw(ALICE, "a", 0), (&KEY, ENTRY));
    for second in 1..9 {
        let fetched = saw(BOB, "b", second);
        assert_eq!(leaks.differ(key, filled, fetched, at(second)), Finding::Changed);
    }
    let again = saw(ALICE, "a", 20);
    let found = leaks.differ(key, again, saw(BOB, "b", 21), at(21));
    assert_eq!(found, Finding::Leak { tell: true });
}

#[test]
fn suspicion_and_bar_end_after_ten_minutes_and_a_leak_is_told_of_once_an_hour() {
    let leaks = Leaks::default();
    let key = (&KEY, ENTRY);
    let pair = |second: u64| (saw(ALICE, "a", second * 1000), saw(BOB, "b", second * 1000 + 1));
    let (filled, fetched) = pair(0);
    leaks.differ(key, filled, fetched, at(0));
    assert!(leaks.suspects(ENTRY, at(599)) && !leaks.suspects(ENTRY, at(600)));
    let (filled, fetched) = pair(600);
    assert_eq!(leaks.differ(key, filled, fetched, at(600)), Finding::Changed, "it begins anew");
    let prove = |second: u64| {
        for second in [second, second + 1] {
            let (filled, fetched) = pair(second);
            let found = leaks.differ(key, filled, fetched, at(second));
            if let Finding::Leak { tell } = found {
                return tell;
            }
        }
        panic!("no leak at {second}");
    };
    assert!(prove(601));
    assert!(leaks.bars(&KEY, at(601 + 599)) && !leaks.bars(&KEY, at(601 + 600)));
    assert!(!prove(2000), "told of not long ago");
    assert!(leaks.bars(&KEY, at(2002)));
    assert!(!prove(601 + 3597));
    assert!(prove(601 + 3600));
}

#[test]
fn what_is_remembered_is_bounded() {
    let leaks = Leaks::default();
    for number in 0..SUSPECTS + 10 {
        let mut entry = [0; 16];
        entry[..8].copy_from_slice(&(number as u64).to_be_bytes());
        leaks.differ((&KEY, entry), saw(ALICE, "a", 0), saw(BOB, "b", 1), at(number as u64 / 4));
    }
    assert_eq!(leaks.suspects.read().len(), SUSPECTS);
    for number in 0..BARRED + 10 {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&(number as u64).to_be_bytes());
        leaks.bar(&key, at(number as u64 / 16));
    }
    assert_eq!(leaks.barred.read().len(), BARRED);
    assert!(leaks.bars(
        &{
            let mut key = [0; 32];
            key[..8].copy_from_slice(&((BARRED + 9) as u64).to_be_bytes());
            key
        },
        at(BARRED as u64 / 16)
    ));
    let mut suspect = Suspect { sightings: Vec::new(), seen: at(0) };
    (0..99).for_each(|time| suspect.note(saw(time, "x", time)));
    assert_eq!(suspect.sightings.len(), SIGHTINGS);
    assert_eq!(suspect.sightings.last().unwrap().at_ms, 98);
}
