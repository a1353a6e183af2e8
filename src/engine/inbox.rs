//! What a connection has received and its handler has not read.
//!
//! The session puts messages in, whole or in parts; `read` takes at most so many characters or
//! bytes out. The inbox owns the bytes, so that a read that times out or is dropped loses none.

use crate::proto::{MessageKind, limits, utf8};
use crate::ring::Buffer;
use std::collections::VecDeque;

/// Bytes of a frame that must have arrived before the rest of it is believed and room for all of
/// it is made: a header alone must not reserve memory.
const TRUST_BYTES: usize = 64 * 1024;

/// Places of an empty queue that are kept, a batch of a client that pipelines. They are given up
/// with the conversation, of which a shard keeps a thousand.
const QUEUE_KEPT: usize = 32;

/// Messages in order of arrival; the last one may be incomplete.
pub(super) struct Inbox {
    /// The first message stands apart, so that an inbox of one (the usual) needs no queue.
    front: Option<Incoming>,
    rest: VecDeque<Incoming>,
    cost_bytes: usize,
}

struct Incoming {
    kind: MessageKind,
    payload: Buffer,
    complete: bool,
}

/// What `read` takes: a message, or a part of one.
#[derive(Debug)]
pub(crate) struct Piece {
    pub(crate) kind: MessageKind,
    pub(crate) payload: Buffer,
    /// Whether the message ends with it.
    pub(super) at_end: bool,
}

impl Incoming {
    fn cost_bytes(&self) -> usize {
        self.payload.capacity() + limits::MESSAGE_COST_BYTES
    }
}

impl Inbox {
    pub(super) const fn new() -> Self {
        Self { front: None, rest: VecDeque::new(), cost_bytes: 0 }
    }

    /// What the messages cost: the memory they hold and something for each.
    pub(super) fn cost_bytes(&self) -> usize {
        self.cost_bytes
    }

    /// Messages, the incomplete one included.
    pub(super) fn messages(&self) -> usize {
        usize::from(self.front.is_some()) + self.rest.len()
    }

    /// A message begins.
    pub(super) fn begin(&mut self, kind: MessageKind) {
        let incoming = Incoming { kind, payload: Buffer::new(), complete: false };
        self.cost_bytes += incoming.cost_bytes();
        match &mut self.front {
            Some(_) => self.rest.push_back(incoming),
            front => *front = Some(incoming),
        }
    }

    /// More of the message that began last. `frame_remaining` bytes of its frame are still to
    /// come, and the reader wants at most `wanted_bytes` at once.
    pub(super) fn append(&mut self, bytes: &[u8], frame_remaining: u64, wanted_bytes: usize) {
        let Some(last) = self.rest.back_mut().or(self.front.as_mut()) else { return };
        let before = last.payload.capacity();
        let arrived = last.payload.len() + bytes.len();
        if bytes.len() > last.payload.room() {
            let frame_remaining = usize::try_from(frame_remaining).unwrap_or(usize::MAX);
            let whole = arrived.saturating_add(frame_remaining);
            let believed = if arrived >= TRUST_BYTES { wanted_bytes } else { TRUST_BYTES };
            let room = whole.min(believed).max(arrived) - last.payload.len();
            if before == 0 {
                last.payload = Buffer::with_headroom(room);
            } else {
                last.payload.reserve(room);
            }
        }
        last.payload.extend_from_slice(bytes);
        self.cost_bytes += last.payload.capacity();
        self.cost_bytes -= before;
    }

    /// The message that began last is complete.
    pub(super) fn end(&mut self) {
        if let Some(last) = self.rest.back_mut().or(self.front.as_mut()) {
            last.complete = true;
        }
    }

    /// Whether [`Inbox::take`] would take something.
    pub(super) fn is_readable(&self, len: usize, as_bytes: bool) -> bool {
        self.front
            .as_ref()
            .is_some_and(|front| front.complete || front.cut(len, as_bytes).is_some())
    }

    /// Takes the first message, or its first `len` characters (bytes, if it is binary or
    /// `as_bytes`), once the one or the other is there.
    pub(super) fn take(&mut self, len: usize, as_bytes: bool) -> Option<Piece> {
        let front = self.front.as_mut()?;
        let cut = front.cut(len, as_bytes);
        if let Some(bytes) = cut.filter(|cut| !front.complete || *cut < front.payload.len()) {
            let payload = front.payload.split_to(bytes);
            return Some(Piece { kind: front.kind, payload, at_end: false });
        }
        if !front.complete {
            return None;
        }
        let next = self.rest.pop_front();
        let taken = std::mem::replace(&mut self.front, next)?;
        self.cost_bytes -= taken.cost_bytes();
        if self.rest.is_empty() && self.rest.capacity() > QUEUE_KEPT {
            self.rest = VecDeque::new();
        }
        Some(Piece { kind: taken.kind, payload: taken.payload, at_end: true })
    }

