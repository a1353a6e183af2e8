//! Lists of connections: a shard looks through some of its slots at a time, so that a list of a
//! million connections never holds it up.
//!
//! Called by [`super::answering`] for one step, and by [`super::reach`] for the order of the whole.
//! A step begins at a slot and remembers nothing: what comes and goes between two steps may be
//! missed.

use super::command::{Filter, Scan, Scanned};
use super::connection::{Connection, Phase};
use super::core::Core;
use super::flags::Flag;
use super::ready::Taken;
use super::remains::Left;
use super::shard::Shard;
use super::shared::SharedState;
use super::sockets::{LeaseInfo, SocketInfo, SocketOrder, SocketStatus};
use crate::clock::Moment;
use crate::proto::limits::REMAINS_TIME;
use crate::ring::Ring;
use std::cmp::Ordering;

/// Slots that are looked at for one step of a list, and connections described.
const SLOTS_PER_STEP: u32 = 1_024;
const SOCKETS_PER_STEP: u32 = 256;

impl Filter {
    /// Whether it admits everything.
    pub(super) fn is_empty(&self) -> bool {
        self.route.is_none() && self.status.is_none() && self.text.is_none()
    }

    /// Puts the first `count` in order, and drops the others.
    pub(super) fn sort(&self, sockets: &mut Vec<SocketInfo>, count: usize) {
        let Some((order, descending)) = self.sort else { return };
        sockets.sort_by(|a, b| {
            let ordering = compare(order, a, b);
            // Among equals the order of the tables, in both directions: pages must not overlap.
            let ordering = if descending { ordering.reverse() } else { ordering };
            ordering.then_with(|| place(a).cmp(&place(b)))
        });
        sockets.truncate(count);
    }
}

fn place(socket: &SocketInfo) -> (usize, u32) {
    (socket.shard, socket.slot)
}

fn compare(order: SocketOrder, a: &SocketInfo, b: &SocketInfo) -> Ordering {
    match order {
        SocketOrder::Number => a.number.cmp(&b.number),
        SocketOrder::Id => a.id.cmp(&b.id),
        SocketOrder::Route => a.route.cmp(&b.route),
        SocketOrder::Status => a.status.as_str().cmp(b.status.as_str()),
        SocketOrder::Peer => a.peer.cmp(&b.peer),
        SocketOrder::Idle => a.idle.cmp(&b.idle),
        SocketOrder::Opened => a.opened.cmp(&b.opened),
        SocketOrder::BytesIn => a.bytes_in.cmp(&b.bytes_in),
        SocketOrder::BytesOut => a.bytes_out.cmp(&b.bytes_out),
        SocketOrder::MessagesIn => a.messages_in.cmp(&b.messages_in),
        SocketOrder::MessagesOut => a.messages_out.cmp(&b.messages_out),
        SocketOrder::QueueBytes => queue_bytes(a).cmp(&queue_bytes(b)),
    }
}

fn queue_bytes(socket: &SocketInfo) -> usize {
    socket.inbox_bytes + socket.outbox_bytes
}

impl<R: Ring> Shard<R> {
    /// One step of a list.
    pub(super) fn scan(&self, scan: &Scan) -> Scanned {
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

    /// Whether what costs nothing to look at admits the connection.
    fn may_admit(&self, filter: &Filter, connection: &Connection) -> bool {
        let pattern = || self.routes.pattern(connection.route);
        filter.route.as_deref().is_none_or(|route| route == pattern())
            && filter.status.is_none_or(|status| status == connection.status(&self.core))
    }

    /// Everything about a connection.
    pub(super) fn info(&self, connection: &Connection) -> SocketInfo {
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
            route: self.routes.path(connection.route),
            status: connection.status(core),
            peer: connection.peer(core),
            session_id: core.seats.session_id(connection.id),
            opened: now.since(connection.opened()),
            idle: now.since(idle_since),
            timeout: state.and_then(|_| core.session_timeout(connection.route)),
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
    pub(super) fn info_of_remains(&self, left: &mut Left) -> SocketInfo {
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
            route: self.routes.path(left.route),
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

impl Connection {
    fn status(&self, core: &Core) -> SocketStatus {
        match self.phase {
            Phase::Head(_) | Phase::Deciding => SocketStatus::Handshake,
            Phase::Open(_) if !self.flags.has(Flag::Shared) => SocketStatus::WebSocket,
            Phase::Open(_) if self.is_attended(core) => SocketStatus::Shared,
            Phase::Open(_) => SocketStatus::Unattended,
            Phase::Closing(_) | Phase::Lingering(_) | Phase::Gone => SocketStatus::Closing,
        }
    }
}

fn mentions(info: &SocketInfo, text: &str) -> bool {
    let contains = |field: Option<&str>| field.is_some_and(|field| field.contains(text));
    info.id.contains(text)
        || contains(info.route.as_deref())
        || contains(info.session_id.as_deref())
        || info.peer.is_some_and(|peer| peer.to_string().contains(text))
}
