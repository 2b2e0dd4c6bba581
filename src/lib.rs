//! Tidegate: an API gateway on Pingora.
//!
//! The modules below stand in reading order; arrows between them only go down (`tests/tidy.rs`
//! holds the table). `docs/ARCHITECTURE.md` is the map: the life of a request, the life of a
//! configuration change, and the invariants that everything here relies on.
//!
//! | Layer | Modules |
//! |---|---|
//! | 7 | [`cli`]: the command line |
//! | 6 | [`server`]: builds the process |
//! | 5 | [`proxy`], [`admin`]: the data plane's phases; the operator's endpoints |
//! | 4 | [`live`]: what changes while the process runs |
//! | 3 | [`decide`]: one request in, one decision out; no clock, no network |
//! | 2 | [`snapshot`]: the compiled, immutable configuration |
//! | 1 | [`wire`], [`routing`], [`action`], [`shape`]: one policy each |
//! | 1 | [`auth`], [`limit`], [`cache`], [`compress`], [`upstream`]: one policy each |
//! | 0 | [`model`], [`fault`], [`clock`], [`edge`], [`telemetry`]: words, facts, the request |
//! | 0 | [`link`], [`drill`]: connections to Redis; faults on purpose |

pub mod clock;
pub mod drill;
pub mod edge;
pub mod fault;
pub mod link;
pub mod model;
pub mod telemetry;

pub mod action;
pub mod auth;
pub mod cache;
pub mod compress;
pub mod limit;
pub mod routing;
pub mod shape;
pub mod upstream;
pub mod wire;

pub mod admin;
pub mod cli;
pub mod decide;
pub mod live;
pub mod proxy;
pub mod server;
pub mod snapshot;
