//! The same visible job through the gateway and its peers.
//!
//! A scenario says what the job is; an entry is one server with one configuration that does it. The
//! configurations are templates in `loadtest/peers/`, a file for each, so that whoever knows a
//! server can say what is wrong with its own. A server that does less is fast for the wrong reason:
//! each is checked before it is timed ([`check`]), and each round must have been what it claims
//! ([`proof`]). A server that cannot do the job is left out, and the report says why.
//!
//! | Module | What it holds |
//! |---|---|
//! | [`scenario`] | the jobs |
//! | [`server`] | the servers: their programs, versions, command lines |
//! | [`entry`] | who does which job with which template, and who is left out |
//! | [`render`] | templates and the routes in them |
//! | [`site`] | what all servers of a run share; a server, started and measured |
//! | [`check`] | whether a server does its job |
//! | [`proof`] | whether a round was what it claims |
//! | [`tls`] | a certificate, and a request over TLS |
//! | [`table`] | the tables, the JSON, the targets |
//! | [`options`] | the command line |

pub mod check;
pub mod entry;
pub mod options;
pub mod proof;
pub mod render;
pub mod scenario;
pub mod server;
pub mod site;
pub mod table;
pub mod tls;
