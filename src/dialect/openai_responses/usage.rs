//! Token counts, as OpenAI writes them in responses: all details are parts of the totals.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{Tokens, dialect::json};

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct Usage {
    input_tokens: u64,
    input_tokens_details: Option<InputDetails>,
    output_tokens: u64,
    output_tokens_details: Option<OutputDetails>,
    total_tokens: u64,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
struct InputDetails {
    cached_tokens: u64,
    cache_write_tokens: u64,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
struct OutputDetails {
    reasoning_tokens: u64,
}

/// Reads the counts of a whole answer or of an event; `None` if there are none.
pub(crate) fn of(json: &[u8]) -> Option<Tokens> {
    #[derive(Deserialize)]
    struct WithUsage<'a> {
        #[serde(borrow)]
        usage: Option<&'a RawValue>,
        #[serde(borrow)]
        response: Option<Inner<'a>>,
    }
    #[derive(Deserialize)]
    struct Inner<'a> {
        #[serde(borrow)]
        usage: Option<&'a RawValue>,
    }

    let WithUsage { usage, response } = json::parse(json).ok()?;
    read(usage.or_else(|| response?.usage)?)
}

/// Reads a `usage` member; `None` if there are no counts in it.
pub(crate) fn read(raw: &RawValue) -> Option<Tokens> {
    // A derived struct would also be read from an array.
    let object = Some(raw.get()).filter(|text| text.starts_with('{'))?;
    let usage: Usage = serde_json::from_str(object).ok()?;
    let details = usage.input_tokens_details.unwrap_or_default();
    let reasoning = usage.output_tokens_details.unwrap_or_default().reasoning_tokens;
    let (input, output) = (usage.input_tokens, usage.output_tokens);
    Some(Tokens {
        input,
        cached: details.cached_tokens.min(input),
        cache_write: details.cache_write_tokens.min(input),
        cache_write_1h: 0,
        output,
        reasoning: reasoning.min(output),
    })
}

impl From<&Tokens> for Usage {
    fn from(tokens: &Tokens) -> Self {
        Self {
            input_tokens: tokens.input,
            input_tokens_details: Some(InputDetails {
                cached_tokens: tokens.cached,
                cache_write_tokens: tokens.cache_write.saturating_add(tokens.cache_write_1h),
            }),
            output_tokens: tokens.output,
            output_tokens_details: Some(OutputDetails { reasoning_tokens: tokens.reasoning }),
            total_tokens: tokens.total(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_come_out_as_they_went_in() {
        let json = r#"{"input_tokens":2560,"input_tokens_details":{"cached_tokens":2048,"cache_write_tokens":412},"output_tokens":300,"output_tokens_details":{"reasoning_tokens":120},"total_tokens":2860}"#;

        let tokens = read(serde_json::from_str(json).unwrap()).unwrap();

        assert_eq!(tokens.fresh(), 100);
        assert_eq!(serde_json::to_string(&Usage::from(&tokens)).unwrap(), json);
    }

    #[test]
    fn servers_that_leave_details_out_are_read() {
        let tokens = read(serde_json::from_str(r#"{"input_tokens":3,"input_tokens_details":null}"#).unwrap());

        assert_eq!(tokens, Some(Tokens { input: 3, ..Tokens::default() }));
        assert_eq!(read(serde_json::from_str("[]").unwrap()), None);
    }
}
