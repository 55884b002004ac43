//! A client's request becomes canonical.

use std::{borrow::Cow, cell::OnceCell};

use serde_json::value::RawValue;

use super::{
    codec::ID,
    content::{self, Reader, missing, read},
    wire::read as wire,
};
use crate::{
    Error, Kind,
    dialect::{
        canonical::{
            Content, Effort, Format, Part, Reasoning, Request, Role, Text, Tool, ToolChoice, ToolInput, Turn,
        },
        text::Str,
        text_or::TextOr,
    },
};

/// Reads the body of a request.
pub(super) fn request(body: &[u8]) -> Result<Request<'_>, Error> {
    let request = counted(body)?;
    request.max_output.is_some().then_some(request).ok_or_else(|| missing("max_tokens"))
}

/// The same where only its tokens are asked for: how long the answer may be does not matter.
pub(super) fn counted(body: &[u8]) -> Result<Request<'_>, Error> {
    let body = std::str::from_utf8(body)
        .map_err(|error| Error::new(Kind::InvalidRequest, "the body is not UTF-8").with_source(error))?;
    let wire: wire::Request<'_> = read(body, &String::new)?;
    let mut reader = Reader::default();
    let again = Again { body, read: OnceCell::new() };
    let (tool_choice, parallel_tools) = wire.tool_choice.map(tool_choice).transpose()?.unzip();
    let mut request = Request {
        system: system(wire.system, &mut reader, &again)?,
        turns: turns(wire.messages.ok_or_else(|| missing("messages"))?, &mut reader, &again)?,
        tools: tools(wire.tools.unwrap_or_default(), &mut reader, &again)?,
        tool_choice,
        parallel_tools: parallel_tools.flatten(),
        max_output: wire.max_tokens,
        temperature: wire.temperature,
        top_p: wire.top_p,
        top_k: wire.top_k,
        stop: wire.stop_sequences.unwrap_or_default().into_iter().map(Into::into).collect(),
        service_tier: wire.service_tier.map(service_tier),
        stream: wire.stream.unwrap_or(false),
        ..Request::default()
    };
    if let Some(metadata) = wire.metadata {
        request.user = metadata.user_id.map(Into::into);
        reader.unknown("metadata.", metadata.unknown);
    }
    let (effort, format) = output(wire.output_config, &mut reader)?;
    request.reasoning = reasoning(wire.thinking, effort)?;
    request.format = format;
    reader.unknown("", wire.unknown);
    request.extras = reader.extras.into_vec();
    Ok(request)
}

/// The body read once more, with the text of what only this dialect knows. That is cheaper than to keep
/// the text of everything, as little of it is needed.
struct Again<'a> {
    body: &'a str,
    read: OnceCell<wire::RawRequest<'a>>,
}

impl<'a> Again<'a> {
    fn request(&self) -> &wire::RawRequest<'a> {
        self.read.get_or_init(|| serde_json::from_str(self.body).unwrap_or_default())
    }

    fn system(&self) -> Option<&'a RawValue> {
        self.request().system
    }

    fn content(&self, index: usize) -> Option<&'a RawValue> {
        self.request().messages.as_ref()?.get(index)?.content
    }

    fn tool(&self, index: usize) -> Option<&'a RawValue> {
        self.request().tools.as_ref()?.get(index).copied()
    }
}

fn system<'a>(
    system: Option<TextOr<'a, Vec<wire::Block<'a>>>>,
    reader: &mut Reader<'a>,
    again: &Again<'a>,
) -> Result<Vec<Part<'a>>, Error> {
    match system {
        None | Some(TextOr::Null) => Ok(Vec::new()),
        Some(TextOr::Text(text)) => Ok(vec![Content::Text(text.into()).into()]),
        Some(TextOr::Other(blocks)) => {
            reader.blocks(blocks, &|| again.system().ok_or_else(|| missing("system")), &|| "system".into())
        }
    }
}

