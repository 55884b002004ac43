//! Pieces of canonical requests, for the tests of all dialects.

use std::borrow::Cow;

use bytes::Bytes;
use serde_json::value::RawValue;

use super::{
    OPENAI_CHAT,
    canonical::{Content, Part, Request, Role, Tool, ToolCall, ToolInput, Turn},
};
use crate::{Exchange, Payload, payload::Head};

pub(crate) fn text(text: &str) -> Part<'_> {
    Content::Text(text.into()).into()
}

pub(crate) fn call<'a>(id: &'a str, name: &'a str, arguments: &'a str) -> Part<'a> {
    let (id, name, arguments) = (id.into(), name.into(), arguments.into());
    Content::ToolCall(ToolCall { id, name, arguments, is_free_text: false }).into()
}

pub(crate) fn result<'a>(id: &'a str, said: &'a str) -> Part<'a> {
    Content::ToolResult { id: id.into(), parts: vec![text(said)], is_error: false }.into()
}

pub(crate) fn thought<'a>(said: &'a str, signature: Option<&'a str>) -> Part<'a> {
    Content::Reasoning { text: said.into(), signature: signature.map(Into::into) }.into()
}

pub(crate) fn user(parts: Vec<Part<'_>>) -> Turn<'_> {
    Turn { role: Role::User, parts }
}

pub(crate) fn assistant(parts: Vec<Part<'_>>) -> Turn<'_> {
    Turn { role: Role::Assistant, parts }
}

pub(crate) fn system(said: &str) -> Turn<'_> {
    Turn { role: Role::System, parts: vec![text(said)] }
}

pub(crate) fn raw(json: &str) -> Cow<'_, RawValue> {
    Cow::Borrowed(serde_json::from_str(json).unwrap())
}

pub(crate) fn tool<'a>(name: &'a str, schema: Option<&'a str>) -> Tool<'a> {
    let input = ToolInput::Schema(schema.map(raw));
    Tool { name: name.into(), description: None, input, strict: None, cache: None }
}

/// A request of one user turn.
pub(crate) fn hi() -> Request<'static> {
    asking(vec![user(vec![text("hi")])])
}

pub(crate) fn asking(turns: Vec<Turn<'_>>) -> Request<'_> {
    Request { turns, ..Request::default() }
}

/// A client's request of which only the head is known.
pub(crate) fn payload(head: Head) -> Payload {
    Payload::new(&OPENAI_CHAT, head, Bytes::new(), Exchange::default())
}
