//! A client's request becomes canonical.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::{
    calls::Calls,
    codec::ID,
    content::{Reader, missing, says_something},
    openapi,
    wire::read::{self as wire, Whole},
};
use crate::{
    Error, Kind,
    dialect::{
        arguments,
        canonical::{
            Content, Effort, Format, Part, Reasoning, Request, Role, Text, Tool, ToolChoice, ToolInput, Turn,
        },
        extras::Extras,
        json,
        object::Unknown,
        text::Str,
    },
};

/// Reads the body of a request; whether it is a stream is not in it.
pub(super) fn request(body: &[u8]) -> Result<Request<'_>, Error> {
    let text = str::from_utf8(body).map_err(|_| Error::new(Kind::InvalidRequest, "the body is not UTF-8"))?;
    let wire: wire::Request<'_> = json::read(text)?;
    if wire.cached_content.is_some() {
        let message =
            "cachedContent: a prompt that is stored at another provider can't be read by this model";
        return Err(Error::new(Kind::InvalidRequest, message).with_param("cachedContent"));
    }
    let mut extras = Extras::default();
    let contents = wire.contents.ok_or_else(|| missing("contents".into()))?;
    let mut request = Request {
        system: system(wire.system_instruction, &mut extras)?,
        turns: turns(contents.0, &mut extras)?,
        tools: tools(wire.tools.unwrap_or_default().0, &mut extras)?,
        tool_choice: tool_choice(wire.tool_config, &mut extras)?,
        service_tier: wire.service_tier.map(service_tier),
        ..Request::default()
    };
    if let Some(config) = wire.generation_config {
        generation(config, &mut request, &mut extras)?;
    }
    extras.all("", wire.unknown, says_something);
    request.extras = extras.into_vec();
    Ok(request)
}

/// A request that can't be read, by the field that is to blame.
fn invalid(field: &str, what: &str) -> Error {
    Error::new(Kind::InvalidRequest, format!("{field}: {what}")).with_param(field)
}

fn system<'a>(content: Option<wire::Content<'a>>, extras: &mut Extras<'a>) -> Result<Vec<Part<'a>>, Error> {
    let mut calls = Calls::default();
    let mut reader = Reader { ids: &mut calls, extras };
    let mut parts = Vec::new();
    for part in content.and_then(|content| content.parts).unwrap_or_default().0 {
        reader.add(part, &|| "systemInstruction.parts".into(), &mut parts)?;
    }
    Ok(parts)
}

fn turns<'a>(contents: Vec<wire::Content<'a>>, extras: &mut Extras<'a>) -> Result<Vec<Turn<'a>>, Error> {
    let mut calls = Calls::default();
    let mut turns = Vec::with_capacity(contents.len());
    for (index, content) in contents.into_iter().enumerate() {
        extras.all("contents[].", content.unknown, says_something);
        let role = match content.role.as_deref() {
            None | Some("user" | "function" | "tool" | "") => Role::User,
            Some("model") => Role::Assistant,
            Some(_) => return Err(invalid(&format!("contents[{index}].role"), "expected `user` or `model`")),
        };
        let mut parts = Vec::new();
        for (place, part) in content.parts.unwrap_or_default().0.into_iter().enumerate() {
            calls.go_to(index, place);
            let mut reader = Reader { ids: &mut calls, extras: &mut *extras };
            reader.add(part, &|| format!("contents[{index}].parts[{place}]"), &mut parts)?;
        }
        if let Some(rule) = parts.iter().find_map(|part| misplaced(role, &part.content)) {
            return Err(invalid(&format!("contents[{index}].parts"), rule));
        }
        turns.push(Turn { role, parts });
    }
    Ok(turns)
}

