use std::sync::Arc;

use super::{Candidate, Dispatch, Route};
use crate::{
    Payload, Tokens, Work,
    budget::{Ceiling, Prices},
    models::Catalog,
    price::{ASSUMED_OUTPUT, AttemptCost, NanoUsd},
};

/// The worst case of a route is an answer of its dearest target, after every other attempt that the route
/// allows was lost on the way: each of those costs its input. When attempts turn out to have cost more,
/// no further one is begun. Where a route hedges, or lets others go on with streams, the input of one more attempt for
/// each comes on top.
impl Prices for Dispatch {
    fn worst_case(&self, payload: &Payload) -> Option<NanoUsd> {
        let (known, is_complete) = self.bound(payload);
        is_complete.then_some(known)
    }

    fn known_worst_case(&self, payload: &Payload) -> NanoUsd {
        self.bound(payload).0
    }

    fn ceiling(&self, payload: &Payload) -> Option<Arc<Ceiling>> {
        self.route_of(payload)?.ceiling.clone()
    }

    fn told_output(&self, payload: &Payload) -> Option<u64> {
        self.route_of(payload).filter(|route| route.caps_output).map(|route| route.assume_output)
    }

    fn usual_output(&self, payload: &Payload) -> u64 {
        let Some(route) = self.route_of(payload) else { return ASSUMED_OUTPUT };
        let of = |candidate: &Candidate| candidate.target().known_facts().max_output;
        let known = route.candidates_for(payload.head()).map(|one| of(one).unwrap_or(route.assume_output));
        known.min().unwrap_or(route.assume_output)
    }

    fn tokens(&self, payload: &Payload) -> Tokens {
        let Some(route) = self.route_of(payload) else { return Tokens::default() };
        let of =
            |candidate: &Candidate| AttemptCost::tokens(candidate.target(), payload, route.assume_output);
        let one = route.candidates_for(payload.head()).map(of).max_by_key(Tokens::total).unwrap_or_default();
        // The input of the attempt that is given up, or of that which broke off.
        let more = u64::from(route.may_hedge(payload)) + u64::from(route.may_resume(payload));
        Tokens { input: one.input.saturating_mul(1 + more), ..one }
    }
}

impl Dispatch {
    /// The route that was chosen for a request, or that of the model it asks for.
    fn route_of(&self, payload: &Payload) -> Option<Arc<Route>> {
        match payload.chosen() {
            Some(chosen) => Some(chosen.route.clone()),
            None => self.route(payload.model()),
        }
    }

    /// The worst case of the targets that have a price, and whether all have one and none can cost more.
    fn bound(&self, payload: &Payload) -> (NanoUsd, bool) {
        let is_free = payload.dialect().is_free() || payload.head().work == Some(Work::default());
        // What has no route will be refused, which costs nothing.
        let route = if is_free { None } else { self.route_of(payload) };
        let Some(route) = route else { return (NanoUsd(0), true) };
        let attempts = if payload.head().is_once { 0 } else { u64::from(route.retry.attempts.max(1)) };
        let (mut answer, mut lost, mut is_complete) = (NanoUsd(0), NanoUsd(0), true);
        let (mut besides, mut extra) = (NanoUsd(0), NanoUsd(0));
        for candidate in route.candidates_for(payload.head()) {
            let Some(cost) = AttemptCost::of(candidate.target(), payload, route.assume_output) else {
                is_complete = false;
                continue;
            };
            is_complete &= cost.is_bounded;
            besides = besides.max(cost.lost);
            let once = if attempts == 0 { NanoUsd(0) } else { cost.lost };
            answer = answer.max(cost.answered.saturating_sub(once));
            lost = lost + NanoUsd(once.0.saturating_mul(attempts));
        }
        for may in [route.may_hedge(payload), route.may_resume(payload)] {
            extra = if may { extra + besides } else { extra };
        }
        (answer + lost + extra, is_complete)
    }
}

impl Catalog for Dispatch {
    fn models(&self) -> Vec<Arc<str>> {
        self.table().models()
    }
}
