//! Faults that can be switched on: what a staging node is drilled with.
//!
//! Every adapter to the outside asks [`of`] whether its dependency is in trouble on purpose, and
//! if so fails as it would by itself: everything above it (breakers, fallbacks, metrics, answers)
//! is the real thing. `docs/failure-modes.md` says what must come of each. Nothing here can be
//! switched on unless `admin.drills` is set; `live::Drills` holds that rule and ends each drill.
//!
//! The switches belong to the process and not to a value that is handed around, because so do
//! its dependencies: adapters are made in eight places, again with every reload, and all of them
//! must see the same. A switch that is off costs one relaxed load where the outside is called,
//! and nothing elsewhere.

/// What somebody answers who does not know the question: the page of a server in between.
pub const PAGE: &[u8] = b"<html><body>a drill</body></html>";

mod point;
mod stand_in;
mod switch;

pub use point::{Dependency, Point, Trouble};
pub use stand_in::{endpoint, of_service};
pub use switch::{disk, of, off, on, taken_away};
