use tower::Layer;

use super::{Alerting, Alerts};

/// Notes whose accounts are used; see the [module](super).
#[derive(Clone, Debug)]
pub struct AlertsLayer {
    alerts: Alerts,
}

impl AlertsLayer {
    /// Notes them for `alerts`.
    pub fn new(alerts: Alerts) -> Self {
        Self { alerts }
    }
}

impl<S> Layer<S> for AlertsLayer {
    type Service = Alerting<S>;

    fn layer(&self, inner: S) -> Alerting<S> {
        Alerting { inner, alerts: self.alerts.clone() }
    }
}
