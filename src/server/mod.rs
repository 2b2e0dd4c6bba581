//! The process: builds everything, listens, stops, hands over.
//!
//! One process takes the place of another in two steps: it gets the listening sockets and makes
//! itself ready while the other serves (`predecessor`, `takeover`), and only when it serves does
//! the other drain (`desk`, `stop`, `drain`). Whichever of the two fails, the other one serves.

mod activation;
mod arrivals;
mod background;
mod channel;
mod compose;
mod connections;
mod descriptors;
mod desk;
mod drain;
mod ears;
mod http2;
mod lifecycle;
mod log_files;
mod notify;
mod order;
mod pid_file;
mod predecessor;
mod process;
mod pulse;
mod serving;
mod signals;
mod sockets;
mod stop;
mod takeover;

pub use compose::{Start, run};
pub use order::{TIMEOUT_MAX, replace};
