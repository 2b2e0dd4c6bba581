//! What was read to find out what comes, and is not handed on yet.

use tokio::io::ReadBuf;

use super::frames::PREFACE;

/// The first bytes of a connection or a request; never more than HTTP/2's preface.
#[derive(Debug, Default)]
pub(super) struct Prefix {
    pub(super) bytes: [u8; PREFACE.len()],
    pub(super) length: u8,
}

impl Prefix {
    /// What has come.
    pub(super) fn come(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.length)).unwrap_or_default()
    }

    /// Moves as much as there is room for into a buffer.
    pub(super) fn hand_on(&mut self, buf: &mut ReadBuf<'_>) {
        let moved = self.come().len().min(buf.remaining());
        buf.put_slice(self.come().get(..moved).unwrap_or_default());
        self.bytes.copy_within(moved.., 0);
        self.length -= u8::try_from(moved).unwrap_or(self.length);
    }
}
