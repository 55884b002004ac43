//! OpenAI chat completions, and the many providers that speak like it.
//!
//! Source: OpenAI's API description, `CreateChatCompletionRequest`.

pub(super) mod answer;
mod calls;
mod codec;
mod conversation;
mod decode;
pub(super) mod effort;
mod encode;
pub(super) mod error_kind;
mod failure;
pub(super) mod finish;
mod functions;
mod history;
mod message;
mod stream_in;
mod stream_out;
mod tools;
pub(super) mod usage;
mod wire;

use std::{borrow::Cow, fmt};

use bytes::{Bytes, BytesMut};
use http::{StatusCode, request::Parts};
use memchr::memmem::Finder;
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{
    Closing, Codec, Dialect, MOST_SEARCHES, Sent, asked_model, assembled,
    cap::capped,
    continued, exact,
    json::{self, Member, span},
    openai_error, other_models,
    text::Str,
    tier,
};
use crate::{
    Error, Payload, Tokens, Work, body::sse, error::Reply, exchange::RequestId, payload::Head, price::Tier,
    target::ModelFacts,
};

/// `POST /v1/chat/completions`.
pub static OPENAI_CHAT: OpenAiChat = OpenAiChat;

/// The dialect of OpenAI's chat completions.
#[derive(Clone, Copy, Debug)]
pub struct OpenAiChat;

static USAGE: Member = Member::new(|| Finder::new(b"\"usage\""));
static FINISH_REASON: Member = Member::new(|| Finder::new(b"\"finish_reason\""));
static NAME: Member = Member::new(|| Finder::new(b"\"name\""));
static CONTENT: Member = Member::new(|| Finder::new(b"\"content\""));
static ARGUMENTS: Member = Member::new(|| Finder::new(b"\"arguments\""));
static REASONING: Member = Member::new(|| Finder::new(b"\"reasoning_content\""));

#[derive(Deserialize)]
struct Shallow<'a> {
    #[serde(borrow)]
    model: Option<&'a RawValue>,
    stream: Option<bool>,
    #[serde(borrow, default, deserialize_with = "even_null")]
    stream_options: Option<&'a RawValue>,
    max_tokens: Option<u64>,
    max_completion_tokens: Option<u64>,
    n: Option<u32>,
    #[serde(borrow)]
    service_tier: Option<Str<'a>>,
    #[serde(borrow)]
    prompt_cache_options: Option<CacheOptions<'a>>,
    web_search_options: Option<IgnoredAny>,
    #[serde(borrow)]
    user: Option<&'a RawValue>,
    #[serde(borrow)]
    safety_identifier: Option<&'a RawValue>,
    #[serde(borrow)]
    metadata: Option<&'a RawValue>,
    /// OpenRouter's list of other models.
    #[serde(borrow)]
    models: Option<&'a RawValue>,
    /// And what it reads of who shall answer.
    provider: Option<IgnoredAny>,
    /// Its settings with a name, a model among them.
    preset: Option<IgnoredAny>,
    /// OpenRouter's, some of which ask models.
    #[serde(borrow)]
    plugins: Option<&'a RawValue>,
}

/// How OpenAI is to keep a prompt in its cache.
#[derive(Deserialize)]
pub(super) struct CacheOptions<'a> {
    #[serde(borrow)]
    ttl: Option<Str<'a>>,
}

impl CacheOptions<'_> {
    /// Whether that is longer than usual.
    pub(super) fn keeps_long(&self) -> bool {
        self.ttl.as_deref() == Some("12h")
    }
}

/// An option is `None` for a member that is missing only: one that is null has a place in the text.
fn even_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

#[derive(Default, Deserialize)]
struct StreamOptions {
    include_usage: Option<bool>,
}