fn turns<'a>(
    messages: Vec<wire::Message<'a>>,
    reader: &mut Reader<'a>,
    again: &Again<'a>,
) -> Result<Vec<Turn<'a>>, Error> {
    let mut turns = Vec::with_capacity(messages.len());
    for (index, message) in messages.into_iter().enumerate() {
        let at = |member| format!("messages.{index}.{member}");
        let role = match message.role.as_deref() {
            Some("user") => Role::User,
            Some("assistant") => Role::Assistant,
            Some("system") => Role::System,
            Some(_) => return Err(unexpected(&at("role"), "`user`, `assistant` or `system`")),
            None => return Err(missing(&at("role"))),
        };
        let content = message.content.ok_or_else(|| missing(&at("content")))?;
        let parts = match content {
            TextOr::Text(text) => vec![Content::Text(text.into()).into()],
            TextOr::Other(blocks) => {
                let raw = || again.content(index).ok_or_else(|| missing(&at("content")));
                reader.blocks(blocks, &raw, &|| at("content"))?
            }
            TextOr::Null => return Err(missing(&at("content"))),
        };
        if let Some(rule) = parts.iter().find_map(|part| misplaced(role, &part.content)) {
            let path = at("content");
            return Err(Error::new(Kind::InvalidRequest, format!("{path}: {rule}")).with_param(path));
        }
        turns.push(Turn { role, parts });
        reader.unknown("messages[].", message.unknown);
    }
    Ok(turns)
}

/// The rule against content of this kind in a turn of this role.
fn misplaced(role: Role, content: &Content<'_>) -> Option<&'static str> {
    match content {
        Content::ToolCall(_) if role != Role::Assistant => Some("`tool_use` belongs to the assistant"),
        Content::ToolResult { .. } if role != Role::User => Some("`tool_result` belongs to the user"),
        _ => None,
    }
}

fn tools<'a>(
    tools: Vec<wire::Tool<'a>>,
    reader: &mut Reader<'a>,
    again: &Again<'a>,
) -> Result<Vec<Tool<'a>>, Error> {
    tools.into_iter().enumerate().map(|(index, each)| tool(index, each, reader, again)).collect()
}

fn tool<'a>(
    index: usize,
    tool: wire::Tool<'a>,
    reader: &mut Reader<'a>,
    again: &Again<'a>,
) -> Result<Tool<'a>, Error> {
    let at = |member| format!("tools.{index}{member}");
    let cache = tool.cache_control.as_ref().map(content::cache);
    let is_custom = matches!(tool.kind.as_deref(), None | Some("custom"));
    let name = match (tool.name, tool.kind) {
        (Some(name), _) => name,
        (None, Some(kind)) if !is_custom => kind,
        (None, _) => return Err(missing(&at(".name"))),
    };
    let input = match tool.input_schema {
        _ if !is_custom => {
            let raw = again.tool(index).ok_or_else(|| missing(&at("")))?;
            ToolInput::Opaque { dialect: ID, raw: Cow::Borrowed(raw) }
        }
        Some(schema) => ToolInput::Schema(Some(Cow::Borrowed(schema))),
        None => return Err(missing(&at(".input_schema"))),
    };
    if is_custom {
        reader.unknown("tools[].", tool.unknown);
    }
    let description = tool.description.map(Into::into);
    Ok(Tool { name: name.into(), description, input, strict: tool.strict, cache })
}

/// The choice, and whether several tools may be called at once.
fn tool_choice(choice: wire::ToolChoice<'_>) -> Result<(ToolChoice<'_>, Option<bool>), Error> {
    let parallel = choice.disable_parallel_tool_use.map(|disabled| !disabled);
    let choice = match choice.kind.as_deref() {
        Some("auto") => ToolChoice::Auto,
        Some("any") => ToolChoice::Required,
        Some("none") => ToolChoice::None,
        Some("tool") => ToolChoice::Named(choice.name.ok_or_else(|| missing("tool_choice.name"))?.into()),
        Some(_) => return Err(unexpected("tool_choice.type", "`auto`, `any`, `tool` or `none`")),
        None => return Err(missing("tool_choice.type")),
    };
    Ok((choice, parallel))
}

