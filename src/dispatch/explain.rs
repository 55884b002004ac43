//! Why a request goes where it goes: [`Explanation`].

use std::{sync::Arc, time::Duration};

use http::Request;
use serde::Serialize;
use tokio::time::Instant;

use super::{Candidate, Dispatch, Route, Strategy, needs::Needs};
use crate::{
    Error, Kind, Payload,
    auth::Caller,
    choose,
    ledger::Ledger,
    price::{NanoUsd, likely_cost},
};

/// Where a request would go, and why.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Explanation {
    /// The model that is asked for.
    pub model: Box<str>,
    /// The model whose route it goes by: the same, or where a rule, a task or a successor leads.
    pub route: Arc<str>,
    /// The rule or the task that led there.
    pub rule: Option<Arc<str>>,
    /// By what the first target is chosen. Where that is left to chance, the next request may have another one.
    pub strategy: Strategy,
    /// About how many tokens of input it has.
    pub input: u64,
    /// The targets: first those that are asked, in their order, then those that are not.
    pub candidates: Vec<Explained>,
}

/// What becomes of a target.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Explained {
    /// `provider/model`.
    pub target: Arc<str>,
    /// When it is asked, counted from one; `None` if it isn't.
    pub place: Option<usize>,
    /// Why.
    pub why: String,
    /// What the request would probably cost there, in dollars; `None` if the price isn't known.
    pub usd: Option<NanoUsd>,
    /// Where it answers, if that is known.
    pub region: Option<Box<str>>,
    /// How long it takes until its answers begin, in milliseconds, if there were any.
    pub latency_ms: Option<u64>,
    /// How many requests are under way there.
    pub in_flight: u32,
}

impl Dispatch {
    /// Where a request would go, and why; nothing is sent. The caller is the extension of the request.
    ///
    /// # Errors
    ///
    /// Those of a request that can't be served by any route.
    pub async fn explain(
        &self,
        ledger: Option<&Arc<dyn Ledger>>,
        req: Request<Payload>,
    ) -> Result<Explanation, Error> {
        let model: Box<str> = req.body().model().into();
        let route = self.route(&model).ok_or_else(|| {
            let message = format!("the model `{model}` does not exist, or this gateway has no route for it");
            Error::new(Kind::NoRoute, message).with_param("model")
        })?;
        let req = choose::chosen(self, ledger, route.clone(), req).await?;
        let route = req.body().chosen().map_or(route, |chosen| chosen.route.clone());
        Ok(Explanation {
            model,
            rule: req.body().exchange().learn(|learnt| learnt.rule.clone()),
            strategy: route.strategy,
            input: req.body().input().likely(),
            candidates: candidates(&route, &req),
            route: route.name.clone(),
        })
    }
}

fn candidates(route: &Route, req: &Request<Payload>) -> Vec<Explained> {
    let head = req.body().head();
    let permit = |candidate: &Candidate| route.permit(candidate, req);
    let needs = route.differences.needs(req.body());
    let may_be_asked = || route.candidates_for(head).filter(|candidate| permit(candidate).is_ok());
    let is_met = |candidate: &Candidate| needs.are_met_by(candidate.target().known_facts());
    let are_all_lacking = !may_be_asked().any(is_met);
    let eligible = may_be_asked().filter(|candidate| are_all_lacking || is_met(candidate));
    let mut told: Vec<_> = Vec::new();
    for (index, candidate) in route.order(eligible, req.body()).enumerate() {
        told.push(explained(
            route,
            candidate,
            req.body(),
            Some(index + 1),
            asked(route, candidate, index, req.body()),
        ));
    }
    for candidate in &route.candidates {
        if let Err(error) = permit(candidate) {
            told.push(explained(route, candidate, req.body(), None, error.message().to_owned()));
        } else if !are_all_lacking && !is_met(candidate) {
            told.push(explained(route, candidate, req.body(), None, lacks(&needs, candidate)));
        }
    }
    told
}

fn lacks(needs: &Needs, candidate: &Candidate) -> String {
    format!(
        "does not take what the request needs: {}",
        needs.lacking(candidate.target().known_facts()).join(", ")
    )
}

