//! One TCP connection between a peer and the server: both queues, both ends, no operations.
//!
//! The kernel of the simulator changes it; nothing here knows of completions.

use super::super::Errno;
use super::PeerRate;
use std::collections::VecDeque;

/// A connection, from `connect` on. Kept after its end, so that a test can look at it.
#[derive(Debug, Default)]
pub(super) struct Socket {
    /// Where it is installed, if it was accepted and not closed.
    pub(super) slot: Option<u32>,
    pub(super) accepted: bool,
    /// The server's end is closed: no slot and no operation holds it.
    pub(super) released: bool,

    /// Bytes that the peer has written and that do not fit the window yet.
    pub(super) written: VecDeque<u8>,
    /// What the peer says again and again for as long as the window has room, and where it is in it.
    pub(super) flood: Vec<u8>,
    pub(super) flood_at: usize,
    /// The server's receive queue.
    pub(super) received: VecDeque<u8>,
    pub(super) window_bytes: usize,
    /// The peer has closed its end, behind what it wrote.
    pub(super) peer_fin: bool,

    /// The server's send buffer.
    pub(super) sending: VecDeque<u8>,
    /// Bytes that were in it when the connection went: nobody will ever acknowledge them.
    pub(super) lost_bytes: usize,
    pub(super) send_buffer_bytes: usize,
    /// The peer's acknowledgements are dropped until something is received: as Linux from 6.17 on does
    /// behind a receive queue that is over its limit, whose window was closed behind what is in flight.
    pub(super) deaf: bool,
    /// Bytes that the peer has taken meanwhile.
    pub(super) unheard_bytes: usize,
    pub(super) rate: PeerRate,
    /// What the peer's side has taken.
    pub(super) delivered: Vec<u8>,
    /// The server's FIN has reached the peer.
    pub(super) fin_delivered: bool,

    pub(super) shut_read: bool,
    pub(super) shut_write: bool,
    /// The connection is gone: reset by either side, or broken.
    pub(super) dead: bool,
    /// The server has not been told yet why.
    pub(super) error: Option<Errno>,
    /// The peer was told by a reset.
    pub(super) reset_delivered: bool,
    /// The server's close is to be a reset.
    pub(super) reset_on_close: bool,
    /// What broke it, when a fault did.
    pub(super) broken: Option<Errno>,

    /// Armed operations.
    pub(super) receive: Option<u64>,
    pub(super) send: Option<u64>,
    pub(super) hangup: Option<u64>,
    /// Operations pushed whose terminal completion was not taken, by kind.
    pub(super) in_flight: [u32; 11],
    /// Which checks of the armed operations are on the agenda.
    pub(super) checking_receive: bool,
    pub(super) checking_send: bool,
    pub(super) checking_hangup: bool,
    pub(super) draining: bool,
}

impl Socket {
    /// What the peer has written moves into the receive queue as far as the window allows.
    pub(super) fn flow(&mut self) {
        let room = self.window_bytes.saturating_sub(self.received.len());
        let count = room.min(self.written.len());
        self.received.extend(self.written.drain(..count));
        if self.flood.is_empty() || self.peer_fin || self.dead {
            return;
        }
        for _ in count..room {
            self.received.push_back(self.flood[self.flood_at]);
            self.flood_at = (self.flood_at + 1) % self.flood.len();
        }
    }

    /// Whether the peer's FIN has arrived.
    pub(super) fn fin_arrived(&self) -> bool {
        self.peer_fin && self.written.is_empty()
    }

    /// Whether a receive finds anything: bytes, the end, or an error.
    pub(super) fn readable(&self) -> bool {
        !self.received.is_empty() || self.ended()
    }

    /// Whether nothing will come behind what is in the receive queue: what `POLLRDHUP` tells.
    pub(super) fn ended(&self) -> bool {
        self.dead || self.shut_read || self.fin_arrived()
    }

    /// The peer takes up to `count` bytes, and the FIN if it is next.
    pub(super) fn drain(&mut self, count: usize) {
        let count = count.min(self.sending.len());
        self.unheard_bytes += if self.deaf { count } else { 0 };
        self.delivered.extend(self.sending.drain(..count));
        if self.sending.is_empty() && self.shut_write && !self.dead {
            self.fin_delivered = true;
        }
    }

    /// The connection is gone, with what was under way. `errno` is what the server will be told.
    pub(super) fn kill(&mut self, errno: Errno) {
        if !self.dead {
            self.dead = true;
            self.error = Some(errno);
            self.written.clear();
            self.lost_bytes = self.sending.len();
            self.sending.clear();
        }
    }

    /// The server's end is closed. As in TCP, what was received and not read makes it a reset, and so
    /// does the wish for one.
    pub(super) fn release(&mut self) {
        self.released = true;
        self.shut_read = true;
        self.shut_write = true;
        if self.reset_on_close || !self.received.is_empty() || !self.written.is_empty() {
            self.kill(Errno::CONNRESET);
            self.reset_delivered = true;
        }
    }

    /// Whether an armed operation keeps the socket open.
    pub(super) fn held(&self) -> bool {
        self.receive.is_some() || self.send.is_some() || self.hangup.is_some()
    }
}
