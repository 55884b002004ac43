//! OpenAI responses.
//!
//! What OpenAI keeps for its clients – earlier responses, conversations, stored prompts – can be had where
//! the provider speaks this dialect itself; a request that leans on it can't be translated and is refused,
//! naming the field. So is work in the background everywhere: nobody would learn here what it costs.
//!
//! Source: OpenAI's API description, `CreateResponse`.

mod answer;
mod codec;
mod conversation;
mod count;
mod decode;
mod echo;
mod encode;
mod error;
mod event;
mod finish;
mod history;
mod items;
mod open;
mod parts;
mod reasoning;
mod response;
mod stream_in;
mod stream_out;
#[cfg(test)]
mod testing;
mod tools;
pub(super) mod usage;
mod wire;

pub use self::count::OPENAI_COUNT;

use std::borrow::Cow;

use bytes::Bytes;
use http::{StatusCode, request::Parts};
use memchr::memmem::Finder;
use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;

use super::{
    Closing, Codec, Dialect, MOST_SEARCHES, Sent, asked_model, assembled,
    cap::capped,
    continued, exact,
    json::{self, Member, span},
    openai_chat::CacheOptions,
    openai_error, other_models,
    text::Str,
    tier,
};
use crate::{
    Error, Kind, Payload, Target, Tokens, Work, body::sse, error::Reply, exchange::RequestId, payload::Head,
    price::Tier, target::ModelFacts,
};

/// `POST /v1/responses`.
pub static OPENAI_RESPONSES: OpenAiResponses = OpenAiResponses;

/// The dialect of OpenAI's responses.
#[derive(Clone, Copy, Debug)]
pub struct OpenAiResponses;

/// The dialect's name, in opaque values too.
const ID: &str = "openai-responses";

static USAGE: Member = Member::new(|| Finder::new(b"\"usage\""));
static STATUS: Member = Member::new(|| Finder::new(b"\"status\""));
static TYPE: Member = Member::new(|| Finder::new(b"\"type\""));
static FUNCTION_CALL: Member = Member::new(|| Finder::new(b"\"function_call\""));
static DELTA: Member = Member::new(|| Finder::new(b"\"delta\""));
static ERROR: Member = Member::new(|| Finder::new(b"\"error\""));

#[derive(Deserialize)]
struct Shallow<'a> {
    #[serde(borrow)]
    model: Option<&'a RawValue>,
    stream: Option<bool>,
    max_output_tokens: Option<u64>,
    background: Option<bool>,
    #[serde(borrow)]
    service_tier: Option<Str<'a>>,
    #[serde(borrow)]
    tools: Option<Vec<ShallowTool<'a>>>,
    max_tool_calls: Option<u64>,
    #[serde(borrow)]
    prompt_cache_options: Option<CacheOptions<'a>>,
    #[serde(borrow)]
    user: Option<&'a RawValue>,
    #[serde(borrow)]
    safety_identifier: Option<&'a RawValue>,
    #[serde(borrow)]
    metadata: Option<&'a RawValue>,
    previous_response_id: Option<IgnoredAny>,
    conversation: Option<IgnoredAny>,
    prompt: Option<IgnoredAny>,
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

#[derive(Deserialize)]
struct ShallowTool<'a> {
    #[serde(borrow)]
    r#type: Option<Str<'a>>,
    model: Option<IgnoredAny>,
}

