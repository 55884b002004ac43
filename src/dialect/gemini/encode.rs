//! A canonical request becomes one for a model at Google.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::{
    model::Traits,
    schema, thinking, tools, turns,
    wire::write::{GenerationConfig, Request as Body, SystemInstruction},
};
use crate::{
    Error, Target,
    dialect::{
        Encoded, Undo,
        canonical::{Format, Request},
        citation, json,
        lost::Lost,
        names::{Names, Rule},
    },
    target::ModelFacts,
};

/// What Gemini takes for a function's name.
const NAMES: Rule = Rule {
    longest: 64,
    allows: |at, byte| {
        byte.is_ascii_alphabetic()
            || byte == b'_'
            || at > 0 && (byte.is_ascii_digit() || matches!(byte, b'.' | b':' | b'-'))
    },
};

/// The most stop texts that Gemini takes.
const MAX_STOPS: usize = 5;

/// Fields that only this dialect has, and which go on as they came.
const OWN_FIELDS: [&str; 2] = ["safetySettings", "labels"];
const OWN_SETTINGS: &str = "generationConfig.";

/// Writes `request` for the model `to`.
pub(super) fn request(request: &Request<'_>, to: &Target) -> Result<Encoded, Error> {
    let (facts, traits) = (to.known_facts(), Traits::of(to));
    let mut lost = Lost::default();
    citation::lose(request, |_, _| false, &mut lost);
    let names = Names::of(request, &NAMES);
    let mut toolbox = tools::toolbox(request, &names, &mut lost)?;
    let free_text = std::mem::take(&mut toolbox.free_text);
    let conversation = turns::conversation(request, traits, &names, &mut lost)?;
    let mut generation_config = GenerationConfig {
        candidate_count: request.choices.filter(|choices| *choices > 1),
        max_output_tokens: request.max_output.map(|cap| facts.max_output.map_or(cap, |most| cap.min(most))),
        stop_sequences: stop_sequences(request, &mut lost),
        seed: request.seed.and_then(|seed| seed.try_into().ok()),
        thinking_config: thinking::config(request.reasoning, request.max_output, traits, facts, &mut lost),
        ..GenerationConfig::default()
    };
    lost.push_if(request.seed.is_some() && generation_config.seed.is_none(), "seed");
    lost.push_if(request.user.is_some(), "user");
    sample(request, &mut generation_config, facts, &mut lost);
    if traits.takes_form_with_tools || request.tools.is_empty() {
        form(request, &mut generation_config, &mut lost);
    } else {
        lost.push_if(request.format.is_some(), "response_format");
    }
    let extras = extras(request, &mut generation_config, &mut lost);
    let system = conversation.system;
    let body = Body {
        system_instruction: (!system.is_empty()).then_some(SystemInstruction { parts: system }),
        contents: conversation.contents,
        tools: toolbox.tools,
        tool_config: toolbox.config,
        generation_config,
        service_tier: service_tier(request, &mut lost),
        extras,
    };
    let json = json::written(&body)?;
    drop(body);
    let undo = Undo { renamed: names.into_originals(), answer_tool: None, free_text };
    Ok(Encoded { body: json, lost: lost.into_names(), undo })
}

fn stop_sequences<'a>(request: &'a Request<'_>, lost: &mut Lost) -> Vec<&'a str> {
    let mut stops: Vec<&str> =
        request.stop.iter().map(|stop| &**stop).filter(|stop| !stop.is_empty()).collect();
    lost.push_if(stops.len() > MAX_STOPS, "stop");
    stops.truncate(MAX_STOPS);
    stops
}

