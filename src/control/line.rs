//! One connection: what it has asked, what it has yet to take, and when it has had its time.
//!
//! Owned by whoever serves the connection, and looked at by [`visits`](super::visits) when somebody
//! has to make room. Every request is a [`Turn`] until the last byte of its answer has left this
//! process; so what a client does not take is known, and for how long.

use super::limits::{FIN_PATIENCE, Times};
use slab::Slab;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::{Instant, Sleep, sleep_until};

/// A connection and its requests.
pub(super) struct Line {
    state: Mutex<State>,
    times: Times,
    /// Its end is wanted.
    leave: Notify,
    /// An answer was taken, or the socket takes bytes again.
    taken: Notify,
}

struct State {
    /// A request each: since when its client has not taken what there is of the answer. `None`
    /// while there is nothing to take.
    turns: Slab<Option<Instant>>,
    /// Since when the socket takes nothing.
    blocked_since: Option<Instant>,
    /// The end of the last request, or the beginning of the connection.
    quiet_since: Instant,
    has_asked: bool,
    has_to_leave: bool,
}

/// What is to become of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// Nothing, until this moment at least.
    Fine(Instant),
    /// It has asked nothing in its time.
    Silent,
    /// It has had its answers, and asks nothing more.
    Idle,
    /// It does not take an answer.
    Stuck,
    /// It makes room for another one.
    Displaced,
}

impl Line {
    pub(super) fn new(times: Times) -> Arc<Self> {
        let state = State {
            turns: Slab::new(),
            blocked_since: None,
            quiet_since: Instant::now(),
            has_asked: false,
            has_to_leave: false,
        };
        let (leave, taken) = (Notify::new(), Notify::new());
        Arc::new(Self { state: Mutex::new(state), times, leave, taken })
    }

    /// A request has come. Nothing of it may be done if there are `turns_max` already, or if the
    /// connection is about to end.
    pub(super) fn begin(self: &Arc<Self>, turns_max: usize) -> Option<Turn> {
        let mut state = self.state();
        if state.has_to_leave || state.turns.len() >= turns_max {
            return None;
        }
        state.has_asked = true;
        let key = state.turns.insert(None);
        drop(state);
        Some(Turn { line: Arc::clone(self), key })
    }

    /// Waits until `turn` is the only one, and the socket takes bytes: over HTTP/1.1 a client may
    /// ask on without taking an answer.
    pub(super) async fn others_are_taken(&self) {
        loop {
            let taken = self.taken.notified();
            {
                let state = self.state();
                if state.turns.len() <= 1 && state.blocked_since.is_none() {
                    return;
                }
            }
            taken.await;
        }
    }

    /// Asks it to end; `false` if it has work and is not to be forced.
    pub(super) fn displace(&self, force: bool) -> bool {
        let mut state = self.state();
        if !force && !state.turns.is_empty() {
            return false;
        }
        state.has_to_leave = true;
        self.leave.notify_one();
        true
    }

    /// Whether it has work, and since when it has been so: those without work, and those that have
    /// been longest without, are the first to make room.
    pub(super) fn age(&self) -> (bool, Instant) {
        let state = self.state();
        (!state.turns.is_empty(), state.quiet_since)
    }

    /// Waits until something is to become of it.
    pub(super) async fn watch(&self) -> Look {
        loop {
            let look = self.look(Instant::now());
            let Look::Fine(until) = look else { return look };
            tokio::select! {
                () = sleep_until(until) => {}
                () = self.leave.notified() => {}
            }
        }
    }

    /// What is to become of it now. What begins later than `now` is not over before the moment that
    /// [`Look::Fine`] names.
    fn look(&self, now: Instant) -> Look {
        let state = self.state();
        let Times { first_request, idle, answer } = self.times;
        if state.has_to_leave {
            return Look::Displaced;
        }
        let waits = state.turns.iter().filter_map(|(_, since)| *since).chain(state.blocked_since);
        let stuck_at = waits.min().map(|since| since + answer);
        let quiet_at = match (state.has_asked, state.turns.is_empty()) {
            (false, _) => Some((state.quiet_since + first_request, Look::Silent)),
            (true, true) => Some((state.quiet_since + idle, Look::Idle)),
            (true, false) => None,
        };
        // What begins after this look cannot be over before.
        let next = now + answer.min(idle);
        let over = stuck_at.map(|at| (at, Look::Stuck)).into_iter().chain(quiet_at);
        match over.min_by_key(|(at, _)| *at) {
            Some((at, look)) if at <= now => look,
            Some((at, _)) => Look::Fine(at.min(next)),
            None => Look::Fine(next),
        }
    }

    /// Whether all that came until then has had its answer.
    fn has_answered(&self, heard: Instant) -> bool {
        let state = self.state();
        state.has_asked && state.turns.is_empty() && state.quiet_since >= heard
    }

