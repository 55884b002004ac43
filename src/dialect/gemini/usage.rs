//! Token counts and the class of service, in both directions.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{USAGE, wire::write};
use crate::{
    Tokens,
    dialect::{canonical::Text, json, text::Str},
};

/// Token counts as Gemini writes them, those that are zero left out: the prompt includes what was cached
/// but not what tools of the provider read, the candidates leave thoughts out.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct Usage<'a> {
    prompt_token_count: u64,
    tool_use_prompt_token_count: u64,
    cached_content_token_count: u64,
    candidates_token_count: u64,
    thoughts_token_count: u64,
    total_token_count: u64,
    #[serde(borrow)]
    traffic_type: Option<Str<'a>>,
    #[serde(borrow)]
    service_tier: Option<Str<'a>>,
}

impl Usage<'_> {
    fn tokens(&self) -> Tokens {
        let input = self.prompt_token_count.saturating_add(self.tool_use_prompt_token_count);
        // Some servers count thoughts as part of the candidates; the total tells them apart.
        let is_inclusive = self.total_token_count == input.saturating_add(self.candidates_token_count);
        let thoughts = if is_inclusive { 0 } else { self.thoughts_token_count };
        let output = self.candidates_token_count.saturating_add(thoughts);
        Tokens {
            input,
            cached: self.cached_content_token_count.min(input),
            output,
            reasoning: self.thoughts_token_count.min(output),
            ..Tokens::default()
        }
    }
}

/// The counts of a whole answer or of a chunk; `None` if there are none.
pub(super) fn of(body: &[u8]) -> Option<Tokens> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct WithUsage<'a> {
        #[serde(borrow)]
        usage_metadata: Option<Usage<'a>>,
    }
    let usage = match USAGE.near_the_end::<Option<Usage<'_>>>(body) {
        Some(usage) => usage,
        None => json::parse::<WithUsage<'_>>(body).ok().and_then(|body| body.usage_metadata),
    };
    Some(usage?.tokens()).filter(|tokens| !tokens.is_zero())
}

/// The counts and the class of service, in the words of OpenAI.
pub(super) fn read(raw: &RawValue) -> (Tokens, Option<Text<'_>>) {
    let usage: Usage<'_> = serde_json::from_str(raw.get()).unwrap_or_default();
    let tier = usage.traffic_type.as_deref().and_then(|traffic| match traffic {
        "ON_DEMAND" => Some("default"),
        "ON_DEMAND_PRIORITY" => Some("priority"),
        "ON_DEMAND_FLEX" => Some("flex"),
        "PROVISIONED_THROUGHPUT" => Some("scale"),
        _ => None,
    });
    let said = usage.service_tier.as_deref().and_then(|tier| match tier {
        "standard" => Some("default"),
        "flex" => Some("flex"),
        "priority" => Some("priority"),
        _ => None,
    });
    (usage.tokens(), said.or(tier).map(Text::from))
}

/// The counts for a client.
pub(super) fn write(tokens: &Tokens, service_tier: Option<&str>) -> write::Usage {
    write::Usage {
        prompt_token_count: tokens.input,
        cached_content_token_count: tokens.cached,
        candidates_token_count: tokens.output.saturating_sub(tokens.reasoning),
        thoughts_token_count: tokens.reasoning,
        total_token_count: tokens.total(),
        traffic_type: service_tier.and_then(|tier| match tier {
            "default" => Some("ON_DEMAND"),
            "priority" => Some("ON_DEMAND_PRIORITY"),
            "flex" => Some("ON_DEMAND_FLEX"),
            "scale" => Some("PROVISIONED_THROUGHPUT"),
            _ => None,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(usage: &str) -> Tokens {
        of(format!(r#"{{"usageMetadata":{usage}}}"#).as_bytes()).unwrap()
    }

    #[test]
    fn what_includes_what_is_made_the_same_everywhere() {
        let tokens = counted(
            r#"{"promptTokenCount":2560,"cachedContentTokenCount":2048,"candidatesTokenCount":180,"thoughtsTokenCount":120,"totalTokenCount":2860}"#,
        );
        let tools = counted(
            r#"{"promptTokenCount":10,"toolUsePromptTokenCount":5,"candidatesTokenCount":3,"thoughtsTokenCount":2,"totalTokenCount":20}"#,
        );
        let inclusive = counted(
            r#"{"promptTokenCount":10,"candidatesTokenCount":7,"thoughtsTokenCount":5,"totalTokenCount":17}"#,
        );

        let expected = Tokens { input: 2560, cached: 2048, output: 300, reasoning: 120, ..Tokens::default() };
        assert_eq!(tokens, expected);
        assert_eq!((tools.input, tools.output), (15, 5));
        assert_eq!((inclusive.output, inclusive.reasoning), (7, 5));
    }

    #[test]
    fn no_counts_are_not_zero_counts() {
        assert_eq!(of(br#"{"usageMetadata":{}}"#), None);
        assert_eq!(of(br#"{"candidates":[]}"#), None);
    }

    #[test]
    fn counts_come_out_as_they_went_in() {
        let tokens = Tokens { input: 9, cached: 4, output: 5, reasoning: 3, ..Tokens::default() };

        let json = serde_json::to_string(&write(&tokens, Some("flex"))).unwrap();

        assert_eq!(counted(&json), tokens);
        assert!(json.contains(r#""trafficType":"ON_DEMAND_FLEX""#), "{json}");
    }
}
