//! Shared sockets in the hands of code that is not their handler: `open_server`, and the verbs.
//! Thin over the engine's holder; on any thread, under any executor.

use super::data::{Data, Message};
use super::error::{Error, ReadError, WriteError};
use crate::engine::{
    HeldReadFailure, HeldWriteFailure, Holder, OpenFailure, OpenRequest, Outgoing,
};
use crate::proto::{CloseCode, MessageKind};
use std::future::poll_fn;
use std::net::SocketAddr;
use std::time::Duration;

/// How to open a shared socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenOptions {
    /// Take it over from whoever holds it; that holder gets `Fenced` from then on. Default: no.
    pub steal: bool,
    /// How long it stays held without being used. `None`, the default: until the
    /// [`SharedSocket`] is dropped. It ends at the earliest after this time without a verb, and at
    /// the latest after twice that; after [`detach`](SharedSocket::detach), exactly then.
    pub lease: Option<Duration>,
    /// Go on with a lease that was [detached](SharedSocket::detach).
    pub fence: Option<u64>,
    /// A number nobody else has, so that opening again, because the first answer was lost, gives the
    /// same lease again for as long as it lasts, instead of `Busy`. What was read under it and not
    /// acknowledged stays kept.
    pub key: Option<u64>,
}

/// Why a socket cannot be opened, or not be reached by its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// It is dedicated to its handler: `on_pre_server` did not make it shared.
    #[error("the WebSocket is dedicated to its handler; shared_connection was not set")]
    NotShared,
    /// There is no such socket (any more). Forged ids are answered like this as well.
    #[error("there is no WebSocket with this id")]
    Unknown,
    /// Somebody else holds it.
    #[error("the WebSocket is held by somebody else; wait, or take it over with steal")]
    Busy {
        /// When the other's lease ends, unless it is renewed; `None`: when it is dropped.
        expires_in: Option<Duration>,
    },
    /// It was closed because nothing has happened on it for the session timeout; or what it had left
    /// to read was given up, because its minute is over or there was too much of that.
    #[error("the WebSocket was closed, and its time or that of its last words is over")]
    Expired,
    /// The lease that was to go on has ended, or somebody has taken the socket over.
    #[error("the lease has ended, or somebody else has taken the WebSocket over")]
    Fenced,
}

impl From<OpenOptions> for OpenRequest {
    fn from(options: OpenOptions) -> Self {
        let OpenOptions { steal, lease, fence, key } = options;
        Self { steal, lease, fence, key }
    }
}

impl From<OpenFailure> for OpenError {
    fn from(failure: OpenFailure) -> Self {
        match failure {
            OpenFailure::NotShared => Self::NotShared,
            OpenFailure::Unknown => Self::Unknown,
            OpenFailure::Busy { expires_in } => Self::Busy { expires_in },
            OpenFailure::Expired => Self::Expired,
            OpenFailure::Fenced => Self::Fenced,
        }
    }
}

/// Why a message was not written to the socket with an id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenOrWriteError {
    /// The socket cannot be reached.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// It does not take the message.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The conversation is over.
    #[error("the WebSocket is closed ({code})")]
    Closed {
        /// The code of the Close frame that ended it; 1005 if that carried none, 1006 if the
        /// connection was lost without one.
        code: CloseCode,
        /// The reason of that Close frame.
        reason: Box<str>,
    },
}

/// A message that is given again until it is acknowledged.
#[derive(Debug)]
#[non_exhaustive]
pub struct Kept {
    /// What acknowledges it.
    pub sequence: u64,
    /// The message, or the part of it.
    pub data: Data,
    /// Whether its message ends with it.
    pub at_end: bool,
}

/// A shared socket that this value holds: nobody else reads it meanwhile (`OpenServer`).
///
/// It can be sent to any thread and works under any executor. Dropping it, or
/// [`release`](Self::release), leaves the socket open and unattended; what was not read stays in
/// its mailbox. No verb loses anything when its future is dropped before it is ready.
pub struct SharedSocket {
    holder: Holder,
    binary_data: bool,
    at_end: bool,
}

impl From<HeldReadFailure> for ReadError {
    fn from(failure: HeldReadFailure) -> Self {
        match failure {
            HeldReadFailure::Timeout => Self::Timeout,
            HeldReadFailure::Ended(ended) => {
                Self::Closed { code: ended.code, reason: ended.reason }
            }
            HeldReadFailure::Fenced => Self::Fenced,
        }
    }
}

impl From<HeldWriteFailure> for WriteError {
    fn from(failure: HeldWriteFailure) -> Self {
        match failure {
            HeldWriteFailure::Full => Self::Full,
            HeldWriteFailure::TooLong => Self::TooLong,
            HeldWriteFailure::Ended => Self::Closed,
            HeldWriteFailure::Fenced => Self::Fenced,
        }
    }
}

impl SharedSocket {
    pub(super) fn new(holder: Holder) -> Self {
        Self { holder, binary_data: false, at_end: true }
    }

    /// Waits for a message and returns it, or its first `len` characters, exactly as
    /// [`WebSocket::read`](super::WebSocket::read) does.
    ///
    /// # Errors
    ///
    /// Those of [`WebSocket::read`](super::WebSocket::read), and [`ReadError::Fenced`] when
    /// somebody else has taken the socket over.
    pub fn read(
        &mut self,
        len: usize,
        timeout: Duration,
    ) -> impl Future<Output = Result<Data, ReadError>> + Send {
        let Self { holder, binary_data, at_end } = self;
        let mut read = holder.read(len, *binary_data, timeout, None);
        poll_fn(move |context| {
            read.poll(context).map(|result| {
                let piece = result?;
                *at_end = piece.at_end;
                Ok(Data::new(piece.incoming))
            })
        })
    }

