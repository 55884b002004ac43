use std::ops::Add;

use serde::Serialize;

use super::NanoUsd;

/// What a cost is made of. As JSON, what is nothing is left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Costs {
    /// Input that touched no cache.
    #[serde(skip_serializing_if = "is_nothing")]
    pub input: NanoUsd,
    /// Input read from the provider's cache.
    #[serde(skip_serializing_if = "is_nothing")]
    pub cached: NanoUsd,
    /// Input written to the provider's cache.
    #[serde(skip_serializing_if = "is_nothing")]
    pub cache_write: NanoUsd,
    /// Output, without reasoning.
    #[serde(skip_serializing_if = "is_nothing")]
    pub output: NanoUsd,
    /// Reasoning.
    #[serde(skip_serializing_if = "is_nothing")]
    pub reasoning: NanoUsd,
    /// All else, such as images and searches, what the provider says without saying for what, and what rounding adds.
    #[serde(skip_serializing_if = "is_nothing")]
    pub other: NanoUsd,
}

impl Costs {
    /// All together.
    pub fn sum(&self) -> NanoUsd {
        let Self { input, cached, cache_write, output, reasoning, other } = *self;
        [input, cached, cache_write, output, reasoning, other].into_iter().sum()
    }
}

impl Add for Costs {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            input: self.input + other.input,
            cached: self.cached + other.cached,
            cache_write: self.cache_write + other.cache_write,
            output: self.output + other.output,
            reasoning: self.reasoning + other.reasoning,
            other: self.other + other.other,
        }
    }
}

fn is_nothing(cost: &NanoUsd) -> bool {
    *cost == NanoUsd(0)
}
