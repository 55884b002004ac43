//! One YAML or JSON file that says what a gateway does: [`Config`].
//!
//! Everything has a default, so that a file says only what differs:
//!
//! ```yaml
#![doc = include_str!("example.yaml")]
//! ```
//!
//! [`Config::from_file`] reads it:
//!
//! ```
//! use bartizan::config::{self, Config};
//!
//! let environment = |name: &str| (name != "LOCAL_URL").then(|| format!("value-of-{name}"));
//!
//! let config = Config::read(config::EXAMPLE, "gateway.yaml", &environment)?;
//!
//! assert_eq!(config.models["chat"].targets[0].name, "openai/gpt-4o-mini");
//! assert_eq!(config.models["chat"].retry.attempts(), 3);
//! assert_eq!(config.virtual_keys().len(), 1);
//! # Ok::<_, config::ConfigError>(())
//! ```
//!
//! # Variables
//!
//! Any value may hold variables of the environment: `${NAME}`, `${NAME:-used if it is not set}`,
//! `${NAME:?told if it is not set}`, or be `os.environ/NAME`; a literal `${` is written `$${`. Between
//! `{` and `}`, YAML wants quotes around `"${NAME}"`. Variables are put in after the file has been
//! parsed, so that their values can't change its shape, and never into names of fields.
//!
//! # Errors
//!
//! A field that doesn't exist is an error, with the line and the field that was probably meant. A file
//! that can be read is then [checked](Config::check) for contradictions, all of which are reported at
//! once. No error shows a value that came from the environment, or a key; a [`Secret`] is `***`
//! however it is shown. [`ConfigError`] is written for people:
//!
//! ```
//! use bartizan::config::Config;
//!
//! let error = Config::from_text("auth: open\nserver: { lisen: 127.0.0.1:80 }").unwrap_err();
//!
//! assert!(error.to_string().starts_with(
//!     "configuration:2:11: unknown field `lisen`, did you mean `listen`?"
//! ));
//! ```
//!
//! # Without a file
//!
//! [`Config::from_environment`] finds the keys of providers where their own SDKs look for them. An
//! editor that is given [`json_schema`] completes and checks a file while it is written.

mod address;
mod admin;
mod alerts;
mod breaker;
mod build;
mod check;
mod choice;
mod credentials;
mod difference;
mod documents;
mod environment;
mod excerpt;
mod faults;
#[cfg(feature = "metrics")]
mod gauges;
mod hedge;
mod holder;
mod interpolate;
mod keys;
mod kind;
mod log;
mod mirror;
mod model;
mod money;
mod otel;
mod per_request;
mod place;
mod pooled_key;
mod postgres;
mod price;
mod prices;
mod probe;
mod problem;
mod provider;
mod quotas;
mod read;
mod records;
mod region;
mod resolve;
mod retry_budgets;
mod routes;
mod rule;
mod schema;
mod secrets;
mod server;
mod several;
mod stack;
mod standings;
mod store;
mod tasks;
mod text_or;
mod units;
mod variables;
#[cfg(feature = "reload")]
mod watch;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[cfg(feature = "metrics")]
#[cfg_attr(docsrs, doc(cfg(feature = "metrics")))]
pub use self::gauges::Gauges;
#[cfg(feature = "reload")]
#[cfg_attr(docsrs, doc(cfg(feature = "reload")))]
pub use self::watch::{Cause, Watch};
pub use self::{
    admin::{Admin, Audit},
    alerts::{AlertOf, AlertRule, Alerts, Loops, SameRequest, SessionUsd, Velocity, Webhook, WebhookFormat},
    breaker::Breaker,
    build::Builder,
    choice::{GoOnAfter, OnBreak, RetryBudget, Strategy},
    credentials::Credentials,
    documents::LeftOut,
    environment::Found,
    faults::{FaultRule, Faults},
    hedge::Hedge,
    keys::{AuthMode, Customer, Gateway, Key, Labelled, Previous, Team},
    kind::ProviderKind,
    log::{KeptContent, Log, LogFormat, Retention},
    mirror::Mirror,
    model::{Defaults, Model, Objective, OnDisconnect, Retry, Target, Timeouts},
    money::{Away, Ceiling, StoreAway, UnknownPrice},
    otel::Otel,
    per_request::{OnExcess, PerRequest},
    pooled_key::PooledKey,
    postgres::Postgres,
    price::{UsdPrice, UsdRates, UsdStep, UsdTier, UsdTiers},
    probe::Probe,
    problem::{ConfigError, Place, Problem},
    provider::{Provider, Streaming},
    quotas::{Allowance, Budget, Count, Limits},
    records::{ClickHouseRecords, PostgresRecords, Records},
    rule::Rule,
    schema::json_schema,
    server::{HealthTells, MetricsAre, Server},
    several::Several,
    standings::Standings,
    store::{Redis, Store},
    tasks::{Task, Tasks},
    text_or::{FromText, TextOr},
    units::{Backoff, RetryOn, Size, Unit, Written},
};
pub(crate) use self::{
    documents::{read, tidy},
    holder::{Holder, account},
    prices::{Listed, Source},
};
use crate::ledger::Zone;
pub use crate::secret::Secret;

/// A configuration that uses most of what there is.
pub const EXAMPLE: &str = include_str!("example.yaml");

/// Everything that a gateway can be told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Config {
    /// The listener, and what a request may take. Takes a restart to change.
    pub server: Server,
    /// What is logged, and how.
    pub log: Log,
    /// What OpenTelemetry is told; nothing, if it isn't given.
    pub otel: Option<Otel>,
    /// What is set while the gateway runs.
    pub admin: Admin,
    /// Where it is kept who changed what and when.
    pub audit: Audit,
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
    /// Where budgets and what was spent of them are kept.
    pub store: Store,
    /// What happens while a store can't be asked.
    pub store_away: StoreAway,
    /// What people are told of, and where.
    pub alerts: Alerts,
    /// What is a loop that has run away, where a key or its team doesn't say.
    pub loops: Loops,
    /// What is made to fail on purpose.
    pub faults: Faults,
    /// The time zone in which days, weeks, months, quarters and years of budgets and limits begin, such as
    /// `Europe/Berlin`; UTC if it isn't given.
    pub timezone: Option<Written<Zone>>,
    /// The gateway as a whole.
    pub gateway: Gateway,
    /// Organisations whose teams and keys share budgets and limits, by the customer's name.
    pub customers: BTreeMap<String, Customer>,
    /// Keys that share budgets and limits, by the team's name.
    pub teams: BTreeMap<String, Team>,
    /// What each end user is held to, whom requests name in `x-bartizan-user` or in their body.
    pub users: Labelled,
    /// What each session is held to, which requests name in `x-bartizan-session` or in their metadata.
    pub sessions: Labelled,
    /// What each value of a tag (`feature`), or one of them (`feature=search`), is held to; requests name
    /// tags in `x-bartizan-tags` or in their metadata.
    pub tags: BTreeMap<String, Labelled>,
    /// The keys that clients may present.
    pub keys: Vec<Key>,
}
