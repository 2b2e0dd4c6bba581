//! Answers of one HTTP/2 connection leave together.
//!
//! Every stream is a task of its own, and tells the connection's task when it has something to
//! send; that one runs at once, and would hand each answer to the kernel by itself. Instead a
//! flush is promised: the connection's task goes to the end of the queue, the streams that are
//! ready add what they have, and the next turn, which begins with reading, sends all of it. An
//! answer that is alone waits for a look at an empty queue, which is less than a system call.

use std::io::Result;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;

use super::{Follow, Guard};

/// What is between the connection and its socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Gather {
    /// Nothing that was written since the last flush.
    #[default]
    Empty,
    /// Something, which nobody has asked to flush yet.
    Written,
    /// Something, and the connection's task has been woken to flush it.
    Promised,
    /// Something that the socket does not take at present.
    Stuck,
}

impl Guard {
    /// Notes that something has been written.
    pub(super) fn gather(&mut self) {
        if self.gather == Gather::Empty && matches!(self.follow, Follow::Http2(_)) {
            self.gather = Gather::Written;
        }
    }

    /// Is asked to flush, and may promise it.
    ///
    /// # Errors
    /// Those of the socket, and when the client takes nothing for too long.
    pub(super) fn flush_soon(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        match self.gather {
            Gather::Empty | Gather::Stuck => self.flush_now(cx),
            Gather::Promised => Poll::Ready(Ok(())),
            Gather::Written => {
                self.gather = Gather::Promised;
                cx.waker().wake_by_ref();
                Poll::Ready(Ok(()))
            }
        }
    }

    /// Keeps the promise, if there is one: every turn of a connection begins with reading.
    ///
    /// # Errors
    /// As above.
    pub(super) fn keep_promise(&mut self, cx: &mut Context<'_>) -> Result<()> {
        match self.gather {
            Gather::Empty | Gather::Written => Ok(()),
            // A socket that takes nothing wakes the task when it does.
            Gather::Promised | Gather::Stuck => match self.flush_now(cx) {
                Poll::Ready(outcome) => outcome,
                Poll::Pending => Ok(()),
            },
        }
    }

    fn flush_now(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        match Pin::new(&mut self.inner).poll_flush(cx) {
            Poll::Pending => {
                if self.gather != Gather::Empty {
                    self.gather = Gather::Stuck;
                }
                self.wait_to_write(cx)
            }
            Poll::Ready(outcome) => {
                self.gather = Gather::Empty;
                self.writing.moved(0);
                Poll::Ready(outcome)
            }
        }
    }
}

#[cfg(test)]
mod tests;
