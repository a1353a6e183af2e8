//! Whether the peer takes what is sent: asked where a connection would be cut or closed, and where
//! time has come anyway while a send does not end or much was sent; at no other time.
//!
//! Two answers are put together. A send in flight is cancelled, which tells how much of it the
//! kernel has taken, and goes on with the rest; and the kernel says how much of what it has taken
//! the peer's system has not acknowledged. The difference is what the peer has taken: the kernel
//! itself takes more in steps of a megabyte. Whoever took something since the last question has
//! made progress. Over a Unix socket the kernel cannot say, and the end of the send is all there
//! is.
//!
//! TCP has a time of its own for this (`TCP_USER_TIMEOUT`), which is not set: while the peer's
//! window closes again and again, Linux counts it from the first probe of the window until all of
//! the next 64 KiB fit into it, and cuts a peer with a small receive buffer that never stops
//! reading.

use crate::clock::Moment;
use crate::engine::connection::context::Context;
use crate::engine::connection::outbox::Payload;
use crate::engine::connection::state::Flag;
use crate::engine::connection::{Connection, Phase};
use crate::engine::model::ended::Counted;
use crate::proto::frame::Opcode;
use std::time::Duration;

/// Bytes that may be unacknowledged because the question itself is: a Ping and a Close.
const QUESTION_BYTES_MAX: u32 = 256;

/// Who is heard of, or could be closed, is asked about what the kernel has only if more than this was
/// sent in all.
pub(in crate::engine) const SENT_BYTES_MIN: u32 = 64 * 1024;

/// What is known, and what is being asked.
#[derive(Default, PartialEq, Eq)]
pub(in crate::engine) struct Progress {
    asking: Asking,
    /// Something was left when that was looked at last.
    stalled: Option<Stalled>,
    /// What the last question has found.
    seen: Option<Seen>,
    /// No Ping was sent, because data are in its way: these are to get through instead.
    blocked: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Seen {
    /// The low bits of the bytes sent so far.
    sent: u32,
    /// Bytes of them that were not acknowledged, if the kernel was asked and could tell.
    left: Option<u32>,
}

/// The peer has not taken all that was sent.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stalled {
    /// The low bits of the bytes that it had taken.
    taken: u32,
    /// By then it is to have taken more.
    until: Moment,
}

/// Whether more was sent meanwhile than a Ping or a Close.
fn has_more(before: u32, sent: u32) -> bool {
    sent.wrapping_sub(before) > QUESTION_BYTES_MAX
}

/// How far a question has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Asking {
    /// None is asked.
    #[default]
    Nothing,
    /// To be asked when the connection is settled.
    Wanted(Purpose),
    /// The send in flight is being cancelled.
    Send(Purpose),
    /// It has ended, and the kernel is to be asked.
    Sent(Purpose),
    /// The kernel is being asked.
    Kernel(Purpose),
}

/// What a question is for. Its answer is used for nothing else: the connection may have gone on
/// meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum Purpose {
    /// It begins the time in which something has to get through to a peer that is silent.
    Asked,
    /// That time is over.
    Silence,
    /// The peer is heard of, but may not take what it is sent.
    Stall,
    /// The peer has ended what it has to say, and its handler goes on.
    Verdict,
    /// The time for the end of the connection is over.
    End,
}

impl Purpose {
    /// Whether it matters how far the send in flight has come, whatever else is so.
    fn is_about_the_send(self) -> bool {
        matches!(self, Self::Stall | Self::Verdict)
    }
}

/// What the ring is to do for a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum Question {
    /// Cancel the send in flight.
    CancelSend,
    /// Ask what is not acknowledged.
    Unacknowledged,
}

impl Connection {
    /// The time of a closing or lingering connection is over: it is cut, unless the peer is still
    /// taking something.
    pub(in crate::engine) fn handle_closing_timeout(&mut self, context: &Context) {
        let over = self.aside.as_ref().and_then(|aside| aside.ends_by);
        if over.is_some_and(|over| over <= context.now.get()) {
            self.lose(context);
        } else {
            self.ask(Purpose::End, context);
        }
    }

