//! Tools and the choice among them, as servers of chat completions take them.

use std::collections::HashSet;

use serde_json::value::RawValue;

use super::wire;
use crate::{
    Error,
    dialect::{
        arguments,
        canonical::{Request, Tool, ToolChoice, ToolInput},
        chosen::chosen,
        lost::Lost,
        names::Names,
        text::Str,
        text_or::TextOr,
    },
    target::ModelFacts,
};

/// The tools for a server.
pub(crate) fn tools<'a>(
    request: &'a Request<'_>,
    names: &'a Names<'_>,
    facts: &ModelFacts,
    lost: &mut Lost,
) -> Vec<wire::Tool<'a>> {
    let takes_strict = !facts.lacks("strict_tools");
    let one = |tool: &'a Tool<'_>| match &tool.input {
        ToolInput::Schema(schema) => {
            lost.push_if(tool.strict == Some(true) && !takes_strict, "tools[].function.strict");
            let strict = tool.strict.filter(|_| takes_strict);
            Some(function(tool, schema.as_deref(), names, strict))
        }
        ToolInput::Text(_) if facts.lacks("custom_tools") => {
            Some(function(tool, Some(arguments::free_text_schema()), names, None))
        }
        ToolInput::Text(format) => Some(custom(tool, format.as_deref(), names)),
        ToolInput::Opaque { raw, .. } => {
            lost.push(&format!("tools[].{}", kind_of_tool(raw).unwrap_or(Str::from(&*tool.name)).0));
            None
        }
    };
    request.tools.iter().filter_map(one).collect()
}

fn function<'a>(
    tool: &'a Tool<'_>,
    schema: Option<&'a RawValue>,
    names: &'a Names<'_>,
    strict: Option<bool>,
) -> wire::Tool<'a> {
    wire::Tool {
        kind: Some("function".into()),
        function: Some(wire::Function {
            name: Some(names.sent(&tool.name).into()),
            description: tool.description.as_deref().map(Str::from),
            // Strict tools have to say that they take nothing.
            parameters: schema.or_else(|| strict.filter(|strict| *strict).and(empty_schema())),
            strict,
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn empty_schema() -> Option<&'static RawValue> {
    serde_json::from_str(r#"{"type":"object","properties":{},"required":[],"additionalProperties":false}"#)
        .ok()
}

fn custom<'a>(tool: &'a Tool<'_>, format: Option<&'a RawValue>, names: &'a Names<'_>) -> wire::Tool<'a> {
    wire::Tool {
        kind: Some("custom".into()),
        custom: Some(wire::Custom {
            name: Some(names.sent(&tool.name).into()),
            description: tool.description.as_deref().map(Str::from),
            format,
        }),
        ..Default::default()
    }
}

fn kind_of_tool(raw: &RawValue) -> Option<Str<'_>> {
    serde_json::from_str::<wire::Tool<'_>>(raw.get()).ok()?.kind
}

/// Whether several tools may be called at once, where that has to be said.
pub(crate) fn parallel_tools(
    request: &Request<'_>,
    no_tools: bool,
    facts: &ModelFacts,
    lost: &mut Lost,
) -> Option<bool> {
    // True is the default; a model that can't do it refuses to be told not to.
    let said = request.parallel_tools.filter(|parallel| !parallel && !no_tools)?;
    if facts.lacks("parallel_function_calling") {
        return None;
    }
    let is_refused = facts.lacks("parallel_tool_calls");
    lost.push_if(is_refused, "parallel_tool_calls");
    (!is_refused).then_some(said)
}

/// The choice for a server that is sent `tools`.
///
/// # Errors
///
/// A tool that isn't sent can't be chosen.
pub(crate) fn tool_choice<'a>(
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
    let take_text: HashSet<&str> =
        tools.iter().filter_map(|tool| tool.custom.as_ref()?.name.as_deref()).collect();
    let named = |name: &'a str| named(names.sent(name), take_text.contains(names.sent(name)));
    Ok(Some(match choice {
        ToolChoice::Auto => "auto".into(),
        ToolChoice::None => "none".into(),
        ToolChoice::Required => "required".into(),
        ToolChoice::Named(name) => TextOr::Other(named(name)),
        ToolChoice::Allowed { required, .. } => TextOr::Other(wire::ToolChoice {
            kind: Some("allowed_tools".into()),
            allowed_tools: Some(wire::AllowedTools {
                mode: Some(if *required { "required" } else { "auto" }.into()),
                tools: Some(chosen.into_iter().map(named).collect()),
            }),
            ..Default::default()
        }),
    }))
}

