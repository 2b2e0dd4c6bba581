//! `cache_trace`: how often the gateway's memory store hits, and how true its weights are.
//!
//! `cache_trace [REQUESTS]` plays skewed traces, with and without a scan mixed in, against the
//! gateway's own store at several capacities, and the same traces against an exact LRU and a CLOCK
//! that are simulated with the same weights. A miss fills, as the gateway's would.
//!
//! `cache_trace memory [ENTRIES]` fills a store with answers of mixed sizes and compares what it
//! says that they weigh with what the kernel says that the process grew by.

#![expect(clippy::cast_precision_loss, reason = "what is printed has two digits")]
#![expect(clippy::disallowed_methods, reason = "this program is the clock's outer layer")]

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use pingora::cache::storage::Storage;
use pingora::cache::trace::Span;
use pingora::cache::{CacheKey, CacheMeta};
use pingora::http::ResponseHeader;
use tidegate::cache::{MemoryStore, Note};
use tidegate::telemetry::Metrics;
use tidegate_loadtest::options::positive;
use tidegate_loadtest::program::{self, Words};
use tidegate_loadtest::{Context, Error, Result};

#[global_allocator]
static MEMORY: tidegate_memory::Memory = tidegate_memory::Memory;

/// Requests of each trace where the command line names no other number.
const REQUESTS: usize = 1_000_000;

/// Answers that are asked for again and again.
const KEYS: u64 = 50_000;

/// Capacities in MiB: of about 400 MiB that all answers weigh.
const CAPACITIES: [u64; 4] = [8, 32, 96, 192];

/// Entries whose memory is measured.
const ENTRIES: u64 = 20_000;

const USAGE: &str = "usage: cache_trace [REQUESTS=1000000] | cache_trace memory [ENTRIES=20000]";

enum Work {
    Traces(usize),
    Memory(u64),
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    program::run("cache_trace", USAGE, read, run).await
}

fn read(words: Words) -> Result<Option<Work>> {
    let Some(operands) = program::operands(words, 2)? else { return Ok(None) };
    Ok(Some(match operands.as_slice() {
        [] => Work::Traces(REQUESTS),
        [word] if word == "memory" => Work::Memory(ENTRIES),
        [word, entries] if word == "memory" => Work::Memory(positive("ENTRIES", entries)?.into()),
        [requests] => Work::Traces(positive("REQUESTS", requests)? as usize),
        [_, more, ..] => return Err(program::unknown(more)),
    }))
}

async fn run(work: Work) -> Result<()> {
    match work {
        Work::Traces(requests) => traces(requests).await,
        Work::Memory(entries) => memory(entries).await,
    }
}

/// What is asked for in turn.
struct Trace {
    name: &'static str,
    skew: f64,
    /// Of a hundred requests, how many are for something that nobody asks for again.
    scan: u64,
}

const TRACES: [Trace; 3] = [
    Trace { name: "Zipf 0.9", skew: 0.9, scan: 0 },
    Trace { name: "Zipf 1.0", skew: 1.0, scan: 0 },
    Trace { name: "Zipf 1.0, 20 % scan", skew: 1.0, scan: 20 },
];

impl Trace {
    fn keys(&self, requests: usize) -> Vec<u64> {
        let mut random = fastrand::Rng::with_seed(7);
        let mut sum = 0.0;
        let sums: Vec<f64> = (1..=KEYS)
            .map(|rank| {
                sum += f64::from(u32::try_from(rank).unwrap_or(u32::MAX)).powf(self.skew).recip();
                sum
            })
            .collect();
        let mut once = KEYS;
        let mut draw = |_| {
            if random.u64(0..100) < self.scan {
                once += 1;
                return once;
            }
            let at = random.f64() * sum;
            sums.partition_point(|up_to| *up_to < at) as u64
        };
        (0..requests).map(&mut draw).collect()
    }
}

