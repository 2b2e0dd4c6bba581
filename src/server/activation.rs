//! Listening sockets that systemd (or another launcher) has opened: `LISTEN_FDS`, see
//! `sd_listen_fds(3)`.

use std::io;
use std::net::TcpListener;

use listenfd::ListenFd;

use crate::model::Config;

/// The name that the admin listener has as `FileDescriptorName=`.
const ADMIN: &str = "admin";

/// Takes the sockets that were passed to this process; none where it was started otherwise. They
/// are told apart by their addresses. To be called once, before anything is opened.
///
/// # Errors
/// When one of them has the name of a listener (`FileDescriptorName=`) and another address: it
/// would not be served.
pub(super) fn passed(config: &Config) -> io::Result<Vec<TcpListener>> {
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':');
    let mut descriptors = ListenFd::from_env();
    let mut sockets = Vec::new();
    for index in 0..descriptors.len() {
        let name = names.next().unwrap_or_default();
        let socket = match descriptors.take_tcp_listener(index) {
            Ok(Some(socket)) => socket,
            Ok(None) => continue,
            Err(error) => {
                tracing::warn!(name, %error, "a descriptor that was passed is not used");
                continue;
            }
        };
        let address = socket.local_addr()?;
        if let Some(wanted) = named(config, name)
            && wanted.parse() != Ok(address)
        {
            let why = format!(
                "the socket `{name}` that was passed listens on {address}, the configuration \
                 says {wanted}"
            );
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        tracing::info!(name, %address, "a listening socket was passed");
        sockets.push(socket);
    }
    Ok(sockets)
}

/// The address of the listener with this name.
fn named<'a>(config: &'a Config, name: &str) -> Option<&'a str> {
    if name == ADMIN {
        return Some(&config.admin.address);
    }
    let listener = config.listeners.iter().find(|listener| listener.name == name)?;
    Some(&listener.address)
}
