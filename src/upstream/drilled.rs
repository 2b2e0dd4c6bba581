//! What a drill of endpoints does to those who use them.
//!
//! Requests and checks go to an address that stands in for the endpoint; all else is as ever:
//! time limits, attempts, health and circuits see real connections that really fail.

use http::StatusCode;
use pingora::protocols::l4::socket::SocketAddr;
use pingora::upstreams::peer::HttpPeer;

use super::Endpoint;
use crate::drill::{self, Trouble};

/// Leads a connection to what stands in for its endpoint, during a drill. One relaxed load
/// otherwise.
#[inline]
pub fn redirect(peer: &mut HttpPeer, endpoint: &Endpoint) {
    if let Some(address) = drill::endpoint(&endpoint.service) {
        peer._address = SocketAddr::Inet(address);
    }
}

/// The status that an endpoint's answer has, which is 500 during a drill. One relaxed load
/// otherwise.
#[inline]
#[must_use]
pub fn status(answered: StatusCode, endpoint: &Endpoint) -> StatusCode {
    match drill::of_service(&endpoint.service) {
        Some(Trouble::Wrong) => StatusCode::INTERNAL_SERVER_ERROR,
        _ => answered,
    }
}
