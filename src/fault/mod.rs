//! What can go wrong, as one table, and how it is told to clients.
//!
//! A [`Fault`] is a row of the table: a stable code, a status, a title. A [`Reject`] is a fault
//! plus this occurrence. Only words of the table and of the configuration ever reach a client;
//! causes go to the log.

mod problem;
mod reject;
mod table;

pub use problem::problem_body;
pub use reject::{Hint, Reject};
pub use table::Fault;