async fn traces(requests: usize) -> Result<()> {
    println!("{requests} requests for {KEYS} answers; hits in percent\n");
    println!("| trace | MiB | store | LRU | CLOCK | peak of the bound | µs each |");
    println!("|---|---:|---:|---:|---:|---:|---:|");
    for trace in TRACES {
        let keys = trace.keys(requests);
        for capacity in CAPACITIES {
            let (mut lru, mut clock) = (Lru::new(capacity << 20), Clock::new(capacity << 20));
            let began = Instant::now();
            let (hits, peak) = play(&keys, capacity << 20).await?;
            let each = began.elapsed().as_micros() as f64 / requests as f64;
            let overhead = weight_of_nothing().await?;
            let (mut in_lru, mut in_clock) = (0, 0);
            for key in &keys {
                let weight = overhead + length(*key) as u64 * 17 / 16;
                in_lru += u64::from(lru.ask(*key, weight));
                in_clock += u64::from(clock.ask(*key, weight));
            }
            let percent = |hits: u64| hits as f64 * 100.0 / requests as f64;
            println!(
                "| {} | {capacity} | {:.2} | {:.2} | {:.2} | {:.2} % | {each:.1} |",
                trace.name,
                percent(hits),
                percent(in_lru),
                percent(in_clock),
                peak as f64 * 100.0 / (capacity << 20) as f64,
            );
        }
    }
    Ok(())
}

/// Hits, and the most that the entries ever weighed.
async fn play(keys: &[u64], capacity: u64) -> Result<(u64, u64)> {
    let store = new_store(capacity)?;
    let body = Bytes::from(vec![b'x'; LENGTH_MAX]);
    let (mut hits, mut peak) = (0, 0);
    for key in keys {
        let found = store.lookup(&cache_key(*key), &Span::inactive().handle()).await;
        if found.map_err(|error| Error::new(error.to_string()))?.is_some() {
            hits += 1;
        } else {
            fill(store, *key, body.slice(..length(*key))).await?;
            peak = peak.max(store.weight());
        }
    }
    Ok((hits, peak))
}

fn new_store(capacity: u64) -> Result<&'static MemoryStore> {
    let metrics = Metrics::new().context("metrics")?;
    Ok(Box::leak(Box::new(MemoryStore::new(capacity, &metrics))))
}

/// What an entry with an empty body weighs.
async fn weight_of_nothing() -> Result<u64> {
    let store = new_store(1 << 20)?;
    fill(store, 0, Bytes::new()).await?;
    Ok(store.weight())
}

async fn fill(store: &'static MemoryStore, key: u64, body: Bytes) -> Result<()> {
    let fails = |error: Box<pingora::Error>| Error::new(error.to_string());
    let meta = meta(key, body.len())?;
    let span = Span::inactive().handle();
    let name = cache_key(key);
    let mut fill = store.get_miss_handler(&name, &meta, &span).await.map_err(fails)?;
    for part in body.chunks(PART) {
        fill.write_body(body.slice_ref(part), false).await.map_err(fails)?;
    }
    fill.finish().await.map_err(fails)?;
    Ok(())
}

fn cache_key(key: u64) -> CacheKey {
    let mut bytes = [0; 32];
    for (place, byte) in bytes.iter_mut().zip(scatter(key).to_le_bytes().iter().cycle()) {
        *place = *byte;
    }
    CacheKey::new(bytes.as_slice(), "")
}

/// A header as services send them, and a note.
fn meta(key: u64, length: usize) -> Result<CacheMeta> {
    let fails = |error: Box<pingora::Error>| Error::new(error.to_string());
    let mut header = ResponseHeader::build(200, None).map_err(fails)?;
    for (name, value) in [
        ("content-type", "application/json; charset=utf-8".to_owned()),
        ("content-length", length.to_string()),
        ("cache-control", "public, max-age=300".to_owned()),
        ("etag", format!("\"{key:032x}\"")),
        ("date", "Sun, 22 Nov 2026 12:00:00 GMT".to_owned()),
        ("vary", "accept-encoding".to_owned()),
        ("x-request-id", format!("{key:032x}")),
        ("x-served-by", "catalogue-7f9c".to_owned()),
    ] {
        header.append_header(name, value).map_err(fails)?;
    }
    let now = SystemTime::now();
    let mut meta = CacheMeta::new(now + Duration::from_hours(1), now, 0, 0, header);
    Note::default().attach(&mut meta);
    Ok(meta)
}

/// Bytes of an answer's body: many short ones, few long ones.
fn length(key: u64) -> usize {
    let draw = scatter(key ^ 0x5bd1_e995);
    let power = (draw % 10) as u32;
    let most = 128_u64 << power;
    usize::try_from(most / 2 + (draw >> 8) % most).unwrap_or(LENGTH_MAX).min(LENGTH_MAX)
}

