//! Does an answer depend on the caller although callers share it?
//!
//! A sample of the answers that one caller got from what another's request had filled is fetched
//! anew, for that caller. Where the fetched answer is another one, time may be the reason: the
//! content has changed since. Therefore a difference alone is no leak, it only ends the use of the
//! entry, which is outdated at best. A leak is proved when answers come back with their callers:
//! one caller has been given the first, another the second, then the one the first again, byte by
//! byte, and the other the second again, and none of them was given the other's. Content that goes
//! on with time does not come back, and where it swings between two states, it does so for all.
//!
//! What cannot be judged: content that is another at every fetch. It is found out by fetching
//! twice.

mod leaks;
mod print;

pub use leaks::{Finding, Leaks, Sighting};
pub use print::{Print, Printer};
