//! Token counts, as OpenAI and the servers that speak like it write them.

use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{USAGE, wire::Groq};
use crate::{
    Tokens, Units, Work,
    dialect::json::{self, NearTheEnd},
};

/// The counts of one answer; all details are parts of the totals.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Usage {
    prompt_tokens: Count,
    completion_tokens: Count,
    total_tokens: Count,
    prompt_tokens_details: Option<PromptDetails>,
    completion_tokens_details: Option<CompletionDetails>,
    /// Mistral's spelling, beside the usual one or in its place.
    prompt_token_details: Option<PromptDetails>,
    /// DeepSeek's name for what its cache had.
    prompt_cache_hit_tokens: Count,
    /// Mistral's name for it.
    num_cached_tokens: Count,
    /// The name of Together and Moonshot for it.
    cached_tokens: Count,
    /// Perplexity's searches of the web.
    num_search_queries: Count,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PromptDetails {
    cached_tokens: Count,
    cache_write_tokens: Count,
    /// DashScope's name for what was written.
    cache_creation_input_tokens: Count,
    audio_tokens: Count,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct CompletionDetails {
    reasoning_tokens: Count,
    audio_tokens: Count,
    /// OpenRouter's count of what was drawn.
    image_tokens: Count,
}

impl Usage {
    /// What is counted beside text.
    fn units(&self) -> Units {
        let prompt = self.prompt_tokens_details.as_ref();
        let completion = self.completion_tokens_details.as_ref();
        Units {
            media_input: prompt.map_or(0, |details| details.audio_tokens.0),
            media_output: completion
                .map_or(0, |details| details.audio_tokens.0.saturating_add(details.image_tokens.0)),
            web_searches: self.num_search_queries.0,
            ..Units::default()
        }
    }

    fn tokens(&self) -> Tokens {
        let prompt = self.prompt_tokens_details.as_ref();
        let input = self.prompt_tokens.0;
        let reasoning = self.completion_tokens_details.as_ref().map_or(0, |d| d.reasoning_tokens.0);
        let mut output = self.completion_tokens.0;
        // xAI leaves reasoning out of the completion but not out of the total.
        if reasoning > 0 && self.total_tokens.0 == input.saturating_add(output).saturating_add(reasoning) {
            output = output.saturating_add(reasoning);
        }
        let cached = [
            prompt.map_or(0, |d| d.cached_tokens.0),
            self.prompt_token_details.as_ref().map_or(0, |d| d.cached_tokens.0),
            self.prompt_cache_hit_tokens.0,
            self.num_cached_tokens.0,
            self.cached_tokens.0,
        ];
        let spoken = self.completion_tokens_details.as_ref().map_or(0, |d| d.audio_tokens.0);
        let written = prompt.map_or(0, |d| d.cache_write_tokens.0.max(d.cache_creation_input_tokens.0));
        Tokens {
            input,
            cached: cached.into_iter().max().unwrap_or(0).min(input),
            cache_write: written.min(input),
            cache_write_1h: 0,
            output,
            reasoning: reasoning.min(output),
            audio_input: prompt.map_or(0, |d| d.audio_tokens.0).min(input),
            audio_output: spoken.min(output),
        }
    }
}

/// A count; anything that is not one counts as none, because no answer is worth losing over it.
#[derive(Clone, Copy, Debug, Default)]
struct Count(u64);

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Lenient;

        impl<'de> Visitor<'de> for Lenient {
            type Value = Count;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a count")
            }

            fn visit_u64<E>(self, count: u64) -> Result<Count, E> {
                Ok(Count(count))
            }

            fn visit_i64<E>(self, count: i64) -> Result<Count, E> {
                Ok(Count(count.try_into().unwrap_or(0)))
            }

            fn visit_f64<E>(self, count: f64) -> Result<Count, E> {
                // Casts of floats saturate.
                Ok(Count(count as u64))
            }

            fn visit_bool<E>(self, _: bool) -> Result<Count, E> {
                Ok(Count(0))
            }

            fn visit_str<E>(self, _: &str) -> Result<Count, E> {
                Ok(Count(0))
            }

            fn visit_unit<E>(self) -> Result<Count, E> {
                Ok(Count(0))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Count, A::Error> {
                while items.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Count(0))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Count, A::Error> {
                while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Count(0))
            }
        }

        deserializer.deserialize_any(Lenient)
    }
}

/// Reads all that a whole answer or an event says was used, but for the class of service; `None` if it says
/// nothing.
pub(crate) fn of(json: &[u8]) -> Option<Work> {
    let usage = match USAGE.near_the_end::<Usage>(json) {
        NearTheEnd::Found(usage) => usage,
        NearTheEnd::Nothing => return None,
        NearTheEnd::Unclear => search(json)?,
    };
    Some(Work { tokens: usage.tokens(), units: usage.units() })
}

/// Reads the counts from wherever they may stand.
fn search(json: &[u8]) -> Option<Usage> {
    #[derive(Deserialize)]
    struct WithUsage<'a> {
        #[serde(borrow)]
        usage: Option<&'a RawValue>,
        #[serde(borrow)]
        x_groq: Option<Groq<'a>>,
    }

    let WithUsage { usage, x_groq } = json::parse(json).ok()?;
    match usage.or_else(|| x_groq?.usage) {
        Some(usage) => parse(usage),
        None => in_a_choice(json),
    }
}

