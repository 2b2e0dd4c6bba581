//! Signals: when to stop, when to hand the listening sockets over.
//!
//! | Signal | Does |
//! |---|---|
//! | SIGTERM | stops listening, finishes what is in flight, leaves |
//! | SIGQUIT | hands the listening sockets to the process that waits for them, then as SIGTERM |
//! | SIGINT | leaves at once |
//! | SIGHUP | reloads the configuration (see `live::watch`) |

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use nix::sys::signal::{Signal, kill};
use pingora::server::{ShutdownSignal, ShutdownSignalWatch};
use tokio::signal::unix::{SignalKind, signal};

use super::pid_file::PidFile;
use crate::live::Live;
use crate::model;

/// Waits for the signal that ends this process.
pub(super) struct Signals {
    live: Arc<Live>,
    upgrade_socket: String,
}

impl Signals {
    pub(super) const fn new(live: Arc<Live>, upgrade_socket: String) -> Self {
        Self { live, upgrade_socket }
    }
}

#[async_trait]
impl ShutdownSignalWatch for Signals {
    async fn recv(&self) -> ShutdownSignal {
        let (Ok(mut quit), Ok(mut terminate), Ok(mut interrupt)) = (
            signal(SignalKind::quit()),
            signal(SignalKind::terminate()),
            signal(SignalKind::interrupt()),
        ) else {
            tracing::error!("signals cannot be received");
            return ShutdownSignal::FastShutdown;
        };
        loop {
            tokio::select! {
                _ = interrupt.recv() => return ShutdownSignal::FastShutdown,
                _ = terminate.recv() => {
                    self.live.drain();
                    return ShutdownSignal::GracefulTerminate;
                }
                _ = quit.recv() => {
                    // Pingora would stop even if nobody took the sockets: an outage.
                    if is_listening(&self.upgrade_socket) {
                        return ShutdownSignal::GracefulUpgrade;
                    }
                    tracing::error!(
                        socket = self.upgrade_socket,
                        "SIGQUIT ignored: no process waits to take over; start one with --upgrade"
                    );
                }
            }
        }
    }
}

/// Whether a process listens on a Unix socket, without connecting to it: the one connection
/// that the waiting process accepts is the hand-over itself.
fn is_listening(socket: &str) -> bool {
    std::fs::read_to_string("/proc/net/unix").is_ok_and(|table| is_in_table(&table, socket))
}

/// Looks a socket up in the kernel's table: the path is the last column, and listening sockets
/// carry the flag `__SO_ACCEPTCON` (0x10000) in the fourth.
fn is_in_table(table: &str, socket: &str) -> bool {
    table.lines().any(|line| {
        let mut columns = line.split_ascii_whitespace();
        columns.nth(3) == Some("00010000") && columns.last() == Some(socket)
    })
}

/// Asks the running process to hand over, as soon as this one waits for the sockets. Needs the
/// pid file; without one, whoever upgrades sends SIGQUIT to the running process.
pub(super) fn ask_to_hand_over(settings: &model::Server) {
    let Some(pid) = settings.pid_file.as_deref().map(Path::new).and_then(PidFile::read) else {
        tracing::info!("waiting for the sockets: send SIGQUIT to the running process");
        return;
    };
    let socket = settings.upgrade_socket.clone();
    let ask = std::thread::Builder::new().name("upgrade".to_owned()).spawn(move || {
        for _ in 0..WAITS {
            if is_listening(&socket) {
                match kill(pid, Signal::SIGQUIT) {
                    Ok(()) => tracing::info!(%pid, "asked the running process to hand over"),
                    Err(error) => tracing::error!(%pid, %error, "cannot ask for the sockets"),
                }
                return;
            }
            std::thread::sleep(WAIT);
        }
    });
    if let Err(error) = ask {
        tracing::error!(%error, "cannot ask for the sockets");
    }
}

/// Looks at the upgrade socket before giving up, and the time between them: together as long
/// as Pingora waits for the sockets.
const WAITS: u32 = 250;
const WAIT: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listening_socket_is_told_from_a_file_left_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("upgrade.sock");
        let path = path.to_str().unwrap();
        assert!(!is_listening(path));
        let listener = std::os::unix::net::UnixListener::bind(path).unwrap();
        assert!(is_listening(path));
        drop(listener);
        assert!(std::fs::exists(path).unwrap());
        assert!(!is_listening(path));
    }
}
