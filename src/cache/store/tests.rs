use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use pingora::http::ResponseHeader;
use pingora_cache::storage::{HitHandler, MissFinishType, PurgeOutcome, PurgeTarget, Storage};
use pingora_cache::trace::{Span, SpanHandle};
use pingora_cache::{CacheEntryId, CacheEntryKey, CacheKey, CacheMeta, HitStatus, HttpCache};
use pingora_cache::{CachePhase, PurgeType};

use super::super::Note;
use super::{CacheBackend, MAX_OBJECT_BYTES, MemoryStore, note_of};
use crate::telemetry::Metrics;

mod follow;
mod model;

const MIB: u64 = 1 << 20;

fn store(capacity: u64) -> &'static MemoryStore {
    Box::leak(Box::new(MemoryStore::new(capacity, &Metrics::new().unwrap())))
}

fn span() -> SpanHandle {
    Span::inactive().handle()
}

fn key(name: &str) -> CacheKey {
    CacheKey::new(name, "")
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_700_000_000 + seconds)
}

/// Meta data of an answer that arrived at `seconds` and is fresh for a minute.
fn meta_at(seconds: u64, fields: &[(&'static str, &str)]) -> CacheMeta {
    let mut header = ResponseHeader::build(200, None).unwrap();
    for (name, value) in fields {
        header.append_header(*name, *value).unwrap();
    }
    CacheMeta::new(at(seconds + 60), at(seconds), 0, 0, header)
}

/// Fills an entry; says what the store made of it, in bytes.
async fn fill(store: &'static MemoryStore, name: &str, meta: &CacheMeta, parts: &[&[u8]]) -> usize {
    let mut fill = store.get_miss_handler(&key(name), meta, &span()).await.unwrap();
    for part in parts {
        fill.write_body(Bytes::copy_from_slice(part), false).await.unwrap();
    }
    match fill.finish().await.unwrap() {
        MissFinishType::Created(weight) => weight,
        MissFinishType::Appended(..) => panic!("nothing is ever appended"),
    }
}

async fn look_up(store: &'static MemoryStore, name: &str) -> Option<(CacheMeta, HitHandler)> {
    store.lookup(&key(name), &span()).await.unwrap()
}

async fn read(mut hit: HitHandler) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(part) = hit.read_body().await.unwrap() {
        body.extend_from_slice(&part);
    }
    body
}

async fn body(store: &'static MemoryStore, name: &str) -> Option<Vec<u8>> {
    let (_, hit) = look_up(store, name).await?;
    Some(read(hit).await)
}

/// The sum that the gauges and the counter must agree on.
fn assert_consistent(store: &MemoryStore, entries: i64) {
    assert!(store.weight() <= store.capacity());
    assert_eq!(store.meters.bytes.get(), i64::try_from(store.weight()).unwrap());
    assert_eq!(store.meters.entries.get(), entries);
    let indexed = store.shards.iter().flat_map(|shard| {
        shard.read().entries.values().map(|entry| entry.weight()).collect::<Vec<_>>()
    });
    assert_eq!(indexed.sum::<u64>(), store.weight());
    assert_eq!(store.queues.lock().bytes(), store.weight());
}

/// Memory set aside for fills, which the gauge must agree on.
fn filling(store: &MemoryStore) -> u64 {
    let held = store.filling.load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!(store.meters.filling.get(), i64::try_from(held).unwrap());
    held
}

/// What went through a counter of entries that left.
fn left(store: &MemoryStore, reason: super::Reason) -> u64 {
    store.meters.left(reason).get()
}

#[tokio::test]
async fn what_was_filled_is_found_whole() {
    let store = store(MIB);
    assert!(look_up(store, "a").await.is_none());
    let meta = meta_at(0, &[("Content-Type", "text/plain"), ("x-a", "1"), ("x-a", "2")]);
    let weight = fill(store, "a", &meta, &[b"hello, ", b"world"]).await;
    assert_eq!(weight as u64, store.weight());

    let (found, hit) = look_up(store, "a").await.unwrap();
    assert_eq!(read(hit).await, b"hello, world");
    assert_eq!(found.response_header().status, 200);
    assert_eq!(found.headers(), meta.headers());
    assert_eq!(found.fresh_until(), at(60));
    assert_eq!((found.created(), found.epoch()), (at(0), at(0)));
    assert_consistent(store, 1);
    assert!(look_up(store, "b").await.is_none());
}

#[tokio::test]
async fn everything_that_pingora_asks_of_meta_data_survives() {
    let store = store(MIB);
    let mut meta = CacheMeta::new(at(60), at(10), 5, 7, ResponseHeader::build(404, None).unwrap());
    meta.set_epoch_override(at(3));
    meta.set_variance([9; 16]);
    fill(store, "a", &meta, &[]).await;
    let (found, hit) = look_up(store, "a").await.unwrap();
    assert!(read(hit).await.is_empty());
    assert_eq!(found.response_header().status, 404);
    assert_eq!((found.created(), found.provenance(), found.epoch()), (at(10), at(10), at(3)));
    assert_eq!((found.stale_while_revalidate_sec(), found.stale_if_error_sec()), (5, 7));
    assert_eq!(found.variance(), Some([9; 16]));
}

#[tokio::test]
async fn an_abandoned_fill_leaves_nothing() {
    let store = store(MIB);
    fill(store, "a", &meta_at(0, &[]), &[b"old"]).await;
    let mut fill = store.get_miss_handler(&key("a"), &meta_at(1, &[]), &span()).await.unwrap();
    fill.write_body(Bytes::from_static(b"half"), false).await.unwrap();
    drop(fill);
    assert_eq!(body(store, "a").await.unwrap(), b"old", "and what was there stays");
    assert_eq!(filling(store), 0);
    assert_consistent(store, 1);
}

#[tokio::test]
async fn a_body_that_is_not_what_was_promised_is_not_kept() {
    let store = store(MIB);
    for (length, kept) in [("4", false), ("5", true), ("6", false)] {
        let meta = meta_at(0, &[("content-length", length)]);
        let weight = fill(store, length, &meta, &[b"he", b"llo"]).await;
        assert_eq!((weight > 0, body(store, length).await.is_some()), (kept, kept), "{length}");
    }
}

#[tokio::test]
async fn a_body_that_is_too_large_passes_but_is_not_kept() {
    let store = store(16 * MAX_OBJECT_BYTES);
    let part = vec![7; 1 << 20];
    let parts: Vec<&[u8]> = vec![&part; 8];
    assert!(fill(store, "largest", &meta_at(0, &[]), &parts).await as u64 > MAX_OBJECT_BYTES);
    let parts: Vec<&[u8]> = vec![&part; 9];
    assert_eq!(fill(store, "too large", &meta_at(0, &[]), &parts).await, 0);
    assert!(look_up(store, "too large").await.is_none());
    assert_eq!(body(store, "largest").await.unwrap().len(), 8 << 20);
    assert_consistent(store, 1);
}

#[tokio::test]
async fn in_a_small_store_no_answer_takes_more_than_an_eighth() {
    let store = store(16 * 1024);
    assert!(fill(store, "a", &meta_at(0, &[]), &[&[0; 2048]]).await > 0);
    assert_eq!(fill(store, "b", &meta_at(0, &[]), &[&[0; 2049]]).await, 0);
    let wide = "v".repeat(16 * 1024);
    assert_eq!(fill(store, "c", &meta_at(0, &[("x-wide", &wide)]), &[]).await, 0);
    assert_consistent(store, 1);
}

#[tokio::test]
async fn the_bound_holds_under_ten_thousand_inserts() {
    let store = store(MIB);
    for n in 0..10_000_usize {
        let part = vec![0; 100 + (n * 37) % 2_000];
        assert!(fill(store, &format!("key-{n}"), &meta_at(0, &[]), &[&part]).await > 0);
        assert!(store.weight() <= MIB, "after {n}");
    }
    let kept = store.meters.entries.get();
    assert!((250..2_000).contains(&kept), "{kept}");
    assert!(store.weight() > MIB * 9 / 10, "room is not wasted: {}", store.weight());
    assert_consistent(store, kept);
    assert!(look_up(store, "key-9999").await.is_some());
}

#[tokio::test]
async fn what_is_used_outlives_what_is_not() {
    let store = store(MIB);
    fill(store, "popular", &meta_at(0, &[]), &[&[0; 1000]]).await;
    for n in 0..5_000 {
        fill(store, &format!("once-{n}"), &meta_at(0, &[]), &[&[0; 1000]]).await;
        assert!(look_up(store, "popular").await.is_some(), "after {n}");
    }
}

#[tokio::test]
async fn the_fill_that_began_last_wins() {
    let store = store(MIB);
    let mut one = store.get_miss_handler(&key("a"), &meta_at(0, &[]), &span()).await.unwrap();
    let mut two = store.get_miss_handler(&key("a"), &meta_at(1, &[]), &span()).await.unwrap();
    one.write_body(Bytes::from_static(b"one"), false).await.unwrap();
    two.write_body(Bytes::from_static(b"two"), false).await.unwrap();
    one.write_body(Bytes::from_static(b"!"), true).await.unwrap();
    two.finish().await.unwrap();
    assert_eq!(body(store, "a").await.unwrap(), b"two");
    one.finish().await.unwrap();
    assert_eq!(body(store, "a").await.unwrap(), b"two", "the older answer comes too late");
    assert_consistent(store, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_bound_holds_under_concurrent_fills() {
    let store = store(256 * 1024);
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..8 {
        tasks.spawn(async move {
            for n in 0..500 {
                let name = format!("key-{}", (task * 131 + n * 17) % 300);
                fill(store, &name, &meta_at(0, &[]), &[&[1; 500], &[2; 500]]).await;
                assert!(store.weight() <= 256 * 1024);
                if let Some(found) = body(store, &name).await {
                    assert_eq!(found.len(), 1_000);
                }
                if n % 50 == 0 {
                    let compact = key(&name).to_compact();
                    let target = PurgeTarget::Active(&compact);
                    store.purge(target, PurgeType::Invalidation, &span()).await.unwrap();
                }
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    let kept = store.meters.entries.get();
    assert_consistent(store, kept);
    assert_eq!(filling(store), 0);
}

#[tokio::test]
async fn unfinished_fills_are_bounded_too() {
    let store = store(64 * 1024);
    let mut fills = Vec::new();
    for n in 0..8 {
        let name = format!("key-{n}");
        let mut fill =
            store.get_miss_handler(&key(&name), &meta_at(0, &[]), &span()).await.unwrap();
        fill.write_body(Bytes::from(vec![0; 4 * 1024]), false).await.unwrap();
        fills.push(fill);
    }
    assert_eq!(filling(store), 3 * (4 * 1024 + 64), "of 16 KiB, with what machinery takes");
    for fill in fills {
        fill.finish().await.unwrap();
    }
    assert_consistent(store, 3);
    assert_eq!(filling(store), 0);
}

/// A promised length is set aside at once, so that no fill fails halfway.
#[tokio::test]
async fn memory_for_a_promised_body_is_set_aside_at_once() {
    let store = store(64 * 1024);
    let meta = meta_at(0, &[("content-length", "8000")]);
    let one = store.get_miss_handler(&key("a"), &meta, &span()).await.unwrap();
    let two = store.get_miss_handler(&key("b"), &meta, &span()).await.unwrap();
    let three = store.get_miss_handler(&key("c"), &meta, &span()).await.unwrap();
    assert_eq!(filling(store), 16_000);
    assert!(look_up(store, "b").await.is_some());
    assert!(look_up(store, "c").await.is_none(), "there is no memory for a third");
    drop((one, two, three));
    assert_eq!(filling(store), 0);
}

#[tokio::test]
async fn purging_removes_one_entry() {
    let store = store(MIB);
    fill(store, "a", &meta_at(0, &[]), &[b"a"]).await;
    fill(store, "b", &meta_at(0, &[]), &[b"b"]).await;
    let compact = key("a").to_compact();
    let purge = async |target| store.purge(target, PurgeType::Invalidation, &span()).await.unwrap();

    let other = CacheEntryKey::identified(compact.clone(), CacheEntryId::new(1));
    assert_eq!(purge(PurgeTarget::Exact(&other)).await, PurgeOutcome::NotFound);
    let (_, reading) = look_up(store, "a").await.unwrap();
    assert_eq!(purge(PurgeTarget::Active(&compact)).await, PurgeOutcome::Purged(None));
    assert_eq!(purge(PurgeTarget::Active(&compact)).await, PurgeOutcome::NotFound);
    assert!(look_up(store, "a").await.is_none());
    assert_eq!(read(reading).await, b"a", "who reads goes on reading");
    assert!(look_up(store, "b").await.is_some());
    assert_consistent(store, 1);
}

/// What Pingora hands to the store after a 304: a new header, and what the look-up had attached.
fn revalidated(found: &CacheMeta, mut meta: CacheMeta) -> CacheMeta {
    meta.extensions_mut().extend(found.extensions().clone());
    meta
}

#[tokio::test]
async fn a_revalidated_entry_has_a_new_header_and_the_old_body() {
    let store = store(MIB);
    fill(store, "a", &meta_at(0, &[("etag", "\"1\"")]), &[b"body"]).await;
    let (found, _) = look_up(store, "a").await.unwrap();
    let longer = meta_at(100, &[("etag", "\"1\""), ("x-new", "a longer header than before")]);
    let longer = revalidated(&found, longer);
    assert!(store.update_meta(&key("a"), &longer, &span()).await.unwrap());
    let (found, hit) = look_up(store, "a").await.unwrap();
    assert_eq!(found.headers(), longer.headers());
    assert_eq!(found.fresh_until(), at(160));
    assert_eq!(read(hit).await, b"body");
    assert_consistent(store, 1);
    let shorter = revalidated(&found, meta_at(200, &[]));
    assert!(store.update_meta(&key("a"), &shorter, &span()).await.unwrap());
    assert_consistent(store, 1);
    assert!(!store.update_meta(&key("gone"), &shorter, &span()).await.unwrap());
    assert!(look_up(store, "gone").await.is_none());
    assert_consistent(store, 1);
}

/// A 304 speaks of the answer that was asked about, not of one that came meanwhile.
#[tokio::test]
async fn a_revalidation_never_touches_another_answer() {
    let store = store(MIB);
    fill(store, "a", &meta_at(0, &[("etag", "\"1\"")]), &[b"one"]).await;
    let (found, _) = look_up(store, "a").await.unwrap();
    let update = revalidated(&found, meta_at(100, &[("etag", "\"1\"")]));
    fill(store, "a", &meta_at(0, &[("etag", "\"2\"")]), &[b"two"]).await;
    assert!(!store.update_meta(&key("a"), &update, &span()).await.unwrap());
    let (found, hit) = look_up(store, "a").await.unwrap();
    assert_eq!(
        (&found.headers()["etag"], read(hit).await),
        (&"\"2\"".parse().unwrap(), b"two".into())
    );

    let update = revalidated(&found, meta_at(100, &[]));
    assert!(store.remove(&pingora_cache::key::CacheHashKey::combined_bin(&key("a"))));
    assert!(!store.update_meta(&key("a"), &update, &span()).await.unwrap());
    assert!(look_up(store, "a").await.is_none(), "purged is purged");
    assert_consistent(store, 0);
}

#[tokio::test]
async fn an_entry_that_has_to_make_room_for_its_own_update_is_gone_not_doubled() {
    let store = store(8 * 1024);
    fill(store, "a", &meta_at(0, &[]), &[&[0; 1000]]).await;
    for (width, kept) in [(4_000, true), (8_000, false)] {
        let (found, _) = look_up(store, "a").await.unwrap();
        let wide = revalidated(&found, meta_at(1, &[("x", &"v".repeat(width))]));
        assert_eq!(store.update_meta(&key("a"), &wide, &span()).await.unwrap(), kept);
    }
    assert!(look_up(store, "a").await.is_none());
    assert_consistent(store, 0);
}

fn note(name: &str, seen: u64) -> Note {
    Note { key: super::whole(&key(name)), tags: smallvec::SmallVec::new(), seen, ..Note::default() }
}

#[tokio::test]
async fn an_entry_keeps_its_note() {
    let store = store(MIB);
    let mut meta = meta_at(0, &[]);
    note("a", 7).attach(&mut meta);
    fill(store, "a", &meta, &[b"x"]).await;
    let (found, hit) = look_up(store, "a").await.unwrap();
    assert_eq!(note_of(&hit).unwrap().seen, 7);

    let update = revalidated(&found, meta_at(1, &[]));
    assert!(store.update_meta(&key("a"), &update, &span()).await.unwrap());
    let (found, hit) = look_up(store, "a").await.unwrap();
    assert_eq!(note_of(&hit).unwrap().seen, 7, "no new note, so the old one stays");
    let mut update = revalidated(&found, meta_at(2, &[]));
    note("a", 8).attach(&mut update);
    assert!(store.update_meta(&key("a"), &update, &span()).await.unwrap());
    let (_, hit) = look_up(store, "a").await.unwrap();
    assert_eq!(note_of(&hit).unwrap().seen, 8);

    fill(store, "b", &meta_at(0, &[]), &[b"x"]).await;
    let (_, hit) = look_up(store, "b").await.unwrap();
    assert!(note_of(&hit).is_none());
}

/// R145: two keys that share the half that entries are filed under do not share the entry.
#[tokio::test]
async fn the_whole_key_is_compared() {
    let store = store(MIB);
    let of = |last: u8| {
        let mut bytes = [5; 32];
        bytes[31] = last;
        let mut key = CacheKey::new(bytes.as_slice(), "");
        key.set_primary_bin_override([5; 16]);
        key
    };
    let fill = store.get_miss_handler(&of(1), &meta_at(0, &[]), &span()).await.unwrap();
    assert!(store.lookup(&of(1), &span()).await.unwrap().is_some());
    assert!(store.lookup(&of(2), &span()).await.unwrap().is_none(), "while it is under way");
    fill.finish().await.unwrap();
    assert!(store.lookup(&of(1), &span()).await.unwrap().is_some());
    assert!(store.lookup(&of(2), &span()).await.unwrap().is_none());
}

#[tokio::test]
async fn a_smaller_capacity_evicts_at_once() {
    let store = store(MIB);
    for n in 0..500 {
        fill(store, &format!("key-{n}"), &meta_at(0, &[]), &[&[0; 1000]]).await;
    }
    let kept = store.meters.entries.get();
    store.set_capacity(MIB / 4, at(0));
    assert!(store.weight() <= MIB / 4 && store.weight() > MIB / 5, "{}", store.weight());
    let left_now = store.meters.entries.get();
    assert!(left_now < kept);
    assert_consistent(store, left_now);
    store.set_capacity(MIB, at(0));
    for n in 0..500 {
        fill(store, &format!("more-{n}"), &meta_at(0, &[]), &[&[0; 1000]]).await;
    }
    assert!(store.weight() > MIB / 2);
    store.set_capacity(0, at(0));
    assert_consistent(store, 0);
    assert_eq!(fill(store, "a", &meta_at(0, &[]), &[]).await, 0);
}

#[tokio::test]
async fn what_is_over_goes_before_what_is_not() {
    let store = store(MIB);
    for n in 0..200 {
        // Fresh for a minute from the start on.
        fill(store, &format!("old-{n}"), &meta_at(0, &[]), &[&[0; 1000]]).await;
        assert!(look_up(store, &format!("old-{n}")).await.is_some());
        assert!(look_up(store, &format!("old-{n}")).await.is_some());
    }
    for n in 0..2_000 {
        fill(store, &format!("new-{n}"), &meta_at(61, &[]), &[&[0; 1000]]).await;
    }
    assert_eq!(left(store, super::Reason::Over), 200, "used or not");
    assert!(left(store, super::Reason::Room) > 0);
    assert_consistent(store, store.meters.entries.get());
}

#[tokio::test]
async fn removing_an_entry_leaves_its_variants() {
    use pingora_cache::key::CacheHashKey;
    let store = store(MIB);
    let weight = fill(store, "a", &meta_at(0, &[("etag", "\"1\"")]), &[b"body"]).await;
    let before = store.weight();
    let mut variant = key("a");
    variant.set_variance_key([3; 16]);
    let mut meta = meta_at(0, &[]);
    meta.set_variance([3; 16]);
    let fill_variant = store.get_miss_handler(&variant, &meta, &span()).await.unwrap();
    fill_variant.finish().await.unwrap();
    let both = store.weight();
    assert_eq!(before, weight as u64);

    assert!(store.remove(&key("a").primary_bin()));
    assert_eq!(both - store.weight(), before);
    assert_consistent(store, 1);
    assert!(!store.remove(&key("a").primary_bin()));
    assert!(store.remove(&variant.combined_bin()));
    assert_eq!(left(store, super::Reason::Purged), 2);
    assert_consistent(store, 0);
}

#[tokio::test]
async fn bodies_are_handed_out_without_copying_and_can_be_sought() {
    let store = store(4 * MIB);
    let long: Vec<u8> = (0..200_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    fill(store, "a", &meta_at(0, &[]), &[&long]).await;
    let (_, mut hit) = look_up(store, "a").await.unwrap();
    let (_, mut again) = look_up(store, "a").await.unwrap();
    let (one, two) = (hit.read_body().await.unwrap(), again.read_body().await.unwrap());
    assert_eq!(one.as_ref().unwrap().len(), 64 * 1024);
    assert_eq!(one.unwrap().as_ptr(), two.unwrap().as_ptr());

    assert!(hit.can_seek() && hit.can_seek_multipart());
    for (start, end, range) in [
        (10, Some(20), 10..20),
        (0, Some(1), 0..1),
        (199_999, None, 199_999..200_000),
        (100_000, Some(1_000_000), 100_000..200_000),
    ] {
        hit.seek(start, end).unwrap();
        let mut read = Vec::new();
        while let Some(part) = hit.read_body().await.unwrap() {
            read.extend_from_slice(&part);
        }
        assert_eq!(read, long[range]);
    }
    assert!(hit.seek(200_000, None).is_err());
}

/// A request through Pingora's own state machine: looks up under `variance`, and on a miss fills.
async fn through_pingora(store: &'static MemoryStore, variance: u8, seconds: u64) -> CachePhase {
    let mut cache = HttpCache::new();
    cache.enable(store, None, None, None, None);
    cache.set_cache_key(key("page"));
    let mut found = cache.cache_lookup().await.unwrap();
    if let Some((meta, _)) = &found
        && !cache.cache_vary_lookup([variance; 16], meta)
    {
        found = cache.cache_lookup().await.unwrap();
    }
    if let Some((meta, hit)) = found {
        if meta.is_fresh(at(seconds)) {
            cache.cache_found(meta, hit, HitStatus::Fresh);
            assert_eq!(
                read(std::mem::replace(cache.hit_handler(), empty_hit(store).await)).await,
                [variance]
            );
            return cache.phase();
        }
        cache.cache_found(meta, hit, HitStatus::Expired);
    } else {
        cache.cache_miss();
    }
    cache.set_cache_meta(meta_at(seconds, &[("vary", "accept")]));
    cache.update_variance(Some([variance; 16]));
    cache.set_miss_handler().await.unwrap();
    let body = Bytes::copy_from_slice(&[variance]);
    cache.miss_handler().unwrap().write_body(body, true).await.unwrap();
    cache.finish_miss_handler().await.unwrap();
    cache.phase()
}

async fn empty_hit(store: &'static MemoryStore) -> HitHandler {
    fill(store, "empty", &meta_at(0, &[]), &[]).await;
    look_up(store, "empty").await.unwrap().1
}

#[tokio::test]
async fn variants_live_side_by_side_and_survive_a_refresh_of_the_first() {
    let store = store(MIB);
    let ask = async |variance, seconds| through_pingora(store, variance, seconds).await;
    assert_eq!(ask(1, 0).await, CachePhase::Miss);
    assert_eq!(ask(2, 50).await, CachePhase::Miss);
    assert_eq!(ask(1, 55).await, CachePhase::Hit);
    assert_eq!(ask(2, 55).await, CachePhase::Hit);
    assert_eq!(ask(1, 70).await, CachePhase::Expired);
    assert_eq!(ask(1, 75).await, CachePhase::Hit);
    assert_eq!(ask(2, 75).await, CachePhase::Hit, "older than the refreshed first, yet sound");
    assert_eq!(ask(2, 120).await, CachePhase::Expired);
    assert_eq!(ask(2, 125).await, CachePhase::Hit);
}

#[tokio::test]
async fn purging_the_first_variant_hides_the_others() {
    let store = store(MIB);
    let ask = async |variance, seconds| through_pingora(store, variance, seconds).await;
    ask(1, 0).await;
    ask(2, 10).await;
    let compact = key("page").to_compact();
    let target = PurgeTarget::Active(&compact);
    store.purge(target, PurgeType::Invalidation, &span()).await.unwrap();
    assert_eq!(ask(1, 20).await, CachePhase::Miss);
    assert_eq!(ask(2, 20).await, CachePhase::Miss);
}

#[test]
fn the_backend_shows_itself_in_the_metrics() {
    let metrics = Metrics::new().unwrap();
    let backend = CacheBackend::leak(MIB, &metrics);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let meta = meta_at(0, &[]);
        let fill =
            backend.storage(false).get_miss_handler(&key("a"), &meta, &span()).await.unwrap();
        fill.finish().await.unwrap();
    });
    assert_eq!(metrics.cache_entries.get(), 1);
    assert!(metrics.cache_bytes.get() > 0);
    assert!(backend.storage(false).as_any().is::<MemoryStore>());
}
