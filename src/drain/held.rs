use std::{fmt, pin::Pin, sync::Arc};

use tokio::runtime::Handle;

use super::places::Places;
use crate::{BoxFuture, Exchange};

/// Owns what is left of an exchange, and sees to its end when the client leaves.
pub(super) struct Held<T> {
    /// `None` as soon as it is over.
    pub(super) rest: Option<Pin<Box<T>>>,
    /// A pointer, so that `Drop` needs no bounds.
    finish: fn(Pin<Box<T>>) -> BoxFuture<'static, ()>,
    pub(super) exchange: Exchange,
    pub(super) places: Arc<Places>,
}

impl<T> Held<T> {
    pub(super) fn new(
        rest: T,
        finish: fn(Pin<Box<T>>) -> BoxFuture<'static, ()>,
        exchange: Exchange,
        places: Arc<Places>,
    ) -> Self {
        Self { rest: Some(Box::pin(rest)), finish, exchange, places }
    }
}

impl<T> Drop for Held<T> {
    fn drop(&mut self) {
        let Some(rest) = self.rest.take() else {
            return;
        };
        if !self.exchange.learn(|learnt| learnt.drain) {
            return;
        }
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        // Without a place it is dropped as usual.
        if !self.places.read(&runtime, || (self.finish)(rest)) {
            tracing::debug!(id = %self.exchange.id(), "no place to read the rest of an answer");
        }
    }
}

impl<T> fmt::Debug for Held<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held").field("is_over", &self.rest.is_none()).finish_non_exhaustive()
    }
}