    /// Reads as [`read`](Self::read) does, and keeps what it returns: until it is acknowledged it
    /// stays at the head of the mailbox, so that a holder that dies loses nothing. The next read
    /// acknowledges it; one with the sequence of the message before repeats it instead.
    ///
    /// `acknowledged` is the `sequence` of the last message that has arrived where it was wanted;
    /// `None` means the last one that was given.
    ///
    /// # Errors
    ///
    /// Those of [`read`](Self::read).
    pub async fn read_kept(
        &mut self,
        len: usize,
        timeout: Duration,
        acknowledged: Option<u64>,
    ) -> Result<Kept, ReadError> {
        let mut read = self.holder.read(len, self.binary_data, timeout, Some(acknowledged));
        let piece = poll_fn(|context| read.poll(context)).await?;
        drop(read);
        self.at_end = piece.at_end;
        let data = Data::new(piece.incoming);
        Ok(Kept { sequence: piece.sequence, data, at_end: piece.at_end })
    }

    /// Whether the last read reached the end of its message; `true` before the first one
    /// (`AtEnd`).
    pub fn at_end(&self) -> bool {
        self.at_end
    }

    /// Sends one message. Ready at once while less than the high-water mark (64 KiB) waits to be
    /// sent; above it, waits for the peer (`Write(data)`).
    ///
    /// # Errors
    ///
    /// [`WriteError::Closed`], [`WriteError::TooLong`], [`WriteError::Fenced`].
    pub fn write<'m>(
        &mut self,
        message: impl Into<Message<'m>>,
    ) -> impl Future<Output = Result<(), WriteError>> + Send {
        let mut message = Some(self.message(message));
        let holder = &self.holder;
        poll_fn(move |context| holder.poll_write(&mut message, context).map_err(WriteError::from))
    }

    /// Sends one message if there is room for it, without waiting.
    ///
    /// # Errors
    ///
    /// [`WriteError::Full`] above the high-water mark, and those of [`write`](Self::write).
    pub fn try_write<'m>(&mut self, message: impl Into<Message<'m>>) -> Result<(), WriteError> {
        Ok(self.holder.write(&mut Some(self.message(message)))?)
    }

    /// Ends the conversation: Close 1000, and waits for the peer's answer, at most the close
    /// timeout (5 s) (`EndServer()`).
    ///
    /// # Errors
    ///
    /// If somebody else has taken the socket over. A conversation that is over already is ended.
    pub async fn end_server(&mut self) -> Result<(), Error> {
        self.close(CloseCode::NORMAL, "").await
    }

    /// Ends the conversation with this code and reason (at most 123 bytes; what is longer is cut
    /// at a character), and waits as [`end_server`](Self::end_server) does.
    ///
    /// # Errors
    ///
    /// If `code` is not one that may be sent (RFC 6455 §7.4), or if somebody else has taken the
    /// socket over.
    pub async fn close(&mut self, code: CloseCode, reason: &str) -> Result<(), Error> {
        if !code.is_sendable() {
            return Err(Error::new(format!("{code} is not a close code that may be sent")));
        }
        self.holder.close(code, reason).await.map_err(|failure| WriteError::from(failure).into())
    }

    /// Whether everything is written as binary, and text read as bytes. Default: no
    /// (`BinaryData`). It is of this value, not of the socket.
    pub fn binary_data(&self) -> bool {
        self.binary_data
    }

    /// Sets [`binary_data`](Self::binary_data).
    pub fn set_binary_data(&mut self, binary_data: bool) {
        self.binary_data = binary_data;
    }

    /// The id of this socket (`WebSocketID`).
    pub fn websocket_id(&self) -> &str {
        self.holder.websocket_id()
    }

    /// The id of the session it belongs to (`SessionId`); in shared mode there is no session
    /// object.
    pub fn session_id(&self) -> Option<&str> {
        self.holder.session_id()
    }

    /// Always `true` (`SharedConnection`).
    pub fn shared_connection(&self) -> bool {
        true
    }

    /// Who the peer is; `None` over a Unix socket, and on kernels before 6.7.
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        self.holder.peer()
    }

    /// How the conversation ended, once it has: code and reason as of
    /// [`ReadError::Closed`], which comes when everything was read.
    pub fn ended(&self) -> Option<(CloseCode, Box<str>)> {
        self.holder.ended().map(|ended| (ended.code, ended.reason))
    }

    /// Bytes written here that the shard has not taken yet.
    pub fn buffered_bytes(&self) -> usize {
        self.holder.buffered_bytes()
    }

    /// The number of this holder. A later one has a higher number, so that whoever is told both
    /// can refuse the older.
    pub fn fence(&self) -> u64 {
        self.holder.fence()
    }

    /// Leaves the socket open and unattended, and acknowledges what was read. The same as dropping
    /// it, but for what [`read_kept`](Self::read_kept) gave last: a drop returns it to the mailbox.
    pub fn release(self) {
        self.holder.release();
    }

    /// Leaves the socket open and unattended at once, whatever lease was asked for, and returns what
    /// [`read_kept`](Self::read_kept) gave last to the mailbox, as the next to be read.
    pub fn give_back(self) {
        self.holder.give_back();
    }

    /// Keeps the lease without this value, until it expires (after 30 s, if no time was set); to be
    /// taken up with [`OpenOptions::fence`], which is what this returns. What was read and not
    /// acknowledged goes back to the mailbox when the lease expires.
    pub fn detach(self) -> u64 {
        self.holder.detach()
    }

    fn message<'m>(&self, message: impl Into<Message<'m>>) -> Outgoing {
        let Message { kind, payload } = message.into();
        let kind = if self.binary_data { MessageKind::Binary } else { kind };
        Outgoing { kind, payload: payload.into_owned() }
    }
}
