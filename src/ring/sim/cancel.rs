//! Cancels: requests, not results. What became of the target is told by the target's own
//! completion, which may come before the cancel's or after it.

use super::super::{Errno, Operation, Token};
use super::kernel::{Answer, Event, Kernel};

impl Kernel {
    pub(super) fn cancel_accept(&mut self, id: u64, listener: usize, token: Token) {
        let wanted = Token { operation: Operation::Accept, ..token };
        let armed = |kernel: &Self| kernel.listeners[listener].accept;
        let found = armed(self).filter(|target| self.operations[target].token == wanted);
        if found.is_some() && self.dice.chance(self.faults.cancel_race) {
            self.check_accept(listener);
        }
        let target = found.filter(|target| armed(self) == Some(*target));
        self.cancel_one(id, target);
    }

    /// By token, whatever the slot holds by now.
    pub(super) fn cancel_receive(&mut self, id: u64, token: Token) {
        let wanted = Token { operation: Operation::Receive, ..token };
        let Some(socket) = self.sockets.iter().position(|socket| {
            socket.receive.is_some_and(|receive| self.operations[&receive].token == wanted)
        }) else {
            return self.cancel_one(id, None);
        };
        let found = self.sockets[socket].receive;
        if self.dice.chance(self.faults.cancel_race) {
            self.check_receive(socket);
        }
        let target = found.filter(|_| self.sockets[socket].receive == found);
        self.cancel_one(id, target);
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

    pub(super) fn cancel_all(&mut self, id: u64, socket: usize) {
        if self.dice.chance(self.faults.cancel_race) {
            self.check_receive(socket);
        }
        let place = &self.sockets[socket];
        let armed = [place.receive, place.send, place.hangup];
        let cancel_first = self.dice.chance(self.faults.cancel_race);
        if cancel_first {
            self.complete(id, Answer::Plain(Ok(())));
        }
        for target in armed.into_iter().flatten() {
            if self.dice.chance(self.faults.cancel_race) {
                self.end_later(target);
            } else {
                self.end(target);
            }
        }
        if !cancel_first {
            self.complete(id, Answer::Plain(Ok(())));
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
