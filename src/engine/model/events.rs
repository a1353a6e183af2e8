//! What happens to shared sockets, as a stream that any thread can follow.
//!
//! Shards publish, once a batch; streams read from a bounded history, each at its own pace, so
//! that a slow one holds nobody up: it is told that it has missed something. Dedicated sockets
//! cause no events.

use crate::clock::{Moment, TimeOfDay};
use crate::engine::model::ended::Closer;
use crate::engine::model::history::{Cursor, History, Position, Step};
use crate::proto::CloseCode;
use crate::proto::limits::EVENTS_KEPT_MAX;
use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

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

impl EventId {
    fn position(self) -> Position {
        Position { epoch: self.epoch, number: self.number }
    }
}

impl From<Position> for EventId {
    fn from(Position { epoch, number }: Position) -> Self {
        Self { epoch, number }
    }
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
    history: Arc<History<Event>>,
    time_of_day: TimeOfDay,
    times: Mutex<Times>,
    /// Shards that have not ended.
    shards: AtomicUsize,
}

#[derive(Default)]
struct Times {
    /// When the shards' time began, by the clock of the host as it is set now.
    began_unix_ms: u64,
}

impl Times {
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
    /// Those of so many shards; `epoch` tells this run from others.
    pub(crate) fn new(epoch: u32, time_of_day: TimeOfDay, shards: usize) -> Self {
        Self {
            history: Arc::new(History::new(epoch, EVENTS_KEPT_MAX)),
            time_of_day,
            times: Mutex::default(),
            shards: AtomicUsize::new(shards),
        }
    }

    /// Appends what has happened in one batch of one shard.
    pub(in crate::engine) fn publish(&self, happened: &mut Vec<Happened>, now: Moment) {
        let host_unix_ms = self.time_of_day.unix_ms(now);
        // Nothing panics while it holds the lock.
        let mut times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        let unix_ms = times.unix_ms(host_unix_ms, now);
        drop(times);
        self.history.append(happened.drain(..), |position, happened| {
            let Happened { kind, websocket_id, route, session_id, close } = happened;
            Event { id: position.into(), kind, websocket_id, route, session_id, unix_ms, close }
        });
    }

    /// A shard has ended. After the last one no event will follow.
    pub(in crate::engine) fn shard_has_ended(&self) {
        if self.shards.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.history.end();
        }
    }

    /// A stream of what comes after `after`; without it, of what comes from now on.
    pub(crate) fn stream(&self, filter: EventFilter, after: Option<EventId>) -> EventStream {
        EventStream { cursor: self.history.cursor(after.map(EventId::position)), filter }
    }
}

/// Gives the events of an engine in order.
pub struct EventStream {
    cursor: Cursor<Event>,
    filter: EventFilter,
}

impl EventStream {
    /// The next event; waits for it. `None`: the engine has ended.
    ///
    /// Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Event> {
        let Self { cursor, filter } = self;
        let step = cursor.next(|event| filter.admits(event)).await?;
        Some(self.event(step))
    }

    /// What to go on after if this stream ends here: the last event that it gave or passed over, or
    /// the last there was when it began. `None` before a gap that must not be overlooked.
    pub fn position(&self) -> Option<EventId> {
        self.cursor.position().map(EventId::from)
    }

    /// The next event, if it has happened already.
    pub fn try_next(&mut self) -> Option<Event> {
        let Self { cursor, filter } = self;
        let step = cursor.try_next(|event| filter.admits(event))?;
        Some(self.event(step))
    }

    fn event(&self, step: Step<Event>) -> Event {
        match step {
            Step::Item(event) => event,
            Step::Gap(position) => Event {
                id: position.into(),
                kind: EventKind::Gap,
                websocket_id: "".into(),
                route: self.filter.route.as_deref().unwrap_or_default().into(),
                session_id: None,
                unix_ms: 0,
                close: None,
            },
        }
    }
}

#[cfg(test)]
mod tests;
