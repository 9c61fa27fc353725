//! A bounded queue from many tasks to one that takes no room while it is empty: tokio's own keeps places for 32, and a participant has four that are hardly ever used.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Places that an emptied queue may keep for what comes next.
const KEPT: usize = 4;

/// Why something was not taken; it is returned.
#[derive(Debug, PartialEq, Eq)]
pub enum Refused<T> {
    /// As much waits as may wait.
    Full(T),
    /// Nobody takes anything any more.
    Closed(T),
}

#[derive(Debug)]
struct Shared<T> {
    queue: Mutex<Queue<T>>,
    /// Something is there, or nothing more will come.
    came: Notify,
    /// There is room again, or nothing more is taken.
    left: Notify,
    senders: AtomicUsize,
}

#[derive(Debug)]
struct Queue<T> {
    waiting: VecDeque<T>,
    most: usize,
    closed: bool,
}

/// The end that puts something in.
#[derive(Debug)]
pub struct Sender<T>(Arc<Shared<T>>);

/// The end that takes something out. What waits when it is dropped is dropped with it.
#[derive(Debug)]
pub struct Receiver<T>(Arc<Shared<T>>);

/// A queue of `most` at most.
pub fn queue<T>(most: usize) -> (Sender<T>, Receiver<T>) {
    let queue = Mutex::new(Queue { waiting: VecDeque::new(), most, closed: false });
    let shared = Arc::new(Shared { queue, came: Notify::new(), left: Notify::new(), senders: AtomicUsize::new(1) });
    (Sender(Arc::clone(&shared)), Receiver(shared))
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, Queue<T>> {
        // Whatever panicked, the queue is whole.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Sender<T> {
    /// Puts `value` behind what waits.
    pub fn try_send(&self, value: T) -> Result<(), Refused<T>> {
        let mut queue = self.0.lock();
        if queue.closed {
            return Err(Refused::Closed(value));
        }
        if queue.waiting.len() >= queue.most {
            return Err(Refused::Full(value));
        }
        queue.waiting.push_back(value);
        drop(queue);
        self.0.came.notify_one();
        Ok(())
    }

    /// As [`Sender::try_send`], once there is room; `value` is returned if nobody takes it any more.
    pub async fn send(&self, value: T) -> Result<(), T> {
        let mut value = value;
        loop {
            let mut left = std::pin::pin!(self.0.left.notified());
            left.as_mut().enable();
            value = match self.try_send(value) {
                Ok(()) => return Ok(()),
                Err(Refused::Closed(value)) => return Err(value),
                Err(Refused::Full(value)) => value,
            };
            left.await;
        }
    }

    /// How many more may wait.
    pub fn capacity(&self) -> usize {
        let queue = self.0.lock();
        queue.most - queue.waiting.len()
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.0.senders.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(&self.0))
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        if self.0.senders.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.came.notify_one();
        }
    }
}

impl<T> Receiver<T> {
    /// What waits first, if anything does.
    pub fn try_recv(&mut self) -> Option<T> {
        let mut queue = self.0.lock();
        let value = queue.waiting.pop_front();
        if queue.waiting.is_empty() && queue.waiting.capacity() > KEPT {
            queue.waiting = VecDeque::new();
        }
        drop(queue);
        if value.is_some() {
            self.0.left.notify_one();
        }
        value
    }

    /// What comes next; `None` once nothing will. Nothing is lost if the future is dropped.
    pub async fn recv(&mut self) -> Option<T> {
        // Whatever comes, other tasks get their turn.
        tokio::task::coop::consume_budget().await;
        loop {
            if let Some(value) = self.try_recv() {
                return Some(value);
            }
            if self.0.senders.load(Ordering::Acquire) == 0 {
                // What the last one sent before it went.
                return self.try_recv();
            }
            self.0.came.notified().await;
        }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let waiting = {
            let mut queue = self.0.lock();
            queue.closed = true;
            std::mem::take(&mut queue.waiting)
        };
        self.0.left.notify_waiters();
        // Without the lock: what waits may have something to do when it is dropped.
        drop(waiting);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_sent_comes_in_order_and_no_more_than_may_wait() {
        let (sender, mut receiver) = queue(100);
        assert!((0..100).all(|value| sender.try_send(value).is_ok()));
        assert_eq!(sender.try_send(100), Err(Refused::Full(100)));
        assert_eq!((sender.capacity(), receiver.recv().await), (0, Some(0)));
        assert_eq!(sender.try_send(100), Ok(()));
        for value in 1..=100 {
            assert_eq!(receiver.recv().await, Some(value));
        }
        assert_eq!(receiver.try_recv(), None);
        assert!(receiver.0.lock().waiting.capacity() <= KEPT, "an empty queue takes no room");
    }

    #[tokio::test]
    async fn a_waiting_task_is_woken_by_what_comes_and_by_the_last_sender_that_goes() {
        let (sender, mut receiver) = queue(2);
        let other = sender.clone();
        let task = tokio::spawn(async move {
            let mut all = Vec::new();
            while let Some(value) = receiver.recv().await {
                all.push(value);
            }
            all
        });
        tokio::task::yield_now().await;
        sender.try_send(1).expect("room");
        tokio::task::yield_now().await;
        drop(sender);
        other.try_send(2).expect("room");
        drop(other);
        assert_eq!(task.await.expect("no panic"), [1, 2]);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn nothing_is_lost_between_threads_nor_by_a_future_that_is_dropped() {
        let (sender, mut receiver) = queue(8);
        let sending = tokio::spawn(async move {
            for value in 0..20_000 {
                while sender.try_send(value).is_err() {
                    tokio::task::yield_now().await;
                }
            }
        });
        for value in 0..20_000 {
            let received = loop {
                tokio::select! {
                    received = receiver.recv() => break received,
                    () = tokio::task::yield_now() => {}
                }
            };
            assert_eq!(received, Some(value));
        }
        assert_eq!(receiver.recv().await, None);
        sending.await.expect("no panic");
    }

    #[tokio::test]
    async fn who_can_wait_is_taken_once_there_is_room_or_returned() {
        let (sender, mut receiver) = queue(1);
        assert_eq!(sender.send(0).await, Ok(()));
        let waiting: Vec<_> = (1..=3)
            .map(|value| {
                let sender = sender.clone();
                tokio::spawn(async move { sender.send(value).await })
            })
            .collect();
        tokio::task::yield_now().await;
        for value in 0..=2 {
            assert_eq!(receiver.recv().await, Some(value));
            tokio::task::yield_now().await;
        }
        assert_eq!(sender.try_send(4), Err(Refused::Full(4)));
        let last = tokio::spawn(async move { sender.send(4).await });
        tokio::task::yield_now().await;
        drop(receiver);
        for waiting in waiting {
            assert_eq!(waiting.await.expect("no panic"), Ok(()));
        }
        assert_eq!(last.await.expect("no panic"), Err(4));
    }

    #[test]
    fn nobody_sends_to_a_receiver_that_is_gone_and_what_waited_is_dropped() {
        let (sender, receiver) = queue(2);
        let value = Arc::new(());
        sender.try_send(Arc::clone(&value)).expect("room");
        drop(receiver);
        assert_eq!(Arc::strong_count(&value), 1);
        assert_eq!(sender.try_send(value), Err(Refused::Closed(Arc::new(()))));
    }
}
