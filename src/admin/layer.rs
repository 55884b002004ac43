use std::sync::Arc;

use tower::Layer;

use super::{Administration, Settings, replay::Replays};
use crate::{
    dispatch::{Dispatch, Mirrors},
    ledger::Ledger,
};

/// Answers administrators; see the [module](super).
#[derive(Clone, Debug)]
pub struct AdminLayer {
    pub(super) office: Arc<Office>,
}

/// What administrators work with.
#[derive(Debug)]
pub(super) struct Office {
    pub(super) settings: Arc<Settings>,
    pub(super) ledger: Arc<dyn Ledger>,
    pub(super) replays: Replays,
    /// Who knows where requests go.
    pub(super) dispatch: Option<Dispatch>,
    pub(super) mirrors: Mirrors,
}

impl AdminLayer {
    /// Changes `settings`, and says what stands in `ledger`.
    pub fn new(settings: Arc<Settings>, ledger: Arc<dyn Ledger>) -> Self {
        Self::with(settings, ledger, None, Mirrors::default())
    }

    /// Explains where requests go by the routes of `dispatch`: `POST /admin/v1/explain`.
    #[must_use]
    pub fn explain(self, dispatch: Dispatch) -> Self {
        let Office { settings, ledger, mirrors, .. } = &*self.office;
        Self::with(settings.clone(), ledger.clone(), Some(dispatch), mirrors.clone())
    }

    /// Shows what came of the copies of `mirrors`: `GET /admin/v1/mirrors`.
    #[must_use]
    pub fn mirrors(self, mirrors: Mirrors) -> Self {
        let Office { settings, ledger, dispatch, .. } = &*self.office;
        Self::with(settings.clone(), ledger.clone(), dispatch.clone(), mirrors)
    }

    fn with(
        settings: Arc<Settings>,
        ledger: Arc<dyn Ledger>,
        dispatch: Option<Dispatch>,
        mirrors: Mirrors,
    ) -> Self {
        let replays = Replays::default();
        Self { office: Arc::new(Office { settings, ledger, replays, dispatch, mirrors }) }
    }
}

impl<S> Layer<S> for AdminLayer {
    type Service = Administration<S>;

    fn layer(&self, inner: S) -> Administration<S> {
        Administration { inner, office: self.office.clone() }
    }
}
