//! One WebSocket's hold on its session: what `Session` does with it. The engine keeps it beside the
//! connection and lets it go at its end; the API calls it for the handler.

use super::id::SessionId;
use super::keeper::SessionKeeper;
use super::live::{Place, SocketKey};
use super::record::{SessionRecord, SessionValues};
use super::store::{Replaced, StoreError};
use std::sync::{Arc, Mutex, PoisonError};

/// How often a change is tried again because another process was faster.
const ATTEMPTS_MAX: usize = 32;

/// A WebSocket's membership in its session. Ends when it is dropped or [left](Self::leave).
pub(crate) struct Visit {
    pub(super) keeper: Arc<SessionKeeper>,
    pub(super) socket: SocketKey,
    /// Another one after a rotation.
    place: Mutex<Arc<Place>>,
}

/// Why the values of a session were not changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum VisitError {
    Gone,
    TooLarge,
    ReservedKey,
    Contended,
    Store(StoreError),
}

impl From<StoreError> for VisitError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl Visit {
    pub(super) fn new(keeper: Arc<SessionKeeper>, socket: SocketKey, place: Arc<Place>) -> Self {
        Self { keeper, socket, place: Mutex::new(place) }
    }

    pub(crate) fn id(&self) -> SessionId {
        self.place().id
    }

    pub(super) fn place(&self) -> Arc<Place> {
        Arc::clone(&self.place.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn move_to(&self, place: Arc<Place>) {
        *self.place.lock().unwrap_or_else(PoisonError::into_inner) = place;
    }

    /// Whether the session was revoked, or has ended.
    pub(crate) fn is_revoked(&self) -> bool {
        self.place().is_revoked()
    }

    /// The socket is gone.
    pub(crate) fn leave(&self) {
        self.keeper.live.leave(self.id(), self.socket);
    }

    /// Lets `change` see and change the values, alone among all that do: what it was given is what
    /// is there when its changes are put in. It runs again if another process has changed them
    /// meanwhile.
    pub(crate) async fn with<R>(
        &self,
        mut change: impl FnMut(&mut SessionValues) -> R,
    ) -> Result<R, VisitError> {
        let bytes_max = self.keeper.settings.session_bytes_max;
        self.update(|record| {
            let result = change(&mut record.values);
            if record.values.has_reserved() {
                return Err(VisitError::ReservedKey);
            }
            Ok((result, record.values.fits(bytes_max)))
        })
        .await
    }

    /// Has the next handshake give the session another cookie.
    pub(crate) async fn rotate_later(&self) -> Result<(), VisitError> {
        self.update(|record| {
            record.rotation_due = true;
            Ok(((), true))
        })
        .await
    }

    /// Reads, lets `change` change, and puts back what it has changed. Its answer is the result, and
    /// whether the record fits.
    async fn update<R>(
        &self,
        mut change: impl FnMut(&mut SessionRecord) -> Result<(R, bool), VisitError>,
    ) -> Result<R, VisitError> {
        let keeper = &self.keeper;
        let place = self.place();
        let lifetime = place.end.cut(keeper.settings.lifetime);
        let _turn = place.turn.lock().await;
        let id = place.id;
        // What a conflict has told.
        let mut known = None;
        for _ in 0..ATTEMPTS_MAX {
            if place.is_revoked() || place.end.is_over() {
                return Err(VisitError::Gone);
            }
            let before = match known.take() {
                Some(record) => record,
                None => match keeper.ask(move |store| store.load(id, lifetime)).await? {
                    Some(record) => {
                        // By another process, perhaps.
                        place.set_stored();
                        record
                    }
                    None if !place.is_stored() => place.unwritten(),
                    None => return Err(VisitError::Gone),
                },
            };
            let mut after = before.clone();
            let (result, fits) = change(&mut after)?;
            if after == before {
                return Ok(result);
            }
            if !fits {
                return Err(VisitError::TooLarge);
            }
            if !place.is_stored() {
                match after.values.is_empty() {
                    true => place.set_rotation_due(after.rotation_due),
                    false => keeper.store_first(&place, after, lifetime).await?,
                }
                return Ok(result);
            }
            let replace = keeper.ask(move |store| store.replace(id, before, after, lifetime));
            match replace.await? {
                Replaced::Done => return Ok(result),
                Replaced::Conflict(now) => known = Some(now),
                Replaced::Missing => return Err(VisitError::Gone),
            }
        }
        Err(VisitError::Contended)
    }

    /// Ends the session, and closes all its WebSockets in this process now, in others soon.
    pub(crate) async fn revoke(&self) -> Result<usize, StoreError> {
        self.keeper.revoke(self.id()).await.map(|closed| closed.unwrap_or(0))
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.leave();
    }
}
