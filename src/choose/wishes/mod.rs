//! Who shall answer, as far as the client says so: [`Wishes`].

mod read;

use std::{sync::Arc, time::Duration};

pub(crate) use self::read::first_model;
use self::read::invalid;
use super::{chosen::Way, rehearsal::Rehearsal};
use crate::{
    Error, Payload, Target,
    access::Pattern,
    auth::Caller,
    dispatch::{Candidate, Route, Strategy},
    headers,
    payload::Head,
    price::NanoUsd,
};

/// The members of a body in which a client says who shall answer.
pub(super) const MEMBERS: [&str; 2] = ["models", "provider"];

/// Who shall answer, as far as the client says so. What it rules out for the answer gets to see nothing of the request
/// on the way either.
#[derive(Debug, Default)]
pub(super) struct Wishes {
    /// The models that are asked one after the other.
    models: Vec<Box<str>>,
    provider: Option<Preferences>,
    /// What the answer may cost.
    max_cost: Option<NanoUsd>,
    bounds: Bounds,
}

/// Which providers shall answer, by the names that the gateway has for them.
#[derive(Debug, Default)]
struct Preferences {
    order: Vec<Box<str>>,
    /// Whether only those in `order` are asked.
    is_order_all: bool,
    only: Option<Vec<Box<str>>>,
    ignore: Vec<Box<str>>,
    sort: Option<Strategy>,
    /// Of a million tokens that are read, and of as many that are written.
    max_price: Option<(NanoUsd, NanoUsd)>,
    /// Whether OpenRouter may be told, if no provider of the gateway is named.
    may_be_theirs: bool,
}

/// What a model of the configuration may be kept within too.
#[derive(Debug, Default)]
struct Bounds {
    /// The time in which 19 of 20 answers have to begin.
    objective: Option<Duration>,
    /// Where alone it is answered, and where that was said.
    regions: Vec<(&'static str, Arc<[Pattern]>)>,
}

impl Wishes {
    /// The models to be asked, the one that was asked for first.
    pub(super) fn models<'a>(&'a self, first: &'a str) -> impl Iterator<Item = &'a str> {
        let others = self.models.iter().map(|name| &**name);
        std::iter::once(first).chain(others.filter(move |other| *other != first))
    }

    /// What the answer may cost.
    pub(super) fn max_cost(&self) -> Option<NanoUsd> {
        self.max_cost
    }

    /// Why a target is not to see the request, if the client doesn't want it to.
    pub(super) fn rules_out(&self, target: &Target) -> Option<String> {
        let by_name = self.provider.as_ref().and_then(|provider| provider.rules_out(target));
        by_name.map(str::to_owned).or_else(|| self.bounds.rule_out(target))
    }

    /// Whether what a target reads is dearer than the client wants it to be, or its price isn't known.
    pub(super) fn is_too_dear_to_read(&self, target: &Target) -> bool {
        let most = self.provider.as_ref().and_then(|provider| provider.max_price);
        most.is_some_and(|(input, _)| !costs_at_most(target, (input, NanoUsd(u64::MAX))))
    }

    /// `route` as the client wishes it to be, and whether the wishes are those of OpenRouter alone.
    ///
    /// # Errors
    ///
    /// If nobody is left to answer the `caller`, unless it is only to be seen where the request would go.
    pub(super) fn applied(
        &self,
        route: Route,
        caller: Option<&Caller>,
        rehearsal: Option<&Rehearsal>,
    ) -> Result<(Route, bool), Error> {
        let is_theirs = self.provider.as_ref().is_some_and(|provider| provider.is_theirs(&route));
        let mut left = Vec::new();
        for candidate in route.candidates() {
            match (self.strikes(candidate, is_theirs), rehearsal) {
                (None, _) => left.push(candidate.clone()),
                (Some(why), Some(rehearsal)) => rehearsal.strike(candidate.clone(), why),
                (Some(_), None) => {}
            }
        }
        if rehearsal.is_none() {
            self.check(&left, &route, caller)?;
        }
        let order = self.provider.as_ref().map_or(&[][..], |provider| &provider.order);
        let ranked = left.into_iter().map(|one| {
            let place = order.iter().position(|name| is(one.target(), name)).unwrap_or(order.len());
            one.behind(place as u32)
        });
        let strategy = self.provider.as_ref().and_then(|provider| provider.sort);
        let strategy = strategy.unwrap_or(route.known_strategy());
        let route = route.with_candidates(ranked).strategy(strategy);
        let route = self.max_cost.into_iter().fold(route, Route::max_cost_at_most);
        let route = self.bounds.objective.into_iter().fold(route, Route::objective_at_most);
        Ok((route.mirrored_if(|mirror| self.keeps_out(mirror, is_theirs).is_none()), is_theirs))
    }

    /// Refuses what only one target can be asked for, if that is not to see it.
    pub(super) fn check_kept(&self, route: &Route, head: &Head) -> Result<(), Error> {
        let Some(one) = route.candidates_for(head).next() else { return Ok(()) };
        match self.rules_out(one.target()) {
            None => Ok(()),
            Some(why) => {
                let message = format!("only `{}` can be asked for this, which is {why}", one.target());
                Err(invalid(headers::CHOOSE.as_str(), &message))
            }
        }
    }