    /// The peer has been silent for long and is asked for a sign of life: by a Ping, or, where data
    /// are on their way to it, behind which a Ping would only wait, by these.
    pub(in crate::engine) fn ask_for_life(&mut self, context: &Context) {
        self.flags.set(Flag::Pinged);
        if self.talk.outbox.is_flying() {
            let progress = &mut self.aside_mut().progress;
            (progress.blocked, progress.seen) = (true, None);
            self.ask(Purpose::Asked, context);
        } else {
            self.ping(context);
        }
    }

    /// Time has come to look at a connection, and nothing is wrong with it but that the peer may not
    /// take what it is sent. `heard`: of the peer, lately; otherwise it is asked for a sign of life.
    /// `true`: it is asked about this.
    pub(in crate::engine) fn look_at_sent(&mut self, heard: bool, context: &Context) -> bool {
        let (now, stall) = (context.now.get(), context.settings.timeouts.stall);
        let much =
            heard && (self.has_sent_much() || context.settings.timeouts.ping_interval.is_zero());
        let looked_at = self.talk.outbox.is_flying() || much;
        let stalled = self.aside.as_mut().map(|aside| &mut aside.progress.stalled);
        match stalled {
            Some(stalled) if !looked_at => *stalled = None,
            Some(Some(stalled)) if stalled.until > now => return false,
            Some(Some(stalled)) if context.held_up.get() == now => {
                // It may have taken something that nobody could see.
                stalled.until = now + stall;
                return false;
            }
            // It had taken everything, and its handler has it looked at often.
            Some(None) | None
                if heard
                    && looked_at
                    && !context.asked_lately.borrow_mut().is_first(
                        self.id.slot,
                        now,
                        stall / 2,
                    ) =>
            {
                return false;
            }
            _ if looked_at => self.ask(Purpose::Stall, context),
            _ => {}
        }
        looked_at
    }

    /// When somebody who has not taken all that was sent is to have taken more.
    pub(in crate::engine) fn stall_due(&self) -> Moment {
        let Phase::Open(_) = self.phase else { return Moment::NEVER };
        if self.flags.has(Flag::Pinged) || self.is_ending() || self.is_asking() {
            return Moment::NEVER;
        }
        let stalled = self.aside.as_ref().and_then(|aside| aside.progress.stalled);
        stalled.map_or(Moment::NEVER, |stalled| stalled.until)
    }

    fn ping(&mut self, context: &Context) {
        if let Some(aside) = &mut self.aside {
            aside.progress.blocked = false;
            // What is in the way of this Ping was in that of the last.
            let in_the_way = |seen: &Seen| seen.left.is_some_and(|left| left > QUESTION_BYTES_MAX);
            aside.progress.seen = aside.progress.seen.filter(in_the_way);
        }
        if context.settings.timeouts.ping_interval.is_zero() {
            // Nothing is on its way, and nothing asks for an answer.
            self.flags.clear(Flag::Pinged);
            self.phase = Phase::Open(context.now.get().into());
        } else {
            self.talk.outbox.push_frame(Opcode::Ping, Payload::Borrowed(&[]));
        }
        self.mark_dirty(context);
    }

    /// Asks whether the peer takes what is sent, unless that is being asked.
    pub(in crate::engine) fn ask(&mut self, purpose: Purpose, context: &Context) {
        let asking = &mut self.aside_mut().progress.asking;
        if *asking == Asking::Nothing {
            *asking = Asking::Wanted(purpose);
        }
        self.mark_dirty(context);
    }

    /// Whether an answer is awaited.
    pub(in crate::engine) fn is_asking(&self) -> bool {
        self.aside.as_ref().is_some_and(|aside| aside.progress.asking != Asking::Nothing)
    }

