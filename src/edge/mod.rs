//! The request as data: read once, never re-checked below.
//!
//! Everything a client sends is parsed here into types that cannot be wrong: the normal form of
//! the path, the host, the client's address behind trusted proxies, the request id, the trace
//! context. Policies see a [`RequestView`] and never the wire.

mod address_set;
mod claims;
mod client_addr;
mod connection;
mod forwarded;
mod hex;
mod host;
mod identity;
mod key;
mod name_set;
mod path;
mod query;
mod request_id;
mod trace;
mod view;
pub(crate) mod weighted;

pub use address_set::AddressSet;
pub use claims::Claims;
pub use client_addr::TrustedProxies;
pub use connection::{ClientCertificate, Connection, Proved};
pub use forwarded::{forwarded_for, forwarded_host, forwarded_proto};
pub use hex::{hex, unhex};
pub use host::{HostPort, HostRefused, normalise_authority, normalise_host, read_host_port};
pub use identity::{Identity, IdentityFacts, SIGNERS};
pub use key::{Facts, Part};
pub use name_set::{NameSet, is_same_variable};
pub use path::{PathRefused, normalise_path};
pub use query::{decode, decodes_to, parameters, raw_parameters, redacted, without};
pub use request_id::{RequestId, X_REQUEST_ID};
pub use trace::TraceContext;
pub use view::{EdgeLimits, RequestView, Scheme};
