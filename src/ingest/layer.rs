use std::{sync::Arc, time::Duration};

use tokio::sync::Semaphore;
use tower::Layer;

use super::Ingest;
use crate::dialect::Dialects;

/// Reads bodies into [`Payload`](crate::Payload)s; see the [module](super).
#[derive(Clone, Debug)]
pub struct IngestLayer {
    pub(super) dialects: Dialects,
    pub(super) limit: usize,
    pub(super) within: Duration,
    /// One permit for each started KiB of all bodies together.
    pub(super) memory: Option<Arc<Semaphore>>,
}

impl IngestLayer {
    /// Reads requests in `dialects`, of up to 32 MiB and for up to 30 seconds.
    pub fn new(dialects: Dialects) -> Self {
        Self { dialects, limit: 32 << 20, within: Duration::from_secs(30), memory: None }
    }

    /// Sets the largest body, in bytes.
    #[must_use]
    pub fn limit(self, bytes: usize) -> Self {
        Self { limit: bytes, ..self }
    }

    /// Sets how long a client may take to send its body.
    #[must_use]
    pub fn within(self, time: Duration) -> Self {
        Self { within: time, ..self }
    }

    /// Sets how many bytes the bodies of all requests in flight may have together, for all services
    /// made by this layer. A request that finds no room is refused as overload.
    #[must_use]
    pub fn memory(self, bytes: usize) -> Self {
        let kibibytes = bytes.div_ceil(1024).min(Semaphore::MAX_PERMITS);
        Self { memory: Some(Arc::new(Semaphore::new(kibibytes))), ..self }
    }
}

impl<S> Layer<S> for IngestLayer {
    type Service = Ingest<S>;

    fn layer(&self, inner: S) -> Ingest<S> {
        Ingest::new(inner, self.clone())
    }
}
