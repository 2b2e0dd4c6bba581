//! Where the endpoints of a service are, when that is not written in the configuration.
//!
//! A *source* is a name in the DNS, a service in Consul or a file. Its *feed* asks it in the
//! background and holds its last good answer; all pools that name the same source share the
//! feed, so that a registry sees one look-up per source and gateway, however many routes or
//! requests there are (R051). What a feed learns is put into the pools that follow it; no
//! request ever waits for a look-up (R052).
//!
//! | File | What it is |
//! |---|---|
//! | `source` | what is asked, compiled from the configuration |
//! | `feed` | what to make of an answer: pure, and all there is to decide |
//! | `directory` | feeds and the pools that follow them; outlives configurations |
//! | `rounds` | asks again and again |
//! | `dns`, `consul`, `file` | the adapters: how one kind of source is asked |
//!
//! Refused here: any answer that cannot be read as a whole. It counts as no answer, and what was
//! known stays in force for as long as the outage lasts (R053).

mod answer;
mod consul;
mod directory;
mod dns;
mod feed;
mod file;
mod rounds;
mod source;

pub(super) use directory::Listed;
pub use directory::{Directory, Known};
pub(super) use source::Source;

#[cfg(test)]
mod tests;
