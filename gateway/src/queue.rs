//! A queue between rooms, bounded in items and in bytes.
//!
//! Whoever puts something in either hears at once that it is full ([`Queue::offer`]) or waits for room
//! ([`Queue::push`]); whoever takes gets all that waits, up to a bound, in order. Closing lets what waits be taken and
//! nothing more come in; dropping everything is for when nobody will ever take again.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The queue; to be shared behind an `Arc`.
pub(crate) struct Queue<T> {
    items_max: usize,
    bytes_max: usize,
    waiting: Mutex<Waiting<T>>,
    filled: Condvar,
    emptied: Condvar,
}

struct Waiting<T> {
    items: VecDeque<(T, usize)>,
    bytes: usize,
    closed: bool,
}

/// Why something was not put in; it is given back.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unqueued<T> {
    Full(T),
    Closed(T),
}

/// What was taken.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Taken<T> {
    /// Something, at least one.
    Some(Vec<T>),
    /// Nothing came in time.
    Nothing,
    /// Nothing will ever come.
    Closed,
}

impl<T> Queue<T> {
    /// Returns an empty queue with its bounds.
    pub(crate) fn new(items_max: usize, bytes_max: usize) -> Self {
        let waiting = Waiting { items: VecDeque::new(), bytes: 0, closed: false };
        Self { items_max, bytes_max, waiting: Mutex::new(waiting), filled: Condvar::new(), emptied: Condvar::new() }
    }

    /// Puts something of so many bytes in, if there is room.
    pub(crate) fn offer(&self, item: T, bytes: usize) -> Result<(), Unqueued<T>> {
        let mut waiting = self.waiting();
        if waiting.closed {
            return Err(Unqueued::Closed(item));
        }
        if !self.has_room(&waiting, bytes) {
            return Err(Unqueued::Full(item));
        }
        self.put(&mut waiting, item, bytes);
        Ok(())
    }

