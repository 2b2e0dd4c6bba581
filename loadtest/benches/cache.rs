//! Nanoseconds of a hit in the memory store: looking up, and taking the body.
//!
//! | Bench | Question |
//! |---|---|
//! | `hit` | what does a look-up cost that finds an entry with eight header fields |
//! | `miss` | what does one cost that finds nothing |
//! | `clone` | what of a hit is the copy of its header, which Pingora's interface asks for |

#![expect(clippy::disallowed_methods, reason = "a bench is the clock's outer layer")]

use std::future::Future;
use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime};

use criterion::{Criterion, criterion_group, criterion_main};
use pingora::cache::storage::Storage;
use pingora::cache::trace::Span;
use pingora::cache::{CacheKey, CacheMeta};
use pingora::http::ResponseHeader;
use tidegate::cache::MemoryStore;
use tidegate::telemetry::Metrics;

#[global_allocator]
static MEMORY: tidegate_memory::Memory = tidegate_memory::Memory;

fn benches(criterion: &mut Criterion) {
    if run(criterion).is_none() {
        eprintln!("cache: the store could not be filled");
        std::process::exit(1);
    }
}

fn run(criterion: &mut Criterion) -> Option<()> {
    let metrics = Metrics::new().ok()?;
    let store: &'static MemoryStore = Box::leak(Box::new(MemoryStore::new(64 << 20, &metrics)));
    let span = Span::inactive().handle();
    let key = CacheKey::new([7; 32].as_slice(), "");
    let other = CacheKey::new([8; 32].as_slice(), "");
    let mut header = ResponseHeader::build(200, None).ok()?;
    for (name, value) in [
        ("content-type", "application/json; charset=utf-8"),
        ("content-length", "1000"),
        ("cache-control", "public, max-age=300"),
        ("etag", "\"5d8c72a5edda8d6a0e4b1d0e\""),
        ("date", "Sun, 22 Nov 2026 12:00:00 GMT"),
        ("vary", "accept-encoding"),
        ("x-request-id", "0af7651916cd43dd8448eb211c80319c"),
        ("x-served-by", "catalogue-7f9c"),
    ] {
        header.append_header(name, value).ok()?;
    }
    let now = SystemTime::now();
    let meta = CacheMeta::new(now + Duration::from_hours(1), now, 0, 0, header);
    let mut fill = ready(store.get_miss_handler(&key, &meta, &span))?.ok()?;
    ready(fill.write_body(vec![b'x'; 1000].into(), true))?.ok()?;
    ready(fill.finish())?.ok()?;
    let (found, _) = ready(store.lookup(&key, &span))?.ok()??;

    criterion.bench_function("hit", |bench| {
        bench.iter(|| {
            let found = ready(store.lookup(black_box(&key), &span))?.ok()?;
            let (_, mut hit) = found?;
            ready(hit.read_body())
        });
    });
    criterion.bench_function("miss", |bench| {
        bench.iter(|| ready(store.lookup(black_box(&other), &span)).is_some());
    });
    criterion.bench_function("clone", |bench| {
        bench.iter(|| black_box(&found).response_header_copy());
    });
    Some(())
}

/// The value of a future that has it at once.
fn ready<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

criterion_group!(group, benches);
criterion_main!(group);
