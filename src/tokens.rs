//! [`Tokens`]: how much a model read and wrote.

use std::ops::{Add, AddAssign};

/// Token counts of one attempt, meaning the same for every provider.
///
/// Providers count differently (Anthropic leaves cached tokens out of `input_tokens`, Gemini leaves
/// thoughts out of `candidatesTokenCount`); a dialect converts to this when it reads, and back when
/// it writes. `cached` and the two cache writes are parts of `input`, `reasoning` is a part of `output`. Sound is
/// counted here for those who want to know; its price goes by what is in [`Units`](crate::Units).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Tokens {
    /// All tokens of the prompt, cached ones included.
    pub input: u64,
    /// The part of `input` that was read from the provider's cache.
    pub cached: u64,
    /// The part of `input` that was written to the provider's cache for its default time.
    pub cache_write: u64,
    /// The part of `input` that was written to the provider's cache for one hour, or for twelve where
    /// that is the choice.
    pub cache_write_1h: u64,
    /// All tokens of the answer, reasoning included.
    pub output: u64,
    /// The part of `output` that was spent on reasoning.
    pub reasoning: u64,
    /// The part of `input` that is sound, as far as the provider tells it apart.
    #[serde(skip_serializing_if = "is_zero")]
    pub audio_input: u64,
    /// The part of `output` that is sound, likewise.
    #[serde(skip_serializing_if = "is_zero")]
    pub audio_output: u64,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Tokens {
    /// The part of the input that touched no cache.
    pub fn fresh(&self) -> u64 {
        self.input
            .saturating_sub(self.cached)
            .saturating_sub(self.cache_write)
            .saturating_sub(self.cache_write_1h)
    }

    /// Input and output together.
    pub fn total(&self) -> u64 {
        self.input.saturating_add(self.output)
    }

    /// Whether nothing was counted.
    pub fn is_zero(&self) -> bool {
        *self == Self::default()
    }
}

impl Add for Tokens {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            input: self.input.saturating_add(other.input),
            cached: self.cached.saturating_add(other.cached),
            cache_write: self.cache_write.saturating_add(other.cache_write),
            cache_write_1h: self.cache_write_1h.saturating_add(other.cache_write_1h),
            output: self.output.saturating_add(other.output),
            reasoning: self.reasoning.saturating_add(other.reasoning),
            audio_input: self.audio_input.saturating_add(other.audio_input),
            audio_output: self.audio_output.saturating_add(other.audio_output),
        }
    }
}

impl AddAssign for Tokens {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}
