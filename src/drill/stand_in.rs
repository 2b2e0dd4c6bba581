//! Addresses that stand in for endpoints: one that refuses connections, and one that takes them
//! and never says anything. Real sockets, so that connecting, waiting and failing are real too.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use parking_lot::RwLock;
use tokio::net::TcpSocket;

use super::{Dependency, Trouble, of};

/// What stands in at the moment. Kept after the drill, until the next one: exchanges that began
/// within it end by their own time limits.
static STAND_IN: RwLock<Option<StandIn>> = RwLock::new(None);

struct StandIn {
    /// The one service whose endpoints are meant; without it, all.
    service: Option<String>,
    address: Option<SocketAddr>,
    _socket: Option<Socket>,
}

enum Socket {
    /// Bound, and nobody listens: connections are refused, and nobody else can take the port.
    Deaf(#[expect(dead_code, reason = "held, to keep the port")] TcpSocket),
    /// Listens, and nobody accepts.
    Mute(#[expect(dead_code, reason = "held, to keep connections open")] TcpListener),
}

/// Opens what a drill of endpoints needs.
pub(super) fn prepare(trouble: Trouble, service: Option<&str>) -> io::Result<()> {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let (address, socket) = match trouble {
        Trouble::Down => {
            let socket = TcpSocket::new_v4()?;
            socket.bind(any)?;
            (Some(socket.local_addr()?), Some(Socket::Deaf(socket)))
        }
        Trouble::Slow => {
            let socket = TcpListener::bind(any)?;
            (Some(socket.local_addr()?), Some(Socket::Mute(socket)))
        }
        Trouble::Wrong => (None, None),
    };
    let service = service.map(str::to_owned);
    *STAND_IN.write() = Some(StandIn { service, address, _socket: socket });
    Ok(())
}

/// What is wrong with the endpoints of a service on purpose; almost always nothing. One relaxed
/// load, and more only during a drill of endpoints.
#[inline]
#[must_use]
pub fn of_service(service: &str) -> Option<Trouble> {
    of(Dependency::Upstream).filter(|_| is_meant(service))
}

/// Where to connect instead of to an endpoint of a service, during a drill.
#[inline]
#[must_use]
pub fn endpoint(service: &str) -> Option<SocketAddr> {
    of(Dependency::Upstream)?;
    stand_in_for(service)
}

#[cold]
fn is_meant(service: &str) -> bool {
    let stand_in = STAND_IN.read();
    stand_in.as_ref().is_some_and(|stand_in| stand_in.is_for(service))
}

#[cold]
fn stand_in_for(service: &str) -> Option<SocketAddr> {
    let stand_in = STAND_IN.read();
    stand_in.as_ref().filter(|stand_in| stand_in.is_for(service))?.address
}

impl StandIn {
    fn is_for(&self, service: &str) -> bool {
        self.service.as_deref().is_none_or(|only| only == service)
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    /// One test, because what stands in is the process's. No switch is on, so nobody is misled.
    #[test]
    fn one_refuses_and_one_says_nothing() {
        let address = || stand_in_for("api");
        prepare(Trouble::Down, None).unwrap();
        let refused = TcpStream::connect(address().unwrap()).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        prepare(Trouble::Slow, Some("api")).unwrap();
        let _open = TcpStream::connect(address().unwrap()).unwrap();
        assert_eq!(stand_in_for("other"), None);
        assert!(is_meant("api") && !is_meant("other"));
        prepare(Trouble::Wrong, None).unwrap();
        assert_eq!(address(), None);
        assert!(is_meant("other"));
        assert_eq!((endpoint("api"), of_service("api")), (None, None), "nothing is switched on");
    }
}