/// Moonshot has the counts in the last choice.
fn in_a_choice(json: &[u8]) -> Option<Usage> {
    #[derive(Deserialize)]
    struct WithChoices<'a> {
        #[serde(borrow)]
        choices: Vec<WithUsage<'a>>,
    }
    #[derive(Deserialize)]
    struct WithUsage<'a> {
        #[serde(borrow)]
        usage: Option<&'a RawValue>,
    }

    let WithChoices { choices } = json::parse(json).ok()?;
    parse(choices.iter().find_map(|choice| choice.usage)?)
}

/// Reads a `usage` member; `None` if there are no counts in it.
pub(crate) fn read(raw: &RawValue) -> Option<Tokens> {
    parse(raw).map(|usage| usage.tokens())
}

fn parse(raw: &RawValue) -> Option<Usage> {
    // A derived struct would also be read from an array.
    let object = Some(raw.get()).filter(|text| text.starts_with('{'))?;
    serde_json::from_str(object).ok()
}

/// The `usage` member for a client.
#[derive(Debug, Serialize)]
pub(crate) struct Rendered {
    prompt_tokens: u64,
    completion_tokens: u64,
    total_tokens: u64,
    prompt_tokens_details: RenderedPrompt,
    completion_tokens_details: RenderedCompletion,
}

#[derive(Debug, Serialize)]
struct RenderedPrompt {
    cached_tokens: u64,
    cache_write_tokens: u64,
    #[serde(skip_serializing_if = "is_zero")]
    audio_tokens: u64,
}

#[derive(Debug, Serialize)]
struct RenderedCompletion {
    reasoning_tokens: u64,
    #[serde(skip_serializing_if = "is_zero")]
    audio_tokens: u64,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl From<&Tokens> for Rendered {
    fn from(tokens: &Tokens) -> Self {
        Self {
            prompt_tokens: tokens.input,
            completion_tokens: tokens.output,
            total_tokens: tokens.total(),
            prompt_tokens_details: RenderedPrompt {
                cached_tokens: tokens.cached,
                cache_write_tokens: tokens.cache_write.saturating_add(tokens.cache_write_1h),
                audio_tokens: tokens.audio_input,
            },
            completion_tokens_details: RenderedCompletion {
                reasoning_tokens: tokens.reasoning,
                audio_tokens: tokens.audio_output,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(json: &str) -> Tokens {
        read(serde_json::from_str(json).unwrap()).unwrap()
    }

    #[test]
    fn details_are_parts_of_the_totals() {
        let openai = tokens(
            r#"{"prompt_tokens":2560,"completion_tokens":300,"total_tokens":2860,
            "prompt_tokens_details":{"cached_tokens":2048,"cache_write_tokens":412},
            "completion_tokens_details":{"reasoning_tokens":120}}"#,
        );

        let expected = Tokens {
            input: 2560,
            cached: 2048,
            cache_write: 412,
            output: 300,
            reasoning: 120,
            ..Tokens::default()
        };
        assert_eq!(openai, expected);
        assert_eq!(openai.fresh(), 100);
    }

    #[test]
    fn deviations_of_providers_are_read() {
        let xai = tokens(
            r#"{"prompt_tokens":10,"completion_tokens":5,"total_tokens":22,"completion_tokens_details":{"reasoning_tokens":7}}"#,
        );
        let deepseek = tokens(r#"{"prompt_tokens":10,"completion_tokens":5,"prompt_cache_hit_tokens":8}"#);
        let odd = tokens(r#"{"prompt_tokens":1.0,"completion_tokens":null,"total_tokens":"?","x":[1]}"#);

        assert_eq!((xai.output, xai.reasoning), (12, 7));
        let mistral = tokens(r#"{"prompt_tokens":10,"prompt_token_details":{"cached_tokens":6}}"#);
        assert_eq!((deepseek.cached, mistral.cached), (8, 6));
        assert_eq!((odd.input, odd.output), (1, 0));
    }

    #[test]
    fn counts_in_a_choice_are_found() {
        let counted = r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop","usage":{"prompt_tokens":7,"completion_tokens":3}}]}"#;

        let work = of(counted.as_bytes()).unwrap();

        assert_eq!((work.tokens.input, work.tokens.output), (7, 3));
    }

    #[test]
    fn no_counts_are_not_zero_counts() {
        assert!(read(serde_json::from_str("null").unwrap()).is_none());
        assert!(read(serde_json::from_str("[]").unwrap()).is_none());
    }

    #[test]
    fn counts_come_out_as_they_went_in() {
        let tokens = Tokens {
            input: 9,
            cached: 4,
            cache_write: 1,
            cache_write_1h: 2,
            output: 5,
            reasoning: 3,
            audio_input: 6,
            audio_output: 2,
        };

        let json = serde_json::to_string(&Rendered::from(&tokens)).unwrap();

        assert_eq!(
            json,
            r#"{"prompt_tokens":9,"completion_tokens":5,"total_tokens":14,"prompt_tokens_details":{"cached_tokens":4,"cache_write_tokens":3,"audio_tokens":6},"completion_tokens_details":{"reasoning_tokens":3,"audio_tokens":2}}"#
        );
    }
}
