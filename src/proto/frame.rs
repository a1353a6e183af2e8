//! Frame headers (RFC 6455 §5.2): reading those of clients, writing those of the server.
//!
//! Only what a header says by itself is judged here; what it means after the frames before it is
//! the session's to know. A header is refused from the fewest bytes that prove it wrong, and in an
//! order that does not depend on how many bytes are there.

use thiserror::Error;

use super::limits::{CONTROL_BYTES_MAX, SERVER_FRAME_HEADER_BYTES_MAX};

/// Bytes of the longest header: 2, 8 of extended length, 4 of mask.
pub const FRAME_HEADER_BYTES_MAX: usize = 14;

const FIN: u8 = 0x80;
const MASKED: u8 = 0x80;
const LENGTH_16: u8 = 126;
const LENGTH_64: u8 = 127;

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Opcode {
    /// More of the message begun before.
    Continuation = 0x0,
    /// The beginning of a text message.
    Text = 0x1,
    /// The beginning of a binary message.
    Binary = 0x2,
    /// The beginning of the end.
    Close = 0x8,
    /// A question whether the other end is there.
    Ping = 0x9,
    /// The answer to a Ping, or a sign of life unasked.
    Pong = 0xA,
}

impl Opcode {
    /// Whether this is Close, Ping or Pong: at most 125 bytes, never in fragments, allowed between
    /// the fragments of a message.
    pub const fn is_control(self) -> bool {
        self as u8 & 0x8 != 0
    }

    const fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xA => Self::Pong,
            _ => return None,
        })
    }
}

/// Why a frame header was refused. The culprit is always the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FrameError {
    /// A reserved bit is set that no extension has claimed. Carries RSV1 to RSV3 as 4, 2, 1.
    #[error("reserved bits {0:03b} set")]
    ReservedBits(u8),
    /// The opcode means nothing.
    #[error("reserved opcode {0:#x}")]
    ReservedOpcode(u8),
    /// A Close, Ping or Pong without FIN.
    #[error("fragmented control frame")]
    ControlFragmented,
    /// A Close, Ping or Pong of more than 125 bytes.
    #[error("control frame over 125 bytes")]
    ControlTooLong,
    /// A frame of a client that is not masked.
    #[error("frame not masked")]
    Unmasked,
    /// A frame of a server that is masked.
    #[error("frame of a server masked")]
    Masked,
    /// The length takes more bytes than it needs.
    #[error("length not in its shortest form")]
    LengthNotMinimal,
    /// The length is 2^63 or more.
    #[error("length of 2^63 or more")]
    LengthTooLong,
}

/// The header of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// Whether the message ends with this frame.
    pub fin: bool,
    /// RSV1, RSV2 and RSV3 as 4, 2 and 1. Zero without an extension.
    pub rsv: u8,
    /// What the frame carries.
    pub opcode: Opcode,
    /// The masking key: present on every frame of a client, absent on every frame of a server.
    pub mask: Option<[u8; 4]>,
    /// Bytes of payload that follow the header.
    pub payload_bytes: u64,
}

/// What some bytes gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// The header, and how many bytes it took.
    Complete(FrameHeader, usize),
    /// Nothing wrong yet, but not a whole header.
    Incomplete,
}

impl FrameHeader {
    /// Reads the header of a client's frame, which must be masked, from the start of `bytes`.
    ///
    /// `reserved_bits` are the reserved bits that the negotiated extensions use (RSV1 is 4);
    /// without an extension 0. Whatever is wrong is reported as soon as the bytes show it: bits
    /// and opcode with the first byte, mask and control length with the second.
    ///
    /// Source: RFC 6455 §5.2.
    #[inline]
    pub fn parse(bytes: &[u8], reserved_bits: u8) -> Result<Parsed, FrameError> {
        Self::parse_from::<true>(bytes, reserved_bits)
    }

    /// Reads the header of a server's frame, which must not be masked: for clients.
    #[inline]
    pub fn parse_server(bytes: &[u8], reserved_bits: u8) -> Result<Parsed, FrameError> {
        Self::parse_from::<false>(bytes, reserved_bits)
    }

