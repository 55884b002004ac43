use std::{
    num::{NonZeroU32, NonZeroU64},
    time::{Duration, SystemTime},
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Breaker, Hedge, Mirror, PerRequest, Rule, Several, Tasks,
    choice::{GoOnAfter, OnBreak, RetryBudget, Strategy},
    units::{Backoff, RetryOn, Written},
};
use crate::{
    dispatch::Sticky,
    price::{ASSUMED_OUTPUT, NanoUsd},
};

/// A name that clients may ask for, and who answers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Model {
    /// Who is asked, until one answers: in this order, if `strategy` doesn't say otherwise. One that is known not to
    /// take what a request needs (tools, images, an answer by a schema, more input) is passed over while another
    /// can take it, and one of which that isn't known comes after those that are known to.
    #[serde(default)]
    pub targets: Vec<Target>,
    /// Which target is asked first; the others come after it, in the order that follows.
    #[serde(default)]
    pub strategy: Strategy,
    /// What keeps its target, with `strategy: weighted`: `user`, `session`, `key` or `tag:feature`. What has none is
    /// given one by chance.
    #[serde(default)]
    pub sticky: Option<Written<Sticky>>,
    /// Which requests go to other targets: the first rule whose condition holds is the one that counts.
    #[serde(default)]
    pub rules: Vec<Rule>,
    /// Another one of `models`, which this name stands for. Beside it an alias may say what narrows the other one
    /// (`regions`, `max_cost`), `rules`, `tasks` and `keep_conversations` of its own, and that it ends; nothing else.
    #[serde(default)]
    pub alias: Option<String>,
    /// Which requests are which kind of task, and where these go, where no rule holds.
    #[serde(default)]
    pub tasks: Option<Tasks>,
    /// The regions in which it is answered, such as `eu-*`: no target outside of them is ever asked, whatever fails.
    #[serde(default)]
    pub regions: Several<String>,
    /// What a request may probably cost, in dollars: a target where it would cost more is passed over.
    #[serde(default)]
    pub max_cost: Option<Written<NanoUsd>>,
    /// In which time answers have to begin: a target that doesn't keep it is passed over while another one does.
    #[serde(default)]
    pub objective: Option<Objective>,
    /// How long a conversation keeps its target after its last answer, so that it finds what the provider has in its
    /// cache: `10m`. A conversation is a session, or what begins with the same words.
    #[serde(default)]
    pub keep_conversations: Option<Written<Duration>>,
    /// Since when, or from when on, the name is not to be used any more; answers say so.
    #[serde(default)]
    pub deprecated: Option<Written<SystemTime>>,
    /// Until when it is served by its own targets; answers say so.
    #[serde(default)]
    pub sunset: Option<Written<SystemTime>>,
    /// Another one of `models`, by which it is served from `sunset` on.
    #[serde(default)]
    pub successor: Option<String>,
    /// Where people read about that.
    #[serde(default)]
    pub link: Option<String>,
    /// After which failures the next target is asked, although they are otherwise final.
    #[serde(default)]
    pub go_on_after: Vec<GoOnAfter>,
    /// When and how often the same target is asked again.
    #[serde(default)]
    pub retry: Retry,
    /// When a second target is asked, because the first one takes long to begin; never, if it isn't given.
    #[serde(default)]
    pub hedge: Option<Hedge>,
    /// What becomes of a stream that breaks in the middle.
    #[serde(default)]
    pub on_break: OnBreak,
    /// Whom a share of the requests is copied to, so that models can be compared; nobody sees its answers.
    #[serde(default)]
    pub mirror: Option<Mirror>,
    /// How long things may take.
    #[serde(default)]
    pub timeouts: Timeouts,
    /// Whether a request is refused when a target's dialect can't express all of it; `server.strict`
    /// if it isn't given.
    #[serde(default)]
    pub strict: Option<bool>,
    /// What becomes of the answer when the client leaves; `defaults.on_disconnect` if it isn't given.
    #[serde(default)]
    pub on_disconnect: Option<OnDisconnect>,
    /// How many tokens of output a request may have that sets no limit: that many are reserved, and every
    /// provider is told that limit. If it isn't given, `defaults.assume_output` is reserved, only Claude is told a
    /// limit, which has to have one, and others may write more.
    #[serde(default)]
    pub assume_output: Option<NonZeroU64>,
    /// What one request may use at the most.
    #[serde(default)]
    pub per_request: Option<PerRequest>,
}

