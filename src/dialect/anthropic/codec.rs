//! [`AnthropicCodec`]: translation of messages to and from the canonical form.

use bytes::Bytes;

use super::{answer, citations, decode, encode, stream_in::Decoder, stream_out::Encoder};
use crate::{
    Error, Payload, Target,
    body::sse,
    dialect::{ChatCodec, Decode, Encode, Encoded, canonical},
};

/// The [id](crate::dialect::Dialect::id) of the dialect, as parts that only it knows bear it.
pub(super) const ID: &str = "anthropic-messages";

/// Translates Anthropic's messages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AnthropicCodec;

impl ChatCodec for AnthropicCodec {
    fn decode_request<'a>(&self, body: &'a [u8]) -> Result<canonical::Request<'a>, Error> {
        decode::request(body)
    }

    fn encode_request(&self, request: &canonical::Request<'_>, to: &Target) -> Result<Encoded, Error> {
        encode::request(request, to)
    }

    fn decode_answer<'a>(&self, body: &'a [u8]) -> Result<canonical::Answer<'a>, Error> {
        answer::decode(body)
    }

    fn encode_answer(&self, answer: &canonical::Answer<'_>, _: &Payload) -> Bytes {
        answer::encode(answer)
    }

    fn cites(&self, citation: &canonical::Citation<'_>) -> bool {
        citations::is_said(citation)
    }

    fn decoder(&self) -> Box<dyn Decode> {
        Box::new(Decoder::default())
    }

    fn encoder(&self, asked: &Payload) -> Box<dyn Encode> {
        Box::new(Encoder::new(&asked.head().model))
    }

    fn encoder_after(
        &self,
        asked: &Payload,
        said: &[canonical::Event<'_>],
        last: &sse::Event,
    ) -> Option<Box<dyn Encode>> {
        Some(Box::new(Encoder::new(&asked.head().model).after(said, last)?))
    }
}

#[cfg(test)]
mod tests {
    use bytes::{Bytes, BytesMut};
    use serde_json::Value;

    use super::{super::testing::model, *};
    use crate::{body::sse, dialect::testing::payload, payload::Head};

    /// What comes from a client of this dialect and goes to a provider of it, by way of the canonical
    /// form, loses nothing that the form has a place for.
    #[test]
    fn a_request_survives_the_way_through_the_canonical_form() {
        let request = r#"{"model":"m","max_tokens":9000,
            "system":[{"type":"text","text":"S","cache_control":{"type":"ephemeral","ttl":"1h"}}],
            "messages":[
                {"role":"user","content":[
                    {"type":"image","source":{"type":"url","url":"https://e.x/a.png"}},
                    {"type":"document","source":{"type":"text","media_type":"text/plain","data":"D"},"title":"T"},
                    {"type":"text","text":"q","cache_control":{"type":"ephemeral"}}]},
                {"role":"assistant","content":[
                    {"type":"thinking","thinking":"t","signature":"s"},
                    {"type":"redacted_thinking","data":"d"},
                    {"type":"server_tool_use","id":"srv","name":"web_search","input":{"q":"x"}},
                    {"type":"tool_use","id":"toolu_1","name":"f","input":{"a":1}}]},
                {"role":"user","content":[
                    {"type":"tool_result","tool_use_id":"toolu_1","is_error":true,"content":[
                        {"type":"text","text":"bad"},
                        {"type":"tool_reference","tool_name":"g"},
                        {"type":"image","source":{"type":"base64","media_type":"image/png","data":"iVBORw0KGgoA"}}]}]}],
            "tools":[{"name":"f","description":"d","input_schema":{"type":"object","properties":{}}},
                {"type":"web_search_20260318","name":"web_search"}],
            "tool_choice":{"type":"auto","disable_parallel_tool_use":true},
            "thinking":{"type":"enabled","budget_tokens":2048},
            "stop_sequences":["X"],"metadata":{"user_id":"u"},"service_tier":"auto","stream":true,"top_p":0.96}"#;

        let canonical = AnthropicCodec.decode_request(request.as_bytes()).unwrap();
        let encoded = AnthropicCodec.encode_request(&canonical, &model(&[], &[])).unwrap();

        let written: Value = serde_json::from_slice(&encoded.body).unwrap();
        assert_eq!(written, serde_json::from_str::<Value>(request).unwrap());
        assert!(encoded.lost.is_empty(), "{:?}", encoded.lost);
    }

    #[test]
    fn a_stream_survives_the_way_through_the_canonical_form() {
        let head = Head {
            model: "m".into(),
            stream: true,
            include_usage: true,
            max_output: None,
            choices: 1,
            model_at: None,
            usage_at: None,
            ..Head::default()
        };
        let data = [
            r#"{"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"m","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":15,"cache_creation_input_tokens":0,"cache_read_input_tokens":7,"cache_creation":{"ephemeral_5m_input_tokens":0,"ephemeral_1h_input_tokens":0},"output_tokens":1}}}"#,
            r#"{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}"#,
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"sig"}}"#,
            r#"{"type":"content_block_stop","index":0}"#,
            r#"{"type":"content_block_start","index":1,"content_block":{"type":"text","text":""}}"#,
            r#"{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"a \"b\"\n"}}"#,
            r#"{"type":"content_block_stop","index":1}"#,
            r#"{"type":"content_block_start","index":2,"content_block":{"type":"tool_use","id":"toolu_1","name":"f","input":{}}}"#,
            r#"{"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":"{\"a\":1}"}}"#,
            r#"{"type":"content_block_stop","index":2}"#,
            r#"{"type":"message_delta","delta":{"stop_reason":"tool_use","stop_sequence":null},"usage":{"input_tokens":15,"cache_creation_input_tokens":0,"cache_read_input_tokens":7,"cache_creation":{"ephemeral_5m_input_tokens":0,"ephemeral_1h_input_tokens":0},"output_tokens":20}}"#,
            r#"{"type":"message_stop"}"#,
        ];
        let (mut decoder, mut encoder) = (AnthropicCodec.decoder(), AnthropicCodec.encoder(&payload(head)));

        let mut out = BytesMut::new();
        for data in data {
            let event = sse::Event { raw: Bytes::new(), name: Bytes::new(), data: data.into() };
            decoder.event(&event, &mut |event| encoder.event(event, &mut out)).unwrap();
        }

        let written: Vec<_> = std::str::from_utf8(&out).unwrap().split_terminator("\n\n").collect();
        let written: Vec<_> = written.iter().map(|event| event.split_once("\ndata: ").unwrap().1).collect();
        assert_eq!(written, data);
    }
}
