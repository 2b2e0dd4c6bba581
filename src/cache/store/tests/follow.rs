//! Fills that are read while they are under way.

use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use pingora_cache::CacheMeta;
use pingora_cache::key::CacheHashKey;
use pingora_cache::storage::{HitHandler, MissHandler, Storage};

use super::super::meters::Outcome;
use super::super::{BodyLimit, MemoryStore};
use super::{MIB, assert_consistent, body, filling, key, look_up, meta_at, read, span, store};

/// A fill and the reader that Pingora takes for the filling request's own client.
async fn begin(
    store: &'static MemoryStore,
    name: &str,
    meta: &CacheMeta,
) -> (MissHandler, HitHandler) {
    let fill = store.get_miss_handler(&key(name), meta, &span()).await.unwrap();
    let tag = fill.streaming_write_tag();
    let found = store.lookup_streaming_write(&key(name), tag, &span()).await.unwrap();
    (fill, found.unwrap().1)
}

async fn write(fill: &mut MissHandler, data: impl Into<Bytes>) {
    fill.write_body(data.into(), false).await.unwrap();
}

fn limited(bytes: u64) -> CacheMeta {
    let mut meta = meta_at(0, &[]);
    meta.extensions_mut().insert(BodyLimit(bytes));
    meta
}

/// Reads until the end or an error.
async fn try_read(mut hit: HitHandler) -> (usize, bool) {
    let mut length = 0;
    loop {
        match hit.read_body().await {
            Ok(Some(part)) => length += part.len(),
            Ok(None) => return (length, true),
            Err(_) => return (length, false),
        }
    }
}

fn ended(store: &MemoryStore, outcome: Outcome) -> u64 {
    store.meters.ended(outcome).get()
}

#[tokio::test]
async fn whoever_asks_meanwhile_follows_byte_by_byte() {
    let store = store(MIB);
    assert!(store.support_streaming_partial_write());
    let (mut fill, mut own) = begin(store, "a", &meta_at(0, &[("x-a", "1")])).await;
    let (meta, mut early) = look_up(store, "a").await.unwrap();
    assert_eq!(meta.headers()["x-a"], "1");
    assert!(early.read_body().now_or_never().is_none(), "nothing has come yet");
    assert!(!early.can_seek() && early.seek(0, None).is_err());

    write(&mut fill, &b"hello, "[..]).await;
    assert_eq!(early.read_body().await.unwrap().unwrap(), &b"hello, "[..]);
    assert!(early.read_body().now_or_never().is_none());
    let (_, late) = look_up(store, "a").await.unwrap();
    let late = tokio::spawn(read(late));
    write(&mut fill, &b"world"[..]).await;
    assert_eq!(early.read_body().await.unwrap().unwrap(), &b"world"[..]);
    assert!(early.read_body().now_or_never().is_none(), "the end is not known yet");
    fill.finish().await.unwrap();
    assert!(early.read_body().await.unwrap().is_none());
    assert_eq!(late.await.unwrap(), b"hello, world");
    assert!(own.can_seek(), "once all is there");
    own.seek(7, Some(9)).unwrap();
    assert_eq!(read(own).await, b"wo");
    assert_eq!(body(store, "a").await.unwrap(), b"hello, world");
    assert_eq!((filling(store), ended(store, Outcome::Kept)), (0, 1));
    assert_consistent(store, 1);
}

/// Pingora #932: what breaks off must never look like an end.
#[tokio::test]
async fn who_follows_a_fill_that_breaks_off_gets_an_error() {
    let store = store(MIB);
    let (mut fill, own) = begin(store, "a", &meta_at(0, &[])).await;
    write(&mut fill, &b"half"[..]).await;
    let (_, following) = look_up(store, "a").await.unwrap();
    let (_, mut waiting) = look_up(store, "a").await.unwrap();
    waiting.read_body().await.unwrap();
    let waiting = tokio::spawn(async move { waiting.read_body().await.is_err() });
    tokio::task::yield_now().await;
    drop(fill);
    assert!(waiting.await.unwrap());
    assert_eq!(try_read(following).await, (4, false));
    assert_eq!(try_read(own).await, (4, false));
    assert!(look_up(store, "a").await.is_none());
    assert_eq!((filling(store), ended(store, Outcome::Aborted)), (0, 1));
    assert_consistent(store, 0);
}

