//! OpenAI's legacy completions: a text goes on.
//!
//! Passed through where the provider has them; elsewhere the prompt becomes what the user of a chat says.
//!
//! Source: OpenAI's API description, `CreateCompletionRequest`.

mod codec;
mod stream_out;

use std::borrow::Cow;

use bytes::Bytes;
use http::{StatusCode, request::Parts};
use memchr::memmem::Finder;
use serde::{Deserialize, de::IgnoredAny};

use super::{Closing, Codec, Dialect, OPENAI_CHAT, Sent, exact, json::Member};
use crate::{
    Error, Payload, Tokens, body::sse, error::Reply, exchange::RequestId, payload::Head, target::ModelFacts,
};

/// `POST /v1/completions`.
pub static OPENAI_COMPLETIONS: OpenAiCompletions = OpenAiCompletions;

/// The dialect of OpenAI's legacy completions.
#[derive(Clone, Copy, Debug)]
pub struct OpenAiCompletions;

static TEXT: Member = Member::new(|| Finder::new(b"\"text\""));

/// The cap where the client has none.
const USUAL_OUTPUT: u64 = 16;

#[derive(Deserialize)]
struct Shallow {
    #[serde(default)]
    best_of: Option<u32>,
    #[serde(default)]
    max_tokens: Option<u64>,
    #[serde(default)]
    prompt: Prompts,
}

/// How many prompts there are.
#[derive(Deserialize)]
#[serde(untagged)]
enum Prompts {
    Several(Vec<Piece>),
    One(IgnoredAny),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Piece {
    /// The tokens of one prompt stand in the array itself.
    Token(#[expect(dead_code, reason = "it is enough that it is a number")] i64),
    Prompt(IgnoredAny),
}

impl Default for Prompts {
    fn default() -> Self {
        Self::One(IgnoredAny)
    }
}

impl Prompts {
    fn count(&self) -> u32 {
        let Self::Several(pieces) = self else { return 1 };
        let prompts = pieces.iter().filter(|piece| matches!(piece, Piece::Prompt(_))).count();
        u32::try_from(prompts).unwrap_or(u32::MAX).max(1)
    }
}

impl Dialect for OpenAiCompletions {
    fn id(&self) -> &'static str {
        "openai-completions"
    }

    fn speaks(&self, path: &str) -> bool {
        matches!(path, "/v1/completions" | "/completions")
    }

    /// Chats are never translated to this, and OpenAI's own models for chats don't take it.
    fn takes(&self, payload: &Payload, model: &ModelFacts) -> bool {
        payload.dialect().id() == self.id() && !model.lacks("completions") && !only_chats(payload.model())
    }

    fn output_caps(&self) -> &'static [&'static str] {
        &["max_tokens"]
    }

