//! How many connections the process has, and how many of them come from one address.
//!
//! One for all shards, looked at when a connection comes and when it goes, never for a message. The
//! counts are exact. Per address they are in pieces, each under a lock that is held for one look-up;
//! addresses that are trusted, Unix sockets, and whoever the kernel does not tell of are not counted
//! by address, and cost nothing here. [`account`](crate::engine::connection::account) counts by the same addresses.

use crate::clock::Moment;
use crate::engine::connection::context::Context;
use crate::engine::connection::state::Flag;
use crate::engine::connection::{Connection, Phase};
use crate::engine::model::settings::{AddressRange, Settings};
use crate::proto::{CloseCode, Refusal};
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Locks, so that shards seldom meet at one.
const PIECES: usize = 64;

/// Time between two lines about addresses with too many connections.
const WARNING_INTERVAL: Duration = Duration::from_secs(10);

/// The reason of the Close for a connection that was open before its address was known.
const CROWDED: &str = "too many connections from this address";

/// Whose connections are counted together: an IPv4 address, or the keyed hash of an IPv6 network of
/// 64 bits, which is what one subscriber has. Small, because there is one for each in the table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(in crate::engine) struct Network([u8; 6]);

/// See the module.
pub(in crate::engine) struct Places {
    /// Connections of the process at most, and those there are.
    max: u32,
    taken: AtomicU32,
    /// Connections of one address at most, never more than half of all; 0: as many as there are.
    address_max: u16,
    trusted: Vec<AddressRange>,
    pieces: [Mutex<HashMap<Network, u16>>; PIECES],
    keys: RandomState,
    /// Lines about addresses that have too many, and about the end of all places.
    crowded: Seldom,
    full: Seldom,
}

/// What may be logged once in a [`WARNING_INTERVAL`]: when again, in milliseconds.
#[derive(Default)]
struct Seldom(AtomicU64);

impl Seldom {
    /// Whether it is time for a line, which this thread is to write.
    fn is_due(&self, now: Moment) -> bool {
        let until = self.0.load(Ordering::Relaxed);
        let next = (now + WARNING_INTERVAL).as_millis();
        let take = || self.0.compare_exchange(until, next, Ordering::Relaxed, Ordering::Relaxed);
        now.as_millis() >= until && take().is_ok()
    }
}

impl Places {
    /// So many places, shared out as the settings say.
    pub(in crate::engine) fn new(max: u32, settings: &Settings) -> Self {
        let half = u16::try_from(max / 2).unwrap_or(u16::MAX).max(1);
        Self {
            max,
            taken: AtomicU32::new(0),
            address_max: settings.limits.connections_per_address_max.min(half),
            trusted: settings.limits.trusted_addresses.clone(),
            pieces: std::array::from_fn(|_| Mutex::default()),
            keys: RandomState::new(),
            crowded: Seldom::default(),
            full: Seldom::default(),
        }
    }

    /// A connection comes. `false`: there is no place for it.
    pub(in crate::engine) fn take(&self) -> bool {
        let taken = self.taken.fetch_add(1, Ordering::Relaxed) < self.max;
        if !taken {
            self.taken.fetch_sub(1, Ordering::Relaxed);
        }
        taken
    }

    /// A connection that had a place has gone, or is not to have it any more.
    pub(in crate::engine) fn give_back(&self) {
        self.taken.fetch_sub(1, Ordering::Relaxed);
    }

    /// One with a place turns out to come from there. `false`: too many do.
    fn take_of(&self, ip: IpAddr) -> bool {
        let Some(network) = self.network(ip) else { return true };
        let mut piece = self.piece(network);
        let count = piece.entry(network).or_default();
        let taken = *count < self.address_max;
        *count += u16::from(taken);
        taken
    }

    /// It has gone.
    fn give_back_of(&self, ip: IpAddr) {
        let Some(network) = self.network(ip) else { return };
        let mut piece = self.piece(network);
        if let Some(count) = piece.get_mut(&network) {
            *count -= 1;
            if *count == 0 {
                piece.remove(&network);
            }
        }
    }

    /// `None` for an address that may have as many as it likes.
    pub(in crate::engine) fn network(&self, ip: IpAddr) -> Option<Network> {
        if self.address_max == 0 || self.trusted.iter().any(|range| range.contains(ip)) {
            return None;
        }
        let mut network = Network::default();
        match ip {
            IpAddr::V4(ip) => network.0[2..].copy_from_slice(&ip.octets()),
            IpAddr::V6(ip) => {
                let hash = self.keys.hash_one(&ip.octets()[..8]);
                network.0.copy_from_slice(&hash.to_be_bytes()[2..]);
            }
        }
        Some(network)
    }

    fn piece(&self, network: Network) -> MutexGuard<'_, HashMap<Network, u16>> {
        let piece = &self.pieces[self.keys.hash_one(network) as usize % PIECES];
        // Nothing panics while it holds the lock.
        piece.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says, now and then, who has too many and what to do about it.
    fn warn(&self, ip: IpAddr, now: Moment) {
        if self.crowded.is_due(now) {
            tracing::warn!(
                target: "ringwire::places",
                %ip,
                most = self.address_max,
                "one address has as many connections as it may; if it is a proxy, list it in \
                 limits.trusted_addresses"
            );
        }
    }

    /// Says, now and then, that there is no place left, or none on one of the shards.
    #[cold]
    pub(in crate::engine) fn warn_full(&self, now: Moment) {
        if self.full.is_due(now) {
            tracing::warn!(
                target: "ringwire::places",
                most = self.max,
                "there are as many connections as there may be, and newcomers are refused with 503; \
                 raise connections_max, or the limit of open files (ringwire doctor shows both)"
            );
        }
    }
}