impl Dialect for OpenAiChat {
    fn id(&self) -> &'static str {
        "openai-chat"
    }

    fn speaks(&self, path: &str) -> bool {
        matches!(path, "/v1/chat/completions" | "/chat/completions")
    }

    fn takes(&self, payload: &Payload, model: &ModelFacts) -> bool {
        !model.lacks("chat_completions")
            && (!model.lacks("chat_tools_with_reasoning")
                || payload.dialect().id() == self.id() && !thinks_with_tools(payload.source(), model))
    }

    fn output_caps(&self) -> &'static [&'static str] {
        &["max_completion_tokens", "max_tokens"]
    }

    fn path(&self, _: &Payload) -> Cow<'static, str> {
        "/chat/completions".into()
    }

    fn peek(&self, parts: &Parts, body: &str) -> Result<Head, Error> {
        let shallow: Shallow<'_> = exact::read(body)?;
        other_models::check(shallow.preset, shallow.plugins)?;
        let options = shallow.stream_options.map(RawValue::get);
        let include_usage = match options {
            Some(raw) => {
                let options: Option<StreamOptions> = json::read_member(raw, "stream_options")?;
                options.unwrap_or_default().include_usage
            }
            None => None,
        };
        let at = |raw: Option<&RawValue>| raw.map(|raw| span(body, raw.get()));
        Ok(Head {
            has_wishes: shallow.models.is_some() || shallow.provider.is_some(),
            stream: shallow.stream.unwrap_or(false),
            include_usage: include_usage.unwrap_or(false),
            max_output: shallow.max_completion_tokens.or(shallow.max_tokens),
            choices: shallow.n.unwrap_or(1),
            user_at: at(shallow.safety_identifier.or(shallow.user)),
            metadata_at: at(shallow.metadata),
            usage_at: options.map(|raw| span(body, raw)),
            tier: Tier::asked(shallow.service_tier.as_deref()),
            searches: if shallow.web_search_options.is_some() { MOST_SEARCHES } else { 0 },
            reads_more: shallow.web_search_options.is_some(),
            keeps_long: shallow.prompt_cache_options.is_some_and(|options| options.keeps_long()),
            ..asked_model::head(parts, body, shallow.model, shallow.models)?
        })
    }

    fn ask_for_usage(&self, payload: Payload) -> Payload {
        if !self.usage_is_extra(payload.head()) {
            return payload;
        }
        let Some(at) = payload.head().usage_at.clone() else {
            let first = memchr::memchr(b'{', payload.source()).map_or(0, |brace| brace + 1);
            return payload.edited(first..first, r#""stream_options":{"include_usage":true},"#);
        };
        let said = payload.source().get(at.clone()).unwrap_or_default();
        let mut options: serde_json::Map<String, serde_json::Value> =
            serde_json::from_slice(said).unwrap_or_default();
        options.insert("include_usage".into(), true.into());
        let options = serde_json::Value::Object(options).to_string();
        payload.edited(at, options)
    }

    fn cap_output(&self, payload: Payload, cap: u64, is_old: bool) -> Payload {
        match is_old {
            true => capped(payload, "max_tokens", &["max_completion_tokens", "max_tokens"], cap),
            false => capped(payload, "max_completion_tokens", &["max_completion_tokens"], cap),
        }
    }

    fn ask_for_stream(&self, payload: Payload) -> Option<Payload> {
        assembled::asked(payload)
    }

    fn usage_is_extra(&self, head: &Head) -> bool {
        head.stream && !head.include_usage
    }

    fn without_usage(&self, event: &sse::Event) -> Option<Bytes> {
        match USAGE.value(&event.data) {
            Some(b'{') if has_no_choices(&event.data) => None,
            Some(b'n') => Some(without_null_usage(&event.raw)),
            _ => Some(event.raw.clone()),
        }
    }

    fn continued(&self, request: &str, said: &str, goes_on_by_itself: bool) -> Option<String> {
        continued::continued(request, continued::MESSAGES, said, goes_on_by_itself)
    }

    fn read_usage(&self, json: &[u8], tokens: &mut Tokens) -> bool {
        let mut work = Work::from(*tokens);
        let is_said = self.read_work(json, &mut work);
        *tokens = work.tokens;
        is_said
    }

    fn read_work(&self, json: &[u8], work: &mut Work) -> bool {
        // Not every chunk names the class, and the one with the counts need not.
        tier::merge(json, &mut work.units.tier);
        work.count(usage::of(json))
    }

    fn output_bytes(&self, event: &sse::Event) -> usize {
        [&CONTENT, &ARGUMENTS, &REASONING].iter().find_map(|member| member.text(&event.data)).unwrap_or(0)
    }

    fn finish<'a>(&self, json: &'a [u8]) -> Option<&'a str> {
        FINISH_REASON.word(json)
    }

    fn tool_calls(&self, json: &[u8]) -> u32 {
        // Only the first piece of a call has a name.
        NAME.texts(json)
    }

    fn is_content(&self, event: &sse::Event) -> bool {
        json::parse::<Chunk>(&event.data)
            .is_ok_and(|chunk| chunk.choices.iter().any(ChunkChoice::has_content))
    }

    fn closing(&self, event: &sse::Event) -> Option<Closing> {
        if event.data.trim_ascii_start().starts_with(b"[DONE]") {
            return Some(Closing::Last);
        }
        // OpenRouter has a reason to end beside its error.
        if let Some(error) = failure::said(&event.data) {
            return Some(Closing::Failed(error));
        }
        FINISH_REASON.word(&event.data)?;
        Some(failure::finished(&event.data).map_or(Closing::Proper, Closing::Failed))
    }

    fn error_in_answer(&self, body: &Bytes) -> Option<Error> {
        error_in_answer(body).or_else(|| failure::finished(body))
    }

    fn read_error(&self, reply: Reply) -> Error {
        openai_error::read(reply)
    }

    fn render_error(&self, error: &Error, _: &RequestId) -> (StatusCode, Bytes) {
        openai_error::render(error)
    }

    fn error_event(&self, error: &Error, _: &RequestId, _: &Sent) -> Bytes {
        openai_error::event(error)
    }

    fn codec(&self) -> Option<Codec> {
        Some(Codec::Chat(&codec::OpenAiChatCodec))
    }
}

