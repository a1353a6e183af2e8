//! The verbs of whoever holds a shared socket, on any thread and under any executor.
//!
//! They work on the [`Link`] and never wait for the shard, except where they wait for the peer. Every
//! future can be dropped at any point and nothing is lost: what was not returned is still there.

use crate::clock::Moment;
use crate::engine::model::ended::Ended;
use crate::engine::shared::link::{Link, LinkState, Purpose, Waiting};
use crate::engine::shared::open::HeldReadFailure;
use crate::engine::shared::open::HeldWriteFailure;
use crate::engine::shared::open::{Leaving, Outgoing};
use crate::engine::shared::ready::Taken;
use crate::engine::shared::wake_batch::ThreadMark;
use crate::proto::CloseCode;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::{Arc, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// A read lease in somebody's hands.
pub(crate) struct Holder {
    pub(in crate::engine) link: Arc<Link>,
    pub(in crate::engine) fence: u64,
    pub(in crate::engine) attachment: u64,
    /// What a drop means.
    pub(in crate::engine) leaving: Leaving,
}

impl Holder {
    /// The state, if the socket is still held by this holder.
    fn state(&self) -> Option<MutexGuard<'_, LinkState>> {
        let mut state = self.link.lock();
        if !state.companions.is_empty() {
            state = self.wake_companions(state);
        }
        state.verbs = state.verbs.wrapping_add(1);
        (state.attachment == self.attachment).then_some(state)
    }

    /// Wakes those who were left to this holder, on the thread that most likely has them as well.
    #[cold]
    fn wake_companions<'a>(
        &'a self,
        mut state: MutexGuard<'a, LinkState>,
    ) -> MutexGuard<'a, LinkState> {
        let companions = std::mem::take(&mut state.companions);
        drop(state);
        companions.into_iter().for_each(|companion| companion.wake(&self.link.bell));
        self.link.lock()
    }

    /// The next message or part of one. The deadline counts from the first poll that has to wait.
    /// `keep`: what is taken is to be acknowledged, and which message was the last to be.
    pub(crate) fn read(
        &mut self,
        len: usize,
        as_bytes: bool,
        timeout: Duration,
        keep: Option<Option<u64>>,
    ) -> HeldRead<'_> {
        HeldRead { holder: self, len, as_bytes, timeout, deadline: None, keep, waits: false }
    }

    /// Adds a message to what is to be sent, if there is room; otherwise it stays.
    pub(crate) fn write(&self, message: &mut Option<Outgoing>) -> Result<(), HeldWriteFailure> {
        let mut state = self.state().ok_or(HeldWriteFailure::Fenced)?;
        if state.shut && state.close.is_none() && !state.ready.is_empty() {
            // In vain; but whoever gives up at a failed write would not read the rest.
            *message = None;
            return Ok(());
        }
        self.admit(&state, message)?;
        let Some(message) = message.take() else { return Ok(()) };
        state.outgoing_bytes += message.payload.len();
        state.outgoing.push(message);
        self.link.nudge(state);
        Ok(())
    }

    fn admit(&self, state: &LinkState, message: &Option<Outgoing>) -> Result<(), HeldWriteFailure> {
        let bytes = message.as_ref().map_or(0, |message| message.payload.len());
        if state.shut || state.close.is_some() {
            Err(HeldWriteFailure::Ended)
        } else if bytes as u64 > self.link.message_bytes_max {
            Err(HeldWriteFailure::TooLong)
        } else if state.outgoing_bytes >= self.link.high_water_bytes {
            Err(HeldWriteFailure::Full)
        } else {
            Ok(())
        }
    }

    /// Adds a message to what is to be sent, as soon as there is room.
    pub(crate) fn poll_write(
        &self,
        message: &mut Option<Outgoing>,
        context: &Context<'_>,
    ) -> Poll<Result<(), HeldWriteFailure>> {
        let mut spare = None;
        loop {
            match self.write(message) {
                Err(HeldWriteFailure::Full) => {}
                result => return Poll::Ready(result),
            }
            let Some(mut state) = self.state() else { continue };
            // The shard may have made room meanwhile.
            if self.admit(&state, message) == Err(HeldWriteFailure::Full) {
                if state.wait(context, Purpose::Room, &mut spare) {
                    drop(state);
                    return Poll::Pending;
                }
                drop(state);
                spare = Some(context.waker().clone());
            }
        }
    }

    /// Starts the closing handshake, and waits until it is over.
    pub(crate) async fn close(
        &mut self,
        code: CloseCode,
        reason: &str,
    ) -> Result<(), HeldWriteFailure> {
        let mut asked = false;
        poll_fn(|context| {
            let mut spare = None;
            loop {
                let Some(mut state) = self.state() else {
                    return Poll::Ready(Err(HeldWriteFailure::Fenced));
                };
                if state.closed {
                    return Poll::Ready(Ok(()));
                }
                if !state.wait(context, Purpose::Close, &mut spare) {
                    drop(state);
                    spare = Some(context.waker().clone());
                    continue;
                }
                if !std::mem::replace(&mut asked, true) && !state.shut && state.close.is_none() {
                    state.close = Some((code, reason.into()));
                    self.link.nudge(state);
                } else {
                    drop(state);
                }
                return Poll::Pending;
            }
        })
        .await
    }

    pub(crate) fn websocket_id(&self) -> &str {
        &self.link.facts.websocket_id
    }

    pub(crate) fn session_id(&self) -> Option<&str> {
        self.link.facts.session_id.as_deref()
    }

    pub(crate) fn peer(&self) -> Option<SocketAddr> {
        self.link.facts.peer
    }

    pub(crate) fn fence(&self) -> u64 {
        self.fence
    }

    /// How the conversation ended, once it has.
    pub(crate) fn ended(&self) -> Option<Ended> {
        self.link.lock().ended.as_deref().cloned()
    }

    pub(crate) fn buffered_bytes(&self) -> usize {
        self.link.lock().outgoing_bytes
    }

    /// Gives the socket free; what was read is acknowledged.
    pub(crate) fn release(mut self) {
        if let Some(mut state) = self.state() {
            state.kept = None;
        }
        self.leaving = Leaving::Released;
    }

    /// Gives the socket free; what was read and not acknowledged is the next to be read.
    pub(crate) fn give_back(mut self) {
        self.leaving = Leaving::Released;
    }

    /// Goes, and keeps the lease for who comes with the fence.
    pub(crate) fn detach(mut self) -> u64 {
        self.leaving = Leaving::Detached;
        self.fence
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        if let Some(mut state) = self.state() {
            let waiting = state.waiting.take();
            state.leaving = self.leaving;
            self.link.nudge(state);
            // Without the lock, for it may own what looks at this link.
            drop(waiting);
        }
    }
}

