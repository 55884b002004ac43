use std::{fmt, pin::Pin, sync::Arc};

use tokio::{runtime::Handle, sync::Semaphore};

use crate::{BoxFuture, Exchange};

/// Owns what is left of an exchange, and sees to its end when the client leaves.
pub(super) struct Held<T> {
    /// `None` as soon as it is over.
    pub(super) rest: Option<Pin<Box<T>>>,
    /// A pointer, so that `Drop` needs no bounds.
    finish: fn(Pin<Box<T>>) -> BoxFuture<'static, ()>,
    pub(super) exchange: Exchange,
    pub(super) places: Arc<Semaphore>,
}

impl<T> Held<T> {
    pub(super) fn new(
        rest: T,
        finish: fn(Pin<Box<T>>) -> BoxFuture<'static, ()>,
        exchange: Exchange,
        places: Arc<Semaphore>,
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
        match self.places.clone().try_acquire_owned() {
            Ok(place) => {
                let finish = (self.finish)(rest);
                runtime.spawn(async move {
                    finish.await;
                    drop(place);
                });
            }
            Err(_) => tracing::debug!(id = %self.exchange.id(), "no place to read the rest of an answer"),
        }
    }
}

impl<T> fmt::Debug for Held<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held").field("is_over", &self.rest.is_none()).finish_non_exhaustive()
    }
}
