//! Structured output: native where the model has it, else through a tool that must be called.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::{
    lost::Lost,
    names::free_name,
    schema,
    tools::Toolbox,
    wire::write::{OutputFormat, Tool, ToolChoice},
};
use crate::{
    dialect::canonical::{Format, Request},
    target::ModelFacts,
};

const FIELD: &str = "response_format";

/// How the form of the answer is asked for.
#[derive(Debug)]
pub(super) enum Plan<'a> {
    /// The answer is free.
    Free,
    /// By the provider's own means.
    Native(OutputFormat),
    /// By a tool that takes the answer as its input.
    Forced(AnswerTool<'a>),
    /// By words only.
    Asked(&'static str),
}

/// The tool that takes the answer as its input.
#[derive(Debug)]
pub(super) struct AnswerTool<'a> {
    pub(super) name: String,
    description: Option<&'a str>,
    schema: Cow<'a, RawValue>,
}

impl AnswerTool<'_> {
    /// Makes the tool the only thing that the model may answer with.
    pub(super) fn force<'a>(&'a self, toolbox: &mut Toolbox<'a>) {
        toolbox.tools.push(Tool::Custom {
            name: &self.name,
            description: Some(self.description.unwrap_or("Takes the answer.")),
            input_schema: Cow::Borrowed(&self.schema),
            strict: false,
            cache_control: None,
        });
        let choice = ToolChoice { kind: "tool", name: Some(&self.name), disable_parallel_tool_use: true };
        toolbox.choice = Some(choice);
    }
}

/// How `request` gets the form that it asks for.
pub(super) fn plan<'a>(
    request: &'a Request<'_>,
    facts: &ModelFacts,
    toolbox: &Toolbox<'_>,
    lost: &mut Lost,
) -> Plan<'a> {
    let (name, description, schema) = match &request.format {
        None => return Plan::Free,
        Some(Format::Json) => {
            lost.push(FIELD);
            return Plan::Asked("Answer with one JSON object and nothing else.");
        }
        Some(Format::Schema { name, description, schema, .. }) => (name, description, schema),
    };
    if !facts.lacks("native_structured_output") {
        return Plan::Native(OutputFormat { kind: "json_schema", schema: schema::closed(schema) });
    }
    if !request.tools.is_empty() || facts.lacks("forced_tool_use") {
        lost.push(FIELD);
        return Plan::Free;
    }
    let taken: Vec<String> = toolbox.tools.iter().filter_map(Tool::name).map(Into::into).collect();
    Plan::Forced(AnswerTool {
        name: free_name(name.as_deref().unwrap_or("answer"), &taken),
        description: description.as_deref(),
        schema: schema::of_tool(Some(schema), false),
    })
}
