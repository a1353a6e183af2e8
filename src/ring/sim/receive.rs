//! Receives and the wait for a hang-up, as the simulated kernel does them. Called when something
//! has come into a socket or an operation begins; completions go to `kernel`.

use super::super::Errno;
use super::kernel::{Answer, Event, Kernel, Request};

/// Shots that a receive makes before others have their turn, as in the real kernel.
const SHOTS_MAX: usize = 32;

impl Kernel {
    /// A receive was submitted. As in the real kernel it takes a buffer before it looks for something
    /// to put there, and what is there before those that were armed earlier have their turn, unless
    /// it is late. Where nobody floods, a multishot receive is always that late.
    pub(super) fn begin_receive(&mut self, socket: usize, receive: u64, once: bool) {
        if !self.memory.has_buffer() {
            return self.post(receive, Answer::Plain(Err(Errno::NOBUFS)), false);
        }
        if (once || self.flooded)
            && self.sockets[socket].readable()
            && !self.dice.chance(self.faults.delay)
        {
            self.check_receive(socket);
        } else {
            self.wake_receive(socket);
        }
    }

    pub(super) fn wake_receive(&mut self, socket: usize) {
        let place = &mut self.sockets[socket];
        if !place.checking_receive && place.receive.is_some() && place.readable() {
            place.checking_receive = true;
            self.soon(Event::Receive(socket));
        }
    }

    /// Lets the armed receive of a socket take what is there.
    pub(super) fn check_receive(&mut self, socket: usize) {
        self.sockets[socket].checking_receive = false;
        if self.sockets[socket].receive.is_some() && self.dice.chance(self.faults.connection_error)
        {
            self.break_connection(socket);
        }
        for _ in 0..self.dice.between(1, SHOTS_MAX) {
            let Some(receive) = self.sockets[socket].receive else { return };
            if !self.sockets[socket].readable() {
                return;
            }
            self.receive_shot(socket, receive);
        }
        self.wake_receive(socket);
    }

    /// One shot of the armed receive of a socket.
    fn receive_shot(&mut self, socket: usize, receive: u64) {
        let place = &mut self.sockets[socket];
        if place.received.is_empty() {
            let end = match place.error.take() {
                Some(errno) => Answer::Plain(Err(errno)),
                None => self.end_of_stream(socket),
            };
            return self.post(receive, end, false);
        }
        let once = match self.operations[&receive].request {
            Request::Receive { once } => once,
            _ => None,
        };
        let waiting = place.received.len().min(once.map_or(usize::MAX, |most| most as usize));
        let most = match self.dice.chance(self.faults.short_receive) {
            true => self.dice.part(waiting),
            false => waiting,
        };
        if self.dice.chance(self.faults.out_of_buffers) {
            return self.post(receive, Answer::Plain(Err(Errno::NOBUFS)), false);
        }
        let place = &mut self.sockets[socket];
        let Some(written) = self.memory.write(&mut place.received, most) else {
            return self.post(receive, Answer::Plain(Err(Errno::NOBUFS)), false);
        };
        place.flow();
        (place.deaf, place.unheard_bytes) = (false, 0);
        self.wake_send(socket);
        let ends = once.is_some() || self.completions_full();
        let more = !ends && !self.dice.chance(self.faults.early_end);
        self.post(receive, Answer::Received(written), more);
        self.wake_hangup(socket);
    }

    /// The end of a stream names no buffer, or one with nothing in it.
    fn end_of_stream(&mut self, socket: usize) -> Answer {
        match self.dice.chance(self.faults.end_with_buffer) {
            true => Answer::Ended(self.memory.write(&mut self.sockets[socket].received, 0)),
            false => Answer::Ended(None),
        }
    }

    pub(super) fn wake_hangup(&mut self, socket: usize) {
        let place = &mut self.sockets[socket];
        if !place.checking_hangup && place.hangup.is_some() && place.ended() {
            place.checking_hangup = true;
            self.soon(Event::Hangup(socket));
        }
    }

    pub(super) fn check_hangup(&mut self, socket: usize) {
        let place = &mut self.sockets[socket];
        place.checking_hangup = false;
        if place.ended()
            && let Some(hangup) = place.hangup
        {
            // POLLERR: there is an error that nobody was told of.
            let reset = place.error.is_some();
            self.post(hangup, Answer::HungUp { reset }, false);
        }
    }
}
