//! Messages that a shard has handed to a holder, who takes them, whole or in parts, by the rules of
//! the inbox. No lock, no shard: [`link`](crate::engine::shared::link) has both. What it may hold is judged by the shard
//! before anything is put in.

use crate::engine::model::incoming::{Incoming, Piece};
use crate::proto::{MessageKind, limits};
use std::collections::VecDeque;

/// Messages in order; the last may be incomplete.
#[derive(Default)]
pub(in crate::engine) struct Ready {
    queue: VecDeque<Taken>,
    /// Of the payloads.
    bytes: usize,
}

/// A message, or a part of one.
pub(crate) struct Taken {
    pub(crate) incoming: Incoming,
    /// Whether the message ends with it.
    pub(crate) at_end: bool,
    /// What acknowledges it; 0 if nothing has to.
    pub(crate) sequence: u64,
}

impl Taken {
    pub(in crate::engine) fn len(&self) -> usize {
        self.incoming.payload().len()
    }

    /// The same once more.
    pub(in crate::engine) fn copy(&self) -> Self {
        let incoming = self.incoming.clone();
        Self { incoming, at_end: self.at_end, sequence: self.sequence }
    }
}

impl Ready {
    pub(in crate::engine) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(in crate::engine) fn messages(&self) -> usize {
        self.queue.len()
    }

    /// Bytes of payload.
    pub(in crate::engine) fn bytes(&self) -> usize {
        self.bytes
    }

    /// What the messages cost: their bytes, and something for each.
    pub(in crate::engine) fn cost_bytes(&self) -> usize {
        self.bytes + self.queue.len() * limits::MESSAGE_COST_BYTES
    }

    /// Adds what the inbox gave: a message, or more of the one that is incomplete.
    pub(in crate::engine) fn push(&mut self, piece: Piece) {
        if let Some(last) = self.queue.back_mut()
            && !last.at_end
        {
            self.bytes += piece.incoming.payload().len();
            last.incoming.extend(&piece.incoming);
            last.at_end = piece.at_end;
            return;
        }
        let Piece { incoming, at_end } = piece;
        let taken = Taken { incoming, at_end, sequence: 0 };
        self.bytes += taken.len();
        self.queue.push_back(taken);
    }

    /// Puts back what was taken last: it is the next to be read.
    pub(in crate::engine) fn give_back(&mut self, mut taken: Taken) {
        if !taken.at_end
            && let Some(rest) = self.queue.pop_front()
        {
            self.bytes -= rest.len();
            taken.incoming.extend(&rest.incoming);
            taken.at_end = rest.at_end;
        }
        taken.sequence = 0;
        self.bytes += taken.len();
        self.queue.push_front(taken);
    }

    /// Drops the first message, if all of it is here.
    pub(in crate::engine) fn drop_front(&mut self) -> bool {
        let whole = self.queue.front().is_some_and(|front| front.at_end);
        whole && self.take(usize::MAX, true).is_some()
    }

    /// Characters (or bytes) of the incomplete message that are here already, up to `len`.
    pub(in crate::engine) fn begun(&self, len: usize, as_bytes: bool) -> usize {
        let Some(last) = self.queue.back().filter(|last| !last.at_end) else { return 0 };
        match last.incoming.kind() {
            MessageKind::Text if !as_bytes => {
                let payload = last.incoming.payload();
                let starts = payload.iter().filter(|byte| **byte & 0xc0 != 0x80);
                starts.take(len).count()
            }
            _ => last.len().min(len),
        }
    }

    /// Whether [`Ready::take`] would take something.
    pub(in crate::engine) fn is_readable(&self, len: usize, as_bytes: bool) -> bool {
        let front = self.queue.front();
        front.is_some_and(|front| front.at_end || front.incoming.cut(len, as_bytes).is_some())
    }

    /// Takes the first message, or its first `len` characters (bytes, if it is binary or
    /// `as_bytes`), once the one or the other is there.
    pub(in crate::engine) fn take(&mut self, len: usize, as_bytes: bool) -> Option<Taken> {
        let front = self.queue.front_mut()?;
        // As many bytes are never more characters.
        let whole = front.at_end && front.len() <= len;
        let cut = if whole { None } else { front.incoming.cut(len, as_bytes) };
        if whole || (front.at_end && cut.is_none_or(|cut| cut == front.len())) {
            let taken = self.queue.pop_front()?;
            self.bytes -= taken.len();
            return Some(taken);
        }
        let cut = cut?;
        let incoming = front.incoming.split_to(cut);
        self.bytes -= cut;
        Some(Taken { incoming, at_end: false, sequence: 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(text: &str, at_end: bool) -> Piece {
        Piece { incoming: Incoming::whole(MessageKind::Text, text.as_bytes()), at_end }
    }

    fn take(ready: &mut Ready, len: usize) -> Option<(String, bool)> {
        let taken = ready.take(len, false)?;
        Some((String::from_utf8(taken.incoming.payload().to_vec()).unwrap(), taken.at_end))
    }

    #[test]
    fn parts_are_cut_at_characters_and_the_end_is_told() {
        let mut ready = Ready::default();
        ready.push(piece("äöü€😀x", true));
        ready.push(piece("", true));
        assert_eq!(take(&mut ready, 2), Some(("äö".into(), false)));
        assert_eq!(take(&mut ready, 3), Some(("ü€😀".into(), false)));
        assert_eq!(take(&mut ready, 1), Some(("x".into(), true)));
        assert_eq!(take(&mut ready, 0), Some((String::new(), true)));
        assert_eq!((take(&mut ready, 9), ready.cost_bytes(), ready.messages()), (None, 0, 0));
    }

    #[test]
    fn an_incomplete_message_waits_for_len_or_its_end() {
        let mut ready = Ready::default();
        ready.push(piece("ä€", false));
        assert!(!ready.is_readable(3, false));
        assert_eq!(
            (take(&mut ready, 3), ready.begun(3, false), ready.begun(9, true)),
            (None, 2, 5)
        );
        ready.push(piece("bc", false));
        assert_eq!(take(&mut ready, 3), Some(("ä€b".into(), false)));
        ready.push(piece("", true));
        assert_eq!(take(&mut ready, 3), Some(("c".into(), true)));
        assert_eq!(ready.cost_bytes(), 0);
    }

    #[test]
    fn what_is_given_back_is_read_again_with_its_rest() {
        let mut ready = Ready::default();
        ready.push(piece("first", true));
        ready.push(piece("second", true));
        let part = ready.take(3, false).unwrap();
        ready.give_back(part.copy());
        assert_eq!(take(&mut ready, 9), Some(("first".into(), true)));
        let all = ready.take(9, false).unwrap();
        ready.give_back(all);
        assert_eq!(take(&mut ready, 9), Some(("second".into(), true)));
        assert_eq!(ready.cost_bytes(), 0);
    }
}
