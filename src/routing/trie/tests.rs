use std::collections::BTreeSet;

use super::*;

fn add(tries: &mut Tries, keys: &[&str]) -> Root {
    let keys: Vec<_> = keys.iter().zip(0..).map(|(key, value)| (key.as_bytes(), value)).collect();
    tries.add(&keys)
}

#[test]
fn the_longest_key_is_found() {
    let mut tries = Tries::default();
    let empty = add(&mut tries, &[]);
    let some = add(&mut tries, &["/", "/v1", "/v1/admin", "/v1/admin/", "/v2"]);
    let all = add(&mut tries, &["", "x"]);
    for (text, value) in [
        ("", None),
        ("x", None),
        ("/", Some(0)),
        ("/x", Some(0)),
        ("/v", Some(0)),
        ("/v1", Some(1)),
        ("/v1/adm", Some(1)),
        ("/v1/admin", Some(2)),
        ("/v1/administrator", Some(2)),
        ("/v1/admin/x", Some(3)),
        ("/v2/", Some(4)),
    ] {
        assert_eq!(tries.longest(some, text.as_bytes()), value, "{text}");
        assert_eq!(tries.longest(empty, text.as_bytes()), None, "{text}");
    }
    assert_eq!(tries.longest(all, b"/"), Some(0));
    assert_eq!(tries.longest(all, b"xy"), Some(1));
}

#[test]
fn tries_agree_with_a_search_through_all_keys() {
    let mut random = fastrand::Rng::with_seed(7);
    let mut word = |longest| -> String {
        (0..random.usize(0..longest)).map(|_| random.choice(['/', 'a', 'b']).unwrap()).collect()
    };
    for _ in 0..2_000 {
        let keys: BTreeSet<String> = (0..8).map(|_| word(6)).collect();
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let mut tries = Tries::default();
        let root = add(&mut tries, &keys);
        for _ in 0..20 {
            let text = word(9);
            let longest = keys
                .iter()
                .zip(0..)
                .filter(|(key, _)| text.starts_with(**key))
                .max_by_key(|(key, _)| key.len())
                .map(|(_, value)| value);
            assert_eq!(tries.longest(root, text.as_bytes()), longest, "{keys:?} {text}");
        }
    }
}

#[test]
fn a_chain_of_ten_thousand_keys_needs_no_stack() {
    let keys: Vec<String> = (1..10_000).map(|length| "a".repeat(length)).collect();
    let mut tries = Tries::default();
    let root = add(&mut tries, &keys.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(tries.longest(root, "a".repeat(5_000).as_bytes()), Some(4_999));
}

#[test]
fn any_byte_may_follow_any_other() {
    let keys: Vec<Vec<u8>> = (0..=u8::MAX).map(|byte| vec![b'/', byte]).collect();
    let keys: Vec<(&[u8], u32)> = keys.iter().map(Vec::as_slice).zip(0..).collect();
    for step in [1, 3, 64] {
        let mut tries = Tries::default();
        let some: Vec<_> = keys.iter().copied().step_by(step).collect();
        let root = tries.add(&some);
        for (key, value) in &keys {
            let expected = some.contains(&(*key, *value)).then_some(*value);
            assert_eq!(tries.longest(root, key), expected, "{key:?} of every {step}");
        }
    }
}
