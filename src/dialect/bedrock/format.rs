//! Structured output: native where the model has it, else through a tool that must be called.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::{
    encode::NAMES,
    tools::{self, Spec, Toolbox},
    wire::write::{Structure, TextFormat, ToolChoice},
};
use crate::{
    dialect::{
        anthropic::schema,
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
    /// By Bedrock's own means.
    Native(TextFormat),
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
        toolbox.tools.push(Spec {
            name: &self.name,
            description: Some(self.description.unwrap_or("Takes the answer.")),
            schema: Cow::Borrowed(&self.schema),
            strict: false,
            cache: None,
        });
        toolbox.choice = Some(ToolChoice::Tool { name: &self.name });
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
    if !facts.is_known() || facts.supports("native_structured_output") {
        let schema = schema::closed(schema).get().into();
        let name = name.as_deref().map(|name| NAMES.cleaned(name));
        return Plan::Native(TextFormat {
            kind: "json_schema",
            structure: Structure::JsonSchema { schema, name },
        });
    }
    if !toolbox.tools.is_empty() || !request.tools.is_empty() || !tools::can_be_forced(facts) {
        lost.push(FIELD);
        return Plan::Free;
    }
    Plan::Forced(AnswerTool {
        name: FreeNames::new(&NAMES, []).like(name.as_deref().unwrap_or("answer")),
        description: description.as_deref().filter(|description| !description.is_empty()),
        schema: schema::of_tool(Some(schema), false),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::testing::{CLAUDE, encoded, hi, raw, tool, try_encode};
    use super::*;

    const SCHEMA: &str = r#"{"type":"object","properties":{"n":{"type":"integer"}},"required":["n"]}"#;

    fn request(tools: &[&'static str]) -> Request<'static> {
        let schema = raw(SCHEMA);
        let format = Format::Schema { name: Some("r".into()), description: None, schema, strict: Some(true) };
        Request { format: Some(format), tools: tools.iter().map(|name| tool(name, None)).collect(), ..hi() }
    }

    #[test]
    fn the_schema_is_sent_as_a_text_where_the_model_takes_it() {
        for model in [CLAUDE, "arn:aws:bedrock:us-east-1:1:application-inference-profile/x"] {
            let (body, lost) = encoded(&request(&["f"]), model);

            let format = &body["outputConfig"]["textFormat"];
            let structure = &format["structure"]["jsonSchema"];
            assert_eq!((&format["type"], &structure["name"]), (&json!("json_schema"), &json!("r")));
            let schema: Value = serde_json::from_str(structure["schema"].as_str().unwrap()).unwrap();
            assert_eq!(schema["additionalProperties"], false);
            assert!(lost.is_empty());
        }
    }

    /// C57
    #[test]
    fn a_tool_takes_the_answer_where_the_model_has_no_other_means() {
        let encoded = try_encode(&request(&[]), "amazon.nova-pro-v1:0").unwrap();

        let body: Value = serde_json::from_slice(&encoded.body).unwrap();
        let spec = &body["toolConfig"]["tools"][0]["toolSpec"];
        assert_eq!(spec["name"], "r");
        assert_eq!(spec["inputSchema"]["json"], serde_json::from_str::<Value>(SCHEMA).unwrap());
        assert_eq!(body["toolConfig"]["toolChoice"], json!({"tool": {"name": "r"}}));
        assert_eq!(encoded.undo.answer_tool.as_deref(), Some("r"));
        assert!(encoded.lost.is_empty());
    }

    /// C57
    #[test]
    fn the_form_is_lost_beside_other_tools_or_without_force() {
        let (beside, lost) = encoded(&request(&["f"]), "amazon.nova-pro-v1:0");
        let (unforced, lost_unforced) = encoded(&request(&[]), "anthropic.claude-opus-5-5");

        assert_eq!(beside["toolConfig"]["tools"].as_array().unwrap().len(), 1);
        assert!(unforced.get("toolConfig").is_none());
        assert_eq!((lost, lost_unforced), (vec![FIELD.to_owned()], vec![FIELD.to_owned()]));
    }

    #[test]
    fn any_json_can_only_be_asked_for() {
        let (body, lost) = encoded(&Request { format: Some(Format::Json), ..hi() }, CLAUDE);

        assert_eq!(body["system"], json!([{"text": "Answer with one JSON object and nothing else."}]));
        assert_eq!(lost, [FIELD]);
    }
}
