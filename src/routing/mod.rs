//! Which route takes a request.
//!
//! Routes are compiled into a table whose answer costs the same among ten routes as among ten
//! thousand. The order is total: exact host before wildcard before any host; exact path before
//! prefix and regex, longest literal first; listed methods before any; more conditions before
//! fewer; then priority. What this does not decide is a configuration error.
//!
//! In full:
//! - A **host** pattern is exact, or a wildcard that takes every name below a suffix, longest
//!   suffix first, or any host. A host without a matching route leaves the request to the next.
//! - Within a host, a **path** level is an exact path, or all expressions with one literal
//!   beginning, or a prefix. The longest literal goes first; at the same length expressions go
//!   before the prefix. Prefixes match whole segments: `/v1/admin` and `/v1/admin/` both take
//!   `/v1/admin/x`; the latter does not take `/v1/admin` itself.
//! - **Conditions** on headers, query, version, region, claims and tenant are all equal in rank.
//!   Those that fail leave the request to the next route, or the next level.
//! - The first level with a route whose conditions hold decides. If none of its routes allows
//!   the **method**, the answer is 405, even where a less specific route would allow it: a
//!   general route never serves what a specific one refuses.
//! - Conditions on the **caller** are decided by the credentials that the route itself accepts.
//!   Nobody is verified here: the table says which route's caller it needs to know
//!   ([`Found::AskCaller`]). A caller who proves nothing meets none of them, and less specific
//!   routes go on.
//! - HEAD is treated as GET, unless a route of the level lists HEAD and its conditions hold.
//!   OPTIONS is not implied by anything.

mod caller;
mod claim;
mod condition;
mod context;
mod demand;
mod expression;
mod geo;
mod hash;
mod join;
mod level;
mod method;
mod overlap;
mod pattern;
mod spec;
mod table;
mod tenant;
mod trace;
mod trie;

#[cfg(test)]
mod tests;

pub use caller::{Caller, CredentialSet};
pub use condition::Condition;
pub use pattern::{HostPattern, PathPattern};
pub use spec::{RouteIndex, RouteSpec};
pub use table::{Found, Places, Table};
pub use trace::{Candidate, Verdict};
