//! Where the answer to a question of another thread goes.

use crate::engine::model::foreign;
use tokio::sync::oneshot;

/// Where the answer to a command goes.
pub(in crate::engine) struct Reply<T>(Option<oneshot::Sender<T>>);

impl<T> Reply<T> {
    /// A reply, and where its answer comes.
    pub(in crate::engine) fn new() -> (Self, oneshot::Receiver<T>) {
        let (reply, answer) = oneshot::channel();
        (Self(Some(reply)), answer)
    }

    /// Answers, which wakes who waits; what nobody waits for is dropped.
    pub(in crate::engine) fn send(mut self, answer: T) {
        let sender = self.0.take();
        let _ = foreign::call(|| sender.map(|sender| sender.send(answer)));
    }

    /// Whether nobody waits for the answer any more.
    pub(in crate::engine) fn is_abandoned(&self) -> bool {
        self.0.as_ref().is_none_or(oneshot::Sender::is_closed)
    }
}

/// Who waits for the answer is woken by its drop as well.
impl<T> Drop for Reply<T> {
    fn drop(&mut self) {
        let sender = self.0.take();
        let _ = foreign::call(|| drop(sender));
    }
}
