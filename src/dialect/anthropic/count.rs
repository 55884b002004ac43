//! Anthropic's `POST /v1/messages/count_tokens`.

use bytes::Bytes;
use serde::Deserialize;

use super::{ANTHROPIC, decode, encode};
use crate::{
    Error, Target,
    dialect::{
        Codec, CountCodec, Dialect, Encoded, Sibling,
        canonical::Request,
        count::{Only, question, unreadable},
        json,
    },
};

/// `POST /v1/messages/count_tokens`.
pub static ANTHROPIC_COUNT: Sibling = Sibling {
    id: "anthropic-count",
    chat: &ANTHROPIC,
    speaks: |path| matches!(path, "/v1/messages/count_tokens" | "/messages/count_tokens"),
    path: |_| "/v1/messages/count_tokens".into(),
    peek: |parts, body| ANTHROPIC.peek(parts, body),
    repeat_model: |payload| payload,
    read_usage: |_, _| false,
    codec: Codec::Count(&AnthropicCountCodec),
};

/// The members of a message's request that are counted.
const COUNTED: [&str; 9] = [
    "model",
    "messages",
    "system",
    "tools",
    "tool_choice",
    "thinking",
    "output_config",
    "cache_control",
    "speed",
];

/// Translates Anthropic's counting.
#[derive(Clone, Copy, Debug)]
struct AnthropicCountCodec;

#[derive(Deserialize)]
struct Answer {
    input_tokens: u64,
}

impl CountCodec for AnthropicCountCodec {
    fn decode_request<'a>(&self, body: &'a [u8]) -> Result<Request<'a>, Error> {
        Ok(question(decode::counted(body)?))
    }

    fn encode_request(&self, request: &Request<'_>, to: &Target) -> Result<Encoded, Error> {
        let chat = encode::request(request, to)?;
        let body = json::written(&Only::of(&chat.body, &COUNTED)?)?;
        Ok(Encoded { body, lost: chat.lost, ..Encoded::default() })
    }

    fn decode_answer(&self, body: &[u8]) -> Result<u64, Error> {
        json::parse(body).map(|Answer { input_tokens }| input_tokens).map_err(unreadable)
    }

    fn encode_answer(&self, tokens: u64) -> Bytes {
        format!(r#"{{"input_tokens":{tokens}}}"#).into()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn the_settings_of_the_answer_are_not_counted() {
        let body = r#"{"model":"m","system":"S","messages":[{"role":"user","content":"Hi"}],
            "tools":[{"name":"f","input_schema":{"type":"object"}}]}"#;

        let mut request = AnthropicCountCodec.decode_request(body.as_bytes()).unwrap();
        request.max_output = Some(9);
        let encoded = AnthropicCountCodec.encode_request(&request, &Target::new("p", "claude")).unwrap();

        let written: Value = serde_json::from_slice(&encoded.body).unwrap();
        assert_eq!(
            written,
            json!({"model": "claude", "system": [{"type": "text", "text": "S"}],
                "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}],
                "tools": [{"name": "f", "input_schema": {"type": "object"}}]})
        );
    }

    #[test]
    fn an_answer_without_a_number_is_an_error() {
        assert_eq!(AnthropicCountCodec.decode_answer(br#"{"input_tokens":14}"#).unwrap(), 14);
        assert_eq!(AnthropicCountCodec.encode_answer(14), r#"{"input_tokens":14}"#);
        assert!(AnthropicCountCodec.decode_answer(b"{}").is_err());
        let error = r#"{"type":"error","error":{"type":"overloaded_error","message":"x"}}"#;
        assert_eq!(ANTHROPIC_COUNT.error_in_answer(&error.into()).unwrap().kind(), crate::Kind::Overloaded);
    }
}