/// The rule against content of this kind in a turn of this role.
fn misplaced(role: Role, content: &Content<'_>) -> Option<&'static str> {
    match content {
        Content::ToolCall(_) if role != Role::Assistant => Some("`functionCall` belongs to the model"),
        Content::ToolResult { .. } if role != Role::User => Some("`functionResponse` belongs to the user"),
        _ => None,
    }
}

fn tools<'a>(wire: Vec<wire::Tool<'a>>, extras: &mut Extras<'a>) -> Result<Vec<Tool<'a>>, Error> {
    let mut tools = Vec::new();
    for (index, tool) in wire.into_iter().enumerate() {
        for (place, function) in tool.functions.unwrap_or_default().into_iter().enumerate() {
            let path = || format!("tools[{index}].functionDeclarations[{place}].name");
            tools.push(self::function(function, path, extras)?);
        }
        tools.extend(own_tools(tool.unknown));
    }
    Ok(tools)
}

fn function<'a>(
    function: wire::Function<'a>,
    path: impl Fn() -> String,
    extras: &mut Extras<'a>,
) -> Result<Tool<'a>, Error> {
    extras.all("tools[].functionDeclarations[].", function.unknown, says_something);
    let schema = match function.parameters_json_schema {
        Some(schema) => Some(Cow::Borrowed(schema)),
        None => function.parameters.map(openapi::json_schema),
    };
    Ok(Tool {
        name: function.name.ok_or_else(|| missing(path()))?.into(),
        description: function.description.map(Text::from),
        input: ToolInput::Schema(schema),
        strict: None,
        cache: None,
    })
}

/// The provider's own tools, such as `googleSearch`.
fn own_tools(members: Unknown<'_>) -> impl Iterator<Item = Tool<'_>> {
    let members = members.into_iter().filter(|(_, value)| value.get() != "null");
    members.map(|(name, value)| {
        let raw = RawValue::from_string(format!("{{\"{}\":{value}}}", &*name));
        let raw = raw.unwrap_or_else(|_| arguments::empty().to_owned());
        let input = ToolInput::Opaque { dialect: ID, raw: Cow::Owned(raw) };
        Tool { name: name.into(), description: None, input, strict: None, cache: None }
    })
}

fn tool_choice<'a>(
    config: Option<wire::ToolConfig<'a>>,
    extras: &mut Extras<'a>,
) -> Result<Option<ToolChoice<'a>>, Error> {
    let Some(config) = config else { return Ok(None) };
    extras.all("toolConfig.", config.unknown, says_something);
    let Some(calling) = config.calling else { return Ok(None) };
    extras.all("toolConfig.functionCallingConfig.", calling.unknown, says_something);
    let mut names: Vec<Text<'a>> = calling.allowed.unwrap_or_default().into_iter().map(Text::from).collect();
    Ok(match calling.mode.as_deref() {
        None | Some("MODE_UNSPECIFIED") => None,
        Some("AUTO") => Some(ToolChoice::Auto),
        Some("NONE") => Some(ToolChoice::None),
        Some("VALIDATED") if names.is_empty() => Some(ToolChoice::Auto),
        Some("VALIDATED") => Some(ToolChoice::Allowed { required: false, names }),
        Some("ANY") => Some(match (names.len(), names.pop()) {
            (1, Some(only)) => ToolChoice::Named(only),
            (_, Some(last)) => {
                names.push(last);
                ToolChoice::Allowed { required: true, names }
            }
            (_, None) => ToolChoice::Required,
        }),
        Some(_) => {
            let field = "toolConfig.functionCallingConfig.mode";
            return Err(invalid(field, "expected `AUTO`, `ANY`, `NONE` or `VALIDATED`"));
        }
    })
}

fn generation<'a>(
    config: wire::GenerationConfig<'a>,
    request: &mut Request<'a>,
    extras: &mut Extras<'a>,
) -> Result<(), Error> {
    request.format = format(&config, extras);
    request.temperature = config.temperature;
    request.top_p = config.top_p;
    request.top_k = config.top_k.and_then(Whole::count);
    request.choices = config.candidate_count.and_then(|count| u32::try_from(count.0).ok());
    request.max_output = config.max_output_tokens.and_then(Whole::count);
    request.stop = config.stop_sequences.unwrap_or_default().into_iter().map(Text::from).collect();
    request.seed = config.seed.map(|seed| seed.0);
    request.presence_penalty = config.presence_penalty;
    request.frequency_penalty = config.frequency_penalty;
    request.reasoning =
        config.thinking_config.map(|thinking| reasoning(thinking, extras)).transpose()?.flatten();
    if let Some(modalities) = config.response_modalities.filter(|raw| !is_text_only(raw)) {
        extras.push("generationConfig.responseModalities".into(), Cow::Borrowed(modalities));
    }
    for (name, value) in config.unknown {
        match &*name {
            // As chat completions have it.
            "responseLogprobs" => extras.all("", vec![("logprobs".into(), value)], says_something),
            "logprobs" => extras.all("", vec![("top_logprobs".into(), value)], says_something),
            _ => extras.all("generationConfig.", vec![(name, value)], says_something),
        }
    }
    Ok(())
}

