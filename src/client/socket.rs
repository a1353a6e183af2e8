//! A WebSocket of another process, and its verbs.
//!
//! Owns the lease, and knows the last piece that arrived: the next read names it, so that a future
//! may be dropped at any point and nothing is lost. It goes through [`calls`](super::calls).

use super::calls::{Twice, bytes_of, patient, post, write_request};
use super::connect::Client;
use super::errors::{ClientError, OpenError, ReadError, WriteError};
use super::info::SocketInfo;
use super::query::Target;
use super::renewal::Renewal;
use super::transport::{Answer, Request};
use crate::api::{Data, Message};
use crate::engine::Incoming;
use crate::proto::limits::{CLOSE_REASON_BYTES_MAX, READ_LEN_DEFAULT};
use crate::proto::{CloseCode, MessageKind};
use crate::ring::Buffer;
use hyper::header::CONTENT_TYPE;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::time::sleep;

/// How long the server is to wait in one request. Shorter than a lease, so that every poll renews
/// it, and than what proxies let pass.
const POLL: Duration = Duration::from_secs(10);

/// The same where `read`s take turns.
const POLL_SCARCE: Duration = Duration::from_secs(1);

/// For the answer after the poll's time.
const POLL_GRACE: Duration = Duration::from_secs(15);

/// What one answer may carry; the rest of a larger message comes with the next `read`.
const LEN_MAX: usize = 16 << 20;

/// How long an earlier verb of ours, whose future was dropped, may come between.
const SETTLE_MAX: Duration = Duration::from_millis(200);
const SETTLE_PAUSE: Duration = Duration::from_millis(20);

/// A shared WebSocket in the hands of this process (`%CSP.WebSocket` after `OpenServer`).
///
/// What [`read`](Self::read) has given is acknowledged by the next `read` and by
/// [`release`](Self::release). If this process ends before, whoever opens the socket next reads it
/// again. Dropping does the same at once, by a request of its own that nobody waits for; where that
/// fails, because the tokio runtime ends, say, the lease ends by itself within 30 s.
///
/// A `read` whose future is dropped before it is ready loses nothing; a `write` may then have been
/// sent or not.
pub struct RemoteSocket {
    client: Client,
    id: Arc<str>,
    fence: u64,
    session_id: Option<String>,
    peer: Option<SocketAddr>,
    renewal: Option<Renewal>,
    /// The number of the last piece that arrived here.
    received: u64,
    is_message_end: bool,
    /// A `read` may have been served whose answer never arrived here.
    is_in_doubt: bool,
    /// What arrived beyond the bytes that were asked for.
    rest: Buffer,
    binary_data: bool,
    /// Where a drop sends its request.
    runtime: Handle,
    /// The lease was given back.
    is_over: bool,
}

impl RemoteSocket {
    pub(super) fn new(
        client: Client,
        id: &str,
        fence: u64,
        lease: Option<Duration>,
        info: &SocketInfo,
    ) -> Self {
        let id: Arc<str> = id.into();
        let renewal =
            lease.map(|lease| Renewal::start(client.clone(), Arc::clone(&id), fence, lease));
        Self {
            client,
            id,
            fence,
            session_id: info.session_id.clone(),
            peer: info.peer.as_ref().and_then(|peer| peer.parse().ok()),
            renewal,
            received: 0,
            is_message_end: true,
            is_in_doubt: false,
            rest: Buffer::new(),
            binary_data: false,
            runtime: Handle::current(),
            is_over: false,
        }
    }

    /// Waits for a message and returns it, or its first `len` characters (bytes, if it is binary)
    /// as soon as these are there; never cuts a character. The rest of the message comes with the
    /// next reads, see [`at_end`](Self::at_end). Acknowledges what the `read` before has given.
    ///
    /// # Errors
    ///
    /// [`ReadError`]. After [`ReadError::Timeout`] and [`ReadError::Client`] nothing is lost.
    pub async fn read(&mut self, len: usize, timeout: Duration) -> Result<Data, ReadError> {
        if !self.rest.is_empty() {
            let rest = std::mem::take(&mut self.rest);
            return Ok(self.cut(rest, len));
        }
        let started = Instant::now();
        loop {
            let left = timeout.saturating_sub(started.elapsed());
            let is_scarce = self.client.inner.transport.polls_are_scarce();
            let wait = left.min(if is_scarce { POLL_SCARCE } else { POLL });
            match self.poll(len, wait).await {
                Err(ReadError::Timeout) if left > wait => {}
                result => return result,
            }
        }
    }

