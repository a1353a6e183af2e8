//! The engine as other threads reach it: by messages to its shards, and by what all may look at.
//!
//! Nothing here blocks, and nothing needs a particular executor. When the engine has ended every
//! question is answered as if there were no sockets.

use crate::engine::commands::filter::Filter;
use crate::engine::commands::mailbox::Mailbox;
use crate::engine::commands::{Command, Notice, Scan, Scanned, ShardReport};
use crate::engine::listener::Listener;
use crate::engine::model::events::{EventFilter, EventId, EventStream, Events};
use crate::engine::model::ids::{Claim, Ids};
use crate::engine::model::memory::{Memory, MemoryLevel, ShardMemory};
use crate::engine::model::reply::Reply;
use crate::engine::model::sockets::{SocketCursor, SocketInfo, SocketPage, SocketQuery};
use crate::engine::model::status::{EngineStatus, RouteStatus};
use crate::engine::shared::holder::Holder;
use crate::engine::shared::open::{OpenFailure, OpenRequest, Outgoing, PendingWrite, ReachFailure};
use crate::proto::CloseCode;
use crate::proto::limits::{LIST_ITEMS_MAX, LIST_OFFSET_MAX};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// A shard that has not gone round for so long, and does not wait, is stuck.
const TICK_AGE_MAX: Duration = Duration::from_secs(2);

/// What every handle to an engine has.
pub(crate) struct Reach {
    pub(in crate::engine) mailboxes: Vec<Arc<Mailbox>>,
    pub(in crate::engine) ids: Ids,
    /// A status of each route, with nothing counted.
    pub(in crate::engine) routes: Vec<RouteStatus>,
    pub(in crate::engine) events: Arc<Events>,
    pub(in crate::engine) connections_max: u64,
    pub(in crate::engine) exit: Exit,
    pub(in crate::engine) listeners: Weak<Vec<Listener>>,
    pub(in crate::engine) memory: Arc<Memory>,
}

/// How far the engine is on its way out.
#[derive(Default)]
pub(in crate::engine) struct Exit {
    /// Newcomers are to go elsewhere: a drain will begin.
    announced: AtomicBool,
    draining: AtomicBool,
}

impl Reach {
    /// Says that it is not ready any more, and goes on.
    pub(crate) fn leave(&self) {
        self.exit.announced.store(true, Ordering::Relaxed);
    }

    /// Drains every shard.
    pub(crate) fn drain(&self) {
        self.leave();
        self.exit.draining.store(true, Ordering::Relaxed);
        self.mailboxes.iter().for_each(|mailbox| mailbox.notify(Notice::Drain));
        // Who comes now is refused at once, or taken by another server on the same port, instead
        // of waiting in a queue that nobody serves any more.
        for listener in self.listeners.upgrade().iter().flat_map(|listeners| listeners.iter()) {
            let _ = rustix::net::shutdown(listener, rustix::net::Shutdown::Both);
        }
    }

    pub(crate) async fn open(&self, id: &str, request: OpenRequest) -> Result<Holder, OpenFailure> {
        let claim = self.ids.decode(id);
        let command = |reply| Command::Open { claim, request, reply };
        self.ask(self.mailbox(claim), command).await.unwrap_or(Err(OpenFailure::Unknown))
    }

    pub(crate) async fn write(
        &self,
        id: &str,
        message: Outgoing,
        waits: bool,
    ) -> Result<(), ReachFailure> {
        let claim = self.ids.decode(id);
        let command = |reply| Command::Write(PendingWrite { claim, message, waits, reply });
        let answer = self.ask(self.mailbox(claim), command).await;
        answer.unwrap_or(Err(ReachFailure::Open(OpenFailure::Unknown)))
    }

    pub(crate) async fn close(
        &self,
        id: &str,
        code: CloseCode,
        reason: &str,
    ) -> Result<(), OpenFailure> {
        let claim = self.ids.decode(id);
        let command = |reply| Command::Close { claim, code, reason: reason.into(), reply };
        self.ask(self.mailbox(claim), command).await.unwrap_or(Err(OpenFailure::Unknown))
    }

