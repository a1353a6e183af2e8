//! A handler's read: a future over the inbox, of which dropping it loses nothing.

use crate::clock::Moment;
use crate::engine::connection::Reading;
use crate::engine::connection::state::{Flag, Flags};
use crate::engine::handlers::port::Port;
use crate::engine::model::ended::Ended;
use crate::engine::model::incoming::{Incoming, Piece};
use std::pin::Pin;
use std::task::{Context, Poll};

/// A read that got nothing.
pub(crate) enum ReadFailure {
    Timeout,
    Ended(Box<Ended>),
    /// Somebody else has taken the shared socket over.
    Fenced,
}

/// A read that waits. It borrows nothing but the port: what arrives meanwhile belongs to the inbox,
/// so that dropping it loses nothing.
pub(crate) struct Read<'a> {
    port: &'a Port,
    len: usize,
    deadline: Moment,
    /// The connection knows of it.
    waits: bool,
}

impl<'a> Read<'a> {
    pub(in crate::engine) fn new(port: &'a Port, len: usize, deadline: Moment) -> Self {
        Self { port, len, deadline, waits: false }
    }

    /// The first message if it is whole and not longer than asked for, and the last one was read to
    /// its end as well: the usual case of a poll.
    #[inline(always)]
    pub(crate) fn take_whole(&self) -> Option<Incoming> {
        let mut state = self.port.state();
        let state = &mut *state;
        const AT_END: Flags = Flags::of(&[Flag::AtEnd]);
        const ASKED: Flags = Flags::of(&[Flag::AtEnd, Flag::Paused, Flag::Fenced, Flag::Ending]);
        if state.flags.among(ASKED) != AT_END {
            return None;
        }
        let talk = state.talk.busy().filter(|talk| talk.strain.is_none())?;
        talk.inbox.take_whole(self.len)
    }
}

impl Future for Read<'_> {
    type Output = Result<Piece, ReadFailure>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { port, len, deadline, .. } = *self;
        let core = &port.core;
        let mut state = port.state();
        state.take_back(core);
        if state.talk.inbox.messages() > 0
            && !state.flags.has(Flag::Fenced)
            && let as_bytes = state.flags.has(Flag::BinaryData)
            && let Some(piece) = state.talk.inbox.take(len, as_bytes)
        {
            state.flags.put(Flag::AtEnd, piece.at_end);
            state.lend(piece.incoming.payload().len(), core);
            if state.flags.has(Flag::Paused) {
                state.mark_dirty(core);
            }
            state.note_in_hand(true);
            return Poll::Ready(Ok(piece));
        }
        if state.flags.has(Flag::Fenced) {
            return Poll::Ready(Err(ReadFailure::Fenced));
        }
        if let Some(ended) = state.ended() {
            return Poll::Ready(Err(ReadFailure::Ended(ended.clone().into())));
        }
        if deadline <= core.now.get() {
            return Poll::Ready(Err(ReadFailure::Timeout));
        }
        state.reading = Some(Reading::new(len, deadline));
        // The wheel knows of the connection's other deadlines since they were set.
        state.look_by(deadline, core);
        if state.flags.has(Flag::Paused) || state.flags.has(Flag::Ending) {
            state.mark_dirty(core);
        }
        self.waits = true;
        port.wait(state, context);
        Poll::Pending
    }
}

impl Drop for Read<'_> {
    fn drop(&mut self) {
        if self.waits {
            let mut state = self.port.state();
            // Otherwise the read that waits is that of who has taken the socket over.
            if !state.flags.has(Flag::Fenced) {
                state.reading = None;
            }
        }
    }
}
