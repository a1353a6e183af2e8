//! Code that is not the engine's: handlers and their factories, wakers of any executor, and the
//! drops of what belongs to them. All of it is called from here.
//!
//! Such code may panic, and may come back into the engine. So it is called while no table is
//! borrowed and no lock held; what comes up in the middle of a step waits in [`Later`]. A panic
//! ends here and costs one socket: 1011, or 500 before the handshake is answered.

use std::any::Any;
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
pub(in crate::engine) mod tests {
    use super::*;
    use std::cell::RefCell;
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
    pub(in crate::engine) struct Fragile(AtomicUsize);

    impl Wake for Fragile {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
            std::panic::panic_any("on purpose");
        }
    }

    impl Fragile {
        pub(in crate::engine) fn wakes(&self) -> usize {
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
