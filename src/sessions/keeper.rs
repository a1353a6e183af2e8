//! Admits WebSockets to sessions, rotates them, revokes them.
//!
//! Owns the store, the register of open WebSockets and the rules between the two. The API calls it
//! at handshakes and for a handler's verbs, the control plane to revoke. A store may take its time,
//! so it is asked on the runtime beside the shards unless it answers at once.

use super::cookie::set_cookie;
use super::id::{SessionId, Token};
use super::live::{Changing, Crowded, Live, Place, SocketKey};
use super::memory::MemoryStore;
use super::record::SessionRecord;
use super::settings::SessionSettings;
use super::store::{SessionStore, StoreCall, StoreError};
use super::visit::{Visit, VisitError};
use crate::proto::limits::SESSION_STORE_TIMEOUT;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// Between two reports of failures.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// Keeps the sessions of an engine. One for all its shards.
pub(crate) struct SessionKeeper {
    pub(super) settings: SessionSettings,
    pub(super) store: Arc<dyn SessionStore>,
    pub(super) live: Live,
    /// What a running engine has given it.
    started: OnceLock<Started>,
    /// When a failure was last reported.
    reported: Mutex<Option<Instant>>,
}

struct Started {
    runtime: tokio::runtime::Handle,
    /// Closes a socket with 1008 and this reason, from any thread.
    close: Box<dyn Fn(SocketKey, &'static str) + Send + Sync>,
}

/// A WebSocket that may open, with its session.
pub(crate) struct Admission {
    pub(crate) visit: Arc<Visit>,
    /// The session was made for it.
    is_new: bool,
    rotation_due: bool,
    cookie: Option<String>,
}

/// Why a WebSocket got no session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NotAdmitted {
    /// The store failed.
    Store(StoreError),
    /// The session has as many WebSockets as it may.
    Crowded,
    /// The session was ended or given another cookie meanwhile.
    Revoked,
}

impl From<StoreError> for NotAdmitted {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl SessionKeeper {
    /// Keeps sessions in `store`, or in memory.
    pub(crate) fn new(settings: SessionSettings, store: Option<Arc<dyn SessionStore>>) -> Self {
        let in_memory = || Arc::new(MemoryStore::new(settings.sessions_max)) as _;
        let store = store.unwrap_or_else(in_memory);
        Self {
            settings,
            store,
            live: Live::default(),
            started: OnceLock::new(),
            reported: Mutex::new(None),
        }
    }

