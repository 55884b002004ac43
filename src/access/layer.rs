use tower::Layer;

use super::Access;

/// Lets requests in whose key may use the model.
#[derive(Clone, Copy, Debug, Default)]
pub struct AccessLayer(());

impl AccessLayer {
    /// Goes by what the caller's key allows.
    pub fn new() -> Self {
        Self::default()
    }
}

impl<S> Layer<S> for AccessLayer {
    type Service = Access<S>;

    fn layer(&self, inner: S) -> Access<S> {
        Access { inner }
    }
}