#[tokio::test]
async fn a_length_that_is_not_the_promised_one_is_an_error_for_all() {
    for (promised, clean) in [("3", false), ("4", true), ("5", false)] {
        let store = store(MIB);
        let (mut fill, own) = begin(store, "a", &meta_at(0, &[("content-length", promised)])).await;
        let (_, following) = look_up(store, "a").await.unwrap();
        write(&mut fill, &b"fo"[..]).await;
        write(&mut fill, &b"ur"[..]).await;
        fill.finish().await.unwrap();
        assert_eq!(try_read(following).await.1, clean, "{promised}");
        assert_eq!(try_read(own).await.1, clean, "{promised}");
        assert_eq!(look_up(store, "a").await.is_some(), clean, "{promised}");
        assert_eq!(filling(store), 0);
    }
}

#[tokio::test]
async fn a_body_at_its_limit_is_kept_and_one_beyond_it_passes() {
    for (length, kept) in [(1000_usize, true), (1001, false)] {
        let store = store(MIB);
        let (mut fill, own) = begin(store, "a", &limited(1000)).await;
        let (_, following) = look_up(store, "a").await.unwrap();
        write(&mut fill, vec![1; 600]).await;
        write(&mut fill, vec![2; length - 600]).await;
        let (own, following) = (tokio::spawn(try_read(own)), tokio::spawn(try_read(following)));
        assert_eq!(look_up(store, "a").await.is_some(), kept, "found while under way");
        fill.finish().await.unwrap();
        assert_eq!(own.await.unwrap(), (length, true));
        assert_eq!(following.await.unwrap(), (length, true), "who follows gets every byte");
        assert_eq!(look_up(store, "a").await.is_some(), kept);
        assert_eq!(ended(store, Outcome::Outgrown), u64::from(!kept));
        assert_eq!(filling(store), 0);
    }
}

/// Reads through the very task that writes, as Pingora does for the filling client: this must not
/// wait for itself, and memory stays within a window.
#[tokio::test]
async fn a_long_answer_passes_through_little_memory() {
    let store = store(4 * MIB);
    let (mut fill, mut own) = begin(store, "a", &limited(100_000)).await;
    let (_, mut follower) = look_up(store, "a").await.unwrap();
    let follower = tokio::spawn(async move {
        let mut length = 0;
        while let Some(part) = follower.read_body().await.unwrap() {
            assert!(part.iter().zip(length..).all(|(byte, at)| *byte == pattern(at)), "{length}");
            length += part.len();
        }
        length
    });
    let mut taken = 0;
    let parts = 400_usize;
    for part in 0..parts {
        let from = part * 16_384;
        write(&mut fill, (from..from + 16_384).map(pattern).collect::<Vec<u8>>()).await;
        // As Pingora alternates: a few parts in, all that there is out.
        if part % 5 == 4 {
            let read = own.read_body().await.unwrap().unwrap();
            assert!(read.iter().zip(taken..).all(|(byte, at)| *byte == pattern(at)), "{taken}");
            taken += read.len();
        }
        assert!(filling(store) <= 128 * 1024);
    }
    fill.finish().await.unwrap();
    while let Some(read) = own.read_body().await.unwrap() {
        taken += read.len();
    }
    assert_eq!((taken, follower.await.unwrap()), (parts * 16_384, parts * 16_384));
    assert_eq!(filling(store), 0);
    assert_consistent(store, 0);
}

fn pattern(at: usize) -> u8 {
    let [low, ..] = (at % 251).to_le_bytes();
    low
}

