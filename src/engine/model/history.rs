//! A bounded history that any thread can follow: numbered items, the newest so many of which are kept.
//!
//! Whoever appends waits for no reader but for the look that one may be taking, which passes at most all
//! items that are kept. Each cursor reads at its own pace, is told of a gap
//! when something it should have had is gone, and can go on where another one has stopped. Items are
//! handed out as clones.

use crate::engine::model::foreign;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// What `next` says when nothing will follow any more.
const END: u64 = u64::MAX;

/// Where an item stands: in which history, and its number there, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::engine) struct Position {
    pub(in crate::engine) epoch: u32,
    pub(in crate::engine) number: u64,
}

/// See the module.
pub(in crate::engine) struct History<T> {
    /// Tells the histories of different runs apart.
    epoch: u32,
    /// Items that are kept for cursors that come late or come back.
    items_max: usize,
    kept: Mutex<Kept<T>>,
    /// The number of the next item, and [`END`].
    next: watch::Sender<u64>,
}

struct Kept<T> {
    items: VecDeque<T>,
    /// The number of the next one.
    next: u64,
}

impl<T> Kept<T> {
    fn oldest(&self) -> u64 {
        self.next - self.items.len() as u64
    }
}

/// What a cursor finds.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::engine) enum Step<T> {
    Item(T),
    /// Items up to this one are gone, and were not seen.
    Gap(Position),
}

impl<T: Clone> History<T> {
    /// An empty one that keeps so many items.
    pub(in crate::engine) fn new(epoch: u32, items_max: usize) -> Self {
        let kept = Mutex::new(Kept { items: VecDeque::new(), next: 1 });
        Self { epoch, items_max, kept, next: watch::Sender::new(1) }
    }

    /// Appends what `make` makes of each, given where it stands.
    pub(in crate::engine) fn append<S>(
        &self,
        sources: impl Iterator<Item = S>,
        mut make: impl FnMut(Position, S) -> T,
    ) {
        let mut kept = self.kept();
        for source in sources {
            if kept.items.len() == self.items_max {
                kept.items.pop_front();
            }
            let position = Position { epoch: self.epoch, number: kept.next };
            kept.next += 1;
            kept.items.push_back(make(position, source));
        }
        let next = kept.next;
        drop(kept);
        self.next.send_if_modified(|known| {
            let later = *known != END && *known < next;
            *known = if later { next } else { *known };
            later
        });
    }

    /// Nothing will follow any more.
    pub(in crate::engine) fn end(&self) {
        self.next.send_replace(END);
    }

    /// A cursor at what comes after `after`; without it, at what comes from now on.
    pub(in crate::engine) fn cursor(self: &Arc<Self>, after: Option<Position>) -> Cursor<T> {
        let newest = self.kept().next;
        let (next, missed) = match after {
            None => (newest, false),
            Some(after) if after.epoch == self.epoch && after.number < newest => {
                (after.number + 1, false)
            }
            // Of another run: nothing of it is known, so everything is new.
            Some(_) => (0, true),
        };
        Cursor { history: Arc::clone(self), changed: self.next.subscribe(), next, missed }
    }

    fn kept(&self) -> MutexGuard<'_, Kept<T>> {
        // Nothing panics while it holds the lock.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads a history in order.
pub(in crate::engine) struct Cursor<T> {
    history: Arc<History<T>>,
    changed: watch::Receiver<u64>,
    /// The number of the next item to give, or to pass over.
    next: u64,
    /// What is to come begins with a gap.
    missed: bool,
}

impl<T: Clone> Cursor<T> {
    /// The next item that is wanted; waits for it. `None`: nothing will follow any more. Dropping the
    /// future loses nothing.
    pub(in crate::engine) async fn next(&mut self, wants: impl Fn(&T) -> bool) -> Option<Step<T>> {
        loop {
            let known = *self.changed.borrow_and_update();
            if let Some(step) = self.try_next(&wants) {
                return Some(step);
            }
            if known == END || foreign::guard(self.changed.changed()).await.is_err() {
                return None;
            }
        }
    }

    /// The same, if it is there already.
    pub(in crate::engine) fn try_next(&mut self, wants: impl Fn(&T) -> bool) -> Option<Step<T>> {
        let kept = self.history.kept();
        let oldest = kept.oldest();
        if self.missed || self.next < oldest {
            self.missed = false;
            self.next = oldest;
            return Some(Step::Gap(Position { epoch: self.history.epoch, number: oldest - 1 }));
        }
        let passed = usize::try_from(self.next - oldest).unwrap_or(usize::MAX);
        for item in kept.items.iter().skip(passed) {
            self.next += 1;
            if wants(item) {
                return Some(Step::Item(item.clone()));
            }
        }
        None
    }

    /// What to go on after if this cursor ends here: the last item that it gave or passed over, or the
    /// last there was when it began. `None` before a gap that must not be overlooked.
    pub(in crate::engine) fn position(&self) -> Option<Position> {
        let number = self.next.saturating_sub(1);
        (!self.missed).then_some(Position { epoch: self.history.epoch, number })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(items: std::ops::Range<u64>, items_max: usize) -> Arc<History<(u64, u64)>> {
        let history = Arc::new(History::new(7, items_max));
        history.append(items, |position, item| (position.number, item));
        history
    }

    fn rest(cursor: &mut Cursor<(u64, u64)>) -> Vec<Step<(u64, u64)>> {
        std::iter::from_fn(|| cursor.try_next(|_| true)).collect()
    }

    #[test]
    fn what_is_gone_is_a_gap_and_the_rest_follows() {
        let history = history(0..10, 4);
        let begin = Position { epoch: 7, number: 2 };
        let mut cursor = history.cursor(Some(begin));
        let mut all = vec![Step::Gap(Position { number: 6, ..begin })];
        all.extend((6..10).map(|item| Step::Item((item + 1, item))));
        assert_eq!(rest(&mut cursor), all);
        assert_eq!(cursor.position(), Some(Position { number: 10, ..begin }));
        history.append([10].into_iter(), |position, item| (position.number, item));
        assert_eq!(rest(&mut cursor), [Step::Item((11, 10))]);
    }

    #[test]
    fn who_comes_from_another_run_has_missed_something() {
        let history = history(0..2, 4);
        for after in [Position { epoch: 8, number: 1 }, Position { epoch: 7, number: 3 }] {
            let mut cursor = history.cursor(Some(after));
            assert_eq!(cursor.position(), None);
            assert_eq!(rest(&mut cursor).len(), 3);
        }
        assert_eq!(rest(&mut history.cursor(None)), []);
    }

    #[test]
    fn what_is_not_wanted_is_passed_over() {
        let history = history(0..6, 9);
        let mut cursor = history.cursor(Some(Position { epoch: 7, number: 0 }));
        assert_eq!(cursor.try_next(|(_, item)| *item == 4), Some(Step::Item((5, 4))));
        assert_eq!(cursor.position(), Some(Position { epoch: 7, number: 5 }));
    }
}
