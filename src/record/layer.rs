use std::sync::Arc;

use tower::Layer;

use super::{Recorded, Sink};

/// Writes down every exchange; see the [module](super).
#[derive(Clone, Debug)]
pub struct RecordLayer {
    sink: Arc<dyn Sink>,
}

impl RecordLayer {
    /// Records go to `sink`.
    pub fn new(sink: Arc<dyn Sink>) -> Self {
        Self { sink }
    }
}

impl<S> Layer<S> for RecordLayer {
    type Service = Recorded<S>;

    fn layer(&self, inner: S) -> Recorded<S> {
        Recorded::new(inner, self.sink.clone())
    }
}
