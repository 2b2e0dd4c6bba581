use serde_json::json;

use super::*;

const BOUNDS: Bounds = Bounds { depth: 3, values: 4 };

fn read(text: &str) -> Result<Map<String, Value>, JsonRefused> {
    object(text.as_bytes(), BOUNDS)
}

#[test]
fn every_kind_of_value_is_read_as_it_stands() {
    let bounds = Bounds { depth: 16, values: 100 };
    let written = json!({
        "text": "ä\u{0}\"", "whole": 7, "negative": -7, "large": u64::MAX, "fraction": 1.5,
        "huge": 1e300, "yes": true, "no": false, "nothing": null, "list": [1, [], {}],
        "object": {"a": {"a": 1}}, "": "an empty name",
    });
    let read = object(written.to_string().as_bytes(), bounds).unwrap();
    assert_eq!(Value::Object(read), written);
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
