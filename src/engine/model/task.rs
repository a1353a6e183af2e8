//! The future of a handler, whatever its type was.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// A handler, erased. Polled and dropped by the executor alone.
pub(crate) struct Task(Pin<Box<dyn Future<Output = ()>>>);

impl Task {
    pub(crate) fn new(future: impl Future<Output = ()> + 'static) -> Self {
        Self(Box::pin(future))
    }

    #[inline]
    pub(in crate::engine) fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().poll(context)
    }
}
