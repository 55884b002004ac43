use std::sync::Arc;

use tower::Layer;

use super::{RequestLimit, limits::Limits};

/// Lets as many requests in as the rate of their key allows.
///
/// Clones, and the services they make, count together.
#[derive(Clone, Debug, Default)]
pub struct RequestLimitLayer {
    limits: Arc<Limits>,
}

impl RequestLimitLayer {
    /// Goes by the rate of the caller's key, counting from nothing.
    pub fn new() -> Self {
        Self::default()
    }
}

impl<S> Layer<S> for RequestLimitLayer {
    type Service = RequestLimit<S>;

    fn layer(&self, inner: S) -> RequestLimit<S> {
        RequestLimit { inner, limits: self.limits.clone() }
    }
}
