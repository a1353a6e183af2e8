//! What sockets that are gone have left to be read, for whoever comes for it within a minute.
//!
//! Found by slot, and given up in the order in which it was left: when its time is over, or when
//! there is too much of it. Called by [`table`](crate::engine::shared::table), which tells of what was given up.

use crate::clock::Moment;
use crate::engine::model::ended::Counts;
use crate::engine::model::ids::Claim;
use crate::engine::model::slot_id::SlotId;
use crate::engine::shared::link::Link;
use crate::proto::limits::{REMAINS_BYTES_MAX, REMAINS_MAX, REMAINS_TIME};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

/// Room that an empty table keeps.
const ROOM_KEPT_MAX: usize = 1_024;

/// What all sockets have left that are gone.
#[derive(Default)]
pub(in crate::engine) struct Remains {
    /// By slot; with the number under which it stands in `order`.
    left: HashMap<SlotId, (u64, Left)>,
    /// Oldest first.
    order: BTreeMap<u64, SlotId>,
    last: u64,
    cost_bytes: usize,
    /// When the oldest is given up, if there is one.
    due: Option<Moment>,
}

/// What one socket has left.
pub(in crate::engine) struct Left {
    pub(in crate::engine) nonce: u64,
    pub(in crate::engine) route: u16,
    pub(in crate::engine) link: Arc<Link>,
    pub(in crate::engine) until: Moment,
    /// When it was accepted, and what went each way, for who asks.
    pub(in crate::engine) opened: Moment,
    pub(in crate::engine) counts: Counts,
    pub(in crate::engine) dropped: u32,
    /// How long its holder need not be heard of; `None`: for ever, or there is none.
    lease: Option<Duration>,
    lease_until: Moment,
    cost_bytes: usize,
}

impl Left {
    /// `lease_ms`: 0 if it does not expire.
    pub(in crate::engine) fn new(
        nonce: u64,
        route: u16,
        link: Arc<Link>,
        lease_ms: u32,
        now: Moment,
    ) -> Self {
        let cost_bytes = link.lock().cost_bytes();
        let lease = (lease_ms > 0).then(|| Duration::from_millis(u64::from(lease_ms)));
        let until = now + REMAINS_TIME;
        let (opened, counts, dropped) = (now, Counts::default(), 0);
        let lease_until = Moment::NEVER;
        let mut left = Self {
            nonce,
            route,
            link,
            until,
            opened,
            counts,
            dropped,
            lease,
            lease_until,
            cost_bytes,
        };
        left.renew(now);
        left
    }

    /// The lease begins anew, and what its holder has done counts no more.
    pub(in crate::engine) fn renew(&mut self, now: Moment) {
        self.link.lock().is_used();
        self.lease_until = self.lease.map_or(Moment::NEVER, |lease| now + lease);
    }

    /// Whoever takes it now has it on these terms.
    pub(in crate::engine) fn hold(&mut self, lease: Option<Duration>, now: Moment) {
        self.lease = lease;
        self.renew(now);
    }

    /// When the lease ends, unless its holder is heard of; `None`: it has ended.
    pub(in crate::engine) fn held_until(&mut self, now: Moment) -> Option<Moment> {
        if self.lease_until <= now && self.link.lock().is_used() {
            self.renew(now);
        }
        (self.lease_until > now).then(|| self.lease_until.min(self.until))
    }

    /// Whether its holder may be away and come back.
    pub(in crate::engine) fn is_leased(&self) -> bool {
        self.lease.is_some() && self.link.lock().fence > 0
    }

    /// Whether nobody has read all of it.
    pub(in crate::engine) fn is_unread(&self) -> bool {
        let shared = self.link.lock();
        !shared.ready.is_empty() || shared.kept.is_some()
    }
}

impl Remains {
    pub(in crate::engine) fn count(&self) -> usize {
        self.left.len()
    }

    pub(in crate::engine) fn cost_bytes(&self) -> usize {
        self.cost_bytes
    }

    /// When the oldest is given up, if there is one.
    pub(in crate::engine) fn due(&self) -> Moment {
        self.due.unwrap_or(Moment::NEVER)
    }

    pub(in crate::engine) fn keep(&mut self, left: Left) {
        let slot = left.link.slot;
        self.remove(slot);
        self.last += 1;
        self.cost_bytes += left.cost_bytes;
        self.due.get_or_insert(left.until);
        self.order.insert(self.last, slot);
        self.left.insert(slot, (self.last, left));
    }

    pub(in crate::engine) fn find(&mut self, claim: Claim) -> Option<&mut Left> {
        self.of_slot_mut(claim.slot).filter(|left| left.nonce == claim.nonce)
    }

    pub(in crate::engine) fn of_slot_mut(&mut self, slot: SlotId) -> Option<&mut Left> {
        self.left.get_mut(&slot).map(|(_, left)| left)
    }

    pub(in crate::engine) fn remove(&mut self, slot: SlotId) -> Option<Left> {
        let (number, left) = self.left.remove(&slot)?;
        self.order.remove(&number);
        self.cost_bytes -= left.cost_bytes;
        self.due = self.oldest().map(|oldest| oldest.until);
        if self.left.is_empty() && self.left.capacity() > ROOM_KEPT_MAX {
            self.left = HashMap::new();
        }
        Some(left)
    }

    /// The next that there is no room for.
    pub(in crate::engine) fn take_surplus(&mut self) -> Option<Left> {
        let full = self.left.len() > REMAINS_MAX || self.cost_bytes > REMAINS_BYTES_MAX;
        if full { self.remove(self.oldest()?.link.slot) } else { None }
    }

