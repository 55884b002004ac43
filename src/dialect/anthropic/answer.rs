//! Whole answers, in both directions.

use std::borrow::Cow;

use bytes::Bytes;

use super::{
    arguments,
    codec::ID,
    content::Reader,
    finish, ids, usage,
    wire::{
        read,
        write::{self, Block, Stop},
    },
};
use crate::{
    Error, Kind, Tokens,
    dialect::canonical::{Answer, Choice, Content, Finish, Part, ToolCall},
};

/// Reads a provider's answer.
pub(super) fn decode(body: &[u8]) -> Result<Answer<'_>, Error> {
    let wire: read::Answer<'_> = serde_json::from_slice(body).map_err(incomprehensible)?;
    let content =
        wire.content.ok_or_else(|| Error::new(Kind::Upstream, "the provider's answer has no content"))?;
    let parts = Reader::default().content(content, "content").map_err(incomprehensible)?;
    let called = parts.iter().any(|part| matches!(part.content, Content::ToolCall(_)));
    let explanation = wire.stop_details.and_then(|details| details.explanation);
    let finish = finish::read(wire.stop_reason.as_deref(), wire.stop_sequence, explanation, called);
    let mut tokens = Tokens::default();
    if let Some(usage) = wire.usage {
        usage::merge(usage, &mut tokens);
    }
    Ok(Answer {
        id: wire.id.unwrap_or_default().into(),
        model: wire.model.unwrap_or_default().into(),
        created: None,
        choices: vec![Choice { index: 0, parts, finish, logprobs: None }],
        tokens,
        service_tier: wire.usage.and_then(usage::service_tier),
    })
}

/// The provider sent what isn't an answer; never the client's fault.
fn incomprehensible(error: impl Into<crate::BoxError>) -> Error {
    Error::new(Kind::Upstream, "the provider's answer can't be understood").with_source(error)
}

/// Writes an answer for a client.
pub(super) fn encode(answer: &Answer<'_>) -> Bytes {
    // A client of this dialect can't ask for more than one.
    let choice = answer.choices.first();
    let parts = choice.map_or(&[][..], |choice| &choice.parts);
    let id = if answer.id.is_empty() { ids::new("msg_").into() } else { Cow::Borrowed(&*answer.id) };
    let wire = write::Answer {
        id: &id,
        kind: "message",
        role: "assistant",
        model: &answer.model,
        content: parts.iter().filter_map(block).collect(),
        stop: stop(choice.map_or(&Finish::Stop, |choice| &choice.finish), parts),
        usage: usage::write(&answer.tokens, answer.service_tier.as_deref()),
    };
    serde_json::to_vec(&wire).unwrap_or_default().into()
}

fn stop<'a>(finish: &'a Finish<'_>, parts: &[Part<'_>]) -> Stop<'a> {
    let calls = || {
        parts.iter().filter_map(|part| match &part.content {
            Content::ToolCall(call) => Some(call),
            _ => None,
        })
    };
    if calls().any(|call| !call.is_free_text && !arguments::object(&call.arguments).1) {
        // Arguments that end in the middle were cut off by the cap, whatever the provider says.
        return finish::write(&Finish::Length, true, false);
    }
    let refused = parts.iter().any(|part| matches!(part.content, Content::Refusal(_)));
    finish::write(finish, calls().next().is_some(), refused)
}

fn block<'a>(part: &'a Part<'_>) -> Option<Block<'a>> {
    Some(match &part.content {
        Content::Text(text) | Content::Refusal(text) if text.is_empty() => return None,
        Content::Text(text) | Content::Refusal(text) => Block::text(&**text),
        Content::ToolCall(call) => tool_use(call),
        Content::Reasoning { text, signature } => {
            Block::Thinking { thinking: text, signature: signature.as_deref().unwrap_or_default() }
        }
        Content::RedactedReasoning(data) => Block::RedactedThinking { data },
        Content::Opaque { dialect: ID, raw, .. } => Block::Opaque(raw),
        Content::Opaque { .. }
        | Content::Image(_)
        | Content::Document { .. }
        | Content::Audio { .. }
        | Content::ToolResult { .. } => return None,
    })
}

fn tool_use<'a>(call: &'a ToolCall<'_>) -> Block<'a> {
    let id = if call.id.is_empty() { ids::new("toolu_").into() } else { Cow::Borrowed(&*call.id) };
    let input = match call.is_free_text {
        true => Cow::Owned(arguments::free_text(&call.arguments)),
        false => arguments::object(&call.arguments).0,
    };
    Block::ToolUse { id, name: &call.name, input, cache_control: None }
}
