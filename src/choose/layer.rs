use std::sync::Arc;

use tower::Layer;

use super::Choose;
use crate::{dispatch::Dispatch, ledger::Ledger};

/// Decides by which route a request goes; see the [module](super).
#[derive(Clone, Debug)]
pub struct ChooseLayer {
    pub(super) dispatch: Dispatch,
    pub(super) ledger: Option<Arc<dyn Ledger>>,
}

impl ChooseLayer {
    /// Goes by the routes of `dispatch`, which has to stand innermost.
    pub fn new(dispatch: Dispatch) -> Self {
        Self { dispatch, ledger: None }
    }

    /// Sets who knows what of budgets and limits is used. Without one nothing is.
    #[must_use]
    pub fn ledger(self, ledger: Arc<dyn Ledger>) -> Self {
        Self { ledger: Some(ledger), ..self }
    }
}

impl<S> Layer<S> for ChooseLayer {
    type Service = Choose<S>;

    fn layer(&self, inner: S) -> Choose<S> {
        Choose { inner, settings: self.clone() }
    }
}
