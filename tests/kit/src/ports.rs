//! Free loopback ports that no other test is given, in this process or in another.
//!
//! Asking the kernel for port 0 and closing the socket is a race: the same port may be given to
//! the next who asks, or to an outgoing connection. So ports come from below the kernel's
//! ephemeral range, in blocks; a block belongs to the process that holds its lock file, and
//! inside a process every port is handed out once.

use std::fs::{File, OpenOptions};
use std::net::{Ipv4Addr, TcpListener};

use parking_lot::Mutex;

use crate::{Context, Error, Result};

/// First port of the first block; Linux begins its ephemeral range at 32768.
const FIRST: u16 = 20_000;
/// Ports in a block: enough for most tests, each of which may be a process.
const BLOCK_PORTS: u16 = 30;
/// Number of blocks.
const BLOCKS: u16 = 400;

/// The blocks that this process owns.
struct Owned {
    /// Locks of all blocks, the used-up ones too: each lasts as long as its file is open.
    locks: Vec<File>,
    next: u16,
    end: u16,
}

static OWNED: Mutex<Owned> = Mutex::new(Owned { locks: Vec::new(), next: 0, end: 0 });

/// A port that is free on 127.0.0.1 and that nobody else will be given while this process runs.
pub fn free() -> Result<u16> {
    let mut owned = OWNED.lock();
    loop {
        if owned.next == owned.end {
            let (lock, first) = claim()?;
            owned.locks.push(lock);
            owned.next = first;
            owned.end = first + BLOCK_PORTS;
        }
        let port = owned.next;
        owned.next += 1;
        if is_free(port) {
            return Ok(port);
        }
    }
}

/// Whether a port can be bound on 127.0.0.1 now.
#[must_use]
pub fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// Takes a block that no living process holds: its lock and its first port.
fn claim() -> Result<(File, u16)> {
    let user = rustix::process::getuid().as_raw();
    let folder = std::env::temp_dir().join(format!("tidegate-kit-ports-{user}"));
    std::fs::create_dir_all(&folder).context("folder of port locks")?;
    let start = u16::try_from(std::process::id() % u32::from(BLOCKS)).unwrap_or(0);
    for offset in 0..BLOCKS {
        let index = (start + offset) % BLOCKS;
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(folder.join(index.to_string()))
            .context("port lock")?;
        if file.try_lock().is_ok() {
            return Ok((file, FIRST + index * BLOCK_PORTS));
        }
    }
    Err(Error::new("every block of test ports is taken"))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ports_are_never_handed_out_twice() {
        let ports: HashSet<u16> = (0..100).map(|_| free().unwrap()).collect();
        assert_eq!(ports.len(), 100);
    }
}
