//! Which answers are kept, under which key, and where.
//!
//! The key is made from the client-facing request and verified identity only, each factor
//! length-prefixed, so that no two factor lists share an entry (T10). What may be stored is
//! judged on the original request and the upstream's answer. The store keeps whole answers,
//! status and header included (T13), within a bound that holds at every moment.
//!
//! Three questions, in the order of a request: [`consider`] (does it use the cache, and under
//! which key), [`variance`] (which of several answers under that key), [`admit_response`] (is the
//! answer kept). Pingora does the rest: looking up, waiting for another request's fill,
//! revalidating, ranges.

mod admit;
mod key;
mod note;
mod policy;
mod purge;
mod reuse;
mod rules;
mod shared;
mod status;
mod store;
mod underway;
mod verify;

pub use admit::{Admitted, Arrival, admit_response, lies_with_request, variance};
pub use key::{CachePlan, Factor, QUERY_BODY_MAX, bypass, consider, is_query};
pub use note::{Judged, KeyHash, Note};
pub use policy::CachePolicy;
pub use purge::{
    By, Made, Order, PurgeReport, Purges, STRIPPED, Tag, TagTemplates, Tagged, Target, Told, Url,
    Verdict, invalidated_by, is_safe, prefix_tag, tags_of, url_tags,
};
pub use reuse::{Reuse, Why, reuse};
pub use shared::{FromShared, Ledger, Tiered, check_store};
pub use status::{CacheStatus, Forward, StatusLine};
pub use store::{BodyLimit, CacheBackend, MAX_OBJECT_BYTES, MemoryStore, note_of};

pub use underway::{NoTurn, Turn, Underway};
pub use verify::{Finding, Leaks, Print, Printer, Sighting};

#[cfg(test)]
mod fixtures;