    /// What the ring is to do, once.
    pub(in crate::engine) fn take_question(&mut self) -> Option<Question> {
        let ending = self.flags.has(Flag::Ending) || !matches!(self.phase, Phase::Open(_));
        let flying = self.talk.outbox.is_flying();
        let progress = &mut self.aside.as_mut()?.progress;
        let (asking, question) = match progress.asking {
            Asking::Wanted(purpose)
                if flying && (ending || progress.blocked || purpose.is_about_the_send()) =>
            {
                (Asking::Send(purpose), Question::CancelSend)
            }
            Asking::Wanted(purpose) | Asking::Sent(purpose) => {
                (Asking::Kernel(purpose), Question::Unacknowledged)
            }
            _ => return None,
        };
        progress.asking = asking;
        Some(question)
    }

    /// A send has ended, cancelled or not: now it is known how much of it the kernel has taken.
    pub(in crate::engine) fn handle_send_answer(&mut self, context: &Context) {
        if let Some(aside) = &mut self.aside
            && let Asking::Send(purpose) = aside.progress.asking
        {
            aside.progress.asking = Asking::Sent(purpose);
            self.mark_dirty(context);
        }
    }

    /// The kernel has said what is not acknowledged, if it can.
    pub(in crate::engine) fn handle_unacknowledged(
        &mut self,
        bytes: Option<u32>,
        context: &Context,
    ) {
        let Some(aside) = &self.aside else { return };
        if self.flags.has(Flag::Dead) {
            self.handle_last_answer(bytes);
        } else if let Asking::Kernel(purpose) = aside.progress.asking {
            self.handle_answer(purpose, bytes, context);
        }
    }

    fn handle_answer(&mut self, purpose: Purpose, left: Option<u32>, context: &Context) {
        let sent = self.low(Counted::BytesOut);
        let closing = !matches!(self.phase, Phase::Open(_));
        let progress = &mut self.aside_mut().progress;
        progress.asking = Asking::Nothing;
        // What the handler sends meanwhile says nothing of a Ping, which may itself be what is left.
        let counts = progress.blocked || closing;
        let little = if counts { 0 } else { QUESTION_BYTES_MAX };
        let before = progress.seen.replace(Seen { sent, left });
        // Whether something was acknowledged meanwhile.
        let taken = |sent_before: u32, left_before: u32, left: u32| {
            let more = sent.wrapping_sub(sent_before);
            i64::from(more) + i64::from(left_before) > i64::from(left)
        };
        let moved = match (before, left) {
            (Some(Seen { sent: sent_before, left: Some(left_before) }), Some(left)) if counts => {
                taken(sent_before, left_before, left)
            }
            // Behind much the Ping is on its way, and the peer is there if that goes on.
            (Some(Seen { sent: sent_before, left: Some(left_before) }), Some(left)) => {
                left < left_before || left > little && taken(sent_before, left_before, left)
            }
            // It is not known since when it waits: the peer has the time until the next question.
            (_, Some(left)) if left > little => true,
            // Where no Ping was sent anything counts, and more than the Close that it is to answer.
            (Some(before), _) if closing => has_more(before.sent, sent),
            (Some(before), _) => progress.blocked && before.sent != sent,
            (None, _) => false,
        };
        match (self.phase, purpose) {
            // It was in flight by chance, and the way is free.
            (Phase::Open(_), Purpose::Asked)
                if self.flags.has(Flag::Pinged) && self.talk.outbox.is_idle() =>
            {
                self.ping(context);
            }
            (Phase::Open(_), Purpose::Silence) => self.judge_silence(moved, left, context),
            (Phase::Open(_), Purpose::Stall) => self.judge_stall(left, context),
            (Phase::Lingering(_), _) if self.has_rest() => self.judge_rest(moved, left, context),
            (Phase::Closing(_) | Phase::Lingering(_), _) => {
                // What was asked before the end began says nothing about it: its time begins now.
                self.judge_closing(moved || purpose != Purpose::End, context);
            }
            _ => {}
        }
        self.reschedule(context);
        self.mark_dirty(context);
    }

