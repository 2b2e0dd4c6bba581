//! What two gateways on one machine say to each other over the upgrade socket, and how.
//!
//! Messages are JSON behind their length; file descriptors travel with the length. Both ends are
//! the same user's or root's: whoever may speak here may have the listening sockets.

use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::PeerCredentials;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use rustix::process::{Pid, Uid, geteuid};
use serde::{Deserialize, Serialize};

use crate::clock;

/// Descriptors in one message; the kernel takes 253 at most.
pub(super) const DESCRIPTORS_MAX: usize = 64;

/// Longest message.
const BYTES_MAX: usize = 64 * 1024;

/// What is said.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", tag = "say")]
pub(super) enum Message {
    /// New to old: give me your listening sockets.
    TakeOver {
        /// The version of the new process.
        version: String,
    },
    /// Old to new: write your log here (one descriptor). Only where the old one has started the
    /// new one, whose standard error it reads until then.
    Log,
    /// Old to new: some listening sockets (descriptors).
    Sockets {
        /// Where they listen, for the log.
        addresses: Vec<String>,
        /// Whether these are the last.
        last: bool,
    },
    /// New to old: I serve; you may go.
    Ready,
    /// Old to new: I go.
    Draining,
    /// Old to new, or to whoever ordered an upgrade: no.
    Refused {
        /// The reason, for people.
        why: String,
    },
    /// New to old: I will not be ready.
    GaveUp {
        /// The reason, for people.
        why: String,
    },
    /// `tidegate upgrade` to old: start this program, and let it take over.
    Replace {
        /// The new binary.
        program: PathBuf,
        /// How long it may take to be ready, at most.
        timeout_ms: u64,
    },
    /// Old to `tidegate upgrade`: it runs.
    Started {
        /// The new process.
        pid: i32,
        /// How it was started.
        command: String,
    },
    /// Old to `tidegate upgrade`: it serves.
    Replaced {
        /// The new process.
        pid: i32,
    },
    /// Old to `tidegate upgrade`: it does not serve, the old one goes on.
    Failed {
        /// The reason, for people.
        why: String,
        /// The last lines that the new process wrote.
        lines: Vec<String>,
    },
}

/// One end of a connection.
#[derive(Debug)]
pub(super) struct Channel {
    stream: UnixStream,
    peer: Pid,
}

impl Channel {
    /// Connects to the running process.
    ///
    /// # Errors
    /// `NotFound` or `ConnectionRefused` where nobody listens; `PermissionDenied` where somebody
    /// else does.
    pub(super) fn connect(socket: &Path) -> io::Result<Self> {
        Self::accepted(UnixStream::connect(socket)?)
    }

    /// Connects to whoever is there, if this is root: root may give orders to anybody's gateway,
    /// but takes no sockets from it.
    ///
    /// # Errors
    /// As above.
    pub(super) fn connect_to_order(socket: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(socket)?;
        Self::with(stream, |uid| uid == geteuid() || uid.is_root() || geteuid().is_root())
    }

    /// A connection that somebody has made, or that this process has.
    ///
    /// # Errors
    /// `PermissionDenied` where that is neither this user nor root.
    pub(super) fn accepted(stream: UnixStream) -> io::Result<Self> {
        Self::with(stream, |uid| uid == geteuid() || uid.is_root())
    }

    fn with(stream: UnixStream, is_trusted: impl Fn(Uid) -> bool) -> io::Result<Self> {
        // By `nix`, because the number is 0 where the other end is in a namespace of its own.
        let peer = getsockopt(&stream, PeerCredentials)?;
        let uid = Uid::from_raw(peer.uid());
        if !is_trusted(uid) {
            let who = format!("user {} is at the other end", uid.as_raw());
            return Err(io::Error::new(ErrorKind::PermissionDenied, who));
        }
        let pid = Pid::from_raw(peer.pid()).ok_or_else(|| {
            let why = "the other end is a process of another namespace";
            io::Error::new(ErrorKind::PermissionDenied, why)
        })?;
        Ok(Self { stream, peer: pid })
    }

    /// The process at the other end.
    pub(super) const fn peer(&self) -> Pid {
        self.peer
    }

    /// Says something.
    ///
    /// # Errors
    /// When the other end is gone.
    pub(super) fn say(&self, message: &Message) -> io::Result<()> {
        self.say_with(message, &[])
    }

