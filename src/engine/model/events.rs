//! What happens to shared sockets, as a stream that any thread can follow.
//!
//! Shards publish, once a batch; streams read from a bounded history, each at its own pace, so
//! that a slow one holds nobody up: it is told that it has missed something. Dedicated sockets
//! cause no events.

use crate::clock::{Moment, TimeOfDay};
use crate::engine::model::ended::Closer;
use crate::engine::model::foreign;
use crate::proto::CloseCode;
use crate::proto::limits::EVENTS_KEPT_MAX;
use std::collections::VecDeque;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::str::FromStr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// A clock that is off by more than this was set; a batch takes less even where a machine is busy.
const CLOCK_SET_MS: u64 = 5_000;

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event {
    /// Its number, to go on after it.
    pub id: EventId,
    /// What has happened.
    pub kind: EventKind,
    /// To which socket; empty for a gap.
    pub websocket_id: Arc<str>,
    /// The path its route was declared with; for a gap, the route its stream is about, empty for
    /// all.
    pub route: Arc<str>,
    /// The session it belongs to.
    pub session_id: Option<Arc<str>>,
    /// When, in milliseconds since 1970 (UTC), by the clock of the host at that moment.
    pub unix_ms: u64,
    /// How it ended, for [`EventKind::Closed`].
    pub close: Option<Arc<EventClose>>,
}

/// How a socket ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EventClose {
    /// The close code: 1005 if the Close frame carried none, 1006 if there was none.
    pub code: CloseCode,
    /// The reason in the Close frame.
    pub reason: Box<str>,
    /// Who ended it.
    pub by: Closer,
}

/// What can happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EventKind {
    /// A shared socket was opened. A handler that returns from `server` at once has left it by the
    /// time this is told.
    Open,
    /// Nobody holds it, and a `read` of the usual length (32,656) would get something: the first message has
    /// come into its empty mailbox whole, or so much of it, or as much as the mailbox holds; or its
    /// holder has left something there. The beginning of a message alone is not told.
    Readable,
    /// It has ended.
    Closed,
    /// It has ended, and what it had said and nobody had read is given up: its minute is over, or there
    /// is more of that than is [kept](crate::proto::limits::REMAINS_MAX).
    Lost,
    /// Events that the stream should have had are not kept any more. What was missed must be
    /// looked up; it goes on with the oldest that is kept, which is what comes after its id.
    Gap,
}

impl EventKind {
    /// Its name: `open`, `readable`, `closed`, `lost`, `gap`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Readable => "readable",
            Self::Closed => "closed",
            Self::Lost => "lost",
            Self::Gap => "gap",
        }
    }
}

/// Numbers the events of one run of one program. As text: `EPOCH-NUMBER`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EventId {
    epoch: u32,
    number: u64,
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}-{}", self.epoch, self.number)
    }
}

/// A text that is not the id of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is not the id of an event")]
pub struct NoEventId;

impl FromStr for EventId {
    type Err = NoEventId;

    fn from_str(text: &str) -> Result<Self, NoEventId> {
        let (epoch, number) = text.split_once('-').ok_or(NoEventId)?;
        // As it is written, and in no other form that happens to be a number.
        let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let is_written = epoch.len() == 8
            && epoch.bytes().all(is_hex)
            && (1..=19).contains(&number.len())
            && number.bytes().all(|byte| byte.is_ascii_digit());
        if !is_written {
            return Err(NoEventId);
        }
        let epoch = u32::from_str_radix(epoch, 16).map_err(|_| NoEventId)?;
        Ok(Self { epoch, number: number.parse().map_err(|_| NoEventId)? })
    }
}

/// Which events a stream gives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// Those of this route only, by the path it was declared with.
    pub route: Option<String>,
    /// Those of these kinds only; empty, the default: all. Gaps are always told.
    pub kinds: Vec<EventKind>,
}

impl EventFilter {
    fn admits(&self, event: &Event) -> bool {
        (self.kinds.is_empty() || self.kinds.contains(&event.kind))
            && self.route.as_deref().is_none_or(|route| route == &*event.route)
    }
}

/// The events of one engine.
pub(crate) struct Events {
    history: Mutex<History>,
    /// The number of the next event, and `u64::MAX` at the end.
    next: watch::Sender<u64>,
    epoch: u32,
    time_of_day: TimeOfDay,
    /// Shards that have not ended.
    shards: AtomicUsize,
}

struct History {
    events: VecDeque<Event>,
    next: u64,
    /// When the shards' time began, by the clock of the host as it is set now.
    began_unix_ms: u64,
}

impl History {
    /// The times of events lie as far apart as the events do, until somebody sets the clock.
    fn unix_ms(&mut self, host_unix_ms: u64, now: Moment) -> u64 {
        let told = self.began_unix_ms.saturating_add(now.as_millis());
        if told.abs_diff(host_unix_ms) > CLOCK_SET_MS {
            self.began_unix_ms = host_unix_ms.saturating_sub(now.as_millis());
        }
        self.began_unix_ms.saturating_add(now.as_millis())
    }
}

