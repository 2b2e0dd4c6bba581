use serde_json::{Map, Value, json};

use super::*;

const BOUNDS: Bounds = Bounds { depth: 3, values: 4 };

fn read(text: &str) -> Result<Map<String, Value>, JsonRefused> {
    object(text.as_bytes(), BOUNDS).map(Map::from)
}

#[test]
fn every_kind_of_value_is_read_as_it_stands() {
    let bounds = Bounds { depth: 16, values: 100 };
    let written = json!({
        "text": "ä\u{0}\"", "whole": 7, "negative": -7, "large": u64::MAX, "fraction": 1.5,
        "huge": 1e300, "yes": true, "no": false, "nothing": null, "list": [1, [], {}],
        "object": {"a": {"a": 1}}, "": "an empty name",
    });
    let text = written.to_string();
    let read = object(text.as_bytes(), bounds).unwrap();
    assert_eq!(read.count(), 17);
    assert_eq!(Value::Object(read.into()), written);
}

#[test]
fn a_name_that_comes_twice_is_refused_wherever_and_however() {
    for text in [
        r#"{"a":1,"a":1}"#,
        r#"{"a":1,"a":2}"#,
        r#"{"a":1,"b":{},"a":2}"#,
        r#"{"a":1,"\u0061":2}"#,
        r#"{"b":{"a":1,"a":2}}"#,
        r#"{"b":[{"a":1,"a":2}]}"#,
        r#"{"":1,"":2}"#,
    ] {
        assert!(matches!(read(text), Err(JsonRefused::Repetition)), "{text}");
    }
    // Names differ by case, and objects have names of their own.
    assert!(read(r#"{"a":{"a":1},"A":2}"#).is_ok());
}

#[test]
fn depth_counts_objects_and_lists() {
    for text in [r#"{"a":{"a":{}}}"#, r#"{"a":[[]]}"#, r#"{"a":[{"a":1}]}"#] {
        assert!(read(text).is_ok(), "{text}");
    }
    for text in [r#"{"a":{"a":{"a":{}}}}"#, r#"{"a":[[[]]]}"#, r#"{"a":[{"a":[]}]}"#] {
        assert!(matches!(read(text), Err(JsonRefused::TooDeep)), "{text}");
    }
}

#[test]
fn values_are_counted_over_all_levels() {
    for text in [r#"{"a":1,"b":2,"c":3,"d":4}"#, r#"{"a":[1,2,3]}"#, r#"{"a":{"b":[1,2]}}"#] {
        assert!(read(text).is_ok(), "{text}");
    }
    for text in
        [r#"{"a":1,"b":2,"c":3,"d":4,"e":5}"#, r#"{"a":[1,2,3,4]}"#, r#"{"a":{"b":[1,2,3]}}"#]
    {
        assert!(matches!(read(text), Err(JsonRefused::TooMany)), "{text}");
    }
}

#[test]
fn other_things_than_one_object_are_refused() {
    for text in ["null", "true", "1", "\"a\"", "[]", "[{}]"] {
        assert!(matches!(read(text), Err(JsonRefused::NotAnObject)), "{text}");
    }
    for text in [
        "",
        " ",
        "{",
        "}",
        "{}x",
        "{}{}",
        "{} {}",
        "\u{feff}{}",
        "{'a':1}",
        "{a:1}",
        "{\"a\":1,}",
        "{\"a\":01}",
        "{\"a\":+1}",
        "{\"a\":.5}",
        "{\"a\":1.}",
        "{\"a\":NaN}",
        "{\"a\":Infinity}",
        "{\"a\":1e400}",
        "{\"a\":\"\\ud800\"}",
        "{\"a\":\"\u{1}\"}",
        "{\"a\":\"\n\"}",
        "{/**/}",
        "{\"a\":1}//",
        "{\"a\":undefined}",
    ] {
        assert!(matches!(read(text), Err(JsonRefused::Malformed(_))), "{text:?}");
    }
    assert!(matches!(object(b"{\"a\":\"\xff\"}", BOUNDS), Err(JsonRefused::Malformed(_))));
    assert!(matches!(object(b"\x7b\x00\x7d\x00", BOUNDS), Err(JsonRefused::Malformed(_))));
}

#[test]
fn a_repetition_is_found_among_many_members() {
    let bounds = Bounds { depth: 1, values: 1000 };
    for count in [2, 15, 16, 17, 18, 500] {
        let names = (0..count).map(|number| format!("n{number}")).collect::<Vec<_>>();
        let object_of = |names: &[String]| {
            let members = names.iter().map(|name| format!("\"{name}\":\"{name}\""));
            format!("{{{}}}", members.collect::<Vec<_>>().join(","))
        };
        let text = object_of(&names);
        let members = object(text.as_bytes(), bounds).unwrap();
        for name in &names {
            assert_eq!(members.get(name).and_then(super::Value::as_str), Some(name.as_str()));
        }
        for (at, again) in [(0, count - 1), (count - 1, 0), (count / 2, 0), (0, count / 2)] {
            let mut names = names.clone();
            let name = names[at].clone();
            names.insert(again, name);
            let text = object_of(&names);
            let refused = object(text.as_bytes(), bounds);
            assert!(matches!(refused, Err(JsonRefused::Repetition)), "{text}");
        }
    }
}

#[test]
fn texts_are_borrowed_unless_they_have_escapes() {
    let text = r#"{"plain":"text","esc\u0061ped":"\n"}"#;
    let members = object(text.as_bytes(), BOUNDS).unwrap();
    let value = |name: &str| members.get(name).cloned().unwrap();
    assert!(matches!(value("plain"), super::Value::String(Cow::Borrowed("text"))));
    assert!(matches!(value("escaped"), super::Value::String(Cow::Owned(text)) if text == "\n"));
    assert!(!format!("{members:?}").contains("text"), "names alone are shown");
}
