//! A client's request, read into the canonical form.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::{conversation::Conversation, effort, wire};
use crate::{
    Error, Kind,
    dialect::{
        canonical::{Cache, Effort, Format, Reasoning, Request, Text, Tool, ToolChoice, ToolInput},
        extras::Extras,
        json,
        object::Unknown,
        text::Str,
        text_or::TextOr,
    },
};

/// The dialect's name in opaque values.
pub(crate) const DIALECT: &str = "openai-chat";

/// Reads a request.
pub(crate) fn request(body: &[u8]) -> Result<Request<'_>, Error> {
    let text = str::from_utf8(body).map_err(|_| Error::new(Kind::InvalidRequest, "the body is not UTF-8"))?;
    let wire: wire::Request<'_> = json::read(text)?;
    let mut extras = Extras::default();
    extras.all("", wire.unknown, says_something);
    for (field, value) in [("logprobs", wire.logprobs), ("top_logprobs", wire.top_logprobs)] {
        extras.all("", value.map(|value| (Str::from(field), value)).into_iter().collect(), says_something);
    }
    if let Some(options) = wire.stream_options {
        extras.all("stream_options.", options.unknown, says_something);
    }
    let mut conversation = Conversation::new(&mut extras);
    for message in wire.messages.ok_or_else(|| invalid("messages", "is missing"))? {
        conversation.message(message)?;
    }
    let (system, turns) = conversation.finish();
    Ok(Request {
        system,
        turns,
        tools: tools(wire.tools, wire.functions, &mut extras)?,
        tool_choice: tool_choice(wire.tool_choice, wire.function_call)?,
        parallel_tools: wire.parallel_tool_calls,
        max_output: wire.max_completion_tokens.or(wire.max_tokens),
        assumed_output: None,
        temperature: wire.temperature,
        top_p: wire.top_p,
        top_k: wire.top_k,
        presence_penalty: wire.presence_penalty,
        frequency_penalty: wire.frequency_penalty,
        seed: wire.seed,
        stop: stop(wire.stop),
        choices: wire.n,
        reasoning: wire.reasoning_effort.map(reasoning).transpose()?,
        format: wire.response_format.map(format).transpose()?.flatten(),
        user: wire.safety_identifier.or(wire.user).map(Text::from),
        service_tier: wire.service_tier.map(Text::from),
        stream: wire.stream.unwrap_or(false),
        extras: extras.into_vec(),
    })
}

/// A request that can't be read, by the field that is to blame.
pub(crate) fn invalid(field: impl Into<String>, what: &str) -> Error {
    let field = field.into();
    Error::new(Kind::InvalidRequest, format!("{field} {what}")).with_param(field)
}

/// How long the prompt is to be kept.
pub(crate) fn cache(mark: Option<wire::CacheControl<'_>>) -> Option<Cache> {
    mark.map(|mark| match mark.ttl.as_deref() {
        Some("1h" | "12h") => Cache::Hour,
        _ => Cache::Default,
    })
}

/// Whether a member is more than its documented default; echoed answers are full of empty members.
pub(crate) fn says_something(member: &str, value: &RawValue) -> bool {
    let value = value.get();
    if value == "null" {
        return false;
    }
    // An empty object asks for a search with every default.
    if member == "web_search_options" {
        return true;
    }
    if matches!(value, "[]" | "{}" | "\"\"") {
        return false;
    }
    match member {
        "logprobs" | "store" => value != "false",
        "top_logprobs" => value != "0",
        "verbosity" => value != "\"medium\"",
        "modalities" => value.split_ascii_whitespace().collect::<String>() != "[\"text\"]",
        // Padding against eavesdroppers.
        "include_obfuscation" => false,
        _ => true,
    }
}

fn stop<'a>(stop: Option<TextOr<'a, Vec<Str<'a>>>>) -> Vec<Text<'a>> {
    match stop {
        None | Some(TextOr::Null) => Vec::new(),
        Some(TextOr::Text(one)) => vec![one.into()],
        Some(TextOr::Other(several)) => several.into_iter().map(Text::from).collect(),
    }
}

fn reasoning(effort: Str<'_>) -> Result<Reasoning, Error> {
    let effort = effort::read(&effort)
        .ok_or_else(|| invalid("reasoning_effort", "is not one of the known efforts"))?;
    // Chat clients read thoughts as `reasoning_content`, without having to ask for them.
    Ok(Reasoning { effort: Some(effort), budget: None, visible: (effort != Effort::None).then_some(true) })
}

