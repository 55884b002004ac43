use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::units::Written;
use crate::price::{NanoUsd, Price, Rates};

/// What a million tokens cost, in dollars.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct UsdPrice {
    /// Input.
    pub input: Written<NanoUsd>,
    /// Output.
    pub output: Written<NanoUsd>,
    /// Input read from the provider's cache; like `input` if it isn't given.
    #[serde(default)]
    pub cached_input: Option<Written<NanoUsd>>,
    /// Input written to the provider's cache; like `input` if it isn't given.
    #[serde(default)]
    pub cache_write: Option<Written<NanoUsd>>,
    /// Input written to the provider's cache for an hour; like `cache_write` if it isn't given.
    #[serde(default)]
    pub cache_write_1h: Option<Written<NanoUsd>>,
    /// Output spent on reasoning; like `output` if it isn't given.
    #[serde(default)]
    pub reasoning: Option<Written<NanoUsd>>,
}

impl From<UsdPrice> for Price {
    fn from(price: UsdPrice) -> Self {
        let cache_write = price.cache_write.unwrap_or(price.input);
        Self::from(Rates {
            input: *price.input,
            cached: *price.cached_input.unwrap_or(price.input),
            cache_write: *cache_write,
            cache_write_1h: *price.cache_write_1h.unwrap_or(cache_write),
            output: *price.output,
            reasoning: *price.reasoning.unwrap_or(price.output),
        })
    }
}

/// What becomes of a request to a model whose price isn't known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum UnknownPrice {
    /// It is refused if a budget would have to be charged.
    #[default]
    Refuse,
    /// It is served, its tokens are counted, and no money is charged.
    Allow,
    /// It is served and charged at this price.
    Ceiling(Ceiling),
}

/// A price that is assumed where none is known, in dollars per million tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Ceiling {
    /// Input, cached or not.
    pub input: Written<NanoUsd>,
    /// Output, reasoning included.
    pub output: Written<NanoUsd>,
}

impl From<Ceiling> for Price {
    fn from(ceiling: Ceiling) -> Self {
        Self::from(Rates::flat(*ceiling.input, *ceiling.output))
    }
}

/// What happens while a store can't be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct StoreAway {
    /// To requests that a budget would have to be asked for.
    pub budgets: Away,
}

impl Default for StoreAway {
    fn default() -> Self {
        Self { budgets: Away::Refuse }
    }
}

/// What happens to a request that can't be checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Away {
    /// It is refused.
    Refuse,
    /// It is served.
    Allow,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_tokens_without_a_price_cost_what_they_are_kinds_of() {
        let usd = |dollars| Written::new(NanoUsd::from_usd(dollars));
        let given = UsdPrice {
            input: usd(3),
            output: usd(15),
            cached_input: None,
            cache_write: Some(usd(4)),
            cache_write_1h: None,
            reasoning: None,
        };

        let rates = Price::from(given).rates;

        assert_eq!(rates.cached, NanoUsd::from_usd(3));
        assert_eq!(rates.cache_write_1h, NanoUsd::from_usd(4));
        assert_eq!(rates.reasoning, NanoUsd::from_usd(15));
    }
}
