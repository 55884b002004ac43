//! Whole answers, read from a provider and written for a client.

use std::{
    borrow::Cow,
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;

use super::{
    decode::Extras,
    finish::{self, Contained},
    message, usage,
    wire::{self, Arguments},
};
use crate::{
    Error, Kind,
    dialect::{
        canonical::{Answer, Choice, Content, Finish, Part, Text, ToolCall},
        openai_error,
        text::Str,
    },
};

/// Reads an answer.
pub(crate) fn decode(body: &[u8]) -> Result<Answer<'_>, Error> {
    let not_understood = || Error::new(Kind::Upstream, "the provider's answer can't be understood");
    // DeepSeek keeps the connection alive with blank lines before the JSON; serde skips them.
    let wire: wire::Completion<'_> =
        serde_json::from_slice(body).map_err(|error| not_understood().with_source(error))?;
    if wire.error.is_some() {
        return Err(openai_error::read_inside(body).unwrap_or_else(not_understood));
    }
    let mut choices = wire
        .choices
        .ok_or_else(not_understood)?
        .into_iter()
        .enumerate()
        .map(|(position, choice)| decode_choice(position, choice))
        .collect::<Result<Vec<_>, _>>()?;
    if choices.is_empty() {
        // Some proxies filter by leaving everything out.
        choices.push(Choice { index: 0, parts: Vec::new(), finish: Finish::Refused(None), logprobs: None });
    }
    Ok(Answer {
        id: wire.id.unwrap_or_default().into(),
        model: wire.model.unwrap_or_default().into(),
        created: wire.created.map(|seconds| seconds as u64),
        choices,
        tokens: wire.usage.and_then(usage::read).unwrap_or_default(),
        service_tier: wire.service_tier.map(Text::from),
    })
}

fn decode_choice(position: usize, choice: wire::Choice<'_>) -> Result<Choice<'_>, Error> {
    let index = choice.index.unwrap_or(position as u32);
    let mut message = choice.message.unwrap_or_default();
    let deprecated = message.function_call.take();
    let mut extras = Extras::default();
    let path = || format!("choices[{position}].message");
    let mut parts = message::assistant(message, &path, &mut extras)
        .map_err(|error| Error::new(Kind::Upstream, format!("the provider's answer: {error}")))?;
    if let Some(wire::CalledFunction { name: Some(name), arguments }) = deprecated {
        let arguments = arguments.map(Text::from).unwrap_or_default();
        let call = ToolCall { id: "".into(), name: name.into(), arguments, is_free_text: false };
        parts.push(Content::ToolCall(call).into());
    }
    for part in &mut parts {
        if let Content::ToolCall(ToolCall { id, .. }) = &mut part.content {
            if id.is_empty() {
                *id = new_call_id().into();
            }
        }
    }
    let contained = Contained {
        calls: parts.iter().any(|part| matches!(part.content, Content::ToolCall(_))),
        refusal: parts.iter().any(|part| matches!(part.content, Content::Refusal(_))),
    };
    let finish = finish::read(choice.finish_reason.as_deref(), choice.stop_reason, contained)?;
    Ok(Choice { index, parts, finish, logprobs: choice.logprobs.map(Cow::Borrowed) })
}

/// A name for a call that has none; unique in its conversation.
pub(crate) fn new_call_id() -> String {
    format!("call_{:016x}{:08x}", getrandom::u64().unwrap_or_default(), getrandom::u32().unwrap_or_default())
}

/// The time, in the unit of `created`.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[derive(Serialize)]
struct Completion<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
    choices: Vec<RenderedChoice<'a>>,
    usage: usage::Rendered,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_tier: Option<&'a str>,
}

#[derive(Serialize)]
struct RenderedChoice<'a> {
    index: u32,
    message: RenderedMessage<'a>,
    logprobs: Option<&'a RawValue>,
    finish_reason: &'static str,
}

