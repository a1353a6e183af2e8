//! Submissions: checked when they are pushed, carried out when the engine enters the kernel.

use super::super::sends::SendData;
use super::super::{Errno, Operation, Submission, Token};
use super::kernel::{Answer, InFlight, Kernel, Request};
use super::memory;
use super::net::{Violation, address_of};

impl Kernel {
    /// The engine pushes a submission.
    pub(super) fn push(&mut self, token: Token, submission: Submission) {
        if self.queue.len() >= self.options.submission_entries {
            self.counters.submission_queue_full += 1;
            self.issue_queue();
        }
        self.note(&[self.now_ms, token.to_bits()]);
        let on_listener = token.operation == Operation::Accept
            || matches!(submission, Submission::Cancel(Operation::Accept));
        let socket = if on_listener {
            self.check_listener(token);
            None
        } else {
            self.check_slot(token)
        };
        let request = self.request(token, submission);
        if let Some(socket) = socket {
            self.sockets[socket].in_flight[token.operation as usize - 1] += 1;
        }
        self.counters.submissions += 1;
        let id = self.counters.submissions;
        let operation = InFlight { token, request, socket, decided: None, ended: false };
        self.operations.insert(id, operation);
        self.queue.push_back(id);
    }

    fn request(&mut self, token: Token, submission: Submission) -> Request {
        match submission {
            Submission::Accept => Request::Accept { once: false },
            Submission::AcceptOne => Request::Accept { once: true },
            Submission::Receive => Request::Receive { once: None },
            Submission::ReceiveOnce { bytes_max } => Request::Receive { once: Some(bytes_max) },
            Submission::Send(data) => self.request_send(token, data),
            Submission::ShutdownWrite => Request::ShutdownWrite,
            Submission::Cancel(operation) => Request::Cancel(operation),
            Submission::AwaitHangup => Request::AwaitHangup,
            Submission::PeerAddress(family) => Request::PeerAddress(family),
            Submission::Unacknowledged => Request::Unacknowledged,
            Submission::ResetOnClose => Request::ResetOnClose,
            Submission::Close => Request::Close,
        }
    }

    fn request_send(&mut self, token: Token, data: SendData) -> Request {
        for piece in data.iter() {
            self.note_bytes(piece);
        }
        let range = self.sends.begin(token.slot, data);
        Request::Send { total: memory::send_bytes(&range), range, sent: 0 }
    }

    pub(super) fn violate(&mut self, violation: Violation, token: Token) {
        assert!(!self.options.strict, "seed {}: {violation:?} by {token:?}", self.seed);
        self.violations.push(violation);
    }

    fn check_listener(&mut self, token: Token) {
        let listener = &mut self.listeners[token.slot as usize];
        if token.operation == Operation::Accept {
            listener.accepts_in_flight += 1;
            if listener.accepts_in_flight > 1 {
                self.violate(Violation::SecondInFlight, token);
            }
        }
    }

    /// Finds the socket an operation is about, and whether it may be.
    fn check_slot(&mut self, token: Token) -> Option<usize> {
        let slot = self.slots[token.slot as usize].clone();
        let cancels = token.operation == Operation::Cancel;
        let stale = slot.generation_before == Some(token.generation);
        let Some(socket) = slot.socket.filter(|_| !slot.closing) else {
            // A cancel that comes too late finds nothing.
            if !cancels {
                self.violate(Violation::SlotClosed, token);
            }
            return None;
        };
        if slot.generation.is_some_and(|generation| generation != token.generation)
            || cancels && stale
        {
            // A cancel finds nothing under an old token.
            if cancels {
                return None;
            }
            self.violate(Violation::GenerationStale, token);
            return Some(socket);
        }
        if slot.generation.is_none() && stale {
            self.violate(Violation::GenerationRepeated, token);
        }
        self.slots[token.slot as usize].generation = Some(token.generation);
        let in_flight = &self.sockets[socket].in_flight;
        let alone = matches!(
            token.operation,
            Operation::Receive
                | Operation::Send
                | Operation::Hangup
                | Operation::PeerAddress
                | Operation::Unacknowledged
        );
        if alone && in_flight[token.operation as usize - 1] > 0 {
            self.violate(Violation::SecondInFlight, token);
        }
        if token.operation == Operation::Close {
            if self.sockets[socket].in_flight.iter().any(|count| *count > 0) {
                self.violate(Violation::CloseInFlight, token);
            }
            self.slots[token.slot as usize].closing = true;
        }
        Some(socket)
    }

    /// Carries out what is in the submission queue, in order.
    pub(super) fn issue_queue(&mut self) {
        while let Some(operation) = self.queue.pop_front() {
            self.issue(operation);
        }
    }