    /// Asks once.
    async fn poll(&mut self, len: usize, wait: Duration) -> Result<Data, ReadError> {
        let target = Target::of_socket(&self.id, "read")
            .with("len", Some(len.clamp(1, LEN_MAX)))
            // A wait of less than a millisecond is one: 0 would turn it into a glance.
            .with("timeout", Some(wait.as_micros().div_ceil(1_000)))
            .with("fence", Some(self.fence))
            .with("ack", Some(self.received));
        let request = Request { timeout: wait + POLL_GRACE, is_poll: true, ..post(target) };
        // Until its answer is here; a future that is dropped leaves it so.
        self.is_in_doubt = true;
        let answer = self.call(&request, Twice::Harmless).await;
        self.is_in_doubt = matches!(&answer, Err(error) if error.code().is_empty());
        let answer = answer?;
        let piece = piece_of(&answer)?;
        self.received = piece.number;
        self.is_message_end = piece.is_message_end;
        if self.binary_data {
            return Ok(self.cut(Buffer::copy_of(&answer.body), len));
        }
        let data = Data::new(Incoming::of(piece.kind, Buffer::copy_of(&answer.body)));
        if piece.kind == MessageKind::Text && data.as_text().is_none() {
            let strange = ClientError::Strange("text that is not UTF-8".into());
            return Err(ReadError::Client(strange));
        }
        Ok(data)
    }

    /// The first `len` bytes of `bytes`, the others kept: `len` counts characters of text on the
    /// server, but bytes in binary mode.
    fn cut(&mut self, mut bytes: Buffer, len: usize) -> Data {
        if bytes.len() <= len {
            return Data::new(Incoming::of(MessageKind::Binary, bytes));
        }
        let first = bytes.split_to(len);
        self.rest = bytes;
        Data::new(Incoming::of(MessageKind::Binary, first))
    }

    /// Sends a request that uses the lease.
    async fn call(&self, request: &Request, twice: Twice) -> Result<Answer, ClientError> {
        let _turn = match &self.renewal {
            Some(renewal) => Some(renewal.turn().await),
            None => None,
        };
        let started = Instant::now();
        loop {
            match self.client.call(request, twice).await {
                // An earlier verb of ours, whose future was dropped, may reach the server only now
                // and come between. Whoever has lost the lease is told so again.
                Err(error) if is_doubtful(&error) && started.elapsed() < SETTLE_MAX => {
                    sleep(SETTLE_PAUSE).await;
                }
                answer => return answer,
            }
        }
    }

    /// Whether the last [`read`](Self::read) reached the end of its message; `true` before the
    /// first one (`AtEnd`).
    pub fn at_end(&self) -> bool {
        self.is_message_end && self.rest.is_empty()
    }

