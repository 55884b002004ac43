use std::sync::Arc;

use super::{Candidate, Dispatch, Route};
use crate::{
    Payload, Tokens, Work,
    batch::Batch,
    budget::Prices,
    models::Catalog,
    price::{NanoUsd, Tier, likely_tokens, worst_case},
};

/// The worst case of a route is an answer of its dearest target, after every other attempt that the route
/// allows was lost on the way: each of those costs its input. When attempts turn out to have cost more,
/// no further one is begun.
impl Prices for Dispatch {
    fn worst_case(&self, payload: &Payload) -> Option<NanoUsd> {
        let (known, is_complete) = self.bound(payload);
        is_complete.then_some(known)
    }

    fn known_worst_case(&self, payload: &Payload) -> NanoUsd {
        self.bound(payload).0
    }

    fn tokens(&self, payload: &Payload) -> Tokens {
        let Some(route) = self.table().find(payload.model()) else { return Tokens::default() };
        let of = |candidate: &Candidate| {
            let facts = candidate.target().known_facts();
            match payload.head().batch.as_deref() {
                Some(Batch { requests, .. }) => requests.worst_case(facts, route.assume_output).tokens,
                None => likely_tokens(payload, route.assume_output, facts),
            }
        };
        route.candidates_for(payload.head()).map(of).max_by_key(Tokens::total).unwrap_or_default()
    }
}

impl Dispatch {
    /// The worst case of the targets that have a price, and whether all have one.
    fn bound(&self, payload: &Payload) -> (NanoUsd, bool) {
        let is_free = payload.dialect().is_free() || payload.head().work == Some(Work::default());
        // What has no route will be refused, which costs nothing.
        let route = if is_free { None } else { self.table().find(payload.model()) };
        let Some(route) = route else { return (NanoUsd(0), true) };
        let attempts = if payload.head().is_once { 0 } else { u64::from(route.retry.attempts.max(1)) };
        let (mut answer, mut lost, mut is_complete) = (NanoUsd(0), NanoUsd(0), true);
        for candidate in route.candidates_for(payload.head()) {
            let Some(cost) = Cost::of(candidate, payload, &route) else {
                is_complete = false;
                continue;
            };
            let once = if attempts == 0 { NanoUsd(0) } else { cost.lost };
            answer = answer.max(cost.answered.saturating_sub(once));
            lost = lost + NanoUsd(once.0.saturating_mul(attempts));
        }
        (answer + lost, is_complete)
    }
}

/// The most that one attempt may cost.
pub(super) struct Cost {
    pub(super) answered: NanoUsd,
    /// If its answer never comes.
    lost: NanoUsd,
}

impl Cost {
    /// `None` if the price is not known.
    pub(super) fn of(candidate: &Candidate, payload: &Payload, route: &Route) -> Option<Self> {
        let (target, head) = (candidate.target(), payload.head());
        let price = target.known_price()?;
        if let Some(Batch { requests, .. }) = head.batch.as_deref() {
            let work = requests.worst_case(target.known_facts(), route.assume_output);
            let most = requests.price(price).worst_case(&work, Some(Tier::Standard), false)?;
            return Some(Self { answered: most, lost: most });
        }
        let input = payload.input();
        let work = worst_case(head, &input, target.known_facts(), route.assume_output);
        let most = |work| price.worst_case(&work, head.tier, input.keeps_long());
        Some(Self { answered: most(work)?, lost: most(work.unanswered())? })
    }
}

impl Catalog for Dispatch {
    fn models(&self) -> Vec<Arc<str>> {
        self.table().models()
    }
}
