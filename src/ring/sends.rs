//! Bytes on their way out, and who keeps them until the kernel is done.
//!
//! The engine puts bytes together as [`SendData`]; a ring keeps them in its `SendTable` from the
//! submission to the terminal completion and gives them back with it. Nothing here is freed or
//! moved while the kernel may look at it.

use super::buffer::Buffer;
use std::io::IoSlice;
use std::ptr;

/// What one send carries: one run of bytes or several, in order.
#[derive(Debug, Default)]
pub struct SendData {
    first: Buffer,
    rest: Vec<Buffer>,
}

impl SendData {
    /// Runs of bytes in one send at most: the kernel's `UIO_MAXIOV`.
    pub const PIECES_MAX: usize = 1_024;

    /// Nothing.
    pub const fn new() -> Self {
        Self { first: Buffer::new(), rest: Vec::new() }
    }

    /// Appends a run of bytes. Empty ones are dropped.
    pub fn push(&mut self, buffer: Buffer) {
        if self.first.is_empty() {
            self.first = buffer;
        } else if !buffer.is_empty() {
            self.rest.push(buffer);
        }
    }

    /// As [`SendData::push`] for who has seen that there is nothing yet.
    #[inline(always)]
    pub fn push_first(&mut self, buffer: Buffer) {
        debug_assert!(self.is_empty());
        self.first = buffer;
    }

    /// Appends all of `other`.
    pub fn append(&mut self, other: Self) {
        self.push(other.first);
        other.rest.into_iter().for_each(|buffer| self.push(buffer));
    }

    /// The last run, to append to.
    pub fn last_mut(&mut self) -> &mut Buffer {
        self.rest.last_mut().unwrap_or(&mut self.first)
    }

    /// The run to append to, if there is exactly one.
    #[inline(always)]
    pub fn only_mut(&mut self) -> Option<&mut Buffer> {
        (self.rest.is_empty() && !self.first.is_empty()).then_some(&mut self.first)
    }

    /// Runs of bytes.
    pub fn pieces(&self) -> usize {
        usize::from(!self.first.is_empty()) + self.rest.len()
    }

    /// Bytes in all.
    pub fn len(&self) -> usize {
        self.first.len() + self.rest.iter().map(|piece| piece.len()).sum::<usize>()
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.first.is_empty()
    }

    /// Drops the first `count` bytes: they were sent.
    pub fn advance(&mut self, mut count: usize) {
        while count > 0 && count >= self.first.len() {
            assert!(!self.first.is_empty(), "more was sent than there was");
            count -= self.first.len();
            self.first = if self.rest.is_empty() { Buffer::new() } else { self.rest.remove(0) };
        }
        self.first.advance(count);
    }

    /// The runs in order.
    pub fn iter(&self) -> impl Iterator<Item = &Buffer> {
        std::iter::once(&self.first).chain(&self.rest).filter(|piece| !piece.is_empty())
    }
}

/// The sends in flight, by slot: at most one each.
///
/// Everything a send operation points to (bytes, `iovec`s, `msghdr`) is in its record, on the
/// heap, and stays there until [`SendTable::finish`], which is called for the terminal completion
/// and for nothing else.
pub(super) struct SendTable {
    records: Vec<Option<Box<Record>>>,
    #[expect(clippy::vec_box, reason = "the boxes are what is kept, so that none is allocated")]
    spare: Vec<Box<Record>>,
    in_flight: usize,
}

/// Spare records kept, so that a send allocates nothing.
const SPARE_MAX: usize = 1_024;

/// Runs of bytes for which a spare record keeps room.
const VECTORS_KEPT: usize = 16;

pub(super) struct Record {
    data: SendData,
    vectors: Vec<libc::iovec>,
    header: libc::msghdr,
}

/// What to put into the submission.
pub(super) enum SendRange {
    One(*const u8, u32),
    Several(*const libc::msghdr),
}

impl SendTable {
    /// A table for so many slots; its memory is reserved now and touched as it is used.
    pub(super) fn new(slots: u32) -> Self {
        let records = Vec::with_capacity(slots as usize);
        Self { records, spare: Vec::new(), in_flight: 0 }
    }

