//! A request in the canonical form, written for a provider.

use serde_json::value::RawValue;

use super::{
    effort, history,
    tools::{parallel_tools, tool_choice, tools, wrapped_tools},
    wire,
};
use crate::{
    Error, Kind, Target,
    dialect::{
        Encoded, Undo,
        canonical::{Extra, Format, Request},
        citation, json,
        lost::Lost,
        names::{Names, Rule},
        text::Str,
        text_or::TextOr,
    },
    target::ModelFacts,
};

/// The most stop texts OpenAI takes.
const MAX_STOPS: usize = 4;

/// What OpenAI takes for the name of a tool or of a schema.
const NAMES: Rule = Rule::simple(64);

/// Writes a request.
pub(crate) fn request(request: &Request<'_>, to: &Target) -> Result<Encoded, Error> {
    let facts = to.known_facts();
    let names = Names::of(request, &NAMES);
    let mut lost = Lost::default();
    citation::lose(request, |_, _| false, &mut lost);
    let plan = effort::plan(request.reasoning, facts);
    lost.push_if(plan.is_lost, "thinking");
    let takes_top_k = facts.supports("top_k");
    lost.push_if(request.top_k.is_some() && !takes_top_k, "top_k");
    let mut likelihoods = Likelihoods::default();
    for extra in request.extras.iter().filter(|extra| !is_cache_mark(&extra.field)) {
        if !likelihoods.take(extra) {
            lost.push(&extra.field);
        }
    }
    let messages = history::messages(request, &names, to, &mut lost);
    if messages.is_empty() && !request.turns.is_empty() {
        let message = "messages: nothing is left of the conversation that this model could read";
        return Err(Error::new(Kind::InvalidRequest, message).with_param("messages"));
    }
    let tools = tools(request, &names, facts, &mut lost);
    let free_text = wrapped_tools(request, facts);
    // The older name, which servers that don't know the newer one take or pass over.
    let knows_user = facts.lacks("safety_identifier");
    let mut wire = wire::Request {
        model: Some(to.model().into()),
        messages: Some(messages),
        tool_choice: tool_choice(request, &tools, &names, &mut lost)?,
        parallel_tool_calls: parallel_tools(request, tools.is_empty(), facts, &mut lost),
        tools: (!tools.is_empty()).then_some(tools),
        n: request.choices.filter(|choices| *choices > 1),
        stop: stop(request, &mut lost),
        seed: request.seed,
        logprobs: likelihoods.wanted,
        top_logprobs: likelihoods.alternatives,
        top_k: request.top_k.filter(|_| takes_top_k),
        response_format: request.format.as_ref().map(response_format),
        reasoning_effort: plan.effort.map(Str::from),
        safety_identifier: request.user.as_deref().filter(|_| !knows_user).map(Str::from),
        user: request.user.as_deref().filter(|_| knows_user).map(Str::from),
        service_tier: taken(
            request.service_tier.as_deref().filter(|tier| *tier != "auto"),
            "service_tier",
            facts,
            &mut lost,
        ),
        ..Default::default()
    };
    cap(&mut wire, request, facts);
    let keeps_sampling = !plan.thinks || facts.supports("sampling_params");
    sampling(&mut wire, request, keeps_sampling, &mut lost);
    streaming(&mut wire, request, facts);
    let body = json::written(&wire)?;
    let undo = Undo { renamed: names.into_originals(), free_text, ..Undo::default() };
    Ok(Encoded { body, lost: lost.into_names(), undo })
}

/// The wish for the likelihoods of tokens, which travels among the extras.
#[derive(Default)]
struct Likelihoods<'a> {
    wanted: Option<&'a RawValue>,
    alternatives: Option<&'a RawValue>,
}

impl<'a> Likelihoods<'a> {
    /// Whether `extra` is a part of it.
    fn take(&mut self, extra: &'a Extra<'_>) -> bool {
        match &*extra.field {
            "logprobs" => self.wanted = Some(&extra.value),
            "top_logprobs" => self.alternatives = Some(&extra.value),
            _ => return false,
        }
        true
    }
}

/// Prompts are cached without being asked for it.
fn is_cache_mark(field: &str) -> bool {
    field == "cache_control" || field.ends_with(".cache_control")
}

