//! What is echoed.

use ringwire::MessageKind;
use ringwire::proto::frame::{Opcode, server_header};

/// One kind of traffic: every peer sends `depth` messages and waits for their echoes.
pub struct Scenario {
    pub name: &'static str,
    pub kind: MessageKind,
    /// The payload is this, again and again.
    pub pattern: &'static str,
    pub payload_bytes: usize,
    pub depth: usize,
    pub connections: u32,
}

const ASCII: &str = "Straight-line code. ";
/// Characters of one, two, three and four bytes; ten bytes in all.
const MIXED: &str = "aé€😀";
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// Those that are measured.
pub const SCENARIOS: &[Scenario] = &[
    text("text-125x1", 125, 1),
    text("text-32x16", 32, 16),
    text("text-512x4", 512, 4),
    text("text-16Ki", 16 * 1024, 1),
    text("text-1Mi", 1024 * 1024, 1),
    binary("binary-125x1", 125, 1),
    binary("binary-32x16", 32, 16),
    binary("binary-512x4", 512, 4),
    binary("binary-16Ki", 16 * 1024, 1),
    binary("binary-1Mi", 1024 * 1024, 1),
    Scenario { pattern: MIXED, ..text("mixed-120x1", 120, 1) },
    Scenario { pattern: MIXED, ..text("mixed-16Ki", 16 * 1000, 1) },
    Scenario { connections: 100, ..text("text-125x1-of-100", 125, 1) },
    Scenario { connections: 100, ..text("text-32x16-of-100", 32, 16) },
];

const fn text(name: &'static str, payload_bytes: usize, depth: usize) -> Scenario {
    Scenario { name, kind: MessageKind::Text, pattern: ASCII, payload_bytes, depth, connections: 1 }
}

const fn binary(name: &'static str, payload_bytes: usize, depth: usize) -> Scenario {
    Scenario { kind: MessageKind::Binary, ..text(name, payload_bytes, depth) }
}

impl Scenario {
    /// Messages of one round, of all peers.
    pub fn messages(&self) -> u64 {
        self.depth as u64 * u64::from(self.connections)
    }

    /// Bytes of one round, of all peers, one way.
    pub fn round_bytes(&self) -> u64 {
        self.messages() * self.payload_bytes as u64
    }

    /// Rounds whose echoes are compared; later ones are only counted.
    pub fn rounds_checked(&self) -> u64 {
        4
    }

    fn payload(&self) -> Vec<u8> {
        let payload: Vec<u8> = self.pattern.bytes().cycle().take(self.payload_bytes).collect();
        assert!(self.kind == MessageKind::Binary || std::str::from_utf8(&payload).is_ok());
        payload
    }

    fn opcode(&self) -> Opcode {
        match self.kind {
            MessageKind::Text => Opcode::Text,
            MessageKind::Binary => Opcode::Binary,
        }
    }

    /// The frames of a peer's round, as the peer sends them.
    pub fn frames(&self) -> Vec<u8> {
        let payload = self.payload();
        let (mut header, length) = server_header(self.opcode(), true, payload.len() as u64);
        header[1] |= 0x80;
        let masked = payload.iter().enumerate().map(|(index, byte)| byte ^ MASK[index % 4]);
        let frame: Vec<u8> = header[..length].iter().copied().chain(MASK).chain(masked).collect();
        frame.repeat(self.depth)
    }

    /// Their echo.
    pub fn echo(&self) -> Vec<u8> {
        let payload = self.payload();
        let (header, length) = server_header(self.opcode(), true, payload.len() as u64);
        [&header[..length], &payload].concat().repeat(self.depth)
    }
}
