use std::sync::Arc;

use tower::Layer;

use super::{Administration, Settings, replay::Replays};
use crate::{dispatch::Mirrors, ledger::Ledger};

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
    pub(super) mirrors: Mirrors,
}

impl AdminLayer {
    /// Changes `settings`, and says what stands in `ledger`.
    pub fn new(settings: Arc<Settings>, ledger: Arc<dyn Ledger>) -> Self {
        let (replays, mirrors) = Default::default();
        Self { office: Arc::new(Office { settings, ledger, replays, mirrors }) }
    }

    /// Shows what came of the copies of `mirrors`.
    #[must_use]
    pub fn mirrors(self, mirrors: Mirrors) -> Self {
        let (settings, ledger) = (self.office.settings.clone(), self.office.ledger.clone());
        Self { office: Arc::new(Office { settings, ledger, replays: Replays::default(), mirrors }) }
    }
}

impl<S> Layer<S> for AdminLayer {
    type Service = Administration<S>;

    fn layer(&self, inner: S) -> Administration<S> {
        Administration { inner, office: self.office.clone() }
    }
}