fn is_text_only(modalities: &RawValue) -> bool {
    let modalities: Vec<Str<'_>> = serde_json::from_str(modalities.get()).unwrap_or_default();
    modalities.iter().all(|modality| &**modality == "TEXT")
}

fn format<'a>(config: &wire::GenerationConfig<'a>, extras: &mut Extras<'a>) -> Option<Format<'a>> {
    let media_type = config.response_mime_type.as_deref().unwrap_or_default();
    let schema = match config.response_json_schema {
        Some(schema) => Some(Cow::Borrowed(schema)),
        None => config.response_schema.map(openapi::json_schema),
    };
    match (media_type, schema) {
        ("application/json", Some(schema)) => {
            Some(Format::Schema { name: None, description: None, schema, strict: None })
        }
        ("application/json", None) => Some(Format::Json),
        ("" | "text/plain", _) => None,
        // One word of a list, which is no JSON.
        (_, _) => {
            extras.text("generationConfig.responseMimeType", config.response_mime_type.clone());
            None
        }
    }
}

/// How much to think; nothing if the model is to find out itself.
fn reasoning<'a>(
    thinking: wire::ThinkingConfig<'a>,
    extras: &mut Extras<'a>,
) -> Result<Option<Reasoning>, Error> {
    extras.all("generationConfig.thinkingConfig.", thinking.unknown, says_something);
    let effort = match thinking.thinking_level.as_deref() {
        None | Some("THINKING_LEVEL_UNSPECIFIED") => None,
        Some(level) => Some(effort(level)?),
    };
    let budget = thinking.thinking_budget.and_then(Whole::count);
    let (effort, budget) = match (effort, budget) {
        (None, Some(0)) => (Some(Effort::None), None),
        other => other,
    };
    let asked = Reasoning { effort, budget, visible: thinking.include_thoughts };
    // Not to show what would not be thought is nothing to ask for.
    let says_something = effort.is_some() || budget.is_some() || asked.visible == Some(true);
    Ok(says_something.then_some(asked))
}

fn effort(level: &str) -> Result<Effort, Error> {
    Ok(match &*level.to_ascii_uppercase() {
        "MINIMAL" => Effort::Minimal,
        "LOW" => Effort::Low,
        "MEDIUM" => Effort::Medium,
        "HIGH" => Effort::High,
        "XHIGH" => Effort::XHigh,
        _ => {
            let field = "generationConfig.thinkingConfig.thinkingLevel";
            return Err(invalid(field, "expected `MINIMAL`, `LOW`, `MEDIUM`, `HIGH` or `XHIGH`"));
        }
    })
}