    fn issue(&mut self, id: u64) {
        let InFlight { token, request, socket, .. } = &self.operations[&id];
        let (token, socket) = (*token, *socket);
        let index = token.slot as usize;
        match (request, socket) {
            (Request::Accept { .. }, _) => {
                self.listeners[index].accept = Some(id);
                self.wake_accept(index);
            }
            (Request::Cancel(operation), _) => {
                self.cancel(id, Token { operation: *operation, ..token })
            }
            (Request::Send { .. }, None) => self.complete(id, Answer::Sent(Err(Errno::BADF))),
            (Request::PeerAddress(_), None) => self.complete(id, Answer::Address(None)),
            (Request::Unacknowledged, None) => self.complete(id, Answer::Unacknowledged(None)),
            (_, None) => self.complete(id, Answer::Plain(Err(Errno::BADF))),
            (Request::Receive { once }, Some(socket)) => {
                let once = once.is_some();
                self.sockets[socket].receive = Some(id);
                self.begin_receive(socket, id, once);
            }
            (Request::Send { .. }, Some(socket)) => {
                self.sockets[socket].send = Some(id);
                self.check_send(socket);
            }
            (Request::AwaitHangup, Some(socket)) => {
                self.sockets[socket].hangup = Some(id);
                self.wake_hangup(socket);
            }
            (Request::ShutdownWrite, Some(socket)) => self.shut_down(id, socket),
            (Request::PeerAddress(family), Some(socket)) => {
                let address = address_of(socket, *family);
                let known = !self.dice.chance(self.faults.address_unknown);
                self.complete(id, Answer::Address(known.then_some(address)));
            }
            (Request::Unacknowledged, Some(socket)) => {
                let known = !self.dice.chance(self.faults.unacknowledged_unknown);
                let place = &self.sockets[socket];
                // A FIN is counted as one.
                let fin = usize::from(place.shut_write && !place.fin_delivered);
                let lost = place.unheard_bytes + place.lost_bytes;
                let bytes = u32::try_from(place.sending.len() + lost + fin).ok();
                self.complete(id, Answer::Unacknowledged(bytes.filter(|_| known)));
            }
            (Request::ResetOnClose, Some(socket)) => {
                // As on a kernel that does not know it.
                let known = !self.dice.chance(self.faults.address_unknown);
                self.sockets[socket].reset_on_close = known;
                let answer = if known { Ok(()) } else { Err(Errno::OPNOTSUPP) };
                self.complete(id, Answer::Plain(answer));
            }
            (Request::Close, Some(socket)) => self.close(id, socket, index),
        }
    }

    fn shut_down(&mut self, id: u64, socket: usize) {
        let place = &mut self.sockets[socket];
        if place.dead {
            return self.complete(id, Answer::Plain(Err(Errno::NOTCONN)));
        }
        place.shut_write = true;
        self.complete(id, Answer::Plain(Ok(())));
        self.wake_send(socket);
        self.wake_drain(socket);
    }

    fn close(&mut self, id: u64, socket: usize, slot: usize) {
        let place = &mut self.slots[slot];
        place.socket = None;
        place.generation_before = place.generation.take();
        place.closing = false;
        self.sockets[socket].slot = None;
        self.release_if_unused(socket);
        // The slot is free from here on: an accept may have it before this completion is seen.
        if self.dice.chance(self.faults.late_close) {
            let delay_ms = self.dice.pick(&[0, 1, 10, 100]);
            self.complete_later(id, Answer::Plain(Ok(())), delay_ms);
        } else {
            self.complete(id, Answer::Plain(Ok(())));
        }
    }

    /// The terminal completion of an operation was taken.
    pub(super) fn retire(&mut self, id: u64) {
        let operation = self.operations.remove(&id).expect("an operation ends once");
        let kind = operation.token.operation;
        match operation.socket {
            Some(socket) => self.sockets[socket].in_flight[kind as usize - 1] -= 1,
            None if kind == Operation::Accept => {
                self.listeners[operation.token.slot as usize].accepts_in_flight -= 1;
            }
            None => {}
        }
    }

    /// An armed operation of a socket has ended.
    pub(super) fn disarm(&mut self, socket: usize, id: u64) {
        let place = &mut self.sockets[socket];
        for armed in [&mut place.receive, &mut place.send, &mut place.hangup] {
            if *armed == Some(id) {
                *armed = None;
            }
        }
        self.release_if_unused(socket);
    }

    fn release_if_unused(&mut self, socket: usize) {
        let place = &mut self.sockets[socket];
        if place.accepted && place.slot.is_none() && !place.held() && !place.released {
            place.release();
            self.wake_drain(socket);
        }
    }
}
