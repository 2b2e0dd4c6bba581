//! What a limit would have done to requests that are long over.
//!
//! [`Trial::record`] takes the requests of a log in the order of time and keeps of each what
//! matters: when, whose counter, what it cost, about six bytes together. [`Trial::judge`] replays
//! them through the counters of [`math`](super::math), those of production, under the limit as it
//! is written, under every other algorithm that its numbers fit, and under smaller and larger
//! limits. Keys are made by [`plan()`](super::plan()) of what the log says of a request.
//!
//! Pure: nothing here reads a file. Each limit is tried by itself, as one node with all requests
//! would count; that clients come back later after a refusal, a log cannot show.

mod line;
mod order;
mod replay;
mod search;
mod spool;
mod trial;
mod variant;

pub use line::{Field, Line, Unreadable};
pub use order::Order;
pub use trial::{Judged, Judgement, Smallest, Tally, Top, Trial, Unfit};

#[cfg(test)]
mod tests;
