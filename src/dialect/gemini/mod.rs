//! Gemini's `generateContent`.
//!
//! Source: Google's Gemini API reference, `models.generateContent` and `models.streamGenerateContent`.

mod answer;
mod calls;
mod codec;
mod content;
mod count;
mod decode;
pub(super) mod embed;
mod encode;
mod error;
mod finish;
mod grounding;
mod logprobs;
mod model;
mod openapi;
mod parts;
pub(super) mod path;
mod proof;
mod repeat;
mod schema;
mod stream_in;
mod stream_out;
mod thinking;
mod tools;
mod turns;
mod usage;
mod wire;

#[cfg(test)]
mod testing;

pub(crate) use self::schema::gemini_schema;
pub use self::{
    count::GEMINI_COUNT,
    embed::{GEMINI_BATCH_EMBED, GEMINI_EMBED},
};

use std::borrow::Cow;

use bytes::Bytes;
use http::{StatusCode, request::Parts};
use memchr::memmem::Finder;
use serde::{Deserialize, de::IgnoredAny};

pub(super) use self::error::is_error;
use self::{codec::GeminiCodec, path::Method, wire::read::Whole};
use super::{
    Closing, Codec, Dialect, LimitHeaders, MOST_SEARCHES, Sent,
    cap::capped_in,
    continued, exact,
    json::{self, Member},
    other_models,
    schema::Members,
    text::Str,
};
use crate::{
    Error, Payload, Target, Tokens, Work, body::sse, error::Reply, exchange::RequestId, payload::Head,
    price::Tier,
};

/// `POST /v1beta/models/{model}:generateContent` and `:streamGenerateContent`.
pub static GEMINI: Gemini = Gemini;

/// The dialect of Gemini's `generateContent`.
#[derive(Clone, Copy, Debug)]
pub struct Gemini;

static USAGE: Member = Member::new(|| Finder::new(b"\"usageMetadata\""));
static GROUNDING: Member = Member::new(|| Finder::new(b"\"groundingMetadata\""));
static TEXT: Member = Member::new(|| Finder::new(b"\"text\""));
static ARGS: Member = Member::new(|| Finder::new(b"\"args\""));
static FUNCTION_CALL: Member = Member::new(|| Finder::new(b"\"functionCall\""));
static FINISH_REASON: Member = Member::new(|| Finder::new(b"\"finishReason\""));
static BLOCK_REASON: Member = Member::new(|| Finder::new(b"\"blockReason\""));
static ERROR: Member = Member::new(|| Finder::new(b"\"error\""));

#[derive(Deserialize)]
struct Shallow<'a> {
    #[serde(borrow, rename = "serviceTier", alias = "service_tier")]
    service_tier: Option<Str<'a>>,
    #[serde(rename = "cachedContent", alias = "cached_content")]
    cached_content: Option<IgnoredAny>,
    #[serde(default)]
    tools: Option<Vec<ShallowTool>>,
    #[serde(rename = "generationConfig", alias = "generation_config")]
    generation_config: Option<ShallowConfig>,
}

/// A tool that the provider runs.
#[derive(Deserialize)]
struct ShallowTool {
    #[serde(
        rename = "googleSearch",
        alias = "google_search",
        alias = "googleSearchRetrieval",
        alias = "google_search_retrieval"
    )]
    search: Option<IgnoredAny>,
    #[serde(rename = "enterpriseWebSearch", alias = "enterprise_web_search")]
    enterprise_search: Option<IgnoredAny>,
    #[serde(rename = "googleMaps", alias = "google_maps")]
    maps: Option<IgnoredAny>,
    #[serde(rename = "urlContext", alias = "url_context")]
    url_context: Option<IgnoredAny>,
    #[serde(rename = "codeExecution", alias = "code_execution")]
    code_execution: Option<IgnoredAny>,
    #[serde(rename = "fileSearch", alias = "file_search")]
    file_search: Option<IgnoredAny>,
}

impl ShallowTool {
    fn reads_more(&self) -> bool {
        let tools = [self.search, self.maps, self.url_context, self.code_execution, self.file_search];
        tools.iter().any(Option::is_some)
    }
}