    pub(crate) async fn interrupt(&self, id: &str) -> Result<(), OpenFailure> {
        let claim = self.ids.decode(id);
        let command = |reply| Command::Interrupt { claim, reply };
        self.ask(self.mailbox(claim), command).await.unwrap_or(Err(OpenFailure::Unknown))
    }

    pub(crate) async fn look(&self, id: &str) -> Result<SocketInfo, OpenFailure> {
        let claim = self.ids.decode(id);
        let command = |reply| Command::Look { claim, reply };
        self.ask(self.mailbox(claim), command).await.unwrap_or(Err(OpenFailure::Unknown))
    }

    /// A part of the list of connections. Sorted, or of those that a filter admits, all shards are
    /// looked through; each in small steps, between which it serves its connections.
    pub(crate) async fn list(&self, query: &SocketQuery) -> SocketPage {
        let filter = Arc::new(Filter {
            route: query.route.clone(),
            status: query.status,
            text: query.text.clone(),
            sort: query.sort.map(|order| (order, query.descending)),
        });
        let limit = query.limit.min(LIST_ITEMS_MAX);
        if query.sort.is_some() {
            return self.list_sorted(filter, query.offset.min(LIST_OFFSET_MAX), limit).await;
        }
        let mut page = SocketPage::default();
        let mut at = query.cursor.unwrap_or_default();
        while let Some(mailbox) = self.mailboxes.get(at.shard as usize) {
            let room = limit - page.sockets.len();
            if room == 0 {
                page.next_cursor = Some(at);
                break;
            }
            let scan = Scan { from: at.slot, limit: room, filter: Arc::clone(&filter) };
            let mut scanned = self.scan(mailbox, scan).await;
            page.sockets.append(&mut scanned.sockets);
            at = match scanned.next {
                Some(slot) => SocketCursor { slot, ..at },
                None => SocketCursor { shard: at.shard + 1, slot: 0 },
            };
        }
        page.total = self.count(&filter).await;
        page
    }

    /// Connections that a list is about.
    async fn count(&self, filter: &Arc<Filter>) -> u64 {
        let mut total = 0;
        for mailbox in &self.mailboxes {
            let mut scan = Scan { from: 0, limit: 0, filter: Arc::clone(filter) };
            loop {
                let scanned = self.scan(mailbox, scan.clone()).await;
                if filter.is_empty() {
                    total += scanned.connections;
                    break;
                }
                total += scanned.found;
                let Some(next) = scanned.next else { break };
                scan.from = next;
            }
        }
        total
    }

    async fn list_sorted(&self, filter: Arc<Filter>, offset: usize, limit: usize) -> SocketPage {
        let mut page = SocketPage::default();
        let wanted = offset + limit;
        for mailbox in &self.mailboxes {
            let mut scan = Scan { from: 0, limit: wanted, filter: Arc::clone(&filter) };
            loop {
                let mut scanned = self.scan(mailbox, scan.clone()).await;
                page.total += scanned.found;
                page.sockets.append(&mut scanned.sockets);
                // Not for every step, or most of the time would go into sorting.
                if page.sockets.len() >= 2 * wanted {
                    filter.sort(&mut page.sockets, wanted);
                }
                let Some(next) = scanned.next else { break };
                scan.from = next;
            }
        }
        filter.sort(&mut page.sockets, wanted);
        page.sockets.drain(..offset.min(page.sockets.len()));
        page
    }

    async fn scan(&self, mailbox: &Mailbox, scan: Scan) -> Scanned {
        let command = |reply| Command::Scan { scan, reply };
        self.ask(mailbox, command).await.unwrap_or_default()
    }

