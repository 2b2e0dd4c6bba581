//! The data plane: the life of a request, in the order Pingora calls it.
//!
//! [`Gateway`] is the table of contents; each phase asks one policy and keeps the answer in the
//! request's context. Every answer that the gateway makes itself leaves through `reply`.

mod admit;
mod ctx;
mod finish;
mod gateway;
mod reply;
mod retry;
mod translate;

pub use ctx::RequestCtx;
pub use gateway::Gateway;