impl Shallow<'_> {
    /// Refuses a tool that asks another model than the one that was checked, and one whose use no answer
    /// counts: images that a tool has made are not among the tokens.
    fn check_tools(&self) -> Result<(), Error> {
        let mut tools = self.tools.iter().flatten();
        let draws = |tool: &ShallowTool<'_>| tool.r#type.as_deref() == Some("image_generation");
        if let Some(index) = tools.position(draws) {
            let param = format!("tools[{index}].type");
            let message = format!(
                "{param}: what the images of `image_generation` cost is not known here; images have an endpoint of their own"
            );
            return Err(Error::new(Kind::InvalidRequest, message).with_param(param));
        }
        let mut tools = self.tools.iter().flatten().enumerate();
        let Some((index, _)) = tools.find(|(_, tool)| tool.model.is_some()) else { return Ok(()) };
        let param = format!("tools[{index}].model");
        let message = format!("{param}: only `model` can be asked for; images have an endpoint of their own");
        Err(Error::new(Kind::InvalidRequest, message).with_param(param))
    }

    /// Whether there is a container to run code in.
    fn runs_code(&self) -> bool {
        let of_code = |tool: &ShallowTool<'_>| {
            tool.r#type.as_deref().is_some_and(|kind| matches!(kind, "code_interpreter" | "shell"))
        };
        self.tools.iter().flatten().any(of_code)
    }

    /// The most searches of the web, and whether the provider reads more than what is here.
    fn reads(&self) -> (u64, bool) {
        let is = |tool: &ShallowTool<'_>, kinds: &[&str]| {
            tool.r#type.as_deref().is_some_and(|kind| kinds.iter().any(|other| kind.starts_with(other)))
        };
        let any = |kinds: &[&str]| self.tools.iter().flatten().any(|tool| is(tool, kinds));
        let searches = if any(&["web_search"]) { self.max_tool_calls.unwrap_or(MOST_SEARCHES) } else { 0 };
        let is_kept = self.previous_response_id.or(self.conversation).or(self.prompt).is_some();
        let kinds = ["web_search", "file_search", "code_interpreter", "mcp", "shell"];
        (searches, is_kept || any(&kinds))
    }
}

