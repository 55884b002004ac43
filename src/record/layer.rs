use std::sync::Arc;

use tower::Layer;

use super::{Recorded, Sink, keep::Room};
use crate::exchange::Share;

/// The most bytes of answers that are collected at the same time.
const MOST_COLLECTED: usize = 64 << 20;

/// Writes down every exchange; see the [module](super).
///
/// Where keys allow that content is kept, up to 1 MiB of an answer is collected until its end, and 64 MiB of all answers
/// that are open; of what is beyond, the end is missing.
#[derive(Clone, Debug)]
pub struct RecordLayer {
    sink: Arc<dyn Sink>,
    traces: Option<Share>,
    room: Room,
}

impl RecordLayer {
    /// Records go to `sink`.
    pub fn new(sink: Arc<dyn Sink>) -> Self {
        Self { sink, traces: None, room: Room::new(MOST_COLLECTED) }
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
        Recorded::new(inner, self.sink.clone(), self.traces, self.room.clone())
    }
}