fn service_tier(tier: Str<'_>) -> Text<'_> {
    match &*tier {
        "standard" => "default".into(),
        _ => tier.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::canonical::Media;

    fn decoded(json: &str) -> Request<'_> {
        request(json.as_bytes()).unwrap()
    }

    fn with(members: &str) -> String {
        format!(r#"{{"contents":[{{"parts":[{{"text":"q"}}]}}],{members}}}"#)
    }

    fn parts(json: &str) -> Vec<String> {
        let body = format!(r#"{{"contents":[{{"role":"model","parts":{json}}}]}}"#);
        decoded(&body).turns[0].parts.iter().map(|part| format!("{:?}", part.content)).collect()
    }

    fn extras(request: &Request<'_>) -> Vec<String> {
        request.extras.iter().map(|extra| extra.field.to_string()).collect()
    }

    /// C116
    #[test]
    fn the_wish_for_arguments_in_pieces_is_kept_for_those_who_understand_it() {
        let config =
            r#""toolConfig":{"functionCallingConfig":{"mode":"AUTO","streamFunctionCallArguments":true}}"#;

        let body = with(config);
        let request = decoded(&body);

        assert_eq!(extras(&request), ["toolConfig.functionCallingConfig.streamFunctionCallArguments"]);
    }

    /// C34
    #[test]
    fn a_conversation_with_functions_is_understood() {
        let request = decoded(
            r#"{"system_instruction":{"parts":[{"text":"S"}]},"contents":[
                {"role":"user","parts":[{"text":"q"},{"inline_data":{"mime_type":"image/png","data":"iVBO-_"}}]},
                {"role":"model","parts":[{"text":"hm","thought":true},
                    {"functionCall":{"name":"f","args":{"a": 1.0}},"thoughtSignature":"U0lH"},
                    {"functionCall":{"name":"f"}}]},
                {"role":"user","parts":[{"functionResponse":{"name":"f","response":{"output":"one"}}},
                    {"functionResponse":{"name":"f","response":{"error":"bad"}}}]}]}"#,
        );

        assert!(matches!(&request.system[0].content, Content::Text(text) if text == "S"));
        assert!(matches!(&request.turns[0].parts[1].content,
            Content::Image(Media::Base64 { data, .. }) if data == "iVBO+/"));
        let [thought, first, second] = &request.turns[1].parts[..] else { panic!("{request:?}") };
        assert!(matches!(&thought.content,
            Content::Reasoning { text, signature: Some(proof) } if text == "hm" && proof == "gemini:U0lH"));
        assert!(matches!(&first.content,
            Content::ToolCall(call) if call.id == "call_1_1" && call.arguments == r#"{"a": 1.0}"#));
        assert!(
            matches!(&second.content, Content::ToolCall(call) if call.id == "call_1_2" && call.arguments == "{}")
        );
        let ids: Vec<_> = request.turns[2]
            .parts
            .iter()
            .map(|part| match &part.content {
                Content::ToolResult { id, is_error, .. } => (&**id, *is_error),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(ids, [("call_1_1", false), ("call_1_2", true)]);
    }

    /// C26
    #[test]
    fn what_a_function_returned_is_a_text() {
        let said = |response: &str| {
            let body = format!(
                r#"{{"contents":[{{"parts":[{{"functionResponse":{{"name":"f","response":{response}}}}}]}}]}}"#
            );
            match &decoded(&body).turns[0].parts[0].content {
                Content::ToolResult { parts, .. } => match &parts[0].content {
                    Content::Text(text) => text.to_string(),
                    other => panic!("{other:?}"),
                },
                other => panic!("{other:?}"),
            }
        };

        assert_eq!(said(r#"{"output":"a \"b\""}"#), r#"a "b""#);
        assert_eq!(said(r#"{"output":{"k": 2}}"#), r#"{"k": 2}"#);
        assert_eq!(said(r#"{"result":"42"}"#), r#"{"result":"42"}"#);
        assert_eq!(said("{}"), "{}");
    }

    /// C71, C74
    #[test]
    fn a_signature_stands_where_its_part_stands() {
        assert_eq!(
            parts(
                r#"[{"text":"a","thought":true},{"text":"b","thought":true},{"text":"ok","thoughtSignature":"UzE="},{"functionCall":{"name":"f","id":"c"},"thoughtSignature":"UzI="}]"#
            ),
            [
                r#"Reasoning { text: "ab", signature: None }"#,
                r#"Text("ok")"#,
                r#"Reasoning { text: "", signature: Some("gemini:UzE=") }"#,
                r#"Reasoning { text: "", signature: Some("gemini:UzI=") }"#,
                r#"ToolCall(ToolCall { id: "c", name: "f", arguments: "{}", is_free_text: false })"#,
            ]
        );
        assert_eq!(
            parts(r#"[{"text":"ok"},{"text":"","thoughtSignature":"UzE="}]"#),
            [r#"Text("ok")"#, r#"Reasoning { text: "", signature: Some("gemini:UzE=") }"#]
        );
    }

    /// C66, C69
    #[test]
    fn proofs_of_other_providers_are_what_they_were() {
        let (proof, redacted) = (super::super::proof::write("sig"), super::super::proof::write_redacted("d"));
        let json = format!(
            r#"[{{"text":"hm","thought":true}},{{"text":"","thought":true,"thoughtSignature":"{proof}"}},
                {{"text":"","thought":true,"thoughtSignature":"{redacted}"}}]"#
        );

        assert_eq!(
            parts(&json),
            [r#"Reasoning { text: "hm", signature: Some("sig") }"#, r#"RedactedReasoning("d")"#]
        );
    }

    #[test]
    fn media_are_told_apart_by_their_type_and_address() {
        let blob = |kind: &str| {
            parts(&format!(r#"[{{"inlineData":{{"mimeType":"{kind}","data":"AAAA"}}}}]"#)).remove(0)
        };
        let file = |uri: &str| {
            parts(&format!(r#"[{{"fileData":{{"mimeType":"image/png","fileUri":"{uri}"}}}}]"#)).remove(0)
        };

        assert_eq!(blob("audio/mpeg"), r#"Audio { data: "AAAA", format: "mp3" }"#);
        assert!(blob("application/pdf").starts_with("Document"));
        assert!(blob("video/mp4").starts_with(r#"Opaque { dialect: "gemini", kind: "inlineData""#));
        assert_eq!(file("https://e.x/a.png"), r#"Image(Url("https://e.x/a.png"))"#);
        assert_eq!(file("gs://b/a.png"), r#"Image(File("gs://b/a.png"))"#);
        assert!(file("https://generativelanguage.googleapis.com/v1beta/files/x").starts_with("Image(File"));
        assert!(file("https://www.youtube.com/watch?v=x").starts_with("Opaque"));
    }

    /// C52
    #[test]
    fn functions_and_the_providers_own_tools_are_told_apart() {
        let json = with(
            r#""tools":[{"functionDeclarations":[{"name":"f","description":"d","parameters":{"type":"OBJECT"}},
                {"name":"g","parametersJsonSchema":{"type":"object"}},{"name":"h"}],"googleSearch":{}},{"codeExecution":{}}]"#,
        );

        let request = decoded(&json);

        let names: Vec<_> = request.tools.iter().map(|tool| &*tool.name).collect();
        assert_eq!(names, ["f", "g", "h", "googleSearch", "codeExecution"]);
        let schema = |at: usize| match &request.tools[at].input {
            ToolInput::Schema(schema) => schema.as_ref().map(|schema| schema.get().to_owned()),
            ToolInput::Opaque { raw, .. } => Some(raw.get().to_owned()),
            ToolInput::Text(_) => None,
        };
        assert_eq!(schema(0).as_deref(), Some(r#"{"type":"object"}"#));
        assert_eq!((schema(1), schema(2)), (schema(0), None));
        assert_eq!(schema(3).as_deref(), Some(r#"{"googleSearch":{}}"#));
    }

    /// §3
    #[test]
    fn every_mode_of_calling_is_a_choice() {
        let choice = |config: &str| {
            decoded(&with(&format!(r#""toolConfig":{{"functionCallingConfig":{config}}}"#)))
                .tool_choice
                .map(|choice| format!("{choice:?}"))
        };

        assert_eq!(choice(r#"{"mode":"AUTO"}"#).as_deref(), Some("Auto"));
        assert_eq!(choice(r#"{"mode":"NONE"}"#).as_deref(), Some("None"));
        assert_eq!(choice(r#"{"mode":"ANY"}"#).as_deref(), Some("Required"));
        assert_eq!(
            choice(r#"{"mode":"ANY","allowed_function_names":["f"]}"#).as_deref(),
            Some(r#"Named("f")"#)
        );
        assert_eq!(
            choice(r#"{"mode":"ANY","allowedFunctionNames":["f","g"]}"#).as_deref(),
            Some(r#"Allowed { required: true, names: ["f", "g"] }"#)
        );
        assert_eq!(
            choice(r#"{"mode":"VALIDATED","allowedFunctionNames":["f"]}"#).as_deref(),
            Some(r#"Allowed { required: false, names: ["f"] }"#)
        );
        assert_eq!(choice("{}"), None);
    }

    #[test]
    fn settings_are_read_and_what_has_no_place_is_kept_aside() {
        let json = with(
            r#""generationConfig":{"temperature":0.5,"topP":0.9,"topK":40.0,"candidateCount":2,"maxOutputTokens":7,
                "stopSequences":["X"],"seed":3,"presencePenalty":0.1,"frequencyPenalty":0.2,"responseLogprobs":true,
                "responseModalities":["TEXT"],"mediaResolution":"MEDIA_RESOLUTION_LOW"},
            "safetySettings":[{"category":"c","threshold":"t"}],"labels":{"a":"b"},"serviceTier":"standard""#,
        );

        let request = decoded(&json);

        assert_eq!((request.temperature, request.top_p, request.top_k), (Some(0.5), Some(0.9), Some(40)));
        assert_eq!((request.choices, request.max_output, request.seed), (Some(2), Some(7), Some(3)));
        assert_eq!((request.presence_penalty, request.frequency_penalty), (Some(0.1), Some(0.2)));
        assert_eq!((&*request.stop[0], request.service_tier.as_deref()), ("X", Some("default")));
        assert_eq!(
            extras(&request),
            ["logprobs", "generationConfig.mediaResolution", "safetySettings", "labels"]
        );
    }

    /// §4
    #[test]
    fn the_form_of_the_answer_is_understood() {
        let format = |config: &str| {
            let json = with(&format!(r#""generationConfig":{config}"#));
            let request = decoded(&json);
            (request.format.as_ref().map(|format| format!("{format:?}")), extras(&request))
        };
        let json = r#""responseMimeType":"application/json""#;

        assert_eq!(format(&format!("{{{json}}}")).0.as_deref(), Some("Json"));
        let schema = format(&format!(r#"{{{json},"responseSchema":{{"type":"STRING"}}}}"#)).0.unwrap();
        assert!(schema.contains(r#"{"type":"string"}"#), "{schema}");
        assert_eq!(format(r#"{"responseMimeType":"text/plain"}"#), (None, vec![]));
        assert_eq!(
            format(r#"{"responseMimeType":"text/x.enum","responseSchema":{"type":"STRING"}}"#),
            (None, vec!["generationConfig.responseMimeType".into()])
        );
    }

    /// §5
    #[test]
    fn thinking_is_understood_in_both_forms() {
        let reasoning = |config: &str| {
            decoded(&with(&format!(r#""generationConfig":{{"thinkingConfig":{config}}}"#))).reasoning
        };
        let budget = |budget| Some(Reasoning { budget: Some(budget), ..Reasoning::default() });

        assert_eq!(reasoning(r#"{"thinkingBudget":1000}"#), budget(1000));
        assert_eq!(reasoning(r#"{"thinkingBudget":-1}"#), None);
        assert_eq!(reasoning(r#"{"includeThoughts":false}"#), None);
        assert_eq!(
            reasoning(r#"{"thinkingBudget":0}"#),
            Some(Reasoning { effort: Some(Effort::None), ..Reasoning::default() })
        );
        assert_eq!(
            reasoning(r#"{"thinkingLevel":"HIGH","includeThoughts":true}"#),
            Some(Reasoning { effort: Some(Effort::High), budget: None, visible: Some(true) })
        );
    }

    #[test]
    fn an_error_names_the_field() {
        let error = |json: &str| {
            let error = request(json.as_bytes()).unwrap_err();
            assert_eq!(error.kind(), Kind::InvalidRequest);
            error.param().unwrap_or_default().to_owned()
        };

        assert_eq!(error("{}"), "contents");
        assert_eq!(error(r#"{"contents":[{"parts":[{"text":7}]}]}"#), "contents[0].parts[0].text");
        assert_eq!(error(r#"{"contents":[{"role":"assistant"}]}"#), "contents[0].role");
        assert_eq!(
            error(r#"{"contents":[{"parts":[{"functionResponse":{}}]}]}"#),
            "contents[0].parts[0].functionResponse.name"
        );
        assert_eq!(error(r#"{"contents":[{"parts":[{"functionCall":{"name":"f"}}]}]}"#), "contents[0].parts");
        assert_eq!(
            error(&with(r#""tools":[{"functionDeclarations":[{}]}]"#)),
            "tools[0].functionDeclarations[0].name"
        );
        assert_eq!(error(&with(r#""cachedContent":"cachedContents/x""#)), "cachedContent");
        assert_eq!(
            error(&with(r#""generationConfig":{"thinkingConfig":{"thinkingLevel":"x"}}"#)),
            "generationConfig.thinkingConfig.thinkingLevel"
        );
    }
}
