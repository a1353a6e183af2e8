//! The other end of the simulated network: what a test does in the place of the peers.

use super::super::{AddressFamily, Errno};
use super::faults::{Dice, Faults};
use super::kernel::Kernel;
use crate::clock::Moment;
use std::cell::RefCell;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;

/// A peer, hence a connection; never reused within a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub(super) usize);

/// How fast a peer takes what the server sends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PeerRate {
    /// At once.
    #[default]
    Instant,
    /// So many bytes a millisecond, in lumps.
    BytesPerMs(u32),
    /// Not at all: what the server sends stays in its send buffer.
    Stalled,
}

/// What a peer sees of its connection, and some of what it cannot see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerState {
    /// The server has accepted the connection.
    pub accepted: bool,
    /// The server has closed its end and the peer has everything that came before.
    pub finished: bool,
    /// The connection was reset by the server, or is broken.
    pub reset: bool,
    /// A fault broke the connection.
    pub broken: Option<Errno>,
    /// The slot the connection has.
    pub slot: Option<u32>,
    /// Bytes the peer wrote that the server has not taken.
    pub unread_bytes: usize,
    /// Bytes the server sent that the peer has not taken.
    pub undelivered_bytes: usize,
}

/// What must be zero when all is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quiescence {
    /// Operations pushed whose terminal completion was not taken; the doorbell's does not count.
    pub operations_in_flight: usize,
    /// Completions that were not taken.
    pub completions: usize,
    /// Slots that hold a connection.
    pub slots_used: usize,
    /// Receive buffers of which a lease exists.
    pub buffers_lent: usize,
    /// Records in the table of sends.
    pub sends_in_flight: usize,
}

impl Quiescence {
    /// Whether nothing is left.
    pub fn is_zero(&self) -> bool {
        *self == Self::default()
    }
}

/// What an engine must never do to a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Violation {
    /// A second receive, send or await-hangup on one slot, or a second accept on one listener.
    SecondInFlight,
    /// An operation on a slot that holds no connection.
    SlotClosed,
    /// An operation with the generation of an earlier owner of the slot, or a cancel that would
    /// end what belongs to the slot's new owner.
    GenerationStale,
    /// A new owner of a slot was given the generation of the one before.
    GenerationRepeated,
    /// Close while other operations of the slot are in flight. A receive that is armed keeps the
    /// connection open: it goes on under its old token, and the peer sees no FIN.
    CloseInFlight,
}

/// A handle to the network of a [`SimRing`](super::SimRing). Does nothing by itself: all that is
/// done through it happens at the ring's current time.
#[derive(Clone)]
pub struct SimNet {
    kernel: Rc<RefCell<Kernel>>,
}

impl SimNet {
    pub(super) fn new(kernel: Rc<RefCell<Kernel>>) -> Self {
        Self { kernel }
    }

    /// The ring's time.
    pub fn now(&self) -> Moment {
        Moment::from_millis(self.kernel.borrow().now_ms)
    }

    /// Connects a peer to a listener; it waits to be accepted, and may write already.
    pub fn connect(&self, listener: u32) -> PeerId {
        self.kernel.borrow_mut().peer_connects(listener)
    }

    /// Writes. The peer never waits: what exceeds the server's window is kept on the peer's side.
    /// `false`, and nothing written, when the connection is gone.
    pub fn peer_write(&self, peer: PeerId, bytes: &[u8]) -> bool {
        self.kernel.borrow_mut().peer_writes(peer.0, bytes)
    }

    /// From now on the peer always has something to say: these bytes, again and again, behind what it
    /// wrote. A multishot receive then takes all the buffers there are within one entry into the
    /// kernel, as the real one does.
    pub fn peer_floods(&self, peer: PeerId, bytes: &[u8]) {
        self.kernel.borrow_mut().peer_floods(peer.0, bytes);
    }

    /// Takes what the server's sends have delivered.
    pub fn peer_read(&self, peer: PeerId) -> Vec<u8> {
        std::mem::take(&mut self.kernel.borrow_mut().sockets[peer.0].delivered)
    }

    /// Closes the peer's end, behind what it wrote.
    pub fn peer_shutdown(&self, peer: PeerId) {
        self.kernel.borrow_mut().peer_ends(peer.0);
    }

    /// Resets the connection: whatever is under way, in both directions, is lost.
    pub fn peer_reset(&self, peer: PeerId) {
        self.kernel.borrow_mut().peer_resets(peer.0);
    }

    /// Sets how fast the peer takes what the server sends.
    pub fn peer_set_rate(&self, peer: PeerId, rate: PeerRate) {
        self.kernel.borrow_mut().peer_takes(peer.0, rate);
    }

    /// What the peer's system acknowledges is not heard until the server receives something.
    pub fn peer_goes_unheard(&self, peer: PeerId) {
        self.kernel.borrow_mut().sockets[peer.0].deaf = true;
    }

    /// The address the server can know a peer by.
    pub fn peer_address(&self, peer: PeerId, family: AddressFamily) -> SocketAddr {
        address_of(peer.0, family)
    }

    /// The state of a peer's connection.
    pub fn peer_state(&self, peer: PeerId) -> PeerState {
        let kernel = self.kernel.borrow();
        let socket = &kernel.sockets[peer.0];
        PeerState {
            accepted: socket.accepted,
            finished: socket.fin_delivered,
            reset: socket.reset_delivered,
            broken: socket.broken,
            slot: socket.slot,
            unread_bytes: socket.written.len() + socket.received.len(),
            undelivered_bytes: socket.sending.len(),
        }
    }

    /// Nothing goes wrong from now on.
    pub fn stop_faults(&self) {
        self.kernel.borrow_mut().faults = Faults::none();
    }

    /// What is left to be zero at the end.
    pub fn quiescent(&self) -> Quiescence {
        self.kernel.borrow_mut().quiescence()
    }

    /// What was done that must not be done. Empty in a strict ring, which panics instead.
    pub fn violations(&self) -> Vec<Violation> {
        self.kernel.borrow().violations.clone()
    }

    /// A hash of every submission, every completion and every byte received and sent. The same
    /// for the same seed, or something in the program is not deterministic.
    pub fn trace_hash(&self) -> u64 {
        self.kernel.borrow().trace
    }

    /// Dice of their own for the test's scripts, drawn from the ring's seed.
    pub fn dice(&self) -> Dice {
        Dice::new(self.kernel.borrow_mut().dice.bits())
    }
}

/// Where the peer of this socket is.
pub(super) fn address_of(socket: usize, family: AddressFamily) -> SocketAddr {
    let ip: IpAddr = match family {
        AddressFamily::V4 => Ipv4Addr::LOCALHOST.into(),
        AddressFamily::V6 => Ipv6Addr::LOCALHOST.into(),
    };
    SocketAddr::new(ip, 1_024_u16.wrapping_add(socket as u16))
}
