//! Look-ups against a database that fails on command and a real Redis, which fails on command
//! too.

use std::sync::Arc;

use tidegate_kit::{Outcome, Redis, wait};

use super::*;
use crate::auth::api_key::{KeyHash, Keys};
use crate::auth::database::KeyRecord;
use crate::auth::lookup::flight::FLIGHTS_MAX;
use crate::auth::lookup::testing::{FakeRecords, Mood, lookup};
use crate::auth::lookup::{Known, Local};
use crate::auth::testing::{after, now};

const TERMS: Terms = Terms {
    cache: Duration::from_mins(5),
    negative: Duration::from_secs(10),
    stale: Duration::from_hours(1),
};
const KEY: KeyHash = [7; 32];

fn record(client: &str) -> KeyRecord {
    KeyRecord {
        id: "key_abc".to_owned(),
        client_id: client.to_owned(),
        tenant_id: None,
        plan: None,
        scopes: Vec::new(),
        roles: Vec::new(),
        products: Vec::new(),
        active: true,
        created_at: 0,
        expires_at: None,
    }
}

/// A node.
struct Node {
    lookup: Lookup,
    known: Known<Keys>,
    metrics: Arc<Metrics>,
}

impl Node {
    fn new(records: &Arc<FakeRecords>) -> Self {
        let metrics = Arc::new(Metrics::new().unwrap());
        let known = Known::new(&metrics);
        known.clear(64);
        Self { lookup: lookup(records, &metrics), known, metrics }
    }

    /// One that shares a Redis, which it leaves alone for a minute after two failures.
    fn sharing(records: &Arc<FakeRecords>, redis: &Redis) -> Self {
        let node = Self::new(records);
        let link = link::Redis::new(&link::Settings {
            timeout: Duration::from_millis(250),
            ..link::Settings::server(&redis.url(), "test")
        });
        let breaker = link::Breaker::new(2, Duration::from_mins(1));
        let cache = Some(Cache::new(link, breaker, &node.metrics));
        let records = Arc::clone(records);
        node.lookup.set(Sources::with(records, cache, Duration::from_secs(2), &node.metrics));
        node
    }

    /// Whether the key is found, as a request at this time hears it.
    async fn find(&self, key: KeyHash, now: Moment) -> Result<bool, Unavailable> {
        match self.known.look(&key, now, &TERMS) {
            Local::Found(_) => Ok(true),
            Local::Nobody => Ok(false),
            Local::Unknown => {
                let answer = self.lookup.ask(&self.known, Some(TERMS), &key, now).await;
                answer.map(|found| found.is_some())
            }
        }
    }

    fn count(&self, outcome: &str) -> u64 {
        self.metrics.lookups.with_label_values(&["apiKey", outcome]).get()
    }

    fn redis_failures(&self) -> u64 {
        self.metrics.lookup_redis_failures.get()
    }
}

fn records() -> Arc<FakeRecords> {
    let records = Arc::new(FakeRecords::default());
    records.put_key(KEY, record("partner"));
    records
}

/// R102: one question, then none for 300 seconds; none about who is not there for 10.
#[tokio::test]
async fn what_was_found_counts_for_its_time() {
    let records = records();
    let node = Node::new(&records);
    for second in [0, 1, 299] {
        assert_eq!(node.find(KEY, after(second)).await, Ok(true));
    }
    assert_eq!((records.asked(), node.count("local"), node.count("database")), (1, 2, 1));
    assert_eq!(node.find(KEY, after(300)).await, Ok(true));
    assert_eq!(records.asked(), 2, "at the end of its time it is asked again");

    for second in [0, 9] {
        assert_eq!(node.find([8; 32], after(second)).await, Ok(false));
    }
    assert_eq!((records.asked(), node.count("none")), (3, 2));
    assert_eq!(node.find([8; 32], after(10)).await, Ok(false));
    assert_eq!(records.asked(), 4);
}

#[tokio::test]
async fn a_key_that_is_switched_off_is_like_none() {
    let records = records();
    records.put_key(KEY, KeyRecord { active: false, ..record("partner") });
    let node = Node::new(&records);
    assert_eq!(node.find(KEY, now()).await, Ok(false));
    records.put_key(KEY, record("partner"));
    assert_eq!(node.find(KEY, after(9)).await, Ok(false));
    assert_eq!(node.find(KEY, after(10)).await, Ok(true), "as soon as none would be");
}