    #[inline(always)]
    fn parse_from<const CLIENT: bool>(
        bytes: &[u8],
        reserved_bits: u8,
    ) -> Result<Parsed, FrameError> {
        let [first, after_first @ ..] = bytes else { return Ok(Parsed::Incomplete) };
        let (fin, rsv, opcode) = first_byte(*first, reserved_bits)?;
        let [second, rest @ ..] = after_first else { return Ok(Parsed::Incomplete) };
        let length = second_byte::<CLIENT>(*second, opcode)?;
        let Some((payload_bytes, rest)) = extended_length(length, rest)? else {
            return Ok(Parsed::Incomplete);
        };
        let (mask, rest) = if CLIENT {
            let Some((key, rest)) = rest.split_first_chunk::<4>() else {
                return Ok(Parsed::Incomplete);
            };
            (Some(*key), rest)
        } else {
            (None, rest)
        };
        let header = Self { fin, rsv, opcode, mask, payload_bytes };
        Ok(Parsed::Complete(header, bytes.len() - rest.len()))
    }
}

#[inline(always)]
fn first_byte(byte: u8, reserved_bits: u8) -> Result<(bool, u8, Opcode), FrameError> {
    let fin = byte & FIN != 0;
    let rsv = byte >> 4 & 0x7;
    // Without an extension these bits mean nothing, and none may be set (RFC 6455 §5.2).
    if rsv & !reserved_bits != 0 {
        return Err(FrameError::ReservedBits(rsv));
    }
    // What an undefined opcode wants cannot be known, so it ends the connection (RFC 6455 §5.2).
    let Some(opcode) = Opcode::from_bits(byte & 0x0F) else {
        return Err(FrameError::ReservedOpcode(byte & 0x0F));
    };
    // A control frame is never a fragment (RFC 6455 §5.5). `second_byte` sees to its length.
    if opcode.is_control() && !fin {
        return Err(FrameError::ControlFragmented);
    }
    Ok((fin, rsv, opcode))
}

/// The seven bits of length, if the rest of the byte is right.
#[inline(always)]
fn second_byte<const CLIENT: bool>(byte: u8, opcode: Opcode) -> Result<u8, FrameError> {
    // A client masks every frame and a server none; who does otherwise is cut off (RFC 6455 §5.1).
    if CLIENT && byte & MASKED == 0 {
        return Err(FrameError::Unmasked);
    }
    if !CLIENT && byte & MASKED != 0 {
        return Err(FrameError::Masked);
    }
    let length = byte & !MASKED;
    if opcode.is_control() && usize::from(length) > CONTROL_BYTES_MAX {
        return Err(FrameError::ControlTooLong);
    }
    Ok(length)
}

/// The payload's length and what follows it, `None` if more bytes are needed.
///
/// A length has one form, the shortest that holds it (RFC 6455 §5.2).
#[inline(always)]
fn extended_length(length: u8, rest: &[u8]) -> Result<Option<(u64, &[u8])>, FrameError> {
    match length {
        LENGTH_16 => {
            let Some((bytes, rest)) = rest.split_first_chunk::<2>() else { return Ok(None) };
            let length = u16::from_be_bytes(*bytes);
            if length < u16::from(LENGTH_16) {
                return Err(FrameError::LengthNotMinimal);
            }
            Ok(Some((u64::from(length), rest)))
        }
        LENGTH_64 => {
            let Some((bytes, rest)) = rest.split_first_chunk::<8>() else { return Ok(None) };
            let length = u64::from_be_bytes(*bytes);
            // The eight bytes hold 63 bits of length: the first bit is zero (RFC 6455 §5.2).
            if length >> 63 != 0 {
                return Err(FrameError::LengthTooLong);
            }
            if length <= u64::from(u16::MAX) {
                return Err(FrameError::LengthNotMinimal);
            }
            Ok(Some((length, rest)))
        }
        _ => Ok(Some((u64::from(length), rest))),
    }
}

