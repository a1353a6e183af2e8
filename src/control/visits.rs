//! Who is connected over one door, and who makes room when it is full.
//!
//! [`serving`](super::serving) asks before it serves a connection, and when a connection shows a
//! token for the first time. Strangers never keep anybody out: the oldest of them makes room. Those
//! that have shown a token count apart, and of these the ones that may only look leave room for
//! operators.

use super::limits::{
    READ_ONLY_CONNECTIONS_MAX, STRANGERS_MAX, STRANGERS_PER_ADDRESS_MAX, TCP_CONNECTIONS_MAX,
    UNIX_CONNECTIONS_MAX,
};
use super::line::Line;
use super::tokens::Access;
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What a connection has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    Stranger,
    ReadOnly,
    Operator,
}

impl From<Access> for Rank {
    fn from(access: Access) -> Self {
        match access {
            Access::ReadOnly => Self::ReadOnly,
            Access::Operator => Self::Operator,
        }
    }
}

/// Addresses that belong to one peer, as far as anybody can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Network {
    V4(Ipv4Addr),
    /// A /64, the least that a host is given.
    V6([u16; 4]),
    /// A Unix socket.
    Local,
}

impl From<IpAddr> for Network {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address),
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                Self::V6([a, b, c, d])
            }
        }
    }
}

/// How many there may be.
struct Room {
    strangers: usize,
    strangers_per_network: usize,
    read_only: usize,
    /// Everybody but strangers.
    known: usize,
}

/// Everybody who is connected over one door.
pub(super) struct Visits {
    room: Room,
    guests: Mutex<Guests>,
}

#[derive(Default)]
struct Guests {
    next: u64,
    by_number: BTreeMap<u64, Guest>,
}

struct Guest {
    network: Network,
    rank: Rank,
    line: Arc<Line>,
}

impl Visits {
    /// Over TCP: they show a token, or stay strangers.
    pub(super) fn over_tcp() -> Arc<Self> {
        Self::with(Room {
            strangers: STRANGERS_MAX,
            strangers_per_network: STRANGERS_PER_ADDRESS_MAX,
            read_only: READ_ONLY_CONNECTIONS_MAX,
            known: TCP_CONNECTIONS_MAX,
        })
    }

    /// Over the Unix socket: all are operators.
    pub(super) fn over_unix() -> Arc<Self> {
        let none = Room { strangers: 0, strangers_per_network: 0, read_only: 0, known: 0 };
        Self::with(Room { known: UNIX_CONNECTIONS_MAX, ..none })
    }

    fn with(room: Room) -> Arc<Self> {
        Arc::new(Self { room, guests: Mutex::default() })
    }

    /// Somebody has connected. `None` if there is no room, which strangers always have.
    pub(super) fn arrive(
        self: &Arc<Self>,
        network: Network,
        rank: Rank,
        line: Arc<Line>,
    ) -> Option<Visit> {
        let mut guests = self.guests();
        if !self.has_room(&mut guests, network, rank) {
            return None;
        }
        let number = guests.next;
        guests.next += 1;
        guests.by_number.insert(number, Guest { network, rank, line: Arc::clone(&line) });
        drop(guests);
        let shown = AtomicU8::new(rank as u8);
        Some(Visit { visits: Arc::clone(self), number, shown, line })
    }

