//! A client's request becomes canonical.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::{
    codec::ID,
    content::{self, Reader, missing, read},
    wire::read as wire,
};
use crate::{
    Error, Kind,
    dialect::{
        canonical::{Effort, Format, Reasoning, Request, Role, Text, Tool, ToolChoice, ToolInput, Turn},
        text::Str,
    },
};

/// Reads the body of a request.
pub(super) fn request(body: &[u8]) -> Result<Request<'_>, Error> {
    let body = std::str::from_utf8(body)
        .map_err(|error| Error::new(Kind::InvalidRequest, "the body is not UTF-8").with_source(error))?;
    let wire: wire::Request<'_> = read(body, "")?;
    let mut reader = Reader::default();
    let (tool_choice, parallel_tools) = wire.tool_choice.map(tool_choice).transpose()?.unzip();
    let mut request = Request {
        system: wire.system.map(|system| reader.content(system, "system")).transpose()?.unwrap_or_default(),
        turns: turns(wire.messages.ok_or_else(|| missing("messages"))?, &mut reader)?,
        tools: tools(wire.tools.unwrap_or_default(), &mut reader)?,
        tool_choice,
        parallel_tools: parallel_tools.flatten(),
        max_output: Some(wire.max_tokens.ok_or_else(|| missing("max_tokens"))?),
        temperature: wire.temperature,
        top_p: wire.top_p,
        top_k: wire.top_k,
        stop: wire.stop_sequences.unwrap_or_default().into_iter().map(Into::into).collect(),
        service_tier: wire.service_tier.map(service_tier),
        stream: wire.stream.unwrap_or(false),
        ..Request::default()
    };
    if let Some(metadata) = wire.metadata {
        request.user = metadata.user_id.map(Into::into);
        reader.unknown("metadata.", metadata.unknown);
    }
    let (effort, format) = output(wire.output_config, &mut reader)?;
    request.reasoning = reasoning(wire.thinking, effort)?;
    request.format = format;
    reader.unknown("", wire.unknown);
    request.extras = reader.extras;
    Ok(request)
}

fn turns<'a>(messages: Vec<wire::Message<'a>>, reader: &mut Reader<'a>) -> Result<Vec<Turn<'a>>, Error> {
    let mut turns = Vec::with_capacity(messages.len());
    for (index, message) in messages.into_iter().enumerate() {
        let at = |member| format!("messages.{index}.{member}");
        let role = match message.role.as_deref() {
            Some("user") => Role::User,
            Some("assistant") => Role::Assistant,
            Some("system") => Role::System,
            Some(_) => return Err(unexpected(&at("role"), "`user`, `assistant` or `system`")),
            None => return Err(missing(&at("role"))),
        };
        let content = message.content.ok_or_else(|| missing(&at("content")))?;
        turns.push(Turn { role, parts: reader.content(content, &at("content"))? });
        reader.unknown("messages[].", message.unknown);
    }
    Ok(turns)
}

fn tools<'a>(raws: Vec<&'a RawValue>, reader: &mut Reader<'a>) -> Result<Vec<Tool<'a>>, Error> {
    raws.into_iter().enumerate().map(|(index, raw)| tool(index, raw, reader)).collect()
}

fn tool<'a>(index: usize, raw: &'a RawValue, reader: &mut Reader<'a>) -> Result<Tool<'a>, Error> {
    let tool: wire::Tool<'a> = read(raw.get(), &format!("tools.{index}"))?;
    let cache = tool.cache_control.as_ref().map(content::cache);
    let is_custom = matches!(tool.kind.as_deref(), None | Some("custom"));
    let name = match (tool.name, tool.kind) {
        (Some(name), _) => name,
        (None, Some(kind)) if !is_custom => kind,
        (None, _) => return Err(missing(&format!("tools.{index}.name"))),
    };
    let input = match tool.input_schema {
        _ if !is_custom => ToolInput::Opaque { dialect: ID, raw: Cow::Borrowed(raw) },
        Some(schema) => ToolInput::Schema(Some(Cow::Borrowed(schema))),
        None => return Err(missing(&format!("tools.{index}.input_schema"))),
    };
    if is_custom {
        reader.unknown("tools[].", tool.unknown);
    }
    let description = tool.description.map(Into::into);
    Ok(Tool { name: name.into(), description, input, strict: tool.strict, cache })
}

