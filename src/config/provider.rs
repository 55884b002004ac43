use std::{collections::BTreeMap, num::NonZeroUsize, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Breaker, Budget, Credentials, Limits, PooledKey, Probe, ProviderKind, Secret, Several, TextOr, UsdPrice,
    units::Written,
};

/// Someone who serves models.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Provider {
    /// The API that it offers.
    pub kind: ProviderKind,
    /// The key that requests are signed with.
    #[serde(default)]
    pub api_key: Option<Secret>,
    /// Several keys in its place, among which requests are shared out. One that the provider refuses is left out for ten
    /// minutes, one that has reached its limit for as long as the provider says.
    #[serde(default)]
    pub api_keys: Vec<TextOr<PooledKey>>,
    /// Where it is, up to and including a version such as `/v1`; the public API of the provider if it
    /// isn't given.
    #[serde(default)]
    pub base_url: Option<String>,
    /// Headers to send with every request.
    #[serde(default)]
    pub headers: BTreeMap<String, Secret>,
    /// Whether to speak HTTP/2, with many requests on one connection.
    #[serde(default)]
    pub http2: bool,
    /// The most requests that it is sent at the same time; no limit if it isn't given.
    #[serde(default)]
    pub max_in_flight: Option<NonZeroUsize>,
    /// When one of its models is passed over because it fails; what isn't said here comes from
    /// `defaults.breaker`.
    #[serde(default)]
    pub breaker: Breaker,
    /// How it is asked whether it is there, while nobody asks it for anything: not at all if it isn't given. One that
    /// doesn't answer counts as a failure of all its models, and one that does is tried again at once.
    #[serde(default)]
    pub probe: Option<Probe>,
    /// How long a connection may take to be made, whatever `timeouts.connect` of a model says; that, and then the one
    /// of `defaults`, if it isn't given.
    #[serde(default)]
    pub connect_timeout: Option<Written<Duration>>,
    /// What may be spent there, whoever asks: one budget or several. Where it is used up, the next target of a
    /// route is asked.
    #[serde(default)]
    pub budget: Several<Budget>,
    /// How often, and how much at a time, it may be asked, whoever asks; `models` are by their names there.
    #[serde(default)]
    pub limits: Limits,
    /// What its models cost, by their names, where that differs from the list.
    #[serde(default)]
    pub prices: BTreeMap<String, UsdPrice>,
    /// `openai` and `openai-compatible`: the organization that OpenAI charges.
    #[serde(default)]
    pub organization: Option<String>,
    /// `openai` and `openai-compatible`: the project that OpenAI charges; `vertex`: the one that it belongs to.
    #[serde(default)]
    pub project: Option<String>,
    /// `azure`: the name of the resource, if it has the usual address.
    #[serde(default)]
    pub resource: Option<String>,
    /// `azure`: a dated version such as `2024-10-21` for addresses with deployments; the newer form
    /// without dates if it isn't given.
    #[serde(default)]
    pub api_version: Option<String>,
    /// `vertex`: where the models are, such as `us-central1`; `global` if it isn't given.
    #[serde(default)]
    pub location: Option<String>,
    /// Where the models are, such as `us-east-1`: `bedrock` is asked there, and keys may be answered in some
    /// `regions` only.
    #[serde(default)]
    pub region: Option<String>,
    /// Whether it is asked for streams where clients want whole answers.
    #[serde(default)]
    pub stream: Streaming,
    /// How the gateway proves who it is, where it has more than a key.
    #[serde(default)]
    pub credentials: Option<Credentials>,
}

/// When a provider is asked for a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Streaming {
    /// When the client wants one.
    #[default]
    Asked,
    /// Always; whole answers to chats are put together from streams. For models that only stream.
    Always,
}

impl Provider {
    /// A provider of this kind, with nothing else set.
    pub fn new(kind: ProviderKind) -> Self {
        Self {
            kind,
            api_key: None,
            api_keys: Vec::new(),
            base_url: None,
            headers: BTreeMap::new(),
            http2: false,
            max_in_flight: None,
            breaker: Breaker::default(),
            probe: None,
            connect_timeout: None,
            budget: Several::default(),
            limits: Limits::default(),
            prices: BTreeMap::new(),
            organization: None,
            project: None,
            resource: None,
            api_version: None,
            location: None,
            region: None,
            stream: Streaming::default(),
            credentials: None,
        }
    }
}
