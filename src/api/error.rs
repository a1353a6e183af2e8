//! What can go wrong in a handler's verbs, made from what the engine says. What comes of an error
//! that a handler returns is decided in `handler`.

use crate::engine::{ReadFailure, WriteFailure};
use crate::proto::CloseCode;
use std::fmt;

/// Why [`read`](super::WebSocket::read) has nothing to give.
///
/// There will be no other. A handler of a dedicated socket, as in `%CSP.WebSocket`, meets the
/// first two only.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// No message (nor `len` of one) came in time: `CSPWebSocketTimeout`. The socket lives, and
    /// what has arrived of a message is still there.
    #[error("no message came in time")]
    Timeout,
    /// The conversation is over: `CSPWebSocketClosed`.
    #[error("the WebSocket is closed ({code}{})", reason_suffix(.reason))]
    Closed {
        /// The code of the Close frame that ended it; 1005 if that carried none, 1006 if the
        /// connection was lost without one.
        code: CloseCode,
        /// The reason of that Close frame.
        reason: Box<str>,
    },
    /// Of a shared socket only: somebody else has taken it over.
    #[error("somebody else has taken the WebSocket over")]
    Fenced,
}

impl From<ReadFailure> for ReadError {
    #[cold]
    fn from(failure: ReadFailure) -> Self {
        match failure {
            ReadFailure::Timeout => Self::Timeout,
            ReadFailure::Ended(ended) => Self::Closed { code: ended.code, reason: ended.reason },
            ReadFailure::Fenced => Self::Fenced,
        }
    }
}

fn reason_suffix(reason: &str) -> String {
    if reason.is_empty() { String::new() } else { format!(": {}", reason.escape_debug()) }
}

/// Why [`write`](super::WebSocket::write) did not take a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The conversation is over.
    #[error("the WebSocket is closed")]
    Closed,
    /// The message is larger than the limit (16 MiB unless set otherwise).
    #[error("the message is larger than the limit")]
    TooLong,
    /// Only of [`try_write`](super::WebSocket::try_write): the peer does not take what was written
    /// before.
    #[error("the peer is too slow: its outbox is full")]
    Full,
    /// Of a shared socket only: somebody else has taken it over.
    #[error("somebody else has taken the WebSocket over")]
    Fenced,
}

impl From<WriteFailure<'_>> for WriteError {
    fn from(failure: WriteFailure<'_>) -> Self {
        match failure {
            WriteFailure::Full(_) => Self::Full,
            WriteFailure::TooLong => Self::TooLong,
            WriteFailure::Ended => Self::Closed,
            WriteFailure::Fenced => Self::Fenced,
        }
    }
}

/// Why a handler gave up. Made by `?` from the errors of the verbs, or from any error by
/// [`Error::new`]; the socket is closed with 1011 then, unless it is closed already.
pub struct Error(Box<dyn std::error::Error>);

impl Error {
    /// From an error of the application, or from a text.
    pub fn new(error: impl Into<Box<dyn std::error::Error>>) -> Self {
        Self(error.into())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}

impl From<ReadError> for Error {
    fn from(error: ReadError) -> Self {
        Self::new(error)
    }
}

impl From<WriteError> for Error {
    fn from(error: WriteError) -> Self {
        Self::new(error)
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        Self::new(error)
    }
}
