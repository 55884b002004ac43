use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::units::Written;
use crate::{
    budget,
    price::{NanoUsd, Price, Rates},
};

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

/// Where a price is assumed, none is unknown.
impl From<UnknownPrice> for budget::UnknownPrice {
    fn from(unknown: UnknownPrice) -> Self {
        match unknown {
            UnknownPrice::Allow => Self::Allow,
            UnknownPrice::Refuse | UnknownPrice::Ceiling(_) => Self::Refuse,
        }
    }
}

impl From<Away> for budget::StoreAway {
    fn from(away: Away) -> Self {
        match away {
            Away::Refuse => Self::Refuse,
            Away::Allow => Self::Allow,
        }
    }
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
    /// It is served. Where the store is shared, each gateway goes on counting by itself, and tells the store
    /// later.
    Allow,
}
