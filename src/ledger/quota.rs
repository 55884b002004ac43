use std::fmt;

use serde::{Deserialize, Serialize};

use super::Period;
use crate::{Tokens, price::NanoUsd};

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Measure {
    /// Money, in billionths of a dollar.
    Usd,
    /// Requests, whatever comes of them.
    Requests,
    /// Requests whose answers have not ended.
    Concurrent,
    /// Tokens of prompts, cached ones included.
    Input,
    /// Tokens of answers, reasoning included.
    Output,
    /// Both together.
    Tokens,
}

/// How much of something an account may use in a period.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
pub struct Quota {
    /// What is counted.
    pub measure: Measure,
    /// The most of it in one period, in the unit of the measure.
    pub limit: u64,
    /// When it begins anew, or in what time it is given back.
    pub period: Period,
    /// Whether it only counts and reports, and refuses nothing.
    pub shadow: bool,
}

impl Quota {
    /// A quota that refuses what is over it.
    pub const fn new(measure: Measure, limit: u64, period: Period) -> Self {
        Self { measure, limit, period, shadow: false }
    }

    /// A budget of money.
    pub const fn usd(limit: NanoUsd, period: Period) -> Self {
        Self::new(Measure::Usd, limit.0, period)
    }

    /// So many requests at the same time.
    pub const fn concurrent(limit: u64) -> Self {
        Self::new(Measure::Concurrent, limit, Period::Total)
    }

    /// Sets whether it only counts and reports.
    #[must_use]
    pub const fn shadow(self, shadow: bool) -> Self {
        Self { shadow, ..self }
    }
}

/// What one request uses: its worst case when it is let in, and what it really was at its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amounts {
    /// Money.
    pub cost: NanoUsd,
    /// Tokens of the prompt.
    pub input: u64,
    /// Tokens of the answer.
    pub output: u64,
}

impl Amounts {
    /// Of a request that uses `tokens` and costs `cost`.
    pub fn new(cost: NanoUsd, tokens: &Tokens) -> Self {
        Self { cost, input: tokens.input, output: tokens.output }
    }

    /// Both together.
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            cost: NanoUsd(self.cost.0.saturating_add(other.cost.0)),
            input: self.input.saturating_add(other.input),
            output: self.output.saturating_add(other.output),
        }
    }

    /// Of each the smaller one.
    pub(crate) fn min(self, other: Self) -> Self {
        Self {
            cost: self.cost.min(other.cost),
            input: self.input.min(other.input),
            output: self.output.min(other.output),
        }
    }

    /// What is held of `measure` until the request has ended.
    pub fn held(&self, measure: Measure) -> u64 {
        match measure {
            Measure::Concurrent => 1,
            measure => self.spent(measure),
        }
    }

    /// What stays used of `measure` when it has.
    pub fn spent(&self, measure: Measure) -> u64 {
        match measure {
            Measure::Usd => self.cost.0,
            Measure::Requests => 1,
            Measure::Concurrent => 0,
            Measure::Input => self.input,
            Measure::Output => self.output,
            Measure::Tokens => self.input.saturating_add(self.output),
        }
    }
}

/// Money alone.
impl From<NanoUsd> for Amounts {
    fn from(cost: NanoUsd) -> Self {
        Self { cost, ..Self::default() }
    }
}

impl Measure {
    /// `amount` of it without its unit, as it is told to people.
    pub(crate) fn amount(self, amount: u64) -> String {
        if self == Self::Usd { NanoUsd(amount).to_string() } else { amount.to_string() }
    }

    /// `amount` of it, as it is told to people: `0.5 usd`, `3 requests`.
    pub(crate) fn show(self, amount: u64) -> Shown {
        Shown(self, amount)
    }

    /// The measure that is [called](Self::as_str) so.
    #[cfg(feature = "sqlite")]
    pub(super) fn named(name: &str) -> Option<Self> {
        const ALL: [Measure; 6] = [
            Measure::Usd,
            Measure::Requests,
            Measure::Concurrent,
            Measure::Input,
            Measure::Output,
            Measure::Tokens,
        ];
        ALL.into_iter().find(|measure| measure.as_str() == name)
    }

    /// As it is called in stores.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Usd => "usd",
            Self::Requests => "requests",
            Self::Concurrent => "concurrent",
            Self::Input => "input",
            Self::Output => "output",
            Self::Tokens => "tokens",
        }
    }
}

pub(crate) struct Shown(Measure, u64);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.0 {
            Measure::Usd => return write!(f, "{} usd", NanoUsd(self.1)),
            Measure::Requests => "requests",
            Measure::Concurrent => "requests at a time",
            Measure::Input => "input tokens",
            Measure::Output => "output tokens",
            Measure::Tokens => "tokens",
        };
        write!(f, "{} {unit}", self.1)
    }
}