impl Connection {
    /// The kernel has told who the peer is. One of too many from there gives its place up, and is
    /// told so as soon as it has asked for something, or has not for a while.
    pub(in crate::engine) fn handle_peer(&mut self, peer: Option<SocketAddr>, context: &Context) {
        self.set_peer(peer, context);
        let Some(peer) = peer else { return };
        if self.flags.has(Flag::OverCapacity) || context.places.take_of(peer.ip()) {
            return;
        }
        self.flags.set(Flag::OverCapacity);
        context.places.give_back();
        context.places.warn(peer.ip(), context.now.get());
        match self.phase {
            Phase::Head(_) => {
                self.status = 429;
                self.phase = Phase::Head((context.now.get() + self.head_patience(context)).into());
                self.reschedule(context);
            }
            Phase::Deciding => {
                self.status = 429;
                self.refuse(&self.no_room(), context);
            }
            Phase::Open(_) => self.start_close(CloseCode::TRY_AGAIN_LATER, CROWDED, context),
            Phase::Closing(_) | Phase::Lingering(_) | Phase::Gone => {}
        }
    }

    /// How long it may take to ask for something.
    pub(in crate::engine) fn head_patience(&self, context: &Context) -> Duration {
        let timeouts = &context.settings.timeouts;
        match self.flags.has(Flag::OverCapacity) {
            true => timeouts.linger.min(timeouts.request_head),
            false => timeouts.request_head,
        }
    }

    /// What one without a place is told: the whole server is full, or its address has too many.
    /// When to come back is spread, so that not all do so in the same second.
    pub(in crate::engine) fn no_room(&self) -> Refusal {
        let spread = self.id.slot ^ self.id.generation;
        let seconds = 5 + (spread.wrapping_mul(0x9e37_79b9) >> 16) % 26;
        let refusal = match self.status {
            429 => Refusal::new(429, "as many connections as one address may have"),
            _ => Refusal::new(503, "as many connections as this server takes; try again later"),
        };
        refusal.with_own_header("Retry-After", &seconds.to_string())
    }

    /// It is gone, and its place is free.
    pub(in crate::engine) fn leave_place(&self, context: &Context) {
        if self.flags.has(Flag::OverCapacity) {
            return;
        }
        context.places.give_back();
        if let Some(peer) = self.peer(context) {
            context.places.give_back_of(peer.ip());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(max: u32, per_address: u16, trusted: &[&str]) -> Places {
        let mut settings = Settings::default();
        settings.limits.connections_per_address_max = per_address;
        settings.limits.trusted_addresses =
            trusted.iter().map(|text| text.parse().expect("a range")).collect();
        Places::new(max, &settings)
    }

    #[test]
    fn places_are_counted_for_all_and_come_back() {
        let places = places(2, 1, &[]);
        assert!(places.take() && places.take());
        assert!(!places.take() && !places.take());
        places.give_back();
        assert!(places.take() && !places.take());
    }

    #[test]
    fn an_address_has_so_many_and_a_network_of_ipv6_is_one() {
        let places = places(1_000, 2, &["10.0.0.0/8", "fd00::/8"]);
        let take = |ip: &str| places.take_of(ip.parse().expect("an address"));
        for [first, second, third, other] in [
            ["192.0.2.1", "192.0.2.1", "192.0.2.1", "192.0.2.2"],
            ["2001:db8:0:1::1", "2001:db8:0:1::2", "2001:db8:0:1:ffff::", "2001:db8:0:2::1"],
        ] {
            assert!(take(first) && take(second) && !take(third) && !take(first));
            assert!(take(other));
            places.give_back_of(second.parse().expect("an address"));
            assert!(take(third) && !take(third));
        }
        for trusted in ["10.1.2.3", "fd00::1"] {
            assert!((0..10).all(|_| take(trusted)), "{trusted}");
            places.give_back_of(trusted.parse().expect("an address"));
        }
        let kept = |places: &Places| places.pieces.iter().map(|p| p.lock().unwrap().len()).sum();
        let all: usize = kept(&places);
        assert_eq!(all, 4);
        for ip in ["192.0.2.1", "192.0.2.1", "192.0.2.2", "2001:db8:0:1::", "2001:db8:0:1::9"] {
            places.give_back_of(ip.parse().expect("an address"));
        }
        places.give_back_of("2001:db8:0:2::".parse().expect("an address"));
        let all: usize = kept(&places);
        assert_eq!(all, 0, "an address without connections costs nothing");
    }

    #[test]
    fn no_address_has_more_than_half_unless_there_is_no_limit() {
        for (max, wanted, most) in
            [(1, 9, 1), (40, 9, 9), (40, 99, 20), (1 << 20, 1_024, 1_024), (10, 0, 0)]
        {
            assert_eq!(places(max, wanted, &[]).address_max, most);
        }
        let unlimited = places(10, 0, &[]);
        assert!((0..10).all(|_| unlimited.take_of("192.0.2.1".parse().expect("an address"))));
    }

    #[test]
    fn what_proxies_and_bridges_use_is_trusted_unless_told_otherwise() {
        let places = Places::new(100, &Settings::default());
        for near in ["127.0.0.1", "127.8.9.1", "::1", "10.0.0.1", "172.17.0.1", "192.168.1.1"] {
            assert_eq!(places.network(near.parse().expect("an address")), None, "{near}");
        }
        for far in ["8.8.8.8", "172.32.0.1", "2001:db8::1", "100.128.0.1"] {
            assert!(places.network(far.parse().expect("an address")).is_some(), "{far}");
        }
    }
}
