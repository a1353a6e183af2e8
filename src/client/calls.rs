//! The requests of the control plane that need no lease, and how any request is repeated. The verbs
//! of [`socket`](super::socket) and the renewal go through here as well.

use super::connect::Client;
use super::errors::{ClientError, OpenError, WriteError};
use super::info::{SocketInfo, SocketPage, Status};
use super::query::{SocketQuery, Target};
use super::socket::RemoteSocket;
use super::transport::{Answer, Broken, Request, Transport, content_type};
use crate::api::Message;
use crate::engine::Payload;
use crate::proto::{CloseCode, MessageKind};
use crate::ring::Buffer;
use hyper::Method;
use hyper::body::Bytes;
use hyper::header::{HeaderName, HeaderValue};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// For an answer that does not wait for a peer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// How long the server lets one `write` wait for its peer, and we for its answer.
const WRITE_WAIT: Duration = Duration::from_secs(10);

const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);

pub(super) struct Inner {
    pub(super) transport: Transport,
    pub(super) retry_for: Duration,
}

/// Whether a request may be sent again when its answer was lost.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Twice {
    Harmless,
    Wrong,
}

/// How `open_server_with` is to open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenOptions {
    /// Whether to take the socket from whoever holds it. Default: no.
    pub steal: bool,
    /// Whether the lease is kept while no verb is called, until the socket is released or dropped.
    /// Otherwise 30 s without a verb end it. Default: yes.
    pub keep: bool,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self { steal: false, keep: true }
    }
}

impl Client {
    /// Takes a shared WebSocket over, which nobody else may hold (`OpenServer`).
    ///
    /// # Errors
    ///
    /// [`OpenError`].
    pub async fn open_server(&self, id: &str) -> Result<RemoteSocket, OpenError> {
        self.open_server_with(id, OpenOptions::default()).await
    }

    /// Takes a shared WebSocket over, perhaps from somebody else.
    ///
    /// # Errors
    ///
    /// [`OpenError`].
    pub async fn open_server_with(
        &self,
        id: &str,
        options: OpenOptions,
    ) -> Result<RemoteSocket, OpenError> {
        #[derive(Deserialize)]
        struct Opened {
            fence: u64,
            lease_ms: u64,
            websocket: SocketInfo,
        }
        let target = Target::of_socket(id, "open").with("steal", options.steal.then_some(true));
        let request = Request { header: Some(attempt()), ..post(target) };
        let answer = self.call(&request, Twice::Harmless).await?;
        let Opened { fence, lease_ms, websocket } = json(&answer)?;
        let lease = options.keep.then(|| Duration::from_millis(lease_ms));
        Ok(RemoteSocket::new(self.clone(), id, fence, lease, &websocket))
    }