    /// Says something and hands descriptors over, at most [`DESCRIPTORS_MAX`].
    ///
    /// # Errors
    /// When the other end is gone.
    pub(super) fn say_with(&self, message: &Message, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let body = serde_json::to_vec(message)?;
        let mut bytes = u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes().to_vec();
        bytes.extend_from_slice(&body);
        let mut sent = 0;
        if !fds.is_empty() {
            let mut space =
                [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            if !control.push(SendAncillaryMessage::ScmRights(fds)) {
                return Err(io::Error::other("too many descriptors for one message"));
            }
            sent =
                sendmsg(&self.stream, &[IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL)?;
        }
        (&self.stream).write_all(bytes.get(sent..).unwrap_or_default())
    }

    /// Hears what is said, and takes what comes with it.
    ///
    /// # Errors
    /// `TimedOut` when nothing has come by `until`; `UnexpectedEof` when the other end is gone.
    pub(super) fn hear(&self, until: Option<Instant>) -> io::Result<(Message, Vec<OwnedFd>)> {
        self.patience(until)?;
        let mut fds = Vec::new();
        let mut head = [0; 4];
        let mut come = 0;
        while let Some(room) = head.get_mut(come..).filter(|room| !room.is_empty()) {
            come += self.receive(room, &mut fds).map_err(late)?;
        }
        let length = usize::try_from(u32::from_be_bytes(head)).unwrap_or(usize::MAX);
        if length > BYTES_MAX {
            return Err(io::Error::new(ErrorKind::InvalidData, "no message of a gateway"));
        }
        let mut body = vec![0; length];
        (&self.stream).read_exact(&mut body).map_err(late)?;
        Ok((serde_json::from_slice(&body)?, fds))
    }

    /// Whether something has come that can be heard, or the other end is gone. Waits so long.
    pub(super) fn stirs(&self, wait: Duration) -> bool {
        let wait = Timespec::try_from(wait).ok();
        poll(&mut [PollFd::new(&self.stream, PollFlags::IN)], wait.as_ref())
            .is_ok_and(|ready| ready > 0)
    }

    fn patience(&self, until: Option<Instant>) -> io::Result<()> {
        let left = until.map(|until| until.saturating_duration_since(clock::now().tick.instant()));
        if left.is_some_and(|left| left.is_zero()) && !self.stirs(Duration::ZERO) {
            return Err(ErrorKind::TimedOut.into());
        }
        // A limit of 0 would be none.
        self.stream.set_read_timeout(left.map(|left| left.max(Duration::from_millis(1))))
    }

    fn receive(&self, room: &mut [u8], fds: &mut Vec<OwnedFd>) -> io::Result<usize> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = rustix::io::retry_on_intr(|| {
            let room = &mut [IoSliceMut::new(room)];
            recvmsg(&self.stream, room, &mut control, RecvFlags::CMSG_CLOEXEC)
        })?;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(handed) = message {
                fds.extend(handed);
            }
        }
        if received.bytes == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        Ok(received.bytes)
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// A read that ran into its time limit says that it would block.
fn late(error: io::Error) -> io::Error {
    if error.kind() == ErrorKind::WouldBlock { ErrorKind::TimedOut.into() } else { error }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::unix::net::UnixListener;

    use super::*;

    fn pair() -> (Channel, Channel) {
        let (one, other) = UnixStream::pair().unwrap();
        (Channel::accepted(one).unwrap(), Channel::accepted(other).unwrap())
    }

    #[test]
    fn what_is_said_is_heard_with_what_comes_along() {
        let (old, new) = pair();
        let sockets: Vec<TcpListener> =
            (0..DESCRIPTORS_MAX).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let fds: Vec<_> = sockets.iter().map(AsFd::as_fd).collect();
        let addresses = vec!["127.0.0.1:1".to_owned()];
        old.say(&Message::TakeOver { version: "1".to_owned() }).unwrap();
        old.say_with(&Message::Sockets { addresses, last: true }, &fds).unwrap();
        old.say(&Message::Ready).unwrap();
        let (first, none) = new.hear(None).unwrap();
        assert!(matches!(first, Message::TakeOver { version } if version == "1"));
        assert!(none.is_empty());
        let (second, handed) = new.hear(None).unwrap();
        assert!(matches!(second, Message::Sockets { last: true, .. }));
        let handed: Vec<_> = handed
            .into_iter()
            .map(|fd| {
                let flags = rustix::io::fcntl_getfd(&fd).unwrap();
                assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
                TcpListener::from(fd).local_addr().unwrap()
            })
            .collect();
        let sent: Vec<_> = sockets.iter().map(|socket| socket.local_addr().unwrap()).collect();
        assert_eq!(handed, sent);
        assert!(matches!(new.hear(None).unwrap().0, Message::Ready));
    }

    #[test]
    fn the_end_is_told_from_silence() {
        let (old, new) = pair();
        let soon = clock::now().tick.instant() + Duration::from_millis(20);
        assert!(!new.stirs(Duration::ZERO));
        assert_eq!(new.hear(Some(soon)).unwrap_err().kind(), ErrorKind::TimedOut);
        assert_eq!(new.hear(Some(soon)).unwrap_err().kind(), ErrorKind::TimedOut);
        drop(old);
        assert!(new.stirs(Duration::ZERO));
        assert_eq!(new.hear(None).unwrap_err().kind(), ErrorKind::UnexpectedEof);
    }

    #[test]
    fn what_no_gateway_says_is_an_error() {
        let (one, other) = UnixStream::pair().unwrap();
        let new = Channel::accepted(other).unwrap();
        (&one).write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        assert_eq!(new.hear(None).unwrap_err().kind(), ErrorKind::InvalidData);
    }

    #[test]
    fn nobody_at_the_socket_is_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("upgrade.sock");
        assert_eq!(Channel::connect(&path).unwrap_err().kind(), ErrorKind::NotFound);
        drop(UnixListener::bind(&path).unwrap());
        assert_eq!(Channel::connect(&path).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    }
}