    /// Sends one message. Waits for a slow peer.
    ///
    /// # Errors
    ///
    /// [`WriteError`]. After [`ClientError::Lost`] the message may have been sent: it is not sent
    /// again here, because twice would be wrong.
    pub async fn write<'m>(&mut self, message: impl Into<Message<'m>>) -> Result<(), WriteError> {
        let Message { kind, payload } = message.into();
        let (kind, body) = (self.kind_of(kind), bytes_of(payload));
        let mut request = write_request(&self.id, Some(self.fence), kind, body, Duration::ZERO);
        loop {
            match self.call(&request, Twice::Wrong).await.map_err(WriteError::from) {
                Err(WriteError::Full) => {
                    request = patient(&self.id, Some(self.fence), kind, request)
                }
                written => return written.map(drop),
            }
        }
    }

    /// Sends one message if there is room for it, without waiting for the peer.
    ///
    /// # Errors
    ///
    /// [`WriteError::Full`], and those of [`write`](Self::write).
    pub async fn try_write<'m>(
        &mut self,
        message: impl Into<Message<'m>>,
    ) -> Result<(), WriteError> {
        let Message { kind, payload } = message.into();
        let (kind, body) = (self.kind_of(kind), bytes_of(payload));
        let request = write_request(&self.id, Some(self.fence), kind, body, Duration::ZERO);
        Ok(self.call(&request, Twice::Wrong).await.map(drop)?)
    }

    fn kind_of(&self, kind: MessageKind) -> MessageKind {
        if self.binary_data { MessageKind::Binary } else { kind }
    }

    /// Ends the conversation with 1000 (`EndServer()`).
    ///
    /// # Errors
    ///
    /// [`ClientError`], unless the conversation is over already.
    pub async fn end_server(self) -> Result<(), ClientError> {
        self.close(CloseCode::NORMAL, "").await
    }

    /// Ends the conversation with this code, which must be one that may be sent, and this reason,
    /// which is cut at 123 bytes.
    ///
    /// # Errors
    ///
    /// [`ClientError`], unless the conversation is over already.
    pub async fn close(mut self, code: CloseCode, reason: &str) -> Result<(), ClientError> {
        let reason = &reason[..reason.floor_char_boundary(CLOSE_REASON_BYTES_MAX)];
        let closed = self.client.close_socket(&self.id, code, reason).await;
        self.is_over = true;
        match closed {
            Ok(()) | Err(OpenError::Expired | OpenError::Unknown) => Ok(()),
            Err(OpenError::Client(error)) => Err(error),
            Err(other) => Err(ClientError::Strange(other.to_string())),
        }
    }

    /// Gives the socket back, open, for somebody else; what was read is acknowledged. What a `read`
    /// may have taken whose future was dropped, or whose answer was lost, is not: it is the next to
    /// be read.
    ///
    /// # Errors
    ///
    /// [`ClientError`], unless the lease or the conversation is over already.
    pub async fn release(mut self) -> Result<(), ClientError> {
        // The look acknowledges what did arrive, and what it gives goes back.
        let has_more =
            self.is_in_doubt && self.poll(READ_LEN_DEFAULT, Duration::ZERO).await.is_ok();
        let ended = self.end_lease(!has_more).await;
        self.is_over = true;
        ended
    }

    /// Gives the socket back, open, for somebody else; what the last `read` has given is not
    /// acknowledged, and the next to be read again. What a drop does as well, for who wants to know
    /// that it is done.
    ///
    /// # Errors
    ///
    /// As of [`release`](Self::release).
    pub async fn give_back(mut self) -> Result<(), ClientError> {
        let ended = self.end_lease(false).await;
        self.is_over = true;
        ended
    }

    async fn end_lease(&self, acknowledges: bool) -> Result<(), ClientError> {
        let _turn = match &self.renewal {
            Some(renewal) => Some(renewal.turn().await),
            None => None,
        };
        match self.client.call(&self.release_request(acknowledges), Twice::Harmless).await {
            // Perhaps by the first of two requests.
            Err(error)
                if matches!(error.code(), "fenced" | "closed" | "expired" | "unknown_id") =>
            {
                Ok(())
            }
            released => released.map(drop),
        }
    }

    fn release_request(&self, acknowledges: bool) -> Request {
        let target = Target::of_socket(&self.id, "release").with("fence", Some(self.fence));
        post(target.with("ack", (!acknowledges).then_some(false)))
    }

    /// Whether everything is written as binary, and text read as bytes. Default: no
    /// (`BinaryData`).
    pub fn binary_data(&self) -> bool {
        self.binary_data
    }

    /// Sets [`binary_data`](Self::binary_data).
    pub fn set_binary_data(&mut self, binary_data: bool) {
        self.binary_data = binary_data;
    }

    /// The id of this socket (`WebSocketID`).
    pub fn websocket_id(&self) -> &str {
        &self.id
    }

    /// The session of this socket, where it has one (`SessionId`).
    pub fn session_id(&self) -> Option<&str> {
        self.session_id.as_deref()
    }

    /// Always: only a shared socket can be opened from elsewhere (`SharedConnection`).
    pub fn shared_connection(&self) -> bool {
        true
    }

    /// Who the peer is, where the server knows it.
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        self.peer
    }

    /// The number of the lease: a later one has a larger one.
    pub fn fence(&self) -> u64 {
        self.fence
    }
}

impl Drop for RemoteSocket {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let (client, request) = (self.client.clone(), self.release_request(false));
        self.runtime.spawn(async move {
            // Nobody is there to be told; the lease ends by itself as well.
            let _ = client.call(&request, Twice::Harmless).await;
        });
    }
}

fn is_doubtful(error: &ClientError) -> bool {
    matches!(error.code(), "busy" | "fenced")
}

/// What the header fields of a `read` say.
struct Piece {
    kind: MessageKind,
    number: u64,
    is_message_end: bool,
}

fn piece_of(answer: &Answer) -> Result<Piece, ClientError> {
    let field = |name: &str| {
        let value = answer.headers.get(name).and_then(|value| value.to_str().ok());
        value.ok_or_else(|| ClientError::Strange(format!("a read without {name}")))
    };
    let number = field("ringwire-message")?.parse();
    let number = number.map_err(|_| ClientError::Strange("a piece without a number".into()))?;
    let kind = match field(CONTENT_TYPE.as_str())?.starts_with("text/plain") {
        true => MessageKind::Text,
        false => MessageKind::Binary,
    };
    Ok(Piece { kind, number, is_message_end: field("ringwire-at-end")? == "true" })
}
