//! Anthropic messages.
//!
//! Source: Anthropic's API reference, `POST /v1/messages`, versions `2023-06-01` and `2026-10-21`.

mod answer;
mod cache;
mod codec;
mod content;
mod count;
mod decode;
mod encode;
mod error;
pub(super) mod error_kind;
mod finish;
mod format;
mod parts;
pub(super) mod schema;
mod stream_in;
mod stream_out;
pub(super) mod thinking;
mod tools;
mod turns;
mod usage;
mod wire;

#[cfg(test)]
mod testing;

pub use self::count::ANTHROPIC_COUNT;

use std::borrow::Cow;

use bytes::Bytes;
use http::{StatusCode, request::Parts};
use memchr::memmem::Finder;
use serde::Deserialize;
use serde_json::value::RawValue;

use self::codec::AnthropicCodec;
use super::proof;
use super::{
    Closing, Codec, Dialect, GEMINI, LimitHeaders, Sent, assembled, exact, gemini,
    json::{self, Member, span},
};
use crate::{
    Error, Kind, Payload, Target, Tokens, body::sse, error::Reply, exchange::RequestId, payload::Head,
};

/// `POST /v1/messages`.
pub static ANTHROPIC: Anthropic = Anthropic;

/// The dialect of Anthropic's messages.
#[derive(Clone, Copy, Debug)]
pub struct Anthropic;

static USAGE: Member = Member::new(|| Finder::new(b"\"usage\""));
static TEXT: Member = Member::new(|| Finder::new(b"\"text\""));
static PARTIAL_JSON: Member = Member::new(|| Finder::new(b"\"partial_json\""));
static THINKING: Member = Member::new(|| Finder::new(b"\"thinking\""));
static ERROR: Member = Member::new(|| Finder::new(b"\"error\""));
static STOP_REASON: Member = Member::new(|| Finder::new(b"\"stop_reason\""));

#[derive(Deserialize)]
struct Shallow<'a> {
    #[serde(borrow)]
    model: &'a RawValue,
    stream: Option<bool>,
    max_tokens: Option<u64>,
}

impl Dialect for Anthropic {
    fn id(&self) -> &'static str {
        "anthropic-messages"
    }

    fn speaks(&self, path: &str) -> bool {
        matches!(path, "/v1/messages" | "/messages")
    }

    fn is_of_others(&self, payload: &Payload, _: &Target) -> bool {
        // Thoughts that nobody has proven have an empty signature.
        let beginnings = ["\"openai:", "\"gemini:", "\"\""];
        beginnings
            .iter()
            .any(|beginning| proof::is_given(payload.source(), &["signature", "data"], beginning))
    }

    fn path(&self, _: &Payload) -> Cow<'static, str> {
        "/v1/messages".into()
    }

    fn peek(&self, _: &Parts, body: &str) -> Result<Head, Error> {
        let shallow: Shallow<'_> = exact::read(body)?;
        Ok(Head {
            model: json::model(shallow.model)?,
            stream: shallow.stream.unwrap_or(false),
            include_usage: true,
            max_output: shallow.max_tokens,
            choices: 1,
            model_at: Some(span(body, shallow.model.get())),
            ..Head::default()
        })
    }

    fn ask_for_stream(&self, payload: Payload) -> Option<Payload> {
        assembled::asked(payload)
    }

    fn read_usage(&self, json: &[u8], tokens: &mut Tokens) -> bool {
        if USAGE.value(json) != Some(b'{') {
            return false;
        }
        usage::merge_of(json, tokens)
    }

    fn output_bytes(&self, event: &sse::Event) -> usize {
        if event.name != "content_block_delta" {
            return 0;
        }
        [&TEXT, &PARTIAL_JSON, &THINKING].iter().find_map(|member| member.text(&event.data)).unwrap_or(0)
    }

    fn is_content(&self, event: &sse::Event) -> bool {
        match kind(event).as_ref() {
            b"content_block_delta" | b"message_delta" | b"message_stop" => true,
            // An empty text promises nothing; a tool's name does.
            b"content_block_start" => !is_empty_block(&event.data),
            _ => false,
        }
    }

    fn closing(&self, event: &sse::Event) -> Option<Closing> {
        match kind(event).as_ref() {
            b"message_stop" => Some(Closing::Last),
            b"message_delta" if STOP_REASON.value(&event.data) == Some(b'"') => Some(Closing::Proper),
            b"error" => Some(Closing::Failed(
                error::read_inside(&event.data)
                    .unwrap_or_else(|| Error::new(Kind::Upstream, "the provider failed inside its stream")),
            )),
            _ => None,
        }
    }

    fn error_in_answer(&self, body: &Bytes) -> Option<Error> {
        let text = match json::object_in(body) {
            Ok(text) => text,
            Err(error) => return Some(error),
        };
        match ERROR.value(text) {
            None | Some(b'n') => None,
            Some(_) => error::read_inside(text),
        }
    }

    fn read_error(&self, reply: Reply) -> Error {
        // Where Google serves this dialect, its platform has errors of its own.
        match gemini::is_error(&reply.body) {
            true => GEMINI.read_error(Reply { dialect: GEMINI.id(), ..reply }),
            false => error::read(reply),
        }
    }

    fn render_error(&self, error: &Error, id: &RequestId) -> (StatusCode, Bytes) {
        error::render(error, id)
    }

    fn error_event(&self, error: &Error, id: &RequestId, _: &Sent) -> Bytes {
        error::event(error, id)
    }

    fn limit_headers(&self) -> LimitHeaders {
        LimitHeaders::Anthropic
    }

    fn codec(&self) -> Option<Codec> {
        Some(Codec::Chat(&AnthropicCodec))
    }
}

