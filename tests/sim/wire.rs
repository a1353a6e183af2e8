//! The client's end of the wire: frames out, a parser for what the server sends.

use crate::frames::server_frame;
pub use crate::frames::{
    BINARY, CLOSE, CONTINUATION, FIN, PING, PONG, TEXT, close_payload, masked_frame as frame,
    masked_header as header,
};

/// What the server said.
#[derive(Debug, PartialEq, Eq)]
pub enum Said {
    /// The answer to the handshake: status, and the head.
    Answer(u16, String),
    /// A whole message: its opcode and payload.
    Message(u8, Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    /// A Close frame; 1005 without a code.
    Close(u16),
}

/// Takes the server's bytes apart.
#[derive(Default)]
pub struct Parser {
    bytes: Vec<u8>,
    answered: bool,
    /// Refused: the rest is a body.
    refused: bool,
    closed: bool,
    /// The message of which fragments have come.
    message: Option<(u8, Vec<u8>)>,
}

impl Parser {
    pub fn feed(&mut self, bytes: &[u8]) {
        assert!(!self.closed || bytes.is_empty(), "the server speaks behind its Close: {bytes:?}");
        self.bytes.extend_from_slice(bytes);
    }

    /// Whether a part of a frame has come.
    pub fn is_inside_a_frame(&self) -> bool {
        !self.bytes.is_empty()
    }

    /// The next thing that is whole.
    pub fn next(&mut self) -> Option<Said> {
        if !self.answered {
            return self.answer();
        }
        while !self.refused {
            let (first, payload) = self.frame()?;
            assert_eq!(first & 0x70, 0, "reserved bits");
            let (fin, opcode) = (first & FIN != 0, first & 0x0f);
            if opcode >= CLOSE {
                assert!(fin && payload.len() <= 125, "a bad control frame");
            }
            match (opcode, &mut self.message) {
                (PING, _) => return Some(Said::Ping(payload)),
                (PONG, _) => return Some(Said::Pong(payload)),
                (CLOSE, _) => return Some(self.close(&payload)),
                (TEXT | BINARY, None) if fin => return Some(Said::Message(opcode, payload)),
                (TEXT | BINARY, message @ None) => *message = Some((opcode, payload)),
                (CONTINUATION, Some((_, so_far))) => {
                    so_far.extend(payload);
                    if fin {
                        return self.message.take().map(|(kind, all)| Said::Message(kind, all));
                    }
                }
                _ => panic!("opcode {opcode} from the server does not belong here"),
            }
        }
        None
    }

    fn close(&mut self, payload: &[u8]) -> Said {
        self.closed = true;
        assert!(self.bytes.is_empty(), "the server speaks behind its Close: {:?}", self.bytes);
        match payload {
            [] => Said::Close(1005),
            [high, low, reason @ ..] => {
                std::str::from_utf8(reason).expect("a close reason is UTF-8");
                Said::Close(u16::from_be_bytes([*high, *low]))
            }
            [_] => panic!("half a close code from the server"),
        }
    }

    fn answer(&mut self) -> Option<Said> {
        let end = self.bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
        let rest = self.bytes.split_off(end + 4);
        let head = String::from_utf8(std::mem::replace(&mut self.bytes, rest)).unwrap();
        let status = head.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)).unwrap();
        let status = status.parse().unwrap();
        self.answered = true;
        self.refused = status != 101;
        Some(Said::Answer(status, head))
    }

    fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let (first, payload, end) = server_frame(&self.bytes)?;
        let payload = payload.to_vec();
        self.bytes.drain(..end);
        Some((first, payload))
    }
}