#[derive(Default, Deserialize)]
struct ShallowConfig {
    #[serde(rename = "maxOutputTokens", alias = "max_output_tokens")]
    max_output_tokens: Option<Whole>,
    #[serde(rename = "candidateCount", alias = "candidate_count")]
    candidate_count: Option<Whole>,
    /// Which model Vertex is to ask in the place of the one that is named.
    #[serde(rename = "routingConfig", alias = "routing_config")]
    routing_config: Option<IgnoredAny>,
}

impl Dialect for Gemini {
    fn id(&self) -> &'static str {
        codec::ID
    }

    fn is_of_others(&self, payload: &Payload, model: &Target) -> bool {
        proof::are_missing(payload.source(), model) || proof::are_foreign(payload.source())
    }

    fn speaks(&self, path: &str) -> bool {
        path::asked(path).is_some_and(|asked| matches!(asked.method, Method::Generate | Method::Stream))
    }

    fn output_caps(&self) -> &'static [&'static str] {
        &[
            "generationConfig.maxOutputTokens",
            "generationConfig.max_output_tokens",
            "generation_config.maxOutputTokens",
            "generation_config.max_output_tokens",
        ]
    }

    fn path(&self, payload: &Payload) -> Cow<'static, str> {
        let method = if payload.head().stream { Method::Stream } else { Method::Generate };
        path::of(payload.model(), method).into()
    }

    fn peek(&self, parts: &Parts, body: &str) -> Result<Head, Error> {
        let model = path::model(parts)?;
        let shallow: Shallow<'_> = exact::read(body)?;
        let config = shallow.generation_config.unwrap_or_default();
        if config.routing_config.is_some() {
            return Err(other_models::refused("generationConfig.routingConfig"));
        }
        let tools = shallow.tools.unwrap_or_default();
        if let Some(index) = tools.iter().position(|tool| tool.enterprise_search.is_some()) {
            let param = format!("tools[{index}].enterpriseWebSearch");
            let message =
                format!("{param}: what it costs is not known here; `googleSearch` searches the web too");
            return Err(Error::new(crate::Kind::InvalidRequest, message).with_param(param));
        }
        let most = |is_asked| if is_asked { MOST_SEARCHES } else { 0 };
        Ok(Head {
            model,
            stream: is_stream(parts),
            include_usage: true,
            tier: Tier::asked(shallow.service_tier.as_deref()),
            searches: most(tools.iter().any(|tool| tool.search.is_some())),
            map_searches: most(tools.iter().any(|tool| tool.maps.is_some())),
            reads_more: shallow.cached_content.is_some() || tools.iter().any(ShallowTool::reads_more),
            max_output: config.max_output_tokens.and_then(Whole::count),
            choices: config.candidate_count.and_then(|count| count.0.try_into().ok()).unwrap_or(1),
            ..Head::default()
        })
    }

    fn cap_output(&self, payload: Payload, cap: u64, _: bool) -> Payload {
        let objects = ["generationConfig", "generation_config"];
        capped_in(payload, &objects, &["maxOutputTokens", "max_output_tokens"], cap)
    }

    fn ask_for_stream(&self, payload: Payload) -> Option<Payload> {
        Some(payload.streamed())
    }

    fn continued(&self, request: &str, said: &str, goes_on_by_itself: bool) -> Option<String> {
        continued::continued(request, continued::CONTENTS, said, goes_on_by_itself)
    }

    fn read_usage(&self, json: &[u8], tokens: &mut Tokens) -> bool {
        let mut work = Work::from(*tokens);
        let is_said = self.read_work(json, &mut work);
        *tokens = work.tokens;
        is_said
    }

    fn read_work(&self, json: &[u8], work: &mut Work) -> bool {
        let may_say = USAGE.value(json) == Some(b'{') || GROUNDING.value(json) == Some(b'{');
        may_say && usage::merge_of(json, work)
    }

    fn output_bytes(&self, event: &sse::Event) -> usize {
        // Arguments are no text here; the chunk is not much more than they are.
        let call = || ARGS.value(&event.data).map(|_| event.data.len());
        TEXT.text(&event.data).filter(|length| *length > 0).or_else(call).unwrap_or(0)
    }

    fn finish<'a>(&self, json: &'a [u8]) -> Option<&'a str> {
        FINISH_REASON.word(json).or_else(|| BLOCK_REASON.word(json))
    }

    fn tool_calls(&self, json: &[u8]) -> u32 {
        FUNCTION_CALL.members(json)
    }

    fn is_content(&self, event: &sse::Event) -> bool {
        json::parse::<Chunk<'_>>(&event.data).is_ok_and(|chunk| chunk.has_content())
    }

    fn closing(&self, event: &sse::Event) -> Option<Closing> {
        // An error may be JSON without a field of an event.
        let json = if event.data.is_empty() { &event.raw } else { &event.data };
        if FINISH_REASON.value(json) == Some(b'"') || BLOCK_REASON.value(json) == Some(b'"') {
            return Some(Closing::Proper);
        }
        match ERROR.value(json) {
            None | Some(b'n') => None,
            Some(_) => error::read_inside(json).map(Closing::Failed),
        }
    }

    fn error_in_answer(&self, body: &Bytes) -> Option<Error> {
        if body.trim_ascii_start().starts_with(b"[") {
            return Some(error::read_inside(body).unwrap_or_else(answer::empty));
        }
        let text = match json::object_in(body) {
            Ok(text) => text,
            Err(error) => return Some(error),
        };
        if let Some(error) = ERROR.value(text).and_then(|_| error::read_inside(text)) {
            return Some(error);
        }
        let chunk = json::parse::<Chunk<'_>>(text).ok()?;
        (!chunk.has_content()).then(|| chunk.failure())
    }

    fn read_error(&self, reply: Reply) -> Error {
        error::read(reply)
    }

    fn render_error(&self, error: &Error, _: &RequestId) -> (StatusCode, Bytes) {
        error::render(error)
    }

    fn error_event(&self, error: &Error, _: &RequestId, _: &Sent) -> Bytes {
        error::event(error)
    }

    fn stream_is_array(&self, parts: &Parts) -> bool {
        let is_sse = parts.uri.query().is_some_and(|query| query.split('&').any(|pair| pair == "alt=sse"));
        !is_sse && is_stream(parts)
    }

    fn limit_headers(&self) -> LimitHeaders {
        LimitHeaders::None
    }

    fn codec(&self) -> Option<Codec> {
        Some(Codec::Chat(&GeminiCodec))
    }
}