    /// Why a candidate is not asked, if it isn't.
    fn strikes(&self, candidate: &Candidate, is_theirs: bool) -> Option<String> {
        let most = self.provider.as_ref().and_then(|provider| provider.max_price);
        let is_too_dear = most.is_some_and(|most| !costs_at_most(candidate.target(), most));
        let why = "dearer than `provider.max_price`, or its price is not known";
        self.keeps_out(candidate, is_theirs).or_else(|| is_too_dear.then(|| why.to_owned()))
    }

    /// Why a candidate is not to see the request, whatever that costs.
    fn keeps_out(&self, candidate: &Candidate, is_theirs: bool) -> Option<String> {
        match is_theirs && candidate.takes_preferences() {
            true => self.bounds.rule_out(candidate.target()),
            false => self.rules_out(candidate.target()),
        }
    }

    /// Refuses the request if nobody is left, and says why.
    fn check(&self, left: &[Candidate], route: &Route, caller: Option<&Caller>) -> Result<(), Error> {
        let may_answer = |candidate: &Candidate| {
            let target = candidate.target();
            caller.is_none_or(|caller| caller.may_be_answered_by(target).is_ok())
                && route.is_inside(target).is_ok()
        };
        if let Some((field, regions)) = self.bounds.regions.first()
            && !left.iter().any(may_answer)
        {
            let message = format!(
                "none of those who may answer `{}` is known to be in {}",
                route.name(),
                listed(regions)
            );
            return Err(invalid(field, &message));
        }
        if left.is_empty() && !route.candidates().is_empty() {
            let message = format!("no target of `{}` is as it is asked for", route.name());
            return Err(invalid("provider", &message));
        }
        Ok(())
    }
}

impl Preferences {
    /// Whether they are OpenRouter's: if they name no provider of the gateway's.
    fn is_theirs(&self, route: &Route) -> bool {
        let mut names = self.order.iter().chain(self.only.iter().flatten()).chain(&self.ignore);
        let is_ours = |name: &str| route.candidates().iter().any(|one| is(one.target(), name));
        self.may_be_theirs
            && !names.any(|name| is_ours(name))
            && route.candidates().iter().any(Candidate::takes_preferences)
    }

    /// Why a provider is not to see the request, if it isn't.
    fn rules_out(&self, target: &Target) -> Option<&'static str> {
        let is_in = |names: &[Box<str>]| names.iter().any(|name| is(target, name));
        if self.only.as_ref().is_some_and(|only| !is_in(only)) {
            Some("not among `provider.only`")
        } else if is_in(&self.ignore) {
            Some("among `provider.ignore`")
        } else if self.is_order_all && !is_in(&self.order) {
            Some("not among `provider.order`, where `allow_fallbacks` is false")
        } else {
            None
        }
    }
}

impl Bounds {
    /// Why a target is not to see the request, if it isn't.
    fn rule_out(&self, target: &Target) -> Option<String> {
        let region = target.known_region();
        let is_inside = |regions: &[Pattern]| {
            region.is_some_and(|region| regions.iter().any(|allowed| allowed.matches(region)))
        };
        let (field, regions) = self.regions.iter().find(|(_, regions)| !is_inside(regions))?;
        Some(format!("not known to be in {}, as `{field}` wants it", listed(regions)))
    }
}

fn is(target: &Target, provider: &str) -> bool {
    target.provider().eq_ignore_ascii_case(provider)
}

fn costs_at_most(target: &Target, (input, output): (NanoUsd, NanoUsd)) -> bool {
    let rates = target.known_price().map(|price| price.scale.rates);
    rates.is_some_and(|rates| rates.input <= input && rates.output <= output)
}

fn listed(regions: &[Pattern]) -> String {
    regions.iter().map(Pattern::to_string).collect::<Vec<_>>().join(", ")
}

/// The routes one after the other, as one that has the settings and the bounds of the first.
///
/// # Errors
///
/// Why the first target may not be asked, if none may, unless it is only to be seen where the request would go.
pub(super) fn joined(ways: &[Way], payload: &Payload, rehearsal: Option<&Rehearsal>) -> Result<Route, Error> {
    let [first, others @ ..] = ways else { return Ok(Route::new(payload.model(), [])) };
    let joined = (*first.route).clone();
    if others.is_empty() {
        return Ok(joined);
    }
    let (mut candidates, mut refusal) = (Vec::new(), None);
    for (group, way) in ways.iter().enumerate() {
        for candidate in way.route.candidates() {
            let candidate = candidate.clone().of_group(group);
            // Where one has to stay, its targets have to be, and what one may cost they may, whoever else was asked for.
            match (way.route.admits(&candidate, payload), rehearsal) {
                (Ok(()), _) => candidates.push(candidate),
                (Err(error), Some(rehearsal)) => rehearsal.strike(candidate, error.message().to_owned()),
                (Err(error), None) => refusal = refusal.or(Some(error)),
            }
        }
    }
    match refusal {
        Some(error) if candidates.is_empty() => Err(error),
        _ => Ok(joined.with_candidates(candidates)),
    }
}
