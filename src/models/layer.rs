use std::sync::Arc;

use tower::Layer;

use super::{Catalog, Models};

/// Answers the questions which models there are.
#[derive(Clone, Debug)]
pub struct ModelsLayer {
    catalog: Arc<dyn Catalog>,
}

impl ModelsLayer {
    /// Lists what is in `catalog`.
    pub fn new(catalog: Arc<dyn Catalog>) -> Self {
        Self { catalog }
    }
}

impl<S> Layer<S> for ModelsLayer {
    type Service = Models<S>;

    fn layer(&self, inner: S) -> Models<S> {
        Models { inner, catalog: self.catalog.clone() }
    }
}
