//! Token counts and the class of service, in both directions.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::wire::{read, write};
use crate::{Tokens, dialect::canonical::Text};

/// Merges what a provider counted into `tokens`: what is said replaces what was known.
pub(super) fn merge(raw: &RawValue, tokens: &mut Tokens) {
    if let Ok(usage) = serde_json::from_str::<super::Usage>(raw.get()) {
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