/// The header of a server's frame: unmasked, no reserved bit. The first `usize` bytes of the array
/// are it. A `payload_bytes` of 2^63 or more cannot be sent and has no meaning here.
///
/// Source: RFC 6455 §5.1, §5.2.
#[inline]
pub fn server_header(
    opcode: Opcode,
    fin: bool,
    payload_bytes: u64,
) -> ([u8; SERVER_FRAME_HEADER_BYTES_MAX], usize) {
    debug_assert!(payload_bytes >> 63 == 0);
    let mut header = [0; SERVER_FRAME_HEADER_BYTES_MAX];
    header[0] = opcode as u8 | if fin { FIN } else { 0 };
    let length = payload_bytes.to_be_bytes();
    if payload_bytes < u64::from(LENGTH_16) {
        header[1] = length[7];
        (header, 2)
    } else if payload_bytes <= u64::from(u16::MAX) {
        header[1] = LENGTH_16;
        header[2..4].copy_from_slice(&length[6..]);
        (header, 4)
    } else {
        header[1] = LENGTH_64;
        header[2..].copy_from_slice(&length);
        (header, 10)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPCODES: [Opcode; 6] = [
        Opcode::Continuation,
        Opcode::Text,
        Opcode::Binary,
        Opcode::Close,
        Opcode::Ping,
        Opcode::Pong,
    ];

    #[test]
    fn a_server_header_reads_back_and_is_minimal() {
        let lengths = [0, 1, 125, 126, 127, 65_535, 65_536, 1 << 32, (1 << 63) - 1];
        for opcode in OPCODES {
            for payload_bytes in lengths {
                let (bytes, length) = server_header(opcode, true, payload_bytes);
                let parsed = FrameHeader::parse_server(&bytes[..length], 0);
                if opcode.is_control() && payload_bytes > 125 {
                    assert_eq!(parsed, Err(FrameError::ControlTooLong));
                    continue;
                }
                let header = FrameHeader { fin: true, rsv: 0, opcode, mask: None, payload_bytes };
                assert_eq!(parsed, Ok(Parsed::Complete(header, length)));
                for cut in 0..length {
                    let parsed = FrameHeader::parse_server(&bytes[..cut], 0);
                    assert_eq!(parsed, Ok(Parsed::Incomplete));
                }
            }
        }
    }

    #[test]
    fn what_is_wrong_shows_as_early_as_it_can() {
        let early: [(&[u8], FrameError); 11] = [
            (&[0xC1], FrameError::ReservedBits(4)),
            (&[0xA1], FrameError::ReservedBits(2)),
            (&[0x91], FrameError::ReservedBits(1)),
            (&[0x83], FrameError::ReservedOpcode(3)),
            (&[0x8F], FrameError::ReservedOpcode(15)),
            (&[0x09], FrameError::ControlFragmented),
            (&[0x81, 0x05], FrameError::Unmasked),
            (&[0x89, 0xFE], FrameError::ControlTooLong),
            (&[0x82, 0xFE, 0, 125], FrameError::LengthNotMinimal),
            (&[0x82, 0xFF, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF], FrameError::LengthNotMinimal),
            (&[0x82, 0xFF, 0x80, 0, 0, 0, 0, 0, 0, 0], FrameError::LengthTooLong),
        ];
        for (bytes, error) in early {
            assert_eq!(FrameHeader::parse(bytes, 0), Err(error), "{bytes:x?}");
            let before = FrameHeader::parse(&bytes[..bytes.len() - 1], 0);
            assert_eq!(before, Ok(Parsed::Incomplete), "{bytes:x?}");
            let longer = [bytes, &[0xFF; 16]].concat();
            assert_eq!(FrameHeader::parse(&longer, 0), Err(error), "{bytes:x?}");
        }
        assert_eq!(FrameHeader::parse_server(&[0x81, 0x80], 0), Err(FrameError::Masked));
    }

    #[test]
    fn a_negotiated_bit_is_let_through() {
        let bytes = [0xC1, 0x80, 1, 2, 3, 4];
        let Ok(Parsed::Complete(header, 6)) = FrameHeader::parse(&bytes, 4) else { panic!() };
        assert_eq!((header.rsv, header.mask), (4, Some([1, 2, 3, 4])));
        assert_eq!(FrameHeader::parse(&[0xE1], 4), Err(FrameError::ReservedBits(6)));
    }
}
