//! The store against a simple model, from several threads at once.
//!
//! Every body says by itself which fill of which key it is, so that a reader can check what it got
//! against nothing but the rules: the key asked for, one fill's bytes only, all of them or an
//! error; never a fill that was purged before the look-up began.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use pingora_cache::key::CacheHashKey;
use pingora_cache::storage::{HitHandler, MissHandler, Storage};

use super::super::{BodyLimit, MemoryStore};
use super::{assert_consistent, filling, key, look_up, meta_at, revalidated, span, store};

const KEYS: u64 = 24;
const CAPACITY: u64 = 96 * 1024;
const LIMIT: u64 = 6_000;

/// What is known for certain, by key: fills numbered below this must not be found any more.
type Floors = Arc<Mutex<HashMap<u64, u64>>>;

/// A part of a body: key, fill, place; sixteen bytes each.
fn pattern(key: u64, fill: u64, length: usize) -> Vec<u8> {
    let words = (0_u64..).flat_map(|word| [key ^ (word << 8), fill.rotate_left(7) ^ word]);
    words.flat_map(u64::to_le_bytes).take(length).collect()
}

/// The fill that a header names, and the length that its body has.
fn said(meta: &pingora_cache::CacheMeta) -> (u64, usize) {
    let number = |name: &str| meta.headers()[name].to_str().unwrap().parse::<u64>().unwrap();
    (number("x-fill"), usize::try_from(number("x-length")).unwrap())
}

/// Reads a body to its end and compares every byte; false where it broke off.
async fn check(mut hit: HitHandler, key: u64, fill: u64, length: usize) -> bool {
    let expected = pattern(key, fill, length);
    let mut at = 0;
    loop {
        match hit.read_body().await {
            Ok(Some(part)) => {
                assert!(expected[at..].starts_with(&part), "key {key}, fill {fill}, at {at}");
                at += part.len();
            }
            Ok(None) => {
                assert_eq!(at, length, "a short answer that looks whole: key {key}, fill {fill}");
                return true;
            }
            Err(_) => return false,
        }
    }
}

struct Worker {
    store: &'static MemoryStore,
    random: fastrand::Rng,
    fills: Arc<AtomicU64>,
    floors: Floors,
    readers: tokio::task::JoinSet<bool>,
    open: Vec<(u64, u64, usize, usize, MissHandler)>,
}

impl Worker {
    async fn step(&mut self) {
        let which = self.random.u64(0..KEYS);
        match self.random.u32(0..100) {
            0..40 => self.look(which).await,
            40..60 => self.begin(which).await,
            60..90 => self.go_on().await,
            90..94 => self.purge(which),
            94..98 => self.update(which).await,
            _ => {
                let bytes = CAPACITY - self.random.u64(0..CAPACITY / 2);
                self.store.set_capacity(bytes, super::at(0));
                self.store.set_capacity(CAPACITY, super::at(0));
            }
        }
        assert!(self.store.weight() <= CAPACITY);
        assert!(filling_now(self.store) <= CAPACITY / 4);
    }

    async fn look(&mut self, which: u64) {
        let floor = self.floors.lock().get(&which).copied().unwrap_or_default();
        if let Some((meta, hit)) = look_up(self.store, &which.to_string()).await {
            let (fill, length) = said(&meta);
            assert!(fill >= floor, "key {which}: fill {fill} was gone, {floor} is the first");
            self.readers.spawn(check(hit, which, fill, length));
        }
    }

    async fn begin(&mut self, which: u64) {
        let fill = self.fills.fetch_add(1, Ordering::SeqCst);
        let length = self.random.usize(0..8_000);
        let (fill_text, length_text) = (fill.to_string(), length.to_string());
        let mut fields = vec![("x-fill", &*fill_text), ("x-length", &*length_text)];
        if self.random.bool() {
            fields.push(("content-length", &length_text));
        }
        let mut meta = meta_at(0, &fields);
        meta.extensions_mut().insert(BodyLimit(LIMIT));
        let name = key(&which.to_string());
        let handler = self.store.get_miss_handler(&name, &meta, &span()).await.unwrap();
        let tag = handler.streaming_write_tag();
        let found = self.store.lookup_streaming_write(&name, tag, &span()).await.unwrap();
        self.readers.spawn(check(found.unwrap().1, which, fill, length));
        self.open.push((which, fill, length, 0, handler));
    }

