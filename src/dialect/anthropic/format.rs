//! Structured output: native where the model has it, else through a tool that must be called.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::{
    encode::NAMES,
    schema,
    tools::Toolbox,
    wire::write::{OutputFormat, Tool, ToolChoice},
};
use crate::{
    dialect::{
        canonical::{Format, Request},
        lost::Lost,
        names::FreeNames,
    },
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
    if !facts.lacks("native_structured_output") && !schema::is_recursive(schema) {
        return Plan::Native(OutputFormat { kind: "json_schema", schema: schema::closed(schema) });
    }
    if !request.tools.is_empty() || facts.lacks("forced_tool_use") {
        lost.push(FIELD);
        return Plan::Free;
    }
    let mut free = FreeNames::new(&NAMES, toolbox.tools.iter().filter_map(Tool::name));
    Plan::Forced(AnswerTool {
        name: free.like(name.as_deref().unwrap_or("answer")),
        description: description.as_deref(),
        schema: schema::of_tool(Some(schema), false),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::{encoded, hi, raw, tool, try_encode};
    use super::*;

    const SCHEMA: &str = r#"{"type":"object","properties":{"n":{"type":"integer"}},"required":["n"]}"#;

    fn request(tools: &[&'static str]) -> Request<'static> {
        let schema = raw(SCHEMA);
        let format = Format::Schema { name: Some("r".into()), description: None, schema, strict: Some(true) };
        Request { format: Some(format), tools: tools.iter().map(|name| tool(name, None)).collect(), ..hi() }
    }

    /// C60
    #[test]
    fn a_schema_that_contains_itself_goes_through_a_tool() {
        let list = r##"{"type":"object","properties":{"next":{"$ref":"#"}}}"##;
        let format = Format::Schema { name: None, description: None, schema: raw(list), strict: Some(true) };

        let (body, lost) = encoded(&Request { format: Some(format), ..hi() }, &[], &[]);

        assert_eq!(body["tools"][0]["input_schema"]["properties"]["next"], json!({"$ref": "#"}));
        assert_eq!((body.get("output_config"), &*lost), (None, &[][..]));
    }

    /// T08
    #[test]
    fn the_providers_own_means_come_first() {
        let (body, lost) = encoded(&request(&[]), &["native_structured_output"], &[]);
        let (unknown, _) = encoded(&request(&["f"]), &[], &[]);

        let format = &body["output_config"]["format"];
        assert_eq!(format["type"], "json_schema");
        assert_eq!(format["schema"]["additionalProperties"], false);
        assert_eq!(&unknown["output_config"]["format"], format);
        assert!(lost.is_empty());
    }

    /// C57
    #[test]
    fn a_tool_takes_the_answer_where_the_model_has_no_other_means() {
        let encoded = try_encode(&request(&[]), &[], &["native_structured_output"]).unwrap();

        let body: serde_json::Value = serde_json::from_slice(&encoded.body).unwrap();
        assert_eq!(body["tools"][0]["name"], "r");
        assert_eq!(
            body["tools"][0]["input_schema"],
            serde_json::from_str::<serde_json::Value>(SCHEMA).unwrap()
        );
        assert_eq!(
            body["tool_choice"],
            json!({"type": "tool", "name": "r", "disable_parallel_tool_use": true})
        );
        assert_eq!(encoded.undo.answer_tool.as_deref(), Some("r"));
        assert!(encoded.lost.is_empty());
    }

    /// C57
    #[test]
    fn the_form_is_lost_beside_other_tools_or_without_force() {
        let (beside, lost) = encoded(&request(&["f"]), &[], &["native_structured_output"]);
        let lacks = ["native_structured_output", "forced_tool_use"];
        let (unforced, lost_unforced) = encoded(&request(&[]), &[], &lacks);

        assert_eq!(beside["tools"].as_array().unwrap().len(), 1);
        assert!(unforced.get("tools").is_none());
        assert_eq!((lost, lost_unforced), (vec![FIELD.to_owned()], vec![FIELD.to_owned()]));
    }

    #[test]
    fn any_json_is_asked_for_in_words() {
        let (body, lost) = encoded(&Request { format: Some(Format::Json), ..hi() }, &[], &[]);

        assert_eq!(body["system"][0]["text"], "Answer with one JSON object and nothing else.");
        assert_eq!(lost, [FIELD]);
    }
}
