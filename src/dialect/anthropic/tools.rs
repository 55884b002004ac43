//! Canonical tools and the choice among them, as Anthropic takes them.

use std::{borrow::Cow, collections::HashSet};

use super::{
    cache,
    codec::ID,
    schema,
    wire::write::{Tool, ToolChoice},
};
use crate::{
    Error,
    dialect::{
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
    pub(super) tools: Vec<Tool<'a>>,
    pub(super) choice: Option<ToolChoice<'a>>,
    /// Asks in words for what the model can't be forced to.
    pub(super) instruction: Option<String>,
    /// The client's names of tools that take free text.
    pub(super) free_text: HashSet<Box<str>>,
}

impl Toolbox<'_> {
    /// Whether the model must call a tool.
    pub(super) fn forces(&self) -> bool {
        self.choice.as_ref().is_some_and(ToolChoice::forces)
    }
}

/// Writes the tools of `request`.
pub(super) fn toolbox<'a>(
    request: &'a Request<'_>,
    facts: &ModelFacts,
    names: &'a Names<'_>,
    lost: &mut Lost,
) -> Result<Toolbox<'a>, Error> {
    let mut toolbox = Toolbox::default();
    for tool in allowed(request)? {
        if matches!(tool.input, ToolInput::Text(_)) {
            toolbox.free_text.insert((&*tool.name).into());
        }
        toolbox.tools.extend(self::tool(tool, facts, names, lost));
    }
    if toolbox.tools.is_empty() {
        lost.push_if(request.tool_choice == Some(canonical::ToolChoice::Required), "tool_choice");
        toolbox.tools = tools_of_history(request, names);
        // They are there to be understood, not to be called.
        toolbox.choice = (!toolbox.tools.is_empty()).then_some(choose("none", None));
        return Ok(toolbox);
    }
    toolbox.choice = choice(request, names);
    if toolbox.forces() && facts.lacks("forced_tool_use") {
        lost.push("tool_choice");
        let only = toolbox.choice.as_ref().and_then(|choice| choice.name);
        toolbox.instruction = Some(match only {
            Some(name) => format!("Answer by calling the tool `{name}`."),
            None => "Answer by calling at least one of the tools.".into(),
        });
        if let Some(choice) = &mut toolbox.choice {
            (choice.kind, choice.name) = ("auto", None);
        }
    }
    Ok(toolbox)
}

/// The tools that may be called.
fn allowed<'a>(request: &'a Request<'a>) -> Result<Vec<&'a canonical::Tool<'a>>, Error> {
    let chosen = chosen(request, is_sent)?;
    let Some(canonical::ToolChoice::Allowed { .. }) = &request.tool_choice else {
        return Ok(request.tools.iter().collect());
    };
    let chosen: HashSet<&str> = chosen.into_iter().collect();
    Ok(request.tools.iter().filter(|tool| chosen.contains(&*tool.name)).collect())
}

fn is_sent(tool: &canonical::Tool<'_>) -> bool {
    tool.is_function() || matches!(tool.input, ToolInput::Opaque { dialect: ID, .. })
}

fn tool<'a>(
    tool: &'a canonical::Tool<'_>,
    facts: &ModelFacts,
    names: &'a Names<'_>,
    lost: &mut Lost,
) -> Option<Tool<'a>> {
    let wants_strict = tool.strict == Some(true);
    let is_recursive = || match &tool.input {
        ToolInput::Schema(Some(schema)) => schema::is_recursive(schema),
        _ => false,
    };
    let strict = wants_strict && !facts.lacks("native_structured_output") && !is_recursive();
    lost.push_if(wants_strict && !strict, "tools[].function.strict");
    let input_schema = match &tool.input {
        ToolInput::Opaque { dialect: ID, raw } => return Some(Tool::Opaque(raw)),
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
    Some(Tool::Custom {
        name: names.sent(&tool.name),
        description: tool.description.as_deref(),
        input_schema,
        strict,
        cache_control: cache::mark(tool.cache),
    })
}

fn choose<'a>(kind: &'static str, name: Option<&'a str>) -> ToolChoice<'a> {
    ToolChoice { kind, name, disable_parallel_tool_use: false }
}

fn choice<'a>(request: &'a Request<'_>, names: &'a Names<'_>) -> Option<ToolChoice<'a>> {
    let mut choice = request.tool_choice.as_ref().map(|choice| match choice {
        canonical::ToolChoice::Auto | canonical::ToolChoice::Allowed { required: false, .. } => {
            choose("auto", None)
        }
        canonical::ToolChoice::None => choose("none", None),
        canonical::ToolChoice::Required | canonical::ToolChoice::Allowed { required: true, .. } => {
            choose("any", None)
        }
        canonical::ToolChoice::Named(name) => choose("tool", Some(names.sent(name))),
    });
    if request.parallel_tools == Some(false) {
        let choice = choice.get_or_insert(choose("auto", None));
        choice.disable_parallel_tool_use = choice.kind != "none";
    }
    choice
}

