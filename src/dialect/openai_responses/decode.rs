//! A client's request, read into the canonical form.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::{conversation::Conversation, tools, wire};
use crate::{
    Error, Kind,
    dialect::{
        canonical::{Format, Reasoning, Request, Text},
        extras::Extras,
        json,
        openai_chat::effort,
        text::Str,
        text_or::TextOr,
    },
};

/// Reads a request.
pub(crate) fn request(body: &[u8]) -> Result<Request<'_>, Error> {
    let text = str::from_utf8(body).map_err(|_| Error::new(Kind::InvalidRequest, "the body is not UTF-8"))?;
    let wire: wire::Request<'_> = json::read(text)?;
    refuse_state(&wire)?;
    let mut extras = Extras::default();
    extras.all("", wire.unknown, says_something);
    let mut conversation = Conversation::new(&mut extras);
    conversation.instructions(wire.instructions);
    match wire.input {
        Some(TextOr::Text(text)) => conversation.said(text),
        Some(TextOr::Other(items)) => {
            for raw in items {
                conversation.item(raw)?;
            }
        }
        None | Some(TextOr::Null) => return Err(invalid("input", "is missing")),
    }
    let (system, turns) = conversation.finish();
    include(wire.include, &mut extras);
    Ok(Request {
        system,
        turns,
        tools: tools::read(wire.tools.unwrap_or_default(), &mut extras)?,
        tool_choice: tools::read_choice(wire.tool_choice)?,
        parallel_tools: wire.parallel_tool_calls,
        max_output: wire.max_output_tokens,
        temperature: wire.temperature,
        top_p: wire.top_p,
        reasoning: wire.reasoning.map(|asked| reasoning(asked, &mut extras)).transpose()?.flatten(),
        format: wire.text.map(|text| format(text, &mut extras)).transpose()?.flatten(),
        user: wire.safety_identifier.or(wire.user).map(Text::from),
        service_tier: wire.service_tier.map(Text::from),
        stream: wire.stream.unwrap_or(false),
        extras: extras.into_vec(),
        ..Request::default()
    })
}

/// What OpenAI keeps can't be had elsewhere.
fn refuse_state(wire: &wire::Request<'_>) -> Result<(), Error> {
    let stored = [
        ("previous_response_id", wire.previous_response_id.is_some()),
        ("conversation", wire.conversation.is_some()),
        ("prompt", wire.prompt.is_some()),
        ("background", wire.background == Some(true)),
    ];
    match stored.into_iter().find(|(_, is_used)| *is_used) {
        Some((field, _)) => Err(stateful(field)),
        None => Ok(()),
    }
}

/// The error for a request that leans on what only OpenAI keeps.
pub(crate) fn stateful(field: impl Into<String>) -> Error {
    invalid(field, "can't be used with this model: its provider keeps no responses")
}

/// A request that can't be read, by the field that is to blame.
pub(crate) fn invalid(field: impl Into<String>, what: &str) -> Error {
    let field = field.into();
    Error::new(Kind::InvalidRequest, format!("{field} {what}")).with_param(field)
}

/// Whether a member is more than its documented default.
pub(crate) fn says_something(member: &str, value: &RawValue) -> bool {
    let value = value.get();
    if matches!(value, "null" | "[]" | "{}" | "\"\"") {
        return false;
    }
    match member {
        // What isn't kept is what every provider does.
        "store" | "async" => value != "false",
        "top_logprobs" => value != "0",
        "truncation" => value != "\"disabled\"",
        "verbosity" => value != "\"medium\"",
        // That the model itself has called is what every dialect takes for granted.
        "caller" => !value.contains("\"direct\""),
        // Padding against eavesdroppers.
        "stream_options" => false,
        _ => true,
    }
}

/// The proofs of thoughts always come.
fn include<'a>(include: Option<Vec<Str<'a>>>, extras: &mut Extras<'a>) {
    for what in include.into_iter().flatten() {
        match &*what {
            "reasoning.encrypted_content" => {}
            // As chat completions have it.
            "message.output_text.logprobs" => extras.push("logprobs".into(), Cow::Borrowed(RawValue::TRUE)),
            _ => extras.text("include", Some(what)),
        }
    }
}

fn reasoning<'a>(asked: wire::Reasoning<'a>, extras: &mut Extras<'a>) -> Result<Option<Reasoning>, Error> {
    extras.all("reasoning.", asked.unknown, says_something);
    let unknown = || invalid("reasoning.effort", "is not one of the known efforts");
    let effort = asked.effort.map(|word| effort::read(&word).ok_or_else(unknown)).transpose()?;
    let visible = asked.summary.or(asked.generate_summary).map(|_| true);
    Ok((effort.is_some() || visible.is_some()).then_some(Reasoning { effort, budget: None, visible }))
}

