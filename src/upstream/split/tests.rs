use http::HeaderValue;

use super::BUCKETS;
use crate::edge::{Identity, IdentityFacts};
use crate::model::{Problems, Resolved};
use crate::upstream::fixtures::{Request, codes, compile, config, sound};
use crate::upstream::{Upstream, murmur3_32};

const CANARY: &str = "
  checkout:
    versions:
      - {name: stable, endpoints: [{address: 127.0.0.1:8080}]}
      - {name: canary, endpoints: [{address: 127.0.0.1:8081}]}
";

fn split(stable: u32, canary: u32) -> Upstream {
    sound(
        &format!(
            "{{service: checkout, splits: [{{version: stable, weight: {stable}}}, \
             {{version: canary, weight: {canary}}}]}}"
        ),
        CANARY,
    )
}

fn user(name: &str) -> Request {
    let facts = IdentityFacts { subject: name.into(), ..IdentityFacts::default() };
    Request {
        identity: Some(Identity::prove(facts)),
        id: "request-1".to_owned(),
        ..Request::default()
    }
}

fn version(upstream: &Upstream, request: &Request) -> usize {
    request.with(|facts| upstream.version(facts, 0)).version
}

#[test]
fn without_splits_the_first_version_takes_everything() {
    let upstream = sound("{service: checkout}", CANARY);
    let bucket = user("ada").with(|facts| upstream.version(facts, 0));
    assert_eq!((bucket.version, bucket.bucket, bucket.part), (0, None, None));
}

#[test]
fn every_bucket_goes_where_the_cumulative_weights_say() {
    let plan = split(9500, 500).split.unwrap();
    assert!((0..9500).all(|bucket| plan.version(bucket) == 0));
    assert!((9500..BUCKETS).all(|bucket| plan.version(bucket) == 1));
}

#[test]
fn a_weight_of_zero_gets_nothing() {
    let plan = split(0, BUCKETS).split.unwrap();
    assert!((0..BUCKETS).all(|bucket| plan.version(bucket) == 1));
    let plan = split(BUCKETS, 0).split.unwrap();
    assert!((0..BUCKETS).all(|bucket| plan.version(bucket) == 0));
}

#[test]
fn weights_that_fall_short_leave_the_rest_to_the_last_version_with_a_weight() {
    let splits = "{service: checkout, splits: [{version: stable, weight: 4000}, \
                  {version: canary, weight: 0}]}";
    let (upstream, problems) = compile(splits, &config(CANARY), &Resolved::default());
    assert_eq!(codes(&problems), [("split.sum", "routes[0].upstream.splits")]);
    assert!(!problems.has_errors());
    let plan = upstream.unwrap().split.unwrap();
    assert!((0..BUCKETS).all(|bucket| plan.version(bucket) == 0));
}

#[test]
fn weights_beyond_the_buckets_are_a_warning() {
    for (canary, warned) in [(499, true), (500, false), (501, true)] {
        let splits = format!(
            "{{service: checkout, splits: [{{version: stable, weight: 9500}}, \
             {{version: canary, weight: {canary}}}]}}"
        );
        let (upstream, problems) = compile(&splits, &config(CANARY), &Resolved::default());
        assert!(upstream.is_some());
        assert_eq!(!problems.0.is_empty(), warned, "{canary}");
    }
}

#[test]
fn a_million_users_give_five_percent_within_seven_hundredths() {
    let plan = split(9500, 500).split.unwrap();
    let canary = (0..1_000_000)
        .filter(|n| {
            let bucket = murmur3_32(format!("user-{n}").as_bytes(), 0) % BUCKETS;
            plan.version(bucket) == 1
        })
        .count();
    assert!((49_300..=50_700).contains(&canary), "{canary}");
}

#[test]
fn a_larger_canary_moves_nobody_back() {
    let (small, large) = (split(9500, 500), split(9000, 1000));
    for n in 0..2_000 {
        let request = user(&format!("user-{n}"));
        assert!(version(&small, &request) <= version(&large, &request), "user-{n}");
    }
}

#[test]
fn the_bucket_is_the_plain_hash_of_the_verified_user() {
    let upstream = split(9500, 500);
    let bucket = user("ada").with(|facts| upstream.version(facts, 7));
    assert_eq!(bucket.bucket, Some(murmur3_32(b"ada", 0) % BUCKETS));
    assert_eq!(bucket.part.as_deref(), Some("userId"));
}

#[test]
fn a_user_id_that_the_client_sends_is_not_looked_at() {
    let upstream = split(9500, 500);
    let mut request = Request { id: "request-1".to_owned(), ..Request::default() };
    request.headers.insert("x-user-id", HeaderValue::from_static("ada"));
    let bucket = request.with(|facts| upstream.version(facts, 0));
    assert_eq!(bucket.bucket, Some(murmur3_32(b"request-1", 0) % BUCKETS));
    assert_eq!(bucket.part.as_deref(), Some("requestId"));
}

