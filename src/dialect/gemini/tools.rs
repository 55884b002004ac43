//! Canonical tools and the choice among them, as Gemini takes them: all functions in one tool.

use std::{borrow::Cow, collections::HashSet};

use serde_json::value::RawValue;

use super::{
    codec::ID,
    schema,
    wire::write::{CallingConfig, Function, Tool, ToolConfig},
};
use crate::{
    Error,
    dialect::{
        arguments,
        canonical::{self, Request, ToolChoice, ToolInput},
        chosen::chosen,
        lost::Lost,
        names::Names,
    },
};

/// The tools that are sent.
#[derive(Debug, Default)]
pub(super) struct Toolbox<'a> {
    pub(super) tools: Vec<Tool<'a>>,
    pub(super) config: Option<ToolConfig<'a>>,
    /// The client's names of tools that take free text.
    pub(super) free_text: HashSet<Box<str>>,
}

/// Writes the tools of `request`.
pub(super) fn toolbox<'a>(
    request: &'a Request<'_>,
    names: &'a Names<'_>,
    lost: &mut Lost,
) -> Result<Toolbox<'a>, Error> {
    let mut toolbox = Toolbox::default();
    let (mut functions, mut own) = (Vec::new(), Vec::new());
    for tool in &request.tools {
        match &tool.input {
            ToolInput::Opaque { dialect: ID, raw } => own.push(Tool::Opaque(raw)),
            ToolInput::Opaque { .. } => lost.push(&format!("tools[].{}", tool.name)),
            ToolInput::Text(format) => {
                lost.push_if(format.is_some(), "tools[].custom.format");
                toolbox.free_text.insert((&*tool.name).into());
                functions.push(function(tool, Some(Cow::Borrowed(arguments::free_text_schema())), names));
            }
            ToolInput::Schema(schema) => {
                lost.push_if(tool.strict == Some(true), "tools[].function.strict");
                functions.push(function(tool, schema::of_function(schema.as_deref(), lost), names));
            }
        }
    }
    toolbox.config = config(request, functions.is_empty(), names, lost)?;
    lost.push_if(request.parallel_tools == Some(false) && !functions.is_empty(), "parallel_tool_calls");
    if !functions.is_empty() {
        toolbox.tools.push(Tool::Functions { function_declarations: functions });
    }
    toolbox.tools.append(&mut own);
    Ok(toolbox)
}

fn function<'a>(
    tool: &'a canonical::Tool<'_>,
    parameters_json_schema: Option<Cow<'a, RawValue>>,
    names: &'a Names<'_>,
) -> Function<'a> {
    Function {
        name: names.sent(&tool.name),
        description: tool.description.as_deref(),
        parameters_json_schema,
    }
}

