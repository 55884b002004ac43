use http::HeaderMap;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::chosen::Way;
use crate::{
    Error, Kind, Payload,
    dispatch::{Candidate, Route, Strategy},
    headers,
    preset::Object,
    price::NanoUsd,
};

/// The most names in a list.
const MOST_NAMES: usize = 32;

/// The members of a body in which a client says who shall answer.
pub(super) const MEMBERS: [&str; 2] = ["models", "provider"];

/// Who shall answer, as far as the client says so.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Wishes {
    /// The models that are asked one after the other.
    models: Option<Vec<Box<str>>>,
    provider: Option<Preferences>,
    /// What the answer may cost, in dollars.
    max_cost: Option<Box<RawValue>>,
    /// Whether the preferences stand in the body.
    #[serde(skip)]
    are_of_body: bool,
}

/// What OpenRouter reads of `provider`, as far as it makes sense for others. What else there is, is OpenRouter's.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Preferences {
    order: Option<Vec<Box<str>>>,
    only: Option<Vec<Box<str>>>,
    ignore: Option<Vec<Box<str>>>,
    sort: Option<Sort>,
    max_price: Option<MaxPrice>,
    allow_fallbacks: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Sort {
    By(SortBy),
    In { by: SortBy },
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum SortBy {
    Price,
    Throughput,
    Latency,
}

/// In dollars per million tokens.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct MaxPrice {
    prompt: Option<Box<RawValue>>,
    completion: Option<Box<RawValue>>,
}

impl Wishes {
    /// What a request says; `None` if it leaves all to the gateway. A header goes before the body.
    pub(super) fn of(payload: &Payload, headers: &HeaderMap) -> Result<Option<Self>, Error> {
        let header = headers.get(headers::CHOOSE).map(|value| {
            let wishes = serde_json::from_slice::<Self>(value.as_bytes());
            wishes.map_err(|error| wrong(headers::CHOOSE.as_str(), &error))
        });
        let mut wishes = header.transpose()?;
        if payload.head().has_wishes {
            let body =
                std::str::from_utf8(payload.source()).ok().and_then(|text| Object::read(text.trim_ascii()));
            let said = wishes.get_or_insert_default();
            if let Some(models) = body.as_ref().and_then(|body| body.get("models")) {
                let models = serde_json::from_str(models).map_err(|error| wrong("models", &error))?;
                said.models = said.models.take().or(models);
            }
            if let Some(provider) = body.as_ref().and_then(|body| body.get("provider")) {
                let provider = serde_json::from_str(provider).map_err(|error| wrong("provider", &error))?;
                said.are_of_body = said.provider.is_none();
                said.provider = said.provider.take().or(provider);
            }
        }
        wishes.map(Self::checked).transpose()
    }

    fn checked(self) -> Result<Self, Error> {
        let provider = self.provider.as_ref();
        let lists = [
            ("models", &self.models),
            ("provider.order", &provider.and_then(|it| it.order.clone())),
            ("provider.only", &provider.and_then(|it| it.only.clone())),
            ("provider.ignore", &provider.and_then(|it| it.ignore.clone())),
        ];
        for (field, list) in lists {
            if list.as_ref().is_some_and(|list| list.len() > MOST_NAMES) {
                return Err(invalid(field, &format!("more than {MOST_NAMES} names")));
            }
        }
        Ok(self)
    }

    /// The models to be asked, the one that was asked for first.
    pub(super) fn models<'a>(&'a self, first: &'a str) -> impl Iterator<Item = &'a str> {
        let others = self.models.iter().flatten().map(|name| &**name);
        std::iter::once(first).chain(others.filter(move |other| *other != first))
    }

