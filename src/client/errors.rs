//! What can go wrong between this process, the control plane and a WebSocket. Made where it goes
//! wrong; whether a request is tried again is decided in `calls`, by what is told here.

use super::transport::{Answer, Broken};
use crate::proto::CloseCode;
use hyper::header::RETRY_AFTER;
use serde::Deserialize;
use std::time::Duration;

/// Why a request to the control plane has no answer that can be used.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// No connection can be had; nothing was sent.
    #[error("{address} cannot be reached: {cause}")]
    Unreachable {
        /// Where.
        address: String,
        /// What the system says.
        cause: String,
    },
    /// The connection was lost after the request went out, or no answer came in time: it may have
    /// had its effect, or not.
    #[error("the answer was lost, and whether the request had its effect is not known: {0}")]
    Lost(String),
    /// The control plane said no, and nothing has changed.
    #[error(transparent)]
    Refused(Box<Refused>),
    /// The answer is not one of a ringwire control plane.
    #[error("this is not the answer of a ringwire control plane: {0}")]
    Strange(String),
}

/// A refusal as the control plane words it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", worded(.message, .remedy))]
pub struct Refused {
    /// The HTTP status.
    pub status: u16,
    /// The kind of refusal, such as `unknown_id`.
    pub code: String,
    /// The cause.
    pub message: String,
    /// What to do about it; may be empty.
    pub remedy: String,
    /// With `closed`: how the conversation ended.
    pub close: Option<(CloseCode, Box<str>)>,
    /// When to ask again, where the control plane says so (`Retry-After`).
    pub retry_after: Option<Duration>,
}

fn worded(message: &str, remedy: &str) -> String {
    match remedy {
        "" => message.into(),
        remedy => format!("{message}; {remedy}"),
    }
}

/// Why `open_server` opened nothing.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The WebSocket is in dedicated mode: only its handler talks to it.
    #[error("the WebSocket is not shared")]
    NotShared,
    /// There is no WebSocket of this id, and none that has ended lately.
    #[error("no WebSocket has this id")]
    Unknown,
    /// Somebody else holds the read lease.
    #[error("somebody else holds the WebSocket")]
    Busy,
    /// The WebSocket is gone: it was closed, or its session timeout passed.
    #[error("the WebSocket has ended")]
    Expired,
    /// The control plane could not be asked, or refused for another reason.
    #[error(transparent)]
    Client(ClientError),
}

/// Why `read` has nothing to give.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// No message (nor `len` of one) came in time: `CSPWebSocketTimeout`. The socket lives, and
    /// what has arrived of a message is still there.
    #[error("no message came in time")]
    Timeout,
    /// The conversation is over: `CSPWebSocketClosed`. 1006 as well when the server has forgotten
    /// the socket, as after a restart.
    #[error("the WebSocket is closed ({code})")]
    Closed {
        /// The code of the Close frame that ended it; 1005 if that carried none, 1006 if the
        /// connection was lost without one.
        code: CloseCode,
        /// The reason of that Close frame.
        reason: Box<str>,
    },
    /// Somebody else took the socket over, or the lease ended because nothing was heard from here.
    #[error("the lease on the WebSocket is lost")]
    Fenced,
    /// The control plane could not be asked, or refused for another reason. Reading again loses
    /// nothing.
    #[error(transparent)]
    Client(ClientError),
}

/// Why `write` did not take a message.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The conversation is over. 1006 as well when the server has forgotten a socket that was held, as
    /// after a restart.
    #[error("the WebSocket is closed ({code})")]
    Closed {
        /// The code of the Close frame that ended it; 1005 if that carried none, 1006 if the
        /// connection was lost without one.
        code: CloseCode,
        /// The reason of that Close frame.
        reason: Box<str>,
    },
    /// The message is larger than the limit of the server (16 MiB unless set otherwise).
    #[error("the message is larger than the limit")]
    TooLong,
    /// Only of `try_write`: the peer does not take what was written before.
    #[error("the peer is too slow: its outbox is full")]
    Full,
    /// Somebody else took the socket over, or the lease ended because nothing was heard from here.
    #[error("the lease on the WebSocket is lost")]
    Fenced,
    /// Only of `write_to`: there is no WebSocket of this id, and none that has ended lately.
    #[error("no WebSocket has this id")]
    Unknown,
    /// Only of `write_to`: the WebSocket is in dedicated mode.
    #[error("the WebSocket is not shared")]
    NotShared,
    /// The control plane could not be asked, or refused for another reason. With
    /// [`ClientError::Lost`] the message may have been sent.
    #[error(transparent)]
    Client(ClientError),
}