impl LinkState {
    /// Waits. `false`: not yet, because nobody's waker is cloned under the lock; `spare` is to be a
    /// clone of it the next time. After that it is what was there before, to be dropped without the
    /// lock.
    fn wait(&mut self, context: &Context<'_>, purpose: Purpose, spare: &mut Option<Waker>) -> bool {
        let thread = ThreadMark::current();
        match &mut self.waiting {
            Some(waiting) if waiting.waker.will_wake(context.waker()) => {
                (waiting.thread, waiting.purpose) = (thread, purpose);
            }
            waiting => {
                let Some(waker) = spare.take() else { return false };
                let before = waiting.replace(Waiting { waker, thread, purpose });
                *spare = before.map(|waiting| waiting.waker);
            }
        }
        true
    }
}

/// A read that waits. What arrives meanwhile belongs to the link, so that dropping it loses
/// nothing.
pub(crate) struct HeldRead<'a> {
    holder: &'a mut Holder,
    len: usize,
    as_bytes: bool,
    timeout: Duration,
    /// Known once it waits: looking at the clock costs as much as a small message.
    deadline: Option<Moment>,
    keep: Option<Option<u64>>,
    waits: bool,
}

impl HeldRead<'_> {
    pub(crate) fn poll(&mut self, context: &Context<'_>) -> Poll<Result<Taken, HeldReadFailure>> {
        let mut spare = None;
        loop {
            if let Some(polled) = self.look(context, &mut spare) {
                return polled;
            }
            spare = Some(context.waker().clone());
        }
    }

    /// `None`: it has to wait, and needs a spare clone of the waker for it.
    fn look(
        &mut self,
        context: &Context<'_>,
        spare: &mut Option<Waker>,
    ) -> Option<Poll<Result<Taken, HeldReadFailure>>> {
        let Self { len, as_bytes, timeout, .. } = *self;
        let link = &self.holder.link;
        let Some(mut state) = self.holder.state() else {
            return Some(Poll::Ready(Err(HeldReadFailure::Fenced)));
        };
        if let Some(again) = state.acknowledge(self.keep.flatten()) {
            return Some(Poll::Ready(Ok(again)));
        }
        if let Some(mut taken) = state.ready.take(len, as_bytes) {
            self.waits = false;
            let waiting = state.waiting.take();
            if self.keep.is_some() {
                state.keep(&mut taken);
            }
            // Half, so that the shard is not asked for every message.
            if state.paused && state.is_half_empty(link) {
                link.nudge(state);
            } else {
                drop(state);
            }
            drop(waiting);
            return Some(Poll::Ready(Ok(taken)));
        }
        if let Some(ended) = &state.ended {
            return Some(Poll::Ready(Err(HeldReadFailure::Ended(ended.clone()))));
        }
        let now = link.bell.now();
        let deadline = *self.deadline.get_or_insert(now + timeout);
        // Even a glance asks the shard once for the rest of a message that is here in part.
        let asked = self.waits || !(state.partial || state.paused);
        if asked && deadline <= now {
            return Some(Poll::Ready(Err(HeldReadFailure::Timeout)));
        }
        if !state.wait(context, Purpose::Read { len, as_bytes, deadline }, spare) {
            return None;
        }
        if state.partial || state.paused || deadline < state.watched_until {
            link.nudge(state);
        }
        self.waits = true;
        Some(Poll::Pending)
    }
}

impl LinkState {
    /// What was kept is acknowledged by the next read, unless that read says that it has not seen
    /// it: then it gets it again.
    fn acknowledge(&mut self, acknowledged: Option<u64>) -> Option<Taken> {
        let kept = self.kept.as_ref()?;
        if acknowledged.is_some_and(|last| last != kept.sequence) {
            return Some(kept.copy());
        }
        self.kept = None;
        None
    }

    fn keep(&mut self, taken: &mut Taken) {
        self.sequence += 1;
        taken.sequence = self.sequence;
        self.kept = Some(taken.copy());
    }
}

impl Drop for HeldRead<'_> {
    fn drop(&mut self) {
        if self.waits
            && let Some(mut state) = self.holder.state()
        {
            let waiting = state.waiting.take();
            drop(state);
            drop(waiting);
        }
    }
}
