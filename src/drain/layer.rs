use std::sync::Arc;

use tokio::sync::Semaphore;
use tower::Layer;

use super::Drain;

/// Reads answers to their end when their client leaves.
///
/// Clones, and the services they make, share the places.
#[derive(Clone, Debug)]
pub struct DrainLayer {
    max_at_once: u32,
    pub(super) places: Arc<Semaphore>,
}

impl DrainLayer {
    /// Reads at most so many answers at once whose client has left.
    pub fn new(max_at_once: u32) -> Self {
        let max_at_once = max_at_once.min(u32::try_from(Semaphore::MAX_PERMITS).unwrap_or(u32::MAX));
        Self { max_at_once, places: Arc::new(Semaphore::new(max_at_once as usize)) }
    }

    /// Waits until no answer is read any more, for a shutdown that charges exactly.
    pub async fn finished(&self) {
        // The semaphore is never closed.
        let _ = self.places.acquire_many(self.max_at_once).await;
    }
}

impl<S> Layer<S> for DrainLayer {
    type Service = Drain<S>;

    fn layer(&self, inner: S) -> Drain<S> {
        Drain { inner, places: self.places.clone() }
    }
}