fn format(format: wire::ResponseFormat<'_>) -> Result<Option<Format<'_>>, Error> {
    match format.kind.as_deref() {
        None | Some("text") => Ok(None),
        Some("json_object") => Ok(Some(Format::Json)),
        Some("json_schema") => {
            let json_schema =
                format.json_schema.ok_or_else(|| invalid("response_format.json_schema", "is missing"))?;
            let schema = json_schema
                .schema
                .ok_or_else(|| invalid("response_format.json_schema.schema", "is missing"))?;
            Ok(Some(Format::Schema {
                name: json_schema.name.map(Text::from),
                description: json_schema.description.map(Text::from),
                schema: Cow::Borrowed(schema),
                strict: json_schema.strict,
            }))
        }
        Some(_) => Err(invalid("response_format.type", "is not one of text, json_object and json_schema")),
    }
}

fn tools<'a>(
    tools: Option<Vec<wire::Tool<'a>>>,
    functions: Option<Vec<wire::Function<'a>>>,
    extras: &mut Extras<'a>,
) -> Result<Vec<Tool<'a>>, Error> {
    let tools = tools.unwrap_or_default();
    let functions = functions.unwrap_or_default();
    let mut read = Vec::with_capacity(tools.len() + functions.len());
    for (index, tool) in tools.into_iter().enumerate() {
        let path = || format!("tools[{index}]");
        read.push(match tool.kind.as_deref() {
            None | Some("function") => function(tool, path, extras)?,
            Some("custom") => custom(tool, path)?,
            Some(_) => opaque_tool(tool, path)?,
        });
    }
    for (index, deprecated) in functions.into_iter().enumerate() {
        let tool = wire::Tool { function: Some(deprecated), ..Default::default() };
        read.push(function(tool, || format!("functions[{index}]"), extras)?);
    }
    Ok(read)
}

fn function<'a>(
    tool: wire::Tool<'a>,
    path: impl Fn() -> String,
    extras: &mut Extras<'a>,
) -> Result<Tool<'a>, Error> {
    let function = tool.function.ok_or_else(|| invalid(path() + ".function", "is missing"))?;
    extras.all("tools[].", tool.unknown, says_something);
    extras.all("tools[].function.", function.unknown, says_something);
    Ok(Tool {
        name: function.name.ok_or_else(|| invalid(path() + ".function.name", "is missing"))?.into(),
        description: function.description.map(Text::from),
        input: ToolInput::Schema(function.parameters.map(Cow::Borrowed)),
        strict: function.strict,
        cache: cache(tool.cache_control.or(function.cache_control)),
    })
}

fn custom<'a>(tool: wire::Tool<'a>, path: impl Fn() -> String) -> Result<Tool<'a>, Error> {
    let custom = tool.custom.ok_or_else(|| invalid(path() + ".custom", "is missing"))?;
    Ok(Tool {
        name: custom.name.ok_or_else(|| invalid(path() + ".custom.name", "is missing"))?.into(),
        description: custom.description.map(Text::from),
        input: ToolInput::Text(custom.format.map(Cow::Borrowed)),
        strict: None,
        cache: cache(tool.cache_control),
    })
}

fn opaque_tool<'a>(tool: wire::Tool<'a>, path: impl Fn() -> String) -> Result<Tool<'a>, Error> {
    let kind = tool.kind.unwrap_or_default();
    let raw = whole(&kind, &tool.unknown).ok_or_else(|| invalid(path(), "can't be read"))?;
    Ok(Tool {
        name: kind.into(),
        description: None,
        input: ToolInput::Opaque { dialect: DIALECT, raw: Cow::Owned(raw) },
        strict: None,
        cache: None,
    })
}

/// Puts an object of an unknown type together again.
pub(crate) fn whole(kind: &str, members: &Unknown<'_>) -> Option<Box<RawValue>> {
    let mut text = format!("{{\"type\":{}", serde_json::to_string(kind).ok()?);
    for (member, value) in members {
        text.push(',');
        text.push_str(&serde_json::to_string(member).ok()?);
        text.push(':');
        text.push_str(value.get());
    }
    text.push('}');
    RawValue::from_string(text).ok()
}

