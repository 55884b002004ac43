//! Canonical tools and the choice among them, as Bedrock takes them.

use std::{borrow::Cow, collections::HashSet};

use super::{
    parts,
    wire::write::{CachePoint, InputSchema, Tool, ToolChoice, ToolConfig},
};
use crate::{
    Error,
    dialect::{
        anthropic::schema,
        canonical::{self, Content, Request, ToolInput},
        chosen::chosen,
        lost::Lost,
        names::Names,
        schema::any_object,
    },
    target::ModelFacts,
};

/// The tools that are sent, and what is demanded of the model with them.
#[derive(Debug, Default)]
pub(super) struct Toolbox<'a> {
    pub(super) tools: Vec<Spec<'a>>,
    pub(super) choice: Option<ToolChoice<'a>>,
    /// Asks in words for what the model can't be forced to.
    pub(super) instruction: Option<String>,
    /// The client's names of tools that take free text.
    pub(super) free_text: HashSet<Box<str>>,
}

/// A tool, and whether the prompt is to be cached up to it.
#[derive(Debug)]
pub(super) struct Spec<'a> {
    pub(super) name: &'a str,
    pub(super) description: Option<&'a str>,
    pub(super) schema: Cow<'a, serde_json::value::RawValue>,
    pub(super) strict: bool,
    pub(super) cache: Option<CachePoint>,
}

impl<'a> Toolbox<'a> {
    /// The tools as they are written; `None` if there are none.
    pub(super) fn into_config(self) -> Option<ToolConfig<'a>> {
        let mut tools = Vec::with_capacity(self.tools.len());
        for Spec { name, description, schema, strict, cache } in self.tools {
            let input_schema = InputSchema { json: schema };
            tools.push(Tool::ToolSpec { name, description, input_schema, strict });
            tools.extend(cache.map(Tool::CachePoint));
        }
        (!tools.is_empty()).then_some(ToolConfig { tools, tool_choice: self.choice })
    }
}

/// Whether the model can be made to call a tool.
pub(super) fn can_be_forced(facts: &ModelFacts) -> bool {
    let may_choose = !facts.is_known() || facts.supports("tool_choice");
    may_choose && !facts.lacks("tool_choice") && !facts.lacks("forced_tool_use")
}

/// Writes the tools of `request`.
pub(super) fn toolbox<'a>(
    request: &'a Request<'_>,
    facts: &ModelFacts,
    names: &'a Names<'_>,
    lost: &mut Lost,
) -> Result<Toolbox<'a>, Error> {
    let mut toolbox = Toolbox::default();
    let has_history = called(request).next().is_some();
    if request.tool_choice == Some(canonical::ToolChoice::None) && !has_history {
        // There is no such choice, but without tools there is nothing to choose.
        return Ok(toolbox);
    }
    for tool in allowed(request)? {
        if matches!(tool.input, ToolInput::Text(_)) {
            toolbox.free_text.insert((&*tool.name).into());
        }
        toolbox.tools.extend(spec(tool, facts, names, lost));
    }
    if toolbox.tools.is_empty() {
        lost.push_if(request.tool_choice == Some(canonical::ToolChoice::Required), "tool_choice");
        toolbox.tools = tools_of_history(request, names);
        return Ok(toolbox);
    }
    lost.push_if(request.tool_choice == Some(canonical::ToolChoice::None), "tool_choice");
    lost.push_if(request.parallel_tools == Some(false), "parallel_tool_calls");
    choose(&mut toolbox, request, facts, names, lost);
    Ok(toolbox)
}

fn choose<'a>(
    toolbox: &mut Toolbox<'a>,
    request: &'a Request<'_>,
    facts: &ModelFacts,
    names: &'a Names<'_>,
    lost: &mut Lost,
) {
    let choice = match &request.tool_choice {
        Some(canonical::ToolChoice::Required | canonical::ToolChoice::Allowed { required: true, .. }) => {
            ToolChoice::Any {}
        }
        Some(canonical::ToolChoice::Named(name)) => ToolChoice::Tool { name: names.sent(name) },
        _ => return,
    };
    if can_be_forced(facts) {
        toolbox.choice = Some(choice);
        return;
    }
    lost.push("tool_choice");
    toolbox.instruction = Some(match choice {
        ToolChoice::Tool { name } => format!("Answer by calling the tool `{name}`."),
        ToolChoice::Any {} => "Answer by calling at least one of the tools.".into(),
    });
}

/// The tools that may be called.
fn allowed<'a>(request: &'a Request<'a>) -> Result<Vec<&'a canonical::Tool<'a>>, Error> {
    let chosen = chosen(request, |tool| tool.is_function())?;
    let Some(canonical::ToolChoice::Allowed { .. }) = &request.tool_choice else {
        return Ok(request.tools.iter().collect());
    };
    let chosen: HashSet<&str> = chosen.into_iter().collect();
    Ok(request.tools.iter().filter(|tool| chosen.contains(&*tool.name)).collect())
}