fn is_stream(parts: &Parts) -> bool {
    path::asked(parts.uri.path()).is_some_and(|asked| asked.method == Method::Stream)
}

/// As much of a chunk as tells whether it says something.
#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(borrow)]
    candidates: Option<Vec<ChunkCandidate<'a>>>,
    #[serde(rename = "promptFeedback")]
    prompt_feedback: Option<Feedback>,
}

#[derive(Deserialize)]
struct ChunkCandidate<'a> {
    #[serde(borrow)]
    content: Option<ChunkContent<'a>>,
    #[serde(borrow, rename = "finishReason")]
    finish_reason: Option<Str<'a>>,
}

#[derive(Deserialize)]
struct ChunkContent<'a> {
    #[serde(borrow)]
    parts: Option<Vec<Members<'a>>>,
}

#[derive(Deserialize)]
struct Feedback {
    #[serde(rename = "blockReason")]
    block_reason: Option<IgnoredAny>,
}

/// Whether a part has more than an empty text and what is said of it.
fn says_something(part: &Members<'_>) -> bool {
    part.0.iter().any(|(_, value)| !matches!(value.get(), "\"\"" | "true" | "false" | "null"))
}

impl Chunk<'_> {
    /// Whether it says something, or why it doesn't.
    fn has_content(&self) -> bool {
        let is_blocked =
            self.prompt_feedback.as_ref().is_some_and(|feedback| feedback.block_reason.is_some());
        is_blocked || self.candidates.iter().flatten().any(ChunkCandidate::has_content)
    }

    /// The error for an answer without content.
    fn failure(&self) -> Error {
        let reason =
            self.candidates.iter().flatten().find_map(|candidate| candidate.finish_reason.as_deref());
        reason.map_or_else(answer::empty, finish::failed)
    }
}