impl Dialect for OpenAiResponses {
    fn id(&self) -> &'static str {
        ID
    }

    fn speaks(&self, path: &str) -> bool {
        matches!(path, "/v1/responses" | "/responses")
    }

    fn takes(&self, _: &Payload, model: &ModelFacts) -> bool {
        !model.lacks("responses")
    }

    fn is_of_others(&self, payload: &Payload, _: &Target) -> bool {
        reasoning::is_of_others(payload.source())
    }

    fn output_caps(&self) -> &'static [&'static str] {
        &["max_output_tokens"]
    }

    fn path(&self, _: &Payload) -> Cow<'static, str> {
        "/responses".into()
    }

    fn peek(&self, parts: &Parts, body: &str) -> Result<Head, Error> {
        let shallow: Shallow<'_> = exact::read(body)?;
        if shallow.background == Some(true) {
            let message =
                "background: not available, because what is used after the answer is not known here";
            return Err(Error::new(Kind::InvalidRequest, message).with_param("background"));
        }
        other_models::check(shallow.preset, shallow.plugins)?;
        shallow.check_tools()?;
        let (searches, reads_more) = shallow.reads();
        let code_sessions = shallow.runs_code().into();
        let at = |raw: Option<&RawValue>| raw.map(|raw| span(body, raw.get()));
        Ok(Head {
            has_wishes: shallow.models.is_some() || shallow.provider.is_some(),
            stream: shallow.stream.unwrap_or(false),
            include_usage: true,
            tier: Tier::asked(shallow.service_tier.as_deref()),
            searches,
            code_sessions,
            reads_more,
            keeps_long: shallow.prompt_cache_options.is_some_and(|options| options.keeps_long()),
            max_output: shallow.max_output_tokens,
            choices: 1,
            user_at: at(shallow.safety_identifier.or(shallow.user)),
            metadata_at: at(shallow.metadata),
            ..asked_model::head(parts, body, shallow.model, shallow.models)?
        })
    }

    fn cap_output(&self, payload: Payload, cap: u64, _: bool) -> Payload {
        capped(payload, "max_output_tokens", &["max_output_tokens"], cap.max(encode::LEAST_OUTPUT))
    }

    fn ask_for_stream(&self, payload: Payload) -> Option<Payload> {
        assembled::asked(payload)
    }

    fn continued(&self, request: &str, said: &str, goes_on_by_itself: bool) -> Option<String> {
        continued::continued(request, continued::ITEMS, said, goes_on_by_itself)
    }

    fn read_usage(&self, json: &[u8], tokens: &mut Tokens) -> bool {
        let mut work = Work::from(*tokens);
        let is_said = self.read_work(json, &mut work);
        *tokens = work.tokens;
        is_said
    }

    fn read_work(&self, json: &[u8], work: &mut Work) -> bool {
        // Schemas and metadata may have a member of this name too, so its value says nothing yet.
        let counted = USAGE.value(json).and_then(|_| usage::of(json));
        if counted.is_some() {
            tier::merge(json, &mut work.units.tier);
        }
        work.count(counted)
    }

    fn output_bytes(&self, event: &sse::Event) -> usize {
        DELTA.text(&event.data).unwrap_or(0)
    }

    fn finish<'a>(&self, json: &'a [u8]) -> Option<&'a str> {
        STATUS.word(json)
    }

    fn tool_calls(&self, json: &[u8]) -> u32 {
        // Later events say again what is in the ones before.
        match TYPE.word(json) {
            Some(kind) if kind.starts_with("response.") && kind != "response.output_item.added" => 0,
            _ => FUNCTION_CALL.types(json),
        }
    }

    fn is_content(&self, event: &sse::Event) -> bool {
        match &*kind(event) {
            "response.created"
            | "response.queued"
            | "response.in_progress"
            | "response.failed"
            | "response.content_part.added"
            | "response.reasoning_summary_part.added" => false,
            // A message promises nothing yet; a tool's name does, and so do thoughts.
            "response.output_item.added" => !begins_message(&event.data),
            kind => kind.starts_with("response."),
        }
    }

    fn closing(&self, event: &sse::Event) -> Option<Closing> {
        match &*kind(event) {
            "response.completed" | "response.incomplete" => Some(Closing::Last),
            "response.failed" | "error" => Some(Closing::Failed(error::in_event(&event.data))),
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
            Some(_) => openai_error::read_inside(text),
        }
    }

    fn read_error(&self, reply: Reply) -> Error {
        openai_error::read(reply)
    }

    fn render_error(&self, error: &Error, _: &RequestId) -> (StatusCode, Bytes) {
        openai_error::render(error)
    }

    fn error_event(&self, error: &Error, id: &RequestId, sent: &Sent) -> Bytes {
        error::event(error, id, sent)
    }

    fn numbers_events(&self) -> bool {
        true
    }

    fn codec(&self) -> Option<Codec> {
        Some(Codec::Chat(&codec::OpenAiResponsesCodec))
    }
}

/// The type inside of the data, which goes before the event's name.
fn kind(event: &sse::Event) -> Cow<'_, str> {
    #[derive(Deserialize)]
    struct Typed<'a> {
        #[serde(borrow)]
        r#type: Option<Str<'a>>,
    }
    // OpenAI always begins like this, and the whole of an event is not worth reading for its type.
    let plain = event.data.strip_prefix(b"{\"type\":\"").and_then(|rest| {
        let end = memchr::memchr2(b'"', b'\\', rest)?;
        std::str::from_utf8(rest.get(..end)?).ok().filter(|_| rest.get(end) == Some(&b'"'))
    });
    if let Some(kind) = plain {
        return Cow::Borrowed(kind);
    }
    match json::parse::<Typed<'_>>(&event.data) {
        Ok(Typed { r#type: Some(kind) }) => kind.into(),
        _ => String::from_utf8_lossy(&event.name),
    }
}

