//! Canonical tools and the choice among them, as Anthropic takes them.

use std::borrow::Cow;

use super::{
    cache,
    codec::ID,
    lost::Lost,
    names::Names,
    schema,
    wire::write::{Tool, ToolChoice},
};
use crate::{
    Error, Kind,
    dialect::canonical::{self, Content, Request, ToolInput},
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
    pub(super) free_text: Vec<Box<str>>,
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
    names: &'a Names,
    lost: &mut Lost,
) -> Result<Toolbox<'a>, Error> {
    let mut toolbox = Toolbox::default();
    for tool in request.tools.iter().filter(|tool| is_allowed(request, &tool.name)) {
        if matches!(tool.input, ToolInput::Text(_)) {
            toolbox.free_text.push((&*tool.name).into());
        }
        toolbox.tools.extend(self::tool(tool, facts, names, lost));
    }
    check_named(request)?;
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

fn is_allowed(request: &Request<'_>, name: &str) -> bool {
    match &request.tool_choice {
        Some(canonical::ToolChoice::Allowed { names, .. }) => names.iter().any(|allowed| allowed == name),
        _ => true,
    }
}

fn check_named(request: &Request<'_>) -> Result<(), Error> {
    let exists = |name: &str| request.tools.iter().any(|tool| tool.name == name);
    let is_known = match &request.tool_choice {
        Some(canonical::ToolChoice::Named(name)) => exists(name),
        Some(canonical::ToolChoice::Allowed { names, .. }) => names.iter().any(|name| exists(name)),
        _ => true,
    };
    if is_known {
        return Ok(());
    }
    let message = "tool_choice: names a tool that is not among the tools";
    Err(Error::new(Kind::InvalidRequest, message).with_param("tool_choice"))
}

fn tool<'a>(
    tool: &'a canonical::Tool<'_>,
    facts: &ModelFacts,
    names: &'a Names,
    lost: &mut Lost,
) -> Option<Tool<'a>> {
    let wants_strict = tool.strict == Some(true);
    let strict = wants_strict && !facts.lacks("native_structured_output");
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

fn choice<'a>(request: &'a Request<'_>, names: &'a Names) -> Option<ToolChoice<'a>> {
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
fn tools_of_history<'a>(request: &'a Request<'_>, names: &'a Names) -> Vec<Tool<'a>> {
    let mut seen: Vec<&str> = Vec::new();
    for part in request.turns.iter().flat_map(|turn| &turn.parts) {
        if let Content::ToolCall(call) = &part.content {
            if !seen.contains(&names.sent(&call.name)) {
                seen.push(names.sent(&call.name));
            }
        }
    }
    let define = |name| Tool::Custom {
        name,
        description: None,
        input_schema: Cow::Borrowed(schema::any_object()),
        strict: false,
        cache_control: None,
    };
    seen.into_iter().map(define).collect()
}
