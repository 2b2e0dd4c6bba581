//! An HTTP/1.1 client that sends exactly what it is told and reads one answer at a time.
//!
//! Libraries correct what they send: they resolve dot segments, refuse a missing `Host`, hide
//! that a connection was reused. Tests of a gateway need all of that visible.

mod connection;
mod http2;
mod request;
mod response;

use std::net::SocketAddr;

pub use connection::RawConnection;
pub use http2::Http2Client;
pub use request::Request;
pub use response::Response;

use crate::Result;

/// Sends a request on a connection of its own.
pub async fn send(address: SocketAddr, request: &Request) -> Result<Response> {
    RawConnection::connect(address).await?.request(request).await
}