/// The event's name, or the type inside its data where a provider leaves the name out.
fn kind(event: &sse::Event) -> Cow<'_, [u8]> {
    #[derive(Deserialize)]
    struct Typed<'a> {
        #[serde(borrow)]
        r#type: Cow<'a, str>,
    }
    if !event.name.is_empty() {
        return Cow::Borrowed(&event.name);
    }
    match serde_json::from_slice::<Typed<'_>>(&event.data) {
        Ok(Typed { r#type: Cow::Borrowed(kind) }) => Cow::Borrowed(kind.as_bytes()),
        Ok(Typed { r#type: Cow::Owned(kind) }) => Cow::Owned(kind.into_bytes()),
        Err(_) => Cow::Borrowed(b""),
    }
}

fn is_empty_block(data: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Start {
        content_block: Block,
    }
    #[derive(Deserialize)]
    struct Block {
        r#type: String,
        text: Option<String>,
        thinking: Option<String>,
    }
    let Ok(Start { content_block }) = serde_json::from_slice(data) else { return true };
    let text = content_block.text.or(content_block.thinking).unwrap_or_default();
    matches!(&*content_block.r#type, "text" | "thinking") && text.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(name: &'static str, data: &'static str) -> sse::Event {
        sse::Event { raw: Bytes::new(), name: name.into(), data: data.into() }
    }

    #[test]
    fn counts_are_merged_field_by_field() {
        let mut tokens = Tokens::default();

        ANTHROPIC.read_usage(br#"{"type":"message_start","message":{"usage":{"input_tokens":100,"cache_read_input_tokens":2048,"cache_creation_input_tokens":412,"cache_creation":{"ephemeral_5m_input_tokens":400,"ephemeral_1h_input_tokens":12},"output_tokens":1}}}"#, &mut tokens);
        ANTHROPIC.read_usage(br#"{"type":"message_delta","usage":{"output_tokens":300,"output_tokens_details":{"thinking_tokens":120}}}"#, &mut tokens);

        let expected = Tokens {
            input: 2560,
            cached: 2048,
            cache_write: 400,
            cache_write_1h: 12,
            output: 300,
            reasoning: 120,
        };
        assert_eq!(tokens, expected);
        assert_eq!(tokens.fresh(), 100);
    }

    #[test]
    fn content_begins_after_the_message_has_been_opened() {
        let is_content = |name, data| ANTHROPIC.is_content(&event(name, data));

        assert!(!is_content("message_start", "{}"));
        assert!(!is_content("ping", "{}"));
        assert!(!is_content("content_block_start", r#"{"content_block":{"type":"text","text":""}}"#));
        assert!(is_content(
            "content_block_start",
            r#"{"content_block":{"type":"tool_use","id":"t","name":"f","input":{}}}"#
        ));
        assert!(is_content("", r#"{"type":"content_block_delta","delta":{}}"#));
    }

    #[test]
    fn an_error_in_an_answer_is_found_however_it_is_written() {
        let kind = |body: &'static str| ANTHROPIC.error_in_answer(&body.into()).map(|error| error.kind());
        let good = r#"{"type":"message","content":[{"type":"tool_use","input":{"error":{"message":"x"}}}]}"#;

        assert_eq!(
            kind(r#"{ "error": {"message": "x", "type": "overloaded_error"}, "type": "error" }"#),
            Some(Kind::Overloaded)
        );
        assert_eq!(kind("<html>"), Some(Kind::Upstream));
        assert_eq!(kind(good), None);
        assert_eq!(kind(r#"{"type":"message","error":null}"#), None);
    }

    #[test]
    fn a_stream_ends_with_a_stop_or_an_error() {
        let closing = |name, data| ANTHROPIC.closing(&event(name, data));
        let error = r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#;

        assert!(matches!(closing("message_stop", "{}"), Some(Closing::Last)));
        assert!(matches!(
            closing("message_delta", r#"{"delta":{"stop_reason":"end_turn"}}"#),
            Some(Closing::Proper)
        ));
        assert!(
            matches!(closing("error", error), Some(Closing::Failed(error)) if error.kind() == Kind::Overloaded)
        );
        assert!(closing("message_delta", r#"{"delta":{"stop_reason":null}}"#).is_none());
    }
}
