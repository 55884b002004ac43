//! Token counts, as OpenAI writes them in responses: all details are parts of the totals.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    Tokens, Units, Work,
    dialect::{json, text::Str},
};

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

/// Reads all that a whole answer or an event says was used, but for the class of service; `None` if it says
/// nothing.
pub(crate) fn of(json: &[u8]) -> Option<Work> {
    #[derive(Deserialize)]
    struct WithUsage<'a> {
        #[serde(borrow)]
        usage: Option<&'a RawValue>,
        #[serde(borrow)]
        output: Option<&'a RawValue>,
        #[serde(borrow)]
        response: Option<Inner<'a>>,
    }
    #[derive(Deserialize)]
    struct Inner<'a> {
        #[serde(borrow)]
        usage: Option<&'a RawValue>,
        #[serde(borrow)]
        output: Option<&'a RawValue>,
    }
    let WithUsage { usage, output, response } = json::parse(json).ok()?;
    let Inner { usage, output } = if usage.is_some() { Inner { usage, output } } else { response? };
    let tokens = read(usage?)?;
    let (web_searches, code_sessions) = output.map(tools).unwrap_or_default();
    let units = Units { web_searches, code_sessions, ..Units::default() };
    Some(Work { tokens, units })
}

/// How often the web was searched, and in how many containers code was run.
fn tools(output: &RawValue) -> (u64, u64) {
    #[derive(Deserialize)]
    struct Item<'a> {
        #[serde(borrow)]
        r#type: Option<Str<'a>>,
        #[serde(borrow)]
        action: Option<&'a RawValue>,
        #[serde(borrow)]
        container_id: Option<Str<'a>>,
    }
    #[derive(Deserialize)]
    struct Action<'a> {
        #[serde(borrow)]
        r#type: Option<Str<'a>>,
    }
    let items: Vec<Item<'_>> = serde_json::from_str(output.get()).unwrap_or_default();
    let called = |name: &'static str| items.iter().filter(move |item| item.r#type.as_deref() == Some(name));
    // Opening a page that was found and looking for something in it are no searches.
    let is_search = |item: &&Item<'_>| {
        let action = item.action.and_then(|action| serde_json::from_str::<Action<'_>>(action.get()).ok());
        action.and_then(|action| action.r#type).is_none_or(|kind| *kind == *"search")
    };
    let containers: HashSet<_> =
        called("code_interpreter_call").map(|item| item.container_id.as_deref()).collect();
    (called("web_search_call").filter(is_search).count() as u64, containers.len() as u64)
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
        ..Tokens::default()
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
    fn searches_and_containers_are_counted_once() {
        let answer = r#"{"type":"response.completed","response":{"service_tier":"priority","output":[
            {"type":"web_search_call","id":"ws_1","action":{"type":"search","query":"a"}},
            {"type":"web_search_call","id":"ws_2","action":{"type":"open_page","url":"https://a.example"}},
            {"type":"web_search_call","id":"ws_3"},
            {"type":"code_interpreter_call","container_id":"cntr_1"},
            {"type":"code_interpreter_call","container_id":"cntr_1"},
            {"type":"message","content":[]}],
            "usage":{"input_tokens":3,"output_tokens":4}}}"#;

        let work = of(answer.as_bytes()).unwrap();

        assert_eq!((work.tokens.input, work.tokens.output), (3, 4));
        assert_eq!((work.units.web_searches, work.units.code_sessions), (2, 1));
    }

    #[test]
    fn servers_that_leave_details_out_are_read() {
        let tokens = read(serde_json::from_str(r#"{"input_tokens":3,"input_tokens_details":null}"#).unwrap());

        assert_eq!(tokens, Some(Tokens { input: 3, ..Tokens::default() }));
        assert_eq!(read(serde_json::from_str("[]").unwrap()), None);
    }
}