    fn set_blocked(&self, is_blocked: bool) {
        self.state().blocked_since = is_blocked.then(Instant::now);
        if !is_blocked {
            self.taken.notify_waiters();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // What is in it is whole at any moment.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request under way, until its answer is taken.
pub(super) struct Turn {
    line: Arc<Line>,
    key: usize,
}

impl Turn {
    /// The client is to take something from now on.
    pub(super) fn is_up_to_client(&self) {
        self.set(Some(Instant::now()));
    }

    /// There is nothing to take.
    pub(super) fn is_up_to_us(&self) {
        self.set(None);
    }

    fn set(&self, since: Option<Instant>) {
        if let Some(turn) = self.line.state().turns.get_mut(self.key) {
            *turn = since;
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut state = self.line.state();
        state.turns.try_remove(self.key);
        state.quiet_since = Instant::now();
        drop(state);
        self.line.taken.notify_waiters();
    }
}

/// The socket of a connection, which tells when it takes no bytes, and hears a FIN right behind a
/// request only after a while: its client may wait for the answer. One that has gone is still
/// noticed.
pub(super) struct Wire<S> {
    stream: S,
    line: Arc<Line>,
    is_blocked: bool,
    /// When the last bytes came.
    heard: Option<Instant>,
    /// The FIN is heard then.
    fin: Option<Pin<Box<Sleep>>>,
}

impl<S> Wire<S> {
    pub(super) fn new(stream: S, line: Arc<Line>) -> Self {
        Self { stream, line, is_blocked: false, heard: None, fin: None }
    }

    /// The FIN has come, and is heard once there is nothing left that is to be answered soon.
    fn hear_fin(&mut self, heard: Instant, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.line.has_answered(heard) {
            return Poll::Ready(Ok(()));
        }
        let until = heard + FIN_PATIENCE;
        let fin = self.fin.get_or_insert_with(|| Box::pin(sleep_until(until)));
        fin.as_mut().poll(context).map(Ok)
    }

    fn note<T>(&mut self, written: Poll<T>) -> Poll<T> {
        if self.is_blocked != written.is_pending() {
            self.is_blocked = written.is_pending();
            self.line.set_blocked(self.is_blocked);
        }
        written
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Wire<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(heard) = self.heard.filter(|_| self.fin.is_some()) {
            return self.hear_fin(heard, context);
        }
        let room = buffer.remaining();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        if buffer.remaining() < room {
            self.heard = Some(Instant::now());
        } else if let Some(heard) = self.heard.filter(|_| room > 0) {
            return self.hear_fin(heard, context);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.note(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, pieces);
        self.note(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(context))?;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const SECOND: Duration = Duration::from_secs(1);

    fn line() -> Arc<Line> {
        Line::new(Times { first_request: 10 * SECOND, idle: 90 * SECOND, answer: 30 * SECOND })
    }

    #[test]
    fn each_kind_of_waiting_has_its_time() {
        let line = line();
        let began = Instant::now();
        let after = |seconds: u32| line.look(began + seconds * SECOND);
        assert!(matches!(after(9), Look::Fine(_)));
        assert_eq!(after(11), Look::Silent);
        let turn = line.begin(1).expect("there is room");
        // A poll may last, and nobody is to blame.
        assert!(matches!(after(1_000), Look::Fine(_)));
        turn.is_up_to_client();
        assert!(matches!(after(29), Look::Fine(_)));
        assert_eq!(after(31), Look::Stuck);
        turn.is_up_to_us();
        assert!(matches!(after(31), Look::Fine(_)));
        line.set_blocked(true);
        assert_eq!(after(31), Look::Stuck);
        line.set_blocked(false);
        drop(turn);
        assert!(matches!(after(89), Look::Fine(_)));
        assert_eq!(after(91), Look::Idle);
    }

    #[test]
    fn what_begins_later_is_not_over_before_the_next_look() {
        let line = line();
        let turn = line.begin(1).expect("there is room");
        let now = Instant::now();
        let Look::Fine(next) = line.look(now) else { panic!("it is fine") };
        turn.is_up_to_client();
        assert!(next <= now + 30 * SECOND);
        assert!(matches!(line.look(next - SECOND), Look::Fine(_)));
        let hasty = Line::new(Times { first_request: 90 * SECOND, idle: SECOND, ..line.times });
        assert!(matches!(hasty.look(now), Look::Fine(next) if next <= now + SECOND));
    }

    #[test]
    fn only_idle_ones_make_room_unless_they_are_forced() {
        let line = line();
        let turn = line.begin(2).expect("there is room");
        assert!(line.begin(1).is_none());
        assert!(!line.displace(false));
        assert!(line.begin(2).is_some());
        assert!(line.age().0);
        drop(turn);
        assert!(!line.age().0 && line.displace(false));
        // Whatever comes now on this connection is not begun.
        assert!(line.begin(9).is_none());
        assert_eq!(line.look(Instant::now()), Look::Displaced);
    }

    #[tokio::test]
    async fn a_request_waits_for_the_answers_before_it() {
        let line = line();
        let (first, _second) = (line.begin(9), line.begin(9));
        let waiting = line.others_are_taken();
        tokio::pin!(waiting);
        let is_pending = tokio::select! {
            biased;
            () = &mut waiting => false,
            () = std::future::ready(()) => true,
        };
        assert!(is_pending);
        drop(first);
        waiting.await;
    }
}
