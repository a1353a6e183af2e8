//! Lists of connections: a shard looks through some of its slots at a time, so that a list of a
//! million connections never holds it up.
//!
//! Called by [`answer`](crate::engine::shard::answer) for one step, and by [`dispatch`](crate::engine::commands::dispatch) for the order of the whole.
//! A step begins at a slot and remembers nothing: what comes and goes between two steps may be
//! missed.

use crate::clock::Moment;
use crate::engine::commands::filter::Filter;
use crate::engine::commands::{Measured, Scan, Scanned};
use crate::engine::connection::state::Flag;
use crate::engine::connection::{Connection, Phase};
use crate::engine::model::sockets::{LeaseInfo, SocketInfo, SocketStatus};
use crate::engine::shard::Shard;
use crate::engine::shared::ready::Taken;
use crate::engine::shared::remains::Left;
use crate::engine::shared::state::SharedState;
use crate::proto::limits::REMAINS_TIME;
use crate::ring::Ring;

/// Slots that are looked at for one step of a list, and connections described.
const SLOTS_PER_STEP: u32 = 1_024;
const SOCKETS_PER_STEP: u32 = 256;

/// Slots that are looked at for one step of a sum, and for how many of these one counts that is not
/// idle: about 0.3 ms at most.
const MEASURED_PER_STEP: u32 = 32_768;
const MEASURED_BUSY: u32 = 8;

impl<R: Ring> Shard<R> {
    /// One step of a list.
    pub(in crate::engine) fn scan(&self, scan: &Scan) -> Scanned {
        let Scan { from, limit, filter } = scan;
        let slots = self.core.slots.borrow();
        let mut scanned = Scanned { connections: u64::from(slots.used()), ..Scanned::default() };
        let sorts = filter.sort.is_some();
        let mut described = 0;
        let until = from.saturating_add(SLOTS_PER_STEP).min(slots.slots());
        for slot in *from..until {
            let full = !sorts && *limit > 0 && scanned.sockets.len() >= *limit;
            if full || described >= SOCKETS_PER_STEP {
                scanned.next = Some(slot);
                break;
            }
            let Some(connection) = slots.at(slot) else { continue };
            if !self.may_admit(filter, connection) {
                continue;
            }
            if *limit == 0 && filter.text.is_none() {
                scanned.found += 1;
                continue;
            }
            described += 1;
            let info = self.info(connection);
            if filter.text.as_ref().is_none_or(|text| mentions(&info, text)) {
                scanned.found += 1;
                if *limit > 0 {
                    scanned.sockets.push(info);
                }
            }
        }
        if scanned.next.is_none() && until < slots.slots() {
            scanned.next = Some(until);
        }
        filter.sort(&mut scanned.sockets, *limit);
        scanned
    }

    /// One step of a sum of what connections hold. Those that have been outlived by their handlers
    /// belong to the first one, as many of them as are looked at for a step.
    pub(in crate::engine) fn measure(&self, from: u32) -> Measured {
        let core = &self.core;
        let mut slots = core.slots.borrow_mut();
        let (mut measured, mut looked) = (Measured::default(), 0);
        let mut add = |connection: &Connection| {
            let (inbox_bytes, outbox_bytes) = connection.held_bytes(core);
            measured.inbox_bytes += inbox_bytes as u64;
            measured.outbox_bytes += outbox_bytes as u64;
        };
        if from == 0 {
            let most = MEASURED_PER_STEP / MEASURED_BUSY;
            slots.kept().take(most as usize).for_each(|kept| add(kept));
        }
        let mut slot = from;
        while slot < slots.slots() && looked < MEASURED_PER_STEP {
            let connection = slots.at(slot).filter(|connection| connection.holds_any());
            looked += if connection.is_some() { MEASURED_BUSY } else { 1 };
            connection.into_iter().for_each(&mut add);
            slot += 1;
        }
        measured.next = (slot < slots.slots()).then_some(slot);
        measured
    }

    /// Whether what costs nothing to look at admits the connection.
    fn may_admit(&self, filter: &Filter, connection: &Connection) -> bool {
        let pattern = || self.core.paths.pattern(connection.route);
        filter.route.as_deref().is_none_or(|route| route == pattern())
            && filter.status.is_none_or(|status| status == connection.status(&self.core))
    }

