//! On which a check plays: a world, what its ring has told, and patience.

use super::super::{Buffer, Completion, Errno, Operation, Outcome, Ring, SendData};
use super::super::{Submission, Token};
use super::{End, Link, Seen, Sizes, World};
use std::collections::HashMap;
use std::time::Duration;

/// Waits until something has to have happened, and how long one of them lasts at most.
const TURNS_MAX: usize = 2_000;
const TURN: Duration = Duration::from_millis(10);

/// Waits after which nothing more is expected.
const QUIET_TURNS: usize = 3;

/// Bytes that no send gets rid of before its peer looks.
pub(super) const LONG: usize = 1 << 20;

/// Of whom an operation is: a slot, or a listener, and the generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) index: u32,
    pub(super) generation: u32,
}

impl Owner {
    pub(super) fn token(self, operation: Operation) -> Token {
        Token::new(operation, self.index, self.generation)
    }
}

pub(super) struct Stage<W: World> {
    pub(super) world: W,
    /// What was told and not looked at.
    told: Vec<Completion>,
    /// The generation that each slot had last.
    generations: HashMap<u32, u32>,
}

impl<W: World> Stage<W> {
    pub(super) fn new(sizes: Sizes) -> Self {
        Self { world: W::new(&sizes), told: Vec::new(), generations: HashMap::new() }
    }

    /// A ring of the usual sizes and one connection.
    pub(super) fn connected(link: Link) -> (Self, Owner, W::Peer) {
        Self::sized(Sizes::default(), link)
    }

    /// A ring of these sizes and one connection.
    pub(super) fn sized(sizes: Sizes, link: Link) -> (Self, Owner, W::Peer) {
        let mut stage = Self::new(sizes);
        let (owner, peer) = stage.connect(link);
        (stage, owner, peer)
    }

    /// Connects a peer and accepts it.
    pub(super) fn connect(&mut self, link: Link) -> (Owner, W::Peer) {
        self.push(listener(link), Submission::AcceptOne);
        let peer = self.world.connect(link);
        let accepted = self.take(1).remove(0);
        let Outcome::Accepted(slot) = accepted.outcome else { panic!("{accepted:?}") };
        (self.owner_of(slot), peer)
    }

    /// The new owner of a slot that was accepted just now.
    pub(super) fn owner_of(&mut self, slot: u32) -> Owner {
        let generation = self.generations.entry(slot).or_default();
        *generation += 1;
        Owner { index: slot, generation: *generation }
    }

    pub(super) fn push(&mut self, owner: Owner, submission: Submission) {
        let token = owner.token(operation_of(&submission));
        self.world.ring().push(token, submission);
    }

    pub(super) fn push_all<const N: usize>(&mut self, owner: Owner, all: [Submission; N]) {
        all.into_iter().for_each(|submission| self.push(owner, submission));
    }

    /// Enters once, and hears everything that is told.
    pub(super) fn turn(&mut self) {
        let ring = self.world.ring();
        ring.submit_and_wait(Some(ring.now() + TURN)).expect("a ring that works");
        self.hear();
    }

    /// Enters without a deadline, and hears everything that is told.
    pub(super) fn wait(&mut self) {
        self.world.ring().submit_and_wait(None).expect("a ring that works");
        self.hear();
    }

    fn hear(&mut self) {
        let ring = self.world.ring();
        while let Some(completion) = ring.next_completion() {
            self.told.push(completion);
        }
    }

    /// What was told and not looked at.
    pub(super) fn told(&mut self) -> Vec<Completion> {
        std::mem::take(&mut self.told)
    }

    /// Enters until there is what `find` looks for.
    pub(super) fn until<T>(
        &mut self,
        what: &str,
        mut find: impl FnMut(&mut Self) -> Option<T>,
    ) -> T {
        for _ in 0..TURNS_MAX {
            self.turn();
            if let Some(found) = find(self) {
                return found;
            }
        }
        panic!("waited in vain for {what}; told: {:?}", self.told);
    }

    /// So many completions, in the order in which they came.
    pub(super) fn take(&mut self, count: usize) -> Vec<Completion> {
        if self.told.len() < count {
            let what = format!("{count} completions");
            self.until(&what, |stage| (stage.told.len() >= count).then_some(()));
        }
        self.told.drain(..count).collect()
    }

    /// Nothing is told that was not looked at, now and in a while.
    pub(super) fn expect_quiet(&mut self) {
        self.expect(&[]);
    }

    /// These completions are told, in this order, and no other.
    #[track_caller]
    pub(super) fn expect(&mut self, lines: &[&str]) {
        assert_eq!(self.lines(lines.len()), lines);
    }

    /// These completions are told, and no other.
    #[track_caller]
    pub(super) fn expect_in_any_order(&mut self, lines: &[&str]) {
        let (mut told, mut expected) = (self.lines(lines.len()), lines.to_vec());
        told.sort_unstable();
        expected.sort_unstable();
        assert_eq!(told, expected);
    }

    /// So many lines or more.
    fn lines(&mut self, count: usize) -> Vec<String> {
        for turn in 0..TURNS_MAX {
            if turn >= QUIET_TURNS && self.told.len() >= count {
                break;
            }
            self.turn();
        }
        self.told.drain(..).map(|completion| line(&completion)).collect()
    }

