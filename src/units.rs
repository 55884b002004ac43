//! [`Units`]: what a request uses beside tokens, and [`Work`], which is both.

use std::{ops::Add, time::Duration};

use serde::{Serialize, Serializer};

use crate::{Tokens, price::Tier};

/// What a request uses beside text: images, sound, film, and what else providers have prices for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Units {
    /// The part of the [input tokens](Tokens::input) that is images or sound, where that has a price of
    /// its own.
    pub media_input: u64,
    /// The part of `media_input` that was read from the provider's cache.
    pub media_cached: u64,
    /// The part of the [output tokens](Tokens::output) that is images or sound.
    pub media_output: u64,
    /// Images that are made, or, for film, that it is made of.
    pub images: u64,
    /// What a reranker counts as one search.
    pub searches: u64,
    /// Searches of the web that a model has made.
    pub web_searches: u64,
    /// Searches of maps that a model has made.
    pub map_searches: u64,
    /// Containers that a model has run code in.
    pub code_sessions: u64,
    /// Characters of a text that is read aloud.
    pub characters: u64,
    /// Sound that is listened to.
    #[serde(rename = "audio_ms", serialize_with = "as_milliseconds")]
    pub audio: Duration,
    /// Film that is made.
    #[serde(rename = "video_ms", serialize_with = "as_milliseconds")]
    pub video: Duration,
    /// How many lines the film's picture has, by its shorter side; 0 if that is not known.
    pub lines: u32,
    /// In which class of service it was done.
    #[serde(skip_serializing_if = "Tier::is_standard")]
    pub tier: Tier,
    /// Whether it was bound to stay in the United States, where that has a price.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub in_us: bool,
}

impl Units {
    /// Whether nothing was counted.
    pub fn is_zero(&self) -> bool {
        *self == Self::default()
    }

    /// Whether nothing was used but tokens.
    pub(crate) fn is_tokens_only(&self) -> bool {
        let counted = self.images | self.searches | self.web_searches | self.map_searches;
        counted | self.code_sessions | self.characters == 0 && self.audio.is_zero() && self.video.is_zero()
    }
}

impl Add for Units {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            media_input: self.media_input.saturating_add(other.media_input),
            media_cached: self.media_cached.saturating_add(other.media_cached),
            media_output: self.media_output.saturating_add(other.media_output),
            images: self.images.saturating_add(other.images),
            searches: self.searches.saturating_add(other.searches),
            web_searches: self.web_searches.saturating_add(other.web_searches),
            map_searches: self.map_searches.saturating_add(other.map_searches),
            code_sessions: self.code_sessions.saturating_add(other.code_sessions),
            characters: self.characters.saturating_add(other.characters),
            audio: self.audio.saturating_add(other.audio),
            video: self.video.saturating_add(other.video),
            lines: self.lines.max(other.lines),
            tier: self.tier.max(other.tier),
            in_us: self.in_us || other.in_us,
        }
    }
}

/// All that a request uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Tokens of all kinds.
    pub tokens: Tokens,
    /// Everything else.
    pub units: Units,
}

impl Work {
    /// Puts what was counted, if anything was, in the place of what was known, but for the class of service; says
    /// whether it was.
    pub(crate) fn count(&mut self, counted: Option<Self>) -> bool {
        if let Some(Self { tokens, units }) = counted {
            *self = Self { tokens, units: Units { tier: self.units.tier, ..units } };
        }
        counted.is_some()
    }

    /// Without all that is made: what may be charged for a request whose answer nobody saw.
    pub(crate) fn unanswered(self) -> Self {
        let Self { tokens, units } = self;
        Self {
            tokens: Tokens { output: 0, reasoning: 0, audio_output: 0, ..tokens },
            units: Units { media_output: 0, images: 0, video: Duration::ZERO, code_sessions: 0, ..units },
        }
    }
}

impl From<Tokens> for Work {
    fn from(tokens: Tokens) -> Self {
        Self { tokens, units: Units::default() }
    }
}

fn as_milliseconds<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}
