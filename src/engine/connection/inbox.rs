//! What a connection has received and its handler has not read.
//!
//! The session puts messages in, whole or in parts; `read` takes at most so many characters or
//! bytes out. The inbox owns the bytes, so that a read that times out or is dropped loses none.

use crate::engine::connection::room::Room;
use crate::engine::model::incoming::Incoming;
use crate::engine::model::incoming::Piece;
use crate::proto::MessageKind;
use crate::ring::{Buffer, Queue};

/// Bytes of a frame that must have arrived before the rest of it is believed and room for all of
/// it is made: a header alone must not reserve memory.
const TRUST_BYTES: usize = 64 * 1024;

/// Bytes of the shortest frame of a client: a header of two bytes, and the mask (RFC 6455 §5.2).
const CLIENT_FRAME_BYTES_MIN: usize = 6;

/// Messages for which an idle inbox keeps room: as many as a busy client has in flight.
const QUEUE_KEPT: usize = 32;

/// Messages in order of arrival; the last one may be incomplete.
pub(in crate::engine) struct Inbox {
    queue: Queue<Incoming>,
    /// Of the payloads.
    bytes: usize,
    /// Memory reserved for what is still to come of the last message.
    reserved_bytes: usize,
    /// Whole messages that have come and were not asked for yet.
    arrived: u64,
}

impl Inbox {
    pub(in crate::engine) const fn new() -> Self {
        Self { queue: Queue::new(), bytes: 0, reserved_bytes: 0, arrived: 0 }
    }

    /// Bytes of payload.
    #[inline(always)]
    pub(in crate::engine) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The same, and what is reserved for the rest of the last message. The memory of a message is
    /// less than twice its payload otherwise, and a constant.
    pub(in crate::engine) fn held_bytes(&self) -> usize {
        self.bytes + self.reserved_bytes
    }

    /// Messages, the incomplete one included.
    #[inline(always)]
    pub(in crate::engine) fn messages(&self) -> usize {
        self.queue.len()
    }

    /// Whether it may take more.
    #[inline(always)]
    pub(in crate::engine) fn has_room(&self, room: Room) -> bool {
        self.bytes < room.bytes_max && self.queue.len() < room.messages_max
    }

    /// Whether it has room after so many bytes of frames, whatever they are.
    #[inline(always)]
    pub(in crate::engine) fn has_room_after(&self, bytes: usize, room: Room) -> bool {
        self.bytes + bytes < room.bytes_max
            && self.queue.len() + bytes / CLIENT_FRAME_BYTES_MIN < room.messages_max
    }

    /// Bytes of the first message, if it is one of which more is to come.
    pub(in crate::engine) fn partial_bytes(&self) -> Option<usize> {
        self.queue.front().filter(|front| !front.is_complete()).map(|front| front.payload().len())
    }

    /// Whether the message that came last is whole, if there is one.
    pub(in crate::engine) fn ends_whole(&mut self) -> bool {
        self.queue.back_mut().is_none_or(|last| last.is_complete())
    }

    /// Whether there is a whole message to read.
    pub(in crate::engine) fn has_whole(&self) -> bool {
        self.queue.front().is_some_and(Incoming::is_complete)
    }

    /// Whole messages that have come since this was asked last.
    pub(in crate::engine) fn take_arrived(&mut self) -> u64 {
        std::mem::take(&mut self.arrived)
    }

    /// A whole message.
    #[inline(always)]
    pub(in crate::engine) fn push(&mut self, kind: MessageKind, bytes: &[u8]) {
        self.enqueue(Incoming::whole(kind, bytes), bytes.len());
        // Fewer than there are bytes.
        self.arrived = self.arrived.wrapping_add(1);
    }

    /// A message begins.
    pub(in crate::engine) fn begin(&mut self, kind: MessageKind) {
        self.enqueue(Incoming::new(Buffer::with_headroom(0), kind, 0), 0);
    }

    #[inline(always)]
    fn enqueue(&mut self, incoming: Incoming, bytes: usize) {
        self.queue.push(incoming, QUEUE_KEPT);
        // Their sum does not come near the end of the numbers.
        self.bytes = self.bytes.wrapping_add(bytes);
    }

    /// More of the message that began last. `frame_remaining` bytes of its frame are still to
    /// come, and the reader wants at most `wanted_bytes` at once.
    pub(in crate::engine) fn append(
        &mut self,
        bytes: &[u8],
        frame_remaining: u64,
        wanted_bytes: usize,
    ) {
        let Some(payload) = self.queue.back_mut().map(Incoming::payload_mut) else { return };
        let arrived = payload.len() + bytes.len();
        if bytes.len() > payload.room() {
            let frame_remaining = usize::try_from(frame_remaining).unwrap_or(usize::MAX);
            let whole = arrived.saturating_add(frame_remaining);
            let believed = if arrived >= TRUST_BYTES { wanted_bytes } else { TRUST_BYTES };
            let room = whole.min(believed).max(arrived) - payload.len();
            payload.reserve(room);
        }
        payload.extend_from_slice(bytes);
        self.bytes += bytes.len();
        self.reserved_bytes = payload.room();
    }

    /// The message that began last is complete.
    pub(in crate::engine) fn end(&mut self) {
        if let Some(last) = self.queue.back_mut() {
            last.complete();
            trim(last.payload_mut());
            self.arrived += 1;
        }
        self.reserved_bytes = 0;
    }

    /// Whether [`Inbox::take`] would take something.
    pub(in crate::engine) fn is_readable(&self, len: usize, as_bytes: bool) -> bool {
        let front = self.queue.front();
        front.is_some_and(|front| front.is_complete() || front.cut(len, as_bytes).is_some())
    }