    /// Receives until so many bytes are there: arms the receive again whenever it ends.
    pub(super) fn receives(&mut self, owner: Owner, count: usize) -> Vec<u8> {
        let (mut bytes, mut armed) = (Vec::new(), false);
        self.until(&format!("{count} bytes"), |stage| {
            for completion in stage.told() {
                match completion.outcome {
                    Outcome::Received(lease) => bytes.extend_from_slice(&lease),
                    Outcome::Failed(Errno::NOBUFS) => {}
                    other => panic!("{other:?}"),
                }
                armed = completion.more;
            }
            if bytes.len() >= count {
                return Some(());
            }
            if !armed {
                stage.push(owner, Submission::Receive);
                armed = true;
            }
            None
        });
        if armed {
            self.push(owner, Submission::Cancel(Operation::Receive));
            self.expect_in_any_order(&["cancel: done", "receive: cancelled"]);
        }
        bytes
    }

    /// The peer writes all of it.
    pub(super) fn peer_writes(&mut self, peer: &mut W::Peer, bytes: &[u8]) {
        let mut written = self.world.write(peer, bytes);
        while written < bytes.len() {
            self.turn();
            written += self.world.write(peer, &bytes[written..]);
        }
    }

    /// The peer takes so many bytes and no more.
    pub(super) fn peer_reads(&mut self, peer: &mut W::Peer, count: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.until(&format!("a peer that gets {count} bytes"), |stage| {
            let seen = stage.world.look(peer);
            bytes.extend(seen.bytes);
            assert!(seen.end.is_none() || bytes.len() >= count, "cut after {}", bytes.len());
            (bytes.len() >= count).then_some(())
        });
        assert_eq!(bytes.len(), count, "more than was sent");
        bytes
    }

    /// What the peer sees until the connection ends.
    pub(super) fn peer_sees(&mut self, peer: &mut W::Peer) -> (Vec<u8>, End) {
        let mut bytes = Vec::new();
        let end = self.until("a peer that sees the end", |stage| {
            let seen = stage.world.look(peer);
            bytes.extend(seen.bytes);
            seen.end
        });
        (bytes, end)
    }

    /// For the peer nothing has ended.
    pub(super) fn peer_sees_no_end(&mut self, peer: &mut W::Peer) {
        for _ in 0..QUIET_TURNS {
            self.turn();
            assert_eq!(self.world.look(peer), Seen::default());
        }
    }
}

/// Who accepts from a listener: under a generation that no slot reaches here.
pub(super) fn listener(link: Link) -> Owner {
    Owner { index: link as u32, generation: Token::GENERATION_MASK }
}

pub(super) fn operation_of(submission: &Submission) -> Operation {
    match submission {
        Submission::Accept | Submission::AcceptOne => Operation::Accept,
        Submission::Receive | Submission::ReceiveOnce { .. } => Operation::Receive,
        Submission::Send(_) => Operation::Send,
        Submission::ShutdownWrite => Operation::Shutdown,
        Submission::Cancel(_) => Operation::Cancel,
        Submission::AwaitHangup => Operation::Hangup,
        Submission::PeerAddress(_) => Operation::PeerAddress,
        Submission::Unacknowledged => Operation::Unacknowledged,
        Submission::ResetOnClose => Operation::ResetOnClose,
        Submission::Close => Operation::Close,
    }
}

/// A send of these pieces.
pub(super) fn send_of(pieces: &[&[u8]]) -> Submission {
    let mut data = SendData::new();
    pieces.iter().for_each(|piece| data.push(Buffer::copy_of(piece)));
    Submission::Send(data)
}

/// So many bytes, each a function of its position.
pub(super) fn stream(count: usize) -> Vec<u8> {
    (0..count).map(|at| (at.wrapping_mul(167) >> 3) as u8).collect()
}

/// A completion as a check writes it down: `…` if the operation stays armed.
pub(super) fn line(completion: &Completion) -> String {
    let name = match completion.token.operation {
        Operation::Accept => "accept",
        Operation::Receive => "receive",
        Operation::Send => "send",
        Operation::Shutdown => "shutdown",
        Operation::Cancel => "cancel",
        Operation::Hangup => "hangup",
        Operation::PeerAddress => "address",
        Operation::Close => "close",
        Operation::Doorbell => "bell",
        Operation::ResetOnClose => "reset on close",
        Operation::Unacknowledged => "unacknowledged",
    };
    let told = match &completion.outcome {
        Outcome::Accepted(_) => "a slot".into(),
        Outcome::Received(lease) if lease.len() <= 16 => {
            String::from_utf8_lossy(lease).into_owned()
        }
        Outcome::Received(lease) => format!("{} bytes", lease.len()),
        Outcome::EndOfStream => "end".into(),
        Outcome::Sent(sent, data) => format!("{sent} of {}", data.len()),
        Outcome::SendFailed(errno, data) => format!("{}, {} back", failure(*errno), data.len()),
        Outcome::PeerAddress(peer) => peer.map_or("unknown".into(), |peer| peer.to_string()),
        Outcome::Unacknowledged(bytes) => bytes.map_or("unknown".into(), |b| b.to_string()),
        Outcome::HungUp { reset: false } => "closed".into(),
        Outcome::HungUp { reset: true } => "reset".into(),
        Outcome::Rang => "rang".into(),
        Outcome::Done => "done".into(),
        Outcome::Failed(errno) => failure(*errno),
    };
    format!("{name}: {told}{}", if completion.more { " …" } else { "" })
}

fn failure(errno: Errno) -> String {
    match errno {
        Errno::CANCELED => "cancelled".into(),
        Errno::NOENT => "not there".into(),
        Errno::NOBUFS => "no buffer".into(),
        Errno::NFILE => "no slot".into(),
        Errno::CONNRESET => "reset".into(),
        Errno::PIPE => "broken pipe".into(),
        Errno::NOTCONN => "not connected".into(),
        other => format!("{other:?}"),
    }
}
