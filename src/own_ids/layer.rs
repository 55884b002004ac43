use std::sync::Arc;

use tower::Layer;

use super::OwnIds;
use crate::Target;

/// Writes ids that lead back to one target; see the [module](super).
#[derive(Clone, Debug)]
pub struct OwnIdsLayer {
    target: Arc<Target>,
}

impl OwnIdsLayer {
    /// Ids lead to `target`.
    pub fn new(target: Arc<Target>) -> Self {
        Self { target }
    }
}

impl<S> Layer<S> for OwnIdsLayer {
    type Service = OwnIds<S>;

    fn layer(&self, inner: S) -> OwnIds<S> {
        OwnIds::new(inner, self.target.clone())
    }
}
