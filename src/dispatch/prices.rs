use std::sync::Arc;

use super::Dispatch;
use crate::{
    Payload, Target, Work,
    budget::Prices,
    models::Catalog,
    price::{NanoUsd, worst_case},
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
        let head = payload.head();
        if head.work == Some(Work::default()) {
            return Some(NanoUsd(0));
        }
        let cost = |target: &Target| match &head.batch {
            Some(batch) => {
                let work = batch.requests.worst_case(target.known_facts(), route.assume_output);
                batch.requests.price(target.known_price()?).cost_of(&work)
            }
            None => {
                let size = payload.source().len();
                let work = worst_case(head, size, target.known_facts(), route.assume_output);
                target.known_price()?.cost_of(&work)
            }
        };
        route
            .candidates_for(head)
            .map(|candidate| cost(candidate.target()))
            .try_fold(NanoUsd(0), |most, cost| Some(most.max(cost?)))
    }
}

impl Catalog for Dispatch {
    fn models(&self) -> Vec<Arc<str>> {
        self.table().models()
    }
}