    /// What all shards have counted, and how they are.
    pub(crate) async fn status(&self) -> EngineStatus {
        let mut status = EngineStatus {
            healthy: self.is_healthy(),
            ready: self.is_ready(),
            draining: self.exit.draining.load(Ordering::Relaxed),
            connections_max: self.connections_max,
            memory: self.memory.status(),
            routes: self.routes.clone(),
            ..EngineStatus::default()
        };
        for (shard, mailbox) in self.mailboxes.iter().enumerate() {
            let tick_age = mailbox.bell().tick_age();
            let command = |reply| Command::Status { reply };
            let mut report: ShardReport = self.ask(mailbox, command).await.unwrap_or_default();
            self.measure(mailbox, &mut report.status.memory).await;
            report.status.shard = shard;
            report.status.tick_age = tick_age;
            status.uptime =
                status.uptime.max(Duration::from_millis(mailbox.bell().now().as_millis()));
            add(&mut status, report);
        }
        status
    }

    /// Adds what the connections of a shard hold.
    async fn measure(&self, mailbox: &Mailbox, memory: &mut ShardMemory) {
        let mut next = Some(0);
        while let Some(from) = next {
            let command = |reply| Command::Measure { from, reply };
            let measured = self.ask(mailbox, command).await.unwrap_or_default();
            memory.inboxes.used_bytes += measured.inbox_bytes;
            memory.outboxes.used_bytes += measured.outbox_bytes;
            next = measured.next;
        }
    }

    pub(crate) fn events(&self, filter: EventFilter, after: Option<EventId>) -> EventStream {
        self.events.stream(filter, after)
    }

    /// Whether this engine has made an id, be its socket there or gone.
    pub(crate) fn is_genuine(&self, id: &str) -> bool {
        self.ids.is_genuine(id)
    }

    /// Whether the engine wants connections.
    pub(crate) fn is_ready(&self) -> bool {
        !self.exit.announced.load(Ordering::Relaxed)
            && self.memory.level() < MemoryLevel::Scarce
            && self.mailboxes.iter().all(|r| !r.is_closed())
    }

    /// Whether every shard goes round, or waits. One that has ended because of a drain has done what
    /// it was to do: who restarts what is not healthy must leave the others their time.
    pub(crate) fn is_healthy(&self) -> bool {
        let draining = self.exit.draining.load(Ordering::Relaxed);
        let fine = |mailbox: &Arc<Mailbox>| match mailbox.is_closed() {
            true => draining,
            false => mailbox.bell().tick_age() <= TICK_AGE_MAX,
        };
        self.mailboxes.iter().all(fine)
    }

    /// The shard that an id names. A forged one leads to some shard as well, and takes as long.
    fn mailbox(&self, claim: Claim) -> &Mailbox {
        &self.mailboxes[usize::from(claim.shard) % self.mailboxes.len()]
    }

    async fn ask<T>(
        &self,
        mailbox: &Mailbox,
        command: impl FnOnce(Reply<T>) -> Command,
    ) -> Option<T> {
        let (reply, answer) = Reply::new();
        mailbox.submit(command(reply)).await;
        answer.await.ok()
    }
}

fn add(status: &mut EngineStatus, report: ShardReport) {
    let ShardReport { status: shard, routes, refusals, closes, read_to_write } = report;
    status.connections += shard.connections;
    status.totals += shard.totals;
    status.read_to_write += read_to_write;
    for (route, counts) in status.routes.iter_mut().zip(routes) {
        route.opened += counts.opened;
        route.open += counts.open;
        route.shared += counts.shared;
        route.unattended += counts.unattended;
        route.shared_connection |= counts.was_shared;
    }
    merge(&mut status.refusals, refusals);
    merge(&mut status.closes, closes);
    status.shards.push(shard);
}

/// Every shard counts under the same names, in the same order.
fn merge<K: PartialEq>(all: &mut Vec<(K, u64)>, more: Vec<(K, u64)>) {
    for (key, count) in more {
        match all.iter_mut().find(|(known, _)| *known == key) {
            Some((_, sum)) => *sum += count,
            None => all.push((key, count)),
        }
    }
}