fn tool_choice<'a>(
    choice: Option<TextOr<'a, wire::ToolChoice<'a>>>,
    function_call: Option<TextOr<'a, wire::Named<'a>>>,
) -> Result<Option<ToolChoice<'a>>, Error> {
    match (choice, function_call) {
        (Some(TextOr::Text(word)), _) => tool_choice_word(&word, "tool_choice").map(Some),
        (Some(TextOr::Other(choice)), _) => tool_choice_object(choice).map(Some),
        (_, Some(TextOr::Text(word))) => tool_choice_word(&word, "function_call").map(Some),
        (_, Some(TextOr::Other(function))) => {
            let name = function.name.ok_or_else(|| invalid("function_call.name", "is missing"))?;
            Ok(Some(ToolChoice::Named(name.into())))
        }
        _ => Ok(None),
    }
}

fn tool_choice_word<'a>(word: &str, field: &str) -> Result<ToolChoice<'a>, Error> {
    match word {
        "auto" => Ok(ToolChoice::Auto),
        "none" => Ok(ToolChoice::None),
        "required" | "any" => Ok(ToolChoice::Required),
        _ => Err(invalid(field, "is not one of auto, none and required")),
    }
}

fn tool_choice_object(choice: wire::ToolChoice<'_>) -> Result<ToolChoice<'_>, Error> {
    let Some(allowed) = choice.allowed_tools else {
        let name = name_of(choice).ok_or_else(|| invalid("tool_choice", "names no tool"))?;
        return Ok(ToolChoice::Named(name));
    };
    Ok(ToolChoice::Allowed {
        required: allowed.mode.as_deref() == Some("required"),
        names: allowed.tools.unwrap_or_default().into_iter().filter_map(name_of).collect(),
    })
}

fn name_of(choice: wire::ToolChoice<'_>) -> Option<Text<'_>> {
    let named = choice.function.or(choice.custom).and_then(|named| named.name);
    named.or(choice.name).map(Text::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::canonical::{Content, Media, Part, Role, ToolCall};

    fn read(body: &str) -> Request<'_> {
        request(body.as_bytes()).unwrap()
    }

    fn refused(body: &str) -> (String, String) {
        let error = request(body.as_bytes()).unwrap_err();
        assert_eq!(error.kind(), Kind::InvalidRequest);
        (error.param().unwrap_or_default().to_owned(), error.message().to_owned())
    }

    fn fields(request: &Request<'_>) -> Vec<String> {
        request.extras.iter().map(|extra| extra.field.to_string()).collect()
    }

    /// What a turn says, in short.
    fn brief(parts: &[Part<'_>]) -> String {
        let one = |part: &Part<'_>| match &part.content {
            Content::Text(text) => text.to_string(),
            Content::Image(Media::Url(url)) => format!("<{url}>"),
            Content::Image(Media::Base64 { media_type, data }) => format!("<{media_type} {data}>"),
            Content::Document { media, title } => format!("<{media:?} {title:?}>"),
            Content::ToolCall(call) => format!("{}={}({})", call.id, call.name, call.arguments),
            Content::ToolResult { id, parts, .. } => format!("{id}:[{}]", brief(parts)),
            Content::Reasoning { text, signature } => {
                format!("({text}|{})", signature.as_deref().unwrap_or("-"))
            }
            Content::RedactedReasoning(data) => format!("(#{data})"),
            Content::Refusal(text) => format!("!{text}"),
            Content::Audio { data, format } => format!("<{format} {data}>"),
            Content::Opaque { kind, raw, .. } => format!("{kind}{raw}"),
            other => format!("{other:?}"),
        };
        parts.iter().map(one).collect::<Vec<_>>().join(" ")
    }

    fn turns(request: &Request<'_>) -> Vec<(Role, String)> {
        request.turns.iter().map(|turn| (turn.role, brief(&turn.parts))).collect()
    }

    fn messages(messages: &str) -> String {
        format!(r#"{{"model":"m","messages":[{messages}]}}"#)
    }

    #[test]
    fn a_search_with_every_default_is_asked_for() {
        let said = |options: &str| {
            let options = RawValue::from_string(options.into()).unwrap();
            says_something("web_search_options", &options)
        };

        assert_eq!(["{}", r#"{"search_context_size":"low"}"#, "null"].map(said), [true, true, false]);
        assert!(!says_something("logit_bias", &RawValue::from_string("{}".into()).unwrap()));
    }

    #[test]
    fn the_leading_messages_of_the_operator_are_the_system_text() {
        // C1, C2
        let body = messages(
            r#"{"role":"system","content":"S1"},{"role":"developer","content":[{"type":"text","text":"S2"}]},
            {"role":"user","content":"hi"},{"role":"developer","content":"later"}"#,
        );

        let request = read(&body);

        assert_eq!(brief(&request.system), "S1 S2");
        assert_eq!(turns(&request), [(Role::User, "hi".into()), (Role::System, "later".into())]);
    }

    #[test]
    fn calls_and_their_results_are_turns() {
        // C11, C12, C22, C23, C25, C36, C40
        let body = messages(
            r#"{"role":"user","content":"w?"},
            {"role":"assistant","content":null,"tool_calls":[
                {"id":"a","type":"function","function":{"name":"f","arguments":"{\"n\":12345678901234567890, \"n\":1}"}},
                {"id":"b","type":"custom","custom":{"name":"g","input":"select 1"}}]},
            {"role":"tool","tool_call_id":"a","name":"f","content":"18C"},
            {"role":"tool","tool_call_id":"b","content":[{"type":"text","text":"x"},{"type":"text","text":"y"}]},
            {"role":"user","content":"and?"},
            {"role":"user","content":"well?"},
            {"role":"assistant","content":"so","tool_calls":[{"id":"c","function":{"name":"f","arguments":""}}]}"#,
        );

        let request = read(&body);

        assert_eq!(
            turns(&request),
            [
                (Role::User, "w?".into()),
                (Role::Assistant, r#"a=f({"n":12345678901234567890, "n":1}) b=g(select 1)"#.into()),
                (Role::User, "a:[18C] b:[x y] and?".into()),
                (Role::User, "well?".into()),
                (Role::Assistant, "so c=f()".into()),
            ]
        );
        assert!(request.extras.is_empty());
        assert!(matches!(
            &request.turns[1].parts[1].content,
            Content::ToolCall(ToolCall { is_free_text: true, .. })
        ));
    }

    #[test]
    fn the_deprecated_calls_get_ids() {
        // C8
        let body = r#"{"model":"m","messages":[
            {"role":"assistant","content":"","function_call":{"name":"f","arguments":"{}"}},
            {"role":"function","name":"f","content":"r"}],
            "functions":[{"name":"f","parameters":{"type":"object"}}],"function_call":{"name":"f"}}"#;

        let request = read(body);

        assert_eq!(
            turns(&request),
            [(Role::Assistant, "call_1=f({})".into()), (Role::User, "call_1:[r]".into())]
        );
        assert_eq!(request.tools[0].name, "f");
        assert_eq!(request.tool_choice, Some(ToolChoice::Named("f".into())));
        assert!(request.extras.is_empty());
    }

    #[test]
    fn every_kind_of_content_is_read() {
        // C120, C122
        let body = messages(
            r#"{"role":"user","content":[
                {"type":"image_url","image_url":{"url":"https://e.x/a.png","detail":"low"}},
                {"type":"image_url","image_url":"data:image/jpg;base64,/9j/4AAQ"},
                {"type":"input_audio","input_audio":{"data":"AA==","format":"wav"}},
                {"type":"file","file":{"file_id":"file-1"}},
                {"type":"file","file":{"file_data":"data:text/plain;base64,aGk=","filename":"a.txt"}},
                {"type":"video_url","video_url":{"url":"v"}}]},
            {"role":"assistant","refusal":"no"}"#,
        );

        let request = read(&body);

        assert_eq!(
            turns(&request)[0].1,
            r#"<https://e.x/a.png> <image/jpeg /9j/4AAQ> <wav AA==> <File("file-1") None> <Text("hi") Some("a.txt")> video_url{"type":"video_url","video_url":{"url":"v"}}"#
        );
        assert_eq!(turns(&request)[1].1, "!no");
    }

    #[test]
    fn thoughts_that_clients_carry_come_first_in_their_turn() {
        // C66
        let with = |members: &str| {
            let body = messages(&format!(r#"{{"role":"assistant","content":"x",{members}}}"#));
            turns(&read(&body)).remove(0).1
        };

        let blocks = with(
            r#""reasoning_content":"t","thinking_blocks":[{"type":"thinking","thinking":"t","signature":"s"},{"type":"redacted_thinking","data":"d"}]"#,
        );
        let details = with(
            r#""reasoning":"ab","reasoning_details":[{"type":"reasoning.text","text":"a","format":"anthropic-claude-v1"},
            {"type":"reasoning.text","text":"b","signature":"s","format":"anthropic-claude-v1","index":0},
            {"type":"reasoning.encrypted","data":"d","format":"openai-responses-v1"}]"#,
        );

        assert_eq!(blocks, "(t|s) (#d) x");
        assert_eq!(details, "(ab|s) x");
        assert_eq!(with(r#""reasoning_content":"t""#), "(t|-) x");
        assert_eq!(with(r#""reasoning":"t""#), "(t|-) x");
    }

    #[test]
    fn marks_for_the_cache_are_kept() {
        // C123
        let body = r#"{"model":"m","messages":[
            {"role":"system","content":"s","cache_control":{"type":"ephemeral","ttl":"1h"}},
            {"role":"user","content":[{"type":"text","text":"a","cache_control":{"type":"ephemeral"}},
                {"type":"text","text":"b","prompt_cache_breakpoint":{"mode":"explicit","ttl":"12h"}}]}],
            "tools":[{"type":"function","function":{"name":"f"},"cache_control":{"type":"ephemeral"}}]}"#;

        let request = read(body);

        assert_eq!(request.system[0].cache, Some(Cache::Hour));
        assert_eq!(request.turns[0].parts[0].cache, Some(Cache::Default));
        assert_eq!(request.turns[0].parts[1].cache, Some(Cache::Hour));
        assert_eq!(request.tools[0].cache, Some(Cache::Default));
    }

    #[test]
    fn the_settings_are_read() {
        // C64
        let body = r#"{"model":"m","messages":[],"max_tokens":5,"max_completion_tokens":9,"temperature":1.5,"top_p":0.5,
            "top_k":3,"presence_penalty":1,"frequency_penalty":-1,"seed":-7,"n":2,"stop":"END","stream":true,
            "stream_options":{"include_usage":true,"include_obfuscation":false},"parallel_tool_calls":false,
            "reasoning_effort":"xhigh","user":"old","safety_identifier":"u","service_tier":"flex",
            "response_format":{"type":"json_schema","json_schema":{"name":"r","schema":{"type":"object"},"strict":true}}}"#;

        let request = read(body);

        assert_eq!((request.max_output, request.top_k, request.choices), (Some(9), Some(3), Some(2)));
        assert_eq!((request.temperature, request.top_p, request.seed), (Some(1.5), Some(0.5), Some(-7)));
        assert_eq!((request.presence_penalty, request.frequency_penalty), (Some(1.0), Some(-1.0)));
        assert_eq!((&*request.stop, request.stream), (["END".into()].as_slice(), true));
        assert_eq!((request.user.as_deref(), request.service_tier.as_deref()), (Some("u"), Some("flex")));
        assert_eq!(request.parallel_tools, Some(false));
        assert_eq!(request.reasoning.unwrap().effort, Some(Effort::XHigh));
        assert_eq!(request.reasoning.unwrap().visible, Some(true));
        assert!(
            matches!(&request.format, Some(Format::Schema { schema, strict: Some(true), .. }) if schema.get() == r#"{"type":"object"}"#)
        );
        assert!(request.extras.is_empty());
    }

    #[test]
    fn tools_of_all_kinds_are_read() {
        let body = r#"{"model":"m","messages":[],"tools":[
            {"type":"function","function":{"name":"f","description":"d","parameters":{"type":"object"},"strict":true}},
            {"type":"custom","custom":{"name":"g","format":{"type":"text"}}},
            {"type":"web_search","filters":{"a":[1]}}]}"#;

        let tools = read(body).tools;

        assert!(
            matches!(&tools[0].input, ToolInput::Schema(Some(schema)) if schema.get() == r#"{"type":"object"}"#)
        );
        assert_eq!((tools[0].description.as_deref(), tools[0].strict), (Some("d"), Some(true)));
        assert!(
            matches!(&tools[1].input, ToolInput::Text(Some(format)) if format.get() == r#"{"type":"text"}"#)
        );
        assert!(
            matches!(&tools[2].input, ToolInput::Opaque { dialect: "openai-chat", raw } if raw.get() == r#"{"type":"web_search","filters":{"a":[1]}}"#)
        );
    }

    #[test]
    fn every_form_of_tool_choice_is_read() {
        let choice = |choice: &str| {
            let body = format!(r#"{{"model":"m","messages":[],"tool_choice":{choice}}}"#);
            request(body.as_bytes()).map(|request| match request.tool_choice {
                Some(ToolChoice::Named(name)) => name.into_owned(),
                Some(ToolChoice::Allowed { required, names }) => format!("{required} {names:?}"),
                other => format!("{other:?}"),
            })
        };

        assert_eq!(choice("\"auto\"").unwrap(), "Some(Auto)");
        assert_eq!(choice("\"none\"").unwrap(), "Some(None)");
        assert_eq!(choice("\"required\"").unwrap(), "Some(Required)");
        assert_eq!(choice("null").unwrap(), "None");
        assert_eq!(choice(r#"{"type":"function","function":{"name":"f"}}"#).unwrap(), "f");
        assert_eq!(choice(r#"{"type":"custom","custom":{"name":"g"}}"#).unwrap(), "g");
        assert_eq!(
            choice(
                r#"{"type":"allowed_tools","allowed_tools":{"mode":"required","tools":[{"type":"function","function":{"name":"f"}}]}}"#
            )
            .unwrap(),
            r#"true ["f"]"#
        );
        assert_eq!(choice("\"some\"").unwrap_err().param(), Some("tool_choice"));
        assert_eq!(choice("{}").unwrap_err().param(), Some("tool_choice"));
    }

    #[test]
    fn what_only_this_dialect_knows_is_kept_by_name_and_once() {
        // C9
        let body = r#"{"model":"m","logit_bias":{"1":-100},"logprobs":false,"store":true,"metadata":{},"verbosity":"medium",
            "modalities":["text"],"prediction":null,"unheard_of":[1],
            "messages":[{"role":"user","name":"ann","content":"a"},{"role":"user","name":"bob","content":[{"type":"text","text":"b","odd":1}]},
            {"role":"assistant","content":"c","annotations":[{}],"audio":{"id":"x"},"function_call":null,"tool_calls":null}],
            "tools":[{"type":"function","function":{"name":"f","odd":1}}]}"#;

        let request = read(body);

        assert_eq!(
            fields(&request),
            [
                "logit_bias",
                "store",
                "unheard_of",
                "messages[].name",
                "messages[].content[].odd",
                "messages[].audio",
                "tools[].function.odd"
            ]
        );
        assert_eq!(request.extras[0].value.get(), r#"{"1":-100}"#);
        assert_eq!(request.extras[3].value.get(), "\"ann\"");
    }

    #[test]
    fn what_cannot_be_read_is_named_and_not_repeated() {
        let (param, message) = refused(&messages(
            r#"{"role":"user","content":"a"},{"role":"user","content":{"secret":"prompt"}}"#,
        ));
        assert_eq!(param, "messages[1].content");
        assert!(!message.contains("prompt"), "{message}");

        assert_eq!(refused(r#"{"model":"m"}"#).0, "messages");
        assert_eq!(refused(&messages(r#"{"role":"tool","content":"x"}"#)).0, "messages[0].tool_call_id");
        assert_eq!(refused(&messages(r#"{"role":"robot"}"#)).0, "messages[0].role");
        assert_eq!(refused(&messages(r#"{"role":"user","content":null}"#)).0, "messages[0].content");
        assert_eq!(
            refused(&messages(r#"{"role":"user","content":[{"type":"image_url"}]}"#)).0,
            "messages[0].content[0].image_url"
        );
        assert_eq!(
            refused(&messages(r#"{"role":"assistant","tool_calls":[{"id":"a"}]}"#)).0,
            "messages[0].tool_calls[0].function"
        );
        assert_eq!(refused(r#"{"messages":[],"reasoning_effort":"huge"}"#).0, "reasoning_effort");
        assert_eq!(refused(r#"{"messages":[],"temperature":"hot"}"#).0, "temperature");
        assert_eq!(refused(r#"{"messages":[],"tools":[{"type":"function"}]}"#).0, "tools[0].function");
        assert_eq!(refused("{").1.split(':').next(), Some("the body is not valid JSON"));
    }

    #[test]
    fn text_is_not_copied() {
        let body = messages(r#"{"role":"user","content":[{"type":"text","text":"plain"}]}"#);

        let request = read(&body);

        assert!(matches!(&request.turns[0].parts[0].content, Content::Text(Cow::Borrowed("plain"))));
    }
}
