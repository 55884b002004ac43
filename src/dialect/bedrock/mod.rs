//! Converse of Amazon Bedrock, the same for the models of all makers there.
//!
//! Source: the service model of the Bedrock runtime, version 2023-09-30.
//!
//! Only providers speak it: requests in the dialects of clients are translated to it. Its streams come in
//! [frames](crate::body::event_stream), and their counts behind the end of the message.

mod answer;
mod betas;
mod citations;
mod codec;
mod encode;
mod error;
mod finish;
mod format;
mod media;
mod parts;
mod stream_in;
mod tools;
mod usage;
mod wire;

#[cfg(test)]
mod testing;

use std::borrow::Cow;

use bytes::Bytes;
use http::{StatusCode, request::Parts};
use memchr::memmem::Finder;

pub(crate) use self::betas::FIELD as BETAS;
use self::codec::BedrockCodec;
use super::{
    Closing, Codec, Dialect, Sent,
    json::{self, Member},
};
use crate::{
    Error, Payload, Tokens, Work,
    body::{Framing, sse},
    error::Reply,
    exchange::RequestId,
    payload::Head,
    percent,
};

/// `POST /model/{model}/converse` and `/converse-stream`.
pub static BEDROCK: Bedrock = Bedrock;

/// The dialect of Bedrock's Converse, for providers.
#[derive(Clone, Copy, Debug)]
pub struct Bedrock;

static OUTPUT: Member = Member::new(|| Finder::new(b"\"output\""));
static STOP_REASON: Member = Member::new(|| Finder::new(b"\"stopReason\""));
static TOOL_USE_ID: Member = Member::new(|| Finder::new(b"\"toolUseId\""));
static USAGE: Member = Member::new(|| Finder::new(b"\"usage\""));
static TEXT: Member = Member::new(|| Finder::new(b"\"text\""));
static INPUT: Member = Member::new(|| Finder::new(b"\"input\""));

