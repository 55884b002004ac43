use std::sync::Arc;

use arc_swap::ArcSwap;
use tower::Layer;

use super::{Rules, WithLabels};

/// Reads the labels of requests, and holds them to quotas of their own; see the [module](super).
#[derive(Clone, Debug, Default)]
pub struct LabelsLayer {
    rules: Arc<ArcSwap<Rules>>,
}

impl LabelsLayer {
    /// Goes by `rules`.
    pub fn new(rules: Rules) -> Self {
        Self { rules: Arc::new(ArcSwap::from_pointee(rules)) }
    }

    /// Puts other rules in force, for this layer, its clones and the services they have made.
    pub fn replace(&self, rules: Rules) {
        self.rules.store(Arc::new(rules));
    }
}

impl<S> Layer<S> for LabelsLayer {
    type Service = WithLabels<S>;

    fn layer(&self, inner: S) -> WithLabels<S> {
        WithLabels { inner, rules: self.rules.clone() }
    }
}