fn keyed(parts: &str) -> Upstream {
    sound(
        &format!(
            "{{service: checkout, splitKey: [{parts}], splits: [\
             {{version: stable, weight: 5000}}, {{version: canary, weight: 5000}}]}}"
        ),
        CANARY,
    )
}

#[test]
fn the_first_part_that_is_there_and_not_empty_is_the_key() {
    let upstream = keyed("'header:x-group', 'cookie:sid', tenantId");
    let mut request = Request { id: "request-1".to_owned(), ..Request::default() };
    let mut part = |name: &'static str, value: &'static str| {
        request.headers.insert(name, HeaderValue::from_static(value));
        let bucket = request.with(|facts| upstream.version(facts, 0));
        (bucket.part.unwrap().into_owned(), bucket.bucket.unwrap())
    };
    let hash = |key: &str| murmur3_32(key.as_bytes(), 0) % BUCKETS;
    assert_eq!(part("x-group", ""), ("requestId".to_owned(), hash("request-1")));
    assert_eq!(part("cookie", "a=b; sid=s-1"), ("cookie:sid".to_owned(), hash("s-1")));
    assert_eq!(part("x-group", "g-1"), ("header:x-group".to_owned(), hash("g-1")));
}

#[test]
fn the_client_address_is_hashed_as_its_bytes() {
    let upstream = keyed("clientIp");
    for (address, bytes) in [
        ("192.0.2.7", vec![192, 0, 2, 7]),
        ("::1", vec![0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
    ] {
        let request = Request { client: address.parse().ok(), ..Request::default() };
        let bucket = request.with(|facts| upstream.version(facts, 0));
        assert_eq!(bucket.bucket, Some(murmur3_32(&bytes, 0) % BUCKETS));
        assert_eq!(bucket.part.as_deref(), Some("clientIp"));
    }
}

#[test]
fn random_spreads_by_entropy_alone() {
    let upstream = keyed("random");
    let request = user("ada");
    let bucket = |entropy| request.with(|facts| upstream.version(facts, entropy)).bucket;
    assert_eq!(bucket(0), Some(0));
    assert_eq!(bucket(9_999), Some(9_999));
    assert_eq!(bucket(10_000), Some(0));
    assert_eq!(bucket(u64::MAX), Some(1_615));
}

fn findings(upstream: &str) -> (bool, Problems) {
    let (compiled, problems) = compile(upstream, &config(CANARY), &Resolved::default());
    (compiled.is_some(), problems)
}

#[test]
fn a_split_of_an_unknown_version_says_what_was_meant() {
    let (compiled, problems) = findings(
        "{service: checkout, splits: [{version: stabel, weight: 9500}, \
         {version: canary, weight: 500}]}",
    );
    assert!(!compiled);
    assert_eq!(codes(&problems), [("reference.unknown", "routes[0].upstream.splits[0].version")]);
    assert_eq!(problems.0[0].help.as_deref(), Some("did you mean `stable`?"));
}

#[test]
fn a_version_has_one_share_and_somebody_has_weight() {
    let (compiled, problems) = findings(
        "{service: checkout, splits: [{version: canary, weight: 0}, {version: canary, weight: 0}]}",
    );
    assert!(!compiled);
    assert_eq!(
        codes(&problems),
        [
            ("split.duplicate", "routes[0].upstream.splits[1].version"),
            ("split.weights", "routes[0].upstream.splits"),
        ]
    );
}

#[test]
fn parts_that_make_no_sense_to_a_split_are_refused() {
    for (part, sound) in [
        ("routeName", false),
        ("plan", false),
        ("'header:no spaces'", false),
        ("apiKey", true),
        ("'claim:team'", true),
        ("'header:x-group'", true),
    ] {
        let (compiled, problems) = findings(&format!(
            "{{service: checkout, splitKey: [{part}], splits: [\
             {{version: stable, weight: 10000}}]}}"
        ));
        assert_eq!(compiled, sound, "{part}: {problems:?}");
        if !sound {
            assert_eq!(codes(&problems), [("split.key", "routes[0].upstream.splitKey[0]")]);
        }
    }
}

#[test]
fn keys_that_are_not_what_they_seem_are_warned_of() {
    let (compiled, problems) = findings(
        "{service: checkout, splitKey: ['header:X-User-Id', requestId, userId], splits: [\
         {version: stable, weight: 10000}]}",
    );
    assert!(compiled);
    assert_eq!(
        codes(&problems),
        [
            ("split.spoofable", "routes[0].upstream.splitKey[0]"),
            ("split.key", "routes[0].upstream.splitKey[2]"),
        ]
    );
    let (compiled, problems) = findings("{service: checkout, splitKey: [userId]}");
    assert!(compiled);
    assert_eq!(codes(&problems), [("split.key", "routes[0].upstream.splitKey")]);
}
