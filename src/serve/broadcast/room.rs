//! What the shards of a broadcast share: a bounded letterbox for each.
//!
//! Members say things to the room, which puts them into every letterbox, in one order for all;
//! the audience of a shard empties its own. Whoever finds one full waits.

use crate::Data;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};

/// What a shard may leave in its letterbox, give or take a message, before speakers wait.
const LETTERS_MAX: usize = 256;
const LETTERS_BYTES_MAX: usize = 1 << 20;

/// All shards that have members.
#[derive(Default)]
pub(in super::super) struct Room {
    hall: Mutex<Hall>,
}

#[derive(Default)]
struct Hall {
    letterboxes: Vec<Arc<Letterbox>>,
    /// Speakers that found one of them full, since the last of `calls`.
    waiting: Vec<Waker>,
    calls: u64,
}

/// What was said and one shard has not taken yet.
pub(super) struct Letterbox {
    letters: Mutex<Letters>,
    /// Something is in it; a look costs no lock.
    flag: AtomicBool,
}

struct Letters {
    messages: Vec<Arc<Data>>,
    bytes: usize,
    /// The member of the shard that is to empty it.
    reader: Waker,
}

impl Letters {
    fn are_full(&self) -> bool {
        self.messages.len() >= LETTERS_MAX || self.bytes >= LETTERS_BYTES_MAX
    }
}

impl Room {
    pub(super) fn open_letterbox(&self, reader: Waker) -> Arc<Letterbox> {
        let letters = Mutex::new(Letters { messages: Vec::new(), bytes: 0, reader });
        let letterbox = Arc::new(Letterbox { letters, flag: AtomicBool::new(false) });
        lock(&self.hall).letterboxes.push(Arc::clone(&letterbox));
        letterbox
    }

    pub(super) fn close_letterbox(&self, letterbox: &Arc<Letterbox>) {
        lock(&self.hall).letterboxes.retain(|open| !Arc::ptr_eq(open, letterbox));
        // It may have been what speakers waited for.
        self.call_waiting();
    }

    /// Says a message to all, or has the speaker woken when it is worth another try: `false`.
    /// `call` is the speaker's, 0 at first.
    pub(super) fn say(&self, message: &Arc<Data>, call: &mut u64, context: &Context<'_>) -> bool {
        let mut hall = lock(&self.hall);
        if hall.letterboxes.iter().any(|letterbox| lock(&letterbox.letters).are_full()) {
            // Once in each list, though the speaker is woken for other things as well.
            if std::mem::replace(call, hall.calls + 1) != hall.calls + 1 {
                hall.waiting.push(context.waker().clone());
            }
            return false;
        }
        hall.letterboxes.iter().for_each(|letterbox| letterbox.put(message));
        true
    }

    fn call_waiting(&self) {
        let waiting = {
            let mut hall = lock(&self.hall);
            hall.calls += 1;
            std::mem::take(&mut hall.waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
    }
}

impl Letterbox {
    fn put(&self, message: &Arc<Data>) {
        let mut letters = lock(&self.letters);
        letters.bytes += message.len();
        letters.messages.push(Arc::clone(message));
        if letters.messages.len() == 1 {
            self.flag.store(true, Ordering::Release);
            letters.reader.wake_by_ref();
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        !self.flag.load(Ordering::Acquire)
    }

    /// Has somebody else woken when something comes.
    pub(super) fn set_reader(&self, reader: Waker) {
        lock(&self.letters).reader = reader;
    }

    /// Takes all that is in it.
    pub(super) fn take(&self, room: &Room) -> Vec<Arc<Data>> {
        let (messages, was_full) = {
            let mut letters = lock(&self.letters);
            let was_full = letters.are_full();
            self.flag.store(false, Ordering::Release);
            letters.bytes = 0;
            (std::mem::take(&mut letters.messages), was_full)
        };
        if was_full {
            room.call_waiting();
        }
        messages
    }
}

/// Nothing panics while it holds one of these locks.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