/// The tools for free text that a server gets as functions, because it knows no others.
pub(crate) fn wrapped_tools(request: &Request<'_>, facts: &ModelFacts) -> HashSet<Box<str>> {
    let is_wrapped =
        |tool: &&Tool<'_>| matches!(tool.input, ToolInput::Text(_)) && facts.lacks("custom_tools");
    request.tools.iter().filter(is_wrapped).map(|tool| (&*tool.name).into()).collect()
}

fn named(sent: &str, takes_text: bool) -> wire::ToolChoice<'_> {
    let named = wire::Named { name: Some(sent.into()) };
    if takes_text {
        wire::ToolChoice { kind: Some("custom".into()), custom: Some(named), ..Default::default() }
    } else {
        wire::ToolChoice { kind: Some("function".into()), function: Some(named), ..Default::default() }
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use serde_json::{Value, json};

    use super::*;
    use crate::{Kind, Target, dialect::openai_chat::encode};

    fn target() -> Target {
        Target::new("p", "m")
    }

    fn sent(request: &Request<'_>, to: &Target) -> (Value, Vec<String>) {
        let encoded = encode::request(request, to).unwrap();
        let lost = encoded.lost.iter().map(ToString::to_string).collect();
        (serde_json::from_slice(&encoded.body).unwrap(), lost)
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

    #[test]
    fn strict_tools_say_that_they_take_nothing() {
        // C43, C45
        let strict =
            Request { tools: vec![Tool { strict: Some(true), ..tool("f", None) }], ..Request::default() };
        let lacking = target().facts(ModelFacts::new([], ["strict_tools"]));

        let function = |to: &Target| sent(&strict, to).0["tools"][0]["function"].take();

        assert_eq!(function(&target())["parameters"]["additionalProperties"], false);
        assert_eq!(function(&lacking), json!({"name": "f"}));
        assert_eq!(sent(&strict, &lacking).1, ["tools[].function.strict"]);
    }

    #[test]
    fn without_tools_nothing_is_said_of_them() {
        // C46, C47
        let with = |tool_choice| Request {
            tool_choice: Some(tool_choice),
            parallel_tools: Some(false),
            ..Request::default()
        };

        let (body, lost) = sent(&with(ToolChoice::Required), &target());
        let named = encode::request(&with(ToolChoice::Named("f".into())), &target()).unwrap_err();

        assert_eq!(body, json!({"model": "m", "messages": []}));
        assert_eq!(lost, ["tool_choice"]);
        assert_eq!((named.kind(), named.param()), (Kind::InvalidRequest, Some("tool_choice")));
    }

    #[test]
    fn only_what_is_sent_can_be_chosen() {
        let allowed = |names: &[&'static str]| ToolChoice::Allowed {
            required: false,
            names: names.iter().map(|name| (*name).into()).collect(),
        };
        let with = |tool_choice| Request {
            tools: vec![tool("f", None), tool("g", None)],
            tool_choice: Some(tool_choice),
            ..Request::default()
        };

        for choice in [ToolChoice::Named("h".into()), allowed(&["h"]), allowed(&[])] {
            let refused = encode::request(&with(choice), &target()).unwrap_err();

            assert_eq!((refused.kind(), refused.param()), (Kind::InvalidRequest, Some("tool_choice")));
        }
        let (body, _) = sent(&with(allowed(&["h", "f"])), &target());
        let known = &body["tool_choice"]["allowed_tools"]["tools"];
        assert_eq!(*known, json!([{"type": "function", "function": {"name": "f"}}]));
    }

    #[test]
    fn the_tools_of_another_provider_are_reported() {
        // C51
        let raw = r#"{"type":"web_search_20250305","name":"web_search"}"#;
        let web_search = Tool {
            input: ToolInput::Opaque {
                dialect: "anthropic",
                raw: Cow::Borrowed(serde_json::from_str(raw).unwrap()),
            },
            ..tool("web_search", None)
        };

        let (body, lost) = sent(&Request { tools: vec![web_search], ..Request::default() }, &target());

        assert_eq!(body.get("tools"), None);
        assert_eq!(lost, ["tools[].web_search_20250305"]);
    }

    #[test]
    fn tools_for_free_text_and_several_allowed_ones_are_written() {
        // C41
        let free = Tool { input: ToolInput::Text(None), ..tool("g", None) };
        let request = Request {
            tools: vec![tool("f", None), free],
            tool_choice: Some(ToolChoice::Allowed { required: true, names: vec!["f".into(), "g".into()] }),
            ..Request::default()
        };

        let (body, _) = sent(&request, &target());

        assert_eq!(body["tools"][1], json!({"type": "custom", "custom": {"name": "g"}}));
        assert_eq!(
            body["tool_choice"],
            json!({"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [
                {"type": "function", "function": {"name": "f"}}, {"type": "custom", "custom": {"name": "g"}}]}})
        );
    }
}