    /// Keeps `data` for the send of `slot` that is about to be pushed.
    ///
    /// # Panics
    ///
    /// If a send of this slot is in flight already: two would overtake each other.
    pub(super) fn begin(&mut self, slot: u32, data: SendData) -> SendRange {
        assert!(!data.is_empty(), "a send of nothing");
        let index = slot as usize;
        if index >= self.records.len() {
            self.records.resize_with(index + 1, || None);
        }
        let place = &mut self.records[index];
        assert!(place.is_none(), "a second send in flight on one slot");
        let record = place.insert(self.spare.pop().unwrap_or_else(Record::empty));
        self.in_flight += 1;
        record.data = data;
        record.range()
    }

    /// The terminal completion of the send of `slot` has arrived: the bytes are ours again.
    pub(super) fn finish(&mut self, slot: u32) -> SendData {
        let place = self.records.get_mut(slot as usize).and_then(Option::take);
        let mut record = place.expect("a completion of a send that is not in flight");
        self.in_flight -= 1;
        let data = std::mem::take(&mut record.data);
        if record.vectors.capacity() > VECTORS_KEPT {
            record.vectors = Vec::new();
        }
        if self.spare.len() < SPARE_MAX {
            self.spare.push(record);
        }
        data
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Never frees what is in flight: the kernel may still read it.
    pub(super) fn leak(&mut self) {
        std::mem::forget(std::mem::take(&mut self.records));
    }
}

impl Record {
    fn empty() -> Box<Self> {
        // SAFETY: all zeroes is a valid `msghdr`: null pointers with lengths of zero.
        let header = unsafe { std::mem::zeroed() };
        Box::new(Self { data: SendData::new(), vectors: Vec::new(), header })
    }

    fn range(&mut self) -> SendRange {
        if self.data.rest.is_empty() && self.data.first.len() <= u32::MAX as usize {
            return SendRange::One(self.data.first.as_ptr(), self.data.first.len() as u32);
        }
        self.vectors.clear();
        self.vectors.extend(self.data.iter().take(SendData::PIECES_MAX).map(|piece| {
            let slice = IoSlice::new(piece);
            libc::iovec { iov_base: slice.as_ptr().cast_mut().cast(), iov_len: slice.len() }
        }));
        self.header.msg_iov = self.vectors.as_mut_ptr();
        self.header.msg_iovlen = self.vectors.len();
        SendRange::Several(ptr::from_ref(&self.header))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(pieces: &[&str]) -> SendData {
        let mut data = SendData::new();
        pieces.iter().for_each(|piece| data.push(Buffer::copy_of(piece.as_bytes())));
        data
    }

    fn text(data: &SendData) -> String {
        data.iter().map(|piece| String::from_utf8_lossy(piece).into_owned()).collect()
    }

    #[test]
    fn advance_crosses_pieces() {
        for count in 0..=9 {
            let mut some = data(&["abc", "", "def", "ghi"]);
            assert_eq!((some.len(), some.pieces()), (9, 3));
            some.advance(count);
            assert_eq!(text(&some), "abcdefghi"[count..]);
            assert_eq!(some.is_empty(), count == 9);
        }
    }

    #[test]
    #[should_panic(expected = "more was sent")]
    fn advance_past_the_end() {
        data(&["abc"]).advance(4);
    }

    #[test]
    #[should_panic(expected = "second send")]
    fn one_send_per_slot() {
        let mut table = SendTable::new(2);
        table.begin(1, data(&["a"]));
        table.begin(1, data(&["b"]));
    }

    #[test]
    fn what_begins_comes_back() {
        let mut table = SendTable::new(2);
        assert!(matches!(table.begin(1, data(&["a"])), SendRange::One(_, 1)));
        assert!(matches!(table.begin(0, data(&["a", "b"])), SendRange::Several(_)));
        assert_eq!(text(&table.finish(0)), "ab");
        assert_eq!((text(&table.finish(1)), table.in_flight()), ("a".into(), 0));
    }
}