    fn has_room(&self, guests: &mut Guests, network: Network, rank: Rank) -> bool {
        let Room { strangers, strangers_per_network, read_only, known } = self.room;
        let is_alike = |guest: &Guest| guest.rank == rank;
        let is_known = |guest: &Guest| guest.rank > Rank::Stranger;
        match rank {
            Rank::Stranger => {
                let is_same = |guest: &Guest| is_alike(guest) && guest.network == network;
                guests.keep_below(strangers_per_network, is_same, is_same, true) && {
                    // One of the address that has most of them, so that a flood from some addresses
                    // pushes out its own.
                    let (counts, most) = guests.strangers();
                    let is_of_most = |guest: &Guest| counts.get(&guest.network) == Some(&most);
                    let may_go = |guest: &Guest| is_alike(guest) && is_of_most(guest);
                    guests.keep_below(strangers, is_alike, may_go, true)
                }
            }
            // Nobody without an operator's token ends the connection of one who has it.
            Rank::ReadOnly => {
                guests.keep_below(read_only, is_alike, is_alike, false)
                    && guests.keep_below(known, is_known, is_alike, false)
            }
            Rank::Operator => guests.keep_below(known, is_known, is_known, false),
        }
    }

    fn guests(&self) -> MutexGuard<'_, Guests> {
        // What is in it is whole at any moment.
        self.guests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Guests {
    /// How many strangers there are of each address, and the largest of these numbers.
    fn strangers(&self) -> (HashMap<Network, usize>, usize) {
        let mut counts = HashMap::new();
        for guest in self.by_number.values().filter(|guest| guest.rank == Rank::Stranger) {
            *counts.entry(guest.network).or_default() += 1;
        }
        let most = counts.values().copied().max().unwrap_or(0);
        (counts, most)
    }

    /// Whether there are fewer than `max` of those that count, after one of those that may go has
    /// made room if need be: one without work, or any if it is forced.
    fn keep_below(
        &mut self,
        max: usize,
        counts: impl Fn(&Guest) -> bool,
        may_go: impl Fn(&Guest) -> bool,
        force: bool,
    ) -> bool {
        if self.by_number.values().filter(|guest| counts(guest)).count() < max {
            return true;
        }
        let candidates = self.by_number.iter().filter(|(_, guest)| may_go(guest));
        let oldest = candidates.min_by_key(|(_, guest)| guest.line.age());
        let Some(number) = oldest.map(|(number, _)| *number) else { return false };
        let has_left = self.by_number.get(&number).is_some_and(|guest| guest.line.displace(force));
        if has_left {
            self.by_number.remove(&number);
        }
        has_left
    }
}

/// Somebody's being connected.
pub(super) struct Visit {
    visits: Arc<Visits>,
    number: u64,
    /// Its rank, to be seen without the others'.
    shown: AtomicU8,
    line: Arc<Line>,
}

impl Visit {
    /// Whether it has shown a token.
    pub(super) fn has_shown(&self) -> bool {
        self.shown.load(Ordering::Relaxed) > Rank::Stranger as u8
    }

    pub(super) fn line(&self) -> &Arc<Line> {
        &self.line
    }

