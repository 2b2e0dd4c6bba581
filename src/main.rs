//! The `tidegate` binary: parse arguments, run, exit.

use std::process::ExitCode;

/// mimalloc: least processor time per request of three allocators, on a bare Pingora proxy.
#[global_allocator]
static MEMORY: tidegate_memory::Memory = tidegate_memory::Memory;

fn main() -> ExitCode {
    tidegate::cli::main()
}
