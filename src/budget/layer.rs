use std::sync::Arc;

use tower::Layer;

use super::{Budget, Prices, StoreAway, UnknownPrice};
use crate::ledger::Ledger;

/// Lets requests in that the budgets of their caller can bear.
#[derive(Clone, Debug)]
pub struct BudgetLayer {
    pub(super) ledger: Arc<dyn Ledger>,
    pub(super) prices: Arc<dyn Prices>,
    pub(super) unknown_price: UnknownPrice,
    pub(super) store_away: StoreAway,
}

impl BudgetLayer {
    /// Reserves on `ledger` what `prices` say.
    pub fn new(ledger: Arc<dyn Ledger>, prices: Arc<dyn Prices>) -> Self {
        Self { ledger, prices, unknown_price: UnknownPrice::default(), store_away: StoreAway::default() }
    }

    /// Sets what becomes of a request whose price is not known.
    #[must_use]
    pub fn unknown_price(self, unknown_price: UnknownPrice) -> Self {
        Self { unknown_price, ..self }
    }

    /// Sets what becomes of a request when the ledger can't be asked.
    #[must_use]
    pub fn store_away(self, store_away: StoreAway) -> Self {
        Self { store_away, ..self }
    }
}

impl<S> Layer<S> for BudgetLayer {
    type Service = Budget<S>;

    fn layer(&self, inner: S) -> Budget<S> {
        Budget { inner, settings: self.clone() }
    }
}
