//! The state of the simulated kernel, its agenda, and its completion queue.
//!
//! What happens later is an [`Event`] on the agenda: at a time, and within a millisecond in an
//! order that is drawn. A receive writes into its buffer in the moment in which its completion is
//! put into the queue, as in the real kernel; the queue itself is never reordered.

use super::super::sends::{SendRange, SendTable};
use super::super::{AddressFamily, Completion, Errno, Operation, Outcome, RingCounters, Token};
use super::SimOptions;
use super::faults::{Dice, Faults};
use super::memory::{Memory, Written};
use super::net::{Quiescence, Violation};
use super::socket::Socket;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

/// Entries of a busy server in a millisecond.
const ENTRIES_PER_MS: u64 = 8;

pub(super) struct Kernel {
    pub(super) seed: u64,
    pub(super) options: SimOptions,
    pub(super) faults: Faults,
    pub(super) dice: Dice,
    pub(super) now_ms: u64,
    agenda: BTreeMap<(u64, u64, u64), Event>,
    sequence: u64,
    /// The submission queue.
    pub(super) queue: VecDeque<u64>,
    completions: VecDeque<Posted>,
    /// What did not fit the completion queue, in order.
    overflow: VecDeque<Posted>,
    pub(super) operations: BTreeMap<u64, InFlight>,
    pub(super) slots: Vec<Slot>,
    pub(super) listeners: Vec<Listener>,
    pub(super) sockets: Vec<Socket>,
    pub(super) memory: Memory,
    pub(super) sends: SendTable,
    pub(super) counters: RingCounters,
    pub(super) violations: Vec<Violation>,
    pub(super) trace: u64,
    /// A peer floods. Then no wait is ever idle, and the entries take the time.
    pub(super) flooded: bool,
}

/// A slot of the table of direct descriptors.
#[derive(Clone, Default)]
pub(super) struct Slot {
    /// The socket in it.
    pub(super) socket: Option<usize>,
    /// The generation its operations carry, as soon as there was one.
    pub(super) generation: Option<u32>,
    /// That of the owner before.
    pub(super) generation_before: Option<u32>,
    /// A Close was pushed.
    pub(super) closing: bool,
}

#[derive(Default)]
pub(super) struct Listener {
    pub(super) backlog: VecDeque<usize>,
    pub(super) accept: Option<u64>,
    pub(super) accepts_in_flight: u32,
    pub(super) checking: bool,
}

/// An operation from its push until its terminal completion is taken.
pub(super) struct InFlight {
    pub(super) token: Token,
    pub(super) request: Request,
    /// Of which socket, found when it was pushed.
    pub(super) socket: Option<usize>,
    /// The answer of one that is done and whose completion is delayed.
    pub(super) decided: Option<Answer>,
    /// Its terminal completion was posted.
    pub(super) ended: bool,
}

/// A submission, without what the send table keeps.
pub(super) enum Request {
    Accept {
        once: bool,
    },
    /// Until it is told otherwise, or once and at most so many bytes.
    Receive {
        once: Option<u32>,
    },
    Send {
        range: SendRange,
        total: usize,
        sent: usize,
    },
    ShutdownWrite,
    Cancel(Operation),
    AwaitHangup,
    PeerAddress(AddressFamily),
    Unacknowledged,
    ResetOnClose,
    Close,
}

/// What a completion says.
#[derive(Debug)]
pub(super) enum Answer {
    Accepted(u32),
    /// Bytes in a buffer.
    Received(Written),
    /// The end of the stream, sometimes with a buffer that holds nothing.
    Ended(Option<Written>),
    Sent(Result<usize, Errno>),
    Address(Option<SocketAddr>),
    Unacknowledged(Option<u32>),
    HungUp {
        reset: bool,
    },
    Rang,
    Plain(Result<(), Errno>),
}

/// A completion in the queue. The doorbell's belongs to no operation.
struct Posted {
    operation: Option<u64>,
    token: Token,
    result: Answer,
    more: bool,
}

/// Something that happens later.
#[derive(Clone, Copy, Debug)]
pub(super) enum Event {
    /// Look whether the accept of a listener has something to do.
    Accept(usize),
    /// The same for the receive, the send and the await-hangup of a socket.
    Receive(usize),
    Send(usize),
    Hangup(usize),
    /// The peer takes what was sent.
    Drain(usize),
    /// Post the completion of an operation that is done.
    Post(u64),
    /// A cancel reaches an operation.
    End(u64),
}

