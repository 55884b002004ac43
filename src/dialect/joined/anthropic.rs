use std::{borrow::Cow, collections::BTreeMap};

use serde::{Deserialize, Serialize, Serializer, ser::SerializeMap};
use serde_json::{Value, value::RawValue};

use super::{
    Join,
    merge::{Object, member, merge, replace, size},
    read, unreadable, written,
};
use crate::{Error, dialect::arguments};

/// The events of a message.
#[derive(Default)]
pub(super) struct Message {
    members: Object,
    blocks: BTreeMap<u64, Block>,
}

#[derive(Default)]
struct Block {
    members: Object,
    /// The text of the input, as far as it came in pieces: as an object it would lose its order.
    input: String,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Said {
    MessageStart {
        message: Object,
    },
    ContentBlockStart {
        index: u64,
        content_block: Object,
    },
    ContentBlockDelta {
        index: u64,
        delta: Object,
    },
    MessageDelta {
        delta: Object,
        #[serde(default)]
        usage: Option<Object>,
        #[serde(flatten)]
        rest: Object,
    },
    #[serde(other)]
    Other,
}

impl Join for Message {
    fn event(&mut self, name: &[u8], data: &[u8]) -> Result<usize, Error> {
        let mut said: Object = read(data)?;
        // Some providers name an event outside only.
        said.entry("type").or_insert_with(|| String::from_utf8_lossy(name).into());
        match serde_json::from_value(said.into()).map_err(unreadable)? {
            Said::MessageStart { message } => {
                let grown = message.values().map(size).sum();
                self.members = message;
                return Ok(grown);
            }
            Said::ContentBlockStart { index, content_block } => {
                let block = self.blocks.entry(index).or_default();
                return Ok(size_of::<Block>() + merge(&mut block.members, content_block));
            }
            Said::ContentBlockDelta { index, delta } => {
                if let Some(block) = self.blocks.get_mut(&index) {
                    return Ok(block.add(delta));
                }
            }
            Said::MessageDelta { delta, usage, rest } => {
                let mut grown = 0;
                for (name, value) in delta.into_iter().chain(rest) {
                    grown += size(&value);
                    self.members.insert(name, value);
                }
                if let Value::Object(all) =
                    self.members.entry("usage").or_insert_with(|| Object::new().into())
                {
                    let usage = usage.unwrap_or_default();
                    grown += usage.values().map(size).sum::<usize>();
                    replace(all, usage);
                }
                return Ok(grown);
            }
            Said::Other => {}
        }
        Ok(0)
    }

    fn finish(mut self: Box<Self>) -> Result<Vec<u8>, Error> {
        #[derive(Serialize)]
        struct Whole {
            content: Vec<Block>,
            #[serde(flatten)]
            rest: Object,
        }
        self.members.remove("content");
        written(&Whole { content: self.blocks.into_values().collect(), rest: self.members })
    }
}

impl Block {
    fn add(&mut self, delta: Object) -> usize {
        let mut grown = 0;
        for (name, value) in delta {
            grown += match (&*name, value) {
                ("type", _) => 0,
                ("partial_json", Value::String(more)) => {
                    self.input.push_str(&more);
                    more.len()
                }
                ("citation", citation) => {
                    member(&mut self.members, "citations".into(), vec![citation].into())
                }
                (_, value) => member(&mut self.members, name, value),
            };
        }
        grown
    }
}

impl Serialize for Block {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut block = serializer.serialize_map(None)?;
        for (name, value) in self.members.iter().filter(|(name, _)| *name != "input" || self.input.is_empty())
        {
            block.serialize_entry(name, value)?;
        }
        if !self.input.is_empty() {
            let input: Cow<'_, RawValue> = arguments::object(&self.input).0;
            block.serialize_entry("input", &input)?;
        }
        block.end()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Joined, joined};
    use crate::{body::sse, dialect::ANTHROPIC};
    use serde_json::json;

    #[test]
    fn everything_that_events_say_is_in_the_message() {
        let answer = joined(
            &ANTHROPIC,
            &[
                r#"{"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"c","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":5,"output_tokens":1,"service_tier":"standard"}}}"#,
                r#"{"type":"ping"}"#,
                r#"{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}"#,
                r#"{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"h"}}"#,
                r#"{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"m"}}"#,
                r#"{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"c2ln"}}"#,
                r#"{"type":"content_block_start","index":1,"content_block":{"type":"server_tool_use","id":"srv","name":"web_search","input":{}}}"#,
                r#"{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"{\"query\":"}}"#,
                r#"{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"\"x\"}"}}"#,
                r#"{"type":"content_block_stop","index":1}"#,
                r#"{"type":"content_block_start","index":2,"content_block":{"type":"web_search_tool_result","tool_use_id":"srv","content":[{"type":"web_search_result","url":"u"}]}}"#,
                r#"{"type":"content_block_start","index":3,"content_block":{"type":"text","text":"","citations":[]}}"#,
                r#"{"type":"content_block_delta","index":3,"delta":{"type":"citations_delta","citation":{"url":"u"}}}"#,
                r#"{"type":"content_block_delta","index":3,"delta":{"type":"text_delta","text":"H"}}"#,
                r#"{"type":"content_block_delta","index":3,"delta":{"type":"text_delta","text":"i"}}"#,
                r#"{"type":"message_delta","delta":{"stop_reason":"pause_turn","stop_sequence":null,"container":{"id":"k"}},"usage":{"output_tokens":9,"server_tool_use":{"web_search_requests":1}},"context_management":{"applied_edits":[]}}"#,
                r#"{"type":"message_stop"}"#,
            ],
        );

        let expected = json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "c", "content": [
            {"type": "thinking", "thinking": "hm", "signature": "c2ln"},
            {"type": "server_tool_use", "id": "srv", "name": "web_search", "input": {"query": "x"}},
            {"type": "web_search_tool_result", "tool_use_id": "srv",
                "content": [{"type": "web_search_result", "url": "u"}]},
            {"type": "text", "text": "Hi", "citations": [{"url": "u"}]}],
            "stop_reason": "pause_turn", "stop_sequence": null, "container": {"id": "k"},
            "context_management": {"applied_edits": []},
            "usage": {"input_tokens": 5, "output_tokens": 9, "service_tier": "standard",
                "server_tool_use": {"web_search_requests": 1}}});
        assert_eq!(answer, expected);
    }

    #[test]
    fn an_input_stays_as_the_model_wrote_it() {
        let mut joined = Joined::of("anthropic-messages").unwrap();
        for data in [
            r#"{"type":"content_block_start","index":0,"content_block":{"type":"tool_use","id":"t","name":"f","input":{}}}"#,
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":"{\"b\":1.50,\"a\":12345678901234567890123}"}}"#,
        ] {
            let event = sse::Event { raw: Default::default(), name: Default::default(), data: data.into() };
            joined.event(&event).unwrap();
        }

        let text = String::from_utf8(joined.finish().unwrap()).unwrap();

        assert!(text.contains(r#""input":{"b":1.50,"a":12345678901234567890123}"#), "{text}");
    }
}
