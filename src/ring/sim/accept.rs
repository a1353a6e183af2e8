//! Listeners, accepts, and what the peers do, as the simulated kernel does it. Called for
//! submissions and by `net` for the peers; completions go to `kernel`.

use super::super::Errno;
use super::PeerRate;
use super::kernel::{Answer, Event, Kernel, Request};
use super::net::PeerId;
use super::socket::Socket;

impl Kernel {
    pub(super) fn wake_accept(&mut self, listener: usize) {
        let place = &mut self.listeners[listener];
        if !place.checking && place.accept.is_some() && !place.backlog.is_empty() {
            place.checking = true;
            self.soon(Event::Accept(listener));
        }
    }

    /// Accepts what waits, until there is nothing, or an error, or the accept ends.
    pub(super) fn check_accept(&mut self, listener: usize) {
        self.listeners[listener].checking = false;
        while let Some(accept) = self.listeners[listener].accept {
            let Some(socket) = self.listeners[listener].backlog.front().copied() else { return };
            if self.dice.chance(self.faults.accept_error) {
                return self.fail_accept(listener, accept, socket);
            }
            self.listeners[listener].backlog.pop_front();
            let Some(slot) = self.slots.iter().position(|slot| slot.socket.is_none()) else {
                // The real one closes the connection it has no slot for.
                self.refuse(socket);
                return self.end_accept(listener, accept, Err(Errno::NFILE));
            };
            self.slots[slot].socket = Some(socket);
            self.sockets[socket].slot = Some(slot as u32);
            self.sockets[socket].accepted = true;
            let once = matches!(self.operations[&accept].request, Request::Accept { once: true });
            let more =
                !once && !self.completions_full() && !self.dice.chance(self.faults.early_end);
            if !more {
                return self.end_accept(listener, accept, Ok(slot as u32));
            }
            self.post(accept, Answer::Accepted(slot as u32), true);
        }
    }

    fn fail_accept(&mut self, listener: usize, accept: u64, socket: usize) {
        let errors = [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::CONNABORTED];
        let errno = self.dice.pick(&errors);
        if errno == Errno::CONNABORTED {
            self.listeners[listener].backlog.pop_front();
            self.refuse(socket);
        }
        self.end_accept(listener, accept, Err(errno));
    }

    pub(super) fn end_accept(&mut self, listener: usize, id: u64, result: Result<u32, Errno>) {
        self.listeners[listener].accept = None;
        let answer = match result {
            Ok(slot) => Answer::Accepted(slot),
            Err(errno) => Answer::Plain(Err(errno)),
        };
        self.post(id, answer, false);
    }

    fn refuse(&mut self, socket: usize) {
        let place = &mut self.sockets[socket];
        place.kill(Errno::CONNRESET);
        place.reset_delivered = true;
        place.released = true;
    }

    pub(super) fn peer_connects(&mut self, listener: u32) -> PeerId {
        let socket = self.sockets.len();
        self.sockets.push(Socket {
            window_bytes: self.options.window_bytes,
            send_buffer_bytes: self.options.send_buffer_bytes,
            ..Socket::default()
        });
        self.listeners[listener as usize].backlog.push_back(socket);
        self.wake_accept(listener as usize);
        PeerId(socket)
    }

    pub(super) fn peer_writes(&mut self, socket: usize, bytes: &[u8]) -> bool {
        let place = &mut self.sockets[socket];
        assert!(!place.peer_fin, "a peer writes behind its own FIN");
        if place.dead {
            return false;
        }
        if place.shut_read {
            // Nobody will read this: the server's kernel answers with a reset.
            place.kill(Errno::CONNRESET);
            place.reset_delivered = true;
            self.wake_all(socket);
            return false;
        }
        place.written.extend(bytes);
        place.flow();
        self.wake_receive(socket);
        true
    }

    pub(super) fn peer_floods(&mut self, socket: usize, bytes: &[u8]) {
        let place = &mut self.sockets[socket];
        (place.flood, place.flood_at) = (bytes.to_vec(), 0);
        place.flow();
        self.flooded = true;
        self.wake_receive(socket);
    }

    pub(super) fn peer_ends(&mut self, socket: usize) {
        self.sockets[socket].peer_fin = true;
        self.wake_receive(socket);
        self.wake_hangup(socket);
    }

    pub(super) fn peer_resets(&mut self, socket: usize) {
        let place = &mut self.sockets[socket];
        place.peer_fin = true;
        if !place.dead {
            place.kill(Errno::CONNRESET);
            // What arrived before the reset can be read, or was lost with it.
            if self.dice.chance(500) {
                let place = &mut self.sockets[socket];
                let kept = self.dice.below(place.received.len() + 1);
                place.received.truncate(kept);
            }
            self.wake_all(socket);
        }
    }

    /// A fault breaks the connection.
    pub(super) fn break_connection(&mut self, socket: usize) {
        let errno = self.dice.pick(&[Errno::CONNRESET, Errno::TIMEDOUT, Errno::PIPE]);
        self.break_with(socket, errno);
    }

    pub(super) fn break_with(&mut self, socket: usize, errno: Errno) {
        let place = &mut self.sockets[socket];
        if !place.dead {
            place.kill(errno);
            place.broken = Some(errno);
            place.reset_delivered = true;
            self.wake_all(socket);
        }
    }

    pub(super) fn peer_takes(&mut self, socket: usize, rate: PeerRate) {
        let place = &mut self.sockets[socket];
        place.rate = rate;
        self.wake_drain(socket);
        self.wake_send(socket);
    }

    pub(super) fn wake_all(&mut self, socket: usize) {
        self.wake_receive(socket);
        self.wake_send(socket);
        self.wake_hangup(socket);
    }
}