fn spec<'a>(
    tool: &'a canonical::Tool<'_>,
    facts: &ModelFacts,
    names: &'a Names<'_>,
    lost: &mut Lost,
) -> Option<Spec<'a>> {
    let wants_strict = tool.strict == Some(true);
    let strict = wants_strict && (!facts.is_known() || facts.supports("native_structured_output"));
    lost.push_if(wants_strict && !strict, "tools[].function.strict");
    let schema = match &tool.input {
        ToolInput::Opaque { .. } => {
            lost.push("tools");
            return None;
        }
        ToolInput::Schema(schema) => schema::of_tool(schema.as_deref(), strict),
        ToolInput::Text(format) => {
            lost.push_if(format.is_some(), "tools[].custom.format");
            schema::of_free_text()
        }
    };
    Some(Spec {
        name: names.sent(&tool.name),
        // Bedrock refuses an empty one.
        description: tool.description.as_deref().filter(|description| !description.is_empty()),
        schema,
        strict,
        cache: parts::mark(tool.cache),
    })
}

fn called<'a>(request: &'a Request<'_>) -> impl Iterator<Item = &'a str> {
    let parts = request.turns.iter().flat_map(|turn| &turn.parts);
    parts.filter_map(|part| match &part.content {
        Content::ToolCall(call) => Some(&*call.name),
        _ => None,
    })
}

