//! Why a session fails its connection, and what the peer is told. Made by the session; the engine
//! turns it into the Close frame.

use thiserror::Error;

use super::Refused;
use crate::proto::close::{CloseCode, ClosePayloadError};
use crate::proto::frame::FrameError;
use crate::proto::utf8::Utf8Error;

/// Why a connection was failed. All but [`ProtocolError::Refused`] are the peer's doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// A frame header that is wrong by itself.
    #[error("{0}")]
    Frame(#[from] FrameError),
    /// A continuation while no message is open.
    #[error("continuation without a message")]
    ContinuationWithoutMessage,
    /// A new message before the end of the one before.
    #[error("message inside a message")]
    MessageInsideMessage,
    /// More bytes than a message may have; so many were declared by its frames so far.
    #[error("message of {declared_bytes} bytes or more")]
    MessageTooLong {
        /// The lengths in the headers of the message's frames, added up.
        declared_bytes: u64,
    },
    /// More frames than a message may have.
    #[error("too many fragments")]
    TooManyFragments,
    /// Text that is not UTF-8.
    #[error("invalid UTF-8")]
    InvalidUtf8,
    /// A Close frame that says nothing valid.
    #[error("{0}")]
    Close(#[from] ClosePayloadError),
    /// The sink had no room.
    #[error("no room for the message")]
    Refused,
}

impl ProtocolError {
    /// The code for the Close frame that tells the peer.
    pub const fn close_code(self) -> CloseCode {
        match self {
            Self::Frame(_)
            | Self::ContinuationWithoutMessage
            | Self::MessageInsideMessage
            | Self::Close(ClosePayloadError::HalfCode | ClosePayloadError::InvalidCode(_)) => {
                CloseCode::PROTOCOL_ERROR
            }
            Self::InvalidUtf8 | Self::Close(ClosePayloadError::InvalidReason) => {
                CloseCode::INVALID_PAYLOAD
            }
            Self::MessageTooLong { .. } => CloseCode::TOO_BIG,
            Self::TooManyFragments => CloseCode::POLICY,
            Self::Refused => CloseCode::TRY_AGAIN_LATER,
        }
    }

    /// The reason for the Close frame: one of a fixed list, so that nothing a peer sent is sent
    /// back or logged.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Frame(error) => match error {
                FrameError::ReservedBits(_) => "reserved bits set",
                FrameError::ReservedOpcode(_) => "reserved opcode",
                FrameError::ControlFragmented => "fragmented control frame",
                FrameError::ControlTooLong => "control frame too long",
                FrameError::Unmasked => "frame not masked",
                FrameError::Masked => "frame masked",
                FrameError::LengthNotMinimal => "length not minimal",
                FrameError::LengthTooLong => "length out of range",
            },
            Self::ContinuationWithoutMessage => "continuation without a message",
            Self::MessageInsideMessage => "message inside a message",
            Self::MessageTooLong { .. } => "message too long",
            Self::TooManyFragments => "too many fragments",
            Self::InvalidUtf8 => "invalid UTF-8",
            Self::Close(error) => match error {
                ClosePayloadError::HalfCode => "close payload of one byte",
                ClosePayloadError::InvalidCode(_) => "invalid close code",
                ClosePayloadError::InvalidReason => "close reason is not UTF-8",
            },
            Self::Refused => "no room",
        }
    }
}

impl From<Utf8Error> for ProtocolError {
    fn from(_: Utf8Error) -> Self {
        Self::InvalidUtf8
    }
}

impl From<Refused> for ProtocolError {
    fn from(_: Refused) -> Self {
        Self::Refused
    }
}
