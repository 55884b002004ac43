use tower::Layer;

use super::RenderErrors;
use crate::dialect::Dialects;

/// Turns errors into responses; see the [module](super).
#[derive(Clone, Debug)]
pub struct RenderErrorsLayer {
    dialects: Dialects,
}

impl RenderErrorsLayer {
    /// Errors are written in the dialect of the request, as far as that can be told by its path.
    pub fn new(dialects: Dialects) -> Self {
        Self { dialects }
    }
}

impl<S> Layer<S> for RenderErrorsLayer {
    type Service = RenderErrors<S>;

    fn layer(&self, inner: S) -> RenderErrors<S> {
        RenderErrors::new(inner, self.dialects.clone())
    }
}
