use std::sync::Arc;

use tower::Layer;

use super::ProviderBudget;
use crate::{
    Target,
    budget::{StoreAway, UnknownPrice},
    ledger::{Ledger, Scope},
};

/// Lets attempts be made that the accounts of a provider can bear; see the [module](super).
#[derive(Clone, Debug)]
pub struct ProviderBudgetLayer {
    pub(super) ledger: Arc<dyn Ledger>,
    pub(super) target: Arc<Target>,
    /// Those that are for the target's model.
    pub(super) scopes: Arc<[Scope]>,
    pub(super) unknown_price: UnknownPrice,
    pub(super) store_away: StoreAway,
}

impl ProviderBudgetLayer {
    /// Charges attempts at `target` to `scopes` in `ledger`. Their patterns are matched with the model's name at
    /// the provider; without any scope every attempt is made.
    pub fn new(
        ledger: Arc<dyn Ledger>,
        target: Arc<Target>,
        scopes: impl IntoIterator<Item = Scope>,
    ) -> Self {
        let scopes = scopes.into_iter().filter(|scope| scope.is_for(target.model())).collect();
        let (unknown_price, store_away) = (UnknownPrice::default(), StoreAway::default());
        Self { ledger, target, scopes, unknown_price, store_away }
    }

    /// Sets what becomes of an attempt at a target whose price is not known.
    #[must_use]
    pub fn unknown_price(self, unknown_price: UnknownPrice) -> Self {
        Self { unknown_price, ..self }
    }

    /// Sets what becomes of an attempt when the ledger can't be asked.
    #[must_use]
    pub fn store_away(self, store_away: StoreAway) -> Self {
        Self { store_away, ..self }
    }
}

impl<S> Layer<S> for ProviderBudgetLayer {
    type Service = ProviderBudget<S>;

    fn layer(&self, inner: S) -> ProviderBudget<S> {
        ProviderBudget { inner, settings: self.clone() }
    }
}