impl Kernel {
    pub(super) fn new(seed: u64, options: SimOptions) -> Self {
        let listeners = (0..options.listeners).map(|_| Listener::default()).collect();
        Self {
            seed,
            faults: options.faults.clone(),
            dice: Dice::new(seed),
            now_ms: 0,
            agenda: BTreeMap::new(),
            sequence: 0,
            queue: VecDeque::new(),
            completions: VecDeque::new(),
            overflow: VecDeque::new(),
            operations: BTreeMap::new(),
            slots: vec![Slot::default(); options.slots as usize],
            listeners,
            sockets: Vec::new(),
            memory: Memory::new(options.buffer_count, options.buffer_bytes, options.receive),
            sends: SendTable::new(options.slots),
            counters: RingCounters::default(),
            violations: Vec::new(),
            trace: 0xcbf2_9ce4_8422_2325,
            flooded: false,
            options,
        }
    }

    /// The engine enters the kernel. `true`: it returns at once, with nothing.
    pub(super) fn enter(&mut self) -> bool {
        self.counters.enters += 1;
        if self.dice.chance(self.faults.pause) {
            self.now_ms += self.dice.between(36_000, 60_000) as u64;
            // Once: with a pause in every second nobody would ever be found silent.
            self.faults.pause = 0;
        }
        if self.dice.chance(self.faults.stall) {
            self.now_ms += self.dice.between(1, 2_000) as u64;
        }
        if self.flooded && self.counters.enters.is_multiple_of(ENTRIES_PER_MS) {
            self.now_ms += 1;
        }
        self.memory.provide();
        while self.completions.len() < self.options.completion_entries
            && let Some(posted) = self.overflow.pop_front()
        {
            self.completions.push_back(posted);
        }
        // With an overflow left, the real one answers EBUSY and takes nothing.
        if self.overflow.is_empty() {
            self.issue_queue();
        }
        self.completions.is_empty() && self.dice.chance(self.faults.spurious_return)
    }

    pub(super) fn has_completions(&self) -> bool {
        !self.completions.is_empty()
    }

    /// Whether the next completion overflows. A multishot operation that meets this ends.
    pub(super) fn completions_full(&self) -> bool {
        self.completions.len() >= self.options.completion_entries || !self.overflow.is_empty()
    }

    /// Puts `event` on the agenda, delayed if the dice say so.
    pub(super) fn soon(&mut self, event: Event) {
        let delay_ms = if self.dice.chance(self.faults.delay) {
            self.dice.pick(&[0, 1, 2, 20, 300])
        } else {
            0
        };
        self.later(delay_ms, event);
    }

    pub(super) fn later(&mut self, delay_ms: u64, event: Event) {
        self.sequence += 1;
        let order = match self.dice.chance(self.faults.reorder) {
            true => self.dice.bits() % (self.sequence + 1),
            false => self.sequence,
        };
        self.agenda.insert((self.now_ms + delay_ms, order, self.sequence), event);
    }

    pub(super) fn next_event_ms(&self) -> Option<u64> {
        self.agenda.first_key_value().map(|((at_ms, ..), _)| *at_ms)
    }

    /// Does what is due; whether there was anything.
    pub(super) fn run_events(&mut self) -> bool {
        let mut ran = false;
        while let Some(entry) = self.agenda.first_entry()
            && entry.key().0 <= self.now_ms
        {
            ran = true;
            match entry.remove() {
                Event::Accept(listener) => self.check_accept(listener),
                Event::Receive(socket) => self.check_receive(socket),
                Event::Send(socket) => self.check_send(socket),
                Event::Hangup(socket) => self.check_hangup(socket),
                Event::Drain(socket) => self.drain(socket),
                Event::Post(operation) => {
                    let decided = self.operations.get_mut(&operation).map(|op| op.decided.take());
                    let result = decided.flatten().expect("a delayed completion has a result");
                    self.post(operation, result, false);
                }
                Event::End(operation) => self.end(operation),
            }
        }
        ran
    }

