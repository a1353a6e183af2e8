//! A message that came in, or a part of one: in an inbox, in the hands of a handler or a holder.

use crate::proto::{MessageKind, utf8};
use crate::ring::Buffer;

/// A message on its way in, or a part of one. What it is stands in the mark of the buffer and not
/// beside it, so that it is one word wherever it goes.
pub(crate) struct Incoming(Buffer);

const BINARY: u8 = 1;
const COMPLETE: u8 = 2;

/// What `read` takes: a message, or a part of one.
pub(crate) struct Piece {
    pub(crate) incoming: Incoming,
    /// Whether the message ends with it.
    pub(in crate::engine) at_end: bool,
}

impl Incoming {
    pub(in crate::engine) fn new(mut payload: Buffer, kind: MessageKind, complete: u8) -> Self {
        payload.set_mark(mark(kind) | complete);
        Self(payload)
    }

    /// What came from elsewhere.
    pub(crate) fn of(kind: MessageKind, payload: Buffer) -> Self {
        Self::new(payload, kind, COMPLETE)
    }

    /// A whole message, with room in front: it may be sent from where it is.
    #[inline(always)]
    pub(in crate::engine) fn whole(kind: MessageKind, bytes: &[u8]) -> Self {
        Self(Buffer::copy_with_headroom(bytes, mark(kind) | COMPLETE))
    }

    #[inline(always)]
    pub(crate) fn kind(&self) -> MessageKind {
        if self.0.mark() & BINARY != 0 { MessageKind::Binary } else { MessageKind::Text }
    }

    #[inline(always)]
    pub(crate) fn payload(&self) -> &Buffer {
        &self.0
    }

    /// Its bytes, to be added to.
    #[inline(always)]
    pub(in crate::engine) fn payload_mut(&mut self) -> &mut Buffer {
        &mut self.0
    }

    /// All of it is here.
    pub(in crate::engine) fn complete(&mut self) {
        self.0.set_mark(self.0.mark() | COMPLETE);
    }

    #[inline(always)]
    pub(crate) fn into_payload(self) -> Buffer {
        self.0
    }

    #[inline(always)]
    pub(in crate::engine) fn is_complete(&self) -> bool {
        self.0.mark() & COMPLETE != 0
    }

    /// Bytes of the first `len` characters (or bytes), if they are there.
    pub(in crate::engine) fn cut(&self, len: usize, as_bytes: bool) -> Option<usize> {
        if self.0.len() < len {
            return None;
        }
        if as_bytes || self.kind() == MessageKind::Binary {
            return Some(len);
        }
        utf8::char_boundary_prefix(&self.0, len)
    }

    /// Adds what follows in the same message.
    pub(in crate::engine) fn extend(&mut self, more: &Self) {
        self.0.extend_from_slice(&more.0);
    }

    /// Moves the first `count` bytes out.
    pub(in crate::engine) fn split_to(&mut self, count: usize) -> Self {
        Self(self.0.split_to(count))
    }
}

impl Clone for Incoming {
    fn clone(&self) -> Self {
        Self(Buffer::copy_with_headroom(&self.0, self.0.mark()))
    }
}

#[inline(always)]
fn mark(kind: MessageKind) -> u8 {
    match kind {
        MessageKind::Text => 0,
        MessageKind::Binary => BINARY,
    }
}
