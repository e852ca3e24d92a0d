//! Sockets that are connected and have not logged in: bounded by closing the oldest.

use parking_lot::Mutex;
use std::collections::VecDeque;
use tokio::sync::oneshot;

/// The sockets that have not finished their startup, oldest first. Refusing new ones at the limit would let idle
/// sockets keep every login out; closing the oldest one lets them through.
pub(crate) struct Pending {
    limit: usize,
    queue: Mutex<VecDeque<oneshot::Sender<()>>>,
}

impl Pending {
    pub fn new(limit: usize) -> Pending {
        Pending { limit: limit.max(1), queue: Mutex::default() }
    }

    /// A place for a new socket. The receiver resolves with `Ok` when the socket is to be closed; dropping it gives
    /// the place back.
    pub fn enter(&self) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        let mut queue = self.queue.lock();
        if queue.len() >= self.limit {
            queue.retain(|waiting| !waiting.is_closed());
        }
        while queue.len() >= self.limit {
            Self::close_first(&mut queue);
        }
        queue.push_back(sender);
        receiver
    }

    /// Closes the oldest socket: there are no file descriptors left.
    pub fn close_oldest(&self) {
        let mut queue = self.queue.lock();
        queue.retain(|waiting| !waiting.is_closed());
        Self::close_first(&mut queue);
    }

    fn close_first(queue: &mut VecDeque<oneshot::Sender<()>>) {
        if let Some(oldest) = queue.pop_front() {
            // It may just have logged in: then there is nothing to close.
            let _ = oldest.send(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_the_limit_the_oldest_goes() {
        let pending = Pending::new(2);
        let mut first = pending.enter();
        let second = pending.enter();
        drop(second);
        let mut third = pending.enter();
        assert!(first.try_recv().is_err(), "the second had given its place back");
        let _fourth = pending.enter();
        assert!(first.try_recv().is_ok());
        assert!(third.try_recv().is_err());
    }
}
