//! Nodes that share a real `redis-server`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use pingora::http::ResponseHeader;
use pingora_cache::storage::{HitHandler, PurgeOutcome, PurgeTarget, Storage};
use pingora_cache::trace::{Span, SpanHandle};
use pingora_cache::{CacheKey, CacheMeta, PurgeType};
use tidegate_kit::{Redis, wait};

use super::*;
use crate::cache::{CacheBackend, Note, Tag};
use crate::link;
use crate::model::SharedStore;
use crate::telemetry::Metrics;

/// Patient enough for a busy machine.
const PATIENT: &str = "{timeout: 1s, compressFrom: 4KiB, maxBodyBytes: 1MiB}";

/// A gateway, reduced to its stores.
struct Node {
    tiered: &'static Tiered,
    memory: &'static crate::cache::MemoryStore,
    metrics: Metrics,
    purges: &'static Known,
}

/// What a node knows of purges. Numbers that nodes tell each other are ten times their own.
struct Known {
    caught_up: AtomicBool,
}

#[async_trait]
impl Ledger for Known {
    async fn catches_up(&self, _: Duration) -> bool {
        self.caught_up.load(Ordering::Relaxed)
    }

    async fn reaches(&self, _: Duration) {}

    fn export(&self, seen: u64) -> Option<u64> {
        (seen > 0).then_some(10 * seen)
    }

    fn import(&self, seen: u64) -> u64 {
        seen / 10
    }
}

impl Node {
    fn new(redis: &Redis, shared: &str) -> Self {
        let node = Self::alone();
        node.configure(redis, shared);
        node
    }

    /// Without a Redis.
    fn alone() -> Self {
        let metrics = Metrics::new().unwrap();
        let memory = CacheBackend::leak(64 << 20, &metrics).memory;
        let purges: &Known = Box::leak(Box::new(Known { caught_up: AtomicBool::new(true) }));
        let tiered = Box::leak(Box::new(Tiered::new(memory, purges, &metrics)));
        Self { tiered, memory, metrics, purges }
    }

    fn configure(&self, redis: &Redis, shared: &str) {
        let shared: SharedStore = serde_yaml::from_str(shared).unwrap();
        let place = link::Settings {
            failures: 3,
            open_for: Duration::from_millis(300),
            ..link::Settings::server(&redis.url(), "t{}g")
        };
        self.tiered.configure(Some(&place), Some(&shared));
    }

    async fn fill(&self, key: &CacheKey, meta: &CacheMeta, body: &[u8]) {
        let mut fill = self.tiered.get_miss_handler(key, meta, &span()).await.unwrap();
        for part in body.chunks(10_000) {
            fill.write_body(Bytes::copy_from_slice(part), false).await.unwrap();
        }
        fill.finish().await.unwrap();
    }

    async fn get(&self, key: &CacheKey) -> Option<(CacheMeta, HitHandler)> {
        self.tiered.lookup(key, &span()).await.unwrap()
    }

    async fn body(&self, key: &CacheKey) -> Option<Vec<u8>> {
        let (_, hit) = self.get(key).await?;
        Some(read(hit).await)
    }

    async fn in_memory(&self, key: &CacheKey) -> bool {
        self.memory.lookup(key, &span()).await.unwrap().is_some()
    }

    fn looks(&self, outcome: &str) -> u64 {
        self.metrics.cache_shared.with_label_values(&[outcome]).get()
    }

    fn writes(&self, outcome: &str) -> u64 {
        self.metrics.cache_shared_writes.with_label_values(&[outcome]).get()
    }

    async fn has_written(&self, count: u64) {
        wait::until("writes to Redis", async || (self.writes("written") == count).then_some(()))
            .await
            .unwrap();
    }

    /// Asks for what is nowhere, until Redis is asked.
    async fn is_ready(&self) {
        let before = self.looks("miss");
        wait::until("Redis to be asked", async || {
            let _ = self.get(&key(0xee)).await;
            (self.looks("miss") > before).then_some(())
        })
        .await
        .unwrap();
    }
}

fn span() -> SpanHandle {
    Span::inactive().handle()
}

fn key(number: u8) -> CacheKey {
    let mut key = CacheKey::new(vec![number; 32], "");
    key.set_primary_bin_override([number; 16]);
    key
}

fn note(number: u8) -> Note {
    let tags = [1, 2, 3].map(Tag::from_bits);
    Note {
        key: [number; 32],
        tags: tags.into_iter().collect(),
        seen: 9,
        caller: 11,
        ..Note::default()
    }
}

