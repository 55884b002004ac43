use std::sync::Arc;

use super::Dispatch;
use crate::{
    Payload,
    budget::Prices,
    models::Catalog,
    price::{NanoUsd, estimate},
};

/// The worst case of a route is its dearest target.
impl Prices for Dispatch {
    fn worst_case(&self, payload: &Payload) -> Option<NanoUsd> {
        if payload.dialect().is_free() {
            return Some(NanoUsd(0));
        }
        let Some(route) = self.table().find(payload.model()) else {
            // It will be refused, which costs nothing.
            return Some(NanoUsd(0));
        };
        let cost = |target: &crate::Target| {
            let size = payload.source().len();
            let tokens = estimate(payload.head(), size, target.known_facts(), route.assume_output);
            target.known_price().map(|price| price.cost(&tokens))
        };
        route
            .candidates
            .iter()
            .map(|candidate| cost(candidate.target()))
            .try_fold(NanoUsd(0), |most, cost| Some(most.max(cost?)))
    }
}

impl Catalog for Dispatch {
    fn models(&self) -> Vec<Arc<str>> {
        self.table().models()
    }
}
