//! Tools and the choice among them, in both directions.

use std::{borrow::Cow, collections::HashSet};

use serde_json::value::RawValue;

use super::{
    ID,
    decode::{invalid, says_something},
    wire,
};
use crate::{
    Error,
    dialect::{
        canonical::{Request, Text, Tool, ToolChoice, ToolInput},
        chosen::chosen,
        extras::Extras,
        json,
        lost::Lost,
        names::Names,
        schema,
        text::Str,
        text_or::TextOr,
    },
};

/// Reads the tools. Those in a namespace become tools of their own.
pub(crate) fn read<'a>(raws: Vec<&'a RawValue>, extras: &mut Extras<'a>) -> Result<Vec<Tool<'a>>, Error> {
    let mut tools = Vec::with_capacity(raws.len());
    for (index, raw) in raws.into_iter().enumerate() {
        let path = format!("tools[{index}]");
        let tool: wire::Tool<'a> = json::read_member(raw.get(), &path)?;
        if tool.kind.as_deref() != Some("namespace") {
            tools.push(one(tool, raw, None, &path, extras)?);
            continue;
        }
        let namespace = tool.name.ok_or_else(|| invalid(format!("{path}.name"), "is missing"))?;
        extras.text("tools[].description", tool.description);
        for (index, raw) in tool.tools.unwrap_or_default().into_iter().enumerate() {
            let path = format!("{path}.tools[{index}]");
            let inner = json::read_member(raw.get(), &path)?;
            tools.push(one(inner, raw, Some(namespace.clone()), &path, extras)?);
        }
    }
    Ok(tools)
}

fn one<'a>(
    tool: wire::Tool<'a>,
    raw: &'a RawValue,
    namespace: Option<Str<'a>>,
    path: &str,
    extras: &mut Extras<'a>,
) -> Result<Tool<'a>, Error> {
    let kind = tool.kind.ok_or_else(|| invalid(format!("{path}.type"), "is missing"))?;
    let name = || invalid(format!("{path}.name"), "is missing");
    let (name, input) = match &*kind {
        "function" => (tool.name.ok_or_else(name)?, ToolInput::Schema(tool.parameters.map(Cow::Borrowed))),
        "custom" => (tool.name.ok_or_else(name)?, ToolInput::Text(tool.format.and_then(format_read))),
        _ => {
            let input = ToolInput::Opaque { dialect: ID, raw: Cow::Borrowed(raw) };
            return Ok(Tool { name: kind.into(), description: None, input, strict: None, cache: None });
        }
    };
    extras.all("tools[].", tool.unknown, says_something);
    let strict = tool.strict.or_else(|| by_default(&input, extras));
    let name = wire::qualified(namespace, name);
    Ok(Tool { name, description: tool.description.map(Text::from), input, strict, cache: None })
}

/// A function that doesn't say is strict here, whose schema OpenAI closes first if it has to, and is not
/// strict in any other dialect. It stays strict where its schema is closed already: to close it would be
/// to ask for arguments that the client has made optional.
fn by_default<'a>(input: &ToolInput<'a>, extras: &mut Extras<'a>) -> Option<bool> {
    let ToolInput::Schema(schema) = input else { return None };
    if schema.as_deref().is_none_or(schema::is_closed) {
        return Some(true);
    }
    extras.push("tools[].strict".into(), Cow::Borrowed(RawValue::TRUE));
    None
}

/// A grammar stands one level deeper in the canonical form, which is that of chat completions.
fn format_read(format: wire::TextFormat<'_>) -> Option<Cow<'static, RawValue>> {
    let (syntax, definition) = (format.syntax?, format.definition?);
    let grammar = wire::Grammar { syntax: Some(syntax), definition: Some(definition) };
    let deeper =
        wire::TextFormat { kind: Some("grammar".into()), grammar: Some(grammar), ..Default::default() };
    serde_json::value::to_raw_value(&deeper).ok().map(Cow::Owned)
}

fn format_written(raw: &RawValue) -> Option<wire::TextFormat<'_>> {
    let format: wire::TextFormat<'_> = serde_json::from_str(raw.get()).ok()?;
    Some(match format.grammar {
        Some(wire::Grammar { syntax, definition }) => {
            wire::TextFormat { kind: format.kind, syntax, definition, grammar: None }
        }
        None => format,
    })
}

