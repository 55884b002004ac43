use std::sync::Arc;

use tower::Layer;

use super::{Loops, WithoutLoops, counts::Counts};
use crate::alerts::Alerts;

/// Refuses what has run away; see the [module](super).
///
/// Clones, and the services they make, count together.
#[derive(Clone, Debug)]
pub struct LoopLayer {
    pub(super) loops: Arc<Loops>,
    pub(super) alerts: Option<Alerts>,
    pub(super) counts: Arc<Counts>,
}

impl LoopLayer {
    /// Goes by `loops` where a key has nothing of its own.
    pub fn new(loops: Loops) -> Self {
        Self { loops: Arc::new(loops), alerts: None, counts: Arc::default() }
    }

    /// Sets who is told of a loop, once in the time that is looked at.
    #[must_use]
    pub fn alerts(self, alerts: Alerts) -> Self {
        Self { alerts: Some(alerts), ..self }
    }
}

impl<S> Layer<S> for LoopLayer {
    type Service = WithoutLoops<S>;

    fn layer(&self, inner: S) -> WithoutLoops<S> {
        WithoutLoops { inner, layer: self.clone() }
    }
}
