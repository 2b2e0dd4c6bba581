//! How many requests this node serves at once, and who comes first while it is full.
//!
//! While there is room nobody waits, and a request costs three atomic additions. When there is
//! none, requests wait in one line for each tenant (or whatever `fairBy` tells apart), the lines
//! are served in turn, and those who hold less than their share of the places come before those
//! who hold more. When too many wait, the newest request of whoever has most is refused: the one
//! who causes the load is the one who feels it (R012).
//!
//! `policy` is what the configuration says, `door` holds the places, `queue` is the order in
//! which waiting requests are served, a pure data structure. Nothing here knows routes or phases.

mod door;
mod policy;
mod queue;

pub use door::{Door, Place};
pub use policy::Overload;

#[cfg(test)]
mod tests;
