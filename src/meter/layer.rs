use std::sync::Arc;

use tower::Layer;

use super::Meter;
use crate::{Target, price::ReportedCost};

/// Meters the attempts at one target; see the [module](super).
#[derive(Clone, Debug)]
pub struct MeterLayer {
    target: Arc<Target>,
    cost: Option<ReportedCost>,
}

impl MeterLayer {
    /// Attempts are noted, and priced, as ones at `target`.
    pub fn new(target: Arc<Target>) -> Self {
        Self { target, cost: None }
    }

    /// Sets where the target's answers say what they have cost, if that is to be believed.
    #[must_use]
    pub fn cost(self, cost: Option<ReportedCost>) -> Self {
        Self { cost, ..self }
    }
}

impl<S> Layer<S> for MeterLayer {
    type Service = Meter<S>;

    fn layer(&self, inner: S) -> Meter<S> {
        Meter::new(inner, self.target.clone(), self.cost)
    }
}
