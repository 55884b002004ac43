//! OpenAI's `POST /v1/responses/input_tokens`.

use bytes::Bytes;
use serde::Deserialize;

use super::{OPENAI_RESPONSES, decode, encode};
use crate::{
    Error, Target,
    dialect::{
        Codec, CountCodec, Dialect, Encoded, Sibling,
        canonical::Request,
        count::{Only, question, unreadable},
        json,
    },
};

/// `POST /v1/responses/input_tokens`.
pub static OPENAI_COUNT: Sibling = Sibling {
    id: "openai-count",
    chat: &OPENAI_RESPONSES,
    speaks: |path| matches!(path, "/v1/responses/input_tokens" | "/responses/input_tokens"),
    path: |_| "/responses/input_tokens".into(),
    peek: |parts, body| OPENAI_RESPONSES.peek(parts, body),
    repeat_model: |payload| payload,
    read_usage: |_, _| false,
    codec: Codec::Count(&OpenAiCountCodec),
};

/// The members of a response's request that are counted.
const COUNTED: [&str; 9] = [
    "model",
    "input",
    "instructions",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "text",
    "reasoning",
    "truncation",
];

/// Translates OpenAI's counting.
#[derive(Clone, Copy, Debug)]
struct OpenAiCountCodec;

#[derive(Deserialize)]
struct Answer {
    input_tokens: u64,
}

impl CountCodec for OpenAiCountCodec {
    fn decode_request<'a>(&self, body: &'a [u8]) -> Result<Request<'a>, Error> {
        Ok(question(decode::request(body)?))
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
        format!(r#"{{"object":"response.input_tokens","input_tokens":{tokens}}}"#).into()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn only_what_is_counted_is_sent() {
        let body = r#"{"model":"m","instructions":"S","input":"Hi","max_output_tokens":9,"temperature":1,"store":false}"#;

        let request = OpenAiCountCodec.decode_request(body.as_bytes()).unwrap();
        let encoded = OpenAiCountCodec.encode_request(&request, &Target::new("p", "gpt")).unwrap();

        let written: Value = serde_json::from_slice(&encoded.body).unwrap();
        let names: Vec<_> = written.as_object().unwrap().keys().collect();
        assert_eq!(names, ["input", "model"], "{written}");
        assert_eq!(written["model"], "gpt");
        assert!(encoded.lost.is_empty());
    }

    #[test]
    fn an_answer_is_an_object_of_its_own() {
        let answer = OpenAiCountCodec.encode_answer(11);

        assert_eq!(answer, r#"{"object":"response.input_tokens","input_tokens":11}"#);
        assert_eq!(OpenAiCountCodec.decode_answer(&answer).unwrap(), 11);
    }
}
