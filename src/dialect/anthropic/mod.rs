//! Anthropic messages.
//!
//! Source: Anthropic's API reference, `POST /v1/messages`, versions `2023-06-01` and `2026-10-21`.

mod answer;
mod cache;
mod citations;
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
use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;

use self::codec::AnthropicCodec;
use super::proof;
use super::{
    Closing, Codec, Dialect, GEMINI, LimitHeaders, MOST_SEARCHES, Sent, asked_model, assembled, continued,
    exact, gemini,
    json::{self, Member, span},
    text::Str,
};
use crate::{
    Error, Kind, Payload, Target, Tokens, Work, body::sse, error::Reply, exchange::RequestId, payload::Head,
    price::Tier,
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
static TOOL_USE: Member = Member::new(|| Finder::new(b"\"tool_use\""));
static STOP_REASON: Member = Member::new(|| Finder::new(b"\"stop_reason\""));

#[derive(Deserialize)]
struct Shallow<'a> {
    #[serde(borrow)]
    model: Option<&'a RawValue>,
    stream: Option<bool>,
    max_tokens: Option<u64>,
    #[serde(borrow)]
    service_tier: Option<Str<'a>>,
    #[serde(borrow)]
    speed: Option<Str<'a>>,
    #[serde(borrow)]
    tools: Option<Vec<ShallowTool<'a>>>,
    #[serde(borrow)]
    metadata: Option<&'a RawValue>,
    mcp_servers: Option<Vec<IgnoredAny>>,
    container: Option<IgnoredAny>,
    /// Other models, for what this one refuses to answer.
    fallbacks: Option<IgnoredAny>,
    /// What OpenRouter reads of who shall answer.
    #[serde(borrow)]
    models: Option<&'a RawValue>,
    provider: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct ShallowTool<'a> {
    #[serde(borrow)]
    r#type: Option<Str<'a>>,
    max_uses: Option<u64>,
    model: Option<IgnoredAny>,
}

impl Shallow<'_> {
    /// Refuses to ask other models than the one that is checked and priced.
    fn check_models(&self) -> Result<(), Error> {
        let refused = |param: String, instead: &str| {
            let message = format!("{param}: only `model` can be asked for; {instead}");
            Err(Error::new(Kind::InvalidRequest, message).with_param(param))
        };
        if self.fallbacks.is_some() {
            return refused("fallbacks".into(), "the gateway's own routes have several targets");
        }
        match self.tools.iter().flatten().position(|tool| tool.model.is_some()) {
            Some(index) => refused(format!("tools[{index}].model"), "no tool may ask another one"),
            None => Ok(()),
        }
    }

    fn tier(&self) -> Option<Tier> {
        match self.speed.as_deref() {
            Some("fast") => Some(Tier::Fast),
            _ => Tier::asked(self.service_tier.as_deref()),
        }
    }

    /// The most searches of the web, and whether the provider reads more than what is here.
    fn reads(&self) -> (u64, bool) {
        let is = |tool: &&ShallowTool<'_>, kinds: &[&str]| {
            tool.r#type.as_deref().is_some_and(|kind| kinds.iter().any(|other| kind.starts_with(other)))
        };
        let tools = || self.tools.iter().flatten();
        let searches = tools().filter(|tool| is(tool, &["web_search"]));
        let searches =
            searches.map(|tool| tool.max_uses.unwrap_or(MOST_SEARCHES)).fold(0, u64::saturating_add);
        let runs_tools = tools().any(|tool| is(&tool, &["web_search", "web_fetch", "code_execution"]));
        let has_servers = self.mcp_servers.as_ref().is_some_and(|servers| !servers.is_empty());
        (searches, runs_tools || has_servers || self.container.is_some())
    }
}