fn output<'a>(
    config: Option<wire::OutputConfig<'a>>,
    reader: &mut Reader<'a>,
) -> Result<(Option<Effort>, Option<Format<'a>>), Error> {
    let Some(config) = config else { return Ok((None, None)) };
    reader.unknown("output_config.", config.unknown);
    let format = match config.format {
        None => None,
        Some(format) if format.kind.as_deref() == Some("json_schema") => {
            let schema = format.schema.ok_or_else(|| missing("output_config.format.schema"))?;
            Some(Format::Schema {
                name: None,
                description: None,
                schema: Cow::Borrowed(schema),
                strict: None,
            })
        }
        Some(_) => return Err(unexpected("output_config.format.type", "`json_schema`")),
    };
    Ok((config.effort.as_deref().map(effort).transpose()?, format))
}

fn effort(name: &str) -> Result<Effort, Error> {
    Ok(match name {
        "low" => Effort::Low,
        "medium" => Effort::Medium,
        "high" => Effort::High,
        "xhigh" => Effort::XHigh,
        "max" => Effort::Max,
        _ => return Err(unexpected("output_config.effort", "`low`, `medium`, `high`, `xhigh` or `max`")),
    })
}

fn reasoning(
    thinking: Option<wire::Thinking<'_>>,
    effort: Option<Effort>,
) -> Result<Option<Reasoning>, Error> {
    let Some(thinking) = thinking else {
        return Ok(effort.map(|effort| Reasoning { effort: Some(effort), ..Reasoning::default() }));
    };
    let visible = thinking.display.as_deref().map(|display| display != "omitted");
    Ok(Some(match thinking.kind.as_deref() {
        Some("enabled") => {
            let budget = thinking.budget_tokens.ok_or_else(|| missing("thinking.budget_tokens"))?;
            // The models that think by a budget show what they think.
            Reasoning { effort, budget: Some(budget), visible: visible.or(Some(true)) }
        }
        Some("adaptive") => Reasoning { effort, budget: None, visible },
        // `between_tools` is as little as the models that have it will think.
        Some("disabled" | "between_tools") => Reasoning { effort: Some(Effort::None), budget: None, visible },
        Some(_) => {
            return Err(unexpected("thinking.type", "`enabled`, `adaptive`, `between_tools` or `disabled`"));
        }
        None => return Err(missing("thinking.type")),
    }))
}

