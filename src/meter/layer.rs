use std::sync::Arc;

use tower::Layer;

use super::Meter;
use crate::{Target, price::ReportedCost};

/// Meters the attempts at one target; see the [module](super).
#[derive(Clone, Debug)]
pub struct MeterLayer {
    target: Arc<Target>,
    cost: Option<ReportedCost>,
    cached_in: Option<&'static str>,
}

impl MeterLayer {
    /// Attempts are noted, and priced, as ones at `target`.
    pub fn new(target: Arc<Target>) -> Self {
        Self { target, cost: None, cached_in: None }
    }

    /// Sets where the target's answers say what they have cost, if that is to be believed.
    #[must_use]
    pub fn cost(self, cost: Option<ReportedCost>) -> Self {
        Self { cost, ..self }
    }

    /// Sets the header of the target's answers that says how many tokens of the input it had in its cache, in
    /// lower case: providers that have it may leave that out of their counts.
    #[must_use]
    pub fn cached_in(self, header: Option<&'static str>) -> Self {
        Self { cached_in: header, ..self }
    }
}

impl<S> Layer<S> for MeterLayer {
    type Service = Meter<S>;

    fn layer(&self, inner: S) -> Meter<S> {
        Meter::new(inner, self.target.clone(), self.cost, self.cached_in)
    }
}
