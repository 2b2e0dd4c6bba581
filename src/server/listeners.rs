//! Are the listeners free, are they open?
//!
//! Pingora tries for half a minute to bind an address that is taken, then ends the one task that
//! wanted it and runs on without. Both are found out here: a taken address before anything
//! starts, and the moment from which clients are served.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use crate::model::Config;

/// Fails if another process has one of the addresses.
///
/// # Errors
/// Names the address and why it cannot be had.
pub(super) fn check_free(config: &Config) -> io::Result<()> {
    for address in addresses(config) {
        let name = |error: io::Error| io::Error::new(error.kind(), format!("{address}: {error}"));
        drop(std::net::TcpListener::bind(address).map_err(name)?);
    }
    Ok(())
}

/// Returns once every listener accepts connections. Connecting is the one sign that the kernel
/// gives; the connection is closed at once.
pub(super) async fn until_open(config: &Config) {
    for address in addresses(config) {
        while tokio::net::TcpStream::connect(reachable(address)).await.is_err() {
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// How often a listener that is not open yet is tried.
const LOOK: Duration = Duration::from_millis(5);

fn addresses(config: &Config) -> impl Iterator<Item = SocketAddr> {
    config
        .listeners
        .iter()
        .map(|listener| listener.address.as_str())
        .chain([config.admin.address.as_str()])
        .filter_map(|address| address.parse().ok())
}

/// Where to connect for an address that may stand for all of this machine's.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}