/// Why a target is asked when it is.
fn asked(route: &Route, candidate: &Candidate, index: usize, payload: &Payload) -> String {
    if candidate.known_pace().is_some_and(|pace| pace.is_too_slow(Instant::now(), 0.0)) {
        return "asked late: it does not keep the time in which answers have to begin".to_owned();
    }
    if index > 0 {
        return "asked if those before it fail".to_owned();
    }
    if route.is_kept_at(candidate, payload) {
        return "chosen: the conversation was there before".to_owned();
    }
    let why = match route.strategy {
        Strategy::Priority => "the first one that is listed",
        Strategy::Weighted if route.sticky.is_some() => "drawn by its weight for what sticks to it",
        Strategy::Weighted => "drawn by its weight",
        Strategy::LeastBusy => "the fewest requests under way for its weight",
        Strategy::Latency => "the quicker of two that were drawn, or not measured yet",
        Strategy::Cheapest => "the lowest price",
        Strategy::Throughput => "the most tokens per second, or not measured yet",
    };
    format!("chosen: {why}")
}

fn explained(
    route: &Route,
    candidate: &Candidate,
    payload: &Payload,
    place: Option<usize>,
    why: String,
) -> Explained {
    let (target, load) = (candidate.target(), candidate.known_load());
    let passes_over = candidate.known_breaker().and_then(|breaker| breaker.standing().open_for);
    let why = match passes_over {
        Some(Duration::ZERO) => format!("{why}; it has failed and is being probed"),
        Some(left) => format!("{why}; it has failed and is passed over for {} s more", left.as_secs().max(1)),
        None => why,
    };
    Explained {
        target: target.name().clone(),
        place,
        why,
        usd: likely_cost(target, payload, route.assume_output),
        region: target.known_region().map(Into::into),
        latency_ms: load.latency().map(|latency| u64::try_from(latency.as_millis()).unwrap_or(u64::MAX)),
        in_flight: load.in_flight(),
    }
}

impl Route {
    /// Whether a target may be asked for a request at all: by who asks, and by what the route is kept within.
    pub(super) fn permit(&self, candidate: &Candidate, req: &Request<Payload>) -> Result<(), Error> {
        if let Some(caller) = req.extensions().get::<Caller>() {
            caller.may_be_answered_by(candidate.target())?;
        }
        self.admits(candidate, req.body())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Target,
        access::Pattern,
        auth::{Providers, VirtualKey},
        choose::{Condition, Facts, Rule},
        dispatch::Table,
        price::Rates,
        testing::{Ending, ask},
    };

    fn candidate(provider: &str, model: &str, usd: Option<u64>) -> Candidate {
        let price = usd.map(|usd| Rates::flat(NanoUsd::from_usd(usd), NanoUsd::from_usd(usd)).into());
        let target = Target::new(provider, model).price(price);
        Candidate::new(Arc::new(target), tower::service_fn(|_| Ending::Complete.answer()))
    }

    #[derive(Debug)]
    struct Always;

    impl Condition for Always {
        fn holds(&self, _: &Facts<'_>) -> bool {
            true
        }
    }

    #[tokio::test]
    async fn every_candidate_is_told_with_its_place_its_price_and_why() {
        let candidates = [
            candidate("a", "dear", Some(9)),
            candidate("b", "cheap", Some(1)),
            candidate("c", "x", None),
            candidate("d", "x", Some(500)),
        ];
        let then =
            Route::new("other", candidates).strategy(Strategy::Cheapest).max_cost(NanoUsd::from_usd(1));
        let route =
            Route::new("chat", [candidate("a", "usual", None)]).rule(Rule::new("always", Always, then));
        let dispatch = Dispatch::new(Table::default().route(route));
        let mut key = VirtualKey::new("k");
        key.providers = Providers { allow: None, deny: vec![Pattern::new("c")] };

        let told = dispatch.explain(None, ask("chat", Some(key))).await.unwrap();

        assert_eq!((&*told.model, &*told.route, told.rule.as_deref()), ("chat", "other", Some("always")));
        let lines: Vec<_> = told.candidates.iter().map(|one| (&*one.target, one.place)).collect();
        assert_eq!(lines, [("b/cheap", Some(1)), ("a/dear", Some(2)), ("c/x", None), ("d/x", None)]);
        let whys: Vec<_> = told.candidates.iter().map(|one| &*one.why).collect();
        assert_eq!(whys[..2], ["chosen: the lowest price", "asked if those before it fail"]);
        assert!(
            whys[2].contains("may not use any of the providers") && whys[3].contains("may cost $1"),
            "{whys:?}"
        );
        assert!(told.candidates[0].usd.is_some() && told.candidates[2].usd.is_none());
        let error = dispatch.explain(None, ask("nothing", None)).await.unwrap_err();
        assert_eq!(error.kind(), Kind::NoRoute);
    }
}