impl Dialect for Anthropic {
    fn id(&self) -> &'static str {
        "anthropic-messages"
    }

    fn speaks(&self, path: &str) -> bool {
        matches!(path, "/v1/messages" | "/messages")
    }

    fn is_of_others(&self, payload: &Payload, _: &Target) -> bool {
        // Thoughts that nobody has proven have an empty signature, and so have pages that others have found.
        let beginnings = ["\"openai:", "\"gemini:", "\"\""];
        let names = ["signature", "data", "encrypted_index"];
        beginnings.iter().any(|beginning| proof::is_given(payload.source(), &names, beginning))
    }

    fn output_caps(&self) -> &'static [&'static str] {
        &["max_tokens"]
    }

    fn path(&self, _: &Payload) -> Cow<'static, str> {
        "/v1/messages".into()
    }

    fn peek(&self, parts: &Parts, body: &str) -> Result<Head, Error> {
        let shallow: Shallow<'_> = exact::read(body)?;
        shallow.check_models()?;
        let (searches, reads_more) = shallow.reads();
        Ok(Head {
            tier: shallow.tier(),
            searches,
            reads_more,
            has_wishes: shallow.models.is_some() || shallow.provider.is_some(),
            stream: shallow.stream.unwrap_or(false),
            include_usage: true,
            max_output: shallow.max_tokens,
            choices: 1,
            metadata_at: shallow.metadata.map(|raw| span(body, raw.get())),
            ..asked_model::head(parts, body, shallow.model, shallow.models)?
        })
    }

    fn ask_for_stream(&self, payload: Payload) -> Option<Payload> {
        assembled::asked(payload)
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
        usage::merge_of(json, work)
    }

    fn output_bytes(&self, event: &sse::Event) -> usize {
        if event.name != "content_block_delta" {
            return 0;
        }
        [&TEXT, &PARTIAL_JSON, &THINKING].iter().find_map(|member| member.text(&event.data)).unwrap_or(0)
    }

    fn finish<'a>(&self, json: &'a [u8]) -> Option<&'a str> {
        STOP_REASON.word(json)
    }

    fn tool_calls(&self, json: &[u8]) -> u32 {
        TOOL_USE.types(json)
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
    fn what_is_asked_for_beside_the_answer_is_seen() {
        let asks = |rest: &str| {
            let (parts, ()) = http::Request::new(()).into_parts();
            let head = ANTHROPIC.peek(&parts, &format!(r#"{{"model":"m",{rest}}}"#)).unwrap();
            (head.tier, head.searches, head.reads_more)
        };

        assert_eq!(asks(r#""service_tier":"auto","tools":[{"name":"web_search"}]"#), (None, 0, false));
        assert_eq!(asks(r#""service_tier":"standard_only""#), (Some(Tier::Standard), 0, false));
        assert_eq!(asks(r#""speed":"fast""#), (Some(Tier::Fast), 0, false));
        let searches =
            r#""tools":[{"type":"web_search_20260318","name":"web_search","max_uses":3},{"type":"custom"}]"#;
        assert_eq!(asks(searches), (None, 3, true));
        assert_eq!(asks(r#""tools":[{"type":"bash_20250124"}],"mcp_servers":[]"#), (None, 0, false));
        assert_eq!(asks(r#""mcp_servers":[{"url":"https://a.example"}]"#), (None, 0, true));
    }

    #[test]
    fn other_models_are_not_asked() {
        let refused = |rest: &str| {
            let (parts, ()) = http::Request::new(()).into_parts();
            let error = ANTHROPIC.peek(&parts, &format!(r#"{{"model":"cheap",{rest}}}"#)).err()?;
            assert_eq!(error.kind(), Kind::InvalidRequest);
            assert!(error.message().contains("only `model` can be asked for"), "{error}");
            error.param().map(ToOwned::to_owned)
        };

        assert_eq!(refused(r#""fallbacks":[{"model":"dear"}]"#).as_deref(), Some("fallbacks"));
        let advisor = r#""tools":[{"name":"f"},{"type":"advisor_20260301","name":"advisor","model":"dear"}]"#;
        assert_eq!(refused(advisor).as_deref(), Some("tools[1].model"));
        assert_eq!(refused(r#""fallbacks":null,"tools":[{"name":"f","model":null}]"#), None);
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
            ..Tokens::default()
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
