//! A queue that is filled in one go and emptied in one go, as an inbox is in every batch.
//!
//! A list and how many of its first items have been taken. Taking one moves nothing and writes
//! nothing where it was, and an empty queue begins anew: half the instructions of a ring buffer,
//! whose ends wrap. It is here because what was taken must not be dropped again, which takes one
//! line of unsafe code.
//!
//! Owned by whoever fills it. It has no limit of its own: that is the inbox's.

use std::mem::ManuallyDrop;

/// First in, first out.
pub struct Queue<T> {
    /// Those before `first` have been taken, and must not be touched.
    items: Vec<ManuallyDrop<T>>,
    first: usize,
}

impl<T> Queue<T> {
    /// An empty queue without memory.
    pub const fn new() -> Self {
        Self { items: Vec::new(), first: 0 }
    }

    /// Items.
    #[inline(always)]
    pub fn len(&self) -> usize {
        // The list holds those that were taken and the others, so there are no fewer.
        self.items.len().wrapping_sub(self.first)
    }

    /// Whether there are none.
    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        self.items.len() == self.first
    }

    /// Adds an item behind the others. Where there is no room, makes it for `room` of them.
    #[inline(always)]
    pub fn push(&mut self, item: T, room: usize) {
        if self.items.len() == self.items.capacity() {
            self.make_room(room);
        }
        self.items.push(ManuallyDrop::new(item));
    }

    /// Moves the others up if half of them have been taken, and grows otherwise.
    #[inline(never)]
    fn make_room(&mut self, room: usize) {
        if 2 * self.first > self.items.len() {
            self.forget_taken();
        } else {
            self.items.reserve(room);
        }
    }

    fn forget_taken(&mut self) {
        self.items.drain(..self.first);
        self.first = 0;
    }

    /// The item that [`Queue::pop_front`] would take.
    #[inline(always)]
    pub fn front(&self) -> Option<&T> {
        self.items.get(self.first).map(|item| &**item)
    }

    /// The same, to be changed.
    #[inline(always)]
    pub fn front_mut(&mut self) -> Option<&mut T> {
        self.items.get_mut(self.first).map(|item| &mut **item)
    }

    /// The item that was added last.
    pub fn back_mut(&mut self) -> Option<&mut T> {
        self.items.get_mut(self.first..)?.last_mut().map(|item| &mut **item)
    }

    /// Takes the first item.
    #[inline(always)]
    pub fn pop_front(&mut self) -> Option<T> {
        let place = self.items.get_mut(self.first)?;
        // SAFETY: it is not one of those that have been taken, and becomes one in the next line.
        let item = unsafe { ManuallyDrop::take(place) };
        self.first += 1;
        if self.first == self.items.len() {
            // Drops none of them.
            self.items.clear();
            self.first = 0;
        }
        Some(item)
    }

    /// Takes the item that was added last.
    pub fn pop_back(&mut self) -> Option<T> {
        if self.is_empty() {
            return None;
        }
        self.items.pop().map(ManuallyDrop::into_inner)
    }

    /// Gives back the memory of a queue that was longer than this once.
    #[inline]
    pub fn shrink_to(&mut self, room: usize) {
        if self.items.capacity() > room {
            self.forget_taken();
            self.items.shrink_to(room);
        }
    }
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Drop for Queue<T> {
    fn drop(&mut self) {
        while self.pop_front().is_some() {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::rc::Rc;

    #[test]
    fn what_comes_first_goes_first_and_everything_is_dropped_once() {
        let item = Rc::new(());
        let mut queue = Queue::new();
        for round in 1..20 {
            for number in 0..round {
                queue.push((number, Rc::clone(&item)), 4);
            }
            assert_eq!(queue.pop_back().map(|(number, _)| number), Some(round - 1));
            for number in 0..round / 2 {
                assert_eq!(queue.front().map(|(number, _)| *number), Some(number));
                assert_eq!(queue.pop_front().map(|(number, _)| number), Some(number));
            }
            assert_eq!(queue.len(), Rc::strong_count(&item) - 1);
            while round % 3 > 0 && queue.pop_front().is_some() {}
            if round % 3 == 0 {
                queue = Queue::new();
            }
        }
        assert!(queue.is_empty() && queue.back_mut().is_none() && queue.pop_back().is_none());
        assert_eq!(Rc::strong_count(&item), 1);
    }

    #[test]
    fn a_queue_that_is_never_empty_stays_small() {
        let mut queue = Queue::new();
        queue.push(0, 4);
        for number in 1..1_000 {
            queue.push(number, 4);
            assert_eq!(queue.pop_front(), Some(number - 1));
        }
        assert!(queue.items.capacity() <= 16, "{}", queue.items.capacity());
        queue.shrink_to(1);
        assert_eq!((queue.front_mut().copied(), queue.items.len()), (Some(999), 1));
    }
}
