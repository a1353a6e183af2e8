//! Cancels: requests, not results. What became of the target is told by the target's own
//! completion, which may come before the cancel's or after it. Called by `push`.

use super::super::{Errno, Operation, Token};
use super::kernel::{Answer, Event, Kernel};
use super::socket::Socket;

impl Kernel {
    /// Ends the operation that is armed under this token.
    pub(super) fn cancel(&mut self, id: u64, wanted: Token) {
        if self.armed(wanted).is_some() && self.dice.chance(self.faults.cancel_race) {
            self.look_at(wanted);
        }
        let target = self.armed(wanted);
        self.cancel_one(id, target);
    }

    /// The armed operation with this token, whatever the slot holds by now.
    fn armed(&self, wanted: Token) -> Option<u64> {
        let is_wanted = |id: &u64| self.operations[id].token == wanted;
        if wanted.operation == Operation::Accept {
            return self.listeners[wanted.slot as usize].accept.filter(is_wanted);
        }
        let armed = |socket: &Socket| [socket.receive, socket.send, socket.hangup];
        self.sockets.iter().flat_map(armed).flatten().find(is_wanted)
    }

    /// Lets the armed operation with this token do what it can do now.
    fn look_at(&mut self, wanted: Token) {
        let Some(operation) = self.armed(wanted).map(|id| &self.operations[&id]) else { return };
        match (wanted.operation, operation.socket) {
            (Operation::Accept, _) => self.check_accept(wanted.slot as usize),
            (Operation::Receive, Some(socket)) => self.check_receive(socket),
            (Operation::Send, Some(socket)) => self.check_send(socket),
            (Operation::Hangup, Some(socket)) => self.check_hangup(socket),
            _ => {}
        }
    }

    fn cancel_one(&mut self, id: u64, target: Option<u64>) {
        let Some(target) = target else {
            return self.complete(id, Answer::Plain(Err(Errno::NOENT)));
        };
        if !self.dice.chance(self.faults.cancel_race) {
            self.complete(id, Answer::Plain(Ok(())));
            return self.end(target);
        }
        match self.dice.below(3) {
            0 => {
                self.end(target);
                self.complete(id, Answer::Plain(Ok(())));
            }
            // Too far on to be cancelled: it ends by itself, a little later.
            1 => {
                self.complete(id, Answer::Plain(Err(Errno::ALREADY)));
                self.end_later(target);
            }
            _ => {
                self.complete(id, Answer::Plain(Ok(())));
                self.end_later(target);
            }
        }
    }

    fn end_later(&mut self, target: u64) {
        let delay_ms = self.dice.pick(&[0, 1, 20]);
        self.later(delay_ms, Event::End(target));
    }

    /// A cancel has reached an operation: it ends, unless it has by itself.
    pub(super) fn end(&mut self, target: u64) {
        let Some(operation) = self.operations.get(&target) else { return };
        if operation.ended || operation.decided.is_some() {
            return;
        }
        let cancelled = Err(Errno::CANCELED);
        match operation.token.operation {
            Operation::Accept => {
                let listener = operation.token.slot as usize;
                self.end_accept(listener, target, cancelled);
            }
            Operation::Send => self.end_send(target, Errno::CANCELED),
            _ => self.post(target, Answer::Plain(Err(Errno::CANCELED)), false),
        }
    }
}