/// Servers that know the old name only are told by a fact; OpenAI's reasoning models refuse it.
fn cap(wire: &mut wire::Request<'_>, request: &Request<'_>, facts: &ModelFacts) {
    let cap = request.max_output.map(|cap| facts.max_output.map_or(cap, |most| cap.min(most)));
    if facts.lacks("max_completion_tokens") {
        wire.max_tokens = cap;
    } else {
        wire.max_completion_tokens = cap;
    }
}

/// OpenAI's models that think refuse anything but the defaults; those of others mostly don't.
fn sampling(wire: &mut wire::Request<'_>, request: &Request<'_>, keeps: bool, lost: &mut Lost) {
    let mut kept = |value: Option<f64>, default: f64, field: &str| {
        if keeps {
            return value;
        }
        lost.push_if(value.is_some_and(|value| value != default), field);
        None
    };
    wire.temperature = kept(request.temperature, 1.0, "temperature");
    wire.top_p = kept(request.top_p, 1.0, "top_p");
    wire.presence_penalty = kept(request.presence_penalty, 0.0, "presence_penalty");
    wire.frequency_penalty = kept(request.frequency_penalty, 0.0, "frequency_penalty");
}

/// The gateway needs the counts, whether or not the client does.
fn streaming(wire: &mut wire::Request<'_>, request: &Request<'_>, facts: &ModelFacts) {
    if request.stream {
        wire.stream = Some(true);
        wire.stream_options = (!facts.lacks("stream_options"))
            .then(|| wire::StreamOptions { include_usage: Some(true), ..Default::default() });
    }
}

fn stop<'a>(request: &'a Request<'_>, lost: &mut Lost) -> Option<TextOr<'a, Vec<Str<'a>>>> {
    let mut stops: Vec<Str<'a>> =
        request.stop.iter().filter(|stop| !stop.is_empty()).map(|stop| Str::from(&**stop)).collect();
    lost.push_if(stops.len() > MAX_STOPS, "stop_sequences");
    stops.truncate(MAX_STOPS);
    (!stops.is_empty()).then_some(TextOr::Other(stops))
}

fn response_format<'a>(format: &'a Format<'_>) -> wire::ResponseFormat<'a> {
    match format {
        Format::Json => wire::ResponseFormat { kind: Some("json_object".into()), ..Default::default() },
        Format::Schema { name, description, schema, strict } => wire::ResponseFormat {
            kind: Some("json_schema".into()),
            json_schema: Some(wire::JsonSchema {
                name: Some(NAMES.cleaned(name.as_deref().unwrap_or("answer")).into()),
                description: description.as_deref().map(Str::from),
                schema: Some(schema),
                strict: *strict,
            }),
        },
    }
}

