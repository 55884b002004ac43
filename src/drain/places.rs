use std::{pin::pin, sync::Arc};

use futures_util::future::select;
use tokio::{
    runtime::Handle,
    sync::{Semaphore, watch},
};

use crate::BoxFuture;

/// The places for answers that are read on although their client has left.
#[derive(Debug)]
pub(super) struct Places {
    most: u32,
    free: Arc<Semaphore>,
    /// Whether nothing is to be read any more.
    stopped: watch::Sender<bool>,
}

impl Places {
    pub(super) fn new(most: u32) -> Self {
        let most = most.min(u32::try_from(Semaphore::MAX_PERMITS).unwrap_or(u32::MAX));
        Self { most, free: Arc::new(Semaphore::new(most as usize)), stopped: watch::Sender::new(false) }
    }

    /// Takes a place, and gives it back when what `finish` makes is over or gone. Says whether there was one.
    pub(super) fn read(
        self: &Arc<Self>,
        runtime: &Handle,
        finish: impl FnOnce() -> BoxFuture<'static, ()>,
    ) -> bool {
        let mut stopped = self.stopped.subscribe();
        if *stopped.borrow_and_update() {
            return false;
        }
        let Ok(place) = self.free.clone().try_acquire_owned() else { return false };
        let (rest, this) = (finish(), self.clone());
        runtime.spawn(async move {
            select(pin!(stopped.changed()), rest).await;
            drop((place, this));
        });
        true
    }

    pub(super) fn stop(&self) {
        self.stopped.send_replace(true);
    }

    pub(super) async fn finished(&self) {
        // The semaphore is never closed.
        let _ = self.free.acquire_many(self.most).await;
    }

    #[cfg(test)]
    pub(super) fn are_all_free(&self) -> bool {
        self.free.available_permits() == self.most as usize
    }
}