    fn path(&self, _: &Payload) -> Cow<'static, str> {
        "/completions".into()
    }

    fn peek(&self, parts: &Parts, body: &str) -> Result<Head, Error> {
        // What is read has the same names there.
        let head = OPENAI_CHAT.peek(parts, body)?;
        let shallow: Shallow = exact::read(body)?;
        let choices = head.choices.max(shallow.best_of.unwrap_or(1)).saturating_mul(shallow.prompt.count());
        // `max_completion_tokens` is no member of theirs; who heeds it nevertheless may write as much.
        let max_output = shallow.max_tokens.unwrap_or(USUAL_OUTPUT).max(head.max_output.unwrap_or_default());
        Ok(Head { max_output: Some(max_output), choices, ..head })
    }

    fn ask_for_usage(&self, payload: Payload) -> Payload {
        OPENAI_CHAT.ask_for_usage(payload)
    }

    fn usage_is_extra(&self, head: &Head) -> bool {
        OPENAI_CHAT.usage_is_extra(head)
    }

    fn without_usage(&self, event: &sse::Event) -> Option<Bytes> {
        OPENAI_CHAT.without_usage(event)
    }

    fn read_usage(&self, json: &[u8], tokens: &mut Tokens) -> bool {
        OPENAI_CHAT.read_usage(json, tokens)
    }

    fn output_bytes(&self, event: &sse::Event) -> usize {
        TEXT.text(&event.data).unwrap_or(0)
    }

    fn finish<'a>(&self, json: &'a [u8]) -> Option<&'a str> {
        OPENAI_CHAT.finish(json)
    }

    fn is_content(&self, event: &sse::Event) -> bool {
        self.output_bytes(event) > 0 || matches!(self.closing(event), Some(Closing::Proper | Closing::Last))
    }

    fn closing(&self, event: &sse::Event) -> Option<Closing> {
        OPENAI_CHAT.closing(event)
    }

    fn error_in_answer(&self, body: &Bytes) -> Option<Error> {
        OPENAI_CHAT.error_in_answer(body)
    }

    fn read_error(&self, reply: Reply) -> Error {
        OPENAI_CHAT.read_error(reply)
    }

    fn render_error(&self, error: &Error, id: &RequestId) -> (StatusCode, Bytes) {
        OPENAI_CHAT.render_error(error, id)
    }

    fn error_event(&self, error: &Error, id: &RequestId, sent: &Sent) -> Bytes {
        OPENAI_CHAT.error_event(error, id, sent)
    }

    fn codec(&self) -> Option<Codec> {
        Some(Codec::Chat(&codec::OpenAiCompletionsCodec))
    }
}

/// Whether a model is known by its name to be refused here.
fn only_chats(model: &str) -> bool {
    let is_reasoning = model.starts_with('o') && model[1..].starts_with(|c: char| c.is_ascii_digit());
    is_reasoning || model.starts_with("chatgpt") || model.starts_with("gpt-") && !model.contains("instruct")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peek(body: &str) -> Result<Head, Error> {
        let (parts, ()) = http::Request::post("/v1/completions").body(()).unwrap().into_parts();
        OPENAI_COMPLETIONS.peek(&parts, body)
    }

    #[test]
    fn all_that_may_be_written_is_reckoned_with() {
        let usual = peek(r#"{"model":"m","prompt":"a"}"#).unwrap();
        for (caps, most) in [
            (r#""max_tokens":900,"max_completion_tokens":1"#, 900),
            (r#""max_tokens":1,"max_completion_tokens":900"#, 900),
            (r#""max_completion_tokens":1"#, USUAL_OUTPUT),
        ] {
            let head = peek(&format!(r#"{{"model":"m","prompt":"a",{caps}}}"#)).unwrap();
            assert_eq!(head.max_output, Some(most), "{caps}");
        }
        let many = peek(r#"{"model":"m","prompt":["a","b"],"n":2,"best_of":3,"max_tokens":9}"#).unwrap();
        let tokens = peek(r#"{"model":"m","prompt":[1,2,3]}"#).unwrap();

        assert_eq!((usual.max_output, usual.choices), (Some(16), 1));
        assert_eq!((many.max_output, many.choices), (Some(9), 6));
        assert_eq!(tokens.choices, 1);
    }

    #[test]
    fn a_piece_of_text_is_content() {
        let is_content = |data: &'static str| {
            OPENAI_COMPLETIONS.is_content(&sse::Event {
                raw: Bytes::new(),
                name: Bytes::new(),
                data: data.into(),
            })
        };

        assert!(is_content(r#"{"choices":[{"text":"a","index":0,"finish_reason":null}]}"#));
        assert!(is_content(r#"{"choices":[{"text":"","index":0,"finish_reason":"stop"}]}"#));
        assert!(!is_content(r#"{"choices":[{"text":"","index":0,"finish_reason":null}]}"#));
    }

    #[test]
    fn chat_models_are_known_by_their_names() {
        assert!(only_chats("gpt-5.4") && only_chats("o3-mini") && only_chats("chatgpt-4o-latest"));
        assert!(!only_chats("gpt-3.5-turbo-instruct") && !only_chats("davinci-002") && !only_chats("o"));
    }
}