/// An event that has no number yet.
pub(in crate::engine) struct Happened {
    pub(in crate::engine) kind: EventKind,
    pub(in crate::engine) websocket_id: Arc<str>,
    pub(in crate::engine) route: Arc<str>,
    pub(in crate::engine) session_id: Option<Arc<str>>,
    pub(in crate::engine) close: Option<Arc<EventClose>>,
}

impl Events {
    pub(crate) fn new(time_of_day: TimeOfDay, shards: usize) -> Self {
        Self {
            history: Mutex::new(History { events: VecDeque::new(), next: 1, began_unix_ms: 0 }),
            next: watch::Sender::new(1),
            // Of another run with one chance in four billion.
            epoch: RandomState::new().hash_one(0) as u32,
            time_of_day,
            shards: AtomicUsize::new(shards),
        }
    }

    /// Appends what has happened in one batch of one shard.
    pub(in crate::engine) fn publish(&self, happened: &mut Vec<Happened>, now: Moment) {
        let host_unix_ms = self.time_of_day.unix_ms(now);
        let mut history = self.history();
        let unix_ms = history.unix_ms(host_unix_ms, now);
        for Happened { kind, websocket_id, route, session_id, close } in happened.drain(..) {
            if history.events.len() == EVENTS_KEPT_MAX {
                history.events.pop_front();
            }
            let id = EventId { epoch: self.epoch, number: history.next };
            history.next += 1;
            history.events.push_back(Event {
                id,
                kind,
                websocket_id,
                route,
                session_id,
                unix_ms,
                close,
            });
        }
        let next = history.next;
        drop(history);
        self.next.send_if_modified(|known| {
            let later = *known != u64::MAX && *known < next;
            *known = if later { next } else { *known };
            later
        });
    }

    /// A shard has ended. After the last one no event will follow.
    pub(in crate::engine) fn shard_has_ended(&self) {
        if self.shards.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.next.send_replace(u64::MAX);
        }
    }

    /// A stream of what comes after `after`; without it, of what comes from now on.
    pub(crate) fn stream(
        self: &Arc<Self>,
        filter: EventFilter,
        after: Option<EventId>,
    ) -> EventStream {
        let newest = self.history().next;
        let (next, missed) = match after {
            None => (newest, false),
            Some(after) if after.epoch == self.epoch && after.number < newest => {
                (after.number + 1, false)
            }
            // Of another run: nothing of it is known, so everything is new.
            Some(_) => (0, true),
        };
        EventStream {
            events: Arc::clone(self),
            changed: self.next.subscribe(),
            filter,
            next,
            missed,
        }
    }

    fn history(&self) -> MutexGuard<'_, History> {
        // Nothing panics while it holds the lock.
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gives the events of an engine in order.
pub struct EventStream {
    events: Arc<Events>,
    changed: watch::Receiver<u64>,
    filter: EventFilter,
    /// The number of the next event to give, or to pass over.
    next: u64,
    /// What is to come begins with a gap.
    missed: bool,
}

impl EventStream {
    /// The next event; waits for it. `None`: the engine has ended.
    ///
    /// Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            let known = *self.changed.borrow_and_update();
            if let Some(event) = self.try_next() {
                return Some(event);
            }
            if known == u64::MAX || foreign::guard(self.changed.changed()).await.is_err() {
                return None;
            }
        }
    }

    /// What to go on after if this stream ends here: the last event that it gave or passed over, or
    /// the last there was when it began. `None` before a gap that must not be overlooked.
    pub fn position(&self) -> Option<EventId> {
        let number = self.next.saturating_sub(1);
        (!self.missed).then_some(EventId { epoch: self.events.epoch, number })
    }

    /// The next event, if it has happened already.
    pub fn try_next(&mut self) -> Option<Event> {
        let history = self.events.history();
        let oldest = history.next - history.events.len() as u64;
        if self.missed || self.next < oldest {
            self.missed = false;
            self.next = oldest;
            let id = EventId { epoch: self.events.epoch, number: oldest - 1 };
            return Some(Event {
                id,
                kind: EventKind::Gap,
                websocket_id: "".into(),
                route: self.filter.route.as_deref().unwrap_or_default().into(),
                session_id: None,
                unix_ms: 0,
                close: None,
            });
        }
        let passed = usize::try_from(self.next - oldest).unwrap_or(usize::MAX);
        for event in history.events.iter().skip(passed) {
            self.next = event.id.number + 1;
            if self.filter.admits(event) {
                return Some(event.clone());
            }
        }
        None
    }
}

#[cfg(test)]
mod tests;
