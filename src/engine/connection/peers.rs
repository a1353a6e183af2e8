//! Who the peers of a shard's connections are.
//!
//! A connection has room for an IPv4 address. Those of IPv6, which are three times as large, are in
//! a table by slot, so that a server without them has no memory for them. The kernel tells the
//! address after the accept, and the connection keeps it; whether so many may come is
//! [`places`](crate::engine::connection::places).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// A peer, as its connection has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::engine) enum Peer {
    /// The kernel has not told, or there is nothing to tell.
    #[default]
    Unknown,
    V4(Ipv4Addr, u16),
    /// Its address is in the table.
    V6(u16),
}

/// The addresses of IPv6 peers, by slot.
#[derive(Default)]
pub(in crate::engine) struct Peers(Vec<Ipv6Addr>);

impl Peers {
    /// What to keep of the address of the peer in this slot.
    pub(in crate::engine) fn keep(&mut self, slot: u32, address: Option<SocketAddr>) -> Peer {
        let Some(address) = address else { return Peer::Unknown };
        match address.ip().to_canonical() {
            IpAddr::V4(ip) => Peer::V4(ip, address.port()),
            IpAddr::V6(ip) => {
                let slot = slot as usize;
                if slot >= self.0.len() {
                    self.0.resize(slot + 1, Ipv6Addr::UNSPECIFIED);
                }
                self.0[slot] = ip;
                Peer::V6(address.port())
            }
        }
    }

    /// The address that was kept.
    pub(in crate::engine) fn address(&self, slot: u32, peer: Peer) -> Option<SocketAddr> {
        match peer {
            Peer::Unknown => None,
            Peer::V4(ip, port) => Some((ip, port).into()),
            Peer::V6(port) => Some((*self.0.get(slot as usize)?, port).into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::bench::Seated;
    use crate::engine::model::task::Task;

    #[test]
    fn what_is_kept_comes_back_in_its_own_family() {
        let mut peers = Peers::default();
        for (slot, address, told) in [
            (0, "127.0.0.1:80", "127.0.0.1:80"),
            (7, "[2001:db8::7]:65535", "[2001:db8::7]:65535"),
            (2, "[2001:db8::2]:1", "[2001:db8::2]:1"),
            (3, "[::ffff:10.0.0.1]:443", "10.0.0.1:443"),
        ] {
            let peer = peers.keep(slot, Some(address.parse().unwrap()));
            assert_eq!(peers.address(slot, peer), Some(told.parse().unwrap()));
        }
        assert_eq!(peers.keep(1, None), Peer::Unknown);
        assert_eq!(peers.address(1, Peer::Unknown), None);
    }
    #[test]
    fn who_has_outlived_its_connection_knows_its_own_peer() {
        let seated = Seated::new(1);
        let peers = ["[2001:db8::1]:80", "[2001:db8::2]:81"].map(|text| text.parse().ok());
        let enter = |peer| {
            let id = seated.spawn(Task::new(std::future::pending()));
            let mut slots = seated.core.slots.borrow_mut();
            slots.of_handler(id).expect("it is there").set_peer(peer, &seated.core);
            id
        };
        let old = enter(peers[0]);
        seated.give_up(old);
        let new = enter(peers[1]);
        let mut slots = seated.core.slots.borrow_mut();
        for (id, peer) in [(old, peers[0]), (new, peers[1])] {
            let connection = slots.of_handler(id).expect("its handler lives");
            assert_eq!(connection.peer(&seated.core), peer);
        }
    }
}