/// The size of a body, by the number of its entry.
type Size = fn(u64) -> usize;

fn scatter(key: u64) -> u64 {
    let mixed = (key.wrapping_add(1)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9)
}

const LENGTH_MAX: usize = 128 << 10;
const PART: usize = 16 << 10;

/// The least recently used goes, exactly.
struct Lru {
    capacity: u64,
    bytes: u64,
    turn: u64,
    known: HashMap<u64, (u64, u64)>,
    order: BTreeMap<u64, u64>,
}

impl Lru {
    fn new(capacity: u64) -> Self {
        Self { capacity, bytes: 0, turn: 0, known: HashMap::new(), order: BTreeMap::new() }
    }

    fn ask(&mut self, key: u64, weight: u64) -> bool {
        self.turn += 1;
        if let Some((used, _)) = self.known.get_mut(&key) {
            self.order.remove(used);
            *used = self.turn;
            self.order.insert(self.turn, key);
            return true;
        }
        while self.bytes + weight > self.capacity {
            let Some((_, oldest)) = self.order.pop_first() else { return false };
            self.bytes -= self.known.remove(&oldest).map_or(0, |(_, weight)| weight);
        }
        self.bytes += weight;
        self.known.insert(key, (self.turn, weight));
        self.order.insert(self.turn, key);
        false
    }
}

/// Who was not used since the hand came by last goes.
struct Clock {
    capacity: u64,
    bytes: u64,
    known: HashMap<u64, bool>,
    ring: VecDeque<(u64, u64)>,
}

impl Clock {
    fn new(capacity: u64) -> Self {
        Self { capacity, bytes: 0, known: HashMap::new(), ring: VecDeque::new() }
    }

    fn ask(&mut self, key: u64, weight: u64) -> bool {
        if let Some(used) = self.known.get_mut(&key) {
            *used = true;
            return true;
        }
        while self.bytes + weight > self.capacity {
            let Some((oldest, weight)) = self.ring.pop_front() else { return false };
            match self.known.get_mut(&oldest) {
                Some(used) if *used => {
                    *used = false;
                    self.ring.push_back((oldest, weight));
                }
                _ => {
                    self.known.remove(&oldest);
                    self.bytes -= weight;
                }
            }
        }
        self.bytes += weight;
        self.known.insert(key, false);
        self.ring.push_back((key, weight));
        false
    }
}

async fn memory(entries: u64) -> Result<()> {
    println!("| {entries} entries with bodies of | weight MiB | resident MiB | weight/resident |");
    println!("|---|---:|---:|---:|");
    let sizes: [(&str, Size); 4] = [
        ("0 bytes", |_| 0),
        ("500 bytes", |_| 500),
        ("20 KB", |_| 20_000),
        ("64 bytes to 128 KiB", length),
    ];
    let body = Bytes::from(vec![b'x'; LENGTH_MAX]);
    // What the first fills need once and for all is no weight of entries.
    let warm = new_store(1 << 30)?;
    for key in 0..1_000 {
        fill(warm, key, body.slice(..length(key))).await?;
    }
    for (name, size) in sizes {
        let store = new_store(8 << 30)?;
        let before = resident()?;
        for key in 0..entries {
            fill(store, key, body.slice(..size(key))).await?;
        }
        // A hit leaves traces too: shared bytes get a count.
        for key in 0..entries {
            let found = store.lookup(&cache_key(key), &Span::inactive().handle()).await;
            drop(found);
        }
        let grown = resident()?.saturating_sub(before);
        let (weight, mib) = (store.weight(), f64::from(1 << 20));
        println!(
            "| {name} | {:.1} | {:.1} | {:.3} |",
            weight as f64 / mib,
            grown as f64 / mib,
            weight as f64 / grown as f64
        );
    }
    Ok(())
}

/// Resident bytes of this process.
fn resident() -> Result<u64> {
    let text = std::fs::read_to_string("/proc/self/statm").context("/proc/self/statm")?;
    let pages = text.split(' ').nth(1).and_then(|word| word.parse::<u64>().ok());
    let size = rustix::param::page_size() as u64;
    pages.map(|pages| pages * size).context("/proc/self/statm")
}
