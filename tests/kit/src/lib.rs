//! What the tests and the demo run the gateway against: real servers on loopback.
//!
//! Nothing here pretends. [`Origin`] and [`Issuer`] are HTTP servers, [`Redis`] is a
//! `redis-server` process, [`Gateway`] is the binary in a process of its own, and
//! [`RawConnection`] puts bytes on a socket. What a test needs and the machine lacks is an error
//! that says how to get it; nothing is skipped.
//!
//! Everything has a deadline and nothing sleeps for a fixed time: [`wait::until`] polls, origins
//! hold an answer back until [`Origin::release`].

mod client;
mod error;
mod evidence;
mod gateway;
mod http_server;
mod issuer;
pub mod metrics;
mod murmur3;
mod origin;
pub mod ports;
mod process;
mod redis;
pub mod wait;

pub use client::{RawConnection, Request, Response, send};
pub use error::{Context, Error, Failure, Outcome, Result};
pub use gateway::{Gateway, Setup};
pub use issuer::{Algorithm, Issuer, Mood, RSA_PUBLIC_PEM, Signature, TokenBuilder};
pub use murmur3::murmur3_32;
pub use origin::{Habit, Origin, RawOrigin, Seen};
pub use process::{Exit, Process};
pub use redis::{Redis, Reply};
pub use rustix::process::Signal;