#[tokio::test]
async fn the_writer_waits_for_who_follows_and_not_for_who_left() {
    let store = store(MIB);
    let (mut fill, mut own) = begin(store, "a", &limited(1000)).await;
    let (_, mut slow) = look_up(store, "a").await.unwrap();
    let part = Bytes::from(vec![0; 256 * 1024]);
    let mut written = 0;
    while fill.write_body(part.clone(), false).now_or_never().is_some() {
        written += part.len();
        while own.read_body().now_or_never().is_some() {}
        assert!(written < 4 << 20, "it never waits");
    }
    // The part that it waits after is in; now the other one reads.
    let mut read = 0;
    while read <= written {
        read += slow.read_body().await.unwrap().unwrap().len();
    }
    while own.read_body().now_or_never().is_some() {}
    assert!(fill.write_body(part.clone(), false).now_or_never().is_some(), "who follows caught up");
    drop(slow);
    for _ in 0..100 {
        while own.read_body().now_or_never().is_some() {}
        assert!(
            fill.write_body(part.clone(), false).now_or_never().is_some(),
            "nobody to wait for"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn who_never_reads_is_left_behind_in_the_end() {
    let store = store(MIB);
    let (mut fill, mut own) = begin(store, "a", &limited(1000)).await;
    let (_, stuck) = look_up(store, "a").await.unwrap();
    let began = tokio::time::Instant::now();
    for _ in 0..64 {
        write(&mut fill, vec![0; 64 * 1024]).await;
        while own.read_body().now_or_never().is_some() {}
    }
    let waited = began.elapsed();
    assert!(waited >= Duration::from_secs(10) && waited < Duration::from_secs(11), "{waited:?}");
    fill.finish().await.unwrap();
    assert!(own.read_body().await.unwrap().is_none(), "the others get their whole answer");
    let (_, clean) = try_read(stuck).await;
    assert!(!clean, "and this one sees that it has not");
}

/// The client whose request fills is gone, or asked for the header only.
#[tokio::test]
async fn a_fill_goes_on_without_its_own_client_while_it_makes_sense() {
    let store = store(64 * MIB);
    let (mut fill, own) = begin(store, "kept", &limited(MIB)).await;
    drop(own);
    write(&mut fill, vec![0; 600_000]).await;
    fill.finish().await.unwrap();
    assert_eq!(body(store, "kept").await.unwrap().len(), 600_000);

    // Too large, and nobody else reads: the service need not go on.
    let (mut fill, own) = begin(store, "alone", &limited(1000)).await;
    let mut parts = 0;
    while fill.write_body(Bytes::from(vec![0; 64 * 1024]), false).await.is_ok() {
        parts += 1;
        assert!(parts < 64, "who does not read is given up");
    }
    drop((fill, own));

    // Too large, but somebody follows.
    let (mut fill, _own) = begin(store, "followed", &limited(1000)).await;
    let (_, following) = look_up(store, "followed").await.unwrap();
    let following = tokio::spawn(try_read(following));
    for _ in 0..128 {
        write(&mut fill, vec![0; 64 * 1024]).await;
    }
    fill.finish().await.unwrap();
    assert_eq!(following.await.unwrap(), (128 * 64 * 1024, true));
    assert_eq!(filling(store), 0);
}

#[tokio::test]
async fn a_purged_fill_is_neither_found_nor_kept_and_its_readers_go_on() {
    let store = store(MIB);
    let (mut fill, own) = begin(store, "a", &meta_at(0, &[])).await;
    write(&mut fill, &b"all"[..]).await;
    let (_, following) = look_up(store, "a").await.unwrap();
    assert!(store.remove(&key("a").primary_bin()));
    assert!(look_up(store, "a").await.is_none());
    assert!(!store.remove(&key("a").primary_bin()));
    fill.finish().await.unwrap();
    assert_eq!((read(own).await, read(following).await), (b"all".to_vec(), b"all".to_vec()));
    assert!(look_up(store, "a").await.is_none());
    assert_eq!(ended(store, Outcome::Dropped), 1);
    assert_eq!(filling(store), 0);
    assert_consistent(store, 0);
}

/// A fill in the first slot is one variant; a request for another one sees that it is not its own.
#[tokio::test]
async fn a_fill_under_way_has_its_variance() {
    let store = store(MIB);
    let mut meta = meta_at(0, &[("vary", "accept")]);
    meta.set_variance([1; 16]);
    let (fill, _own) = begin(store, "a", &meta).await;
    let (found, _) = look_up(store, "a").await.unwrap();
    assert_eq!(found.variance(), Some([1; 16]));
    let mut other = key("a");
    other.set_variance_key([2; 16]);
    assert!(store.lookup(&other, &span()).await.unwrap().is_none());
    let mut meta = meta_at(0, &[("vary", "accept")]);
    meta.set_variance([2; 16]);
    let second = store.get_miss_handler(&other, &meta, &span()).await.unwrap();
    let (found, _) = store.lookup(&other, &span()).await.unwrap().unwrap();
    assert_eq!(found.variance(), Some([2; 16]));
    fill.finish().await.unwrap();
    second.finish().await.unwrap();
    assert_consistent(store, 2);
}

#[tokio::test]
async fn the_own_reader_reads_its_own_fill() {
    let store = store(MIB);
    let (mut one, own_of_one) = begin(store, "a", &meta_at(0, &[])).await;
    let (mut two, own_of_two) = begin(store, "a", &meta_at(0, &[])).await;
    write(&mut one, &b"one"[..]).await;
    write(&mut two, &b"two"[..]).await;
    one.finish().await.unwrap();
    two.finish().await.unwrap();
    assert_eq!((read(own_of_one).await, read(own_of_two).await), (b"one".into(), b"two".into()));
    let none = store.lookup_streaming_write(&key("a"), Some(&[0; 8]), &span()).await.unwrap();
    assert!(none.is_none(), "that fill is over");
}
