//! Close codes and the payload of a Close frame (RFC 6455 §5.5.1, §7.4).
//!
//! The session parses what a peer sent; the engine encodes what the server sends. A code that must
//! not stand on the wire can be neither received nor sent.

use std::fmt;

use thiserror::Error;

use super::limits::{CLOSE_REASON_BYTES_MAX, CONTROL_BYTES_MAX};

/// Why a connection ended, as a number.
///
/// Source: RFC 6455 §7.4 and the IANA registry of WebSocket close codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CloseCode(pub u16);

impl CloseCode {
    /// The purpose of the connection is fulfilled.
    pub const NORMAL: Self = Self(1000);
    /// The server shuts down, or the browser leaves the page.
    pub const GOING_AWAY: Self = Self(1001);
    /// The peer broke the protocol.
    pub const PROTOCOL_ERROR: Self = Self(1002);
    /// The peer sent a kind of data that is not accepted.
    pub const UNSUPPORTED: Self = Self(1003);
    /// The Close frame carried no code. Never on the wire.
    pub const NO_STATUS: Self = Self(1005);
    /// There was no Close frame. Never on the wire.
    pub const ABNORMAL: Self = Self(1006);
    /// Text that is not UTF-8.
    pub const INVALID_PAYLOAD: Self = Self(1007);
    /// A rule of the server was broken.
    pub const POLICY: Self = Self(1008);
    /// A message over the limit.
    pub const TOO_BIG: Self = Self(1009);
    /// The server failed.
    pub const INTERNAL_ERROR: Self = Self(1011);
    /// The server restarts.
    pub const SERVICE_RESTART: Self = Self(1012);
    /// The server is overloaded.
    pub const TRY_AGAIN_LATER: Self = Self(1013);

    /// Whether the code may stand in a Close frame: 1000 to 1003, 1007 to 1014, 3000 to 4999.
    ///
    /// 1005, 1006 and 1015 tell a program what happened and never travel; the others have no meaning
    /// (RFC 6455 §7.4.1, §7.4.2).
    pub const fn is_sendable(self) -> bool {
        matches!(self.0, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Why the payload of a Close frame was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ClosePayloadError {
    /// One byte: half a code.
    #[error("close payload of one byte")]
    HalfCode,
    /// A code that must not stand on the wire.
    #[error("invalid close code {0}")]
    InvalidCode(u16),
    /// The reason is not UTF-8.
    #[error("close reason is not UTF-8")]
    InvalidReason,
}

/// Reads the payload of a Close frame: two bytes of code, then the reason. Nothing reads as
/// ([`CloseCode::NO_STATUS`], `""`).
///
/// Source: RFC 6455 §5.5.1, §7.1.5, §7.4.
pub fn parse(payload: &[u8]) -> Result<(CloseCode, &str), ClosePayloadError> {
    let Some((code, reason)) = payload.split_first_chunk::<2>() else {
        return match payload {
            [] => Ok((CloseCode::NO_STATUS, "")),
            _ => Err(ClosePayloadError::HalfCode),
        };
    };
    let code = CloseCode(u16::from_be_bytes(*code));
    if !code.is_sendable() {
        return Err(ClosePayloadError::InvalidCode(code.0));
    }
    let reason = std::str::from_utf8(reason).map_err(|_| ClosePayloadError::InvalidReason)?;
    Ok((code, reason))
}

/// The payload of a control frame, at most 125 bytes, inline.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ControlPayload {
    bytes: [u8; CONTROL_BYTES_MAX],
    length: u8,
}

impl ControlPayload {
    /// No payload.
    pub const EMPTY: Self = Self { bytes: [0; CONTROL_BYTES_MAX], length: 0 };

    /// A copy of `bytes`, `None` if there are more than 125.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let mut payload = Self::EMPTY;
        payload.append(bytes).then_some(payload)
    }

    /// The payload.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }

    /// Adds bytes at the end; `false`, and nothing added, if they do not fit.
    #[must_use]
    pub(super) fn append(&mut self, bytes: &[u8]) -> bool {
        let start = usize::from(self.length);
        let Some(room) = self.bytes.get_mut(start..start + bytes.len()) else { return false };
        room.copy_from_slice(bytes);
        self.length += bytes.len() as u8;
        true
    }
}

impl AsRef<[u8]> for ControlPayload {
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl fmt::Debug for ControlPayload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ControlPayload").field(&self.as_bytes()).finish()
    }
}

/// Writes the payload of a Close frame. A reason over 123 bytes is cut at the last character that
/// fits. A code that is not [sendable](CloseCode::is_sendable) gives an empty payload, which is
/// also the right answer to a Close without a code.
///
/// Source: RFC 6455 §5.5.1.
pub fn encode(code: CloseCode, reason: &str) -> ControlPayload {
    let mut payload = ControlPayload::EMPTY;
    if code.is_sendable() {
        let mut reason_bytes = reason.len().min(CLOSE_REASON_BYTES_MAX);
        while !reason.is_char_boundary(reason_bytes) {
            reason_bytes -= 1;
        }
        let reason = &reason[..reason_bytes];
        let whole = payload.append(&code.0.to_be_bytes()) && payload.append(reason.as_bytes());
        debug_assert!(whole);
    }
    payload
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_table() {
        for code in 0..=5_100u16 {
            let valid = (1000..=1014).contains(&code) && ![1004, 1005, 1006].contains(&code)
                || (3000..5000).contains(&code);
            assert_eq!(CloseCode(code).is_sendable(), valid, "{code}");
            let payload = [&code.to_be_bytes()[..], b"why"].concat();
            let expected = if valid {
                Ok((CloseCode(code), "why"))
            } else {
                Err(ClosePayloadError::InvalidCode(code))
            };
            assert_eq!(parse(&payload), expected);
            let encoded = encode(CloseCode(code), "why");
            assert_eq!(encoded.as_bytes(), if valid { &payload[..] } else { b"" });
        }
    }

    #[test]
    fn short_and_broken_payloads() {
        assert_eq!(parse(b""), Ok((CloseCode::NO_STATUS, "")));
        assert_eq!(parse(b"\x03"), Err(ClosePayloadError::HalfCode));
        assert_eq!(parse(b"\x03\xE8"), Ok((CloseCode::NORMAL, "")));
        assert_eq!(parse(b"\x03\xE8\xED\xA0\x80"), Err(ClosePayloadError::InvalidReason));
        assert_eq!(parse(b"\x03\xE8\xE2\x82"), Err(ClosePayloadError::InvalidReason));
    }

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        for (unit, kept) in [("a", 123), ("é", 122), ("€", 123), ("😀", 120)] {
            let reason = unit.repeat(200);
            let payload = encode(CloseCode::NORMAL, &reason);
            assert_eq!(payload.as_bytes().len(), 2 + kept);
            assert_eq!(parse(payload.as_bytes()), Ok((CloseCode::NORMAL, &reason[..kept])));
        }
    }

    #[test]
    fn a_control_payload_holds_125_bytes_and_no_more() {
        assert_eq!(ControlPayload::new(&[7; 125]).unwrap().as_bytes(), [7; 125]);
        assert_eq!(ControlPayload::new(&[7; 126]), None);
    }
}
