use serde_json::json;

use super::*;
use crate::auth::revocation::testing::{of_caller, of_provider, of_token};

#[test]
fn every_record_survives_being_written() {
    let mut taken_back = of_caller("alice", Some(5));
    taken_back.taken_back = true;
    let provider = Some("main".to_owned());
    let of_one = Record::new(Grounds::Token { id: "a".to_owned(), provider }, 9, 1);
    for record in [of_token("a"), of_one, of_caller("a", None), taken_back, of_provider("p", 7)] {
        let text = record.to_value().to_string();
        assert_eq!(Record::read(text.as_bytes()), Some(record), "{text}");
    }
}

#[test]
fn ids_tell_revocations_apart_and_are_the_same_everywhere() {
    let (of, any) = (|name: &str| Some(name.to_owned()), None);
    let token = |id: &str, provider| Grounds::Token { id: id.to_owned(), provider }.id();
    let ids = [
        token("a", any),
        token("a", of("b")),
        token("ab", None),
        of_caller("a", None).id,
        of_caller("a", Some(0)).id,
        of_caller("a", Some(1)).id,
        of_provider("main", 0).id,
        of_provider("main", 1).id,
    ];
    let distinct: std::collections::HashSet<_> = ids.iter().collect();
    assert_eq!(distinct.len(), ids.len());
    assert!(ids.iter().all(|id| id.len() == 32));
    assert_eq!(of_token("a").id, Record::new(of_token("a").grounds, 1, 1).id);
}

#[test]
fn what_is_not_a_record_is_not_read() {
    let good = of_caller("alice", None).to_value();
    for (member, value) in [
        ("id", json!("0")),
        ("subject", json!("bob")),
        ("subject", json!(null)),
        ("provider", json!(1)),
        ("tokenId", json!("x")),
        ("issuedBefore", json!(-1)),
        ("expiresAt", json!("tomorrow")),
        ("takenBack", json!(1)),
    ] {
        let mut bad = good.clone();
        bad[member] = value.clone();
        assert_eq!(Record::from_value(bad), None, "{member}: {value}");
    }
    for text in ["", "{}", "[]", "1", "{\"id\":", "\u{0}"] {
        assert_eq!(Record::read(text.as_bytes()), None, "{text:?}");
    }
    assert_eq!(Record::read(b"\xff\xfe"), None);
    assert!(Record::from_value(good).is_some());
}

#[test]
fn the_later_change_counts_and_at_once_the_one_that_refuses_more() {
    let record = |changed_ms, taken_back, expires_at| Record {
        expires_at,
        changed_ms,
        taken_back,
        ..of_token("a")
    };
    let order = [
        record(1, true, 9),
        record(1, false, 5),
        record(1, false, 9),
        record(2, true, 1),
        record(2, false, 1),
    ];
    for (at, lower) in order.iter().enumerate() {
        assert!(!lower.supersedes(lower));
        for higher in &order[at + 1..] {
            assert!(higher.supersedes(lower) && !lower.supersedes(higher), "{higher:?} {lower:?}");
        }
    }
}
