//! The simulator's ring, and its peers.

use super::super::sim::{PeerId, PeerRate, SimNet, SimOptions, SimRing};
use super::super::{AddressFamily, ReceiveMode, Ring};
use super::{End, Link, Seen, Sizes, World};
use std::net::SocketAddr;
use std::time::Duration;

pub(super) struct Simulated {
    ring: SimRing,
    net: SimNet,
}

pub(super) struct Peer {
    id: PeerId,
    link: Link,
}

impl World for Simulated {
    type Ring = SimRing;
    type Peer = Peer;

    const QUEUES: bool = true;

    fn links() -> Vec<Link> {
        vec![Link::V4, Link::V6]
    }

    fn receive_modes() -> Vec<ReceiveMode> {
        vec![ReceiveMode::Incremental, ReceiveMode::Classic]
    }

    fn new(sizes: &Sizes) -> Self {
        let options = SimOptions {
            submission_entries: sizes.submission_entries as usize,
            completion_entries: sizes.completion_entries as usize,
            slots: sizes.slots,
            listeners: 3,
            buffer_count: sizes.buffer_count,
            buffer_bytes: sizes.buffer_bytes,
            receive: sizes.receive,
            send_waitall: sizes.send_waitall,
            ..SimOptions::default()
        };
        let ring = SimRing::new(1, options);
        let net = ring.net();
        Self { ring, net }
    }

    fn ring(&mut self) -> &mut SimRing {
        &mut self.ring
    }

    fn connect(&mut self, link: Link) -> Peer {
        let id = self.net.connect(link as u32);
        self.net.peer_set_rate(id, PeerRate::Stalled);
        Peer { id, link }
    }

    fn address(&self, peer: &Peer) -> Option<SocketAddr> {
        match peer.link {
            Link::V4 => Some(self.net.peer_address(peer.id, AddressFamily::V4)),
            Link::V6 => Some(self.net.peer_address(peer.id, AddressFamily::V6)),
            Link::Unix => None,
        }
    }

    fn write(&mut self, peer: &mut Peer, bytes: &[u8]) -> usize {
        self.net.peer_write(peer.id, bytes);
        bytes.len()
    }

    fn look(&mut self, peer: &mut Peer) -> Seen {
        self.net.peer_set_rate(peer.id, PeerRate::Instant);
        let bytes = self.net.peer_read(peer.id);
        let state = self.net.peer_state(peer.id);
        self.net.peer_set_rate(peer.id, PeerRate::Stalled);
        let end = match (state.reset, state.finished) {
            (true, _) => Some(End::Reset),
            (false, true) => Some(End::Finished),
            (false, false) => None,
        };
        Seen { bytes, end }
    }

    fn shut_down(&mut self, peer: &mut Peer) {
        self.net.peer_shutdown(peer.id);
    }

    fn reset(&mut self, peer: Peer) {
        self.net.peer_reset(peer.id);
    }

    fn ring_during_the_wait(&mut self) {
        let (bell, at) = (self.ring.doorbell(), self.ring.now() + Duration::from_millis(30));
        let mut bell = Some(bell);
        self.ring.set_driver(move |net| {
            if net.now() >= at
                && let Some(bell) = bell.take()
            {
                bell.ring();
            }
            bell.is_some().then_some(at)
        });
    }
}