fn format<'a>(text: wire::TextConfig<'a>, extras: &mut Extras<'a>) -> Result<Option<Format<'a>>, Error> {
    extras.all("text.", text.unknown, says_something);
    if let Some(verbosity) = text.verbosity.filter(|value| says_something("verbosity", value)) {
        extras.push("text.verbosity".into(), Cow::Borrowed(verbosity));
    }
    let Some(format) = text.format else { return Ok(None) };
    match format.kind.as_deref() {
        None | Some("text") => Ok(None),
        Some("json_object") => Ok(Some(Format::Json)),
        Some("json_schema") => Ok(Some(Format::Schema {
            name: format.name.map(Text::from),
            description: format.description.map(Text::from),
            schema: format
                .schema
                .map(Cow::Borrowed)
                .ok_or_else(|| invalid("text.format.schema", "is missing"))?,
            strict: format.strict,
        })),
        Some(_) => Err(invalid("text.format.type", "is not one of text, json_object and json_schema")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::canonical::Effort;

    fn read(members: &str) -> Request<'static> {
        request(format!(r#"{{"model":"m","input":"hi",{members}}}"#).leak().as_bytes()).unwrap()
    }

    fn refused(body: &str) -> (String, String) {
        let error = request(body.as_bytes()).unwrap_err();
        assert_eq!(error.kind(), Kind::InvalidRequest);
        (error.param().unwrap_or_default().to_owned(), error.message().to_owned())
    }

    fn fields(request: &Request<'_>) -> Vec<String> {
        request.extras.iter().map(|extra| extra.field.to_string()).collect()
    }

    #[test]
    fn the_settings_are_read() {
        let request = read(
            r#""max_output_tokens":20,"temperature":0.5,"top_p":0.9,"parallel_tool_calls":false,"stream":true,
            "reasoning":{"effort":"low","summary":"auto"},"user":"u","safety_identifier":"s","service_tier":"flex""#,
        );

        assert_eq!(
            (request.max_output, request.temperature, request.top_p),
            (Some(20), Some(0.5), Some(0.9))
        );
        assert_eq!((request.parallel_tools, request.stream), (Some(false), true));
        let reasoning = Reasoning { effort: Some(Effort::Low), budget: None, visible: Some(true) };
        assert_eq!(request.reasoning, Some(reasoning));
        assert_eq!((request.user.as_deref(), request.service_tier.as_deref()), (Some("s"), Some("flex")));
        assert!(request.extras.is_empty());
    }

    #[test]
    fn the_form_of_the_answer_is_read() {
        let schema = read(
            r#""text":{"format":{"type":"json_schema","name":"o","schema":{"type":"object"},"strict":true}}"#,
        );

        assert!(
            matches!(schema.format, Some(Format::Schema { name: Some(name), strict: Some(true), .. }) if name == "o")
        );
        assert!(matches!(read(r#""text":{"format":{"type":"json_object"}}"#).format, Some(Format::Json)));
        assert!(read(r#""text":{"format":{"type":"text"},"verbosity":"medium"}"#).format.is_none());
    }

    #[test]
    fn what_only_this_dialect_knows_is_kept_by_its_name() {
        let request = read(
            r#""truncation":"auto","metadata":{"a":"b"},"prompt_cache_key":"k","max_tool_calls":2,"store":true,
            "text":{"verbosity":"low"},"reasoning":{"mode":"pro"},"include":["web_search_call.results"]"#,
        );

        assert_eq!(
            fields(&request),
            [
                "truncation",
                "metadata",
                "prompt_cache_key",
                "max_tool_calls",
                "store",
                "include",
                "reasoning.mode",
                "text.verbosity"
            ]
        );
    }

    #[test]
    fn defaults_say_nothing() {
        let request = read(
            r#""truncation":"disabled","metadata":{},"store":false,"tools":[],"top_logprobs":0,"background":false,
            "include":["reasoning.encrypted_content"],"stream_options":{"include_obfuscation":false},
            "previous_response_id":null,"conversation":null,"prompt":null,"instructions":null"#,
        );

        assert!(request.extras.is_empty(), "{:?}", fields(&request));
        assert!(request.system.is_empty());
    }

    #[test]
    fn what_has_to_be_kept_for_clients_is_refused() {
        // C21
        for (field, value) in [
            ("previous_response_id", "\"resp_1\""),
            ("conversation", "\"conv_1\""),
            ("prompt", "{\"id\":\"p\"}"),
            ("background", "true"),
        ] {
            let (param, message) = refused(&format!(r#"{{"model":"m","input":"hi","{field}":{value}}}"#));

            assert_eq!(param, field);
            assert!(message.starts_with(field), "{message}");
        }
        let reference =
            r#"{"model":"m","input":[{"role":"user","content":"a"},{"type":"item_reference","id":"msg_1"}]}"#;
        assert_eq!(refused(reference).0, "input[1]");
    }

    #[test]
    fn what_is_wrong_is_named() {
        let param = |members: &str| refused(&format!(r#"{{"model":"m",{members}}}"#)).0;

        assert_eq!(refused(r#"{"model":"m"}"#).0, "input");
        assert_eq!(param(r#""input":7"#), "input");
        assert_eq!(param(r#""input":[7]"#), "input[0]");
        assert_eq!(param(r#""input":[{"content":"a"}]"#), "input[0].type");
        assert_eq!(param(r#""input":[{"role":"tool","content":"a"}]"#), "input[0].role");
        assert_eq!(
            param(r#""input":[{"role":"user","content":[{"type":"input_text"}]}]"#),
            "input[0].content[0].text"
        );
        assert_eq!(param(r#""input":[{"type":"function_call","name":"f"}]"#), "input[0].call_id");
        assert_eq!(param(r#""input":"a","reasoning":{"effort":"hard"}"#), "reasoning.effort");
        assert_eq!(param(r#""input":"a","text":{"format":{"type":"json_schema"}}"#), "text.format.schema");
    }
}
