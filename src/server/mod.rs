//! The process: builds everything, listens, stops, hands over.

mod background;
mod compose;
mod connections;
mod drain;
mod http2;
mod listeners;
mod pid_file;
mod signals;

pub use compose::{Start, run};