fn config<'a>(
    request: &'a Request<'_>,
    has_no_functions: bool,
    names: &'a Names<'_>,
    lost: &mut Lost,
) -> Result<Option<ToolConfig<'a>>, Error> {
    let Some(choice) = &request.tool_choice else { return Ok(None) };
    let chosen = chosen(request, |tool| tool.is_function())?;
    let sent = chosen.into_iter().map(|name| names.sent(name)).collect();
    if has_no_functions {
        lost.push_if(!matches!(choice, ToolChoice::Auto | ToolChoice::None), "tool_choice");
        return Ok(None);
    }
    let mode = match choice {
        ToolChoice::Auto => "AUTO",
        ToolChoice::None => "NONE",
        ToolChoice::Required | ToolChoice::Named(_) | ToolChoice::Allowed { required: true, .. } => "ANY",
        ToolChoice::Allowed { required: false, .. } => "VALIDATED",
    };
    Ok(Some(ToolConfig { function_calling_config: CallingConfig { mode, allowed_function_names: sent } }))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::testing::{encoded, hi, raw, tool, try_encode};
    use super::*;

    fn with_choice(choice: ToolChoice<'_>) -> Request<'_> {
        Request { tools: vec![tool("f", None), tool("g/h", None)], tool_choice: Some(choice), ..hi() }
    }

    fn calling(choice: ToolChoice<'_>) -> Value {
        encoded(&with_choice(choice)).0["toolConfig"]["functionCallingConfig"].take()
    }

    /// C42, C43
    #[test]
    fn all_functions_are_in_one_tool_with_names_that_may_be_sent() {
        let request = Request {
            tools: vec![tool("f", Some(r#"{"type":"object","properties":{}}"#)), tool("1st tool", None)],
            ..hi()
        };

        let encoded = try_encode(&request).unwrap();

        let body: Value = serde_json::from_slice(&encoded.body).unwrap();
        assert_eq!(
            body["tools"],
            json!([{"functionDeclarations": [
                {"name": "f", "parametersJsonSchema": {"type": "object", "properties": {}}},
                {"name": "_st_tool"}]}])
        );
        assert_eq!(encoded.undo.original("_st_tool"), "1st tool");
    }

    /// §3
    #[test]
    fn every_choice_is_a_mode() {
        let allowed = |required| ToolChoice::Allowed { required, names: vec!["f".into(), "unknown".into()] };

        assert_eq!(calling(ToolChoice::Auto), json!({"mode": "AUTO"}));
        assert_eq!(calling(ToolChoice::None), json!({"mode": "NONE"}));
        assert_eq!(calling(ToolChoice::Required), json!({"mode": "ANY"}));
        assert_eq!(
            calling(ToolChoice::Named("g/h".into())),
            json!({"mode": "ANY", "allowedFunctionNames": ["g_h"]})
        );
        assert_eq!(calling(allowed(false)), json!({"mode": "VALIDATED", "allowedFunctionNames": ["f"]}));
        assert_eq!(calling(allowed(true)), json!({"mode": "ANY", "allowedFunctionNames": ["f"]}));
    }

    /// C46, C47
    #[test]
    fn a_choice_among_nothing_is_dropped_or_refused() {
        let none = |choice| Request { tool_choice: Some(choice), ..hi() };

        let (body, lost) = encoded(&none(ToolChoice::Required));
        assert!(body.get("toolConfig").is_none() && body.get("tools").is_none());
        assert_eq!(lost, ["tool_choice"]);
        let named = ToolChoice::Named("f".into());
        assert_eq!(try_encode(&none(named)).unwrap_err().param(), Some("tool_choice"));
    }

    /// C41
    #[test]
    fn free_text_is_wrapped_and_unwrapped() {
        let input = ToolInput::Text(Some(raw(r#"{"type":"grammar"}"#)));
        let request = Request { tools: vec![canonical::Tool { input, ..tool("note", None) }], ..hi() };

        let encoded = try_encode(&request).unwrap();

        let body: Value = serde_json::from_slice(&encoded.body).unwrap();
        let schema = &body["tools"][0]["functionDeclarations"][0]["parametersJsonSchema"];
        assert_eq!(schema["required"], json!(["input"]));
        assert!(encoded.undo.free_text.contains("note"));
        assert_eq!(encoded.lost, ["tools[].custom.format"].map(Box::<str>::from));
    }

    /// C116
    #[test]
    fn arguments_are_never_asked_for_in_pieces() {
        for stream in [false, true] {
            for choice in [ToolChoice::Auto, ToolChoice::Required, ToolChoice::Named("f".into())] {
                let (body, _) = encoded(&Request { stream, ..with_choice(choice) });

                assert!(!body.to_string().contains("streamFunctionCallArguments"), "{body}");
            }
        }
    }

    /// C45, C50, C51
    #[test]
    fn what_gemini_lacks_is_reported() {
        let foreign = ToolInput::Opaque { dialect: "other", raw: raw("{}") };
        let own = ToolInput::Opaque { dialect: ID, raw: raw(r#"{"googleSearch":{}}"#) };
        let tools = vec![
            canonical::Tool { strict: Some(true), ..tool("f", None) },
            canonical::Tool { input: foreign, ..tool("web_search", None) },
            canonical::Tool { input: own, ..tool("googleSearch", None) },
        ];

        let (body, lost) = encoded(&Request { tools, parallel_tools: Some(false), ..hi() });

        assert_eq!(body["tools"][1], json!({"googleSearch": {}}));
        assert_eq!(lost, ["tools[].function.strict", "tools[].web_search", "parallel_tool_calls"]);
    }

    #[test]
    fn a_tool_that_is_lost_can_not_be_chosen() {
        let input = ToolInput::Opaque { dialect: "other", raw: raw("{}") };
        let foreign = canonical::Tool { input, ..tool("x", None) };
        let choosing = |choice| Request {
            tools: vec![tool("f", None), foreign.clone()],
            tool_choice: Some(choice),
            ..hi()
        };
        let allowed = |names: &[&'static str]| ToolChoice::Allowed {
            required: true,
            names: names.iter().map(|name| (*name).into()).collect(),
        };

        for choice in [ToolChoice::Named("x".into()), allowed(&["x"])] {
            assert_eq!(try_encode(&choosing(choice)).unwrap_err().param(), Some("tool_choice"));
        }
        let (body, _) = encoded(&choosing(allowed(&["f", "x"])));
        assert_eq!(body["toolConfig"]["functionCallingConfig"]["allowedFunctionNames"], json!(["f"]));
    }
}