/// Whether a chat has tools for a model that is going to think, which some of OpenAI don't do together here.
fn thinks_with_tools(body: &[u8], model: &ModelFacts) -> bool {
    #[derive(Deserialize)]
    struct Asked<'a> {
        tools: Option<Vec<IgnoredAny>>,
        #[serde(borrow)]
        reasoning_effort: Option<Str<'a>>,
    }
    json::parse::<Asked<'_>>(body).is_ok_and(|asked| {
        let thinks = match asked.reasoning_effort.as_deref() {
            Some(effort) => effort != "none",
            // A model that may not think does so only when it is told to.
            None => !model.supports("none_reasoning_effort"),
        };
        thinks && asked.tools.is_some_and(|tools| !tools.is_empty())
    })
}

/// The error in an answer that should be a JSON object without one.
pub(super) fn error_in_answer(body: &Bytes) -> Option<Error> {
    let text = match json::object_in(body) {
        Ok(text) => text,
        Err(error) => return Some(error),
    };
    failure::said(text)
}

fn has_no_choices(data: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Choices {
        choices: Option<Vec<IgnoredAny>>,
    }
    json::parse::<Choices>(data).is_ok_and(|chunk| chunk.choices.is_none_or(|choices| choices.is_empty()))
}

/// Cuts the member that says nothing, and which the client did not ask for.
fn without_null_usage(raw: &Bytes) -> Bytes {
    let Some(at) = USAGE.null(raw) else { return raw.clone() };
    let mut without = BytesMut::with_capacity(raw.len());
    without.extend_from_slice(&raw[..at.start]);
    without.extend_from_slice(&raw[at.end..]);
    without.freeze()
}

#[derive(Deserialize)]
struct Chunk {
    choices: Vec<ChunkChoice>,
}

#[derive(Deserialize)]
struct ChunkChoice {
    delta: Option<Says>,
    finish_reason: Option<IgnoredAny>,
}

impl ChunkChoice {
    fn has_content(&self) -> bool {
        self.finish_reason.is_some() || self.delta.as_ref().is_some_and(|Says(something)| *something)
    }
}

/// Whether a delta says something: a role and empty members promise nothing yet.
struct Says(bool);

