//! One item, of a conversation or of an answer.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::{
    ID,
    decode::{invalid, says_something, stateful},
    parts::{self, Path},
    reasoning, wire,
};
use crate::{
    Error,
    dialect::{
        canonical::{Content, Part, Role, Text, ToolCall},
        extras::Extras,
        json,
        text::Str,
    },
};

/// Who speaks in an item, and what is said.
pub(crate) fn read<'a>(
    raw: &'a RawValue,
    path: Path<'_>,
    extras: &mut Extras<'a>,
) -> Result<(Role, Vec<Part<'a>>), Error> {
    let mut item: wire::Item<'a> = json::read_member(raw.get(), &path())?;
    let kind = match item.kind.take() {
        Some(kind) => kind,
        None if item.role.is_some() => "message".into(),
        None => return Err(invalid(path() + ".type", "is missing")),
    };
    let content = match &*kind {
        "message" => return message(item, path, extras),
        "reasoning" => {
            return Ok((Role::Assistant, reasoning::read(item).map(Part::from).into_iter().collect()));
        }
        "function_call" | "custom_tool_call" => {
            extras.all("input[].", std::mem::take(&mut item.unknown), says_something);
            Content::ToolCall(call(item, path)?)
        }
        "function_call_output" | "custom_tool_call_output" => {
            let id = item.call_id.ok_or_else(|| invalid(path() + ".call_id", "is missing"))?.into();
            let mut parts = Vec::new();
            parts::read(item.output, &|| path() + ".output", extras, &mut parts)?;
            return Ok((Role::User, vec![Content::ToolResult { id, parts, is_error: false }.into()]));
        }
        "item_reference" => return Err(stateful(path())),
        _ => Content::Opaque { dialect: ID, kind: kind.clone().into(), raw: Cow::Borrowed(raw) },
    };
    // What a tool of OpenAI's has returned comes from the client, its call from the model.
    let is_answer = kind.ends_with("_output") || &*kind == "mcp_approval_response";
    Ok((if is_answer { Role::User } else { Role::Assistant }, vec![content.into()]))
}

fn message<'a>(
    mut item: wire::Item<'a>,
    path: Path<'_>,
    extras: &mut Extras<'a>,
) -> Result<(Role, Vec<Part<'a>>), Error> {
    let role = match item.role.as_deref() {
        Some("user") => Role::User,
        Some("assistant") => Role::Assistant,
        Some("system" | "developer") => Role::System,
        Some(_) => return Err(invalid(path() + ".role", "is not a known role")),
        None => return Err(invalid(path() + ".role", "is missing")),
    };
    extras.all("input[].", std::mem::take(&mut item.unknown), says_something);
    if let Some(phase) = item.phase {
        extras.push("input[].phase".into(), Cow::Borrowed(phase));
    }
    let mut parts = Vec::new();
    parts::read(item.content, &|| path() + ".content", extras, &mut parts)?;
    if role == Role::Assistant {
        // The model's empty text means that it said nothing; a user's may stand for a turn.
        parts.retain(|part| !matches!(&part.content, Content::Text(text) if text.is_empty()));
    }
    Ok((role, parts))
}

/// The call in an item.
pub(crate) fn call<'a>(item: wire::Item<'a>, path: Path<'_>) -> Result<ToolCall<'a>, Error> {
    let required = |member: Option<Str<'a>>, name: &str| {
        member.ok_or_else(|| invalid(format!("{}.{name}", path()), "is missing"))
    };
    let is_free_text = item.arguments.is_none() && item.input.is_some();
    Ok(ToolCall {
        id: required(item.call_id, "call_id")?.into(),
        name: wire::qualified(item.namespace, required(item.name, "name")?),
        arguments: item.arguments.or(item.input).map(Text::from).unwrap_or_default(),
        is_free_text,
    })
}
