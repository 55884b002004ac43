use std::sync::Arc;

use tower::Layer;

use super::{Drain, places::Places};

/// Reads answers to their end when their client leaves.
///
/// Clones, and the services they make, share the places.
#[derive(Clone, Debug)]
pub struct DrainLayer {
    pub(super) places: Arc<Places>,
}

impl DrainLayer {
    /// Reads at most so many answers at once whose client has left.
    pub fn new(max_at_once: u32) -> Self {
        Self { places: Arc::new(Places::new(max_at_once)) }
    }

    /// Waits until no answer is read any more, for a shutdown that charges exactly.
    pub async fn finished(&self) {
        self.places.finished().await;
    }

    /// Lets go of what is still read, and reads nothing more: what has passed of it is charged by estimate, as
    /// if there were no such layer. Done when all of it is over, for a shutdown that waits no longer.
    pub async fn stop(&self) {
        self.places.stop();
        self.finished().await;
    }
}

impl<S> Layer<S> for DrainLayer {
    type Service = Drain<S>;

    fn layer(&self, inner: S) -> Drain<S> {
        Drain { inner, places: self.places.clone() }
    }
}