#[tokio::test]
async fn many_who_come_at_once_cost_one_question() {
    let records = records();
    let node = Arc::new(Node::new(&records));
    records.set_mood(Mood::Holds);
    node.lookup.set(Sources::with(
        Arc::clone(&records) as Arc<dyn Records>,
        None,
        Duration::from_secs(10),
        &node.metrics,
    ));
    let ask = || {
        let node = Arc::clone(&node);
        tokio::spawn(async move { node.find(KEY, now()).await })
    };
    let first = ask();
    let asked = || async { (records.asked() == 1).then_some(()) };
    wait::until("the question", asked).await.unwrap();
    let others: Vec<_> = (0..20).map(|_| ask()).collect();
    tokio::task::yield_now().await;
    // The one that began it goes away, and takes nothing from the others.
    first.abort();
    records.release();
    for other in others {
        assert_eq!(other.await.unwrap(), Ok(true));
    }
    assert_eq!(records.asked(), 1);
}

#[tokio::test]
async fn look_ups_under_way_are_bounded() {
    let records = records();
    let node = Arc::new(Node::new(&records));
    let ask = |number: usize| {
        let node = Arc::clone(&node);
        let key = std::array::from_fn(|at| number.to_be_bytes().get(at).copied().unwrap_or(1));
        tokio::spawn(async move { node.find(key, now()).await })
    };
    records.set_mood(Mood::Holds);
    node.lookup.set(Sources::with(
        Arc::clone(&records) as Arc<dyn Records>,
        None,
        Duration::from_secs(10),
        &node.metrics,
    ));
    let waiting: Vec<_> = (0..FLIGHTS_MAX).map(ask).collect();
    let full = || async { (records.asked() as usize == FLIGHTS_MAX).then_some(()) };
    wait::until("all questions", full).await.unwrap();
    assert_eq!(ask(FLIGHTS_MAX).await.unwrap(), Err(Unavailable));
    waiting.iter().for_each(tokio::task::JoinHandle::abort);
}

/// The database × {down, slow, wrong, back}: what is known counts on, what is not is unavailable,
/// and when it is back it is asked at once.
#[tokio::test]
async fn every_failure_of_the_database_is_unavailable_until_it_is_back() {
    for mood in [Mood::Down, Mood::Hangs, Mood::Garbled] {
        let records = records();
        records.put_key([9; 32], record("other"));
        let node = Node::new(&records);
        assert_eq!(node.find(KEY, now()).await, Ok(true));
        records.set_mood(mood);
        assert_eq!(node.find(KEY, after(299)).await, Ok(true), "{mood:?}");
        assert_eq!(node.find(KEY, after(300)).await, Err(Unavailable), "{mood:?}");
        assert_eq!(node.find([9; 32], now()).await, Err(Unavailable), "{mood:?}");
        assert_eq!((node.count("unavailable"), node.metrics.database_up.get()), (2, 0));
        // `failureMode: stale`.
        assert!(node.known.last(&KEY, after(3599), &TERMS).is_some(), "{mood:?}");
        assert!(node.known.last(&KEY, after(3600), &TERMS).is_none(), "{mood:?}");
        assert!(node.known.last(&[9; 32], after(1), &TERMS).is_none(), "{mood:?}");
        assert_eq!(node.count("stale"), 1);
        records.set_mood(Mood::Well);
        assert_eq!(node.find([9; 32], now()).await, Ok(true), "{mood:?}");
        assert_eq!(node.metrics.database_up.get(), 1);
    }
}

#[tokio::test]
async fn news_end_what_is_known_and_what_is_on_its_way() {
    let records = records();
    let node = Arc::new(Node::new(&records));
    assert_eq!(node.find(KEY, now()).await, Ok(true));
    records.put_key(KEY, KeyRecord { active: false, ..record("partner") });
    assert_eq!(node.find(KEY, now()).await, Ok(true));
    node.known.forget(&KEY);
    assert_eq!(node.find(KEY, now()).await, Ok(false), "at once");

    // A look-up that began before the news keeps nothing.
    let purges = node.known.purges();
    node.known.forget(&KEY);
    node.known.keep(&KEY, Some(&value()), Since::ago(Duration::ZERO, now()), purges);
    assert!(matches!(node.known.look(&KEY, now(), &TERMS), Local::Unknown));
}

fn value() -> Arc<<Keys as Kind>::Value> {
    Arc::new(Keys::value(record("partner")).unwrap())
}

/// Keys that somebody makes up displace nothing that is good.
#[tokio::test]
async fn a_flood_of_unknown_keys_displaces_no_good_one() {
    let records = records();
    let node = Node::new(&records);
    assert_eq!(node.find(KEY, now()).await, Ok(true));
    for number in 0..2_000_u32 {
        let mut key = [1; 32];
        key[..4].copy_from_slice(&number.to_be_bytes());
        assert_eq!(node.find(key, now()).await, Ok(false));
    }
    let asked = records.asked();
    assert_eq!(node.find(KEY, now()).await, Ok(true));
    assert_eq!(records.asked(), asked);
}

/// Waits until Redis holds an answer about the key; its value.
async fn stored(redis: &Redis) -> tidegate_kit::Result<String> {
    let name = format!("test:{}", Keys::redis_key(&KEY));
    wait::until("the answer in Redis", async || {
        redis.query(&["GET", &name]).await.ok()?.texts().pop().filter(|text| text != "purged")
    })
    .await
}