/// The choice, and whether several tools may be called at once.
fn tool_choice(choice: wire::ToolChoice<'_>) -> Result<(ToolChoice<'_>, Option<bool>), Error> {
    let parallel = choice.disable_parallel_tool_use.map(|disabled| !disabled);
    let choice = match choice.kind.as_deref() {
        Some("auto") => ToolChoice::Auto,
        Some("any") => ToolChoice::Required,
        Some("none") => ToolChoice::None,
        Some("tool") => ToolChoice::Named(choice.name.ok_or_else(|| missing("tool_choice.name"))?.into()),
        Some(_) => return Err(unexpected("tool_choice.type", "`auto`, `any`, `tool` or `none`")),
        None => return Err(missing("tool_choice.type")),
    };
    Ok((choice, parallel))
}

fn output<'a>(
    config: Option<wire::OutputConfig<'a>>,
    reader: &mut Reader<'a>,
) -> Result<(Option<Effort>, Option<Format<'a>>), Error> {
    let Some(config) = config else { return Ok((None, None)) };
    reader.unknown("output_config.", config.unknown);
    let format = match config.format {
        None => None,
        Some(format) if format.kind.as_deref() == Some("json_schema") => {
            let schema = format.schema.ok_or_else(|| missing("output_config.format.schema"))?;
            Some(Format::Schema {
                name: None,
                description: None,
                schema: Cow::Borrowed(schema),
                strict: None,
            })
        }
        Some(_) => return Err(unexpected("output_config.format.type", "`json_schema`")),
    };
    Ok((config.effort.as_deref().map(effort).transpose()?, format))
}

fn effort(name: &str) -> Result<Effort, Error> {
    Ok(match name {
        "low" => Effort::Low,
        "medium" => Effort::Medium,
        "high" => Effort::High,
        "xhigh" => Effort::XHigh,
        "max" => Effort::Max,
        _ => return Err(unexpected("output_config.effort", "`low`, `medium`, `high`, `xhigh` or `max`")),
    })
}

fn reasoning(
    thinking: Option<wire::Thinking<'_>>,
    effort: Option<Effort>,
) -> Result<Option<Reasoning>, Error> {
    let Some(thinking) = thinking else {
        return Ok(effort.map(|effort| Reasoning { effort: Some(effort), ..Reasoning::default() }));
    };
    let visible = thinking.display.as_deref().map(|display| display != "omitted");
    Ok(Some(match thinking.kind.as_deref() {
        Some("enabled") => {
            let budget = thinking.budget_tokens.ok_or_else(|| missing("thinking.budget_tokens"))?;
            Reasoning { effort, budget: Some(budget), visible }
        }
        Some("adaptive") => Reasoning { effort, budget: None, visible },
        // `between_tools` is as little as the models that have it will think.
        Some("disabled" | "between_tools") => Reasoning { effort: Some(Effort::None), budget: None, visible },
        Some(_) => {
            return Err(unexpected("thinking.type", "`enabled`, `adaptive`, `between_tools` or `disabled`"));
        }
        None => return Err(missing("thinking.type")),
    }))
}

fn service_tier(tier: Str<'_>) -> Text<'_> {
    match &*tier {
        "standard_only" => "default".into(),
        _ => tier.into(),
    }
}

fn unexpected(path: &str, expected: &str) -> Error {
    Error::new(Kind::InvalidRequest, format!("{path}: expected {expected}")).with_param(path)
}
