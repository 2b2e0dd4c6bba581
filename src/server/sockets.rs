//! The listening sockets of the process: handed over, passed by systemd, or bound here.
//!
//! The process keeps one descriptor of each, to hand it over, for as long as it serves; Pingora
//! gets duplicates. Pingora itself would try for half a minute to bind an address that is taken,
//! and then run on without.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::IntoRawFd;
use std::sync::Arc;

use parking_lot::Mutex;
use pingora::server::{Fds, ListenFds};
use socket2::{Domain, Protocol, Socket, Type};

use crate::model::Config;

/// Connections that may wait to be accepted, as Pingora has it; the kernel bounds it further
/// (`net.core.somaxconn`).
const BACKLOG: i32 = 65_535;

/// The listening sockets, by the address that the configuration gives.
#[derive(Debug)]
pub(super) struct Sockets(Mutex<Vec<(String, TcpListener)>>);

impl Sockets {
    /// A socket for each listener and for the admin listener: one of those that are there
    /// already, or a new one. Those that nobody wants are closed.
    ///
    /// # Errors
    /// Names the address that cannot be had, and why.
    pub(super) fn obtain(config: &Config, there: Vec<TcpListener>) -> io::Result<Self> {
        let mut there: Vec<_> = there
            .into_iter()
            .filter_map(|socket| Some((socket.local_addr().ok()?, socket)))
            .collect();
        // What is there is settled before anything is bound: a new address may only be free once
        // an old one is closed.
        let mut held = Vec::new();
        for address in addresses(config) {
            let place = address.parse::<SocketAddr>().ok();
            let index = there.iter().position(|(at, _)| Some(*at) == place);
            held.push((address, index.map(|index| there.swap_remove(index).1)));
        }
        for (address, _) in there.drain(..) {
            tracing::info!(%address, "no listener of this configuration, it is let go");
        }
        let held = held.into_iter().map(|(address, socket)| {
            let name =
                |error: io::Error| io::Error::new(error.kind(), format!("{address}: {error}"));
            let socket = socket.map_or_else(|| bind(address), Ok).map_err(name)?;
            socket.set_nonblocking(true).map_err(name)?;
            Ok((address.to_owned(), socket))
        });
        Ok(Self(Mutex::new(held.collect::<io::Result<_>>()?)))
    }

    /// Pingora's table with these addresses. Its descriptors belong to whoever listens by it.
    ///
    /// # Errors
    /// When the process has no descriptor left.
    pub(super) fn table<'a>(
        &self,
        addresses: impl Iterator<Item = &'a str>,
    ) -> io::Result<ListenFds> {
        let held = self.0.lock();
        let mut table = Fds::new();
        for address in addresses {
            if let Some((_, socket)) = held.iter().find(|(name, _)| name == address) {
                table.add(address.to_owned(), socket.try_clone()?.into_raw_fd());
            }
        }
        Ok(Arc::new(Mutex::new(table)))
    }

    /// Duplicates of all of them, to be handed over.
    ///
    /// # Errors
    /// When the process has no descriptor left.
    pub(super) fn duplicates(&self) -> io::Result<Vec<(String, TcpListener)>> {
        let held = self.0.lock();
        held.iter().map(|(address, socket)| Ok((address.clone(), socket.try_clone()?))).collect()
    }

    /// Closes this process's own descriptors: from here on only those keep an address open who
    /// accept from it.
    pub(super) fn let_go(&self) {
        self.0.lock().clear();
    }
}

/// Every address that is listened on, as it is written.
fn addresses(config: &Config) -> impl Iterator<Item = &str> {
    let clients = config.listeners.iter().map(|listener| listener.address.as_str());
    clients.chain([config.admin.address.as_str()])
}

fn bind(address: &str) -> io::Result<TcpListener> {
    let place: SocketAddr = address
        .parse()
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "no address with a port"))?;
    let kind = Type::STREAM.cloexec();
    let socket = Socket::new(Domain::for_address(place), kind, Some(Protocol::TCP))?;
    // As with Pingora: connections of a process before this one may still be closing.
    socket.set_reuse_address(true)?;
    socket.bind(&place.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(listeners: &[SocketAddr], admin: SocketAddr) -> Config {
        let listeners: Vec<String> = listeners
            .iter()
            .enumerate()
            .map(|(n, address)| format!("{{\"name\": \"l{n}\", \"address\": \"{address}\"}}"))
            .collect();
        let text = format!(
            "{{\"listeners\": [{}], \"admin\": {{\"address\": \"{admin}\"}}}}",
            listeners.join(",")
        );
        serde_json::from_str(&text).unwrap()
    }

    fn socket() -> (SocketAddr, TcpListener) {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        (socket.local_addr().unwrap(), socket)
    }

    fn id(socket: &TcpListener) -> u64 {
        use std::os::fd::AsFd;
        rustix::fs::fstat(socket.as_fd()).unwrap().st_ino
    }

    #[test]
    fn a_socket_that_is_there_is_taken_and_one_that_nobody_wants_is_closed() {
        let ((first, a), (gone, b), (admin, c)) = (socket(), socket(), socket());
        let (inode, admin_inode) = (id(&a), id(&c));
        let config = config(&[first], admin);
        let sockets = Sockets::obtain(&config, vec![c, b, a]).unwrap();
        let held = sockets.duplicates().unwrap();
        let ids: Vec<_> = held.iter().map(|(name, socket)| (name.clone(), id(socket))).collect();
        assert_eq!(ids, [(first.to_string(), inode), (admin.to_string(), admin_inode)]);
        // Nobody listens there any more.
        assert!(std::net::TcpStream::connect(gone).is_err());
    }

    #[test]
    fn what_is_missing_is_bound_and_a_taken_address_is_named() {
        let ((free, a), (admin, b)) = (socket(), socket());
        drop(a);
        let ours = config(&[free], admin);
        let sockets = Sockets::obtain(&ours, vec![b]).unwrap();
        std::net::TcpStream::connect(free).unwrap();
        let error = Sockets::obtain(&ours, Vec::new()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(error.to_string().contains(&free.to_string()), "{error}");
        let table = sockets.table([free.to_string().as_str()].into_iter()).unwrap();
        assert!(table.lock().get(&free.to_string()).is_some());
        assert!(table.lock().get(&admin.to_string()).is_none());
    }

    #[test]
    fn an_address_is_free_once_all_have_let_go() {
        let ((first, a), (admin, b)) = (socket(), socket());
        let sockets = Sockets::obtain(&config(&[first], admin), vec![a, b]).unwrap();
        sockets.let_go();
        assert!(std::net::TcpStream::connect(first).is_err());
    }
}
