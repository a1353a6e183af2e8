//! Sends, and peers that take them at their own pace. Called by the simulated kernel when a send
//! begins and whenever a peer has taken something.

use super::super::Errno;
use super::PeerRate;
use super::kernel::{Answer, Event, InFlight, Kernel, Request};
use super::memory;

impl Kernel {
    pub(super) fn wake_send(&mut self, socket: usize) {
        let place = &mut self.sockets[socket];
        if !place.checking_send && place.send.is_some() {
            place.checking_send = true;
            self.soon(Event::Send(socket));
        }
    }

    /// Lets the send in flight of a socket go as far as the send buffer has room.
    pub(super) fn check_send(&mut self, socket: usize) {
        self.sockets[socket].checking_send = false;
        let Some(send) = self.sockets[socket].send else { return };
        if self.dice.chance(self.faults.connection_error) {
            self.break_connection(socket);
        }
        loop {
            let place = &self.sockets[socket];
            if place.dead || place.shut_write {
                return self.end_send(send, Errno::PIPE);
            }
            let room =
                place.send_buffer_bytes.saturating_sub(place.sending.len() + place.unheard_bytes);
            if room == 0 {
                return;
            }
            let done = self.send_once(socket, send, room);
            self.wake_drain(socket);
            if done {
                let sent = self.sent(send);
                self.sockets[socket].send = None;
                self.complete(send, Answer::Sent(Ok(sent)));
                return self.disarm(socket, send);
            }
        }
    }

    /// Moves up to `room` bytes into the send buffer; whether the send has ended.
    fn send_once(&mut self, socket: usize, id: u64, room: usize) -> bool {
        let short = self.dice.chance(self.faults.short_send);
        let dice = &mut self.dice;
        let request = &mut self.operations.get_mut(&id).expect("an armed send").request;
        let Request::Send { range, total, sent } = request else { unreachable!("not a send") };
        let most = room.min(*total - *sent);
        let count = if short { dice.part(most) } else { most };
        memory::read_send(range, *sent, count, &mut self.sockets[socket].sending);
        *sent += count;
        short || *sent == *total || !self.options.send_waitall
    }

    fn sent(&self, id: u64) -> usize {
        match self.operations[&id].request {
            Request::Send { sent, .. } => sent,
            _ => 0,
        }
    }

    /// Ends an armed send: with what it has sent, or with an error if that is nothing.
    pub(super) fn end_send(&mut self, id: u64, errno: Errno) {
        let InFlight { socket, .. } = self.operations[&id];
        let socket = socket.expect("an armed send has a socket");
        // Why it ended is told to nobody else, nor to this send if a part was sent.
        let errno = match errno {
            Errno::CANCELED => errno,
            _ => self.sockets[socket].error.take().unwrap_or(errno),
        };
        let result = match self.sent(id) {
            0 => Err(errno),
            sent => Ok(sent),
        };
        self.post(id, Answer::Sent(result), false);
    }

    /// The peer takes what it can now; the rest later.
    pub(super) fn wake_drain(&mut self, socket: usize) {
        let place = &mut self.sockets[socket];
        match place.rate {
            PeerRate::Instant => place.drain(usize::MAX),
            // A FIN needs no room.
            _ if place.sending.is_empty() => place.drain(0),
            PeerRate::BytesPerMs(_) if !place.draining => {
                place.draining = true;
                let delay_ms = self.dice.between(1, 16) as u64;
                self.later(delay_ms, Event::Drain(socket));
            }
            PeerRate::BytesPerMs(_) | PeerRate::Stalled => {}
        }
    }

    pub(super) fn drain(&mut self, socket: usize) {
        let lump_ms = self.dice.between(1, 16);
        let place = &mut self.sockets[socket];
        place.draining = false;
        if let PeerRate::BytesPerMs(bytes) = place.rate {
            place.drain(bytes as usize * lump_ms);
        }
        self.wake_drain(socket);
        self.wake_send(socket);
    }
}