    pub(super) fn ring_bell(&mut self) {
        // A multishot poll may end; the ring arms it again by itself.
        let more = !self.dice.chance(self.faults.early_end);
        let token = Token::new(Operation::Doorbell, 0, 0);
        self.enqueue(Posted { operation: None, token, result: Answer::Rang, more });
    }

    /// An operation is done; its completion comes now or a little later.
    pub(super) fn complete(&mut self, operation: u64, result: Answer) {
        if self.dice.chance(self.faults.delay) {
            let delay_ms = self.dice.pick(&[0, 1, 5, 50]);
            self.complete_later(operation, result, delay_ms);
        } else {
            self.post(operation, result, false);
        }
    }

    pub(super) fn complete_later(&mut self, operation: u64, result: Answer, delay_ms: u64) {
        let place = self.operations.get_mut(&operation).expect("an operation in flight");
        place.decided = Some(result);
        self.later(delay_ms, Event::Post(operation));
    }

    /// Puts a completion into the queue; without `more` the operation has ended.
    pub(super) fn post(&mut self, operation: u64, result: Answer, more: bool) {
        let place = self.operations.get_mut(&operation).expect("an operation in flight");
        assert!(!place.ended, "seed {}: a second end of {:?}", self.seed, place.token);
        place.ended = !more;
        let (token, socket) = (place.token, place.socket);
        self.enqueue(Posted { operation: Some(operation), token, result, more });
        if !more && let Some(socket) = socket {
            self.disarm(socket, operation);
        }
    }

    fn enqueue(&mut self, posted: Posted) {
        self.note(&[self.now_ms, posted.token.to_bits(), u64::from(posted.more)]);
        self.note_text(&format!("{:?}", posted.result));
        if !self.completions_full() {
            self.completions.push_back(posted);
            return;
        }
        self.counters.overflows += u64::from(self.overflow.is_empty());
        self.overflow.push_back(posted);
    }

    /// The engine takes a completion.
    pub(super) fn take_completion(&mut self) -> Option<Completion> {
        let Posted { operation, token, result, more } = self.completions.pop_front()?;
        self.counters.completions += 1;
        if !more && let Some(operation) = operation {
            self.retire(operation);
        }
        let outcome = match result {
            Answer::Accepted(slot) => Outcome::Accepted(slot),
            Answer::Rang => Outcome::Rang,
            Answer::HungUp { reset } => Outcome::HungUp { reset },
            Answer::Address(address) => Outcome::PeerAddress(address),
            Answer::Unacknowledged(bytes) => Outcome::Unacknowledged(bytes),
            Answer::Plain(Ok(())) => Outcome::Done,
            Answer::Plain(Err(errno)) => {
                self.counters.out_of_buffers += u64::from(errno == Errno::NOBUFS);
                Outcome::Failed(errno)
            }
            Answer::Sent(Ok(sent)) => {
                let data = self.sends.finish(token.slot);
                self.counters.short_sends += u64::from(sent < data.len());
                Outcome::Sent(sent, data)
            }
            Answer::Sent(Err(errno)) => Outcome::SendFailed(errno, self.sends.finish(token.slot)),
            Answer::Received(written) => Outcome::Received(self.memory.take(written)),
            Answer::Ended(written) => {
                drop(written.map(|written| self.memory.take(written)));
                Outcome::EndOfStream
            }
        };
        Some(Completion { token, outcome, more })
    }

    /// What a test asks for at the end.
    pub(super) fn quiescence(&mut self) -> Quiescence {
        Quiescence {
            operations_in_flight: self.operations.len(),
            completions: self.completions.len() + self.overflow.len(),
            slots_used: self.slots.iter().filter(|slot| slot.socket.is_some()).count(),
            buffers_lent: self.memory.lent(),
            sends_in_flight: self.sends.in_flight(),
        }
    }

    /// Adds numbers to the trace (FNV-1a over words).
    pub(super) fn note(&mut self, words: &[u64]) {
        for word in words {
            self.trace = (self.trace ^ word).wrapping_mul(0x0100_0000_01b3).rotate_left(29);
        }
    }

    pub(super) fn note_text(&mut self, text: &str) {
        self.note_bytes(text.as_bytes());
    }

    pub(super) fn note_bytes(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.note(&[u64::from_le_bytes(word)]);
        }
        self.note(&[bytes.len() as u64]);
    }
}
