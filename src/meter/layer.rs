use std::sync::Arc;

use tower::Layer;

use super::Meter;
use crate::Target;

/// Meters the attempts at one target; see the [module](super).
#[derive(Clone, Debug)]
pub struct MeterLayer {
    target: Arc<Target>,
}

impl MeterLayer {
    /// Attempts are noted, and priced, as ones at `target`.
    pub fn new(target: Arc<Target>) -> Self {
        Self { target }
    }
}

impl<S> Layer<S> for MeterLayer {
    type Service = Meter<S>;

    fn layer(&self, inner: S) -> Meter<S> {
        Meter::new(inner, self.target.clone())
    }
}