fn service_tier(tier: Str<'_>) -> Text<'_> {
    match &*tier {
        "standard_only" => "default".into(),
        _ => tier.into(),
    }
}

fn unexpected(path: &str, expected: &str) -> Error {
    Error::new(Kind::InvalidRequest, format!("{path}: expected {expected}")).with_param(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::canonical::{Cache, Content, Media};

    fn decoded(json: &str) -> Request<'_> {
        request(json.as_bytes()).unwrap()
    }

    fn with(members: &str) -> String {
        format!(r#"{{"model":"m","max_tokens":9,"messages":[{{"role":"user","content":"q"}}],{members}}}"#)
    }

    fn said<'a>(content: &'a Content<'_>) -> &'a str {
        match content {
            Content::Text(text) => text,
            other => panic!("not a text: {other:?}"),
        }
    }

    const T10: &str = r#"{"model":"m","max_tokens":9,
        "system":[{"type":"text","text":"S","cache_control":{"type":"ephemeral","ttl":"1h"}}],
        "messages":[
            {"role":"user","content":"q"},
            {"role":"assistant","content":[
                {"type":"thinking","thinking":"t","signature":"s"},
                {"type":"redacted_thinking","data":"d"},
                {"type":"text","text":"ok"},
                {"type":"tool_use","id":"toolu_1","name":"f","input":{"a": 1},"caller":{"type":"direct"}}]},
            {"role":"user","content":[
                {"type":"tool_result","tool_use_id":"toolu_1","is_error":true,"content":[{"type":"text","text":"bad"}]},
                {"type":"tool_result","tool_use_id":"toolu_2","content":"r1"},
                {"type":"text","text":"go"}]}],
        "tools":[{"name":"f","input_schema":{"type":"object","properties":{}},"strict":true}],
        "tool_choice":{"type":"tool","name":"f","disable_parallel_tool_use":true},
        "stop_sequences":["X"],"metadata":{"user_id":"u"},"service_tier":"standard_only","stream":true}"#;

    /// T10, C69
    #[test]
    fn a_conversation_with_tools_and_thoughts_is_understood() {
        let request = decoded(T10);

        assert_eq!((said(&request.system[0].content), request.system[0].cache), ("S", Some(Cache::Hour)));
        assert_eq!(said(&request.turns[0].parts[0].content), "q");
        let answer = &request.turns[1].parts;
        assert!(
            matches!(&answer[0].content, Content::Reasoning { text, signature: Some(s) } if text == "t" && s == "s")
        );
        assert!(matches!(&answer[1].content, Content::RedactedReasoning(data) if data == "d"));
        assert!(matches!(&answer[3].content, Content::ToolCall(call) if call.arguments == r#"{"a": 1}"#));
        let results = &request.turns[2].parts;
        assert!(
            matches!(&results[0].content, Content::ToolResult { id, is_error: true, parts } if id == "toolu_1" && said(&parts[0].content) == "bad")
        );
        assert!(
            matches!(&results[1].content, Content::ToolResult { parts, .. } if said(&parts[0].content) == "r1")
        );
        assert!(request.extras.is_empty(), "{:?}", request.extras);
    }

    /// T10
    #[test]
    fn the_settings_of_a_request_are_understood() {
        let request = decoded(T10);

        assert_eq!(request.tools[0].strict, Some(true));
        assert_eq!(request.tool_choice, Some(ToolChoice::Named("f".into())));
        assert_eq!((request.parallel_tools, request.max_output), (Some(false), Some(9)));
        assert_eq!((request.user.as_deref(), request.service_tier.as_deref()), (Some("u"), Some("default")));
        assert_eq!((request.stop, request.stream), (vec![Text::from("X")], true));
    }

    #[test]
    fn texts_without_escapes_are_borrowed() {
        let request = decoded(r#"{"max_tokens":9,"messages":[{"role":"user","content":"plain"}]}"#);

        assert!(matches!(&request.turns[0].parts[0].content, Content::Text(Cow::Borrowed("plain"))));
    }

    #[test]
    fn pictures_and_documents_are_understood_wherever_they_are() {
        let json = r#"{"max_tokens":9,"messages":[{"role":"user","content":[
            {"type":"image","source":{"type":"base64","media_type":"image/png","data":"AAAA"}},
            {"type":"image","source":{"type":"url","url":"https://e.x/a.png"}},
            {"type":"document","title":"T","source":{"type":"file","file_id":"file_1"}},
            {"type":"document","source":{"type":"text","media_type":"text/plain","data":"D"},"citations":{"enabled":true}},
            {"type":"document","source":{"type":"content","content":"c"}}]}]}"#;

        let request = decoded(json);

        let parts = &request.turns[0].parts;
        assert!(
            matches!(&parts[0].content, Content::Image(Media::Base64 { media_type, .. }) if media_type == "image/png")
        );
        assert!(matches!(&parts[1].content, Content::Image(Media::Url(url)) if url == "https://e.x/a.png"));
        assert!(
            matches!(&parts[2].content, Content::Document { media: Media::File(id), title: Some(title) } if id == "file_1" && title == "T")
        );
        assert!(
            matches!(&parts[3].content, Content::Document { media: Media::Text(text), .. } if text == "D")
        );
        assert!(matches!(&parts[4].content, Content::Opaque { kind, .. } if kind == "document"));
        assert_eq!(request.extras[0].field, "messages[].content[].citations");
    }

    #[test]
    fn a_result_is_read_alike_in_whatever_order_it_stands() {
        let inside = r#"[{"type":"text","text":"a\nb","citations":[]},{"type":"tool_reference","tool_name":"f"},
            {"type":"image","source":{"type":"url","url":"u"}},{"type":"tool_result","content":"c"}]"#;
        let result = |members: String| {
            let body = format!(
                r#"{{"max_tokens":9,"messages":[{{"role":"user","content":[{{"type":"text","text":"q"}},{{{members}}}]}}]}}"#
            );
            let request = decoded(&body);
            format!("{:?}", request.turns[0].parts[1].content)
        };

        let first = result(format!(r#""type":"tool_result","tool_use_id":"t","content":{inside}"#));
        let last = result(format!(r#""content":{inside},"tool_use_id":"t","type":"tool_result""#));
        let plain = [r#""type":"tool_result","content":"x\n""#, r#""content":"x\n","type":"tool_result""#]
            .map(|members| result(format!(r#"{members},"tool_use_id":"t""#)));

        assert_eq!(first, last);
        assert!(first.contains(r#"{"type":"tool_reference","tool_name":"f"}"#), "{first}");
        assert!(first.contains(r#"{"type":"tool_result","content":"c"}"#), "{first}");
        assert!(first.contains(r#"Text("a\nb")"#) && first.contains(r#"Url("u")"#), "{first}");
        assert_eq!(plain[0], plain[1]);
        assert!(plain[0].contains(r#"Text("x\n")"#), "{}", plain[0]);
    }

    /// C17, C51
    #[test]
    fn what_only_this_dialect_knows_is_kept_whole() {
        let json = r#"{"max_tokens":9,"messages":[
            {"role":"user","content":"q"},
            {"role":"system","content":"be brief"},
            {"role":"assistant","content":[{"type":"text","text":"a"},
                {"type":"web_search_tool_result","tool_use_id":"s","content":{"type":"web_search_tool_result_error"}}]}],
            "tools":[{"type":"web_search_20260318","name":"web_search","max_uses":3}]}"#;

        let request = decoded(json);

        assert_eq!(request.turns[1].role, Role::System);
        let Content::Opaque { dialect, kind, raw } = &request.turns[2].parts[1].content else { panic!() };
        assert_eq!((*dialect, &**kind), (ID, "web_search_tool_result"));
        assert!(raw.get().starts_with(r#"{"type":"web_search_tool_result","#) && raw.get().ends_with("}}"));
        assert!(
            matches!(&request.tools[0].input, ToolInput::Opaque { raw, .. } if raw.get().contains("max_uses"))
        );
        assert!(request.extras.is_empty());
    }

    #[test]
    fn fields_without_a_place_are_kept_by_their_names() {
        let members = r#""speed":"fast","metadata":{"user_id":null,"team":"x"},"output_config":{"task_budget":{"n":1}},
            "tools":[{"name":"f","input_schema":{},"defer_loading":true,"eager_input_streaming":false}]"#;
        let json = with(members);

        let request = decoded(&json);

        let fields: Vec<_> = request.extras.iter().map(|extra| &*extra.field).collect();
        assert_eq!(fields, ["tools[].defer_loading", "metadata.team", "output_config.task_budget", "speed"]);
        assert_eq!(request.extras[3].value.get(), r#""fast""#);
    }

    #[test]
    fn thinking_is_understood_in_all_its_forms() {
        let reasoning = |members: &str| decoded(&with(members)).reasoning;

        assert_eq!(
            reasoning(r#""thinking":{"type":"enabled","budget_tokens":2048}"#),
            Some(Reasoning { effort: None, budget: Some(2048), visible: Some(true) })
        );
        assert_eq!(
            reasoning(
                r#""thinking":{"type":"adaptive","display":"omitted"},"output_config":{"effort":"max"}"#
            ),
            Some(Reasoning { effort: Some(Effort::Max), budget: None, visible: Some(false) })
        );
        assert_eq!(
            reasoning(r#""thinking":{"type":"disabled"}"#),
            Some(Reasoning { effort: Some(Effort::None), budget: None, visible: None })
        );
        assert_eq!(reasoning(r#""temperature":1"#), None);
    }

    #[test]
    fn a_schema_for_the_answer_is_understood() {
        let json = with(r#""output_config":{"format":{"type":"json_schema","schema":{"type":"object"}}}"#);

        let request = decoded(&json);

        assert!(
            matches!(request.format, Some(Format::Schema { schema, .. }) if schema.get() == r#"{"type":"object"}"#)
        );
    }

    #[test]
    fn an_error_names_the_field() {
        let error = |json: &str| {
            let error = request(json.as_bytes()).unwrap_err();
            assert_eq!(error.kind(), Kind::InvalidRequest);
            (error.message().to_owned(), error.param().unwrap_or_default().to_owned())
        };
        let message = |content: &str| {
            format!(r#"{{"max_tokens":1,"messages":[{{"role":"user","content":{content}}}]}}"#)
        };

        assert_eq!(error(r#"{"messages":[]}"#).0, "max_tokens: field required");
        assert_eq!(error(r#"{"max_tokens":1}"#).1, "messages");
        assert_eq!(
            error(r#"{"max_tokens":"my prompt","messages":[]}"#).0,
            "max_tokens: expected a whole number at line 1 column 25"
        );
        assert_eq!(error(r#"{"max_tokens":1,"messages":[{"role":"tool"}]}"#).1, "messages.0.role");
        assert_eq!(
            error(&message(r#"[{"type":"text","text":"a"},{"type":"text"}]"#)).1,
            "messages.0.content.1.text"
        );
        assert_eq!(
            error(&message(r#"[{"type":"text","text":7}]"#)),
            (
                "messages.0.content.0.text: expected a string at line 1 column 77".into(),
                "messages.0.content.0.text".into()
            )
        );
        assert_eq!(error(&message(r#"[{"text":"a"}]"#)).0, "messages.0.content.0.type: field required");
        assert_eq!(
            error(&message(r#"[{"type":"image","source":{"type":"url"}}]"#)).1,
            "messages.0.content.0.source.url"
        );
        assert_eq!(
            error(&message(r#"[{"type":"tool_result","tool_use_id":"x","content":[{"type":7}]}]"#)).1,
            "messages.0.content.0.content.0.type"
        );
        assert_eq!(error(&with(r#""tools":[{"input_schema":{}}]"#)).1, "tools.0.name");
        assert_eq!(error(&with(r#""thinking":{"type":"hard"}"#)).1, "thinking.type");
    }

    #[test]
    fn calls_and_results_belong_to_their_roles() {
        let refused = |role: &str, block: &str| {
            let body = format!(
                r#"{{"model":"m","max_tokens":1,"messages":[{{"role":"user","content":"q"}},{{"role":"{role}","content":[{block}]}}]}}"#
            );
            request(body.as_bytes()).unwrap_err().message().to_owned()
        };

        assert_eq!(
            refused("user", r#"{"type":"tool_use","id":"c","name":"f","input":{}}"#),
            "messages.1.content: `tool_use` belongs to the assistant"
        );
        assert_eq!(
            refused("assistant", r#"{"type":"tool_result","tool_use_id":"c"}"#),
            "messages.1.content: `tool_result` belongs to the user"
        );
    }
}
