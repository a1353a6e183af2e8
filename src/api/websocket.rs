//! The verbs of a handler: `read`, `write`, `close`, `end_server`. Thin over the engine's port, in
//! the words of the application; on the shard's thread only.

use super::data::{Data, Message};
use super::error::{Error, ReadError, WriteError};
use super::session::Session;
use crate::engine::{Incoming, Payload, Port, Read, ReadFailure, WriteFailure};
use crate::proto::{CloseCode, MessageKind};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// An open WebSocket, in the hands of its handler (`%CSP.WebSocket`).
///
/// No verb loses anything when its future is dropped before it is ready: a `read` in a
/// `tokio::select!` that another branch wins leaves the message for the next `read`.
pub struct WebSocket {
    port: Port,
}

impl WebSocket {
    pub(crate) fn new(port: Port) -> Self {
        Self { port }
    }

    pub(crate) fn port(&self) -> &Port {
        &self.port
    }

    /// Waits for a message and returns it, or its first `len` characters (bytes, if it is binary)
    /// as soon as these are there; never cuts a character. The rest of the message comes with the
    /// next reads, see [`at_end`](Self::at_end).
    ///
    /// `%CSP.WebSocket`'s `Read(.len, .sc, timeout)`, whose defaults are
    /// [`READ_LEN_DEFAULT`](crate::READ_LEN_DEFAULT) and
    /// [`READ_TIMEOUT_DEFAULT`](crate::READ_TIMEOUT_DEFAULT).
    ///
    /// # Errors
    ///
    /// [`ReadError::Timeout`] when `timeout` has passed: the socket lives and nothing is lost.
    /// [`ReadError::Closed`] when the conversation is over and everything received was read.
    pub fn read(
        &mut self,
        len: usize,
        timeout: Duration,
    ) -> impl Future<Output = Result<Data, ReadError>> {
        ReadData(self.port.read(len, timeout))
    }

    /// Whether the last [`read`](Self::read) reached the end of its message; `true` before the
    /// first one (`AtEnd`).
    pub fn at_end(&self) -> bool {
        self.port.at_end()
    }

    /// Sends one message. Ready at once while less than the high-water mark (64 KiB) waits to be
    /// sent; above it, waits for the peer (`Write(data)`).
    ///
    /// The peer's Close frame, or FIN, has its turn behind the messages before it, so what is written
    /// in answer to them is sent (RFC 6455 §5.5.1). When the conversation is over, a message is taken
    /// and dropped as long as something received is unread, so that a handler that gives up at a
    /// failed write (`?`) loses nothing; [`read`](Self::read) tells of the end.
    ///
    /// # Errors
    ///
    /// [`WriteError::Closed`] when it is over and everything received was read;
    /// [`WriteError::TooLong`].
    pub fn write<'m>(
        &mut self,
        message: impl Into<Message<'m>>,
    ) -> impl Future<Output = Result<(), WriteError>> {
        let Message { kind, payload } = message.into();
        WriteMessage { port: &self.port, kind: Some(kind), payload }
    }

    /// Sends one message if there is room for it, without waiting.
    ///
    /// # Errors
    ///
    /// [`WriteError::Full`] above the high-water mark, and those of [`write`](Self::write).
    pub fn try_write<'m>(&mut self, message: impl Into<Message<'m>>) -> Result<(), WriteError> {
        let Message { kind, payload } = message.into();
        Ok(self.port.write(kind, payload)?)
    }

    /// Ends the conversation: Close 1000 behind everything that was written, and waits for the peer's
    /// answer, at most the close timeout (5 s) since it last took something of that (`EndServer()`).
    ///
    /// # Errors
    ///
    /// None today: a conversation that is over already is ended.
    pub async fn end_server(&mut self) -> Result<(), Error> {
        self.close(CloseCode::NORMAL, "").await
    }

    /// Ends the conversation with this code and reason (at most 123 bytes; what is longer is cut
    /// at a character), and waits as [`end_server`](Self::end_server) does.
    ///
    /// # Errors
    ///
    /// If `code` is not one that may be sent (RFC 6455 §7.4).
    pub async fn close(&mut self, code: CloseCode, reason: &str) -> Result<(), Error> {
        if !code.is_sendable() {
            return Err(Error::new(format!("{code} is not a close code that may be sent")));
        }
        self.port.start_close(code, reason);
        self.port.closed().await;
        Ok(())
    }

    /// Whether everything is written as binary, and text read as bytes. Default: no
    /// (`BinaryData`).
    pub fn binary_data(&self) -> bool {
        self.port.binary_data()
    }

    /// Sets [`binary_data`](Self::binary_data).
    pub fn set_binary_data(&mut self, binary_data: bool) {
        self.port.set_binary_data(binary_data);
    }

    /// The id of this socket: 32 characters that nobody can guess (`WebSocketID`).
    pub fn websocket_id(&self) -> String {
        self.port.websocket_id()
    }

    /// The session it belongs to, in dedicated mode; `None` in shared mode, and on routes that ask
    /// for none (`%session`).
    pub fn session(&self) -> Option<Session> {
        let dedicated = !self.port.is_shared();
        dedicated.then(|| self.port.visit()).flatten().map(Session::new)
    }

    /// The id of the session it belongs to, in both modes (`SessionId`).
    pub fn session_id(&self) -> Option<String> {
        self.port.visit().map(|visit| visit.id().to_string())
    }

    /// Whether the socket stays open when `server` returns (`SharedConnection`). Only
    /// `on_pre_server` can choose that.
    pub fn shared_connection(&self) -> bool {
        self.port.is_shared()
    }

    /// Who the peer is; `None` over a Unix socket, and on kernels before 6.7.
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        self.port.peer()
    }

    /// Bytes written that have not been sent yet.
    pub fn buffered_bytes(&self) -> usize {
        self.port.buffered_bytes()
    }
}

