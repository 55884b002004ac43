use std::{sync::Arc, time::Duration};

use super::Exchange;
use crate::{
    Kind, Target, Tokens, Units, Work,
    price::{Costs, NanoUsd},
};

/// One attempt at one target.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Attempt {
    /// Who was asked.
    pub target: Arc<Target>,
    /// When it began, counted from the arrival of the request.
    pub started: Duration,
    /// When its first bytes came, counted likewise.
    pub first_byte: Option<Duration>,
    /// When it was over, counted likewise.
    pub ended: Option<Duration>,
    /// What it used.
    pub tokens: Tokens,
    /// What it used beside tokens.
    pub units: Units,
    /// Whether `tokens` and `units` are the gateway's estimate, because the provider never said.
    pub estimated: bool,
    /// What the provider says that it cost, where that is believed.
    pub reported: Option<NanoUsd>,
    /// How it came out.
    pub outcome: Outcome,
    /// What it is for.
    pub role: Role,
    /// The status of the provider's answer, if there was one.
    pub status: Option<u16>,
    /// The name of the key of the provider that it was sent with; `None` where there is only one.
    pub key: Option<Arc<str>>,
    /// Why the model stopped, in the provider's words.
    pub finish: Option<Box<str>>,
    /// How many tools the model called.
    pub tool_calls: u32,
}

/// What an attempt is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Role {
    /// To answer, after all attempts before it have failed.
    #[default]
    Answer,
    /// To answer before another one does that takes long; see [`Hedge`](crate::dispatch::Hedge).
    Hedge,
    /// To go on with an answer that broke off; see [`OnBreak`](crate::dispatch::OnBreak).
    Resume,
    /// To find out where the request goes; see [`ProviderEmbeddings`](crate::choose::ProviderEmbeddings).
    Embedding,
}

impl Role {
    /// The name used in records, traces and measurements, such as `hedge`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Answer => "answer",
            Self::Hedge => "hedge",
            Self::Resume => "resume",
            Self::Embedding => "embedding",
        }
    }

    /// Whether it could become the client's answer.
    pub fn answers(self) -> bool {
        self != Self::Embedding
    }

    pub(crate) fn is_usual(&self) -> bool {
        *self == Self::Answer
    }
}

impl Attempt {
    pub(super) fn new(target: &Arc<Target>, role: Role, started: Duration) -> Self {
        Self {
            target: target.clone(),
            started,
            first_byte: None,
            ended: None,
            tokens: Tokens::default(),
            units: Units::default(),
            estimated: false,
            reported: None,
            outcome: Outcome::Running,
            role,
            status: None,
            key: None,
            finish: None,
            tool_calls: 0,
        }
    }

    /// What it cost; `None` if the price is not known.
    pub fn cost(&self) -> Option<NanoUsd> {
        match self.reported {
            Some(reported) if !self.estimated => Some(reported),
            // The answer may have cost more after its provider last spoke of it.
            Some(reported) => Some(self.reckoned().unwrap_or_default().max(reported)),
            None => self.reckoned(),
        }
    }

    /// What of [`cost`](Self::cost) was for what, as far as that is known.
    pub fn costs(&self) -> Costs {
        let work = Work { tokens: self.tokens, units: self.units };
        let known = self.target.known_price().map(|price| price.costs_of(&work)).unwrap_or_default();
        let cost = self.cost().unwrap_or_default();
        // What a provider says that all of it cost, it doesn't say of its parts.
        if known.sum() == cost { known } else { Costs { other: cost, ..Costs::default() } }
    }

    /// What it cost by the price of its target.
    fn reckoned(&self) -> Option<NanoUsd> {
        match self.target.known_price() {
            Some(price) => price.cost_of(&Work { tokens: self.tokens, units: self.units }),
            None => (self.tokens.is_zero() && self.units.is_zero()).then_some(NanoUsd(0)),
        }
    }
}

/// How an attempt came out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Outcome {
    /// It goes on.
    #[default]
    Running,
    /// It answered to the end.
    Answered,
    /// It failed.
    Failed(Kind),
    /// It was given up, because the client left or another attempt was quicker.
    Aborted,
}

/// The right to report on one attempt.
#[derive(Clone, Debug)]
pub struct AttemptHandle {
    pub(super) exchange: Exchange,
    pub(super) index: usize,
}

impl AttemptHandle {
    /// Notes that the first bytes of the answer came.
    pub fn first_byte(&self) {
        let now = self.exchange.elapsed();
        self.update(|attempt| {
            attempt.first_byte.get_or_insert(now);
        });
    }

    /// Notes the status of the provider's answer.
    pub fn status(&self, status: u16) {
        self.update(|attempt| attempt.status = Some(status));
    }

    /// Notes the name of the key of the provider that it is sent with.
    pub(crate) fn sent_with(&self, key: Arc<str>) {
        self.update(|attempt| attempt.key = Some(key));
    }

    /// Notes why the model stopped, and how many tools it called.
    pub(crate) fn stopped(&self, finish: Option<Box<str>>, tool_calls: u32) {
        self.update(|attempt| (attempt.finish, attempt.tool_calls) = (finish, tool_calls));
    }

    /// Notes what the provider says was used; it repeats its counts, the last report wins.
    pub fn report(&self, work: impl Into<Work>) {
        let Work { tokens, units } = work.into();
        self.update(|attempt| {
            (attempt.tokens, attempt.units, attempt.estimated) = (tokens, units, false);
        });
    }

    /// Notes the gateway's own reckoning, where the provider never says.
    pub fn estimate(&self, work: impl Into<Work>) {
        let Work { tokens, units } = work.into();
        self.update(|attempt| {
            (attempt.tokens, attempt.units, attempt.estimated) = (tokens, units, true);
        });
    }

    /// Notes what the provider says that the attempt cost.
    pub fn charge(&self, cost: NanoUsd) {
        self.update(|attempt| attempt.reported = Some(cost));
    }

    /// Notes that the attempt is over; the first outcome stays.
    pub fn finish(&self, outcome: Outcome) {
        let now = self.exchange.elapsed();
        self.update(|attempt| {
            if attempt.outcome == Outcome::Running {
                (attempt.outcome, attempt.ended) = (outcome, Some(now));
            }
        });
    }

    /// Which attempt of its exchange it is.
    pub(crate) fn index(&self) -> usize {
        self.index
    }

    /// The exchange that the attempt belongs to.
    pub(crate) fn exchange(&self) -> &Exchange {
        &self.exchange
    }

    fn update(&self, change: impl FnOnce(&mut Attempt)) {
        // Once the record has been written there is nobody left to tell.
        self.exchange.learn(|learnt| learnt.attempts.get_mut(self.index).map(change));
    }
}
