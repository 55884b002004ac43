use std::sync::Arc;

use tower::Layer;

use super::{Administration, Settings, replay::Replays};
use crate::{dispatch::Dispatch, ledger::Ledger};

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
}

impl AdminLayer {
    /// Changes `settings`, and says what stands in `ledger`.
    pub fn new(settings: Arc<Settings>, ledger: Arc<dyn Ledger>) -> Self {
        Self { office: Arc::new(Office { settings, ledger, replays: Replays::default(), dispatch: None }) }
    }

    /// Explains where requests go by the routes of `dispatch`: `POST /admin/v1/explain`.
    #[must_use]
    pub fn explain(self, dispatch: Dispatch) -> Self {
        let Office { settings, ledger, .. } = &*self.office;
        let (settings, ledger) = (settings.clone(), ledger.clone());
        let office = Office { settings, ledger, replays: Replays::default(), dispatch: Some(dispatch) };
        Self { office: Arc::new(office) }
    }
}

impl<S> Layer<S> for AdminLayer {
    type Service = Administration<S>;

    fn layer(&self, inner: S) -> Administration<S> {
        Administration { inner, office: self.office.clone() }
    }
}