    /// `route` as the client wishes it to be, and whether the wishes are those of OpenRouter alone.
    pub(super) fn applied(&self, mut route: Route) -> Result<(Route, bool), Error> {
        if let Some(most) = &self.max_cost {
            let most = dollars("max_cost", most)?;
            route = route.max_cost_at_most(most);
        }
        let Some(provider) = &self.provider else { return Ok((route, false)) };
        let is_ours = provider.names().any(|name| route.candidates().iter().any(|one| is(one, name)));
        let is_theirs =
            self.are_of_body && !is_ours && route.candidates().iter().any(Candidate::takes_preferences);
        let most = provider.max_price.as_ref().map(MaxPrice::read).transpose()?;
        let stays = |candidate: &Candidate| {
            let is_known = is_theirs && candidate.takes_preferences();
            (is_known || provider.allows(candidate)) && most.is_none_or(|most| costs_at_most(candidate, most))
        };
        let left: Vec<Candidate> = route.candidates().iter().filter(|one| stays(one)).cloned().collect();
        if left.is_empty() {
            let message = format!("no target of `{}` is as it is asked for", route.name());
            return Err(invalid("provider", &message));
        }
        let order = provider.order.as_deref().unwrap_or_default();
        let place =
            |candidate: &Candidate| order.iter().position(|name| is(candidate, name)).unwrap_or(order.len());
        let ranked = left.into_iter().map(|one| {
            let place = place(&one) as u32;
            one.behind(place)
        });
        let strategy = provider.sort.as_ref().map_or(route.known_strategy(), Sort::strategy);
        Ok((route.with_candidates(ranked).strategy(strategy), is_theirs))
    }
}

impl Preferences {
    /// All names of providers.
    fn names(&self) -> impl Iterator<Item = &str> {
        let lists = [&self.order, &self.only, &self.ignore];
        lists.into_iter().flatten().flatten().map(|name| &**name)
    }

    fn allows(&self, candidate: &Candidate) -> bool {
        let is_in = |list: &Option<Vec<Box<str>>>| {
            list.as_ref().map(|list| list.iter().any(|name| is(candidate, name)))
        };
        is_in(&self.only).unwrap_or(true)
            && !is_in(&self.ignore).unwrap_or(false)
            && (self.allow_fallbacks != Some(false) || is_in(&self.order).unwrap_or(true))
    }
}

impl Sort {
    fn strategy(&self) -> Strategy {
        let (Self::By(by) | Self::In { by }) = self;
        match by {
            SortBy::Price => Strategy::Cheapest,
            SortBy::Throughput => Strategy::Throughput,
            SortBy::Latency => Strategy::Latency,
        }
    }
}

impl MaxPrice {
    fn read(&self) -> Result<(NanoUsd, NanoUsd), Error> {
        let most = |field, price: &Option<Box<RawValue>>| match price {
            Some(price) => dollars(field, price),
            None => Ok(NanoUsd(u64::MAX)),
        };
        Ok((
            most("provider.max_price.prompt", &self.prompt)?,
            most("provider.max_price.completion", &self.completion)?,
        ))
    }
}

fn is(candidate: &Candidate, provider: &str) -> bool {
    candidate.target().provider().eq_ignore_ascii_case(provider)
}

fn costs_at_most(candidate: &Candidate, (input, output): (NanoUsd, NanoUsd)) -> bool {
    let rates = candidate.target().known_price().map(|price| price.scale.rates);
    rates.is_some_and(|rates| rates.input <= input && rates.output <= output)
}

/// A number, or a text that is one.
fn dollars(field: &str, raw: &RawValue) -> Result<NanoUsd, Error> {
    let text = raw.get().trim_matches('"');
    text.parse().map_err(|_| invalid(field, "expected an amount of dollars such as 0.05"))
}

fn wrong(field: &str, error: &serde_json::Error) -> Error {
    invalid(field, &format!("not of the form that is expected, at column {}", error.column()))
}

fn invalid(field: &str, message: &str) -> Error {
    Error::new(Kind::InvalidRequest, format!("{field}: {message}")).with_param(field)
}

/// The routes one after the other, as one that has the settings and the bounds of the first.
pub(super) fn joined(ways: &[Way], payload: &Payload) -> Route {
    let [first, others @ ..] = ways else { return Route::new(payload.model(), []) };
    let joined = (*first.route).clone();
    if others.is_empty() {
        return joined;
    }
    let candidates = ways.iter().enumerate().flat_map(|(group, way)| {
        // Where one has to stay, its targets have to be, and what one may cost they may, whoever else was asked for.
        way.route.admitted(payload).into_iter().map(move |one| one.of_group(group))
    });
    joined.with_candidates(candidates)
}
