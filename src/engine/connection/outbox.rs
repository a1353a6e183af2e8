//! What a connection has to send.
//!
//! Frames wait here while a send is in flight, and until the end of the batch otherwise; all that
//! waits leaves as one send. Owned by the conversation; filled by verbs and by the connection's own
//! answers, emptied by [`settle`](crate::engine::shard::settle). Knows no ring.

use crate::proto::frame::{Opcode, server_header};
use crate::proto::{MessageKind, limits};
use crate::ring::{Buffer, SendData};

/// Bytes of the first buffer for small frames, and of the largest.
const COPY_BUFFER_BYTES: usize = 4 * 1024;
const COPY_BUFFER_BYTES_MAX: usize = 64 * 1024;

/// Payloads up to this many bytes have a header of two bytes.
const SMALL_BYTES_MAX: usize = 125;

/// The first bit of the header of a frame that is all of its message.
const FIN: u8 = 0x80;

/// The payload of a frame to send. In two words, because the future of every idle handler has room
/// for one.
pub(crate) enum Payload<'a> {
    /// To be copied.
    Borrowed(&'a [u8]),
    /// To be sent from where it is.
    Owned(Buffer),
}

/// A write that was not taken.
pub(crate) enum WriteFailure<'a> {
    /// There is no room; the payload comes back.
    Full(Payload<'a>),
    TooLong,
    Ended,
    /// Somebody else has taken the shared socket over.
    Fenced,
}

impl Payload<'_> {
    #[inline(always)]
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Borrowed(bytes) => bytes,
            Self::Owned(buffer) => buffer,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes().len()
    }

    /// The bytes in memory of their own, with room for a header in front of what is copied here.
    pub(crate) fn into_owned(self) -> Buffer {
        match self {
            Self::Owned(buffer) => buffer,
            Self::Borrowed(bytes) => Buffer::copy_with_headroom(bytes, 0),
        }
    }
}

/// What a message is written as.
pub(in crate::engine) fn opcode(kind: MessageKind, binary_data: bool) -> Opcode {
    match kind {
        MessageKind::Text if !binary_data => Opcode::Text,
        _ => Opcode::Binary,
    }
}

/// Bytes waiting, and the count of those in flight.
pub(in crate::engine) struct Outbox {
    waiting: SendData,
    /// Those in flight included.
    bytes: usize,
    flying_bytes: usize,
    /// The answer to the newest Ping (RFC 6455 §5.5.3 lets older ones go unanswered).
    pong: Option<Box<[u8]>>,
}

impl Outbox {
    pub(in crate::engine) const fn new() -> Self {
        Self { waiting: SendData::new(), bytes: 0, flying_bytes: 0, pong: None }
    }

    /// Bytes that have not been sent.
    pub(in crate::engine) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether a write has to wait.
    pub(in crate::engine) fn is_full(&self, high_water_bytes: usize) -> bool {
        self.bytes >= high_water_bytes || self.waiting.pieces() >= limits::OUTBOX_ITEMS_MAX
    }

    /// Whether everything was sent.
    pub(in crate::engine) fn is_idle(&self) -> bool {
        self.bytes == 0 && self.pong.is_none()
    }

    /// Whether a send is in flight.
    pub(in crate::engine) fn is_flying(&self) -> bool {
        self.flying_bytes > 0
    }

    /// Whether something waits and nothing is in flight.
    pub(in crate::engine) fn wants_send(&self) -> bool {
        self.flying_bytes == 0 && (self.bytes > 0 || self.pong.is_some())
    }

    /// Adds a frame; before a Close, the Pong that waits, because nothing may come behind it. Small
    /// payloads are copied behind each other; large ones stay where they are, with the header in
    /// front of them if there is room. A small one that is the first is in memory of its own, for
    /// often it stays alone, and a Ping for each of many connections is not to take a page for each.
    #[inline]
    pub(in crate::engine) fn push_frame(&mut self, opcode: Opcode, payload: Payload<'_>) {
        if opcode == Opcode::Close {
            self.push_pending_pong();
        }
        let (header, header_bytes) = server_header(opcode, true, payload.len() as u64);
        let header = &header[..header_bytes];
        let first = self.waiting.is_empty();
        let payload = if first && payload.len() <= SMALL_BYTES_MAX {
            Payload::Owned(payload.into_owned())
        } else {
            payload
        };
        match payload {
            Payload::Owned(mut buffer)
                if buffer.len() > limits::OUTBOX_COPY_BYTES_MAX
                    || first && buffer.capacity() < COPY_BUFFER_BYTES =>
            {
                if !buffer.prepend(header) {
                    self.copy(header, &[]);
                }
                self.bytes += buffer.len();
                self.waiting.push(buffer);
            }
            copied => self.copy(header, copied.bytes()),
        }
    }