/// Sampling, which the newest models refuse.
fn sample(request: &Request<'_>, config: &mut GenerationConfig<'_>, facts: &ModelFacts, lost: &mut Lost) {
    if !facts.lacks("sampling_params") {
        config.temperature = request.temperature;
        config.top_p = request.top_p;
        config.top_k = request.top_k;
        config.presence_penalty = request.presence_penalty;
        config.frequency_penalty = request.frequency_penalty;
        return;
    }
    let differs = |value: Option<f64>, usual: f64| value.is_some_and(|value| value != usual);
    lost.push_if(differs(request.temperature, 1.0), "temperature");
    lost.push_if(differs(request.top_p, 1.0), "top_p");
    lost.push_if(request.top_k.is_some(), "top_k");
    lost.push_if(differs(request.presence_penalty, 0.0), "presence_penalty");
    lost.push_if(differs(request.frequency_penalty, 0.0), "frequency_penalty");
}

fn form<'a>(request: &'a Request<'_>, config: &mut GenerationConfig<'a>, lost: &mut Lost) {
    let Some(format) = &request.format else { return };
    config.response_mime_type = Some("application/json");
    if let Format::Schema { schema, .. } = format {
        config.response_json_schema =
            Some(Cow::Owned(schema::adapted(schema, "response_format.schema", lost)));
    }
}

