//! The new process's side of an upgrade: asks for the sockets, tells that it serves, finds out
//! whether the old one is still there.

use std::io::{self, ErrorKind};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open, test_kill_process};

use super::channel::{Channel, Message};
use crate::clock;

/// How long a process that closed the connection may take to be gone, if it is dying: its
/// descriptors are closed some time before.
const DYING: Duration = Duration::from_secs(2);

/// The process that serves, while this one gets ready.
#[derive(Debug)]
pub(super) struct Predecessor {
    channel: Channel,
    life: Life,
}

/// What is known of the predecessor's life.
#[derive(Debug)]
enum Life {
    /// The kernel tells when it ends.
    Watched(OwnedFd),
    /// It had ended before it could be watched.
    Over,
    /// The kernel does not tell (before Linux 5.3, or forbidden by a sandbox).
    Unknown,
}

/// How it stands with the predecessor.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stands {
    /// It waits for this process.
    Waits,
    /// It has let this process take its place.
    Drains,
    /// It is gone, so this process is the only one.
    Dead,
    /// It goes on serving and wants nothing more to do with this process, for this reason.
    CutOff(String),
}

impl Predecessor {
    /// Asks the running process for its listening sockets; nothing where none runs.
    ///
    /// # Errors
    /// When it refuses, or does not answer within this time.
    pub(super) fn ask(
        socket: &Path,
        patience: Duration,
    ) -> io::Result<Option<(Self, Vec<TcpListener>)>> {
        let channel = match Channel::connect(socket) {
            Ok(channel) => channel,
            Err(error)
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) =>
            {
                return Ok(None);
            }
            Err(error) => {
                let why = format!("{}: {error}", socket.display());
                return Err(io::Error::new(error.kind(), why));
            }
        };
        // Taken before anything is asked: later the number might be another process's.
        let life = match pidfd_open(channel.peer(), PidfdFlags::empty()) {
            Ok(life) => Life::Watched(life),
            Err(Errno::SRCH) => Life::Over,
            Err(_) => Life::Unknown,
        };
        let version = env!("CARGO_PKG_VERSION").to_owned();
        channel.say(&Message::TakeOver { version })?;
        let until = Some(clock::now().tick.instant() + patience);
        let mut sockets = Vec::new();
        loop {
            let (said, fds) = channel.hear(until).map_err(|error| {
                let pid = channel.peer().as_raw_nonzero();
                let why = format!("process {pid}, which is to hand over, does not answer: {error}");
                io::Error::new(error.kind(), why)
            })?;
            match said {
                Message::Log => fds.iter().take(1).try_for_each(rustix::stdio::dup2_stderr)?,
                Message::Sockets { last, .. } => {
                    sockets.extend(fds.into_iter().map(TcpListener::from));
                    if last {
                        return Ok(Some((Self { channel, life }, sockets)));
                    }
                }
                Message::Refused { why } => return Err(io::Error::other(refused(&why))),
                said => return Err(io::Error::other(format!("the running process says {said:?}"))),
            }
        }
    }

    /// Its process id.
    pub(super) const fn pid(&self) -> Pid {
        self.channel.peer()
    }

    /// Says that this process will not be ready.
    pub(super) fn give_up(&self, why: &str) {
        // Where it does not hear that, it notices the end of the connection.
        let _ = self.channel.say(&Message::GaveUp { why: why.to_owned() });
    }

    /// How it stands, after so long at most.
    pub(super) fn stands(&self, wait: Duration) -> Stands {
        if !self.channel.stirs(wait) {
            return Stands::Waits;
        }
        self.hear()
    }

    /// Says that this process serves, and waits for the answer, however long that takes: both
    /// serve meanwhile.
    pub(super) fn ready(&self) -> Stands {
        // A predecessor that is gone does not listen; that shows next.
        let _ = self.channel.say(&Message::Ready);
        self.hear()
    }

    fn hear(&self) -> Stands {
        match self.channel.hear(None) {
            Ok((Message::Draining, _)) => Stands::Drains,
            Ok((Message::Refused { why }, _)) => Stands::CutOff(refused(&why)),
            Ok((said, _)) => Stands::CutOff(format!("the running process says {said:?}")),
            Err(_) if self.is_dead(DYING) => Stands::Dead,
            Err(error) => {
                Stands::CutOff(format!("the running process has ended the connection: {error}"))
            }
        }
    }

    /// Whether it has ended, within this time.
    fn is_dead(&self, wait: Duration) -> bool {
        match &self.life {
            Life::Over => true,
            Life::Watched(life) => {
                let wait = Timespec::try_from(wait).ok();
                let life = &mut [PollFd::new(life, PollFlags::IN)];
                poll(life, wait.as_ref()).is_ok_and(|ready| ready > 0)
            }
            Life::Unknown => {
                std::thread::sleep(wait);
                test_kill_process(self.pid()) == Err(Errno::SRCH)
            }
        }
    }
}

fn refused(why: &str) -> String {
    format!("the running process refuses to hand over: {why}")
}
