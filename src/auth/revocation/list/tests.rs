use super::*;
use crate::auth::revocation::testing::{NOW, of_caller, of_token};

fn revoked(list: &mut List, index: &Index, record: &Record) -> Result<Changed, Full> {
    list.revoke(record.clone(), 2, index, NOW)
}

#[test]
fn a_full_list_takes_no_further_one_but_changes_those_it_has() {
    let (mut list, index) = (List::default(), Index::default());
    assert_eq!(revoked(&mut list, &index, &of_token("a")).unwrap().number, 1);
    assert_eq!(revoked(&mut list, &index, &of_token("b")).unwrap().number, 2);
    assert!(matches!(revoked(&mut list, &index, &of_token("c")), Err(Full)));
    let later = Record { expires_at: NOW + 9999, ..of_token("a") };
    let changed = revoked(&mut list, &index, &later).unwrap();
    assert_eq!((changed.number, changed.record.expires_at), (3, NOW + 9999));
    let merged = list.merge([of_token("c"), of_token("d")], 2, &index, NOW);
    assert_eq!(merged, Merged { changed: 0, no_place: 2 });
    let merged = list.merge([of_token("c")], 3, &index, NOW);
    assert_eq!(merged, Merged { changed: 1, no_place: 0 });
    assert_eq!(list.count(), 3);
}

#[test]
fn a_change_is_later_than_what_it_changes_whatever_the_clock_says() {
    let (mut list, index) = (List::default(), Index::default());
    let ahead = Record { changed_ms: (NOW + 1000) * 1000, ..of_token("a") };
    list.merge([ahead.clone()], 9, &index, NOW);
    let taken_back = list.take_back(&ahead.id, &index, NOW * 1000).unwrap().record;
    assert!(taken_back.taken_back && taken_back.supersedes(&ahead));
    assert!(list.take_back(&ahead.id, &index, NOW * 1000).is_none(), "only once");
    assert!(list.take_back("0", &index, NOW * 1000).is_none());
    assert_eq!((list.count(), list.in_force().len()), (0, 0));
    let again = revoked(&mut list, &index, &of_token("a")).unwrap().record;
    assert!(again.supersedes(&taken_back));
    assert_eq!(list.count(), 1);
    // An older version from elsewhere changes nothing.
    let merged = list.merge([taken_back, ahead], 9, &index, NOW);
    assert_eq!((merged, list.count()), (Merged::default(), 1));
}

#[test]
fn what_is_over_is_dropped_and_not_taken_over() {
    let (mut list, index) = (List::default(), Index::default());
    let short = Record { expires_at: NOW + 1, ..of_token("a") };
    list.merge([short.clone(), of_token("b")], 9, &index, NOW);
    assert_eq!(list.merge([short], 9, &index, NOW + 1), Merged::default());
    list.purge(&index, NOW);
    assert_eq!(list.count(), 2);
    list.purge(&index, NOW + 1);
    assert_eq!(list.count(), 1);
}

#[test]
fn a_batch_holds_what_changed_here_and_once_all_that_is_to_be_kept() {
    let (mut list, index) = (List::default(), Index::default());
    list.merge([of_token("elsewhere")], 9, &index, NOW);
    revoked(&mut list, &index, &of_token("a")).unwrap();
    let batch = list.batch(true);
    assert_eq!((batch.upto, batch.unshared.len()), (1, 1));
    assert_eq!(batch.unsaved.unwrap().len(), 2);
    let batch = list.batch(true);
    assert!(batch.upto == 1 && batch.unshared.is_empty() && batch.unsaved.is_none());
    list.not_saved();
    assert!(list.batch(false).unsaved.is_none());
    assert_eq!(list.batch(true).unsaved.unwrap().len(), 2);
}

#[test]
fn what_others_lack_or_have_in_an_older_version_is_missing_there() {
    let (mut list, index) = (List::default(), Index::default());
    let (a, b) = (of_token("a"), of_caller("b", None));
    list.merge([a.clone(), b.clone()], 9, &index, NOW);
    let missing = |list: &List, there: &[&Record]| {
        let there = there.iter().map(|record| (record.id.clone(), (*record).clone())).collect();
        let mut ids: Vec<String> =
            list.missing(&there).into_iter().map(|record| record.id).collect();
        ids.sort();
        ids
    };
    assert_eq!(missing(&list, &[&a, &b]), [""; 0]);
    assert_eq!(missing(&list, &[&a]), std::slice::from_ref(&b.id));
    let newer = Record { changed_ms: a.changed_ms + 1, taken_back: true, ..a.clone() };
    assert_eq!(missing(&list, &[&newer, &b]), [""; 0]);
    list.take_back(&b.id, &index, b.changed_ms).unwrap();
    assert_eq!(missing(&list, &[&a, &b]), std::slice::from_ref(&b.id));
}