impl<'de> Deserialize<'de> for Says {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Says;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Says, A::Error> {
                let mut says = false;
                while let Some(name) = members.next_key::<Str<'de>>()? {
                    let value: &RawValue = members.next_value()?;
                    says |= &*name != "role" && !matches!(value.get(), "null" | "\"\"" | "[]" | "{}");
                }
                Ok(Says(says))
            }
        }

        deserializer.deserialize_map(Members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Exchange, Kind};

    fn peek(body: &str) -> Result<Head, Error> {
        let (parts, ()) = http::Request::post("/v1/chat/completions").body(()).unwrap().into_parts();
        OPENAI_CHAT.peek(&parts, body)
    }

    fn asked_for_usage(body: &'static str) -> Bytes {
        let payload = Payload::new(&OPENAI_CHAT, peek(body).unwrap(), body.into(), Exchange::default());
        OPENAI_CHAT.ask_for_usage(payload).to_bytes()
    }

    fn event(data: &'static str) -> sse::Event {
        sse::Event { raw: format!("data: {data}\n\n").into(), name: Bytes::new(), data: data.into() }
    }

    #[test]
    fn the_class_of_service_and_searches_are_seen() {
        let head = peek(r#"{"model":"m","service_tier":"priority","web_search_options":{}}"#).unwrap();

        assert_eq!((head.tier, head.searches, head.reads_more), (Some(Tier::Priority), MOST_SEARCHES, true));
        let head = peek(r#"{"model":"m","service_tier":null,"web_search_options":null}"#).unwrap();
        assert_eq!((head.tier, head.searches, head.reads_more), (None, 0, false));
    }

    #[test]
    fn sound_searches_and_the_class_of_service_are_counted() {
        let mut work = Work::default();
        let said = br#"{"service_tier":"flex","usage":{"prompt_tokens":9,"completion_tokens":5,"num_search_queries":2,
            "prompt_tokens_details":{"audio_tokens":7},"completion_tokens_details":{"audio_tokens":3}}}"#;

        assert!(OPENAI_CHAT.read_work(said, &mut work));

        assert_eq!((work.tokens.input, work.tokens.output), (9, 5));
        assert_eq!((work.units.media_input, work.units.media_output), (7, 3));
        assert_eq!((work.units.web_searches, work.units.tier), (2, Tier::Flex));
    }

    #[test]
    fn the_head_is_read_wherever_its_members_stand() {
        let body = r#" {"messages":[{"model":"no"}],"max_completion_tokens":9,"max_tokens":5,"stream":true,"n":2,"model" : "gpt\u002d4o"}"#;

        let head = peek(body).unwrap();

        assert_eq!((&*head.model, head.stream, head.max_output, head.choices), ("gpt-4o", true, Some(9), 2));
        assert_eq!(&body[head.model_at.unwrap()], r#""gpt\u002d4o""#);
    }

    #[test]
    fn what_is_wrong_with_a_head_is_named() {
        let refused = |body: &str| peek(body).unwrap_err().message().to_owned();

        assert_eq!(refused("{}"), "model: missing field `model`");
        assert_eq!(refused(r#"{"model":7}"#), "model: expected a string");
        assert_eq!(refused(r#"{"model":""}"#), "model: expected a name");
        assert_eq!(
            refused(r#"{"model":"m","stream":"yes"}"#),
            "stream: expected a boolean at line 1 column 27"
        );
        assert_eq!(
            refused(r#"{"model":"m","max_tokens":-1}"#),
            "max_tokens: expected a whole number at line 1 column 28"
        );
        assert!(refused(r#"{"model":"cheap","model":"dear"}"#).contains("duplicate field `model`"));
        assert!(peek(r#"{"model":"cheap","models":["dear"]}"#).is_ok_and(|head| head.has_wishes));
        assert!(peek(r#"{"model":"cheap","provider":{}}"#).is_ok_and(|head| head.has_wishes));
        assert!(refused(r#"{"model":"cheap","preset":"dear"}"#).starts_with("preset: only `model`"));
        let plugin =
            r#"{"model":"m","plugins":[{"id":"web","model":null},{"id":"fusion","judge_model":"dear"}]}"#;
        assert!(refused(plugin).starts_with("plugins[1].judge_model: only `model`"));
        assert!(peek(r#"{"model":"m","plugins":[{"id":"web","max_results":3}]}"#).is_ok());
        assert_eq!(refused("[]"), "the body is not a JSON object");
    }

    #[test]
    fn usage_is_asked_for_once() {
        let with = r#"{"stream_options":{"include_usage":true},"model":"m","stream":true}"#;

        assert_eq!(asked_for_usage(r#"{"model":"m","stream":true}"#), with);
        assert_eq!(asked_for_usage(with), with);
        assert_eq!(asked_for_usage(r#"{"model":"m"}"#), r#"{"model":"m"}"#);
        for options in ["null", "{}", r#"{"include_usage":false}"#] {
            let body = format!(r#"{{"stream_options":{options},"model":"m","stream":true}}"#);
            assert_eq!(asked_for_usage(body.leak()), with);
        }
    }

    #[test]
    fn a_client_that_has_not_asked_sees_no_usage() {
        // C107
        let chunk = event(r#"{"id":"c","choices":[{"index":0,"delta":{"content":"usage"}}],"usage":null}"#);
        let usage = event(r#"{"id":"c","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2}}"#);

        let passed = OPENAI_CHAT.without_usage(&chunk).unwrap();

        assert_eq!(
            passed,
            "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"usage\"}}]}\n\n"
        );
        assert_eq!(OPENAI_CHAT.without_usage(&usage), None);
        // As other servers write it.
        let spaced = event(r#"{"usage": null, "choices": [{"index": 0}]}"#);
        assert_eq!(OPENAI_CHAT.without_usage(&spaced).unwrap(), "data: { \"choices\": [{\"index\": 0}]}\n\n");
        assert_eq!(OPENAI_CHAT.without_usage(&event(r#"{"id":"c","usage":{"prompt_tokens":1}}"#)), None);
        let both = event(r#"{"choices":[{"index":0}],"usage":{"prompt_tokens":1}}"#);
        assert_eq!(OPENAI_CHAT.without_usage(&both), Some(both.raw));
    }

    #[test]
    fn content_begins_with_the_first_delta_that_says_something() {
        let is_content = |data| OPENAI_CHAT.is_content(&event(data));

        assert!(!is_content(r#"{"choices":[{"delta":{"role":"assistant","content":"","refusal":null}}]}"#));
        assert!(!is_content(r#"{"choices":[],"prompt_filter_results":[]}"#));
        assert!(!is_content("[DONE]"));
        assert!(is_content(r#"{"choices":[{"delta":{"content":"Hi"}}]}"#));
        assert!(is_content(r#"{"choices":[{"delta":{"tool_calls":[{"index":0}]}}]}"#));
        assert!(is_content(r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#));
    }

    #[test]
    fn a_stream_ends_with_a_reason_or_an_error() {
        let closing = |data| OPENAI_CHAT.closing(&event(data));

        assert!(matches!(closing("[DONE]"), Some(Closing::Last)));
        assert!(matches!(closing(r#"{"choices":[{"finish_reason":"stop"}]}"#), Some(Closing::Proper)));
        assert!(matches!(
            closing(r#"{"error":{"message":"x","code":"server_error"}}"#),
            Some(Closing::Failed(_))
        ));
        assert!(
            closing(r#"{"choices":[{"finish_reason":null,"delta":{"content":"\"error\":1"}}]}"#).is_none()
        );
    }

    #[test]
    fn a_stream_that_a_server_gave_up_has_failed_whatever_else_it_says() {
        // C92, C94
        let kind = |data| match OPENAI_CHAT.closing(&event(data)) {
            Some(Closing::Failed(error)) => Some(error.kind()),
            _ => None,
        };

        let openrouter = r#"{"id":"x","error":{"code":502,"message":"m"},"choices":[{"index":0,"delta":{"content":""},"finish_reason":"error"}]}"#;
        assert_eq!(kind(openrouter), Some(Kind::Upstream));
        let groq = r#"{"choices":[{"delta":{},"finish_reason":null}],"x_groq":{"error":"over_capacity"}}"#;
        assert_eq!(kind(groq), Some(Kind::Upstream));
        let deepseek = r#"{"choices":[{"delta":{},"finish_reason":"insufficient_system_resource"}]}"#;
        assert_eq!(kind(deepseek), Some(Kind::Overloaded));
        assert_eq!(
            OPENAI_CHAT.error_in_answer(&deepseek.into()).map(|error| error.kind()),
            Some(Kind::Overloaded)
        );
    }

    #[test]
    fn reasoning_that_a_provider_leaves_out_is_counted() {
        let mut tokens = Tokens::default();

        let xai = br#"{"usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":22,"completion_tokens_details":{"reasoning_tokens":7}}}"#;

        assert!(OPENAI_CHAT.read_usage(xai, &mut tokens));
        assert_eq!((tokens.output, tokens.reasoning), (12, 7));
        assert!(!OPENAI_CHAT.read_usage(br#"{"usage":null}"#, &mut tokens));
    }

    #[test]
    fn a_model_is_asked_here_unless_it_is_known_not_to_take_it() {
        // C54
        let payload = |body: &'static str| {
            Payload::new(&OPENAI_CHAT, Head::default(), body.into(), crate::Exchange::default())
        };
        let takes = |facts: &ModelFacts, body| OPENAI_CHAT.takes(&payload(body), facts);
        let tools = r#"{"tools":[{}]}"#;
        let thinking = r#"{"tools":[{}],"reasoning_effort":"low"}"#;
        let optional = ModelFacts::new(["none_reasoning_effort"], ["chat_tools_with_reasoning"]);
        let always = ModelFacts::new([], ["chat_tools_with_reasoning"]);

        assert!(takes(&ModelFacts::default(), thinking));
        assert!(!takes(&ModelFacts::new([], ["chat_completions"]), "{}"));
        assert!(takes(&optional, tools) && !takes(&optional, thinking));
        assert!(!takes(&always, tools) && takes(&always, r#"{"tools":[],"reasoning_effort":"low"}"#));
        assert!(takes(&always, r#"{"tools":[{}],"reasoning_effort":"none"}"#));
    }
}