    /// Everything about a connection.
    pub(in crate::engine) fn info(&self, connection: &Connection) -> SocketInfo {
        let core = &self.core;
        let now = core.now.get();
        let table = core.shared.borrow();
        let state = table.find(connection.id.slot).filter(|_| connection.flags.has(Flag::Shared));
        let (shard, slot) = (core.ids.shard(), connection.id.slot);
        let idle_since = match (state, connection.phase) {
            (Some(state), _) => state.activity,
            (None, Phase::Open(last_received)) => last_received.moment(),
            _ => connection.opened(),
        };
        let counts = connection.counts();
        SocketInfo {
            id: core.ids.encode(connection.id, connection.opened()),
            number: u64::from(slot) * core.shards as u64 + shard as u64 + 1,
            shard,
            slot,
            route: self.core.paths.path(connection.route),
            status: connection.status(core),
            peer: connection.peer(core),
            session_id: core.seats.session_id(connection.id),
            opened: now.since(connection.opened()),
            idle: now.since(idle_since),
            timeout: state.and_then(|_| core.paths.session_timeout(connection.route)),
            bytes_in: counts.bytes_in,
            bytes_out: counts.bytes_out,
            messages_in: counts.messages_in,
            messages_out: counts.messages_out,
            messages_dropped: state.map_or(0, |state| u64::from(state.dropped)),
            inbox_bytes: connection.talk.inbox.bytes()
                + state.map_or(0, |state| state.linked_bytes as usize),
            inbox_messages: connection.talk.inbox.messages()
                + state.map_or(0, |state| state.linked_messages as usize),
            outbox_bytes: connection.talk.outbox.bytes(),
            lease: state.and_then(|state| lease(state, now)),
        }
    }
}

impl<R: Ring> Shard<R> {
    /// Everything about a socket that is gone and has left something to read. It is idle since it
    /// went, and given up at its time.
    pub(in crate::engine) fn info_of_remains(&self, left: &mut Left) -> SocketInfo {
        let core = &self.core;
        let now = core.now.get();
        let held_until = left.held_until(now);
        let (facts, shared) = (&left.link.facts, left.link.lock());
        let (shard, slot) = (core.ids.shard(), left.link.slot.slot);
        let lease = held_until
            .filter(|_| shared.fence > 0)
            .map(|until| LeaseInfo { fence: shared.fence, expires_in: Some(until.since(now)) });
        let kept = shared.kept.as_ref();
        SocketInfo {
            id: facts.websocket_id.to_string(),
            number: u64::from(slot) * core.shards as u64 + shard as u64 + 1,
            shard,
            slot,
            route: self.core.paths.path(left.route),
            status: SocketStatus::Closing,
            peer: facts.peer,
            session_id: facts.session_id.as_deref().map(Into::into),
            opened: now.since(left.opened),
            idle: REMAINS_TIME.saturating_sub(left.until.since(now)),
            timeout: Some(REMAINS_TIME),
            bytes_in: left.counts.bytes_in,
            bytes_out: left.counts.bytes_out,
            messages_in: left.counts.messages_in,
            messages_out: left.counts.messages_out,
            messages_dropped: u64::from(left.dropped),
            inbox_bytes: shared.ready.cost_bytes() + kept.map_or(0, Taken::len),
            inbox_messages: shared.ready.messages() + usize::from(kept.is_some()),
            outbox_bytes: 0,
            lease,
        }
    }
}

fn lease(state: &SharedState, now: Moment) -> Option<LeaseInfo> {
    let link = state.link.as_ref().filter(|_| state.flags.held)?;
    let expires_in = Connection::lease_expires_in(state, now);
    Some(LeaseInfo { fence: link.lock().fence, expires_in })
}

fn mentions(info: &SocketInfo, text: &str) -> bool {
    let contains = |field: Option<&str>| field.is_some_and(|field| field.contains(text));
    info.id.contains(text)
        || contains(info.route.as_deref())
        || contains(info.session_id.as_deref())
        || info.peer.is_some_and(|peer| peer.to_string().contains(text))
}
