//! Config
mod check;
mod interpolate;
mod keys;
mod model;
mod money;
mod problem;
mod provider;
mod read;
mod secret;
mod server;
mod suggest;
mod units;
mod variables;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::{
    keys::{AuthMode, Gateway, Key, Limits, Team},
    model::{Defaults, Model, OnDisconnect, Retry, Target, Timeouts},
    money::{Away, Budget, Ceiling, StoreAway, UnknownPrice, UsdPrice},
    problem::{ConfigError, Place, Problem},
    provider::{Provider, ProviderKind},
    secret::Secret,
    server::{Log, LogFormat, Records, Server},
    units::{Backoff, RetryOn, Size, Unit, Written},
};

/// Everything that a gateway can be told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Config {
    /// The listener, and what a request may take.
    pub server: Server,
    /// What is logged, and how.
    pub log: Log,
    /// Who is let in.
    pub auth: AuthMode,
    /// Who serves models, by the names that `provider/model` begins with.
    pub providers: BTreeMap<String, Provider>,
    /// Names that clients may ask for, besides `provider/model`.
    pub models: BTreeMap<String, Model>,
    /// What holds for `provider/model` requests, and for models that don't say otherwise.
    pub defaults: Defaults,
    /// What models cost where that differs from the list, by `provider/model`, with `*` for any run
    /// of characters.
    pub prices: BTreeMap<String, UsdPrice>,
    /// What becomes of a request to a model whose price isn't known.
    pub unknown_price: UnknownPrice,
    /// What happens while a store can't be asked.
    pub store_away: StoreAway,
    /// The gateway as a whole.
    pub gateway: Gateway,
    /// Keys that spend from one budget, by the team's name.
    pub teams: BTreeMap<String, Team>,
    /// The keys that clients may present.
    pub keys: Vec<Key>,
}
