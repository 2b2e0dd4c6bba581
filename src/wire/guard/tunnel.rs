//! A connection that carries another protocol by now: what ends it when its grace is over.

use std::io::{IoSlice, Result};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;

use super::Guard;
use crate::wire::Other;
use crate::wire::farewell::Ear;
use crate::wire::websocket::{Frames, GOING_AWAY};

/// What a guard knows of its tunnel.
#[derive(Debug, Default)]
pub(super) struct Tunnel {
    /// What has gone to the client of a `WebSocket`.
    frames: Option<Frames>,
    /// How much of the closing frame has gone to it.
    said: usize,
    ear: Ear,
}

impl Tunnel {
    fn new(other: Other) -> Self {
        let frames = (other == Other::WebSocket).then(Frames::default);
        Self { frames, ..Self::default() }
    }

    /// Of these bytes those that may still go to the client, once the farewell has been said.
    fn last(&self, bytes: &[u8]) -> usize {
        self.frames.map_or(bytes.len(), |frames| frames.rest_of_frame(bytes))
    }

    /// What of the closing frame is still to be sent: nothing where the client does not know
    /// frames, or has been sent one by its service. None within a frame, where none fits in.
    fn rest_of_goodbye(&self) -> Option<&'static [u8]> {
        match &self.frames {
            None => Some(&[]),
            Some(frames) if !frames.is_between() => None,
            Some(frames) if frames.is_closing() => Some(&[]),
            Some(_) => GOING_AWAY.get(self.said..),
        }
    }
}

impl Guard {
    /// Sends bytes of a tunnel. After the farewell no frame is begun: what would begin one is
    /// dropped, as if the client had gone.
    pub(super) fn write_in_tunnel(
        &mut self,
        other: Other,
        bytes: &[u8],
        cx: &mut Context<'_>,
    ) -> Poll<Result<usize>> {
        let tunnel = self.tunnel.get_or_insert_with(|| Box::new(Tunnel::new(other)));
        let mut may_go = bytes;
        if self.farewell.is_said() {
            may_go = bytes.get(..tunnel.last(bytes)).unwrap_or_default();
            if may_go.is_empty() {
                return Poll::Ready(Ok(bytes.len()));
            }
        }
        let outcome = Pin::new(&mut self.inner).poll_write(cx, may_go);
        if let (Poll::Ready(Ok(length)), Some(frames)) = (&outcome, &mut tunnel.frames) {
            frames.push(may_go.get(..*length).unwrap_or_default());
        }
        self.written(outcome, cx)
    }

    /// The same for several pieces: the first of them.
    pub(super) fn write_first_in_tunnel(
        &mut self,
        other: Other,
        pieces: &[IoSlice<'_>],
        cx: &mut Context<'_>,
    ) -> Poll<Result<usize>> {
        let first = pieces.iter().find(|piece| !piece.is_empty());
        self.write_in_tunnel(other, first.map_or(&[], |piece| &**piece), cx)
    }

    /// Whether this is a tunnel that is to end; if not, the task is woken when it is.
    pub(super) fn hears_farewell(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(tunnel) = &mut self.tunnel else { return false };
        tunnel.ear.hears(&self.farewell, cx)
    }

    /// Whether this is a tunnel that is to end.
    pub(super) fn is_leaving(&self) -> bool {
        self.tunnel.is_some() && self.farewell.is_said()
    }

    /// Ends a tunnel: the client is told where it understands it, and then there is nothing more
    /// to be read from it. Within a frame the rest of that is waited for, which its service may
    /// send as long as the process lives.
    pub(super) fn leave(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let Some(tunnel) = &mut self.tunnel else { return Poll::Pending };
        loop {
            let Some(rest) = tunnel.rest_of_goodbye() else { return Poll::Pending };
            if rest.is_empty() {
                break;
            }
            let sent = ready!(Pin::new(&mut self.inner).poll_write(cx, rest))?;
            if sent == 0 {
                break;
            }
            tunnel.said += sent;
        }
        Pin::new(&mut self.inner).poll_flush(cx)
    }
}