    /// It has shown what it may do. `false` if there is no room for more like it.
    pub(super) fn shows(&self, rank: Rank) -> bool {
        if self.shown.load(Ordering::Relaxed) >= rank as u8 {
            return true;
        }
        let mut guests = self.visits.guests();
        let Some(guest) = guests.by_number.get(&self.number) else { return false };
        let (network, before) = (guest.network, guest.rank);
        if before >= rank {
            return true;
        }
        // Not to be counted against itself.
        let Some(guest) = guests.by_number.remove(&self.number) else { return false };
        let has_room = self.visits.has_room(&mut guests, network, rank);
        if has_room {
            self.shown.store(rank as u8, Ordering::Relaxed);
        }
        let rank = if has_room { rank } else { before };
        guests.by_number.insert(self.number, Guest { rank, ..guest });
        has_room
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.visits.guests().by_number.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::limits::Times;

    const HERE: Network = Network::V4(Ipv4Addr::LOCALHOST);
    const THERE: Network = Network::V6([0x2001, 0xdb8, 0, 1]);

    fn visits() -> Arc<Visits> {
        Visits::with(Room { strangers: 4, strangers_per_network: 2, read_only: 1, known: 2 })
    }

    fn arrives(visits: &Arc<Visits>, network: Network, rank: Rank) -> Option<Visit> {
        visits.arrive(network, rank, Line::new(Times::default()))
    }

    fn has_left(visit: &Visit) -> bool {
        visit.line.begin(usize::MAX).is_none()
    }

    #[test]
    fn the_oldest_stranger_of_an_address_makes_room_and_one_without_work_first() {
        let visits = visits();
        let stranger = |network| arrives(&visits, network, Rank::Stranger).expect("always");
        let (elsewhere, first, second) = (stranger(THERE), stranger(HERE), stranger(HERE));
        let busy = first.line.begin(1);
        let third = stranger(HERE);
        assert!(has_left(&second) && busy.is_some());
        let _also = third.line.begin(1);
        let fourth = stranger(HERE);
        // Where all have work, one goes all the same.
        assert!(has_left(&first) != has_left(&third));
        assert!(!has_left(&elsewhere) && !has_left(&fourth));
    }

    #[test]
    fn strangers_of_many_addresses_are_bounded_together() {
        let visits = visits();
        let all: Vec<Visit> = (0..50)
            .map(|n| arrives(&visits, Network::V6([n, 0, 0, 0]), Rank::Stranger).expect("always"))
            .collect();
        assert_eq!(all.iter().filter(|visit| !has_left(visit)).count(), 4);
        assert!(!has_left(&all[49]));
    }

    #[test]
    fn the_address_that_has_most_pushes_out_its_own() {
        let visits = visits();
        let stranger = |network| arrives(&visits, network, Rank::Stranger).expect("always");
        let check = stranger(THERE);
        let floods = [1, 2].map(|n| Network::V6([n, 0, 0, 0]));
        let crowd: Vec<Visit> = floods.iter().cycle().take(40).map(|net| stranger(*net)).collect();
        assert!(!has_left(&check), "the oldest, and the only one of its address");
        assert_eq!(crowd.iter().filter(|visit| !has_left(visit)).count(), 3);
    }

    #[test]
    fn who_has_shown_a_token_counts_apart_and_readers_leave_room_for_operators() {
        let visits = visits();
        let stranger = || arrives(&visits, HERE, Rank::Stranger).expect("always");
        let [reader, second] = [(); 2].map(|()| stranger());
        let (_reads, _also) = (reader.line.begin(1), second.line.begin(1));
        assert!(reader.shows(Rank::ReadOnly) && reader.shows(Rank::ReadOnly));
        assert!(!second.shows(Rank::ReadOnly), "there may be one");
        assert!(second.shows(Rank::Operator));
        // Nobody of these makes room for strangers.
        let strangers: Vec<Visit> = (0..9).map(|_| stranger()).collect();
        assert_eq!(strangers.iter().filter(|visit| !has_left(visit)).count(), 2);
        let third = strangers.last().expect("nine");
        assert!(!third.shows(Rank::Operator), "all have work");
        drop(second);
        assert!(third.shows(Rank::Operator));
        assert!(reader.line.begin(9).is_some());
    }

    #[test]
    fn the_unix_socket_gets_in_while_somebody_has_no_work() {
        let visits =
            Visits::with(Room { strangers: 0, strangers_per_network: 0, read_only: 0, known: 2 });
        let operator = || arrives(&visits, Network::Local, Rank::Operator);
        let (first, _second) = (operator().expect("room"), operator().expect("room"));
        let third = operator().expect("the first makes room");
        assert_eq!(has_left(&first), !has_left(&third));
    }

    #[test]
    fn an_address_is_that_of_a_host() {
        let network = |text: &str| Network::from(text.parse::<IpAddr>().expect("an address"));
        assert_eq!(network("::ffff:127.0.0.1"), HERE);
        assert_eq!(network("2001:db8:0:1::7"), THERE);
        assert_eq!(network("2001:db8:0:1:ffff::"), THERE);
        assert_ne!(network("2001:db8:0:2::7"), THERE);
        assert_ne!(network("127.0.0.2"), HERE);
    }
}
