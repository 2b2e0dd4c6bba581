//! A connection before and around its requests: who is at its other end, what it may take of
//! this machine, how long its client may take, and whether its bytes can be read in one way only.
//!
//! [`Door`] counts connections of a listener and [`Ceiling`] those of all, [`proxy_protocol`] reads
//! who is behind a load balancer, and [`Guard`] stands between the socket and Pingora for as long
//! as the connection lives. What the guard finds out, requests learn from [`Watched`].
//! [`RequestFirst`] is for the other side: connections that are to become something else than HTTP.
//! Nothing here knows routes or configuration files: a listener's settings come as [`Rules`].

mod alarm;
mod ceiling;
mod certificate;
mod deadline;
mod door;
mod farewell;
mod frames;
mod framing;
mod guard;
mod pace;
mod prefix;
pub mod proxy_protocol;
mod request_first;
mod rules;
mod tls;
mod watched;
mod websocket;

pub use ceiling::Ceiling;
pub use certificate::certificate_of;
pub use deadline::Deadline;
pub use door::{Door, Place};
pub use farewell::Farewell;
pub use framing::{Framing, HEADER_BYTES_MAX, Phase, Violation};
pub use guard::Guard;
pub use request_first::RequestFirst;
pub use rules::{Rules, Speaks};
pub use tls::server_config;
pub use watched::{Ended, Other, Watched};