/// The least that can be said of tools that were called before and are gone now: Bedrock refuses calls
/// where there are no tools.
fn tools_of_history<'a>(request: &'a Request<'_>, names: &'a Names<'_>) -> Vec<Spec<'a>> {
    let mut seen = HashSet::new();
    let define = |name| {
        let schema = Cow::Borrowed(any_object());
        Spec { name, description: None, schema, strict: false, cache: None }
    };
    called(request).map(|name| names.sent(name)).filter(|name| seen.insert(*name)).map(define).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{
        super::testing::{
            CLAUDE, asking, assistant, call, encoded, hi, raw, result, text, tool, try_encode, user,
        },
        *,
    };
    use crate::dialect::canonical::{Cache, ToolCall, ToolChoice};

    const SCHEMA: &str = r#"{"type":"object","properties":{"city":{"type":"string"}}}"#;

    fn with<'a>(tools: Vec<canonical::Tool<'a>>, choice: Option<ToolChoice<'a>>) -> Request<'a> {
        Request { tools, tool_choice: choice, ..hi() }
    }

    fn past<'a>() -> Request<'a> {
        asking(vec![
            user(vec![text("a")]),
            assistant(vec![call("c1", "f", "{}"), call("c2", "f", "{}")]),
            user(vec![result("c1", "r"), result("c2", "r")]),
        ])
    }

    #[test]
    fn tools_and_the_choice_among_them_are_written() {
        let mut request = with(vec![tool("f", Some(SCHEMA)), tool("g", None)], Some(ToolChoice::Required));
        request.tools[0].description = Some("d".into());
        request.tools[1].description = Some("".into());
        request.tools[1].cache = Some(Cache::Hour);

        let (body, lost) = encoded(&request, CLAUDE);

        assert_eq!(
            body["toolConfig"],
            json!({"tools": [
                {"toolSpec": {"name": "f", "description": "d",
                    "inputSchema": {"json": serde_json::from_str::<Value>(SCHEMA).unwrap()}}},
                {"toolSpec": {"name": "g", "inputSchema": {"json": {"type": "object", "properties": {}}}}},
                {"cachePoint": {"type": "default", "ttl": "1h"}}],
                "toolChoice": {"any": {}}})
        );
        assert!(lost.is_empty(), "{lost:?}");
    }

    #[test]
    fn a_named_tool_is_chosen_by_the_name_it_is_sent_with() {
        // C42
        let request = with(vec![tool("mcp/read", None)], Some(ToolChoice::Named("mcp/read".into())));

        let encoded = try_encode(&request, CLAUDE).unwrap();
        let unknown = with(vec![tool("f", None)], Some(ToolChoice::Named("g".into())));

        let body: Value = serde_json::from_slice(&encoded.body).unwrap();
        assert_eq!(body["toolConfig"]["toolChoice"], json!({"tool": {"name": "mcp_read"}}));
        assert_eq!(encoded.undo.original("mcp_read"), "mcp/read");
        assert_eq!(try_encode(&unknown, CLAUDE).unwrap_err().param(), Some("tool_choice"));
    }

    /// C48
    #[test]
    fn tools_of_the_history_are_defined_where_there_are_none() {
        let (body, lost) = encoded(&past(), CLAUDE);

        let tools = body["toolConfig"]["tools"].as_array().unwrap();
        assert_eq!(tools.len(), 1);
        assert_eq!(tools[0]["toolSpec"]["name"], "f");
        assert!(body["toolConfig"].get("toolChoice").is_none() && lost.is_empty());
    }

    /// C126
    #[test]
    fn no_tool_is_chosen_by_sending_none_unless_the_history_needs_them() {
        let none = || Some(ToolChoice::None);
        let in_history = Request { tools: vec![tool("f", None)], tool_choice: none(), ..past() };

        let (fresh, lost_fresh) = encoded(&with(vec![tool("f", None)], none()), CLAUDE);
        let (old, lost_old) = encoded(&in_history, CLAUDE);

        assert!(fresh.get("toolConfig").is_none() && lost_fresh.is_empty());
        assert_eq!(old["toolConfig"]["tools"].as_array().unwrap().len(), 1);
        assert!(old["toolConfig"].get("toolChoice").is_none());
        assert_eq!(lost_old, ["tool_choice"]);
    }

    /// C49
    #[test]
    fn what_a_model_cannot_be_forced_to_it_is_asked_for() {
        for model in ["anthropic.claude-opus-5-5", "meta.llama3-1-405b-instruct-v1:0"] {
            let request = with(vec![tool("f", None)], Some(ToolChoice::Named("f".into())));

            let (body, lost) = encoded(&request, model);

            assert!(body["toolConfig"].get("toolChoice").is_none(), "{body}");
            assert_eq!(body["system"], json!([{"text": "Answer by calling the tool `f`."}]));
            assert_eq!(lost, ["tool_choice"], "{model}");
        }
    }

    #[test]
    fn calls_one_after_another_cannot_be_demanded() {
        let mut request = with(vec![tool("f", None)], None);
        request.parallel_tools = Some(false);

        assert_eq!(encoded(&request, CLAUDE).1, ["parallel_tool_calls"]);
    }

    /// C41
    #[test]
    fn free_text_is_wrapped_into_an_object() {
        let mut request = with(vec![tool("sh", None)], None);
        request.tools[0].input = ToolInput::Text(Some(raw(r#"{"type":"grammar"}"#)));
        let (id, name, arguments) = ("c".into(), "sh".into(), "ls".into());
        let called = Content::ToolCall(ToolCall { id, name, arguments, is_free_text: true });
        request.turns.extend([assistant(vec![called.into()]), user(vec![result("c", "r")])]);

        let encoded = try_encode(&request, CLAUDE).unwrap();

        let body: Value = serde_json::from_slice(&encoded.body).unwrap();
        let schema = &body["toolConfig"]["tools"][0]["toolSpec"]["inputSchema"]["json"];
        assert_eq!(schema["required"], json!(["input"]));
        assert_eq!(body["messages"][1]["content"][0]["toolUse"]["input"], json!({"input": "ls"}));
        assert!(encoded.undo.free_text.contains("sh"));
        assert_eq!(encoded.lost, ["tools[].custom.format"].map(Box::<str>::from));
    }

    /// C51
    #[test]
    fn tools_of_other_providers_are_lost() {
        let mut request = with(vec![tool("web_search", None)], None);
        let raw = raw(r#"{"type":"web_search_20260318","name":"web_search"}"#);
        request.tools[0].input = ToolInput::Opaque { dialect: "anthropic-messages", raw };

        let (body, lost) = encoded(&request, CLAUDE);

        assert!(body.get("toolConfig").is_none());
        assert_eq!(lost, ["tools"]);
        request.tools.push(tool("f", None));
        request.tool_choice = Some(canonical::ToolChoice::Named("web_search".into()));
        assert_eq!(try_encode(&request, CLAUDE).unwrap_err().param(), Some("tool_choice"));
    }

    /// C45
    #[test]
    fn strict_tools_are_closed_where_the_model_takes_them() {
        let mut request = with(vec![tool("f", Some(SCHEMA))], None);
        request.tools[0].strict = Some(true);

        let (strict, _) = encoded(&request, CLAUDE);
        let (loose, lost) = encoded(&request, "amazon.nova-pro-v1:0");

        let spec = &strict["toolConfig"]["tools"][0]["toolSpec"];
        assert_eq!(
            (&spec["strict"], &spec["inputSchema"]["json"]["additionalProperties"]),
            (&json!(true), &json!(false))
        );
        assert!(loose["toolConfig"]["tools"][0]["toolSpec"].get("strict").is_none());
        assert_eq!(lost, ["tools[].function.strict"]);
    }
}