/// Reads the choice.
pub(crate) fn read_choice<'a>(
    choice: Option<TextOr<'a, wire::ToolChoice<'a>>>,
) -> Result<Option<ToolChoice<'a>>, Error> {
    let choice = match choice {
        None | Some(TextOr::Null) => return Ok(None),
        Some(TextOr::Text(word)) => match &*word {
            "auto" => ToolChoice::Auto,
            "none" => ToolChoice::None,
            "required" => ToolChoice::Required,
            _ => return Err(invalid("tool_choice", "is not one of auto, none and required")),
        },
        Some(TextOr::Other(choice)) => match choice.kind.as_deref() {
            Some("function" | "custom") => {
                ToolChoice::Named(name_of(choice).ok_or_else(|| invalid("tool_choice.name", "is missing"))?)
            }
            Some("allowed_tools") => ToolChoice::Allowed {
                required: choice.mode.as_deref() == Some("required"),
                names: choice.tools.unwrap_or_default().into_iter().filter_map(name_of).collect(),
            },
            Some(_) => return Err(invalid("tool_choice", "names a tool that only OpenAI has")),
            None => return Err(invalid("tool_choice.type", "is missing")),
        },
    };
    Ok(Some(choice))
}

fn name_of(choice: wire::ToolChoice<'_>) -> Option<Text<'_>> {
    choice.name.map(|name| wire::qualified(choice.namespace, name))
}

/// The tools for a provider.
pub(crate) fn write<'a>(
    request: &'a Request<'_>,
    names: &'a Names<'_>,
    lost: &mut Lost,
) -> Vec<wire::Tool<'a>> {
    let one = |tool: &'a Tool<'_>| {
        let written = |kind: &'static str| wire::Tool {
            kind: Some(kind.into()),
            name: Some(names.sent(&tool.name).into()),
            description: tool.description.as_deref().map(Str::from),
            ..Default::default()
        };
        match &tool.input {
            ToolInput::Schema(schema) => Some(wire::Tool {
                parameters: schema.as_deref().or(Some(empty_schema())),
                // Left out it would mean that the function is strict.
                strict: Some(tool.strict.unwrap_or(false)),
                ..written("function")
            }),
            ToolInput::Text(format) => {
                Some(wire::Tool { format: format.as_deref().and_then(format_written), ..written("custom") })
            }
            ToolInput::Opaque { raw, .. } => {
                let kind = kind_of_tool(raw);
                lost.push(&format!("tools[].{}", kind.as_deref().unwrap_or(&*tool.name)));
                None
            }
        }
    };
    request.tools.iter().filter_map(one).collect()
}

fn empty_schema() -> &'static RawValue {
    const EMPTY: &str = r#"{"type":"object","properties":{},"required":[],"additionalProperties":false}"#;
    serde_json::from_str(EMPTY).unwrap_or(RawValue::NULL)
}

fn kind_of_tool(raw: &RawValue) -> Option<Str<'_>> {
    serde_json::from_str::<wire::Tool<'_>>(raw.get()).ok()?.kind
}