#[tokio::test]
async fn nodes_share_what_one_of_them_found() -> Outcome {
    let (redis, records) = (Redis::start().await?, records());
    let node = Node::sharing(&records, &redis);
    assert_eq!(node.find(KEY, now()).await, Ok(true));
    let text = stored(&redis).await?;
    assert!(text.contains("partner"), "{text}");
    let left = redis.query(&["PTTL", &format!("test:{}", Keys::redis_key(&KEY))]).await?;
    let left = left.number().unwrap_or_default();
    assert!((3_590_000..=3_600_000).contains(&left), "kept for staleTtl: {left}");

    let second = Node::sharing(&records, &redis);
    assert_eq!(second.find(KEY, after(299)).await, Ok(true));
    assert_eq!((records.asked(), second.count("redis")), (1, 1));
    // It counts from when the database was read, not from when Redis was.
    assert_eq!(second.find(KEY, after(300)).await, Ok(true));
    assert_eq!(records.asked(), 2);

    // Old, but better than nothing while nobody can be asked.
    records.set_mood(Mood::Down);
    let third = Node::sharing(&records, &redis);
    assert_eq!(third.find(KEY, after(700)).await, Err(Unavailable));
    assert!(third.known.last(&KEY, after(700), &TERMS).is_some());
    assert!(third.known.last(&KEY, after(4_000), &TERMS).is_none());
    Ok(())
}

#[tokio::test]
async fn nodes_share_that_there_is_nobody() -> Outcome {
    let (redis, records) = (Redis::start().await?, Arc::new(FakeRecords::default()));
    let node = Node::sharing(&records, &redis);
    assert_eq!(node.find(KEY, now()).await, Ok(false));
    stored(&redis).await?;
    let second = Node::sharing(&records, &redis);
    assert_eq!(second.find(KEY, after(9)).await, Ok(false));
    assert_eq!(records.asked(), 1);
    let third = Node::sharing(&records, &redis);
    assert_eq!(third.find(KEY, after(10)).await, Ok(false));
    assert_eq!(records.asked(), 2);
    Ok(())
}

/// Whoever changes a record leaves the word `purged`; no answer from before comes over it.
#[tokio::test]
async fn a_purge_in_redis_stays() -> Outcome {
    let (redis, records) = (Redis::start().await?, records());
    let name = format!("test:{}", Keys::redis_key(&KEY));
    redis.query(&["SET", &name, "purged", "PX", "60000"]).await?;
    let node = Node::sharing(&records, &redis);
    assert_eq!(node.find(KEY, now()).await, Ok(true), "from the database");
    // The second look-up begins when the first one's writing is over, at the latest.
    assert_eq!(node.find([9; 32], now()).await, Ok(false));
    assert_eq!(redis.query(&["GET", &name]).await?.texts(), ["purged"]);
    assert_eq!((records.asked(), node.redis_failures()), (2, 0));
    Ok(())
}

/// Redis × {down, slow, wrong, back}: the database is asked; Redis costs its time limit twice,
/// then nothing, until a minute later one call finds out that it is back.
#[tokio::test]
async fn every_failure_of_redis_is_passed_over() -> Outcome {
    let (mut redis, records) = (Redis::start().await?, records());
    let key = |number: u8| [number; 32];
    (10..30).for_each(|number| records.put_key(key(number), record("partner")));

    let slow = Node::sharing(&records, &redis);
    redis.freeze()?;
    for number in 10..20 {
        assert_eq!(slow.find(key(number), now()).await, Ok(true), "{number}");
    }
    redis.thaw()?;
    let failures = slow.redis_failures();
    assert!((2..=4).contains(&failures), "{failures}");

    let down = Node::sharing(&records, &redis);
    redis.kill().await?;
    for number in 20..30 {
        assert_eq!(down.find(key(number), now()).await, Ok(true), "{number}");
    }
    let failures = down.redis_failures();
    assert!((2..=4).contains(&failures), "{failures}");

    redis.restart().await?;
    assert_eq!(down.find(KEY, after(61)).await, Ok(true));
    stored(&redis).await?;

    let wrong = Node::sharing(&records, &redis);
    let name = |number: u8| format!("test:{}", Keys::redis_key(&key(number)));
    redis.query(&["SET", &name(10), "{\"at\":", "PX", "60000"]).await?;
    redis.query(&["SET", &name(11), "{\"at\":0,\"age\":0,\"ttl\":0,\"record\":7}"]).await?;
    redis.query(&["RPUSH", &name(12), "a list"]).await?;
    for number in 10..13 {
        assert_eq!(wrong.find(key(number), now()).await, Ok(true), "{number}");
    }
    assert_eq!(wrong.count("database"), 3);
    Ok(())
}