    /// Sends one message without holding the socket. Waits for a slow peer.
    ///
    /// # Errors
    ///
    /// [`WriteError`]. After [`ClientError::Lost`] the message may have been sent.
    pub async fn write_to<'m>(
        &self,
        id: &str,
        message: impl Into<Message<'m>>,
    ) -> Result<(), WriteError> {
        let Message { kind, payload } = message.into();
        let mut request = write_request(id, None, kind, bytes_of(payload), Duration::ZERO);
        loop {
            let written = self.call(&request, Twice::Wrong).await;
            match written.map_err(|error| match error.code() {
                // Nobody has held it, so it may never have been.
                "unknown_id" => WriteError::Unknown,
                _ => error.into(),
            }) {
                Err(WriteError::Full) => request = patient(id, None, kind, request),
                written => return written.map(drop),
            }
        }
    }

    /// Begins the closing handshake of any WebSocket, a dedicated one as well, with a code that
    /// may be sent and a reason of at most 123 bytes.
    ///
    /// # Errors
    ///
    /// [`OpenError::Unknown`], [`OpenError::Expired`], [`OpenError::Client`].
    pub async fn close_socket(
        &self,
        id: &str,
        code: CloseCode,
        reason: &str,
    ) -> Result<(), OpenError> {
        let reason = Some(reason).filter(|reason| !reason.is_empty());
        let target = Target::of_socket(id, "").with("code", Some(code)).with("reason", reason);
        let request = Request { method: Method::DELETE, ..post(target) };
        self.call(&request, Twice::Harmless).await?;
        Ok(())
    }

    /// Cuts any WebSocket off at once, without a closing handshake (1006).
    ///
    /// # Errors
    ///
    /// [`OpenError::Unknown`], [`OpenError::Expired`], [`OpenError::Client`].
    pub async fn interrupt(&self, id: &str) -> Result<(), OpenError> {
        self.call(&post(Target::of_socket(id, "interrupt")), Twice::Harmless).await?;
        Ok(())
    }

    /// Revokes a session: its WebSockets are closed with 1008. How many.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn revoke_session(&self, session_id: &str) -> Result<u64, ClientError> {
        #[derive(Deserialize)]
        struct Revoked {
            closed: u64,
        }
        let target = Target::of_session(session_id, "revoke");
        let Revoked { closed } = json(&self.call(&post(target), Twice::Harmless).await?)?;
        Ok(closed)
    }

    /// One WebSocket.
    ///
    /// # Errors
    ///
    /// [`OpenError::Unknown`], [`OpenError::Expired`], [`OpenError::Client`].
    pub async fn socket(&self, id: &str) -> Result<SocketInfo, OpenError> {
        Ok(self.get(Target::of_socket(id, "").finish()).await?)
    }

    /// A page of the list of WebSockets.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn sockets(&self, query: &SocketQuery) -> Result<SocketPage, ClientError> {
        self.get(query.target()).await
    }

    /// The state of the server.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn status(&self) -> Result<Status, ClientError> {
        self.get("/v1/status".into()).await
    }

    async fn get<T: DeserializeOwned>(&self, target: String) -> Result<T, ClientError> {
        let request = Request { method: Method::GET, target, ..post(Target::new("")) };
        json(&self.call(&request, Twice::Harmless).await?)
    }

    /// Asks until there is an answer that is not a passing refusal, or the time is up.
    pub(super) async fn call(
        &self,
        request: &Request,
        twice: Twice,
    ) -> Result<Answer, ClientError> {
        let started = Instant::now();
        let mut pause = PAUSE_MIN;
        loop {
            let failure = match self.inner.transport.exchange(request).await {
                Ok(answer) if answer.status.is_success() => return Ok(answer),
                Ok(answer) => match ClientError::of(&answer) {
                    refused if !refused.is_momentary() => return Err(refused),
                    refused => refused,
                },
                Err(broken @ Broken::Lost(_)) if twice == Twice::Wrong => return Err(broken.into()),
                Err(broken) => broken.into(),
            };
            let wait = pause.max(failure.retry_after());
            if started.elapsed() + wait > self.inner.retry_for {
                return Err(failure);
            }
            sleep(wait).await;
            pause = (2 * pause).min(PAUSE_MAX);
        }
    }
}

/// The name of an attempt, by which the server knows the second of two requests.
fn attempt() -> (HeaderName, HeaderValue) {
    // Keys that differ from call to call, in this process and in others.
    let [high, low] = [0, 1].map(|word| RandomState::new().hash_one(word));
    let name = format!("{high:016x}{low:016x}");
    // Digits and letters always are a header value.
    let value = HeaderValue::try_from(name).unwrap_or(HeaderValue::from_static("0"));
    (HeaderName::from_static("idempotency-key"), value)
}

/// A POST without a body.
pub(super) fn post(target: Target) -> Request {
    Request {
        method: Method::POST,
        target: target.finish(),
        header: None,
        body: Bytes::new(),
        timeout: ANSWER_TIMEOUT,
        is_poll: false,
    }
}

/// Sends `body` as one message, waiting so long for the peer.
pub(super) fn write_request(
    id: &str,
    fence: Option<u64>,
    kind: MessageKind,
    body: Bytes,
    wait: Duration,
) -> Request {
    let target =
        Target::of_socket(id, "write").with("fence", fence).with("wait_ms", Some(wait.as_millis()));
    let kind = match kind {
        MessageKind::Text => "text/plain; charset=utf-8",
        MessageKind::Binary => "application/octet-stream",
    };
    let timeout = wait + ANSWER_TIMEOUT;
    Request { header: Some(content_type(kind)), body, timeout, ..post(target) }
}

/// The same write, which waits for its peer. At first it did not, so that slow peers do not take
/// the connections of others.
pub(super) fn patient(id: &str, fence: Option<u64>, kind: MessageKind, write: Request) -> Request {
    Request { is_poll: true, ..write_request(id, fence, kind, write.body, WRITE_WAIT) }
}

pub(super) fn bytes_of(payload: Payload<'_>) -> Bytes {
    match payload {
        Payload::Borrowed(bytes) => Bytes::copy_from_slice(bytes),
        Payload::Owned(buffer) => Bytes::from_owner(Owned(buffer)),
    }
}

struct Owned(Buffer);

impl AsRef<[u8]> for Owned {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

pub(super) fn json<T: DeserializeOwned>(answer: &Answer) -> Result<T, ClientError> {
    serde_json::from_slice(&answer.body).map_err(|error| ClientError::Strange(error.to_string()))
}