    /// Puts something in as soon as there is room; gives it back if the queue is closed.
    pub(crate) fn push(&self, item: T, bytes: usize) -> Result<(), T> {
        let mut waiting = self.waiting();
        while !waiting.closed && !self.has_room(&waiting, bytes) {
            waiting = self.emptied.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        if waiting.closed {
            return Err(item);
        }
        self.put(&mut waiting, item, bytes);
        Ok(())
    }

    /// Waits for something, then takes all that waits: at most so many items, and so many bytes beyond the first.
    ///
    /// With a `patience` it waits no longer than that.
    pub(crate) fn take(&self, items_max: usize, bytes_max: usize, patience: Option<Duration>) -> Taken<T> {
        let mut waiting = self.waiting();
        while waiting.items.is_empty() && !waiting.closed {
            let Some(patience) = patience else {
                waiting = self.filled.wait(waiting).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let (woken, result) = self.filled.wait_timeout(waiting, patience).unwrap_or_else(PoisonError::into_inner);
            waiting = woken;
            if result.timed_out() && waiting.items.is_empty() && !waiting.closed {
                return Taken::Nothing;
            }
        }
        let mut taken = Vec::new();
        let mut taken_bytes = 0;
        while let Some((_, bytes)) = waiting.items.front()
            && taken.len() < items_max
            && (taken.is_empty() || taken_bytes + bytes <= bytes_max)
        {
            let (item, bytes) = waiting.items.pop_front().expect("there is a first");
            waiting.bytes -= bytes;
            taken_bytes += bytes;
            taken.push(item);
        }
        drop(waiting);
        self.emptied.notify_all();
        if taken.is_empty() { Taken::Closed } else { Taken::Some(taken) }
    }

    /// Lets nothing in any more. What waits can still be taken.
    pub(crate) fn close(&self) {
        self.waiting().closed = true;
        self.filled.notify_all();
        self.emptied.notify_all();
    }

    /// Lets nothing in any more and drops what waits.
    pub(crate) fn close_and_drop(&self) {
        let dropped = {
            let mut waiting = self.waiting();
            waiting.bytes = 0;
            std::mem::take(&mut waiting.items)
        };
        self.close();
        // Outside of the lock: what is dropped may wake somebody who asks this queue.
        drop(dropped);
    }

    /// Something larger than the whole bound would otherwise wait for ever; alone it is let in.
    fn has_room(&self, waiting: &Waiting<T>, bytes: usize) -> bool {
        waiting.items.is_empty()
            || (waiting.items.len() < self.items_max && waiting.bytes.saturating_add(bytes) <= self.bytes_max)
    }

    fn put(&self, waiting: &mut Waiting<T>, item: T, bytes: usize) {
        waiting.items.push_back((item, bytes));
        waiting.bytes += bytes;
        self.filled.notify_one();
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting<T>> {
        // Nothing in here panics half-way through a change.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use super::*;

    const EVER: Option<Duration> = None;

    #[test]
    fn all_that_waits_is_taken_in_order_up_to_the_bound() {
        let queue = Queue::new(10, 100);
        for item in 0..5 {
            assert_eq!(queue.offer(item, 10), Ok(()));
        }
        assert_eq!(queue.take(2, 100, EVER), Taken::Some(vec![0, 1]));
        assert_eq!(queue.take(10, 20, EVER), Taken::Some(vec![2, 3]));
        assert_eq!(queue.take(10, 5, EVER), Taken::Some(vec![4]), "the first is taken whatever its size");
        assert_eq!(queue.take(10, 5, Some(Duration::ZERO)), Taken::Nothing);
    }

    #[test]
    fn a_full_queue_says_so_in_items_and_in_bytes() {
        let queue = Queue::new(2, 100);
        assert_eq!(queue.offer('a', 60), Ok(()));
        assert_eq!(queue.offer('b', 41), Err(Unqueued::Full('b')));
        assert_eq!(queue.offer('b', 40), Ok(()));
        assert_eq!(queue.offer('c', 0), Err(Unqueued::Full('c')));
    }

    #[test]
    fn something_larger_than_the_queue_is_let_in_alone() {
        let queue = Queue::new(2, 100);
        assert_eq!(queue.offer('a', 1000), Ok(()));
        assert_eq!(queue.offer('b', 1), Err(Unqueued::Full('b')));
        assert_eq!(queue.take(10, 10, EVER), Taken::Some(vec!['a']));
        assert_eq!(queue.offer('b', 1), Ok(()));
    }

    #[test]
    fn a_closed_queue_is_emptied_and_takes_nothing_in() {
        let queue = Queue::new(2, 100);
        assert_eq!(queue.offer('a', 1), Ok(()));
        queue.close();
        assert_eq!(queue.offer('b', 1), Err(Unqueued::Closed('b')));
        assert_eq!(queue.push('b', 1), Err('b'));
        assert_eq!(queue.take(10, 10, EVER), Taken::Some(vec!['a']));
        assert_eq!(queue.take(10, 10, EVER), Taken::Closed);
    }

    #[test]
    fn whoever_waits_for_room_is_woken_by_room_or_by_the_end() {
        let queue = Arc::new(Queue::new(1, 100));
        assert_eq!(queue.offer(1, 1), Ok(()));
        let pushing = thread::spawn({
            let queue = queue.clone();
            move || (queue.push(2, 1), queue.push(3, 1))
        });
        assert_eq!(queue.take(10, 10, EVER), Taken::Some(vec![1]));
        // The second is in, or comes; then the third waits, or finds the queue closed.
        assert_eq!(queue.take(1, 10, EVER), Taken::Some(vec![2]));
        queue.close_and_drop();
        let (second, _) = pushing.join().expect("the thread ends");
        assert_eq!(second, Ok(()));
        assert_eq!(queue.take(10, 10, EVER), Taken::Closed);
    }
}
