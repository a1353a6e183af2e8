//! The handle by which any thread reaches a running engine. Thin over the engine's reach; the
//! control plane has no other way to a connection.

use super::data::Message;
use super::session::RevokeError;
use super::shared::{OpenError, OpenOptions, OpenOrWriteError, SharedSocket};
use crate::engine::{
    EngineStatus, EventFilter, EventId, EventStream, Outgoing, Reach, ReachFailure,
    SimulatedEngine, SocketInfo, SocketPage, SocketQuery,
};
use crate::proto::CloseCode;
use crate::sessions::{SessionKeeper, SessionSettings};
use std::sync::Arc;

/// Reaches a running engine from any thread, under any executor. Cheap to clone. When the engine
/// has ended, no id is known any more.
#[derive(Clone)]
pub struct EngineHandle {
    reach: Arc<Reach>,
    sessions: Arc<SessionKeeper>,
}

impl EngineHandle {
    pub(super) fn new(reach: Arc<Reach>, sessions: Arc<SessionKeeper>) -> Self {
        Self { reach, sessions }
    }

    /// Reaches a simulated engine, from the thread that turns it, and none of its sessions; for
    /// tests.
    #[doc(hidden)]
    pub fn of_simulated(engine: &SimulatedEngine) -> Self {
        Self::new(engine.reach(), Arc::new(SessionKeeper::new(SessionSettings::default(), None)))
    }

    /// Reaches a simulated engine that nobody turns; for tests of what does not wait for a shard.
    #[cfg(test)]
    pub(crate) fn of_idle() -> (SimulatedEngine, Self) {
        use crate::ring::sim::{SimOptions, SimRing};
        let engine = crate::Engine::builder().simulate(SimRing::new(1, SimOptions::default()));
        let handle = Self::of_simulated(&engine);
        (engine, handle)
    }

    /// Ends the engine in order: nothing more is accepted, every WebSocket gets a Close frame
    /// (1001), spread over `drain_spread`, and what is left after `drain` is cut
    /// ([`Timeouts`](crate::Timeouts)). Does not wait, see [`Engine::join`](super::Engine::join).
    pub fn drain(&self) {
        self.reach.drain();
    }

    /// Says from now on that the engine [is not ready](Self::is_ready), and goes on as before: what a
    /// load balancer should see some time before a [drain](Self::drain).
    pub fn leave(&self) {
        self.reach.leave();
    }

    /// Opens a shared socket by its id, to read and write it from here (`OpenServer(id)`). Nobody
    /// else reads it until the [`SharedSocket`] is dropped.
    ///
    /// # Errors
    ///
    /// [`OpenError`]. A stale id, a forged one and one that never was answer alike, in the same
    /// time.
    pub async fn open_server(&self, id: &str) -> Result<SharedSocket, OpenError> {
        self.open_server_with(id, OpenOptions::default()).await
    }

    /// The same, with options.
    ///
    /// # Errors
    ///
    /// [`OpenError`].
    pub async fn open_server_with(
        &self,
        id: &str,
        options: OpenOptions,
    ) -> Result<SharedSocket, OpenError> {
        let holder = self.reach.open(id, options.into()).await?;
        Ok(SharedSocket::new(holder))
    }