impl From<Refused> for ClientError {
    fn from(refused: Refused) -> Self {
        Self::Refused(Box::new(refused))
    }
}

impl From<Broken> for ClientError {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Unreachable { address, cause } => Self::Unreachable { address, cause },
            Broken::Lost(cause) => Self::Lost(cause),
        }
    }
}

impl ClientError {
    /// The refusal's code, or nothing.
    pub fn code(&self) -> &str {
        match self {
            Self::Refused(refused) => &refused.code,
            _ => "",
        }
    }

    /// An answer that is no success.
    pub(super) fn of(answer: &Answer) -> Self {
        #[derive(Deserialize)]
        struct Body {
            error: Inner,
        }
        #[derive(Deserialize)]
        struct Inner {
            code: String,
            #[serde(default)]
            message: String,
            #[serde(default)]
            remedy: String,
            close_code: Option<u16>,
            #[serde(default)]
            reason: Option<Box<str>>,
        }
        let status = answer.status.as_u16();
        let Ok(Body { error }) = serde_json::from_slice(&answer.body) else {
            return Self::Strange(format!("status {status} without an error in JSON"));
        };
        let Inner { code, message, remedy, close_code, reason } = error;
        let close = close_code.map(|code| (CloseCode(code), reason.unwrap_or_default()));
        let message = if message.is_empty() { code.clone() } else { message };
        let seconds = answer.headers.get(RETRY_AFTER).and_then(|field| field.to_str().ok());
        let retry_after = seconds.and_then(|text| text.parse().ok()).map(Duration::from_secs);
        Refused { status, code, message, remedy, close, retry_after }.into()
    }

    /// Whether the same request may be taken in a moment.
    pub(super) fn is_momentary(&self) -> bool {
        match self {
            Self::Refused(refused) => matches!(refused.status, 429 | 503) && refused.code != "full",
            _ => false,
        }
    }

    /// How long to wait before the same request, if the control plane has said so.
    pub(super) fn retry_after(&self) -> Duration {
        match self {
            Self::Refused(refused) => refused.retry_after.unwrap_or_default(),
            _ => Duration::ZERO,
        }
    }

    fn close(&self) -> (CloseCode, Box<str>) {
        match self {
            Self::Refused(refused) if refused.close.is_some() => {
                refused.close.clone().unwrap_or((CloseCode::ABNORMAL, "".into()))
            }
            Self::Refused(refused) if refused.code == "expired" => {
                (CloseCode::GOING_AWAY, "".into())
            }
            _ => (CloseCode::ABNORMAL, "".into()),
        }
    }
}

impl From<ClientError> for OpenError {
    fn from(error: ClientError) -> Self {
        match error.code() {
            "not_shared" => Self::NotShared,
            "unknown_id" => Self::Unknown,
            "busy" => Self::Busy,
            "expired" | "closed" => Self::Expired,
            _ => Self::Client(error),
        }
    }
}

impl From<ClientError> for ReadError {
    fn from(error: ClientError) -> Self {
        match error.code() {
            "timeout" => Self::Timeout,
            "closed" | "expired" | "unknown_id" => {
                let (code, reason) = error.close();
                Self::Closed { code, reason }
            }
            "fenced" => Self::Fenced,
            _ => Self::Client(error),
        }
    }
}

impl From<ClientError> for WriteError {
    fn from(error: ClientError) -> Self {
        match error.code() {
            "closed" | "expired" | "unknown_id" => {
                let (code, reason) = error.close();
                Self::Closed { code, reason }
            }
            "too_long" => Self::TooLong,
            "full" => Self::Full,
            "fenced" => Self::Fenced,
            "not_shared" => Self::NotShared,
            _ => Self::Client(error),
        }
    }
}
