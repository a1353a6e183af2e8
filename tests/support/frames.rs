//! The tests' own RFC 6455: frames as a client sends them, and where a server's frame ends. Shares
//! no code with the server, so that an error in one is not made again in the other.
#![allow(dead_code, reason = "no test program uses all of it")]

/// Opcodes (RFC 6455 §11.8).
pub const CONTINUATION: u8 = 0;
pub const TEXT: u8 = 1;
pub const BINARY: u8 = 2;
pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;
pub const PONG: u8 = 10;

/// The FIN bit.
pub const FIN: u8 = 0x80;

/// The masking key where any will do; no two of its bytes are alike.
pub const KEY: [u8; 4] = [0x9a, 0x0f, 0x55, 0xe1];

/// A frame with this first byte, whatever that says, masked with [`KEY`].
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    masked_frame(first, payload, KEY)
}

/// The header of such a frame, in its shortest form.
pub fn header(first: u8, length: u64) -> Vec<u8> {
    masked_header(first, length, KEY)
}

/// [`frame`] with a key of one's own.
pub fn masked_frame(first: u8, payload: &[u8], key: [u8; 4]) -> Vec<u8> {
    let mut bytes = masked_header(first, payload.len() as u64, key);
    bytes.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
    bytes
}

/// [`header`] with a key of one's own.
pub fn masked_header(first: u8, length: u64, key: [u8; 4]) -> Vec<u8> {
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

/// The payload of a Close frame.
pub fn close_payload(code: u16, reason: &[u8]) -> Vec<u8> {
    [&code.to_be_bytes(), reason].concat()
}

/// The first byte and the payload of the whole frame that `bytes` begin with, which a server has
/// sent, and where that frame ends.
pub fn server_frame(bytes: &[u8]) -> Option<(u8, &[u8], usize)> {
    let [first, second, rest @ ..] = bytes else { return None };
    assert_eq!(second & 0x80, 0, "a server does not mask");
    let (length, header) = match second {
        126 => (u64::from(u16::from_be_bytes(*rest.first_chunk()?)), 4),
        127 => (u64::from_be_bytes(*rest.first_chunk()?), 10),
        short => (u64::from(*short), 2),
    };
    let end = header + length as usize;
    Some((*first, bytes.get(header..end)?, end))
}
