use std::sync::Arc;

use tower::Layer;

use super::{Recorded, Sink};
use crate::exchange::Share;

/// Writes down every exchange; see the [module](super).
#[derive(Clone, Debug)]
pub struct RecordLayer {
    sink: Arc<dyn Sink>,
    traces: Option<Share>,
}

impl RecordLayer {
    /// Records go to `sink`.
    pub fn new(sink: Arc<dyn Sink>) -> Self {
        Self { sink, traces: None }
    }

    /// Makes a span of each request, below the one that its `traceparent` names, and tells providers the spans of
    /// attempts. What begins here is recorded for such a share of requests, from 0 to 1; otherwise it is as the
    /// client wants it. Whoever keeps the records does the rest, such as `otel::Spans`.
    #[must_use]
    pub fn traces(self, share: f64) -> Self {
        Self { traces: Some(Share::new(share)), ..self }
    }
}

impl<S> Layer<S> for RecordLayer {
    type Service = Recorded<S>;

    fn layer(&self, inner: S) -> Recorded<S> {
        Recorded::new(inner, self.sink.clone(), self.traces)
    }
}