#[derive(Default, Serialize)]
struct RenderedMessage<'a> {
    role: &'static str,
    content: Option<Text<'a>>,
    refusal: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<Text<'a>>,
    /// The thoughts with their proofs, for clients that send them back.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    thinking_blocks: Vec<wire::ThinkingBlock<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<wire::ToolCall<'a>>,
}

/// Writes an answer.
pub(crate) fn encode(answer: &Answer<'_>) -> Bytes {
    let completion = Completion {
        id: &answer.id,
        object: "chat.completion",
        created: answer.created.unwrap_or_else(now),
        model: &answer.model,
        choices: answer.choices.iter().map(rendered_choice).collect(),
        usage: (&answer.tokens).into(),
        service_tier: answer.service_tier.as_deref(),
    };
    // Nothing in these types can fail to be written.
    serde_json::to_vec(&completion).unwrap_or_default().into()
}

fn rendered_choice<'a>(choice: &'a Choice<'_>) -> RenderedChoice<'a> {
    let mut message = RenderedMessage { role: "assistant", ..Default::default() };
    for part in &choice.parts {
        message.add(part);
    }
    if let (None, Finish::Refused(Some(explanation))) = (&message.refusal, &choice.finish) {
        message.refusal = Some(Cow::Borrowed(explanation));
    }
    if message.tool_calls.is_empty() && message.refusal.is_none() {
        message.content.get_or_insert_default();
    }
    // Blocks without a proof say no more than the plain text.
    if message.thinking_blocks.iter().all(|block| block.signature.is_none() && block.data.is_none()) {
        message.thinking_blocks.clear();
    }
    RenderedChoice {
        index: choice.index,
        message,
        logprobs: choice.logprobs.as_deref(),
        finish_reason: finish::word(&choice.finish),
    }
}

impl<'a> RenderedMessage<'a> {
    fn add(&mut self, part: &'a Part<'_>) {
        match &part.content {
            Content::Text(text) => append(&mut self.content, text),
            Content::Refusal(text) => append(&mut self.refusal, text),
            Content::Reasoning { text, signature } => {
                append(&mut self.reasoning_content, text);
                self.thinking_blocks.push(thinking_block(text, signature.as_deref()));
            }
            Content::RedactedReasoning(data) => self.thinking_blocks.push(redacted_block(data)),
            Content::ToolCall(call) => self.tool_calls.push(tool_call(call)),
            _ => {}
        }
    }
}

fn append<'a>(text: &mut Option<Text<'a>>, more: &'a str) {
    *text.get_or_insert_default() += more;
}

/// A block of thoughts in LiteLLM's form.
pub(crate) fn thinking_block<'a>(text: &'a str, signature: Option<&'a str>) -> wire::ThinkingBlock<'a> {
    wire::ThinkingBlock {
        kind: Some("thinking".into()),
        thinking: Some(text.into()),
        signature: signature.map(Str::from),
        ..Default::default()
    }
}

/// A block of thoughts that only the provider can read, in LiteLLM's form.
pub(crate) fn redacted_block(data: &str) -> wire::ThinkingBlock<'_> {
    wire::ThinkingBlock {
        kind: Some("redacted_thinking".into()),
        data: Some(data.into()),
        ..Default::default()
    }
}

/// A call, with arguments even if there are none.
pub(crate) fn tool_call<'a>(call: &'a ToolCall<'_>) -> wire::ToolCall<'a> {
    let (id, name) = (Some(Str::from(&*call.id)), Some(Str::from(&*call.name)));
    if call.is_free_text {
        let custom = wire::CalledCustom { name, input: Some((&*call.arguments).into()) };
        return wire::ToolCall {
            id,
            kind: Some("custom".into()),
            custom: Some(custom),
            ..Default::default()
        };
    }
    let arguments = if call.arguments.is_empty() { "{}" } else { &*call.arguments };
    let function = wire::CalledFunction { name, arguments: Some(Arguments::Written(arguments.into())) };
    wire::ToolCall { id, kind: Some("function".into()), function: Some(function), ..Default::default() }
}