    /// Takes the first message if it is whole and has at most `len` bytes, which are never more
    /// characters: the usual case.
    #[inline(always)]
    pub(in crate::engine) fn take_whole(&mut self, len: usize) -> Option<Incoming> {
        let front = self.queue.front()?;
        if !front.is_complete() || front.payload().len() > len {
            return None;
        }
        let taken = self.queue.pop_front()?;
        // They were in the sum.
        self.bytes = self.bytes.wrapping_sub(taken.payload().len());
        Some(taken)
    }

    /// Takes the first message, or its first `len` characters (bytes, if it is binary or
    /// `as_bytes`), once the one or the other is there.
    pub(in crate::engine) fn take(&mut self, len: usize, as_bytes: bool) -> Option<Piece> {
        if let Some(incoming) = self.take_whole(len) {
            return Some(Piece { incoming, at_end: true });
        }
        self.take_part(len, as_bytes)
    }

    fn take_part(&mut self, len: usize, as_bytes: bool) -> Option<Piece> {
        let front = self.queue.front_mut()?;
        let cut = front.cut(len, as_bytes);
        if front.is_complete() && cut.is_none_or(|cut| cut == front.payload().len()) {
            return self.take(usize::MAX, as_bytes);
        }
        let cut = cut?;
        let incoming = front.split_to(cut);
        trim(front.payload_mut());
        if !front.is_complete() {
            self.reserved_bytes = front.payload().room();
        }
        self.bytes -= cut;
        Some(Piece { incoming, at_end: false })
    }

    /// Gives back the memory of a queue that was long once.
    pub(in crate::engine) fn rest(&mut self) {
        self.queue.shrink_to(QUEUE_KEPT);
    }

    /// Drops the message that is incomplete.
    pub(in crate::engine) fn abandon(&mut self) {
        if self.queue.back_mut().is_some_and(|last| !last.is_complete())
            && let Some(dropped) = self.queue.pop_back()
        {
            self.bytes -= dropped.payload().len();
            self.reserved_bytes = 0;
        }
    }
}

/// Gives back memory of which little is used: a message is not to hold much more than it weighs.
fn trim(payload: &mut Buffer) {
    if payload.capacity() > TRUST_BYTES && payload.len() < payload.capacity() / 4 {
        *payload = Buffer::copy_with_headroom(payload, payload.mark());
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
        Some((String::from_utf8(piece.incoming.payload().to_vec()).unwrap(), piece.at_end))
    }

    #[test]
    fn len_counts_characters_and_cuts_none() {
        let mut inbox = inbox(&[("äöü€😀x", true)]);
        assert_eq!(take(&mut inbox, 2), Some(("äö".into(), false)));
        assert_eq!(take(&mut inbox, 3), Some(("ü€😀".into(), false)));
        assert_eq!(take(&mut inbox, 3), Some(("x".into(), true)));
        assert_eq!(take(&mut inbox, 3), None);
        assert_eq!((inbox.held_bytes(), inbox.messages()), (0, 0));
    }

    #[test]
    fn a_message_of_exactly_len_ends_with_it() {
        let mut inbox = inbox(&[("four", true), ("", true), ("next", true)]);
        assert_eq!(take(&mut inbox, 4), Some(("four".into(), true)));
        assert_eq!(take(&mut inbox, 4), Some((String::new(), true)));
        assert_eq!(take(&mut inbox, 9), Some(("next".into(), true)));
        assert_eq!(inbox.held_bytes(), 0);
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
        assert!(inbox.held_bytes() < 2 * TRUST_BYTES, "{}", inbox.held_bytes());
        inbox.append(&[0; 2 * TRUST_BYTES], (4 << 20) - 2 * TRUST_BYTES as u64, 16 << 20);
        assert!(inbox.held_bytes() >= 4 << 20);
        assert!(inbox.held_bytes() < 5 << 20, "{}", inbox.held_bytes());
        assert_eq!(inbox.bytes(), 2 * TRUST_BYTES + 1);
    }

    #[test]
    fn an_endless_message_read_in_pieces_stays_small() {
        let mut inbox = Inbox::new();
        inbox.begin(MessageKind::Binary);
        for _ in 0..1_000 {
            inbox.append(&[7; 16 * 1024], u64::MAX / 2, TRUST_BYTES);
            while inbox.take(10_000, false).is_some() {}
            assert!(inbox.held_bytes() <= 4 * TRUST_BYTES, "{}", inbox.held_bytes());
        }
    }

    #[test]
    fn what_counts_is_the_payload_and_its_memory_stays_near_it() {
        let mut inbox = Inbox::new();
        inbox.push(MessageKind::Binary, &[1; 40_000]);
        assert_eq!((inbox.bytes(), inbox.held_bytes()), (40_000, 40_000));
        for bytes in [0, 1, 125, 4_000, 4_097, 40_000, 65_536, 70_000] {
            let incoming = Incoming::whole(MessageKind::Binary, &vec![0; bytes]);
            assert!(incoming.payload().capacity() <= 2 * bytes + 256, "{bytes}");
        }
        // A message that was announced as long, and came short; and the end of a long one.
        inbox.begin(MessageKind::Binary);
        inbox.append(&[0; 100_000], 1 << 20, 1 << 20);
        inbox.end();
        assert_eq!(inbox.held_bytes(), 140_000);
        assert_eq!(inbox.take(40_000, true).unwrap().incoming.payload().len(), 40_000);
        assert_eq!(inbox.take(99_999, true).unwrap().incoming.payload().len(), 99_999);
        let last = inbox.take(9, true).unwrap();
        assert!(last.at_end && last.incoming.payload().capacity() <= TRUST_BYTES);
        assert_eq!((inbox.held_bytes(), inbox.messages()), (0, 0));
    }
}
