//! Code that is not the engine's: handlers and their factories, wakers of any executor, and the
//! drops of what belongs to them. All of it is called from here.
//!
//! Such code may panic, and may come back into the engine. So it is called while no table is
//! borrowed and no lock held; what comes up in the middle of a step waits in [`Later`]. A panic
//! ends here and costs one socket: 1011, or 500 before the handshake is answered.

use crate::engine::commands::{ReachFailure, Reply};
use crate::engine::core::slots::SlotId;
use crate::engine::core::{Core, count};
use std::any::Any;
use std::cell::RefCell;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Wake, Waker};

/// Code of the application has panicked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) struct Panicked;

/// Calls code that may panic.
#[inline]
pub(in crate::engine) fn call<T>(code: impl FnOnce() -> T) -> Result<T, Panicked> {
    catch_unwind(AssertUnwindSafe(code)).map_err(forget)
}

/// What a panic carries is the application's as well: its drop may panic, with something whose drop
/// panics too, and so on. The second is never dropped.
#[cold]
fn forget(payload: Box<dyn Any + Send>) -> Panicked {
    if let Err(another) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        std::mem::forget(another);
    }
    Panicked
}

/// Wakes a task of whichever executor.
pub(in crate::engine) fn wake(waker: Waker) -> Result<(), Panicked> {
    call(|| waker.wake())
}

/// What is to be called when nothing is borrowed, in order.
#[derive(Default)]
pub(in crate::engine) struct Later(RefCell<Vec<Call>>);

enum Call {
    /// A part of the handler of this connection waits under a waker of its own.
    Wake(SlotId, Waker),
    /// The holder of this socket waits.
    WakeHolder(SlotId, Waker),
    /// Somebody waits for the answer to a write.
    Answer(Reply<Result<(), ReachFailure>>, Result<(), ReachFailure>),
}

impl Later {
    pub(in crate::engine) fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }
}

impl Core {
    /// Wakes a part of a handler that waits under a waker of its own.
    pub(in crate::engine) fn wake_later(&self, id: SlotId, waker: Waker) {
        self.call_later(Call::Wake(id, waker));
    }

    /// Wakes the holder of a socket.
    pub(in crate::engine) fn wake_holder_later(&self, id: SlotId, waker: Waker) {
        self.call_later(Call::WakeHolder(id, waker));
    }

    /// Answers a write by id.
    pub(in crate::engine) fn answer_later(
        &self,
        reply: Reply<Result<(), ReachFailure>>,
        answer: Result<(), ReachFailure>,
    ) {
        self.call_later(Call::Answer(reply, answer));
    }

    fn call_later(&self, call: Call) {
        self.later.0.borrow_mut().push(call);
        self.chores.set(true);
    }

    /// Calls what had to wait. What is added meanwhile waits for the next time, so that wakers that
    /// wake each other cannot hold up the ring.
    pub(in crate::engine) fn call_foreign(&self) {
        for one in self.later.0.take() {
            match one {
                Call::Wake(id, waker) => {
                    if wake(waker).is_err() {
                        // Part of the handler will never be polled again.
                        self.executor.abandon(&self.slots, id);
                        self.handle_panic(id);
                    }
                }
                Call::WakeHolder(id, waker) => self.wake_holder_now(id, waker),
                Call::Answer(reply, answer) => reply.send(answer),
            }
        }
    }

    /// Wakes the holder of a socket; nothing may be borrowed.
    pub(in crate::engine) fn wake_holder_now(&self, id: SlotId, waker: Waker) {
        if wake(waker).is_err() {
            self.handle_panic(id);
        }
    }

    /// Code of the application has panicked: its socket is closed, and nothing else notices.
    pub(in crate::engine) fn handle_panic(&self, owner: SlotId) {
        count(&self.counters.panics);
        if let Some(slot) = self.slots.borrow_mut().find(owner) {
            slot.connection.handle_panic(self);
        }
    }
}

/// Polls a future so that lists of wakers that others share see none that panics: one that did
/// would keep those behind it from being woken.
pub(in crate::engine) async fn guard<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    poll_fn(|context| {
        let guarded = Waker::from(Arc::new(Guarded(Some(context.waker().clone()))));
        future.as_mut().poll(&mut Context::from_waker(&guarded))
    })
    .await
}

struct Guarded(Option<Waker>);

impl Wake for Guarded {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let _ = call(|| self.0.as_ref().map(Waker::wake_by_ref));
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        let waker = self.0.take();
        let _ = call(|| drop(waker));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::bench::Seated;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Poll;

    /// Panics when it is dropped, with another one, so many times.
    struct Grenade(usize);

    impl Drop for Grenade {
        fn drop(&mut self) {
            if self.0 > 0 {
                std::panic::panic_any(Grenade(self.0 - 1));
            }
        }
    }

    /// Panics when it is woken, and counts how often it was.
    #[derive(Default)]
    struct Fragile(AtomicUsize);

    impl Wake for Fragile {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
            std::panic::panic_any("on purpose");
        }
    }

    impl Fragile {
        fn wakes(&self) -> usize {
            self.0.load(Ordering::SeqCst)
        }
    }

    #[test]
    fn a_panic_ends_here_whatever_it_carries() {
        assert_eq!(call(|| 7), Ok(7));
        for depth in 0..4 {
            assert_eq!(call(|| std::panic::panic_any(Grenade(depth))), Err(Panicked));
        }
        let fragile = Arc::new(Fragile::default());
        assert_eq!(wake(Waker::from(Arc::clone(&fragile))), Err(Panicked));
        assert_eq!(fragile.wakes(), 1);
    }

    #[test]
    fn a_waker_is_called_when_nothing_is_borrowed_and_its_panic_ends_one_handler() {
        let seated = Seated::new(2);
        let id = seated.spawn(Box::pin(std::future::pending()));
        seated.spawn(Box::pin(std::future::pending()));
        let fragile = Arc::new(Fragile::default());
        {
            let mut slots = seated.core.slots.borrow_mut();
            let connection = slots.of_handler(id).expect("it is there");
            assert!(connection.keep_waker(Waker::from(Arc::clone(&fragile))).is_none());
            connection.wake(&seated.core);
            assert_eq!(fragile.wakes(), 0, "the slots are borrowed");
        }
        seated.core.call_foreign();
        assert_eq!((fragile.wakes(), seated.core.executor.len()), (1, 1));
        assert_eq!(seated.core.counters.panics.get(), 1);
        assert!(seated.core.later.is_empty());
    }

    #[test]
    fn a_guarded_waker_panics_where_nobody_notices() {
        let fragile = Arc::new(Fragile::default());
        let waker = Waker::from(Arc::clone(&fragile));
        let kept = RefCell::new(None);
        let mut guarded = pin!(guard(poll_fn(|context: &mut Context<'_>| {
            kept.replace(Some(context.waker().clone()));
            Poll::<()>::Pending
        })));
        assert!(guarded.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        kept.take().expect("it was polled").wake();
        assert_eq!(fragile.wakes(), 1);
    }
}