/// The least that can be said of tools that were called before and are gone now; older models refuse
/// calls of tools they don't know.
fn tools_of_history<'a>(request: &'a Request<'_>, names: &'a Names<'_>) -> Vec<Tool<'a>> {
    let mut seen = HashSet::new();
    let calls = request.turns.iter().flat_map(|turn| &turn.parts).filter_map(|part| match &part.content {
        Content::ToolCall(call) => Some(names.sent(&call.name)),
        _ => None,
    });
    let define = |name| Tool::Custom {
        name,
        description: None,
        input_schema: Cow::Borrowed(any_object()),
        strict: false,
        cache_control: None,
    };
    calls.filter(|name| seen.insert(*name)).map(define).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{
        super::testing::{asking, assistant, call, encoded, hi, raw, result, text, tool, try_encode, user},
        *,
    };
    use crate::dialect::canonical::{ToolCall, ToolChoice};

    const SCHEMA: &str = r#"{"type":"object","properties":{"city":{"type":"string"}}}"#;

    fn with<'a>(tools: Vec<canonical::Tool<'a>>, choice: Option<ToolChoice<'a>>) -> Request<'a> {
        Request { tools, tool_choice: choice, ..hi() }
    }

    /// T02
    #[test]
    fn tools_and_the_choice_among_them_are_written() {
        let mut request = with(vec![tool("f", Some(SCHEMA))], Some(ToolChoice::Required));
        request.tools[0].description = Some("d".into());
        request.parallel_tools = Some(false);

        let (body, lost) = encoded(&request, &[], &[]);

        let schema: serde_json::Value = serde_json::from_str(SCHEMA).unwrap();
        assert_eq!(body["tools"], json!([{"name": "f", "description": "d", "input_schema": schema}]));
        assert_eq!(body["tool_choice"], json!({"type": "any", "disable_parallel_tool_use": true}));
        assert!(lost.is_empty());
    }

    /// C41
    #[test]
    fn free_text_is_wrapped_into_an_object() {
        let mut request = with(vec![tool("sh", None)], None);
        request.tools[0].input = ToolInput::Text(Some(raw(r#"{"type":"grammar"}"#)));
        let (id, name, arguments) = ("a".into(), "sh".into(), "ls \"x\"".into());
        let run = ToolCall { id, name, arguments, is_free_text: true };
        request.turns.push(assistant(vec![Content::ToolCall(run).into()]));

        let encoded = try_encode(&request, &[], &[]).unwrap();

        let body: serde_json::Value = serde_json::from_slice(&encoded.body).unwrap();
        assert_eq!(body["tools"][0]["input_schema"]["required"], json!(["input"]));
        assert_eq!(body["messages"][1]["content"][0]["input"], json!({"input": "ls \"x\""}));
        assert_eq!(encoded.undo.free_text, HashSet::from(["sh".into()]));
        assert_eq!(encoded.lost, ["tools[].custom.format"].map(Box::<str>::from));
    }

    /// C42, T09
    #[test]
    fn names_that_would_be_refused_are_replaced_everywhere() {
        let mut request =
            with(vec![tool("a/b", None), tool("a_b", None)], Some(ToolChoice::Named("a/b".into())));
        request.turns.push(assistant(vec![call("c", "a/b", "{}")]));

        let encoded = try_encode(&request, &[], &[]).unwrap();

        let body: serde_json::Value = serde_json::from_slice(&encoded.body).unwrap();
        assert_eq!((&body["tools"][0]["name"], &body["tools"][1]["name"]), (&json!("a_b_2"), &json!("a_b")));
        assert_eq!(body["tool_choice"], json!({"type": "tool", "name": "a_b_2"}));
        assert_eq!(body["messages"][1]["content"][0]["name"], "a_b_2");
        assert_eq!(encoded.undo.original("a_b_2"), "a/b");
        assert_eq!(encoded.undo.original("a_b"), "a_b");
    }

    /// C42
    #[test]
    fn long_names_are_cut_and_stay_apart() {
        let long = ["x".repeat(200), "x".repeat(201)];
        let request = with(long.iter().map(|name| tool(name, None)).collect(), None);

        let (body, _) = encoded(&request, &[], &[]);

        let sent: Vec<_> =
            (0..2).map(|index| body["tools"][index]["name"].as_str().unwrap().to_owned()).collect();
        assert_eq!(sent, ["x".repeat(128), format!("{}_2", "x".repeat(120))]);
    }

    /// C46, C47
    #[test]
    fn a_choice_without_tools_is_left_out_or_refused() {
        let (auto, lost) = encoded(&with(vec![], Some(ToolChoice::Auto)), &[], &[]);
        let (_, lost_required) = encoded(&with(vec![], Some(ToolChoice::Required)), &[], &[]);
        let named = try_encode(&with(vec![], Some(ToolChoice::Named("f".into()))), &[], &[]).unwrap_err();

        assert!(auto.get("tool_choice").is_none() && auto.get("tools").is_none() && lost.is_empty());
        assert_eq!(lost_required, ["tool_choice"]);
        assert_eq!(named.param(), Some("tool_choice"));
    }

    #[test]
    fn only_the_allowed_tools_are_sent() {
        let allowed = ToolChoice::Allowed { required: true, names: vec!["b".into()] };
        let request = with(vec![tool("a", None), tool("b", None)], Some(allowed));

        let (body, _) = encoded(&request, &[], &[]);

        assert_eq!(body["tools"].as_array().unwrap().len(), 1);
        assert_eq!(body["tools"][0]["name"], "b");
        assert_eq!(body["tool_choice"], json!({"type": "any"}));
    }

    /// C48
    #[test]
    fn tools_of_the_past_are_defined_but_not_called() {
        let turns =
            vec![user(vec![text("a")]), assistant(vec![call("c", "f", "{}")]), user(vec![result("c", "r")])];

        let (body, _) = encoded(&asking(turns), &[], &[]);

        assert_eq!(
            body["tools"],
            json!([{"name": "f", "input_schema": {"type": "object", "properties": {}}}])
        );
        assert_eq!(body["tool_choice"], json!({"type": "none"}));
    }

    /// C49
    #[test]
    fn a_model_that_cant_be_forced_is_asked() {
        let request = with(vec![tool("f", None)], Some(ToolChoice::Named("f".into())));

        let (body, lost) = encoded(&request, &[], &["forced_tool_use"]);

        assert_eq!(body["tool_choice"], json!({"type": "auto"}));
        assert_eq!(body["system"][0]["text"], "Answer by calling the tool `f`.");
        assert_eq!(lost, ["tool_choice"]);
    }

    /// C45
    #[test]
    fn a_strict_tool_gets_a_closed_schema() {
        let mut request = with(vec![tool("f", Some(SCHEMA))], None);
        request.tools[0].strict = Some(true);

        let (strict, _) = encoded(&request, &[], &[]);
        let (loose, lost) = encoded(&request, &[], &["native_structured_output"]);

        assert_eq!(strict["tools"][0]["strict"], true);
        assert_eq!(strict["tools"][0]["input_schema"]["additionalProperties"], false);
        assert!(loose["tools"][0].get("strict").is_none());
        assert_eq!(lost, ["tools[].function.strict"]);
    }

    /// C51, C52
    #[test]
    fn tools_of_the_provider_pass_and_those_of_others_are_lost() {
        let opaque = |dialect, json| canonical::Tool {
            input: ToolInput::Opaque { dialect, raw: raw(json) },
            ..tool("web_search", None)
        };
        let search = r#"{"type":"web_search_20260318","name":"web_search"}"#;
        let request = with(vec![opaque(ID, search), opaque("other", r#"{"type":"x"}"#)], None);

        let (body, lost) = encoded(&request, &[], &[]);

        assert_eq!(body["tools"], json!([{"type": "web_search_20260318", "name": "web_search"}]));
        assert_eq!(lost, ["tools"]);
    }

    #[test]
    fn a_tool_that_is_lost_can_not_be_chosen() {
        let opaque = |dialect| canonical::Tool {
            input: ToolInput::Opaque { dialect, raw: raw(r#"{"type":"x","name":"x"}"#) },
            ..tool("x", None)
        };
        let only = || canonical::ToolChoice::Allowed { required: true, names: vec!["x".into()] };
        for choice in [canonical::ToolChoice::Named("x".into()), only()] {
            let choosing = |dialect| with(vec![tool("f", None), opaque(dialect)], Some(choice.clone()));

            let refused = try_encode(&choosing("other"), &[], &[]).unwrap_err();

            assert_eq!(refused.param(), Some("tool_choice"));
            assert!(encoded(&choosing(ID), &[], &[]).0.get("tool_choice").is_some());
        }
    }
}