fn begins_message(data: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Added<'a> {
        #[serde(borrow)]
        item: Item<'a>,
    }
    #[derive(Deserialize)]
    struct Item<'a> {
        #[serde(borrow)]
        r#type: Str<'a>,
    }
    json::parse::<Added<'_>>(data).is_ok_and(|added| &*added.item.r#type == "message")
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;
    use crate::{Kind, body::sse::Splitter};

    fn peek(body: &str) -> Result<Head, Error> {
        let (parts, ()) = Request::new(()).into_parts();
        OPENAI_RESPONSES.peek(&parts, body)
    }

    fn event(data: &str) -> sse::Event {
        let mut splitter = Splitter::default();
        splitter.push(format!("data: {data}\n\n").into()).unwrap();
        splitter.next_event().unwrap()
    }

    #[test]
    fn the_head_is_read_without_the_rest() {
        let body = r#"{"input":[{"type":"message"}],"model":"gpt-x","stream":true,"max_output_tokens":50}"#;

        let head = peek(body).unwrap();

        assert_eq!((&*head.model, head.stream, head.max_output), ("gpt-x", true, Some(50)));
        assert_eq!(&body[head.model_at.unwrap()], r#""gpt-x""#);
        assert_eq!(peek(r#"{"prompt":{"id":"p"}}"#).unwrap_err().param(), Some("model"));
        let unpaid = peek(r#"{"model":"m","background":true}"#);
        assert_eq!(unpaid.unwrap_err().param(), Some("background"));
        assert!(peek(r#"{"model":"m","background":false}"#).is_ok());
    }

    #[test]
    fn no_tool_asks_another_model_behind_the_back_of_the_key() {
        let tools = r#"{"model":"m","tools":[{"type":"function"},{"type":"painter","model":"gpt-image-1"}]}"#;

        let error = peek(tools).unwrap_err();

        assert_eq!((error.kind(), error.param()), (Kind::InvalidRequest, Some("tools[1].model")));
        assert!(peek(r#"{"model":"m","models":["dear"]}"#).is_ok_and(|head| head.has_wishes));
        assert!(peek(r#"{"model":"m","tools":[{"type":"painter","model":null}]}"#).is_ok());
    }

    #[test]
    fn no_tool_makes_images_that_nobody_counts() {
        let error = peek(r#"{"model":"m","tools":[{"type":"image_generation"}]}"#).unwrap_err();

        assert_eq!((error.kind(), error.param()), (Kind::InvalidRequest, Some("tools[0].type")));
    }

    #[test]
    fn what_the_provider_does_by_itself_is_seen() {
        let asks = |rest: &str| {
            let head = peek(&format!(r#"{{"model":"m",{rest}}}"#)).unwrap();
            (head.tier, head.searches, head.reads_more)
        };

        assert_eq!(asks(r#""service_tier":"auto","tools":[{"type":"function"}]"#), (None, 0, false));
        assert_eq!(asks(r#""service_tier":"default""#), (Some(Tier::Standard), 0, false));
        assert_eq!(asks(r#""tools":[{"type":"web_search_preview"}]"#), (None, MOST_SEARCHES, true));
        assert_eq!(asks(r#""max_tool_calls":2,"tools":[{"type":"web_search"}]"#), (None, 2, true));
        assert_eq!(asks(r#""previous_response_id":"resp_1""#), (None, 0, true));
        let sessions =
            |kind| peek(&format!(r#"{{"model":"m","tools":[{{"type":"{kind}"}}]}}"#)).unwrap().code_sessions;
        assert_eq!((sessions("code_interpreter"), sessions("file_search")), (1, 0));
        assert_eq!(asks(r#""previous_response_id":null,"tools":null"#), (None, 0, false));
        let keeps = |ttl| peek(&format!(r#"{{"model":"m","prompt_cache_options":{{"ttl":"{ttl}"}}}}"#));
        assert!(keeps("12h").unwrap().keeps_long && !keeps("30m").unwrap().keeps_long);
    }

    #[test]
    fn content_begins_with_the_first_thing_that_is_said_or_called() {
        let is_content = |data: &str| OPENAI_RESPONSES.is_content(&event(data));
        let added =
            |kind| format!(r#"{{"type":"response.output_item.added","item":{{"id":"x","type":"{kind}"}}}}"#);

        assert!(!is_content(r#"{"type":"response.created","response":{}}"#));
        assert!(!is_content(r#"{"type":"response.in_progress","response":{}}"#));
        assert!(
            !is_content(&added("message")) && !is_content("[DONE]") && !is_content(r#"{"type":"keepalive"}"#)
        );
        assert!(is_content(&added("function_call")) && is_content(&added("reasoning")));
        assert!(is_content(r#"{"sequence_number":4,"type":"response.output_text.delta","delta":"a"}"#));
        assert!(is_content(r#"{"type":"response.completed","response":{}}"#));
    }

    #[test]
    fn a_stream_ends_with_its_last_event_or_an_error() {
        // C92, C103
        let closing = |data| OPENAI_RESPONSES.closing(&event(data));
        let failed = |data| match closing(data) {
            Some(Closing::Failed(error)) => (error.kind(), error.message().to_owned()),
            other => panic!("{other:?}"),
        };

        assert!(matches!(closing(r#"{"type":"response.completed","response":{}}"#), Some(Closing::Last)));
        assert!(matches!(closing(r#"{"type":"response.incomplete","response":{}}"#), Some(Closing::Last)));
        assert!(
            closing(r#"{"type":"response.output_text.delta","delta":"\"response.completed\""}"#).is_none()
        );
        let limited = r#"{"type":"response.failed","response":{"id":"r","error":{"code":"rate_limit_exceeded","message":"slow"}}}"#;
        assert_eq!(failed(limited), (Kind::RateLimited, "slow".into()));
        let flat =
            r#"{"type":"error","sequence_number":3,"code":"server_error","message":"oh","param":null}"#;
        assert_eq!(failed(flat), (Kind::Upstream, "oh".into()));
        let nested =
            r#"{"type":"error","error":{"type":"x","code":"context_length_exceeded","message":"long"}}"#;
        assert_eq!(failed(nested), (Kind::ContextTooLong, "long".into()));
        assert_eq!(failed(r#"{"type":"response.failed","response":{"error":null}}"#).0, Kind::Upstream);
    }

    #[test]
    fn usage_is_found_in_answers_and_in_last_events() {
        let counts = r#"{"input_tokens":9,"input_tokens_details":{"cached_tokens":4},"output_tokens":5,"output_tokens_details":{"reasoning_tokens":3},"total_tokens":14}"#;
        let read = |json: String| {
            let mut tokens = Tokens::default();
            OPENAI_RESPONSES.read_usage(json.as_bytes(), &mut tokens).then_some(tokens)
        };
        let expected = Tokens { input: 9, cached: 4, output: 5, reasoning: 3, ..Tokens::default() };

        assert_eq!(
            read(format!(r#"{{"id":"r","metadata":{{"usage":"x"}},"usage":{counts}}}"#)),
            Some(expected)
        );
        assert_eq!(
            read(format!(r#"{{"type":"response.completed","response":{{"usage":{counts}}}}}"#)),
            Some(expected)
        );
        assert_eq!(read(r#"{"type":"response.created","response":{"usage":null}}"#.into()), None);
        assert_eq!(read(r#"{"type":"response.output_text.delta","delta":"\"usage\":{}"}"#.into()), None);
    }

    #[test]
    fn what_was_written_is_counted() {
        let delta =
            event(r#"{"type":"response.output_text.delta","item_id":"m","delta":"abc","logprobs":[]}"#);

        assert_eq!(OPENAI_RESPONSES.output_bytes(&delta), 3);
        assert_eq!(OPENAI_RESPONSES.output_bytes(&event(r#"{"type":"response.created"}"#)), 0);
    }

    #[test]
    fn an_answer_with_an_error_is_one() {
        let error = |body: &'static str| OPENAI_RESPONSES.error_in_answer(&body.into());

        assert!(error(r#"{"id":"r","error":null,"output":[]}"#).is_none());
        assert_eq!(
            error(r#"{"status":"failed","error":{"code":"rate_limit_exceeded","message":"m"}}"#)
                .unwrap()
                .kind(),
            Kind::RateLimited
        );
        assert_eq!(error("<html>").unwrap().kind(), Kind::Upstream);
    }
}