impl Dialect for Bedrock {
    fn id(&self) -> &'static str {
        "bedrock-converse"
    }

    fn speaks(&self, _: &str) -> bool {
        false
    }

    /// The whole name is one segment, whatever is in it.
    fn path(&self, payload: &Payload) -> Cow<'static, str> {
        let call = if payload.head().stream { "converse-stream" } else { "converse" };
        format!("/model/{}/{call}", percent::encoded(payload.model())).into()
    }

    fn framing(&self) -> Framing {
        Framing::EventStream
    }

    fn peek(&self, _: &Parts, _: &str) -> Result<Head, Error> {
        Err(codec::no_clients())
    }

    fn read_usage(&self, json: &[u8], tokens: &mut Tokens) -> bool {
        let mut work = Work::from(*tokens);
        let is_said = self.read_work(json, &mut work);
        *tokens = work.tokens;
        is_said
    }

    fn read_work(&self, json: &[u8], work: &mut Work) -> bool {
        USAGE.value(json) == Some(b'{') && usage::merge_of(json, work)
    }

    fn output_bytes(&self, event: &sse::Event) -> usize {
        if event.name != "contentBlockDelta" {
            return 0;
        }
        [&TEXT, &INPUT].iter().find_map(|member| member.text(&event.data)).unwrap_or(0)
    }

    fn finish<'a>(&self, json: &'a [u8]) -> Option<&'a str> {
        STOP_REASON.word(json)
    }

    fn tool_calls(&self, json: &[u8]) -> u32 {
        TOOL_USE_ID.members(json)
    }

    fn is_content(&self, event: &sse::Event) -> bool {
        match &*event.name {
            b"contentBlockDelta" | b"contentBlockStart" => true,
            // Without anything before it a malformed answer is none.
            b"messageStop" => !event.data.windows(10).any(|part| part == b"\"malformed"),
            _ => false,
        }
    }

    fn closing(&self, event: &sse::Event) -> Option<Closing> {
        match &*event.name {
            b"messageStop" => Some(Closing::Proper),
            b"metadata" => Some(Closing::Last),
            _ => error::thrown(event).map(Closing::Failed),
        }
    }

    fn error_in_answer(&self, body: &Bytes) -> Option<Error> {
        let text = match json::object_in(body) {
            Ok(text) => text,
            Err(error) => return Some(error),
        };
        match OUTPUT.value(text) {
            Some(b'{') => None,
            _ => Some(error::without_output(text)),
        }
    }

    fn read_error(&self, reply: Reply) -> Error {
        error::read(reply)
    }

    fn render_error(&self, error: &Error, _: &RequestId) -> (StatusCode, Bytes) {
        (StatusCode::INTERNAL_SERVER_ERROR, error::render(error))
    }

    fn error_event(&self, error: &Error, _: &RequestId, _: &Sent) -> Bytes {
        error::render(error)
    }

    fn codec(&self) -> Option<Codec> {
        Some(Codec::Chat(&BedrockCodec))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Exchange, Kind, body::event_stream::testing, payload::ModelName};

    fn event(name: &str, payload: &str) -> sse::Event {
        let mut events = crate::body::Splitter::new(BEDROCK.framing());
        events.push(testing::event(name, payload).into()).unwrap();
        events.next_event().unwrap()
    }

    #[test]
    fn the_model_is_one_segment_of_the_path() {
        let path = |model: &str, stream| {
            let head = Head { stream, ..Head::default() };
            let payload = Payload::new(&BEDROCK, head, Bytes::new(), Exchange::default());
            BEDROCK.path(&payload.with_model(&ModelName::new(model))).into_owned()
        };

        assert_eq!(
            path("us.anthropic.claude-sonnet-4-5-20250929-v1:0", false),
            "/model/us.anthropic.claude-sonnet-4-5-20250929-v1%3A0/converse"
        );
        assert_eq!(
            path("arn:aws:bedrock:us-east-1:1:inference-profile/x", true),
            "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ainference-profile%2Fx/converse-stream"
        );
    }

    #[test]
    fn events_are_told_apart() {
        let text = event("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"text":"a\"b"}}"#);
        let input =
            event("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"toolUse":{"input":"{}"}}}"#);
        let start = event("messageStart", r#"{"role":"assistant"}"#);
        let stop = event("messageStop", r#"{"stopReason":"end_turn"}"#);
        let malformed = event("messageStop", r#"{"stopReason":"malformed_tool_use"}"#);
        let metadata = event("metadata", r#"{"usage":{"inputTokens":1,"outputTokens":2,"totalTokens":3}}"#);
        let content = |event: &sse::Event| BEDROCK.is_content(event);

        assert!(
            content(&text)
                && content(&stop)
                && !content(&start)
                && !content(&malformed)
                && !content(&metadata)
        );
        assert_eq!((BEDROCK.output_bytes(&text), BEDROCK.output_bytes(&input)), (4, 2));
        assert!(matches!(BEDROCK.closing(&stop), Some(Closing::Proper)));
        assert!(matches!(BEDROCK.closing(&metadata), Some(Closing::Last)));
        assert!(BEDROCK.closing(&text).is_none());
        let mut tokens = Tokens::default();
        assert!(
            BEDROCK.read_usage(&metadata.data, &mut tokens) && !BEDROCK.read_usage(&stop.data, &mut tokens)
        );
        assert_eq!((tokens.input, tokens.output), (1, 2));
    }

    #[test]
    fn what_is_thrown_ends_the_stream_with_its_class() {
        let mut events = crate::body::Splitter::new(BEDROCK.framing());
        events.push(testing::exception("throttlingException", r#"{"message":"slow"}"#).into()).unwrap();
        let thrown = events.next_event().unwrap();

        let Some(Closing::Failed(error)) = BEDROCK.closing(&thrown) else { panic!() };

        assert_eq!((error.kind(), error.message()), (Kind::RateLimited, "slow"));
    }

    #[test]
    fn an_answer_without_output_is_an_error() {
        let error = |body: &'static str| {
            BEDROCK.error_in_answer(&body.into()).map(|error| (error.kind(), error.message().to_owned()))
        };

        assert_eq!(error(r#"{"output":{"message":{}}}"#), None);
        assert_eq!(
            error(r#"{"message":"m","__type":"x#ThrottlingException"}"#),
            Some((Kind::RateLimited, "m".into()))
        );
        assert_eq!(error("<html>").unwrap().0, Kind::Upstream);
        assert_eq!(error("{}").unwrap().0, Kind::Upstream);
    }
}
