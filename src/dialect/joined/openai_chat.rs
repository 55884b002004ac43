use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Join,
    merge::{Object, member, merge, replace, size},
    read, written,
};
use crate::{
    Error,
    dialect::buffer::{MAX_CHOICES, too_many},
};

/// The chunks of a chat completion.
#[derive(Default)]
pub(super) struct Chat {
    whole: Object,
    choices: BTreeMap<u64, Choice>,
}

#[derive(Default)]
struct Choice {
    members: Object,
    message: Object,
}

#[derive(Deserialize)]
struct Chunk {
    #[serde(default)]
    choices: Option<Vec<Piece>>,
    #[serde(flatten)]
    rest: Object,
}

#[derive(Deserialize)]
struct Piece {
    #[serde(default)]
    index: u64,
    #[serde(default)]
    delta: Option<Object>,
    #[serde(flatten)]
    rest: Object,
}

impl Join for Chat {
    fn event(&mut self, _: &[u8], data: &[u8]) -> Result<usize, Error> {
        let mut chunk: Chunk = read(data)?;
        // Padding against eavesdroppers.
        chunk.rest.remove("obfuscation");
        let mut grown = chunk
            .rest
            .iter()
            .filter(|(name, _)| !self.whole.contains_key(*name))
            .map(|(_, value)| size(value))
            .sum();
        replace(&mut self.whole, chunk.rest);
        for piece in chunk.choices.into_iter().flatten() {
            if !self.choices.contains_key(&piece.index) && self.choices.len() >= MAX_CHOICES {
                return Err(too_many("choices"));
            }
            let choice = self.choices.entry(piece.index).or_default();
            grown += merge(&mut choice.message, piece.delta.unwrap_or_default());
            for (name, value) in piece.rest {
                grown += member(&mut choice.members, name, value);
            }
        }
        Ok(grown)
    }

    fn finish(mut self: Box<Self>) -> Result<Vec<u8>, Error> {
        let choices = std::mem::take(&mut self.choices);
        let choices = choices.into_iter().map(|(index, choice)| choice.finish(index)).collect();
        self.whole.insert("object".into(), "chat.completion".into());
        self.whole.insert("choices".into(), choices);
        written(&self.whole)
    }
}

impl Choice {
    fn finish(self, index: u64) -> Value {
        let Self { mut members, mut message } = self;
        message.entry("role").or_insert_with(|| "assistant".into());
        message.entry("content").or_insert(Value::Null);
        for call in message.get_mut("tool_calls").and_then(Value::as_array_mut).into_iter().flatten() {
            if let Some(call) = call.as_object_mut() {
                call.remove("index");
            }
        }
        let calls = message.contains_key("tool_calls") || message.contains_key("function_call");
        // A call without a text has none, and not an empty one.
        if calls && message.get("content") == Some(&json!("")) {
            message.insert("content".into(), Value::Null);
        }
        members.entry("finish_reason").or_insert(Value::Null);
        members.insert("index".into(), index.into());
        members.insert("message".into(), message.into());
        members.into()
    }
}

#[cfg(test)]
mod tests {
    use super::super::joined;
    use crate::dialect::OPENAI_CHAT;
    use serde_json::json;

    #[test]
    fn everything_that_chunks_say_is_in_the_answer() {
        let answer = joined(
            &OPENAI_CHAT,
            &[
                r#"{"id":"c","object":"chat.completion.chunk","created":7,"model":"m","service_tier":"default","system_fingerprint":"fp","obfuscation":"x","choices":[{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}],"usage":null}"#,
                r#"{"id":"c","choices":[{"index":1,"delta":{"content":"b","reasoning_content":"hm"}},{"index":0,"delta":{"content":"He"},"logprobs":{"content":[{"token":"He"}],"refusal":null}}]}"#,
                r#"{"id":"c","choices":[{"index":0,"delta":{"content":"llo","annotations":[{"type":"url_citation"}],"images":[{"index":0,"image_url":{"url":"data:"}}]},"logprobs":{"content":[{"token":"llo"}]}}]}"#,
                r#"{"id":"c","choices":[{"index":0,"delta":{"audio":{"id":"a","data":"QUJD","transcript":"a"}}}]}"#,
                r#"{"id":"c","choices":[{"index":0,"delta":{"audio":{"data":"REVG","transcript":"b","expires_at":9}}}]}"#,
                r#"{"id":"c","choices":[{"index":1,"delta":{},"finish_reason":"length"},{"index":0,"delta":{},"finish_reason":"stop"}]}"#,
                r#"{"id":"c","choices":[],"usage":{"prompt_tokens":1},"citations":["u"]}"#,
            ],
        );

        let first = json!({"role": "assistant", "content": "Hello", "annotations": [{"type": "url_citation"}],
            "images": [{"index": 0, "image_url": {"url": "data:"}}],
            "audio": {"id": "a", "data": "QUJDREVG", "transcript": "ab", "expires_at": 9}});
        let logprobs = json!({"content": [{"token": "He"}, {"token": "llo"}], "refusal": null});
        let second = json!({"role": "assistant", "content": "b", "reasoning_content": "hm"});
        let expected = json!({"id": "c", "object": "chat.completion", "created": 7, "model": "m",
            "service_tier": "default", "system_fingerprint": "fp", "citations": ["u"],
            "usage": {"prompt_tokens": 1}, "choices": [
                {"index": 0, "message": first, "logprobs": logprobs, "finish_reason": "stop"},
                {"index": 1, "message": second, "finish_reason": "length"}]});
        assert_eq!(answer, expected);
    }

    #[test]
    fn calls_that_take_turns_are_told_apart() {
        let answer = joined(
            &OPENAI_CHAT,
            &[
                r#"{"choices":[{"index":0,"delta":{"content":"","tool_calls":[{"index":0,"id":"f","type":"function","function":{"name":"f","arguments":""}}]}}]}"#,
                r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"index":1,"id":"g","type":"function","function":{"name":"g","arguments":"[1"}}]}}]}"#,
                r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"","function":{"arguments":"{}"}},{"index":1,"function":{"arguments":"]"}}]}}]}"#,
            ],
        );

        let call = |name: &str, arguments: &str| json!({"id": name, "type": "function", "function": {"name": name, "arguments": arguments}});
        let message = json!({"role": "assistant", "content": null,
            "tool_calls": [call("f", "{}"), call("g", "[1]")]});
        assert_eq!(answer["choices"][0]["message"], message);
    }

    #[test]
    fn a_call_in_the_older_form_is_one_call() {
        let answer = joined(
            &OPENAI_CHAT,
            &[
                r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":"","function_call":{"name":"f","arguments":""}}}]}"#,
                r#"{"choices":[{"index":0,"delta":{"function_call":{"arguments":"{"}}}]}"#,
                r#"{"choices":[{"index":0,"delta":{"function_call":{"arguments":"}"}}}]}"#,
                r#"{"choices":[{"index":0,"delta":{},"finish_reason":"function_call"}]}"#,
            ],
        );

        let message =
            json!({"role": "assistant", "content": null, "function_call": {"name": "f", "arguments": "{}"}});
        let choice = json!({"index": 0, "message": message, "finish_reason": "function_call"});
        assert_eq!(answer["choices"], json!([choice]));
    }
}
