//! What a route does with a request: how its path is rewritten for the service, where the client
//! is sent instead, or what it is answered without a service; which protocols a connection may be
//! upgraded to, and how long an answer may go on.
//!
//! Everything here is decided from the request's normal form and the compiled route. Nothing is
//! sent from here: the data plane does that.

mod lasting;
mod local;
mod redirect;
mod respond;
mod rewrite;
mod upgrades;

pub use lasting::Lasting;
pub use local::{Answer, Local};
pub use rewrite::Rewrite;
pub use upgrades::{Upgrade, Upgrades};