    /// The next whose time is over.
    pub(in crate::engine) fn take_overdue(&mut self, now: Moment) -> Option<Left> {
        if self.due? > now {
            return None;
        }
        self.remove(self.oldest()?.link.slot)
    }

    fn oldest(&self) -> Option<&Left> {
        let (_, slot) = self.order.first_key_value()?;
        self.left.get(slot).map(|(_, left)| left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::model::incoming::{Incoming, Piece};
    use crate::engine::model::settings::Limits;
    use crate::engine::shared::link::Facts;
    use crate::engine::shared::open::OpenFailure;
    use crate::engine::shared::table::SharedTable;
    use crate::proto::MessageKind;
    use crate::proto::limits::EXPIRED_IDS_MAX;

    fn slot(number: usize) -> SlotId {
        SlotId { slot: number as u32, generation: 7 }
    }

    fn claim(number: usize) -> Claim {
        Claim { shard: 0, slot: slot(number), nonce: number as u64 }
    }

    /// What the socket with this number has left.
    fn left(number: usize, said: Option<&[u8]>, now: Moment) -> Left {
        let facts = Facts { websocket_id: "".into(), session_id: None, peer: None };
        let link = Link::new(slot(number), facts, Arc::default(), &Limits::default());
        if let Some(said) = said {
            let incoming = Incoming::whole(MessageKind::Binary, said);
            link.lock().ready.push(Piece { incoming, at_end: true });
        }
        Left::new(number as u64, 0, Arc::new(link), 0, now)
    }

    #[test]
    fn a_word_of_each_of_a_crowd_is_kept_and_what_is_beyond_is_lost_in_order() {
        let mut table = SharedTable::default();
        let now = Moment::from_millis(5);
        let more = 5;
        for number in 0..REMAINS_MAX + more {
            let lost = table.keep_remains(left(number, Some(b"x"), now), now);
            let lost: Vec<u64> = lost.iter().map(|left| left.nonce).collect();
            let expected: Vec<u64> =
                number.checked_sub(REMAINS_MAX).map(|oldest| oldest as u64).into_iter().collect();
            assert_eq!(lost, expected);
        }
        assert_eq!(table.remains.count(), REMAINS_MAX);
        for number in 0..REMAINS_MAX + more {
            assert_eq!(table.remains.find(claim(number)).is_some(), number >= more);
        }
        let other = Claim { nonce: 1 << 50, ..claim(more) };
        assert!(table.remains.find(other).is_none(), "of another time of the slot");
        assert_eq!(table.absence(claim(more - 1)), OpenFailure::Expired);
        assert_eq!(table.absence(other), OpenFailure::Unknown);
        // One that is taken out makes room.
        assert!(table.remains.remove(slot(9_000)).is_some());
        assert!(table.keep_remains(left(1 << 20, Some(b"x"), now), now).is_empty());
    }

    #[test]
    fn bytes_count_as_well_and_what_was_read_is_no_loss() {
        let mut table = SharedTable::default();
        let now = Moment::default();
        let said = vec![0; 1 << 20];
        let mut lost = Vec::new();
        for number in 0..100 {
            lost.extend(table.keep_remains(left(number, Some(&said), now), now));
            assert!(table.remains.cost_bytes() <= REMAINS_BYTES_MAX);
        }
        assert_eq!(table.remains.count() + lost.len(), 100);
        assert!((30..=63).contains(&table.remains.count()), "{}", table.remains.count());
        // Somebody is there and has read it.
        for number in 0..100 {
            if let Some(left) = table.remains.of_slot_mut(slot(number)) {
                assert!(left.link.lock().ready.take(usize::MAX, true).is_some());
            }
        }
        assert!(table.keep_remains(left(200, Some(&said), now), now).is_empty());
        assert!(table.keep_remains(left(201, None, now), now).is_empty());
        assert!(table.remains.find(claim(201)).is_none(), "nothing was left");
    }

    #[test]
    fn the_minute_holds_and_then_everything_is_given_back() {
        let mut table = SharedTable::default();
        assert_eq!(table.remains.due(), Moment::NEVER);
        let at = |second: u64| Moment::from_millis(second * 1_000);
        for number in 0..5_000 {
            let now = at(number as u64 / 100);
            assert!(table.keep_remains(left(number, Some(b"x"), now), now).is_empty());
        }
        assert_eq!(table.remains.due(), at(60));
        let just_before = Moment::from_millis(at(60).as_millis() - 1);
        assert!(table.forget_remains(just_before).is_empty());
        assert_eq!(table.remains.count(), 5_000);
        let lost = table.forget_remains(at(60) + Duration::from_millis(1));
        assert!(lost.iter().map(|left| left.nonce).eq(0..100), "those of the first second");
        assert_eq!((table.remains.count(), table.remains.due()), (4_900, at(61)));
        assert_eq!(table.absence(claim(99)), OpenFailure::Expired);
        assert_eq!(table.forget_remains(at(110)).len(), 4_900);
        assert_eq!((table.remains.count(), table.remains.cost_bytes()), (0, 0));
        assert_eq!(table.remains.due(), Moment::NEVER);
        assert!(table.remains.left.capacity() <= ROOM_KEPT_MAX);
        // It is known of so many, and not of more.
        for number in 0..EXPIRED_IDS_MAX {
            table.has_expired(slot(10_000 + number), 3);
        }
        assert_eq!(table.absence(claim(4_999)), OpenFailure::Unknown);
    }
}