/// One model at one provider.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Target {
    /// `provider/model`: a name under `providers`, and the model's name there.
    #[serde(rename = "use")]
    pub name: String,
    /// What the model is, by its name in the list of prices, where its name at the provider doesn't say:
    /// `gpt-4o`, for a deployment at Azure or a server of one's own. Its price and its abilities are those. What the
    /// provider's own list doesn't have is looked up in those of the makers of models; another list is named in front,
    /// as in `together/deepseek-ai/DeepSeek-V3.1`.
    #[serde(default)]
    pub model: Option<String>,
    /// Its share among the others, with `strategy: weighted` or `least-busy`: 1 if it isn't given. One of 0 is
    /// asked after all others.
    #[serde(default)]
    pub weight: Option<u32>,
}

impl Target {
    /// The target named `provider/model`.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), model: None, weight: None }
    }

    /// What the model is, if its own name doesn't say.
    pub fn known_as(&self) -> Option<&str> {
        self.model.as_deref()
    }

    /// The provider's name and the model's; `None` if there is no `/`.
    pub fn parts(&self) -> Option<(&str, &str)> {
        self.name.split_once('/').filter(|(provider, model)| !provider.is_empty() && !model.is_empty())
    }
}

/// In which time answers have to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Objective {
    /// 19 of 20.
    pub p95: Written<Duration>,
}

/// What holds for `provider/model` requests, and for models that don't say otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Defaults {
    /// When and how often the same target is asked again.
    pub retry: Retry,
    /// How long things may take.
    pub timeouts: Timeouts,
    /// When a target is passed over because it fails.
    pub breaker: Breaker,
    /// What becomes of the answer when the client leaves.
    pub on_disconnect: OnDisconnect,
    /// How many tokens of output are reserved for a request that sets no limit; a limit to all providers is only
    /// what a model says itself.
    pub assume_output: NonZeroU64,
}

impl Default for Defaults {
    fn default() -> Self {
        Self {
            retry: Retry::default(),
            timeouts: Timeouts::default(),
            breaker: Breaker::default(),
            on_disconnect: OnDisconnect::default(),
            assume_output: NonZeroU64::MIN.saturating_add(ASSUMED_OUTPUT - 1),
        }
    }
}

/// What becomes of the answer when the client leaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum OnDisconnect {
    /// The provider's call is cancelled, and what has passed is charged by an estimate.
    #[default]
    Cancel,
    /// The answer is read to its end, so that the exact count is charged.
    Drain,
}

/// When and how often the same target is asked again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Retry {
    /// The failures that are worth another attempt: 429, 500, 502, 503, 504, 529 and connect if it
    /// isn't given. What timed out can be listed too, but asking the next target is quicker.
    pub on: Option<Vec<Written<RetryOn>>>,
    /// How many attempts a target gets, the first one included: 2 if it isn't given.
    pub attempts: Option<NonZeroU32>,
    /// How long to pause between two attempts, doubling: `200ms..5s` if it isn't given. A
    /// `retry-after` of the provider goes before.
    pub backoff: Option<Written<Backoff>>,
    /// How often all requests of a model together may ask targets again: 20 % and 10 per second if it isn't
    /// given.
    pub budget: Option<RetryBudget>,
}

const RETRIED: [u16; 6] = [429, 500, 502, 503, 504, 529];

impl Retry {
    /// This, with what it doesn't say taken from `other`.
    #[must_use]
    pub fn or(&self, other: &Self) -> Self {
        Self {
            on: self.on.clone().or_else(|| other.on.clone()),
            attempts: self.attempts.or(other.attempts),
            backoff: self.backoff.or(other.backoff),
            budget: self.budget.or(other.budget),
        }
    }