    /// Drops the message that is incomplete.
    pub(super) fn abandon(&mut self) {
        let last = self.rest.pop_back().or_else(|| self.front.take());
        if let Some(dropped) = last.filter(|last| !last.complete) {
            self.cost_bytes -= dropped.cost_bytes();
        }
    }
}

impl Incoming {
    /// Bytes of the first `len` characters (or bytes), if they are there.
    fn cut(&self, len: usize, as_bytes: bool) -> Option<usize> {
        if self.payload.len() < len {
            return None;
        }
        if as_bytes || self.kind == MessageKind::Binary {
            return Some(len);
        }
        utf8::char_boundary_prefix(&self.payload, len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inbox(parts: &[(&str, bool)]) -> Inbox {
        let mut inbox = Inbox::new();
        for (text, complete) in parts {
            inbox.begin(MessageKind::Text);
            inbox.append(text.as_bytes(), 0, TRUST_BYTES);
            if *complete {
                inbox.end();
            }
        }
        inbox
    }

    fn take(inbox: &mut Inbox, len: usize) -> Option<(String, bool)> {
        let piece = inbox.take(len, false)?;
        Some((String::from_utf8(piece.payload.to_vec()).unwrap(), piece.at_end))
    }

    #[test]
    fn len_counts_characters_and_cuts_none() {
        let mut inbox = inbox(&[("äöü€😀x", true)]);
        assert_eq!(take(&mut inbox, 2), Some(("äö".into(), false)));
        assert_eq!(take(&mut inbox, 3), Some(("ü€😀".into(), false)));
        assert_eq!(take(&mut inbox, 3), Some(("x".into(), true)));
        assert_eq!(take(&mut inbox, 3), None);
        assert_eq!((inbox.cost_bytes(), inbox.messages()), (0, 0));
    }

    #[test]
    fn a_message_of_exactly_len_ends_with_it() {
        let mut inbox = inbox(&[("four", true), ("", true), ("next", true)]);
        assert_eq!(take(&mut inbox, 4), Some(("four".into(), true)));
        assert_eq!(take(&mut inbox, 4), Some((String::new(), true)));
        assert_eq!(take(&mut inbox, 9), Some(("next".into(), true)));
        assert_eq!(inbox.cost_bytes(), 0);
    }

    #[test]
    fn an_incomplete_message_is_read_when_len_is_there() {
        let mut inbox = inbox(&[("abc", false)]);
        assert!(!inbox.is_readable(4, false));
        assert_eq!(take(&mut inbox, 4), None);
        assert!(inbox.is_readable(3, false));
        assert_eq!(take(&mut inbox, 2), Some(("ab".into(), false)));
        inbox.append("d".as_bytes(), 0, TRUST_BYTES);
        inbox.end();
        assert_eq!(take(&mut inbox, 4), Some(("cd".into(), true)));
    }

    #[test]
    fn a_header_reserves_little_and_arrived_bytes_earn_the_rest() {
        let mut inbox = Inbox::new();
        inbox.begin(MessageKind::Binary);
        inbox.append(&[0], 16 << 20, 16 << 20);
        assert!(inbox.cost_bytes() < 2 * TRUST_BYTES, "{}", inbox.cost_bytes());
        inbox.append(&[0; 2 * TRUST_BYTES], (4 << 20) - 2 * TRUST_BYTES as u64, 16 << 20);
        assert!(inbox.cost_bytes() >= 4 << 20);
        assert!(inbox.cost_bytes() < 5 << 20, "{}", inbox.cost_bytes());
    }

    #[test]
    fn an_endless_message_read_in_pieces_stays_small() {
        let mut inbox = Inbox::new();
        inbox.begin(MessageKind::Binary);
        for _ in 0..1_000 {
            inbox.append(&[7; 16 * 1024], u64::MAX / 2, TRUST_BYTES);
            while inbox.take(10_000, false).is_some() {}
            assert!(inbox.cost_bytes() <= 4 * TRUST_BYTES, "{}", inbox.cost_bytes());
        }
    }
}
