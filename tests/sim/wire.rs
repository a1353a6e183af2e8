//! The client's own RFC 6455: frames out, a parser for what the server sends. Shares no code with
//! the server, so that an error in one is not made again in the other.

/// Opcodes (RFC 6455 §11.8).
pub const CONTINUATION: u8 = 0;
pub const TEXT: u8 = 1;
pub const BINARY: u8 = 2;
pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;
pub const PONG: u8 = 10;

/// The FIN bit.
pub const FIN: u8 = 0x80;

/// A masked frame; `first` is its first byte, whatever that says.
pub fn frame(first: u8, payload: &[u8], key: [u8; 4]) -> Vec<u8> {
    let mut bytes = header(first, payload.len() as u64, key);
    bytes.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
    bytes
}

/// The header of a masked frame.
pub fn header(first: u8, length: u64, key: [u8; 4]) -> Vec<u8> {
    let mut bytes = vec![first];
    match length {
        0..=125 => bytes.push(0x80 | length as u8),
        126..=0xffff => {
            bytes.push(0x80 | 126);
            bytes.extend((length as u16).to_be_bytes());
        }
        _ => {
            bytes.push(0x80 | 127);
            bytes.extend(length.to_be_bytes());
        }
    }
    bytes.extend(key);
    bytes
}

/// A Close payload.
pub fn close_payload(code: u16, reason: &str) -> Vec<u8> {
    [&code.to_be_bytes(), reason.as_bytes()].concat()
}

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
        let [first, second, rest @ ..] = &self.bytes[..] else { return None };
        assert_eq!(second & 0x80, 0, "a server does not mask");
        let (length, header) = match second {
            126 => (u64::from(u16::from_be_bytes(*rest.first_chunk()?)), 4),
            127 => (u64::from_be_bytes(*rest.first_chunk()?), 10),
            short => (u64::from(*short), 2),
        };
        let (first, end) = (*first, header + length as usize);
        let payload = self.bytes.get(header..end)?.to_vec();
        self.bytes.drain(..end);
        Some((first, payload))
    }
}
