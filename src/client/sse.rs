//! Server-sent events as the control plane writes them (WHATWG HTML §9.2): bytes in, events out.
//!
//! Called by [`events`](super::events); it does no I/O. Only what is needed of the format: fields
//! `id`, `event` and `data`, comments, any line ending.

/// A line at most; a longer one is not from a control plane.
const LINE_BYTES_MAX: usize = 1 << 20;

/// An event as it came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Raw {
    pub(super) id: String,
    pub(super) event: String,
    pub(super) data: String,
}

/// Takes bytes as they come.
#[derive(Default)]
pub(super) struct Parser {
    pending: Vec<u8>,
    /// How many of `pending` have no line ending.
    searched: usize,
    event: Raw,
    has_data: bool,
    last_id: String,
}

impl Parser {
    /// Takes bytes. `false` if they can be no stream of events.
    pub(super) fn push(&mut self, bytes: &[u8]) -> bool {
        self.pending.extend_from_slice(bytes);
        self.pending.len() <= LINE_BYTES_MAX + bytes.len()
    }

    /// The next event that has come whole.
    pub(super) fn next(&mut self) -> Option<Raw> {
        loop {
            let rest = &self.pending[self.searched..];
            let Some(at) = rest.iter().position(|byte| *byte == b'\n') else {
                self.searched = self.pending.len();
                return None;
            };
            let line: Vec<u8> = self.pending.drain(..=self.searched + at).collect();
            self.searched = 0;
            let line = String::from_utf8_lossy(&line);
            let line = line.trim_end_matches(['\n', '\r']);
            if let Some(event) = self.take(line) {
                return Some(event);
            }
        }
    }

    /// The id of the last block that had one, an event or not: a stream may begin with an id
    /// alone, so that it can be resumed before anything has happened.
    pub(super) fn last_id(&self) -> &str {
        &self.last_id
    }

    fn take(&mut self, line: &str) -> Option<Raw> {
        if line.is_empty() {
            let event = std::mem::take(&mut self.event);
            if !event.id.is_empty() {
                self.last_id.clone_from(&event.id);
            }
            return std::mem::take(&mut self.has_data).then_some(event);
        }
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "id" => self.event.id = value.into(),
            "event" => self.event.event = value.into(),
            "data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(value);
            }
            // A comment, or a field of no use here.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = ": alive\n\nid: 7-1\nevent: open\ndata: {\"a\":1}\n\n\
                          retry: 5\r\nevent:gap\r\ndata\r\n\r\ndata: one\ndata: two\nid: 7-2\n\nid: 7-4\n\nid: 7-5\n";

    fn expected() -> Vec<Raw> {
        let raw = |id: &str, event: &str, data: &str| Raw {
            id: id.into(),
            event: event.into(),
            data: data.into(),
        };
        vec![raw("7-1", "open", "{\"a\":1}"), raw("", "gap", ""), raw("7-2", "", "one\ntwo")]
    }

    #[test]
    fn events_come_whole_however_the_bytes_are_split() {
        for size in 1..=STREAM.len() {
            let mut parser = Parser::default();
            let mut events = Vec::new();
            for part in STREAM.as_bytes().chunks(size) {
                assert!(parser.push(part));
                while let Some(event) = parser.next() {
                    events.push(event);
                }
            }
            assert_eq!(events, expected(), "{size}");
            assert_eq!(parser.last_id(), "7-4");
        }
    }

    #[test]
    fn a_line_without_end_is_no_stream() {
        let mut parser = Parser::default();
        let part = vec![b'x'; 64 << 10];
        let taken = (0..100).take_while(|_| parser.push(&part) && parser.next().is_none()).count();
        assert!(taken < 20, "{taken}");
    }
}
