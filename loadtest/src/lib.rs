//! What Tidegate costs.
//!
//! Two measurements, each with a yardstick in the same run. `benches/decide.rs` times the pure
//! path, function by function. The program `compare` runs the gateway and a bare Pingora proxy
//! side by side and divides the processor time that the kernel accounts to each process by the
//! requests it served. `loadtest/README.md` says how to run and how to read them.
//!
//! | Module | What it holds |
//! |---|---|
//! | [`origin_wire`] | the little HTTP that the program `origin` reads |
//! | [`token`] | a key pair and the tokens that callers bear |
//! | [`document`] | the gateway configurations that are measured |
//! | [`options`] | the command line of `compare` |
//! | [`process`] | processes on chosen processors, their processor time, their end |
//! | [`client`] | a client that keeps its connection, for latency at a steady rate |
//! | [`probe`] | one request at a time: readiness, metrics |
//! | [`start`] | the programs that measurements start |
//! | [`peers`] | the same job through the gateway and its peers |
//! | [`target`] | what is measured, and the proof that it did what its name says |
//! | [`wrk`] | the load generator |
//! | [`h2load`] | the load generator for HTTP/2 |
//! | [`report`] | medians and the table |
//! | [`reload_memory`] | whether memory grows from each configuration to the next |
//! | [`program`] | what all programs here do: read a command line, end in order |
//! | [`open_loop`] | requests that are due at a constant rate, and what stalls cost them |
//! | [`latency`] | what the gateway adds to the latency of the service behind it |
//! | [`suite`] | the scenarios of `make loadtest`, by k6 or by wrk |
//! | [`plot`], [`page`] | their report |

pub mod client;
pub mod document;
mod error;
pub mod h2load;
pub mod latency;
pub mod open_loop;
pub mod options;
pub mod origin_wire;
pub mod page;
pub mod peers;
pub mod plot;
pub mod probe;
pub mod process;
pub mod program;
pub mod reload_memory;
pub mod report;
pub mod start;
pub mod suite;
pub mod target;
pub mod token;
pub mod wrk;

pub use error::{Context, Error, Result};
