use std::time::Duration;

use tower::Layer;

use super::FirstEvent;

/// Holds answers back until they have proven themselves; see the [module](super).
#[derive(Clone, Debug)]
pub struct FirstEventLayer {
    pub(super) within: Duration,
    pub(super) limit: usize,
}

impl FirstEventLayer {
    /// Waits at most `within` for the first content of a stream. Whole answers may take as long as the
    /// layers around this one allow, and have up to 32 MiB.
    pub fn new(within: Duration) -> Self {
        Self { within, limit: 32 << 20 }
    }

    /// Sets the largest whole answer, and the most that is held back of a stream, in bytes.
    #[must_use]
    pub fn limit(self, bytes: usize) -> Self {
        Self { limit: bytes, ..self }
    }
}

impl<S> Layer<S> for FirstEventLayer {
    type Service = FirstEvent<S>;

    fn layer(&self, inner: S) -> FirstEvent<S> {
        FirstEvent::new(inner, self.clone())
    }
}
