//! The data plane: the life of a request, in the order Pingora calls it.
//!
//! [`Gateway`] is the table of contents; each phase asks one policy and keeps the answer in the
//! request's context. Every answer that the gateway makes itself leaves through `reply`.

mod admit;
mod answer;
mod caching;
mod client;
mod compress;
mod costs;
mod ctx;
mod deadline;
mod digest;
mod digested;
mod errand;
mod finish;
mod gate;
mod gateway;
mod grpc;
mod hedge;
mod ledger;
mod local;
mod own;
mod purge;
mod ranges;
mod renew;
mod replay;
mod reply;
mod retry;
mod stream;
mod strict;
mod translate;
mod upgrade;
mod verify;

pub use ctx::RequestCtx;
pub use gateway::Gateway;
