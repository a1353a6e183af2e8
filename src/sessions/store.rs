//! Where sessions are kept: what a store must be able to do. Implemented here and by applications;
//! called through the keeper alone.

use super::id::SessionId;
use super::record::SessionRecord;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Keeps sessions by id. The keeper in memory is [`MemoryStore`](super::MemoryStore); behind the
/// feature `redis` there is one that other processes share.
///
/// A call may wait but must not block its thread: it runs on the engine's tokio runtime, with a time
/// limit of [`SESSION_STORE_TIMEOUT`](crate::proto::limits::SESSION_STORE_TIMEOUT). A session that
/// has expired is one that is not there.
pub trait SessionStore: Send + Sync + 'static {
    /// Whether every call is ready at once, so that it may run on the thread of a shard. Default:
    /// no.
    fn is_immediate(&self) -> bool {
        false
    }

    /// Adds a session, to expire after `lifetime`.
    fn create(&self, id: SessionId, record: SessionRecord, lifetime: Duration)
    -> StoreCall<'_, ()>;

    /// Reads a session and lets it live for another `lifetime`; `None` if there is none.
    fn load(&self, id: SessionId, lifetime: Duration) -> StoreCall<'_, Option<SessionRecord>>;

    /// Puts `after` in the place of `before`, and lets the session live for another `lifetime`;
    /// does nothing if the values are not those of `before` any more, and says what they are: who
    /// was late then asks once where the next one asks twice, and is first the next time.
    fn replace(
        &self,
        id: SessionId,
        before: SessionRecord,
        after: SessionRecord,
        lifetime: Duration,
    ) -> StoreCall<'_, Replaced>;

    /// Gives a session another id and takes its `rotation_due` back; `false` if there is none. Of
    /// two at the same time one succeeds.
    fn rename(&self, old: SessionId, new: SessionId, lifetime: Duration) -> StoreCall<'_, bool>;

    /// Ends a session; `false` if there was none.
    fn remove(&self, id: SessionId) -> StoreCall<'_, bool>;

    /// Which of these, at most 1,000, are not there. Asked every second about the sessions that
    /// have open WebSockets.
    fn missing(&self, ids: Vec<SessionId>) -> StoreCall<'_, Vec<SessionId>>;

    /// The same, and lets the others live for another `lifetime`.
    fn extend(&self, ids: Vec<SessionId>, lifetime: Duration) -> StoreCall<'_, Vec<SessionId>>;

    /// What time it is, in seconds since 1970, for [`SessionRecord::created_unix_s`]: by one clock
    /// for all who share the store, so that it does not matter whose own is wrong. Default: the clock
    /// of this host.
    fn unix_s(&self) -> StoreCall<'_, u64> {
        StoreCall::ready(Ok(host_unix_s()))
    }
}

/// What the clock of this host says; never 0, which stands for what nobody knows.
pub(super) fn host_unix_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |time| time.as_secs().max(1))
}

/// A store that something else holds on to as well.
impl<S: SessionStore + ?Sized> SessionStore for Arc<S> {
    fn is_immediate(&self) -> bool {
        (**self).is_immediate()
    }

    fn create(
        &self,
        id: SessionId,
        record: SessionRecord,
        lifetime: Duration,
    ) -> StoreCall<'_, ()> {
        (**self).create(id, record, lifetime)
    }

    fn load(&self, id: SessionId, lifetime: Duration) -> StoreCall<'_, Option<SessionRecord>> {
        (**self).load(id, lifetime)
    }

    fn replace(
        &self,
        id: SessionId,
        before: SessionRecord,
        after: SessionRecord,
        lifetime: Duration,
    ) -> StoreCall<'_, Replaced> {
        (**self).replace(id, before, after, lifetime)
    }

    fn rename(&self, old: SessionId, new: SessionId, lifetime: Duration) -> StoreCall<'_, bool> {
        (**self).rename(old, new, lifetime)
    }

    fn remove(&self, id: SessionId) -> StoreCall<'_, bool> {
        (**self).remove(id)
    }

    fn missing(&self, ids: Vec<SessionId>) -> StoreCall<'_, Vec<SessionId>> {
        (**self).missing(ids)
    }

    fn extend(&self, ids: Vec<SessionId>, lifetime: Duration) -> StoreCall<'_, Vec<SessionId>> {
        (**self).extend(ids, lifetime)
    }

    fn unix_s(&self) -> StoreCall<'_, u64> {
        (**self).unix_s()
    }
}

/// What became of a [`SessionStore::replace`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replaced {
    /// It is done.
    Done,
    /// The values have changed meanwhile, and the session is this.
    Conflict(SessionRecord),
    /// There is no such session.
    Missing,
}

/// The answer of a store, when it comes.
pub struct StoreCall<'a, T>(Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>);

impl<'a, T> StoreCall<'a, T> {
    /// From an `async` block.
    pub fn new(call: impl Future<Output = Result<T, StoreError>> + Send + 'a) -> Self {
        Self(Box::pin(call))
    }
}

impl<'a, T: Send + 'a> StoreCall<'a, T> {
    /// An answer that is there already.
    pub fn ready(answer: Result<T, StoreError>) -> Self {
        Self::new(std::future::ready(answer))
    }
}

impl<T> Future for StoreCall<'_, T> {
    type Output = Result<T, StoreError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(context)
    }
}

/// A store that did not answer, or has no room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreError(Box<str>);

impl StoreError {
    /// With cause and remedy on one line. It is logged and told to the handler, never to the peer.
    pub fn new(cause: impl Into<Box<str>>) -> Self {
        Self(cause.into())
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "session store: {}", self.0)
    }
}

impl std::error::Error for StoreError {}
