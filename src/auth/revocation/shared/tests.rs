use super::*;
use crate::auth::revocation::testing::{NOW, of_token};

fn fields(records: &[Record]) -> Vec<Vec<u8>> {
    let both = |record: &Record| [record.id.clone(), record.to_value().to_string()];
    records.iter().flat_map(both).map(String::into_bytes).collect()
}

#[test]
fn records_are_taken_and_garbage_is_counted() {
    let mut found = Found::default();
    let mut sent = fields(&[of_token("a")]);
    sent.extend([b"version".to_vec(), b"\xff".to_vec(), b"x".to_vec(), b"{}".to_vec()]);
    // A good record under another's name.
    let [_, value] = <[_; 2]>::try_from(fields(&[of_token("b")])).unwrap();
    sent.extend([b"other".to_vec(), value, b"without a value".to_vec()]);
    assert!(found.take(sent, 10, NOW).is_empty());
    let ids: Vec<&String> = found.records.keys().collect();
    assert_eq!((ids, found.unreadable, found.beyond), (vec![&of_token("a").id], 2, 0));
}

#[test]
fn what_is_over_is_left_out_and_later_removed() {
    let record = of_token("a");
    let take = |now| {
        let mut found = Found::default();
        let over = found.take(fields(std::slice::from_ref(&record)), 10, now);
        (found.records.len(), over.len())
    };
    let end = record.expires_at;
    assert_eq!(take(end - 1), (1, 0));
    assert_eq!(take(end), (0, 0));
    assert_eq!(take(end + OVER_SECONDS - 1), (0, 0));
    assert_eq!(take(end + OVER_SECONDS), (0, 1));
}

#[test]
fn a_list_beyond_the_bound_is_cut_and_counted() {
    let records: Vec<Record> = (0..5).map(|n| of_token(&n.to_string())).collect();
    let mut found = Found::default();
    found.take(fields(&records), 3, NOW);
    // What comes twice is one.
    found.take(fields(&records[..1]), 3, NOW);
    assert_eq!((found.records.len(), found.beyond), (3, 2));
}