    /// Sends one message to a shared socket, whoever holds it. Waits while the peer does not take
    /// what was written before.
    ///
    /// # Errors
    ///
    /// [`OpenOrWriteError::Open`] with [`OpenError::NotShared`] or [`OpenError::Unknown`],
    /// [`OpenOrWriteError::Closed`], [`OpenOrWriteError::Write`] with `TooLong`.
    pub async fn write_to<'m>(
        &self,
        id: &str,
        message: impl Into<Message<'m>>,
    ) -> Result<(), OpenOrWriteError> {
        self.write(id, message.into(), true).await
    }

    /// The same, without waiting for the peer.
    ///
    /// # Errors
    ///
    /// As [`write_to`](Self::write_to), and [`OpenOrWriteError::Write`] with `Full` above the
    /// high-water mark.
    pub async fn try_write_to<'m>(
        &self,
        id: &str,
        message: impl Into<Message<'m>>,
    ) -> Result<(), OpenOrWriteError> {
        self.write(id, message.into(), false).await
    }

    async fn write(
        &self,
        id: &str,
        message: Message<'_>,
        waits: bool,
    ) -> Result<(), OpenOrWriteError> {
        let Message { kind, payload } = message;
        let message = Outgoing { kind, payload: payload.into_owned() };
        self.reach.write(id, message, waits).await.map_err(|failure| match failure {
            ReachFailure::Open(failure) => OpenOrWriteError::Open(failure.into()),
            ReachFailure::Write(failure) => OpenOrWriteError::Write(failure.into()),
            ReachFailure::Ended(ended) => {
                OpenOrWriteError::Closed { code: ended.code, reason: ended.reason }
            }
        })
    }

    /// Starts the closing handshake of any socket, dedicated ones as well, whoever holds it; a
    /// connection that is not a WebSocket yet is cut. Does not wait for the peer's answer. A code
    /// that may not be sent (RFC 6455 §7.4) is sent as 1000; a reason longer than 123 bytes is cut
    /// at a character.
    ///
    /// # Errors
    ///
    /// [`OpenError::Unknown`].
    pub async fn close_socket(
        &self,
        id: &str,
        code: CloseCode,
        reason: &str,
    ) -> Result<(), OpenError> {
        let code = if code.is_sendable() { code } else { CloseCode::NORMAL };
        Ok(self.reach.close(id, code, reason).await?)
    }

    /// Cuts any socket at once, without a Close frame (1006 to both sides): the peer sees a reset
    /// (on kernels before 6.7, and over a Unix socket, the mere end), and what was not sent yet is
    /// dropped.
    ///
    /// # Errors
    ///
    /// [`OpenError::Unknown`].
    pub async fn interrupt(&self, id: &str) -> Result<(), OpenError> {
        Ok(self.reach.interrupt(id).await?)
    }

    /// What there is to know about any socket.
    ///
    /// # Errors
    ///
    /// [`OpenError::Unknown`], [`OpenError::Expired`].
    pub async fn socket(&self, id: &str) -> Result<SocketInfo, OpenError> {
        Ok(self.reach.look(id).await?)
    }

    /// Lists connections. A shard looks through a few hundred at a time and serves its connections
    /// between; a list that is neither sorted nor filtered looks at no more than it shows.
    pub async fn sockets(&self, query: &SocketQuery) -> SocketPage {
        self.reach.list(query).await
    }

    /// What the engine has counted, and how it is.
    pub async fn status(&self) -> EngineStatus {
        self.reach.status().await
    }

    /// Ends a session, named by its [id](super::Session::id): its cookie is worthless from now on,
    /// and its WebSockets, shared or not, are closed with 1008; those of other processes that share
    /// the store within two seconds. How many were closed in this one.
    ///
    /// # Errors
    ///
    /// [`RevokeError::Unknown`], [`RevokeError::Store`].
    pub async fn revoke_session(&self, id: &str) -> Result<usize, RevokeError> {
        let id = id.parse().map_err(|_| RevokeError::Unknown)?;
        self.sessions.revoke(id).await?.ok_or(RevokeError::Unknown)
    }

    /// Follows what happens to shared sockets: from now on, or after the event `after`, whose
    /// stream this one continues.
    pub fn events(&self, filter: EventFilter, after: Option<EventId>) -> EventStream {
        self.reach.events(filter, after)
    }

    /// Whether an id is one of this run of the engine, be its socket there or gone: nobody has
    /// guessed it.
    pub(crate) fn has_made(&self, id: &str) -> bool {
        self.reach.is_genuine(id)
    }

    /// Whether newcomers are wanted: it is not drained or about to be, and not near its limit of
    /// memory.
    pub fn is_ready(&self) -> bool {
        self.reach.is_ready()
    }

    /// Whether every shard has gone round within the last 2 s, or waits for something to do, or has
    /// ended in a drain.
    pub fn is_healthy(&self) -> bool {
        self.reach.is_healthy()
    }
}
