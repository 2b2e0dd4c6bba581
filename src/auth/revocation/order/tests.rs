use serde_json::json;

use super::*;
use crate::auth::testing::now;
use crate::model;

fn settings() -> Settings {
    let vouchers = ["main", "apiKeys"].map(str::to_owned).to_vec();
    Settings { written: model::Revocation::default(), vouchers }
}

fn order(body: &str) -> Result<Record, Vec<String>> {
    read(body.as_bytes(), &settings(), now())
}

const NOW: u64 = 1_800_000_000;

#[test]
fn each_kind_is_read_with_its_usual_end() {
    let (main, text) = (|| "main".to_owned(), |text: &str| text.to_owned());
    for (body, grounds) in [
        (json!({"tokenId": "t"}), Grounds::Token { id: text("t"), provider: None }),
        (
            json!({"tokenId": "t", "provider": "main"}),
            Grounds::Token { id: text("t"), provider: Some(main()) },
        ),
        (
            json!({"provider": "main", "subject": "alice"}),
            Grounds::Subject { provider: main(), subject: text("alice"), issued_before: None },
        ),
        (
            json!({"provider": "main", "subject": "alice", "issuedBefore": "now"}),
            Grounds::Subject {
                provider: main(),
                subject: text("alice"),
                issued_before: Some(NOW + 1),
            },
        ),
        (
            json!({"provider": "main", "issuedBefore": NOW - 5}),
            Grounds::Provider { provider: main(), issued_before: NOW - 5 },
        ),
    ] {
        let expected = Record::new(grounds, NOW + 86_400, NOW * 1000);
        assert_eq!(order(&body.to_string()), Ok(expected), "{body}");
    }
}

#[test]
fn times_are_seconds_or_rfc_3339() {
    for (time, expected) in [
        (json!(NOW + 60), NOW + 60),
        (json!("2027-01-15T08:01:00Z"), NOW + 60),
        (json!("2027-01-15T10:01:00+02:00"), NOW + 60),
        (json!("2027-01-15T02:31:00.5-05:30"), NOW + 60),
    ] {
        let record = order(&json!({"tokenId": "t", "expiresAt": time}).to_string()).unwrap();
        assert_eq!(record.expires_at, expected, "{time}");
        assert_eq!(seconds(&written(expected).into()), Some(expected));
    }
    for bad in [
        json!(-1),
        json!(1.5),
        json!("tomorrow"),
        json!("2027-01-15"),
        json!("2027-01-15T08:01:00"),
        json!("2027-01-15T08:01:00+2:00"),
        json!("2027-01-15T08:01:00+24:00"),
        json!("2027-01-15T08:01:00+00:60"),
        json!("1800000060"),
        json!("Z"),
        json!(""),
        json!("ä+00:00"),
        json!(null),
        json!([]),
    ] {
        let problems = order(&json!({"tokenId": "t", "expiresAt": bad}).to_string()).unwrap_err();
        assert_eq!(problems, ["`expiresAt` is not a time: Unix seconds or RFC 3339"], "{bad}");
    }
}

#[test]
fn ends_and_times_out_of_range_are_refused_at_the_boundary() {
    let end = |time: u64| order(&json!({"tokenId": "t", "expiresAt": time}).to_string()).is_ok();
    assert!(!end(NOW) && end(NOW + 1));
    assert!(end(NOW + END_SECONDS_MAX) && !end(NOW + END_SECONDS_MAX + 1));
    let before =
        |time: u64| order(&json!({"provider": "main", "issuedBefore": time}).to_string()).is_ok();
    assert!(before(0) && before(NOW + AHEAD_SECONDS_MAX));
    assert!(!before(NOW + AHEAD_SECONDS_MAX + 1) && !before(NOW * 1000));
    let long = |bytes| order(&json!({"tokenId": "x".repeat(bytes)}).to_string()).is_ok();
    assert!(long(TEXT_BYTES_MAX) && !long(TEXT_BYTES_MAX + 1));
}

#[test]
fn all_problems_are_named() {
    let bad = json!({"tokenId": 1, "provider": "mian", "subject": "", "expiresAt": 5, "reason": 1});
    assert_eq!(
        order(&bad.to_string()).unwrap_err(),
        [
            "`tokenId` is not a text",
            "`subject` is empty",
            "`expiresAt` has passed already",
            "there is no member `reason`",
            "`provider`: nobody is called `mian`; there are main, apiKeys",
            "a `tokenId` names one token: it goes with `provider`, not with `subject` or \
             `issuedBefore`",
        ]
    );
}

#[test]
fn combinations_that_mean_nothing_are_refused() {
    for body in [
        "{}",
        r#"{"provider": "main"}"#,
        r#"{"subject": "alice"}"#,
        r#"{"issuedBefore": 5}"#,
        r#"{"expiresAt": 1800000060}"#,
        r#"{"tokenId": "t", "issuedBefore": 5}"#,
        r#"{"tokenId": "t", "provider": "main", "subject": "alice"}"#,
        r#"{"tokenId": "a\nb"}"#,
        r#"{"tokenId": "t", "tokenId": "u"}"#,
        r#"{"provider": "main", "subject": "a", "subject": "b"}"#,
    ] {
        assert_eq!(order(body).map_err(|problems| problems.len()), Err(1), "{body}");
    }
    for body in ["", "[]", "1", "{", "null", "{\"tokenId\": \"t\"} x", "\u{0}"] {
        assert_eq!(order(body).unwrap_err(), ["the body is not a JSON object"], "{body:?}");
    }
}

#[test]
fn what_is_shown_again_is_short_and_plain() {
    let name = "\u{1b}[31m".repeat(100);
    let body = json!({"tokenId": "t", name: 1}).to_string();
    let problems = order(&body).unwrap_err();
    assert!(problems[0].len() < 100 && !problems[0].contains('\u{1b}'), "{problems:?}");
}
