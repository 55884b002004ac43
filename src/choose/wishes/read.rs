//! What a client says of who shall answer, as it stands in a header or in a body.

use std::{sync::Arc, time::Duration};

use http::HeaderMap;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Bounds, Preferences, Wishes};
use crate::{
    Error, Kind, Payload, access::Pattern, dispatch::Strategy, headers, preset::Object, price::NanoUsd,
    scaled,
};

/// The most names in a list.
const MOST_NAMES: usize = 32;

/// All that is said.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Said {
    /// The models that are asked one after the other.
    models: Option<Vec<Box<str>>>,
    provider: Option<Provider>,
    /// What the answer may cost, in dollars.
    max_cost: Option<Box<RawValue>>,
    objective: Option<Objective>,
    regions: Option<Names>,
}

/// What OpenRouter reads of `provider`, as far as it makes sense for others, and what the gateway reads besides. What
/// else there is, is OpenRouter's.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Provider {
    order: Option<Vec<Box<str>>>,
    only: Option<Vec<Box<str>>>,
    ignore: Option<Vec<Box<str>>>,
    sort: Option<Sort>,
    max_price: Option<MaxPrice>,
    allow_fallbacks: Option<bool>,
    objective: Option<Objective>,
    regions: Option<Names>,
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

/// The time in which 19 of 20 answers have to begin, such as `500ms`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Objective {
    p95: Box<str>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Names {
    One(Box<str>),
    Several(Vec<Box<str>>),
}

/// The first of the models that a header names, which stands for one that the body doesn't name.
pub(crate) fn first_model(headers: &HeaderMap) -> Option<Box<str>> {
    let said: Said = serde_json::from_slice(headers.get(headers::CHOOSE)?.as_bytes()).ok()?;
    said.models?.into_iter().next().filter(|name| (1..=256).contains(&name.len()))
}

impl Wishes {
    /// What a request says; `None` if it leaves all to the gateway. A header goes before the body.
    ///
    /// # Errors
    ///
    /// What is said and can't be read, by its name.
    pub(in crate::choose) fn of(payload: &Payload, headers: &HeaderMap) -> Result<Option<Self>, Error> {
        let header = headers.get(headers::CHOOSE).map(|value| {
            let said = serde_json::from_slice::<Said>(value.as_bytes());
            said.map_err(|error| wrong(headers::CHOOSE.as_str(), &error))
        });
        let (mut said, mut are_of_body) = (header.transpose()?, false);
        if payload.head().has_wishes {
            let body =
                std::str::from_utf8(payload.source()).ok().and_then(|text| Object::read(text.trim_ascii()));
            let said = said.get_or_insert_default();
            if let Some(models) = body.as_ref().and_then(|body| body.get("models")) {
                let models = serde_json::from_str(models).map_err(|error| wrong("models", &error))?;
                said.models = said.models.take().or(models);
            }
            if let Some(provider) = body.as_ref().and_then(|body| body.get("provider")) {
                let provider = serde_json::from_str(provider).map_err(|error| wrong("provider", &error))?;
                are_of_body = said.provider.is_none();
                said.provider = said.provider.take().or(provider);
            }
        }
        said.map(|said| Self::new(said, are_of_body)).transpose()
    }

    fn new(said: Said, are_of_body: bool) -> Result<Self, Error> {
        let mut wishes = Self {
            models: names("models", said.models)?.unwrap_or_default(),
            max_cost: said.max_cost.map(|most| dollars("max_cost", &most)).transpose()?,
            ..Self::default()
        };
        wishes.bounds.add(["objective", "regions"], said.objective, said.regions)?;
        if let Some(provider) = said.provider {
            let fields = ["provider.objective", "provider.regions"];
            let is_ours = provider.objective.is_some() || provider.regions.is_some();
            wishes.bounds.add(fields, provider.objective, provider.regions)?;
            let order = names("provider.order", provider.order)?;
            wishes.provider = Some(Preferences {
                is_order_all: provider.allow_fallbacks == Some(false) && order.is_some(),
                order: order.unwrap_or_default(),
                only: names("provider.only", provider.only)?,
                ignore: names("provider.ignore", provider.ignore)?.unwrap_or_default(),
                sort: provider.sort.as_ref().map(Sort::strategy),
                max_price: provider.max_price.as_ref().map(MaxPrice::read).transpose()?,
                may_be_theirs: are_of_body && !is_ours,
            });
        }
        Ok(wishes)
    }
}

impl Bounds {
    fn add(
        &mut self,
        [objective_at, regions_at]: [&'static str; 2],
        objective: Option<Objective>,
        regions: Option<Names>,
    ) -> Result<(), Error> {
        if let Some(Objective { p95 }) = objective {
            let time = scaled::duration(p95.trim());
            let time = time.ok_or_else(|| invalid(objective_at, "p95: expected a duration such as 500ms"))?;
            self.objective = Some(self.objective.map_or(time, |known: Duration| known.min(time)));
        }
        let Some(regions) = regions else { return Ok(()) };
        let regions = match regions {
            Names::One(name) => vec![name],
            Names::Several(names) => names,
        };
        let regions = names(regions_at, Some(regions))?.unwrap_or_default();
        if regions.is_empty() {
            return Err(invalid(regions_at, "names no region"));
        }
        let regions: Arc<[Pattern]> = regions.into_iter().map(Pattern::new).collect();
        self.regions.push((regions_at, regions));
        Ok(())
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

/// A list that isn't longer than anybody needs.
fn names(field: &'static str, names: Option<Vec<Box<str>>>) -> Result<Option<Vec<Box<str>>>, Error> {
    match names {
        Some(names) if names.len() > MOST_NAMES => {
            Err(invalid(field, &format!("more than {MOST_NAMES} names")))
        }
        names => Ok(names),
    }
}

/// A number, or a text that is one.
fn dollars(field: &str, raw: &RawValue) -> Result<NanoUsd, Error> {
    let text = raw.get().trim_matches('"');
    text.parse().map_err(|_| invalid(field, "expected an amount of dollars such as 0.05"))
}

fn wrong(field: &str, error: &serde_json::Error) -> Error {
    invalid(field, &format!("not of the form that is expected, at column {}", error.column()))
}

/// What is said in a field and can't be.
pub(super) fn invalid(field: &str, message: &str) -> Error {
    Error::new(Kind::InvalidRequest, format!("{field}: {message}")).with_param(field)
}