    /// The engine runs: calls of the store that wait go to `runtime`, and sockets can be closed.
    pub(crate) fn start(
        self: &Arc<Self>,
        runtime: &tokio::runtime::Handle,
        close: impl Fn(SocketKey, &'static str) + Send + Sync + 'static,
    ) {
        let started = Started { runtime: runtime.clone(), close: Box::new(close) };
        if self.started.set(started).is_ok() {
            runtime.spawn(super::watch::watch(Arc::downgrade(self)));
        }
    }

    /// The name of the cookie as browsers know it.
    pub(crate) fn cookie_name(&self) -> String {
        self.settings.full_cookie_name()
    }

    /// The session of this cookie, or a new one. A cookie that the store does not know is never
    /// made a session: what somebody has planted in a browser stays worthless.
    pub(crate) async fn admit(
        self: &Arc<Self>,
        cookie: Option<&str>,
        socket: SocketKey,
    ) -> Result<Admission, NotAdmitted> {
        if let Some(token) = cookie.and_then(Token::parse)
            && let Some(admission) = self.admit_known(token, socket).await?
        {
            return Ok(admission);
        }
        let token = new_token()?;
        // The store hears of it with its first value: until then there is nothing to be kept, and
        // whoever comes without a cookie takes nobody's place.
        let end = self.end_of(Duration::ZERO);
        let sockets_max = self.settings.session_sockets_max;
        let joined = self.live.join(token.id(), end, false, socket, sockets_max);
        let visit = self.visit(joined, socket)?;
        let cookie = Some(set_cookie(&self.settings, &token));
        Ok(Admission { visit, is_new: true, rotation_due: false, cookie })
    }

    /// The session of this token, if there is one: in the store, or here without values.
    async fn admit_known(
        self: &Arc<Self>,
        token: Token,
        socket: SocketKey,
    ) -> Result<Option<Admission>, NotAdmitted> {
        let (id, lifetime) = (token.id(), self.settings.lifetime);
        let load = self.ask(move |store| {
            StoreCall::new(
                async move { tokio::try_join!(store.load(id, lifetime), store.unix_s()) },
            )
        });
        let (loaded, now_unix_s) = load.await?;
        let sockets_max = self.settings.session_sockets_max;
        let joined = match &loaded {
            Some(record) => match self.judge(id, record, now_unix_s).await? {
                Some(end) => self.live.join(id, end, true, socket, sockets_max),
                None => return Ok(None),
            },
            None => match self.live.join_unstored(id, socket, sockets_max) {
                Some(joined) => joined,
                None => return Ok(None),
            },
        };
        let visit = self.visit(joined, socket)?;
        let rotation_due = match loaded {
            Some(record) => record.rotation_due,
            None => visit.place().rotation_due(),
        };
        // The browser forgets the cookie at an age counted from its last arrival.
        let again = self.settings.cookie_max_age.is_some();
        let cookie = again.then(|| set_cookie(&self.settings, &token));
        Ok(Some(Admission { visit, is_new: false, rotation_due, cookie }))
    }

    fn visit(
        self: &Arc<Self>,
        joined: Result<Arc<Place>, Crowded>,
        socket: SocketKey,
    ) -> Result<Arc<Visit>, NotAdmitted> {
        let place = joined.map_err(|Crowded| NotAdmitted::Crowded)?;
        Ok(Arc::new(Visit::new(Arc::clone(self), socket, place)))
    }

    /// The handler has agreed: the `Set-Cookie` of the answer, if there is one. `rotate`: the
    /// session gets a new id and a new cookie, keeps its values, and its other WebSockets, opened
    /// with the cookie that is worthless now, are closed.
    pub(crate) async fn conclude(
        &self,
        admission: &mut Admission,
        rotate: bool,
    ) -> Result<Option<String>, NotAdmitted> {
        let visit = &admission.visit;
        // A new session has a new cookie already.
        if (rotate || admission.rotation_due) && !admission.is_new {
            admission.cookie = Some(self.rotate(visit).await?);
        }
        if visit.is_revoked() {
            return Err(NotAdmitted::Revoked);
        }
        Ok(admission.cookie.take())
    }

    async fn rotate(&self, visit: &Visit) -> Result<String, NotAdmitted> {
        let token = new_token()?;
        let place = visit.place();
        let (old, new) = (place.id, token.id());
        let lifetime = place.end.cut(self.settings.lifetime);
        let _turn = place.turn.lock().await;
        let changing = Changing::begin(Arc::clone(&place));
        if place.is_revoked() {
            return Err(NotAdmitted::Revoked);
        }
        let renamed = self.ask(move |store| store.rename(old, new, lifetime)).await?;
        if renamed {
            place.set_stored();
        }
        if place.is_revoked() && renamed {
            self.ask(move |store| store.remove(new)).await?;
        }
        if place.is_revoked() || place.is_stored() != renamed {
            return Err(NotAdmitted::Revoked);
        }
        let (moved, others) = self.live.rotate(&place, new, visit.socket);
        visit.move_to(moved);
        drop(changing);
        self.close(&others, "the session has a new cookie");
        Ok(set_cookie(&self.settings, &token))
    }

    /// The handler has refused: a session made for this WebSocket has no cookie anywhere.
    pub(crate) fn discard(&self, admission: &Admission) {
        if !admission.is_new {
            return;
        }
        let place = admission.visit.place();
        // First, so that who is about to store it sees that it is no more.
        self.live.revoke(place.id);
        if !place.is_stored() {
            return;
        }
        let (id, store) = (place.id, Arc::clone(&self.store));
        let remove = async move { drop(store.remove(id).await) };
        // What cannot be removed expires.
        if let Some(started) = self.started.get() {
            started.runtime.spawn(remove);
        }
    }

    /// Adds a session that has values now to the store.
    pub(super) async fn store_first(
        &self,
        place: &Place,
        record: SessionRecord,
        lifetime: Duration,
    ) -> Result<(), VisitError> {
        let (id, age_s) = (place.id, place.age().as_secs());
        let create = move |now_unix_s: u64| SessionRecord {
            created_unix_s: now_unix_s.saturating_sub(age_s).max(1),
            ..record
        };
        self.ask(move |store| {
            StoreCall::new(async move {
                let record = create(store.unix_s().await?);
                store.create(id, record, lifetime).await
            })
        })
        .await?;
        place.set_stored();
        if place.is_revoked() {
            self.ask(move |store| store.remove(id)).await?;
            return Err(VisitError::Gone);
        }
        Ok(())
    }

    /// Ends a session: its WebSockets in this process are closed with 1008 now, those of others
    /// when they look. How many were closed here; `None` if there was no such session.
    pub(crate) async fn revoke(&self, id: SessionId) -> Result<Option<usize>, StoreError> {
        let is_live = self.live.place(id).is_some();
        let (removed, closed) = self.remove_and_end(id, "the session was revoked").await;
        Ok((removed? || is_live).then_some(closed))
    }

    /// Removes a session from the store and closes its WebSockets here; how many those were. They
    /// are closed when the store fails as well: better here than nowhere.
    pub(super) async fn remove_and_end(
        &self,
        id: SessionId,
        reason: &'static str,
    ) -> (Result<bool, StoreError>, usize) {
        let place = self.live.place(id);
        if let Some(place) = &place {
            place.set_revoked();
        }
        let _changing = place.map(Changing::begin);
        let removed = self.ask(move |store| store.remove(id)).await;
        (removed, self.end(id, reason))
    }

    /// The session is no more: closes its WebSockets here.
    pub(super) fn end(&self, id: SessionId, reason: &'static str) -> usize {
        let sockets = self.live.revoke(id);
        self.close(&sockets, reason);
        sockets.len()
    }

    fn close(&self, sockets: &[SocketKey], reason: &'static str) {
        if let Some(started) = self.started.get() {
            sockets.iter().for_each(|socket| (started.close)(*socket, reason));
        }
    }

    /// Reports a failure of the store, not more than once a second however many ask.
    pub(crate) fn report(&self, error: &StoreError) {
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        if reported.is_none_or(|at| at.elapsed() >= REPORT_INTERVAL) {
            *reported = Some(Instant::now());
            tracing::warn!(%error, "handshakes are refused for want of a session");
        }
    }

    /// Asks the store: at once if it always answers at once, otherwise on the runtime, with a time
    /// limit.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        call: impl for<'s> FnOnce(&'s dyn SessionStore) -> StoreCall<'s, T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let Some(started) = self.started.get().filter(|_| !self.store.is_immediate()) else {
            return call(&*self.store).await;
        };
        let store = Arc::clone(&self.store);
        let answer = started
            .runtime
            .spawn(async move { tokio::time::timeout(SESSION_STORE_TIMEOUT, call(&*store)).await });
        match answer.await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(StoreError::new(format!(
                "no answer within {} s; is it up and reachable?",
                SESSION_STORE_TIMEOUT.as_secs()
            ))),
            Err(_) => Err(StoreError::new("it has panicked, or the engine has ended")),
        }
    }
}

fn new_token() -> Result<Token, StoreError> {
    Token::new()
        .map_err(|error| StoreError::new(format!("no random numbers: {error}; allow getrandom(2)")))
}
