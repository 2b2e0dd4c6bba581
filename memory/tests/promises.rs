//! What Rust is promised of memory, and what happens when there is none.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::multiple_unsafe_ops_per_block,
    reason = "these are tests"
)]

use std::alloc::{GlobalAlloc, Layout};
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use rustix::process::{Resource, Rlimit, setrlimit};
use tidegate_memory::Memory;

#[global_allocator]
static MEMORY: Memory = Memory;

/// Set for the process that runs out of memory.
const EXHAUST: &str = "TIDEGATE_MEMORY_EXHAUST";

/// Small ones one by one, then around powers of two up to 128 KiB, and one of 4 MiB.
fn sizes() -> Vec<usize> {
    let around = (8..=17).flat_map(|power| [(1 << power) - 1, 1 << power, (1 << power) + 1]);
    (1..=256).chain(around).chain([1 << 22]).collect()
}

/// Several of each, so that a whole page of them is looked at, not the first that is well placed.
#[test]
fn memory_is_aligned_zeroed_and_keeps_what_is_in_it_when_it_moves() {
    for size in sizes() {
        for align in [1, 2, 4, 8, 16, 32, 64, 4096] {
            let layout = Layout::from_size_align(size, align).unwrap();
            let larger = Layout::from_size_align(size * 3 + 1, align).unwrap();
            let all: Vec<*mut u8> = (0..4)
                .map(|n| {
                    // SAFETY: sizes are not 0; written and read within what was asked for.
                    unsafe {
                        let fresh = MEMORY.alloc(layout);
                        assert!(fresh.addr().is_multiple_of(align), "{size} to {align}");
                        fresh.write_bytes(0xA5, size);
                        MEMORY.dealloc(fresh, layout);

                        let zeroed = MEMORY.alloc_zeroed(layout);
                        assert!(zeroed.addr().is_multiple_of(align), "{size} to {align}");
                        let bytes = std::slice::from_raw_parts(zeroed, size);
                        assert!(bytes.iter().all(|byte| *byte == 0), "{size} to {align}");
                        zeroed.write_bytes(n, size);
                        MEMORY.realloc(zeroed, layout, larger.size())
                    }
                })
                .collect();
            for (n, memory) in (0..).zip(all) {
                assert!(memory.addr().is_multiple_of(align), "{size} to {align}, moved");
                // SAFETY: as above; what was written before it moved is still there.
                unsafe {
                    let bytes = std::slice::from_raw_parts(memory, size);
                    assert!(bytes.iter().all(|byte| *byte == n), "{size} to {align}, moved");
                    let smaller = MEMORY.realloc(memory, larger, size.div_ceil(2));
                    assert!(smaller.addr().is_multiple_of(align), "{size} to {align}, shrunk");
                    let layout = Layout::from_size_align(size.div_ceil(2), align).unwrap();
                    MEMORY.dealloc(smaller, layout);
                }
            }
        }
    }
}

/// Whoever asks for a lot, and asks whether it is there, is told.
#[test]
fn a_large_request_that_cannot_be_met_is_answered() {
    let mut bytes = Vec::<u8>::new();
    assert!(bytes.try_reserve(1 << 60).is_err());
    bytes.push(1);
    assert!(bytes.try_reserve_exact(1 << 60).is_err());
    assert_eq!(bytes, [1]);
}

/// It says so, as Rust's own way out does, and leaves by `SIGABRT`: nothing that holds a lock or
/// half an answer goes on.
#[test]
fn a_process_without_memory_says_so_and_ends() {
    if std::env::var_os(EXHAUST).is_some() {
        let most = Some(256 * 1024 * 1024);
        setrlimit(Resource::As, Rlimit { current: most, maximum: most }).unwrap();
        // More than mimalloc may have reserved before there was a limit.
        let mut all = Vec::with_capacity(1 << 14);
        for _ in 0..1 << 14 {
            all.push(vec![0_u8; 1024 * 1000]);
        }
        std::hint::black_box(all);
        panic!("sixteen gigabytes were found in a quarter of one");
    }
    let own = std::env::current_exe().unwrap();
    let test = "a_process_without_memory_says_so_and_ends";
    let out = Command::new(own)
        .args(["--exact", test, "--nocapture"])
        .env(EXHAUST, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.signal(), Some(6), "{said}");
    assert!(said.contains("memory allocation of 1024000 bytes failed"), "{said}");
}