    /// The failures that are worth another attempt.
    pub fn on(&self) -> Vec<RetryOn> {
        match &self.on {
            Some(on) => on.iter().map(|on| **on).collect(),
            None => {
                let status =
                    RETRIED.into_iter().filter_map(|status| status.try_into().ok().map(RetryOn::Status));
                status.chain([RetryOn::Connect]).collect()
            }
        }
    }

    /// How many attempts a target gets.
    pub fn attempts(&self) -> u32 {
        self.attempts.map_or(2, NonZeroU32::get)
    }

    /// How long to pause between two attempts.
    pub fn backoff(&self) -> Backoff {
        let usual = Backoff { first: Duration::from_millis(200), most: Duration::from_secs(5) };
        self.backoff.map_or(usual, |backoff| *backoff)
    }

    /// How often all requests of a model together may ask targets again.
    pub fn budget(&self) -> RetryBudget {
        self.budget.unwrap_or_default()
    }
}

/// How long things may take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Timeouts {
    /// Until there is a connection: 5s if it isn't given. A `connect_timeout` of the provider goes before.
    pub connect: Option<Written<Duration>>,
    /// Until the head of the answer; without streaming that is when the whole answer has been
    /// written. If it isn't given: 10m, which is how long clients wait, and where another target could be asked, half
    /// of what is left of `total`, so that one that hangs leaves the next one as much.
    pub first_byte: Option<Written<Duration>>,
    /// Until a stream brings content, its head included. If it isn't given: 1m, and where another target could be asked, at
    /// most half of what is left of `total`.
    pub first_event: Option<Written<Duration>>,
    /// Between two pieces of the answer: 1m if it isn't given.
    pub idle: Option<Written<Duration>>,
    /// For all attempts together, to the end of the answer: 10m if it isn't given. Whoever is asked for the task of a
    /// request takes half of it at the most, which is taken off the rest.
    pub total: Option<Written<Duration>>,
}

impl Timeouts {
    /// This, with what it doesn't say taken from `other`.
    #[must_use]
    pub fn or(&self, other: &Self) -> Self {
        Self {
            connect: self.connect.or(other.connect),
            first_byte: self.first_byte.or(other.first_byte),
            first_event: self.first_event.or(other.first_event),
            idle: self.idle.or(other.idle),
            total: self.total.or(other.total),
        }
    }

    /// Until there is a connection.
    pub fn connect(&self) -> Duration {
        seconds(self.connect, 5)
    }

    /// Until the head of the answer, if that is said.
    pub fn first_byte(&self) -> Option<Duration> {
        self.first_byte.map(|given| *given)
    }

    /// Until a stream brings content, if that is said.
    pub fn first_event(&self) -> Option<Duration> {
        self.first_event.map(|given| *given)
    }

    /// Between two pieces of the answer.
    pub fn idle(&self) -> Duration {
        seconds(self.idle, 60)
    }

    /// For all attempts together.
    pub fn total(&self) -> Duration {
        seconds(self.total, 600)
    }
}

fn seconds(given: Option<Written<Duration>>, otherwise: u64) -> Duration {
    given.map_or(Duration::from_secs(otherwise), |given| *given)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_model_does_not_say_comes_from_the_defaults_and_then_from_the_built_in_values() {
        let model = Retry { attempts: NonZeroU32::new(3), ..Retry::default() };
        let defaults = Retry {
            attempts: NonZeroU32::new(7),
            on: Some(vec![Written::new(RetryOn::Connect)]),
            ..Retry::default()
        };

        let retry = model.or(&defaults);

        assert_eq!(retry.attempts(), 3);
        assert_eq!(retry.on(), [RetryOn::Connect]);
        assert_eq!(retry.backoff().first, Duration::from_millis(200));
        assert_eq!(Retry::default().on().len(), 7);
    }
}