fn service_tier(request: &Request<'_>, lost: &mut Lost) -> Option<&'static str> {
    match request.service_tier.as_deref()? {
        "auto" => None,
        "default" => Some("standard"),
        "flex" => Some("flex"),
        "priority" => Some("priority"),
        _ => {
            lost.push("service_tier");
            None
        }
    }
}

/// Fields that only the client's dialect knows: this one's own, and the wish for likelihoods.
fn extras<'a>(
    request: &'a Request<'_>,
    config: &mut GenerationConfig<'a>,
    lost: &mut Lost,
) -> Vec<(&'a str, &'a RawValue)> {
    let mut own = Vec::new();
    for extra in &request.extras {
        let (field, value): (&str, &RawValue) = (&extra.field, &extra.value);
        match field {
            "logprobs" if matches!(value.get(), "true" | "false") => {
                config.response_logprobs = Some(value.get() == "true");
            }
            "top_logprobs" => config.logprobs = value.get().parse().ok().filter(|count| *count > 0),
            field if OWN_FIELDS.contains(&field) => own.push((field, value)),
            // Prompts are cached without being asked for it.
            field if field.ends_with("cache_control") => {}
            field => match field.strip_prefix(OWN_SETTINGS).filter(|rest| !rest.contains('.')) {
                Some(setting) => config.extras.push((setting, value)),
                None => lost.push(field),
            },
        }
    }
    own
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::testing::{encoded, hi, model, raw, text, tool, user};
    use super::*;
    use crate::dialect::canonical::{Effort, Extra, Reasoning};

    fn extra<'a>(field: &'a str, value: &'a str) -> Extra<'a> {
        Extra { field: field.into(), value: raw(value) }
    }

    #[test]
    fn a_plain_request_is_written_without_decoration() {
        let (body, lost) = encoded(&hi());

        assert_eq!(
            body,
            json!({"contents": [{"role": "user", "parts": [{"text": "hi"}]}], "generationConfig": {}})
        );
        assert!(lost.is_empty());
    }

    #[test]
    fn settings_are_written_where_they_belong() {
        let request = Request {
            max_output: Some(100_000),
            temperature: Some(0.0),
            top_p: Some(0.9),
            top_k: Some(40),
            presence_penalty: Some(0.5),
            frequency_penalty: Some(-0.5),
            seed: Some(3),
            stop: ["a", "", "b", "c", "d", "e", "f"].map(Into::into).into(),
            choices: Some(2),
            user: Some("u".into()),
            service_tier: Some("default".into()),
            extras: vec![extra("logprobs", "true"), extra("top_logprobs", "3"), extra("logit_bias", "{}")],
            ..hi()
        };
        let mut facts = ModelFacts::default();
        facts.max_output = Some(65_536);

        let encoded = super::request(&request, &model("gemini-2.5-pro").facts(facts)).unwrap();

        let body: Value = serde_json::from_slice(&encoded.body).unwrap();
        assert_eq!(
            body["generationConfig"],
            json!({"temperature": 0.0, "topP": 0.9, "topK": 40, "candidateCount": 2, "maxOutputTokens": 65536,
                "stopSequences": ["a", "b", "c", "d", "e"], "seed": 3, "presencePenalty": 0.5,
                "frequencyPenalty": -0.5, "responseLogprobs": true, "logprobs": 3})
        );
        assert_eq!(body["serviceTier"], "standard");
        assert_eq!(encoded.lost, ["stop", "user", "logit_bias"].map(Box::<str>::from));
    }

    #[test]
    fn a_model_that_refuses_to_be_sampled_is_not() {
        let request = Request { temperature: Some(0.2), top_p: Some(1.0), top_k: Some(1), ..hi() };
        let facts = ModelFacts::new([], ["sampling_params"]);

        let encoded = super::request(&request, &model("gemini-3.8-flash").facts(facts)).unwrap();

        let body: Value = serde_json::from_slice(&encoded.body).unwrap();
        assert_eq!(body["generationConfig"], json!({}));
        assert_eq!(encoded.lost, ["temperature", "top_k"].map(Box::<str>::from));
    }

    /// §4
    #[test]
    fn the_form_of_the_answer_is_asked_for() {
        let schema =
            raw(r#"{"$schema":"x","type":"object","properties":{"n":{"type":"integer","multipleOf":2}}}"#);
        let format = Format::Schema { name: Some("r".into()), description: None, schema, strict: Some(true) };

        let (body, lost) = encoded(&Request { format: Some(format), ..hi() });
        let (any, _) = encoded(&Request { format: Some(Format::Json), ..hi() });

        let config = &body["generationConfig"];
        assert_eq!(config["responseMimeType"], "application/json");
        assert_eq!(
            config["responseJsonSchema"],
            json!({"type": "object", "properties": {"n": {"type": "integer", "description": "multipleOf: 2"}}})
        );
        assert_eq!(lost, ["response_format.schema.multipleOf"]);
        assert_eq!(any["generationConfig"], json!({"responseMimeType": "application/json"}));
    }

    #[test]
    fn older_models_have_either_functions_or_a_form() {
        let request = Request { format: Some(Format::Json), tools: vec![tool("f", None)], ..hi() };

        let old = super::request(&request, &model("gemini-2.5-flash")).unwrap();
        let new = super::request(&request, &model("gemini-3-flash")).unwrap();

        let config = |encoded: &Encoded| -> Value {
            serde_json::from_slice::<Value>(&encoded.body).unwrap()["generationConfig"].take()
        };
        assert_eq!((config(&old), &old.lost[..]), (json!({}), &["response_format".into()][..]));
        assert_eq!(config(&new), json!({"responseMimeType": "application/json"}));
    }

    #[test]
    fn its_own_fields_go_on_and_others_are_reported() {
        let extras = vec![
            extra("safetySettings", "[1]"),
            extra("generationConfig.mediaResolution", "\"X\""),
            extra("contents[].parts[].videoMetadata", "{\"fps\":1}"),
            extra("messages[].content[].cache_control", "{}"),
        ];

        let (body, lost) = encoded(&Request { extras, ..hi() });

        assert_eq!(body["safetySettings"], json!([1]));
        assert_eq!(body["generationConfig"], json!({"mediaResolution": "X"}));
        assert_eq!(lost, ["contents[].parts[].videoMetadata"]);
    }

    #[test]
    fn thinking_is_asked_for() {
        let reasoning = Reasoning { effort: Some(Effort::Low), ..Reasoning::default() };
        let request =
            Request { reasoning: Some(reasoning), turns: vec![user(vec![text("q")])], ..Request::default() };

        let (body, _) = encoded(&request);

        assert_eq!(
            body["generationConfig"]["thinkingConfig"],
            json!({"includeThoughts": true, "thinkingBudget": 1024})
        );
    }
}
