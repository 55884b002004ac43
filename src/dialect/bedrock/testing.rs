//! What the tests of this dialect have in common.

use std::borrow::Cow;

use serde_json::{Value, value::RawValue};

use super::encode;
use crate::{
    Error, Target,
    dialect::{
        Encoded,
        canonical::{Content, Part, Request, Role, Tool, ToolCall, ToolInput, Turn},
    },
    price::PriceBook,
};

/// A model that thinks by budget, and has everything else.
pub(super) const CLAUDE: &str = "us.anthropic.claude-sonnet-4-5-20250929-v1:0";

pub(super) fn text(text: &str) -> Part<'_> {
    Content::Text(text.into()).into()
}

pub(super) fn call<'a>(id: &'a str, name: &'a str, arguments: &'a str) -> Part<'a> {
    let (id, name, arguments) = (id.into(), name.into(), arguments.into());
    Content::ToolCall(ToolCall { id, name, arguments, is_free_text: false }).into()
}

pub(super) fn result<'a>(id: &'a str, said: &'a str) -> Part<'a> {
    Content::ToolResult { id: id.into(), parts: vec![text(said)], is_error: false }.into()
}

pub(super) fn thought<'a>(said: &'a str, signature: Option<&'a str>) -> Part<'a> {
    Content::Reasoning { text: said.into(), signature: signature.map(Into::into) }.into()
}

pub(super) fn user(parts: Vec<Part<'_>>) -> Turn<'_> {
    Turn { role: Role::User, parts }
}

pub(super) fn assistant(parts: Vec<Part<'_>>) -> Turn<'_> {
    Turn { role: Role::Assistant, parts }
}

pub(super) fn system(said: &str) -> Turn<'_> {
    Turn { role: Role::System, parts: vec![text(said)] }
}

pub(super) fn raw(json: &str) -> Cow<'_, RawValue> {
    Cow::Borrowed(serde_json::from_str(json).unwrap())
}

pub(super) fn tool<'a>(name: &'a str, schema: Option<&'a str>) -> Tool<'a> {
    let input = ToolInput::Schema(schema.map(raw));
    Tool { name: name.into(), description: None, input, strict: None, cache: None }
}

/// A request of one user turn.
pub(super) fn hi() -> Request<'static> {
    asking(vec![user(vec![text("hi")])])
}

pub(super) fn asking(turns: Vec<Turn<'_>>) -> Request<'_> {
    Request { turns, ..Request::default() }
}

/// A model of Bedrock's as it is listed.
pub(super) fn model(name: &str) -> Target {
    let facts = PriceBook::builtin().lookup("bedrock", name).map(|listing| listing.facts);
    Target::new("bedrock", name).facts(facts.unwrap_or_default())
}

pub(super) fn try_encode(request: &Request<'_>, to: &str) -> Result<Encoded, Error> {
    encode::request(request, &model(to))
}

/// The body for a model, and what was lost.
pub(super) fn encoded(request: &Request<'_>, to: &str) -> (Value, Vec<String>) {
    let encoded = try_encode(request, to).unwrap();
    let lost = encoded.lost.iter().map(ToString::to_string).collect();
    (serde_json::from_slice(&encoded.body).unwrap(), lost)
}

/// The messages for a model that has everything.
pub(super) fn messages(turns: Vec<Turn<'_>>) -> Value {
    encoded(&asking(turns), CLAUDE).0["messages"].take()
}