/// Meta data of an answer that was made just now, and is fresh for that many seconds.
fn meta(fresh_s: u64, fields: &[(&'static str, &str)]) -> CacheMeta {
    let mut header = ResponseHeader::build(203, None).unwrap();
    for (name, value) in fields {
        header.append_header(*name, *value).unwrap();
    }
    let now = queue::now();
    CacheMeta::new(now + Duration::from_secs(fresh_s), now, 0, 0, header)
}

fn noise(length: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(7);
    std::iter::repeat_with(|| random.u8(..)).take(length).collect()
}

async fn read(mut hit: HitHandler) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(part) = hit.read_body().await.unwrap() {
        body.extend_from_slice(&part);
    }
    body
}

async fn keys(redis: &Redis) -> Vec<String> {
    let mut keys = redis.query(&["KEYS", "*"]).await.unwrap().texts();
    keys.sort();
    keys
}

async fn expires_ms(redis: &Redis, key: &str) -> i64 {
    redis.query(&["PTTL", key]).await.unwrap().number().unwrap()
}

/// R152, T13: whole answers.
#[tokio::test]
async fn what_one_node_keeps_another_finds() {
    let redis = Redis::start().await.unwrap();
    let (one, two) = (Node::new(&redis, PATIENT), Node::new(&redis, PATIENT));
    let bodies = [vec![b'x'; 300 << 10], noise(300 << 10), noise(10), Vec::new()];
    for (number, body) in (1..).zip(&bodies) {
        let mut meta = meta(60, &[("link", "</a>"), ("link", "</b>"), ("etag", "\"1\"")]);
        note(number).attach(&mut meta);
        one.fill(&key(number), &meta, body).await;
        one.has_written(number.into()).await;

        let (found, hit) = two.get(&key(number)).await.unwrap();
        assert_eq!(found.response_header().status, 203);
        let links: Vec<_> = found.headers().get_all("link").iter().collect();
        assert_eq!(links, ["</a>", "</b>"]);
        assert_eq!(found.fresh_until(), meta.fresh_until());
        assert_eq!(found.epoch(), meta.epoch());
        assert!(found.extensions().get::<FromShared>().is_some());
        assert!(&read(hit).await == body, "{number}");
        assert!(two.in_memory(&key(number)).await, "and is in memory from then on");
        assert!(&two.body(&key(number)).await.unwrap() == body, "{number}");
    }
    assert_eq!(two.looks("hit"), 4, "memory answers the second time");
    assert_eq!(two.writes("written"), 0, "what came from Redis does not go back");
    let keys = keys(&redis).await;
    assert_eq!(keys.len(), 4 + 5, "one head each; the noise in five chunks: {keys:?}");
    assert!(keys.iter().all(|key| key.starts_with("t__g:cache:{")), "{keys:?}");
    for key in &keys {
        assert!((1..=60_000).contains(&expires_ms(&redis, key).await), "{key}");
    }
}

/// An entry in Redis has the note that it had, with a number that all nodes understand.
#[tokio::test]
async fn notes_go_with_their_answers() {
    let redis = Redis::start().await.unwrap();
    let node = Node::new(&redis, PATIENT);
    let mut with = meta(60, &[]);
    note(1).attach(&mut with);
    node.fill(&key(1), &with, b"noted").await;
    node.has_written(1).await;
    let identity = codec::Identity::of(&key(1)).unwrap();
    let client = link::Redis::new(&link::Settings {
        timeout: Duration::from_secs(5),
        ..link::Settings::server(&redis.url(), "t{}g")
    });
    let fetch = |connection| calls::fetch(connection, client.prefix(), &identity, 1 << 20);
    let calls::Stored::Answer(answer, ..) = client.call(fetch).await.unwrap() else {
        panic!("it is there")
    };
    assert_eq!(answer.note.as_deref(), Some(&Note { seen: 90, ..note(1) }));

    let mut with = meta(60, &[]);
    Note { seen: 0, ..note(2) }.attach(&mut with);
    node.fill(&key(2), &with, b"says nothing to others").await;
    node.fill(&key(3), &meta(60, &[]), b"after it").await;
    node.has_written(2).await;
    assert_eq!(keys(&redis).await.len(), 2, "not shared");
}

#[tokio::test]
async fn variants_have_places_of_their_own() {
    let redis = Redis::start().await.unwrap();
    let (one, two) = (Node::new(&redis, PATIENT), Node::new(&redis, PATIENT));
    let mut first = meta(60, &[("vary", "accept")]);
    first.set_variance([1; 16]);
    one.fill(&key(1), &first, b"first").await;
    let mut second_key = key(1);
    second_key.set_variance_key([2; 16]);
    let mut second = meta(60, &[("vary", "accept")]);
    second.set_variance([2; 16]);
    one.fill(&second_key, &second, b"second").await;
    one.has_written(2).await;

    let (found, hit) = two.get(&key(1)).await.unwrap();
    assert_eq!((found.variance(), read(hit).await), (Some([1; 16]), b"first".to_vec()));
    let (found, hit) = two.get(&second_key).await.unwrap();
    assert_eq!((found.variance(), read(hit).await), (Some([2; 16]), b"second".to_vec()));
    assert!(found.created() >= first.created(), "or Pingora would not take it");
}

/// Whatever is wrong is a miss, and the next write puts it right.
#[tokio::test]
async fn what_is_wrong_is_nothing() {
    let redis = Redis::start().await.unwrap();
    let one = Node::new(&redis, PATIENT);
    one.fill(&key(1), &meta(60, &[]), &noise(100 << 10)).await;
    one.has_written(1).await;
    let head = name::Name::of(&key(1)).head("t__g:");
    let other = name::Name::of(&key(2)).head("t__g:");
    let chunk = keys(&redis).await.into_iter().find(|key| key.ends_with(":1")).unwrap();
    let restore = async || {
        redis.query(&["DEL", &head]).await.unwrap();
        let written = one.writes("written") + 1;
        one.fill(&key(1), &meta(60, &[]), &noise(100 << 10)).await;
        one.has_written(written).await;
        assert!(Node::new(&redis, PATIENT).get(&key(1)).await.is_some());
    };
    let fresh = Node::new(&redis, PATIENT);

    redis.query(&["DEL", &chunk]).await.unwrap();
    assert!(fresh.get(&key(1)).await.is_none(), "a chunk is missing");
    assert_eq!(fresh.looks("garbage"), 1);
    restore().await;

    redis.query(&["SETRANGE", &head, "40", "zz"]).await.unwrap();
    assert!(fresh.get(&key(1)).await.is_none(), "somebody wrote into it");
    redis.query(&["SET", &head, "hello"]).await.unwrap();
    assert!(fresh.get(&key(1)).await.is_none(), "somebody else's value");
    assert_eq!(fresh.looks("garbage"), 3);
    restore().await;

    redis.query(&["COPY", &head, &other]).await.unwrap();
    assert!(fresh.get(&key(2)).await.is_none(), "nothing of one under the key of another");
    assert_eq!(fresh.looks("garbage"), 4);

    redis.query(&["DEL", &head]).await.unwrap();
    redis.query(&["RPUSH", &head, "a"]).await.unwrap();
    assert!(fresh.get(&key(1)).await.is_none(), "not even a string");
    assert_eq!(fresh.looks("error"), 1);
    restore().await;

    let small = Node::new(&redis, "{timeout: 1s, maxBodyBytes: 50KiB}");
    assert!(small.get(&key(1)).await.is_none(), "larger than this node shares");
    small.fill(&key(3), &meta(60, &[]), &noise((50 << 10) + 1)).await;
    wait::until("it to be too large", async || (small.writes("too_large") == 1).then_some(()))
        .await
        .unwrap();
    small.fill(&key(3), &meta(60, &[]), &noise(50 << 10)).await;
    small.has_written(1).await;
}

#[tokio::test]
async fn a_purge_removes_everything_in_both() {
    let redis = Redis::start().await.unwrap();
    let one = Node::new(&redis, PATIENT);
    one.fill(&key(1), &meta(60, &[]), &noise(100 << 10)).await;
    one.has_written(1).await;
    assert_eq!(keys(&redis).await.len(), 3);
    let target = key(1).to_compact();
    let target = PurgeTarget::Active(&target);
    let kept = one.tiered.purge(target, PurgeType::Eviction, &span()).await.unwrap();
    assert_eq!(kept, PurgeOutcome::Purged(None));
    assert!(one.get(&key(1)).await.is_some(), "evicted here, not there");

    one.tiered.purge(target, PurgeType::Invalidation, &span()).await.unwrap();
    wait::until("everything to be gone", async || keys(&redis).await.is_empty().then_some(()))
        .await
        .unwrap();
    assert!(one.get(&key(1)).await.is_none());
}

/// A new answer leaves nothing of the old one; a confirmed one keeps its body.
#[tokio::test]
async fn chunks_live_as_long_as_their_head() {
    let redis = Redis::start().await.unwrap();
    let one = Node::new(&redis, PATIENT);
    one.fill(&key(1), &meta(60, &[]), &noise(100 << 10)).await;
    one.has_written(1).await;
    let before = keys(&redis).await;

    // As Pingora does: what was looked up, with another freshness.
    let (mut renewed, _) = one.get(&key(1)).await.unwrap();
    let until = queue::now() + Duration::from_mins(10);
    renewed.update_freshness(until, 0, 0);
    assert!(one.tiered.update_meta(&key(1), &renewed, &span()).await.unwrap());
    one.has_written(2).await;
    assert_eq!(keys(&redis).await, before, "the same chunks");
    for key in &before {
        assert!(expires_ms(&redis, key).await > 60_000, "{key}");
    }
    let two = Node::new(&redis, PATIENT);
    let (found, hit) = two.get(&key(1)).await.unwrap();
    assert_eq!(found.fresh_until(), until);
    assert!(read(hit).await == noise(100 << 10));

    let chunk = before.iter().find(|key| key.ends_with(":0")).unwrap();
    redis.query(&["DEL", chunk]).await.unwrap();
    assert!(one.tiered.update_meta(&key(1), &renewed, &span()).await.unwrap());
    one.has_written(3).await;
    let two = Node::new(&redis, PATIENT);
    assert!(two.body(&key(1)).await.unwrap() == noise(100 << 10), "written whole again");
    assert_eq!(keys(&redis).await.len(), 3, "and nothing left of before");

    one.fill(&key(1), &meta(60, &[]), b"short").await;
    one.has_written(4).await;
    assert_eq!(keys(&redis).await.len(), 1);
}

#[tokio::test]
async fn redis_forgets_what_is_of_no_more_use() {
    let redis = Redis::start().await.unwrap();
    let one = Node::new(&redis, PATIENT);
    let year = 365 * 24 * 3600;
    one.fill(&key(1), &meta(year, &[]), b"for a year").await;
    one.has_written(1).await;
    let [head] = keys(&redis).await.try_into().unwrap();
    let week = 7 * 24 * 3600 * 1000;
    assert!((week - 60_000..=week).contains(&expires_ms(&redis, &head).await));

    let now = queue::now();
    let header = ResponseHeader::build(200, None).unwrap();
    one.fill(&key(2), &CacheMeta::new(now, now, 0, 0, header), b"never").await;
    one.fill(&key(3), &meta(60, &[]), b"after it").await;
    one.has_written(2).await;
    assert_eq!(keys(&redis).await.len(), 2, "what cannot be used is not written");
}

/// Stale in this node's memory, confirmed by another node: nobody asks the service again.
#[tokio::test]
async fn a_fresher_answer_of_another_node_replaces_a_stale_one() {
    let redis = Redis::start().await.unwrap();
    let (one, two) = (Node::new(&redis, PATIENT), Node::new(&redis, PATIENT));
    let long_ago = queue::now() - Duration::from_secs(100);
    let header = ResponseHeader::build(200, None).unwrap();
    let stale = CacheMeta::new(long_ago, long_ago, 0, 3600, header);
    two.fill(&key(1), &stale, b"stale").await;
    two.has_written(1).await;
    assert_eq!(two.body(&key(1)).await.unwrap(), b"stale", "and Redis has nothing better");
    one.fill(&key(1), &meta(60, &[]), b"fresh").await;
    one.has_written(1).await;
    assert_eq!(two.body(&key(1)).await.unwrap(), b"fresh");
    two.body(&key(1)).await.unwrap();
    assert_eq!(two.looks("hit"), 2, "fresh in memory, Redis is not asked");
}

#[tokio::test]
async fn a_node_that_missed_purges_does_not_read() {
    let redis = Redis::start().await.unwrap();
    let (one, two) = (Node::new(&redis, PATIENT), Node::new(&redis, PATIENT));
    one.fill(&key(1), &meta(60, &[]), b"purged meanwhile?").await;
    one.has_written(1).await;
    two.purges.caught_up.store(false, Ordering::Relaxed);
    assert!(two.get(&key(1)).await.is_none());
    assert_eq!((two.looks("skipped"), two.looks("hit")), (1, 0));
    two.purges.caught_up.store(true, Ordering::Relaxed);
    assert!(two.get(&key(1)).await.is_some());
}

#[tokio::test]
async fn of_many_that_ask_at_once_one_asks_redis() {
    let redis = Redis::start().await.unwrap();
    let (one, two) = (Node::new(&redis, PATIENT), Node::new(&redis, PATIENT));
    one.fill(&key(1), &meta(60, &[]), &noise(200 << 10)).await;
    one.has_written(1).await;
    two.is_ready().await;
    let (two, wanted) = (&two, &key(1));
    let all = (0..50).map(|_| two.body(wanted));
    let bodies = futures_util::future::join_all(all).await;
    assert!(bodies.into_iter().all(|body| body.unwrap() == noise(200 << 10)));
    assert_eq!(two.looks("hit"), 1);
}

/// Redis that does not answer costs the time limit as often as the breaker says, then nothing.
#[tokio::test]
async fn a_redis_that_hangs_is_left_alone_until_it_answers() {
    let redis = Redis::start().await.unwrap();
    let node = Node::new(&redis, "{timeout: 50ms}");
    node.is_ready().await;
    let misses = node.looks("miss");
    redis.freeze().unwrap();
    for _ in 0..3 {
        assert!(node.get(&key(1)).await.is_none());
    }
    assert_eq!(node.looks("timeout"), 3);
    for _ in 0..100 {
        assert!(node.get(&key(1)).await.is_none());
    }
    assert_eq!((node.looks("timeout"), node.looks("skipped")), (3, 100));
    assert_eq!(node.looks("miss"), misses);
    redis.thaw().unwrap();
    node.is_ready().await;
}

#[tokio::test]
async fn a_redis_that_dies_takes_nothing_with_it() {
    let mut redis = Redis::start().await.unwrap();
    let node = Node::new(&redis, PATIENT);
    node.fill(&key(1), &meta(60, &[]), b"kept").await;
    node.has_written(1).await;
    redis.kill().await.unwrap();
    assert_eq!(node.body(&key(1)).await.unwrap(), b"kept");
    wait::until("Redis to be left alone", async || {
        assert!(node.get(&key(2)).await.is_none());
        (node.looks("skipped") > 0).then_some(())
    })
    .await
    .unwrap();
    node.fill(&key(2), &meta(60, &[]), b"waits").await;
    redis.restart().await.unwrap();
    node.has_written(2).await;
    let other = Node::new(&redis, PATIENT);
    assert_eq!(other.body(&key(2)).await.unwrap(), b"waits", "written when it was back");
}

#[tokio::test]
async fn a_new_configuration_changes_which_redis_is_asked() {
    let (first, second) = (Redis::start().await.unwrap(), Redis::start().await.unwrap());
    let node = Node::alone();
    assert!(!node.tiered.is_on());
    node.fill(&key(1), &meta(60, &[]), b"one").await;
    assert_eq!(node.body(&key(1)).await.unwrap(), b"one");

    node.configure(&first, PATIENT);
    assert!(node.tiered.is_on());
    node.fill(&key(2), &meta(60, &[]), b"two").await;
    node.has_written(1).await;
    node.configure(&second, PATIENT);
    node.fill(&key(3), &meta(60, &[]), b"three").await;
    node.has_written(2).await;
    assert_eq!((keys(&first).await.len(), keys(&second).await.len()), (1, 1));

    node.tiered.configure(None, None);
    assert!(!node.tiered.is_on());
    assert_eq!(node.body(&key(2)).await.unwrap(), b"two");
    assert!(node.get(&key(9)).await.is_none());
}

#[tokio::test]
async fn a_full_redis_takes_nothing_and_breaks_nothing() {
    let options = tidegate_kit::RedisOptions::default().with(&["--maxmemory", "1"]);
    let redis = Redis::start_with(options).await.unwrap();
    let node = Node::new(&redis, PATIENT);
    node.fill(&key(1), &meta(60, &[]), &noise(100 << 10)).await;
    wait::until("the write to fail", async || (node.writes("failed") == 1).then_some(()))
        .await
        .unwrap();
    assert!(node.body(&key(1)).await.unwrap() == noise(100 << 10));
    assert!(node.get(&key(2)).await.is_none());
    assert_eq!(node.looks("miss"), 1, "reading goes on");
}