/// A field, unless the server refuses it, which is noted then.
fn taken<'a>(value: Option<&'a str>, field: &str, facts: &ModelFacts, lost: &mut Lost) -> Option<Str<'a>> {
    let is_refused = facts.lacks(field);
    lost.push_if(is_refused && value.is_some(), field);
    value.filter(|_| !is_refused).map(Str::from)
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use serde_json::{Value, json};

    use super::*;
    use crate::dialect::canonical::{
        Cache, Content, Effort, Extra, Media, Part, Reasoning, Role, Text, Tool, ToolCall, ToolChoice,
        ToolInput, Turn,
    };

    fn target() -> Target {
        Target::new("p", "m")
    }

    fn sent(request: &Request<'_>, to: &Target) -> (Value, Vec<String>) {
        let encoded = super::request(request, to).unwrap();
        let lost = encoded.lost.iter().map(ToString::to_string).collect();
        (serde_json::from_slice(&encoded.body).unwrap(), lost)
    }

    fn messages(turns: Vec<Turn<'_>>) -> Value {
        sent(&Request { turns, ..Request::default() }, &target()).0["messages"].take()
    }

    fn user<'a, const N: usize>(parts: [Content<'a>; N]) -> Turn<'a> {
        Turn { role: Role::User, parts: parts.map(Part::from).into() }
    }

    fn assistant<'a, const N: usize>(parts: [Content<'a>; N]) -> Turn<'a> {
        Turn { role: Role::Assistant, parts: parts.map(Part::from).into() }
    }

    fn text(text: &str) -> Content<'_> {
        Content::Text(text.into())
    }

    fn call<'a>(id: &'a str, name: &'a str, arguments: &'a str) -> Content<'a> {
        Content::ToolCall(ToolCall {
            id: id.into(),
            name: name.into(),
            arguments: arguments.into(),
            is_free_text: false,
        })
    }

    fn result<'a, const N: usize>(id: &'a str, parts: [Content<'a>; N]) -> Content<'a> {
        Content::ToolResult { id: id.into(), parts: parts.map(Part::from).into(), is_error: false }
    }

    fn tool<'a>(name: &'a str, schema: Option<&'a str>) -> Tool<'a> {
        Tool {
            name: name.into(),
            description: None,
            input: ToolInput::Schema(
                schema.map(|schema| Cow::Borrowed(serde_json::from_str(schema).unwrap())),
            ),
            strict: None,
            cache: None,
        }
    }

    fn png() -> Content<'static> {
        Content::Image(Media::Base64 { media_type: "image/png".into(), data: "AA==".into() })
    }

    #[test]
    fn a_request_of_anthropic_becomes_one_of_openai() {
        // C15, C17, C27, C40, C68
        let request = Request {
            system: vec![text("S").into(), text("T").into()],
            turns: vec![
                user([text("q")]),
                assistant([
                    Content::Reasoning { text: "t".into(), signature: Some("s".into()) },
                    Content::RedactedReasoning("d".into()),
                    text("ok"),
                    call("toolu_1", "f", "{\"a\": 1.0}"),
                    call("toolu_2", "f", ""),
                ]),
                user([
                    result("toolu_1", [text("r1")]),
                    Content::ToolResult {
                        id: "toolu_2".into(),
                        parts: vec![text("bad").into()],
                        is_error: true,
                    },
                    text("go"),
                ]),
            ],
            tools: vec![tool("f", Some(r#"{"type":"object","properties":{}}"#))],
            tool_choice: Some(ToolChoice::Named("f".into())),
            parallel_tools: Some(false),
            max_output: Some(9),
            stop: vec!["X".into()],
            user: Some("u".into()),
            ..Request::default()
        };

        let (body, lost) = sent(&request, &target());

        assert_eq!(
            body,
            json!({
                "model": "m",
                "max_completion_tokens": 9,
                "messages": [
                    {"role": "system", "content": "S\n\nT"},
                    {"role": "user", "content": "q"},
                    {"role": "assistant", "content": "ok", "tool_calls": [
                        {"id": "toolu_1", "type": "function", "function": {"name": "f", "arguments": "{\"a\": 1.0}"}},
                        {"id": "toolu_2", "type": "function", "function": {"name": "f", "arguments": "{}"}},
                    ]},
                    {"role": "tool", "tool_call_id": "toolu_1", "content": "r1"},
                    {"role": "tool", "tool_call_id": "toolu_2", "content": "Error: bad"},
                    {"role": "user", "content": "go"},
                ],
                "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}],
                "tool_choice": {"type": "function", "function": {"name": "f"}},
                "parallel_tool_calls": false,
                "stop": ["X"],
                "safety_identifier": "u",
            })
        );
        assert_eq!(lost, ["messages[].content[].is_error"]);
    }

    #[test]
    fn results_come_before_what_the_user_said_first() {
        // C16, C29
        let messages =
            messages(vec![assistant([call("t1", "f", "{}")]), user([text("note"), result("t1", [])])]);

        assert_eq!(messages[0]["content"], Value::Null);
        assert_eq!(messages[1], json!({"role": "tool", "tool_call_id": "t1", "content": ""}));
        assert_eq!(messages[2], json!({"role": "user", "content": "note"}));
    }

    #[test]
    fn text_around_calls_is_joined() {
        // C14
        let messages = messages(vec![
            assistant([text("a"), call("t1", "f", "{}"), text("b")]),
            user([result("t1", [text("x"), text("y")])]),
        ]);

        assert_eq!(messages[0]["content"], "ab");
        assert_eq!(messages[1]["content"], "x\ny");
    }

    #[test]
    fn what_the_operator_says_later_stays_in_its_place() {
        // C17
        let later = Turn { role: Role::System, parts: vec![text("now").into()] };

        let messages = messages(vec![user([text("a")]), later, user([text("b"), text("c")])]);

        assert_eq!(
            messages,
            json!([
                {"role": "user", "content": "a"},
                {"role": "system", "content": "now"},
                {"role": "user", "content": "b\n\nc"},
            ])
        );
    }

    #[test]
    fn pictures_of_results_follow_all_results() {
        // C22, C28
        let messages = messages(vec![
            assistant([call("a", "f", "{}"), call("b", "f", "{}")]),
            user([result("a", [png()]), result("b", [text("t")]), text("see")]),
        ]);

        assert_eq!(messages[1], json!({"role": "tool", "tool_call_id": "a", "content": "[image]"}));
        assert_eq!(messages[2]["tool_call_id"], "b");
        assert_eq!(
            messages[3]["content"],
            json!([
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
                {"type": "text", "text": "see"},
            ])
        );
        assert_eq!(messages.as_array().unwrap().len(), 4);
    }

    #[test]
    fn a_result_without_its_call_is_told_by_the_user() {
        // C30
        let messages = messages(vec![
            user([result("gone", [text("r")])]),
            assistant([call("a", "f", "{}")]),
            user([result("a", [text("1")]), result("a", [text("twice")])]),
        ]);

        assert_eq!(messages[0], json!({"role": "user", "content": "r"}));
        assert_eq!(messages[2]["role"], "tool");
        assert_eq!(messages[3], json!({"role": "user", "content": "twice"}));
    }

    #[test]
    fn a_call_without_its_result_gets_one() {
        // C31, C35
        let messages = messages(vec![
            assistant([call("a", "f", "{}"), call("b", "f", "{}")]),
            user([result("b", [text("2")]), text("stop")]),
        ]);

        assert_eq!(messages[1]["tool_call_id"], "b");
        assert_eq!(messages[2], json!({"role": "tool", "tool_call_id": "a", "content": NO_RESULT}));
        assert_eq!(messages[3]["content"], "stop");
    }

    const NO_RESULT: &str = "[no result: interrupted]";

    #[test]
    fn what_the_model_said_in_several_turns_is_answered_once() {
        let messages = messages(vec![
            assistant([text("a"), call("a", "f", "{}")]),
            assistant([call("b", "f", "{}")]),
            user([result("a", [text("1")]), result("b", [text("2")])]),
        ]);

        assert_eq!(messages[0]["tool_calls"].as_array().unwrap().len(), 2);
        assert_eq!(messages.as_array().unwrap().len(), 3);
    }

    #[test]
    fn media_are_written_as_far_as_they_can_be() {
        let request = Request {
            turns: vec![user([
                Content::Image(Media::Url("https://e.x/a.png".into())),
                Content::Image(Media::File("file_1".into())),
                Content::Document {
                    media: Media::Base64 { media_type: "application/pdf".into(), data: "JVBE".into() },
                    title: None,
                },
                Content::Document { media: Media::Text("plain".into()), title: None },
                Content::Document { media: Media::Url("https://e.x/a.pdf".into()), title: None },
                Content::Audio { data: "AA==".into(), format: "mp3".into() },
                Content::Opaque {
                    dialect: "anthropic",
                    kind: "search_result".into(),
                    raw: Cow::Borrowed(RawValue::NULL),
                },
            ])],
            ..Request::default()
        };

        let (body, lost) = sent(&request, &target());

        assert_eq!(
            body["messages"][0]["content"],
            json!([
                {"type": "image_url", "image_url": {"url": "https://e.x/a.png"}},
                {"type": "file", "file": {"file_data": "data:application/pdf;base64,JVBE", "filename": "document.pdf"}},
                {"type": "text", "text": "plain"},
                {"type": "input_audio", "input_audio": {"data": "AA==", "format": "mp3"}},
            ])
        );
        assert_eq!(
            lost,
            [
                "messages[].content[].image",
                "messages[].content[].document",
                "messages[].content[].search_result"
            ]
        );
    }

    #[test]
    fn names_that_are_not_allowed_are_replaced_everywhere() {
        // C42
        let request = Request {
            turns: vec![assistant([call("a", "a/b", "{}")])],
            tools: vec![tool("a_b", None), tool("a/b", None)],
            tool_choice: Some(ToolChoice::Named("a/b".into())),
            ..Request::default()
        };

        let encoded = super::request(&request, &target()).unwrap();

        let body: Value = serde_json::from_slice(&encoded.body).unwrap();
        assert_eq!(body["tools"][1]["function"]["name"], "a_b_2");
        assert_eq!(body["tool_choice"]["function"]["name"], "a_b_2");
        assert_eq!(body["messages"][0]["tool_calls"][0]["function"]["name"], "a_b_2");
        assert_eq!(encoded.undo.original("a_b_2"), "a/b");
        assert_eq!(encoded.undo.original("a_b"), "a_b");
    }

    #[test]
    fn models_that_think_are_not_sampled() {
        // C55
        let request = Request {
            temperature: Some(0.2),
            top_p: Some(1.0),
            reasoning: Some(Reasoning { effort: Some(Effort::High), ..Reasoning::default() }),
            ..Request::default()
        };
        let thinking = target().facts(ModelFacts::new(["reasoning"], []));

        let (refusing, lost) = sent(&request, &thinking);
        let (unknown, nothing) = sent(&request, &target());

        assert_eq!((refusing.get("temperature"), refusing.get("top_p")), (None, None));
        assert_eq!(refusing["reasoning_effort"], "high");
        assert_eq!(lost, ["temperature"]);
        assert_eq!(unknown["temperature"], 0.2);
        assert!(nothing.is_empty());
    }

    #[test]
    fn the_cap_is_named_and_bounded_as_the_model_wants_it() {
        // C56
        let request = Request { max_output: Some(32_000), ..Request::default() };
        let mut facts = ModelFacts::new([], ["max_completion_tokens"]);
        facts.max_output = Some(16_384);

        assert_eq!(sent(&request, &target()).0["max_completion_tokens"], 32_000);
        let (body, _) = sent(&request, &target().facts(facts));
        assert_eq!((body["max_tokens"].as_u64(), body.get("max_completion_tokens")), (Some(16_384), None));
    }

    #[test]
    fn only_four_stop_texts_are_sent() {
        // C64
        let stop: Vec<Text<'_>> = ["a", "b", "", "c", "d", "e"].map(Into::into).into();

        let (body, lost) = sent(&Request { stop, ..Request::default() }, &target());

        assert_eq!(body["stop"], json!(["a", "b", "c", "d"]));
        assert_eq!(lost, ["stop_sequences"]);
    }

    #[test]
    fn a_stream_is_asked_for_its_usage() {
        // C107, C108
        let request = Request { stream: true, ..Request::default() };
        let lacking = target().facts(ModelFacts::new([], ["stream_options"]));

        let (body, _) = sent(&request, &target());

        assert_eq!(
            (&body["stream"], &body["stream_options"]),
            (&json!(true), &json!({"include_usage": true}))
        );
        assert_eq!(sent(&request, &lacking).0.get("stream_options"), None);
    }

    #[test]
    fn the_form_of_the_answer_is_asked_for() {
        let schema = serde_json::from_str(r#"{"type":"object"}"#).unwrap();
        let format = |name: Option<&'static str>| Request {
            format: Some(Format::Schema {
                name: name.map(Into::into),
                description: None,
                schema: Cow::Borrowed(schema),
                strict: Some(true),
            }),
            ..Request::default()
        };

        let written = |name| sent(&format(name), &target()).0["response_format"].take();

        assert_eq!(
            written(Some("my form")),
            json!({"type": "json_schema", "json_schema": {"name": "my_form", "schema": {"type": "object"}, "strict": true}})
        );
        assert_eq!(written(None)["json_schema"]["name"], "answer");
    }

    #[test]
    fn a_server_that_takes_more_than_openai_gets_more() {
        let facts = ModelFacts::new(["reasoning"], []);
        let facts = facts.at_server(&["sampling_params", "top_k", "reasoning_history"], &[]);
        let thought = Content::Reasoning { text: "t".into(), signature: None };
        let request = Request {
            temperature: Some(0.2),
            top_k: Some(5),
            turns: vec![assistant([thought, text("a")])],
            ..Request::default()
        };

        let (body, lost) = sent(&request, &target().facts(facts));

        assert_eq!((&body["temperature"], &body["top_k"]), (&json!(0.2), &json!(5)));
        assert_eq!(body["messages"][0]["reasoning_content"], "t");
        assert!(lost.is_empty(), "{lost:?}");
    }

    #[test]
    fn what_cannot_be_said_is_reported() {
        // C123
        let extra = |field: &'static str| Extra { field: field.into(), value: Cow::Borrowed(RawValue::NULL) };
        let request = Request {
            top_k: Some(5),
            extras: vec![extra("container"), extra("cache_control"), extra("tools[].cache_control")],
            ..Request::default()
        };

        assert_eq!(sent(&request, &target()).1, ["top_k", "container"]);
    }

    #[test]
    fn a_server_of_which_nothing_is_known_is_told_less() {
        let run = Tool { input: ToolInput::Text(None), ..tool("run", None) };
        let free = Content::ToolCall(ToolCall {
            id: "c".into(),
            name: "run".into(),
            arguments: "ls".into(),
            is_free_text: true,
        });
        let request = Request {
            turns: vec![user([text("q")]), assistant([free])],
            tools: vec![Tool { strict: Some(true), ..tool("f", None) }, run],
            tool_choice: Some(ToolChoice::Named("run".into())),
            parallel_tools: Some(false),
            user: Some("u".into()),
            service_tier: Some("flex".into()),
            ..Request::default()
        };
        let facts = ModelFacts::default().at_server(&[], crate::preset::UNKNOWN_LACKS);

        let encoded = super::request(&request, &target().facts(facts)).unwrap();

        let body: Value = serde_json::from_slice(&encoded.body).unwrap();
        for refused in ["parallel_tool_calls", "safety_identifier", "service_tier"] {
            assert!(body.get(refused).is_none(), "{body}");
        }
        assert_eq!(body["user"], "u");
        assert!(body["tools"][0]["function"].get("strict").is_none());
        assert_eq!(body["tools"][1]["function"]["parameters"]["required"], json!(["input"]));
        assert_eq!(body["tool_choice"], json!({"type": "function", "function": {"name": "run"}}));
        assert_eq!(body["messages"][1]["tool_calls"][0]["function"]["arguments"], r#"{"input":"ls"}"#);
        assert!(encoded.undo.free_text.contains("run"));
        let lost = ["tools[].function.strict", "parallel_tool_calls", "service_tier"];
        assert_eq!(encoded.lost, lost.map(Box::<str>::from));
    }

    fn at(preset: &str, model: &str, turns: Vec<Turn<'_>>) -> Value {
        let preset = crate::preset::Preset::named(preset).unwrap();
        let to = Target::new("p", model).facts(preset.facts(ModelFacts::default()));
        let system = vec![Part { cache: Some(Cache::Hour), ..text("S").into() }];
        sent(&Request { system, turns, ..Request::default() }, &to).0["messages"].take()
    }

    #[test]
    fn marks_for_the_cache_stay_where_the_server_reads_them() {
        // C17, C123
        let marked = |content| Part { cache: Some(Cache::Default), ..Part::from(content) };
        let turns = || {
            vec![
                Turn { role: Role::User, parts: vec![marked(text("q"))] },
                assistant([call("c", "f", "{}")]),
                Turn { role: Role::User, parts: vec![marked(result("c", [text("r")]))] },
            ]
        };
        let part = |text: &str, mark: Value| json!([{"type": "text", "text": text, "cache_control": mark}]);

        for preset in ["openrouter", "qwen"] {
            let messages = at(preset, "anthropic/claude-sonnet-4.5", turns());
            assert_eq!(messages[0]["content"], part("S", json!({"type": "ephemeral", "ttl": "1h"})));
            assert_eq!(messages[1]["content"], part("q", json!({"type": "ephemeral"})));
            assert_eq!(messages[3]["content"], part("r", json!({"type": "ephemeral"})));
        }
        let messages = at("groq", "m", turns());
        assert_eq!((&messages[0]["content"], &messages[3]["content"]), (&json!("S"), &json!("r")));
    }

    #[test]
    fn thoughts_go_back_as_the_server_reads_them() {
        let turns = || {
            let signature = Some("SIG".into());
            let thoughts = [
                Content::Reasoning { text: "th".into(), signature },
                Content::RedactedReasoning("RED".into()),
                Content::Reasoning { text: "of another".into(), signature: Some("gemini:U0lH".into()) },
            ];
            let [proven, redacted, foreign] = thoughts;
            vec![user([text("q")]), assistant([proven, redacted, foreign, text("a")]), user([text("r")])]
        };

        let proven = at("openrouter", "anthropic/claude-sonnet-4.5", turns());
        let other = at("openrouter", "openai/gpt-5", turns());
        let plain = at("vllm", "m", turns());

        assert_eq!(
            proven[2]["reasoning_details"],
            json!([
                {"type": "reasoning.text", "text": "th", "signature": "SIG", "format": "anthropic-claude-v1"},
                {"type": "reasoning.encrypted", "data": "RED", "format": "anthropic-claude-v1"},
            ])
        );
        assert_eq!(other[2], json!({"role": "assistant", "content": "a"}));
        assert_eq!(plain[2], json!({"role": "assistant", "content": "a", "reasoning": "thof another"}));
    }
}