    fn judge_closing(&mut self, moved: bool, context: &Context) {
        if !moved {
            return self.lose(context);
        }
        let limit = self.aside.as_ref().and_then(|aside| aside.ends_by);
        let until = context.now.get() + self.closing_patience(context);
        let until = limit.map_or(until, |limit| limit.min(until)).into();
        self.phase = match self.phase {
            Phase::Closing(_) => Phase::Closing(until),
            _ => Phase::Lingering(until),
        };
        self.reschedule(context);
    }

    /// How long the end of a connection waits for the peer to take something.
    pub(in crate::engine) fn closing_patience(&self, context: &Context) -> Duration {
        let timeouts = &context.settings.timeouts;
        if self.status == 101 { timeouts.close } else { timeouts.linger }
    }

    fn judge_silence(&mut self, moved: bool, left: Option<u32>, context: &Context) {
        if !self.flags.has(Flag::Pinged) {
            // It was heard of meanwhile.
            return;
        }
        // Who is not read cannot answer; that its system has taken the Ping is all it can tell. Over
        // a Unix socket the end of the peer is seen without reading.
        let unread = self.flags.has(Flag::Paused) && left.unwrap_or(0) == 0;
        if moved || unread {
            self.flags.clear(Flag::Pinged);
            self.phase = Phase::Open(context.now.get().into());
            self.reschedule(context);
        } else {
            self.cut(context);
        }
    }

    /// Whether the peer has taken more than when this was looked at before.
    fn judge_stall(&mut self, left: Option<u32>, context: &Context) {
        if self.talk.outbox.is_idle() && left.unwrap_or(0) == 0 {
            // It has all of it.
            self.aside_mut().progress = Progress::default();
            return self.drop_empty_aside();
        }
        let taken = self.taken_bytes();
        let until = context.now.get() + context.settings.timeouts.stall;
        let before = self.aside_mut().progress.stalled.replace(Stalled { taken, until });
        if before.is_some_and(|before| before.taken == taken) {
            return self.cut(context);
        }
        self.listen_on();
    }

    /// Bytes that were not acknowledged when that was asked last.
    pub(in crate::engine) fn left_bytes(&self) -> u32 {
        self.aside.as_ref().and_then(|aside| aside.progress.seen?.left).unwrap_or(0)
    }

    /// The low bits of how many bytes the peer has taken, as far as that is known.
    pub(in crate::engine) fn taken_bytes(&self) -> u32 {
        match self.aside.as_ref().and_then(|aside| aside.progress.seen) {
            Some(Seen { sent, left }) => sent.wrapping_sub(left.unwrap_or(0)),
            None => self.low(Counted::BytesOut),
        }
    }

    /// So many bytes were written that nobody will get.
    pub(in crate::engine) fn add_unsent(&mut self, bytes: u64) {
        if bytes > 0 && self.status == 101 {
            self.aside_mut().unsent_bytes += bytes;
        }
    }

    /// Bytes that were written and that nobody got.
    pub(in crate::engine) fn unsent_bytes(&self) -> u64 {
        self.aside.as_ref().map_or(0, |aside| aside.unsent_bytes)
    }

    /// The end of the connection begins: it is to be over by then, whatever the peer takes.
    pub(in crate::engine) fn limit_the_end(&mut self, context: &Context) {
        let limit = context.now.get() + context.settings.timeouts.close_max;
        let sent = self.low(Counted::BytesOut);
        let aside = self.aside_mut();
        if aside.ends_by.is_none() {
            aside.ends_by = Some(limit);
            aside.progress.seen = Some(Seen { sent, left: None });
        }
    }
}
