//! Token counts.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{Tokens, Work, dialect::json, price::Tier};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WithUsage {
    usage: Option<Usage>,
    service_tier: Option<ServiceTier>,
}

#[derive(Deserialize)]
struct ServiceTier {
    r#type: Option<String>,
}

/// Token counts as Bedrock writes them: `inputTokens` leaves out what the cache had or took.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Usage {
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    cache_write_input_tokens: Option<u64>,
    cache_details: Option<Vec<CacheDetail>>,
}

/// What was written to the cache, by how long it is kept.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct CacheDetail {
    ttl: Option<String>,
    input_tokens: Option<u64>,
}

impl Usage {
    /// What is said replaces what was known; what is not said stays.
    fn merge_into(&self, tokens: &mut Tokens) {
        let fresh = self.input_tokens.unwrap_or(tokens.fresh());
        tokens.cached = self.cache_read_input_tokens.unwrap_or(tokens.cached);
        if let Some(details) = &self.cache_details {
            let hour = details.iter().filter(|detail| detail.ttl.as_deref() == Some("1h"));
            let counts = hour.map(|detail| detail.input_tokens.unwrap_or_default());
            tokens.cache_write_1h = counts.fold(0, u64::saturating_add);
        }
        if let Some(written) = self.cache_write_input_tokens {
            tokens.cache_write_1h = tokens.cache_write_1h.min(written);
            tokens.cache_write = written - tokens.cache_write_1h;
        }
        let cached = tokens.cached.saturating_add(tokens.cache_write).saturating_add(tokens.cache_write_1h);
        tokens.input = fresh.saturating_add(cached);
        tokens.output = self.output_tokens.unwrap_or(tokens.output);
    }
}

/// Merges what was counted in an answer or an event into `work`; says whether there was anything.
pub(super) fn merge_of(body: &[u8], work: &mut Work) -> bool {
    let Ok(WithUsage { usage: Some(usage), service_tier }) = json::parse::<WithUsage>(body) else {
        return false;
    };
    usage.merge_into(&mut work.tokens);
    if let Some(tier) = service_tier.and_then(|tier| tier.r#type) {
        work.units.tier = Tier::named(&tier);
    }
    true
}

/// Merges what was counted into `tokens`.
pub(super) fn merge(raw: &RawValue, tokens: &mut Tokens) {
    if let Ok(usage) = serde_json::from_str::<Usage>(raw.get()) {
        usage.merge_into(tokens);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(usage: &str) -> Tokens {
        let mut work = Work::default();
        assert!(merge_of(format!("{{\"usage\":{usage}}}").as_bytes(), &mut work));
        work.tokens
    }

    /// §8 of the translation
    #[test]
    fn what_the_cache_had_and_took_is_added_to_the_input() {
        let tokens = read(
            r#"{"inputTokens":100,"outputTokens":300,"totalTokens":2860,"cacheReadInputTokens":2048,
                "cacheWriteInputTokens":412,"cacheDetails":[{"ttl":"5m","inputTokens":400},{"ttl":"1h","inputTokens":12}]}"#,
        );

        assert_eq!((tokens.input, tokens.fresh(), tokens.output), (2560, 100, 300));
        assert_eq!((tokens.cached, tokens.cache_write, tokens.cache_write_1h), (2048, 400, 12));
    }

    #[test]
    fn a_cache_without_details_is_one_of_five_minutes() {
        let tokens =
            read(r#"{"inputTokens":16,"outputTokens":9,"totalTokens":2412,"cacheWriteInputTokens":2387}"#);

        assert_eq!((tokens.input, tokens.cache_write, tokens.cache_write_1h), (2403, 2387, 0));
    }

    #[test]
    fn numbers_that_cannot_be_right_do_no_harm() {
        let tokens = read(&format!(
            r#"{{"inputTokens":{0},"cacheReadInputTokens":{0},"cacheWriteInputTokens":3,"cacheDetails":[{{"ttl":"1h","inputTokens":{0}}},{{"ttl":"1h","inputTokens":{0}}}]}}"#,
            u64::MAX
        ));

        assert_eq!((tokens.input, tokens.cache_write, tokens.cache_write_1h), (u64::MAX, 0, 3));
        assert!(!merge_of(b"{}", &mut Work::default()) && !merge_of(b"nonsense", &mut Work::default()));
    }
}