    /// Adds a small frame where that is short work: behind the others, if these wait in one buffer;
    /// or as the first, if it is in memory of its own, which is taken. Said by `false` otherwise, or
    /// if the high-water mark is reached, with nothing done.
    #[inline(always)]
    pub(in crate::engine) fn push_small(
        &mut self,
        opcode: Opcode,
        payload: &mut Payload<'_>,
        high_water_bytes: usize,
    ) -> bool {
        let bytes = payload.bytes();
        if bytes.len() > SMALL_BYTES_MAX || self.bytes >= high_water_bytes {
            return false;
        }
        let header = [FIN | opcode as u8, bytes.len() as u8];
        let frame_bytes = header.len() + bytes.len();
        if let Some(others) = self.waiting.only_mut() {
            if !others.append_frame(header, bytes) {
                // Another array, so that the usual one stays in a register.
                let [first, second] = header;
                self.copy(&[first, second], bytes);
                return true;
            }
        } else {
            let Payload::Owned(buffer) = payload else { return false };
            let stays = self.waiting.is_empty() && buffer.capacity() < COPY_BUFFER_BYTES;
            if !stays || !buffer.prepend(&header) {
                return false;
            }
            self.waiting.push_first(std::mem::take(buffer));
        }
        self.bytes += frame_bytes;
        true
    }

    /// Adds bytes that are no frame: an HTTP answer.
    pub(in crate::engine) fn push_bytes(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len();
        self.waiting.push(Buffer::copy_of(bytes));
    }

    /// Adds the answer to a Ping; where as much waits as one batch may answer, in place of one that
    /// still waits.
    pub(in crate::engine) fn push_pong(&mut self, payload: &[u8]) {
        let few = self.bytes < limits::PONGS_BYTES_MAX;
        if self.flying_bytes == 0 && self.pong.is_none() && few {
            self.push_frame(Opcode::Pong, Payload::Borrowed(payload));
        } else {
            self.pong = Some(payload.into());
        }
    }

    #[inline(never)]
    fn copy(&mut self, header: &[u8], payload: &[u8]) {
        let bytes = header.len() + payload.len();
        self.bytes += bytes;
        let last = self.waiting.last_mut();
        if bytes <= last.room() && !last.is_empty() {
            last.extend_from_slice(header);
            last.extend_from_slice(payload);
            return;
        }
        let larger = (2 * last.len()).clamp(COPY_BUFFER_BYTES, COPY_BUFFER_BYTES_MAX);
        // A small frame in memory of its own moves, so that all leave as one piece.
        let moves = last.capacity() < COPY_BUFFER_BYTES;
        let moved: &[u8] = if moves { last } else { &[] };
        let mut buffer = Buffer::with_capacity((moved.len() + bytes).max(larger));
        buffer.extend_from_slice(moved);
        buffer.extend_from_slice(header);
        buffer.extend_from_slice(payload);
        if moves {
            *last = buffer;
        } else {
            self.waiting.push(buffer);
        }
    }

    fn push_pending_pong(&mut self) {
        if let Some(payload) = self.pong.take() {
            self.push_frame(Opcode::Pong, Payload::Borrowed(&payload));
        }
    }

    /// Takes all that waits, for one send.
    pub(in crate::engine) fn take_for_send(&mut self) -> SendData {
        self.push_pending_pong();
        self.flying_bytes = self.bytes;
        std::mem::take(&mut self.waiting)
    }

    /// The send in flight has ended after `sent` bytes; the rest goes first next time.
    pub(in crate::engine) fn sent(&mut self, sent: usize, mut data: SendData) {
        self.bytes -= sent;
        if sent < std::mem::take(&mut self.flying_bytes) {
            data.advance(sent);
            data.append(std::mem::take(&mut self.waiting));
            self.waiting = data;
        }
    }

