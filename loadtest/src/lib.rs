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
//! | [`rival`] | caches on the same load: the gateway's, NGINX's, `HAProxy`'s |
//! | [`target`] | what is measured, and the proof that it did what its name says |
//! | [`wrk`] | the load generator |
//! | [`report`] | medians and the table |

pub mod client;
pub mod document;
mod error;
pub mod options;
pub mod origin_wire;
pub mod probe;
pub mod process;
pub mod report;
pub mod rival;
pub mod start;
pub mod target;
pub mod token;
pub mod wrk;

pub use error::{Context, Error, Result};
