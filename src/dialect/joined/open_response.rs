use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

use super::{
    merge::{Object, size},
    read, written,
};
use crate::{
    Error,
    dialect::buffer::{MAX_CALLS, too_many},
};

/// A response of which the end, that has all of it, has not come: what its pieces say.
#[derive(Default)]
pub(super) struct OpenResponse {
    response: Object,
    items: BTreeMap<u64, Object>,
}

#[derive(Deserialize)]
struct Said {
    r#type: String,
    response: Option<Object>,
    item: Option<Object>,
    #[serde(default)]
    output_index: u64,
    #[serde(default)]
    content_index: usize,
    #[serde(default)]
    summary_index: usize,
    delta: Option<Box<RawValue>>,
}

impl OpenResponse {
    /// Takes the data of one event, and returns about how many bytes more are kept for it.
    pub(super) fn event(&mut self, data: &[u8]) -> Result<usize, Error> {
        let said: Said = read(data)?;
        let grown = match (said.response, said.item) {
            (Some(response), _) => {
                let grown = response.values().map(size).sum();
                self.response = response;
                grown
            }
            (_, Some(item)) => {
                let grown = size_of::<Object>() + item.values().map(size).sum::<usize>();
                self.items.insert(said.output_index, item);
                grown
            }
            _ => 0,
        };
        if self.items.len() > MAX_CALLS {
            return Err(too_many("items"));
        }
        let delta = said.delta.and_then(|delta| serde_json::from_str::<String>(delta.get()).ok());
        let (Some(item), Some(delta)) = (self.items.get_mut(&said.output_index), delta) else {
            return Ok(grown);
        };
        let place = match &*said.r#type {
            "response.output_text.delta" => part(item, "content", said.content_index, "output_text", "text"),
            "response.refusal.delta" => part(item, "content", said.content_index, "refusal", "refusal"),
            "response.reasoning_text.delta" => {
                part(item, "content", said.content_index, "reasoning_text", "text")
            }
            "response.reasoning_summary_text.delta" => {
                part(item, "summary", said.summary_index, "summary_text", "text")
            }
            "response.custom_tool_call_input.delta" => Some(item.entry("input").or_insert_with(|| "".into())),
            "response.code_interpreter_call_code.delta" => {
                Some(item.entry("code").or_insert_with(|| "".into()))
            }
            kind if kind.ends_with("_arguments.delta") => {
                Some(item.entry("arguments").or_insert_with(|| "".into()))
            }
            _ => None,
        };
        if let Some(Value::String(text)) = place {
            text.push_str(&delta);
            return Ok(grown + delta.len());
        }
        Ok(grown)
    }

    pub(super) fn finish(mut self) -> Result<Vec<u8>, Error> {
        let items = self.items.into_values().map(Value::from).collect();
        self.response.insert("output".into(), items);
        written(&self.response)
    }
}

/// The text of one part of an item, which is made if it isn't there.
fn part<'i>(item: &'i mut Object, list: &str, index: usize, kind: &str, text: &str) -> Option<&'i mut Value> {
    let parts = item.entry(list).or_insert_with(|| json!([])).as_array_mut()?;
    if index > parts.len() {
        return None;
    }
    if index == parts.len() {
        parts.push(json!({ "type": kind }));
    }
    Some(parts[index].as_object_mut()?.entry(text).or_insert_with(|| "".into()))
}

#[cfg(test)]
mod tests {
    use super::super::Joined;
    use crate::body::sse;
    use serde_json::{Value, json};

    #[test]
    fn a_failure_without_output_takes_nothing_of_what_was_said() {
        let mut joined = Joined::of_any("openai-responses").unwrap();
        for data in [
            r#"{"type":"response.created","response":{"id":"r","status":"in_progress","output":[]}}"#,
            r#"{"type":"response.output_item.added","output_index":0,"item":{"type":"message","content":[]}}"#,
            r#"{"type":"response.output_text.delta","output_index":0,"content_index":0,"delta":"Hel"}"#,
            r#"{"type":"response.failed","response":{"id":"r","status":"failed","error":{"code":"x"},"output":[]}}"#,
        ] {
            let event = sse::Event { raw: Default::default(), name: Default::default(), data: data.into() };
            joined.event(&event).unwrap();
        }

        let whole: Value = serde_json::from_slice(&joined.so_far().unwrap()).unwrap();

        assert_eq!(
            whole,
            json!({"id": "r", "status": "failed", "error": {"code": "x"},
                "output": [{"type": "message", "content": [{"type": "output_text", "text": "Hel"}]}]})
        );
    }

    #[test]
    fn a_response_that_breaks_off_is_what_its_pieces_say() {
        let mut joined = Joined::of_any("openai-responses").unwrap();
        for data in [
            r#"{"type":"response.created","response":{"id":"r","status":"in_progress","output":[]}}"#,
            r#"{"type":"response.output_item.added","output_index":0,"item":{"type":"reasoning","summary":[]}}"#,
            r#"{"type":"response.reasoning_summary_text.delta","output_index":0,"summary_index":0,"delta":"h"}"#,
            r#"{"type":"response.reasoning_summary_text.delta","output_index":0,"summary_index":0,"delta":"m"}"#,
            r#"{"type":"response.output_item.added","output_index":1,"item":{"type":"message","content":[]}}"#,
            r#"{"type":"response.output_text.delta","output_index":1,"content_index":0,"delta":"Hel"}"#,
            r#"{"type":"response.output_text.delta","output_index":1,"content_index":0,"delta":"lo"}"#,
            r#"{"type":"response.output_item.added","output_index":2,"item":{"type":"function_call","name":"f","arguments":""}}"#,
            r#"{"type":"response.function_call_arguments.delta","output_index":2,"delta":"{\"a\":"}"#,
        ] {
            let event = sse::Event { raw: Default::default(), name: Default::default(), data: data.into() };
            joined.event(&event).unwrap();
        }

        let whole: Value = serde_json::from_slice(&joined.so_far().unwrap()).unwrap();

        assert_eq!(
            whole,
            json!({"id": "r", "status": "in_progress", "output": [
                {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]},
                {"type": "message", "content": [{"type": "output_text", "text": "Hello"}]},
                {"type": "function_call", "name": "f", "arguments": "{\"a\":"}]})
        );
    }
}
