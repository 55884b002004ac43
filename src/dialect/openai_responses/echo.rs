//! What a response repeats of its request.

use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;

/// The members of a request that its response repeats, with the documented defaults for those that it hasn't.
///
/// Source: OpenAI's API description, `ModelResponseProperties`, `ResponseProperties` and `Response`. Whether a
/// response is stored is not among them: what is translated is not, whatever the request says.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct Echo<'a> {
    #[serde(borrow)]
    instructions: Option<&'a RawValue>,
    #[serde(borrow)]
    max_output_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    max_tool_calls: Option<&'a RawValue>,
    #[serde(borrow, serialize_with = "or_no_members")]
    metadata: Option<&'a RawValue>,
    #[serde(serialize_with = "or_true")]
    parallel_tool_calls: Option<bool>,
    #[serde(borrow)]
    previous_response_id: Option<&'a RawValue>,
    #[serde(borrow)]
    prompt_cache_key: Option<&'a RawValue>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    prompt_cache_options: Option<&'a RawValue>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    prompt_cache_retention: Option<&'a RawValue>,
    #[serde(borrow, serialize_with = "or_default")]
    reasoning: Option<Reasoning<'a>>,
    #[serde(borrow)]
    safety_identifier: Option<&'a RawValue>,
    #[serde(borrow)]
    temperature: Option<&'a RawValue>,
    #[serde(borrow, serialize_with = "or_default")]
    text: Option<Text<'a>>,
    #[serde(borrow, serialize_with = "or_auto")]
    tool_choice: Option<&'a RawValue>,
    #[serde(borrow, serialize_with = "or_default")]
    tools: Option<Vec<&'a RawValue>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    top_logprobs: Option<&'a RawValue>,
    #[serde(borrow)]
    top_p: Option<&'a RawValue>,
    #[serde(borrow, serialize_with = "or_disabled")]
    truncation: Option<&'a RawValue>,
    #[serde(borrow)]
    user: Option<&'a RawValue>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
struct Reasoning<'a> {
    #[serde(borrow)]
    effort: Option<&'a RawValue>,
    #[serde(borrow)]
    summary: Option<&'a RawValue>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    generate_summary: Option<&'a RawValue>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    context: Option<&'a RawValue>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    mode: Option<&'a RawValue>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
struct Text<'a> {
    #[serde(borrow, serialize_with = "or_plain")]
    format: Option<&'a RawValue>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    verbosity: Option<&'a RawValue>,
}

impl<'a> Echo<'a> {
    /// Reads a request, or an echo that was written; nothing is repeated of what is neither.
    pub(crate) fn of(json: &'a [u8]) -> Self {
        serde_json::from_slice(json).unwrap_or_default()
    }
}

fn or<T: Serialize, D: Serialize, S: Serializer>(
    said: Option<T>,
    default: D,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match said {
        Some(said) => said.serialize(serializer),
        None => default.serialize(serializer),
    }
}

fn or_default<T: Serialize + Default, S: Serializer>(
    said: &Option<T>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    or(said.as_ref(), T::default(), serializer)
}

fn or_true<S: Serializer>(said: &Option<bool>, serializer: S) -> Result<S::Ok, S::Error> {
    said.unwrap_or(true).serialize(serializer)
}

fn or_auto<S: Serializer>(said: &Option<&RawValue>, serializer: S) -> Result<S::Ok, S::Error> {
    or(*said, "auto", serializer)
}

fn or_disabled<S: Serializer>(said: &Option<&RawValue>, serializer: S) -> Result<S::Ok, S::Error> {
    or(*said, "disabled", serializer)
}

fn or_no_members<S: Serializer>(said: &Option<&RawValue>, serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Nothing {}
    or(*said, Nothing {}, serializer)
}

fn or_plain<S: Serializer>(said: &Option<&RawValue>, serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Plain {
        r#type: &'static str,
    }
    or(*said, Plain { r#type: "text" }, serializer)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn echo(request: &Value) -> Value {
        let text = serde_json::to_string(&Echo::of(request.to_string().as_bytes())).unwrap();
        // A stream keeps what was written, and reads it again.
        assert_eq!(serde_json::to_string(&Echo::of(text.as_bytes())).unwrap(), text);
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn what_was_asked_is_repeated_as_it_was_said() {
        let asked = json!({
            "instructions": "be brief", "max_output_tokens": 50, "max_tool_calls": 2, "metadata": {"a": "b"},
            "parallel_tool_calls": false, "previous_response_id": "resp_1", "prompt_cache_key": "k",
            "prompt_cache_options": {"ttl": "12h"}, "prompt_cache_retention": "24h",
            "reasoning": {"effort": "low", "summary": "auto", "mode": "pro"}, "safety_identifier": "s",
            "temperature": 0.5, "text": {"format": {"type": "json_object"}, "verbosity": "low"},
            "tool_choice": {"type": "function", "name": "f"},
            "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}}],
            "top_logprobs": 3, "top_p": 0.9, "truncation": "auto", "user": "u"});
        let mut request = asked.clone();
        request["input"] = "hi".into();
        request["store"] = true.into();

        assert_eq!(echo(&request), asked);
    }

    #[test]
    fn what_was_not_asked_has_its_default() {
        let defaults = json!({
            "instructions": null, "max_output_tokens": null, "max_tool_calls": null, "metadata": {},
            "parallel_tool_calls": true, "previous_response_id": null, "prompt_cache_key": null,
            "reasoning": {"effort": null, "summary": null}, "safety_identifier": null, "temperature": null,
            "text": {"format": {"type": "text"}}, "tool_choice": "auto", "tools": [], "top_p": null,
            "truncation": "disabled", "user": null});

        assert_eq!(echo(&json!({})), defaults);
        assert_eq!(echo(&defaults), defaults);
        let nulls =
            json!({"tools": null, "text": null, "reasoning": null, "metadata": null, "tool_choice": null});
        assert_eq!(echo(&nulls), defaults);
        let verbose = echo(&json!({"text": {"verbosity": "high"}}));
        assert_eq!(verbose["text"], json!({"format": {"type": "text"}, "verbosity": "high"}));
    }
}