    /// Writes some more of an open fill, or ends it.
    async fn go_on(&mut self) {
        if self.open.is_empty() {
            return;
        }
        let at = self.random.usize(0..self.open.len());
        let (which, fill, length, written, mut handler) = self.open.swap_remove(at);
        if self.random.u32(0..20) == 0 {
            drop(handler);
            return;
        }
        if written == length {
            handler.finish().await.unwrap();
            return;
        }
        let next = length.min(written + self.random.usize(1..3_000));
        let part = Bytes::copy_from_slice(&pattern(which, fill, length)[written..next]);
        handler.write_body(part, next == length).await.unwrap();
        self.open.push((which, fill, length, next, handler));
    }

    fn purge(&mut self, which: u64) {
        // Everything begun before this is purged, if its handler is in the store by now; those of
        // other threads may be just about to come in, so only those known to be there count.
        let _ = self.store.remove(&key(&which.to_string()).primary_bin());
    }

    async fn update(&mut self, which: u64) {
        let name = which.to_string();
        let Some((meta, hit)) = look_up(self.store, &name).await else { return };
        let (fill, length) = said(&meta);
        let (fill_text, length_text) = (fill.to_string(), length.to_string());
        let wide = "w".repeat(self.random.usize(0..500));
        let fields = [("x-fill", &*fill_text), ("x-length", &*length_text), ("x-wide", &*wide)];
        tokio::task::yield_now().await;
        let update = revalidated(&meta, meta_at(0, &fields));
        let _ = self.store.update_meta(&key(&name), &update, &span()).await.unwrap();
        self.readers.spawn(check(hit, which, fill, length));
    }
}

fn filling_now(store: &MemoryStore) -> u64 {
    store.filling.load(Ordering::Relaxed)
}

async fn work(seed: u64, workers: u64, steps: usize) {
    let store = store(CAPACITY);
    let (fills, floors) = (Arc::new(AtomicU64::new(1)), Floors::default());
    let mut tasks = tokio::task::JoinSet::new();
    for worker in 0..workers {
        let (fills, floors) = (Arc::clone(&fills), Arc::clone(&floors));
        tasks.spawn(async move {
            let random = fastrand::Rng::with_seed(seed * 1_000 + worker);
            let (readers, open) = (tokio::task::JoinSet::new(), Vec::new());
            let mut worker = Worker { store, random, fills, floors, readers, open };
            for step in 0..steps {
                worker.step().await;
                if step % 16 == 0 {
                    tokio::task::yield_now().await;
                }
                // One worker alone knows when a key has nothing older left.
                if workers == 1 {
                    worker.raise_floor();
                }
            }
            // What is still open breaks off, and everyone who reads must come to an end.
            drop(worker.open);
            let mut whole = 0;
            while let Some(done) = worker.readers.join_next().await {
                whole += usize::from(done.unwrap());
            }
            whole
        });
    }
    let mut whole = 0;
    while let Some(done) = tasks.join_next().await {
        whole += done.unwrap();
    }
    assert!(whole > steps / 40, "seed {seed}: too few bodies were read to their end: {whole}");
    assert_eq!((filling(store), store.meters.fills.get()), (0, 0), "seed {seed}");
    assert_consistent(store, store.meters.entries.get());
    for which in 0..KEYS {
        store.remove(&key(&which.to_string()).primary_bin());
    }
    assert_consistent(store, 0);
    assert!(store.shards.iter().all(|shard| shard.read().is_empty()), "seed {seed}");
    store.set_capacity(0, super::at(0));
    assert_eq!(store.weight(), 0);
}

impl Worker {
    /// With one worker, a purge is a purge: what began before it must not come back.
    fn raise_floor(&mut self) {
        if self.random.u32(0..20) == 0 {
            let which = self.random.u64(0..KEYS);
            self.store.remove(&key(&which.to_string()).primary_bin());
            self.floors.lock().insert(which, self.fills.load(Ordering::SeqCst));
        }
    }
}

#[tokio::test]
async fn schedules_of_one_worker_keep_every_rule() {
    for seed in 0..40 {
        work(seed, 1, 400).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn schedules_of_many_workers_keep_every_rule() {
    for seed in 0..12 {
        work(seed, 6, 500).await;
    }
}