impl ChunkCandidate<'_> {
    fn has_content(&self) -> bool {
        let parts = self.content.as_ref().and_then(|content| content.parts.as_ref());
        let says = parts.into_iter().flatten().any(says_something);
        says || self.finish_reason.as_deref().is_some_and(|reason| !finish::is_failure(reason))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Exchange, Kind};

    fn peek(path: &str, body: &str) -> Result<Head, Error> {
        let (parts, ()) = http::Request::post(path).body(()).unwrap().into_parts();
        GEMINI.peek(&parts, body)
    }

    fn event(data: &'static str) -> sse::Event {
        sse::Event { raw: format!("data: {data}\r\n\r\n").into(), name: Bytes::new(), data: data.into() }
    }

    #[test]
    fn other_models_are_not_asked() {
        for name in ["routingConfig", "routing_config"] {
            let body =
                format!(r#"{{"generationConfig":{{"{name}":{{"manualMode":{{"modelName":"dear"}}}}}}}}"#);

            let error = peek("/v1/models/m:generateContent", &body).unwrap_err();

            assert_eq!(error.kind(), Kind::InvalidRequest);
            assert_eq!(error.param(), Some("generationConfig.routingConfig"));
        }
    }

    #[test]
    fn a_search_of_which_no_price_is_known_is_refused() {
        for name in ["enterpriseWebSearch", "enterprise_web_search"] {
            let body = format!(r#"{{"tools":[{{"functionDeclarations":[]}},{{"{name}":{{}}}}]}}"#);

            let error = peek("/v1/models/m:generateContent", &body).unwrap_err();

            assert_eq!(error.param(), Some("tools[1].enterpriseWebSearch"));
        }
    }

    #[test]
    fn what_the_provider_does_by_itself_is_seen() {
        let asks = |body| {
            let head = peek("/v1/models/m:generateContent", body).unwrap();
            (head.tier, head.searches, head.reads_more)
        };

        assert_eq!(asks(r#"{"tools":[{"functionDeclarations":[]}]}"#), (None, 0, false));
        assert_eq!(
            asks(r#"{"tools":[{"googleSearch":{}}],"serviceTier":"flex"}"#),
            (Some(Tier::Flex), MOST_SEARCHES, true)
        );
        assert_eq!(asks(r#"{"tools":[{"url_context":{}}]}"#), (None, 0, true));
        assert_eq!(asks(r#"{"tools":[{"googleMaps":{}}]}"#), (None, 0, true));
        let head = peek("/v1/models/m:generateContent", r#"{"tools":[{"google_maps":{}}]}"#).unwrap();
        assert_eq!(head.map_searches, MOST_SEARCHES);
        assert_eq!(asks(r#"{"cachedContent":"cachedContents/1"}"#), (None, 0, true));
    }

    #[test]
    fn the_path_says_which_model_and_whether_it_is_a_stream() {
        let body = r#"{"contents":[],"generationConfig":{"maxOutputTokens":9,"candidateCount":2}}"#;
        let head = peek("/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse", body).unwrap();
        let snake = r#"{"generation_config":{"max_output_tokens":"7"}}"#;
        let other = peek("/genai/v1/models/openai%2Fgpt-4o:generateContent", snake).unwrap();

        assert_eq!(
            (&*head.model, head.stream, head.max_output, head.choices),
            ("gemini-2.5-pro", true, Some(9), 2)
        );
        assert_eq!((&*other.model, other.stream, other.max_output), ("openai/gpt-4o", false, Some(7)));
        assert_eq!(peek("/v1/models/m:generateContent", "[]").unwrap_err().kind(), Kind::InvalidRequest);
        let long = format!("/v1/models/{}:generateContent", "m".repeat(300));
        assert_eq!(peek(&long, "{}").unwrap_err().param(), Some("model"));
    }

    #[test]
    fn a_provider_is_asked_for_events_and_gets_no_query_of_the_client() {
        let head = peek("/v1beta/models/chat:streamGenerateContent?key=secret&alt=json", "{}").unwrap();
        let payload = Payload::new(&GEMINI, head, "{}".into(), Exchange::default());

        let path = GEMINI.path(&payload.with_model(&crate::payload::ModelName::new("gemini-2.5-pro")));

        assert_eq!(path, "/models/gemini-2.5-pro:streamGenerateContent?alt=sse");
    }

    #[test]
    fn only_a_stream_that_is_not_one_of_events_is_an_array() {
        let is_array = |path: &str| {
            let (parts, ()) = http::Request::post(path).body(()).unwrap().into_parts();
            GEMINI.stream_is_array(&parts)
        };

        assert!(is_array("/v1beta/models/m:streamGenerateContent"));
        assert!(is_array("/v1beta/models/m:streamGenerateContent?alt=json"));
        assert!(!is_array("/v1beta/models/m:streamGenerateContent?a=b&alt=sse"));
        assert!(!is_array("/v1beta/models/m:generateContent"));
    }

    #[test]
    fn content_begins_with_the_first_part_that_says_something() {
        let is_content = |data| GEMINI.is_content(&event(data));

        assert!(!is_content(r#"{"candidates":[{"content":{"parts":[{"text":""}]}}]}"#));
        assert!(!is_content(r#"{"usageMetadata":{"promptTokenCount":1}}"#));
        assert!(!is_content(r#"{"candidates":[{"finishReason":"MALFORMED_FUNCTION_CALL"}]}"#));
        assert!(is_content(r#"{"candidates":[{"content":{"parts":[{"text":"Hi","thought":true}]}}]}"#));
        assert!(is_content(r#"{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f"}}]}}]}"#));
        assert!(is_content(r#"{"candidates":[{"finishReason":"MAX_TOKENS"}]}"#));
        assert!(is_content(r#"{"promptFeedback":{"blockReason":"SAFETY"}}"#));
    }

    #[test]
    fn a_stream_ends_with_a_reason_or_an_error() {
        let closing = |data| GEMINI.closing(&event(data));
        let error = r#"{"error":{"code":503,"message":"overloaded","status":"UNAVAILABLE"}}"#;
        let bare = sse::Event { raw: error.into(), name: Bytes::new(), data: Bytes::new() };

        assert!(matches!(closing(r#"{"candidates":[{"finishReason":"STOP"}]}"#), Some(Closing::Proper)));
        assert!(matches!(closing(r#"{"promptFeedback":{"blockReason":"OTHER"}}"#), Some(Closing::Proper)));
        assert!(matches!(closing(error), Some(Closing::Failed(error)) if error.kind() == Kind::Overloaded));
        assert!(matches!(GEMINI.closing(&bare), Some(Closing::Failed(_))));
        assert!(
            closing(r#"{"candidates":[{"content":{"parts":[{"functionCall":{"args":{"error":{}}}}]}}]}"#)
                .is_none()
        );
    }

    /// C77, C78, C95
    #[test]
    fn an_error_in_an_answer_is_found_however_it_is_written() {
        let kind = |body: &'static str| GEMINI.error_in_answer(&body.into()).map(|error| error.kind());

        assert_eq!(
            kind(r#"[{"error":{"code":429,"message":"x","status":"RESOURCE_EXHAUSTED"}}]"#),
            Some(Kind::RateLimited)
        );
        assert_eq!(kind("<html>"), Some(Kind::Upstream));
        assert_eq!(kind("[]"), Some(Kind::Upstream));
        assert_eq!(kind(r#"{"usageMetadata":{"promptTokenCount":1}}"#), Some(Kind::Upstream));
        assert_eq!(
            kind(r#"{"candidates":[{"finishReason":"MALFORMED_FUNCTION_CALL"}]}"#),
            Some(Kind::Upstream)
        );
        assert_eq!(kind(r#"{"candidates":[{"finishReason":"STOP"}]}"#), None);
        assert_eq!(kind(r#"{"promptFeedback":{"blockReason":"SAFETY"}}"#), None);
    }

    #[test]
    fn what_is_written_is_measured() {
        let bytes = |data| GEMINI.output_bytes(&event(data));

        assert_eq!(bytes(r#"{"candidates":[{"content":{"parts":[{"text":"12345678"}]}}]}"#), 8);
        assert!(bytes(r#"{"candidates":[{"content":{"parts":[{"functionCall":{"args":{"a":1}}}]}}]}"#) > 10);
        assert_eq!(bytes(r#"{"usageMetadata":{}}"#), 0);
    }
}