    /// Drops what waits: nobody will take it. Comes back: how many bytes that were.
    pub(in crate::engine) fn clear(&mut self) -> usize {
        let waiting = self.bytes - self.flying_bytes;
        self.waiting = SendData::new();
        self.bytes = self.flying_bytes;
        self.pong = None;
        waiting
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(data: &SendData) -> Vec<u8> {
        data.iter().flat_map(|piece| piece.iter().copied()).collect()
    }

    #[test]
    fn many_small_frames_leave_as_one_piece() {
        let mut outbox = Outbox::new();
        for _ in 0..16 {
            outbox.push_frame(Opcode::Text, Payload::Borrowed(&[b'x'; 32]));
        }
        let data = outbox.take_for_send();
        assert_eq!((data.pieces(), data.len()), (1, 16 * 34));
        assert_eq!(bytes(&data)[..3], [0x81, 32, b'x']);
    }

    #[test]
    fn a_large_payload_stays_where_it_is_with_its_header_in_front() {
        let mut payload = Buffer::with_headroom(70_000);
        payload.extend_from_slice(&[7; 70_000]);
        let address = payload.as_ptr();
        let mut outbox = Outbox::new();
        outbox.push_frame(Opcode::Binary, Payload::Owned(payload));
        let data = outbox.take_for_send();
        let piece = data.iter().next().unwrap();
        assert_eq!(piece[..10], [0x82, 127, 0, 0, 0, 0, 0, 1, 0x11, 0x70]);
        assert_eq!(piece[10..].as_ptr(), address);
    }

    #[test]
    fn a_small_frame_that_stays_alone_takes_little_memory() {
        let mut outbox = Outbox::new();
        outbox.push_frame(Opcode::Ping, Payload::Borrowed(b""));
        assert!(outbox.waiting.last_mut().capacity() < 64);
        assert_eq!(bytes(&outbox.take_for_send()), [0x89, 0]);
    }

    #[test]
    fn a_small_payload_of_its_own_is_sent_from_there_until_another_comes() {
        let own = |text: &[u8]| Payload::Owned(Buffer::copy_with_headroom(text, 0));
        let mut outbox = Outbox::new();
        let first = Buffer::copy_with_headroom(b"first", 0);
        let address = first.as_ptr();
        outbox.push_frame(Opcode::Text, Payload::Owned(first));
        let data = outbox.take_for_send();
        assert_eq!((bytes(&data), data.pieces()), (b"\x81\x05first".to_vec(), 1));
        assert_eq!(data.iter().next().unwrap()[2..].as_ptr(), address);
        outbox.sent(7, data);
        outbox.push_frame(Opcode::Text, own(b"second"));
        outbox.push_frame(Opcode::Binary, own(b"third"));
        outbox.push_frame(Opcode::Text, own(b"fourth"));
        assert_eq!(outbox.bytes(), 8 + 7 + 8);
        let data = outbox.take_for_send();
        assert_eq!(bytes(&data), b"\x81\x06second\x82\x05third\x81\x06fourth");
        assert_eq!(data.pieces(), 1);
    }

    #[test]
    fn a_short_send_goes_on_where_it_stopped() {
        let mut outbox = Outbox::new();
        outbox.push_frame(Opcode::Text, Payload::Borrowed(b"first"));
        let data = outbox.take_for_send();
        outbox.push_frame(Opcode::Text, Payload::Borrowed(b"second"));
        assert!(!outbox.wants_send());
        outbox.sent(4, data);
        assert_eq!(outbox.bytes(), 3 + 8);
        let data = outbox.take_for_send();
        assert_eq!(bytes(&data), b"rst\x81\x06second");
        outbox.sent(data.len(), data);
        assert!(outbox.is_idle());
    }

    #[test]
    fn only_the_newest_ping_is_answered_while_a_send_is_in_flight() {
        let mut outbox = Outbox::new();
        outbox.push_frame(Opcode::Text, Payload::Borrowed(b"x"));
        let data = outbox.take_for_send();
        for payload in [b"1", b"2", b"3"] {
            outbox.push_pong(payload);
        }
        outbox.sent(3, data);
        assert_eq!(bytes(&outbox.take_for_send()), b"\x8a\x013");
    }

    #[test]
    fn the_pings_of_one_batch_are_answered_up_to_a_bound_and_the_newest() {
        let mut outbox = Outbox::new();
        for number in 0..100_000_u32 {
            outbox.push_pong(&number.to_be_bytes());
        }
        let data = bytes(&outbox.take_for_send());
        assert!(data.len() <= limits::PONGS_BYTES_MAX + 12, "{}", data.len());
        assert_eq!(data[..6], [0x8a, 4, 0, 0, 0, 0]);
        assert_eq!(data[data.len() - 4..], 99_999_u32.to_be_bytes());
        let mut outbox = Outbox::new();
        (0..10_000).for_each(|_| outbox.push_pong(&[7; limits::CONTROL_BYTES_MAX]));
        assert!(outbox.take_for_send().len() <= limits::PONGS_BYTES_MAX + 2 * 127);
    }
}