/// The choice for a provider that is sent `tools`.
///
/// # Errors
///
/// A tool that isn't sent can't be chosen.
pub(crate) fn write_choice<'a>(
    request: &'a Request<'_>,
    tools: &[wire::Tool<'_>],
    names: &'a Names<'_>,
    lost: &mut Lost,
) -> Result<Option<TextOr<'a, wire::ToolChoice<'a>>>, Error> {
    let Some(choice) = &request.tool_choice else { return Ok(None) };
    let chosen = chosen(request, |tool| tool.is_function())?;
    if tools.is_empty() {
        lost.push_if(*choice == ToolChoice::Required, "tool_choice");
        return Ok(None);
    }
    let take_text: HashSet<&str> = request
        .tools
        .iter()
        .filter(|tool| matches!(tool.input, ToolInput::Text(_)))
        .map(|tool| &*tool.name)
        .collect();
    let named = |name: &'a str| wire::ToolChoice {
        kind: Some(if take_text.contains(name) { "custom" } else { "function" }.into()),
        name: Some(names.sent(name).into()),
        ..Default::default()
    };
    Ok(Some(match choice {
        ToolChoice::Auto => "auto".into(),
        ToolChoice::None => "none".into(),
        ToolChoice::Required => "required".into(),
        ToolChoice::Named(name) => TextOr::Other(named(name)),
        ToolChoice::Allowed { required, .. } => TextOr::Other(wire::ToolChoice {
            kind: Some("allowed_tools".into()),
            mode: Some(if *required { "required" } else { "auto" }.into()),
            tools: Some(chosen.into_iter().map(named).collect()),
            ..Default::default()
        }),
    }))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        Target,
        dialect::{ChatCodec, Codec, Dialect, OPENAI_CHAT},
    };

    fn codec(dialect: &dyn Dialect) -> &'static dyn ChatCodec {
        dialect.codec().and_then(Codec::chat).unwrap()
    }

    /// What becomes of the tools and the choice in a chat, and what is lost.
    fn in_chat(members: Value) -> (Value, Vec<Box<str>>) {
        let mut body = members;
        (body["model"], body["input"]) = ("m".into(), "hi".into());
        let body = body.to_string();
        let request = super::super::decode::request(body.as_bytes()).unwrap();
        let encoded = codec(&OPENAI_CHAT).encode_request(&request, &Target::new("p", "m")).unwrap();
        (serde_json::from_slice(&encoded.body).unwrap(), encoded.lost)
    }

    #[test]
    fn a_function_that_does_not_say_is_strict_where_its_schema_is_closed() {
        // C43, C45
        let closed = json!({"type": "object", "properties": {"a": {}}, "required": ["a"], "additionalProperties": false});
        let (chat, lost) = in_chat(json!({"tools": [
            {"type": "function", "name": "f", "parameters": closed},
            {"type": "function", "name": "g", "parameters": null},
            {"type": "function", "name": "h", "parameters": null, "strict": false}]}));

        let strict = |index: usize| chat["tools"][index]["function"]["strict"].clone();
        assert_eq!([strict(0), strict(1), strict(2)], [json!(true), json!(true), json!(false)]);
        assert_eq!(chat["tools"][0]["function"]["parameters"], closed);
        assert!(lost.is_empty());
    }

    #[test]
    fn a_function_that_does_not_say_keeps_its_optional_arguments_and_is_reported() {
        // C45
        let open = json!({"type": "object", "properties": {"a": {"type": "string", "minLength": 3}}});
        let tools = json!([{"type": "function", "name": "f", "parameters": open}]);

        let (chat, lost) = in_chat(json!({"tools": tools}));

        assert_eq!(chat["tools"][0]["function"], json!({"name": "f", "parameters": open}));
        assert_eq!(lost, ["tools[].strict"].map(Box::<str>::from));
    }

    #[test]
    fn a_grammar_is_written_as_each_dialect_has_it() {
        // C41
        let custom = json!({"type": "custom", "name": "t", "format": {"type": "grammar", "syntax": "lark", "definition": "start: x"}});

        let (chat, _) = in_chat(json!({"tools": [custom]}));

        let format = &chat["tools"][0]["custom"]["format"];
        assert_eq!(
            *format,
            json!({"type": "grammar", "grammar": {"syntax": "lark", "definition": "start: x"}})
        );
        let raw = serde_json::value::to_raw_value(format).unwrap();
        let back = serde_json::to_value(format_written(&raw)).unwrap();
        assert_eq!(back, custom["format"]);
    }

    #[test]
    fn every_choice_is_understood() {
        let tools =
            json!([{"type": "function", "name": "f", "parameters": {}}, {"type": "custom", "name": "t"}]);
        let choice =
            |choice: Value| in_chat(json!({"tools": tools, "tool_choice": choice})).0["tool_choice"].clone();

        assert_eq!(choice("required".into()), "required");
        assert_eq!(
            choice(json!({"type": "function", "name": "f"})),
            json!({"type": "function", "function": {"name": "f"}})
        );
        assert_eq!(
            choice(json!({"type": "custom", "name": "t"})),
            json!({"type": "custom", "custom": {"name": "t"}})
        );
        let allowed =
            json!({"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]});
        assert_eq!(choice(allowed)["allowed_tools"]["tools"][0]["function"]["name"], "f");
    }

    #[test]
    fn tools_that_only_openai_has_are_lost_and_can_not_be_chosen() {
        // C53
        let (chat, lost) = in_chat(json!({"tools": [{"type": "web_search"}]}));

        assert!(chat.get("tools").is_none());
        assert_eq!(lost, ["tools[].web_search"].map(Box::<str>::from));
        let body = br#"{"model":"m","input":"a","tool_choice":{"type":"web_search"}}"#;
        assert_eq!(super::super::decode::request(body).unwrap_err().param(), Some("tool_choice"));
    }

    #[test]
    fn tools_in_a_namespace_are_told_apart_by_it() {
        // C42, C53
        let namespace = |name| json!({"type": "namespace", "name": name, "tools": [{"type": "function", "name": "f", "parameters": {}}]});
        let call = json!({"type": "function_call", "call_id": "c", "namespace": "b", "name": "f", "arguments": "{}"});
        let body =
            json!({"model": "m", "tools": [namespace("a"), namespace("b")], "input": [call]}).to_string();
        let request = super::super::decode::request(body.as_bytes()).unwrap();

        let encoded = codec(&OPENAI_CHAT).encode_request(&request, &Target::new("p", "m")).unwrap();

        let chat: Value = serde_json::from_slice(&encoded.body).unwrap();
        assert_eq!(chat["tools"][0]["function"]["name"], "a_f");
        assert_eq!(chat["tools"][1]["function"]["name"], "b_f");
        assert_eq!(chat["messages"][0]["tool_calls"][0]["function"]["name"], "b_f");
        assert_eq!(wire::unqualified(encoded.undo.original("b_f")), (Some("b"), "f"));
    }
}
