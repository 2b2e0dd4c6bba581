//! Answers of services, compressed for clients that can read it.
//!
//! Three questions, in the order of a request: which coding does the client like best of those
//! that the route offers ([`CompressionPolicy::negotiate`], RFC 9110 section 12.5.3), is this
//! answer one to compress ([`CompressionPolicy::judge`]), and what does its header say then
//! ([`label`]). An [`Encoder`] does the work. Nothing is ever decompressed.
//!
//! The service is asked for the negotiated coding alone. So whatever it sends can be read by
//! every client for whom the same coding was negotiated, and the cache may tell answers apart by
//! that one word.
//!
//! Another coding is another representation (RFC 9110 section 8.8.1), so an answer compressed
//! here has an entity tag of its own. [`tag`] makes it from the service's, and finds the service's
//! in it again when a client asks by it.

mod encoder;
mod header;
mod kinds;
mod negotiate;
mod policy;
pub mod tag;

pub use encoder::Encoder;
pub use header::{Verdict, label, take_out_outdated, vary_by_coding};
pub use policy::CompressionPolicy;
