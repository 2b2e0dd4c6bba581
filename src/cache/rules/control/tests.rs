use http::HeaderValue;

use super::*;

fn headers(name: &HeaderName, lines: &[&str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in lines {
        headers.append(name, HeaderValue::from_str(line).unwrap());
    }
    headers
}

fn answer(lines: &[&str]) -> AnswerControl {
    AnswerControl::of(&headers(&header::CACHE_CONTROL, lines)).unwrap()
}

fn request(lines: &[&str]) -> RequestControl {
    RequestControl::of(&headers(&header::CACHE_CONTROL, lines))
}

#[test]
fn seconds_are_read_and_what_cannot_be_is_no_time_at_all() {
    for (line, seconds) in [
        ("max-age=60", 60),
        ("MaX-aGe=60", 60),
        ("max-age=\"60\"", 60),
        ("max-age=0060", 60),
        ("max-age=2147483648", SECONDS_MAX),
        ("max-age=99999999999999999999", SECONDS_MAX),
        ("max-age", 0),
        ("max-age=", 0),
        ("max-age=-1", 0),
        ("max-age=1.5", 0),
        ("max-age='60'", 0),
        ("max-age=60s", 0),
        ("max-age =60", 0),
        ("max-age= 60", 0),
        ("max-age=\"60", 0),
        ("max-age=6\"0", 0),
    ] {
        assert_eq!(answer(&[line]).max_age, Some(seconds), "{line}");
    }
    assert_eq!(answer(&["s-maxage=5, max-age=60"]).s_maxage, Some(5));
    assert_eq!(answer(&["public"]).max_age, None);
}

#[test]
fn of_several_values_the_smallest_counts() {
    assert_eq!(answer(&["max-age=1800, max-age=1"]).max_age, Some(1));
    assert_eq!(answer(&["max-age=1", "max-age=1800"]).max_age, Some(1));
    assert_eq!(answer(&["max-age=1800, max-age=x"]).max_age, Some(0));
}

#[test]
fn what_is_quoted_is_no_directive() {
    let control = answer(&[r#"x="max-age=3600, no-store", max-age=1, y="\", private""#]);
    assert_eq!((control.max_age, control.no_store), (Some(1), false));
    assert_eq!(control.private, Fields::None);
    let open = answer(&[r#"max-age=5, x="open, max-age=3600, no-store"#]);
    assert_eq!((open.max_age, open.no_store), (Some(5), true), "a string without an end is none");
}

#[test]
fn directives_without_a_value_count_with_one_too() {
    let control = answer(&["no-store=0, must-revalidate=x, ,public, IMMUTABLE,no-transform"]);
    assert!(control.no_store && control.must_revalidate && control.public && control.immutable);
    assert!(control.no_transform && !control.proxy_revalidate && !control.must_understand);
}

#[test]
fn fields_are_those_of_a_quoted_list() {
    let names = |control: AnswerControl| match control.private {
        Fields::Names(names) => names.iter().map(|name| name.as_str().to_owned()).collect(),
        other => vec![format!("{other:?}")],
    };
    assert_eq!(names(answer(&["private=\"set-cookie\""])), ["set-cookie"]);
    assert_eq!(names(answer(&["private=\"A, b\", private=\"c\""])), ["a", "b", "c"]);
    for whole in ["private", "private=a", "private=\"a b\"", "private=\"a\", private"] {
        assert_eq!(names(answer(&[whole])), ["All"], "{whole}");
    }
    assert_eq!(answer(&["no-cache=\"x\""]).private, Fields::None);
}

#[test]
fn stale_answers_are_allowed_only_in_words_that_can_be_read() {
    let control = answer(&["stale-while-revalidate=30, stale-if-error=x"]);
    assert_eq!(control.stale_while_revalidate, Some(30));
    assert_eq!(control.stale_if_error, Some(0));
}

#[test]
fn a_request_says_what_it_will_have() {
    let control = request(&["max-age=10, min-fresh=5, max-stale=7, only-if-cached"]);
    assert_eq!((control.max_age, control.min_fresh), (Some(10), Some(5)));
    assert_eq!((control.max_stale, control.only_if_cached), (Some(7), true));
    assert_eq!(request(&["max-stale"]).max_stale, Some(SECONDS_MAX));
    assert_eq!(request(&["max-stale, max-stale=3"]).max_stale, Some(3));
    assert_eq!(request(&["max-stale=x"]).max_stale, Some(0));
    assert_eq!(request(&["min-fresh=x"]).min_fresh, Some(SECONDS_MAX));
    assert_eq!(request(&["min-fresh=2, min-fresh=9"]).min_fresh, Some(9));
    assert!(request(&["no-cache"]).no_cache && request(&["No-Store"]).no_store);
}

#[test]
fn pragma_counts_only_alone() {
    let mut headers = headers(&header::PRAGMA, &["x, No-Cache"]);
    assert!(RequestControl::of(&headers).no_cache);
    headers.append(header::CACHE_CONTROL, HeaderValue::from_static("max-age=1"));
    assert!(!RequestControl::of(&headers).no_cache);
    assert_eq!(RequestControl::of(&HeaderMap::new()), RequestControl::default());
}

#[test]
fn any_bytes_are_read_without_a_panic() {
    let mut random = fastrand::Rng::with_seed(9);
    let letters = b"max-age=,\"\\ ;private\x80\xff\t0123";
    for _ in 0..20_000 {
        let length = random.usize(0..40);
        let line: Vec<u8> = (0..length).map(|_| letters[random.usize(0..letters.len())]).collect();
        let Ok(value) = HeaderValue::from_bytes(&line) else { continue };
        let mut headers = HeaderMap::new();
        headers.append(header::CACHE_CONTROL, value);
        let _ = (AnswerControl::of(&headers), RequestControl::of(&headers));
    }
}
