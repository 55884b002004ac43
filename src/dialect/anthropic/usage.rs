//! Token counts and the class of service, in both directions.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    USAGE,
    wire::{read, write},
};
use crate::{
    Tokens, Units, Work,
    dialect::{
        canonical::Text,
        json::{self, NearTheEnd},
        text::Str,
    },
    price::Tier,
};

/// Usage stands at the top of an answer and of `message_delta`, and in the message of `message_start`.
#[derive(Deserialize)]
struct WithUsage<'a> {
    #[serde(borrow)]
    usage: Option<Usage<'a>>,
    #[serde(borrow)]
    message: Option<Message<'a>>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    usage: Option<Usage<'a>>,
}

impl<'a> WithUsage<'a> {
    fn usage(self) -> Option<Usage<'a>> {
        self.usage.or_else(|| self.message?.usage)
    }
}

/// Token counts as Anthropic writes them: `input_tokens` leaves out what the cache had or took.
#[derive(Debug, Default, Deserialize)]
struct Usage<'a> {
    input_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    cache_creation: Option<CacheCreation>,
    output_tokens: Option<u64>,
    output_tokens_details: Option<OutputDetails>,
    #[serde(borrow)]
    service_tier: Option<Str<'a>>,
    #[serde(borrow)]
    speed: Option<Str<'a>>,
    #[serde(borrow)]
    inference_geo: Option<Str<'a>>,
    server_tool_use: Option<ServerTools>,
}

#[derive(Debug, Deserialize)]
struct ServerTools {
    web_search_requests: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct CacheCreation {
    ephemeral_1h_input_tokens: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct OutputDetails {
    thinking_tokens: Option<u64>,
}

impl Usage<'_> {
    /// What is said replaces what was known; what is not said stays.
    fn merge_into(&self, tokens: &mut Tokens) {
        let fresh = self.input_tokens.unwrap_or(tokens.fresh());
        let hour = self.cache_creation.as_ref().and_then(|cache| cache.ephemeral_1h_input_tokens);
        tokens.cached = self.cache_read_input_tokens.unwrap_or(tokens.cached);
        tokens.cache_write_1h = hour.unwrap_or(tokens.cache_write_1h);
        if let Some(written) = self.cache_creation_input_tokens {
            tokens.cache_write = written.saturating_sub(tokens.cache_write_1h);
        }
        let cached = tokens.cached.saturating_add(tokens.cache_write).saturating_add(tokens.cache_write_1h);
        tokens.input = fresh.saturating_add(cached);
        tokens.output = self.output_tokens.unwrap_or(tokens.output);
        let thinking = self.output_tokens_details.as_ref().and_then(|details| details.thinking_tokens);
        tokens.reasoning = thinking.unwrap_or(tokens.reasoning).min(tokens.output);
    }
}

impl Usage<'_> {
    /// The same for what is counted beside tokens.
    fn merge_units(&self, units: &mut Units) {
        units.tier = match (self.speed.as_deref(), &self.service_tier) {
            (Some("fast"), _) => Tier::Fast,
            (_, None) => units.tier,
            // It may have been said before that it is fast.
            (None, Some(_)) if units.tier == Tier::Fast => Tier::Fast,
            (_, Some(tier)) => Tier::named(tier),
        };
        units.in_us = self.inference_geo.as_ref().map_or(units.in_us, |geo| **geo == *"us");
        let searches = self.server_tool_use.as_ref().and_then(|tools| tools.web_search_requests);
        units.web_searches = searches.unwrap_or(units.web_searches);
    }
}

/// Merges what a provider counted in an answer or an event into `work`; says whether it did.
pub(super) fn merge_of(body: &[u8], work: &mut Work) -> bool {
    let usage = match USAGE.near_the_end::<Usage<'_>>(body) {
        NearTheEnd::Found(usage) => Some(usage),
        NearTheEnd::Nothing => None,
        NearTheEnd::Unclear => json::parse::<WithUsage<'_>>(body).ok().and_then(WithUsage::usage),
    };
    if let Some(usage) = &usage {
        usage.merge_into(&mut work.tokens);
        usage.merge_units(&mut work.units);
    }
    usage.is_some()
}

/// Merges what a provider counted into `tokens`: what is said replaces what was known.
pub(super) fn merge(raw: &RawValue, tokens: &mut Tokens) {
    if let Ok(usage) = serde_json::from_str::<Usage<'_>>(raw.get()) {
        usage.merge_into(tokens);
    }
}

/// The class of service in the words of OpenAI.
pub(super) fn service_tier(raw: &RawValue) -> Option<Text<'_>> {
    let tier = serde_json::from_str::<read::Tier<'_>>(raw.get()).ok()?.service_tier?;
    Some(match &*tier {
        "standard" => Cow::Borrowed("default"),
        _ => tier.into(),
    })
}

/// The counts for a client.
pub(super) fn write<'a>(tokens: &Tokens, service_tier: Option<&'a str>) -> write::Usage<'a> {
    let written = tokens.cache_write.saturating_add(tokens.cache_write_1h);
    let details = write::OutputDetails { thinking_tokens: tokens.reasoning };
    write::Usage {
        input_tokens: tokens.fresh(),
        cache_creation_input_tokens: written,
        cache_read_input_tokens: tokens.cached,
        cache_creation: write::CacheCreation {
            ephemeral_5m_input_tokens: tokens.cache_write,
            ephemeral_1h_input_tokens: tokens.cache_write_1h,
        },
        output_tokens: tokens.output,
        output_tokens_details: (tokens.reasoning > 0).then_some(details),
        // There is no other class that a client knows.
        service_tier: service_tier.and_then(|tier| match tier {
            "default" => Some("standard"),
            "priority" => Some("priority"),
            "batch" => Some("batch"),
            _ => None,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_at_the_beginning_stays_and_what_tools_have_used_comes_to_it() {
        let mut work = Work::default();

        merge_of(
            br#"{"message":{"usage":{"input_tokens":5,"output_tokens":1,"service_tier":"priority","inference_geo":"us"}}}"#,
            &mut work,
        );
        merge_of(br#"{"usage":{"output_tokens":9,"server_tool_use":{"web_search_requests":3}}}"#, &mut work);

        assert_eq!((work.tokens.input, work.tokens.output), (5, 9));
        assert_eq!((work.units.tier, work.units.in_us, work.units.web_searches), (Tier::Priority, true, 3));
    }

    #[test]
    fn what_was_fast_is_charged_so() {
        for usage in
            [r#"{"service_tier":"standard","speed":"fast"}"#, r#"{"speed":"fast","service_tier":null}"#]
        {
            let mut work = Work::default();
            merge_of(format!(r#"{{"usage":{usage}}}"#).as_bytes(), &mut work);
            merge_of(br#"{"usage":{"output_tokens":1,"service_tier":"standard"}}"#, &mut work);
            assert_eq!(work.units.tier, Tier::Fast, "{usage}");
        }
        let mut work = Work::default();
        merge_of(br#"{"usage":{"service_tier":"standard","speed":"standard"}}"#, &mut work);
        assert_eq!(work.units.tier, Tier::Standard);
    }
}
