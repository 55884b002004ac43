use std::{convert::Infallible, fmt, sync::Arc};

use http::{Request, Response};
use tower::Layer;

use super::{Dashboard, service::Nothing, tries::Tries};
use crate::{BoxBody, audit::Trail, logs::Logs, secret::Secret};

/// Shows the dashboard at `/logs`; see the [module](super).
#[derive(Clone, Debug)]
pub struct DashboardLayer {
    desk: Arc<Desk>,
}

/// What the pages are made of.
#[derive(Clone)]
pub(super) struct Desk {
    pub(super) key: Arc<dyn Fn() -> Option<Secret> + Send + Sync>,
    pub(super) logs: Option<Arc<dyn Logs>>,
    pub(super) health: Option<Arc<dyn Fn() -> String + Send + Sync>>,
    pub(super) tries: Arc<Tries>,
    pub(super) trail: Option<Trail>,
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Desk").field("logs", &self.logs).finish_non_exhaustive()
    }
}

impl DashboardLayer {
    /// Lets those in who present what `key` says, which is asked each time; nobody while it says `None`.
    pub fn new(key: impl Fn() -> Option<Secret> + Send + Sync + 'static) -> Self {
        let desk = Desk { key: Arc::new(key), logs: None, health: None, tries: Arc::default(), trail: None };
        Self { desk: Arc::new(desk) }
    }

    /// Shows the records of `logs`. Without them, only what else there is is shown.
    #[must_use]
    pub fn logs(self, logs: Arc<dyn Logs>) -> Self {
        Self { desk: Arc::new(Desk { logs: Some(logs), ..(*self.desk).clone() }) }
    }

    /// Shows how the targets stand: what [`Standings::json`](crate::config::Standings::json) says, or something of
    /// the same form. It is asked each time and must not wait.
    #[must_use]
    pub fn health(self, health: impl Fn() -> String + Send + Sync + 'static) -> Self {
        Self { desk: Arc::new(Desk { health: Some(Arc::new(health)), ..(*self.desk).clone() }) }
    }

    /// Notes in `trail` who logs in, and who tries to with a wrong key.
    #[must_use]
    pub fn audit(self, trail: Trail) -> Self {
        Self { desk: Arc::new(Desk { trail: Some(trail), ..(*self.desk).clone() }) }
    }

    /// The dashboard as a service of its own, which answers all other paths with 404.
    pub fn into_service<B>(
        self,
    ) -> Dashboard<
        impl tower::Service<Request<B>, Response = Response<BoxBody>, Error = Infallible, Future: Send>
        + Clone
        + Send
        + Sync,
    > {
        self.layer(Nothing)
    }
}

impl<S> Layer<S> for DashboardLayer {
    type Service = Dashboard<S>;

    fn layer(&self, inner: S) -> Dashboard<S> {
        Dashboard { inner, desk: self.desk.clone() }
    }
}