/// The future of `read`. By hand, because that of an `async fn` would be larger than the whole
/// connection; and its usual case is inlined into the handler, where it is short code.
struct ReadData<'a>(Read<'a>);

impl Future for ReadData<'_> {
    type Output = Result<Data, ReadError>;

    #[inline(always)]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let read = match self.0.take_whole() {
            Some(incoming) => Poll::Ready(Ok(incoming)),
            None => self.poll_slowly(context),
        };
        // The failure becomes the error of the API here, because that one is larger than the
        // registers in which a function returns its result.
        read.map(|result| result.map(Data::new).map_err(ReadError::from))
    }
}

impl ReadData<'_> {
    #[inline(never)]
    fn poll_slowly(&mut self, context: &mut Context<'_>) -> Poll<Result<Incoming, ReadFailure>> {
        Pin::new(&mut self.0).poll(context).map(|result| result.map(|piece| piece.incoming))
    }
}

/// The future of `write`, made as that of `read` is.
struct WriteMessage<'w, 'm> {
    port: &'w Port,
    /// Absent once the message was taken.
    kind: Option<MessageKind>,
    payload: Payload<'m>,
}

impl Future for WriteMessage<'_, '_> {
    type Output = Result<(), WriteError>;

    #[inline(always)]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(kind) = self.kind
            && self.port.write_small(kind, &mut self.payload)
        {
            self.kind = None;
            return Poll::Ready(Ok(()));
        }
        self.poll_slowly(context)
    }
}

impl WriteMessage<'_, '_> {
    #[inline(never)]
    fn poll_slowly(&mut self, context: &mut Context<'_>) -> Poll<Result<(), WriteError>> {
        let kind = self.kind.take().expect("polled after it was ready");
        let payload = std::mem::replace(&mut self.payload, Payload::Borrowed(&[]));
        Poll::Ready(match self.port.write(kind, payload) {
            Ok(()) => Ok(()),
            Err(WriteFailure::Full(waiting)) => {
                self.kind = Some(kind);
                self.payload = waiting;
                self.port.await_room(context);
                return Poll::Pending;
            }
            Err(failure) => Err(failure.into()),
        })
    }
}
