//! The parts of one message, be it in a conversation or in an answer.

use std::borrow::Cow;

use super::{
    decode::{DIALECT, cache, invalid, says_something, whole},
    wire::{self, MessageContent},
};
use crate::{
    Error,
    dialect::{
        canonical::{Content, Media, Part, Text, ToolCall},
        citation,
        extras::Extras,
        media, openai_annotations, proof,
        text_or::TextOr,
    },
};

/// Where a message stands, for errors; only asked for when there is one.
pub(crate) type Path<'p> = &'p dyn Fn() -> String;

/// The parts of a message of the model: what it thought comes first, calls come last.
pub(crate) fn assistant<'a>(
    message: wire::Message<'a>,
    path: Path<'_>,
    extras: &mut Extras<'a>,
) -> Result<Vec<Part<'a>>, Error> {
    let mut parts = Vec::new();
    let citations = message.annotations.map(openai_annotations::read).unwrap_or_default();
    thoughts(message.thinking_blocks, message.reasoning_details, &mut parts);
    let plain = [message.reasoning_content, message.reasoning];
    if let Some(text) = plain.into_iter().flatten().find(|text| !text.is_empty() && parts.is_empty()) {
        parts.push(Content::Reasoning { text: text.into(), signature: None }.into());
    }
    content(message.content, path, extras, &mut parts)?;
    if let Some(refusal) = message.refusal.filter(|text| !text.is_empty()) {
        parts.push(Content::Refusal(refusal.into()).into());
    }
    for (index, mut call) in message.tool_calls.unwrap_or_default().into_iter().enumerate() {
        let path = || format!("{}.tool_calls[{index}]", path());
        parts.extend(proof_of(&mut call));
        parts.push(Content::ToolCall(tool_call(call, &path)?).into());
    }
    // An assistant's empty text means that it said nothing; a user's may stand for a turn.
    parts.retain(|part| !matches!(&part.content, Content::Text(text) if text.is_empty()));
    citation::attach(citations, &mut parts);
    Ok(parts)
}

/// Adds the parts of a message's content.
pub(crate) fn content<'a>(
    content: Option<MessageContent<'a>>,
    path: Path<'_>,
    extras: &mut Extras<'a>,
    parts: &mut Vec<Part<'a>>,
) -> Result<(), Error> {
    match content {
        None | Some(TextOr::Null) => {}
        Some(TextOr::Text(text)) => parts.push(Content::Text(text.into()).into()),
        Some(TextOr::Other(several)) => {
            parts.reserve(several.len());
            for (index, one) in several.into_iter().enumerate() {
                let path = || format!("{}.content[{index}]", path());
                parts.push(part(one, &path, extras)?);
            }
        }
    }
    Ok(())
}

fn part<'a>(
    mut part: wire::ContentPart<'a>,
    path: Path<'_>,
    extras: &mut Extras<'a>,
) -> Result<Part<'a>, Error> {
    let missing = |member: &str| invalid(format!("{}.{member}", path()), "is missing");
    let cache = cache(part.cache_control.take().or(part.prompt_cache_breakpoint.take()));
    let detail = match &mut part.image_url {
        Some(TextOr::Other(image)) => image.detail.take().map(Text::from),
        _ => None,
    };
    let content = match part.kind.as_deref() {
        None | Some("text" | "input_text" | "output_text") => {
            Content::Text(part.text.ok_or_else(|| missing("text"))?.into())
        }
        Some("image_url") => image(part.image_url.ok_or_else(|| missing("image_url"))?, path)?,
        Some("input_audio") => audio(part.input_audio.ok_or_else(|| missing("input_audio"))?, path)?,
        Some("file") => file(part.file.ok_or_else(|| missing("file"))?, path)?,
        Some("refusal") => Content::Refusal(part.refusal.ok_or_else(|| missing("refusal"))?.into()),
        Some("thinking") => Content::Reasoning {
            text: flattened(part.thinking.or(part.text.map(TextOr::Text))),
            signature: part.signature.map(Text::from),
        },
        Some(_) => {
            let kind = part.kind.unwrap_or_default();
            let raw = whole(&kind, &part.unknown).ok_or_else(|| invalid(path(), "can't be read"))?;
            return Ok(Content::Opaque { dialect: DIALECT, kind: kind.into(), raw: Cow::Owned(raw) }.into());
        }
    };
    extras.all("messages[].content[].", part.unknown, says_something);
    Ok(Part { cache, detail, ..content.into() })
}

fn image<'a>(image: TextOr<'a, wire::ImageUrl<'a>>, path: Path<'_>) -> Result<Content<'a>, Error> {
    let url = match image {
        TextOr::Text(url) => Some(url),
        TextOr::Other(image) => image.url,
        TextOr::Null => None,
    };
    let field = || format!("{}.image_url.url", path());
    let url = url.ok_or_else(|| invalid(field(), "is missing"))?;
    media::image(url.into()).map(Content::Image).ok_or_else(|| invalid(field(), "has no known media type"))
}

fn audio<'a>(audio: wire::InputAudio<'a>, path: Path<'_>) -> Result<Content<'a>, Error> {
    let missing = |member: &str| invalid(format!("{}.input_audio.{member}", path()), "is missing");
    Ok(Content::Audio {
        data: audio.data.ok_or_else(|| missing("data"))?.into(),
        format: audio.format.ok_or_else(|| missing("format"))?.into(),
    })
}

fn file<'a>(file: wire::File<'a>, path: Path<'_>) -> Result<Content<'a>, Error> {
    let title = file.filename.map(Text::from);
    if let Some(data) = file.file_data {
        return media::document(data.into(), title)
            .ok_or_else(|| invalid(format!("{}.file.file_data", path()), "has no known media type"));
    }
    let id = file.file_id.ok_or_else(|| invalid(format!("{}.file.file_data", path()), "is missing"))?;
    Ok(Content::Document { media: Media::File(id.into()), title })
}

/// The text of thoughts that may be parts themselves, as Mistral writes them.
pub(crate) fn flattened(thinking: Option<MessageContent<'_>>) -> Text<'_> {
    match thinking {
        None | Some(TextOr::Null) => Cow::Borrowed(""),
        Some(TextOr::Text(text)) => text.into(),
        Some(TextOr::Other(parts)) => parts
            .into_iter()
            .filter_map(|part| part.text)
            .map(Text::from)
            .reduce(|a, b| a + b)
            .unwrap_or_default(),
    }
}

fn thoughts<'a>(
    blocks: Option<Vec<wire::ThinkingBlock<'a>>>,
    details: Option<Vec<wire::ReasoningDetail<'a>>>,
    parts: &mut Vec<Part<'a>>,
) {
    for block in blocks.unwrap_or_default() {
        let content = match (block.thinking, block.data) {
            (_, Some(data)) => Content::RedactedReasoning(data.into()),
            (Some(text), None) => {
                Content::Reasoning { text: text.into(), signature: block.signature.map(Text::from) }
            }
            (None, None) => continue,
        };
        parts.push(content.into());
    }
    if !parts.is_empty() {
        return;
    }
    for detail in details.unwrap_or_default() {
        reasoning_detail(detail, parts);
    }
}

/// Pieces of a stream come as details of their own: the text goes on until it is signed.
fn reasoning_detail<'a>(detail: wire::ReasoningDetail<'a>, parts: &mut Vec<Part<'a>>) {
    let signed = is_anthropic(&detail).then_some(detail.signature).flatten().filter(|text| !text.is_empty());
    if let Some(data) = detail.data {
        if is_anthropic_format(detail.format.as_deref()) {
            parts.push(Content::RedactedReasoning(data.into()).into());
        }
        return;
    }
    let more = detail.text.or(detail.summary).map(Text::from).unwrap_or_default();
    if let Some(Part { content: Content::Reasoning { text, signature: signature @ None }, .. }) =
        parts.last_mut()
    {
        *text += more;
        *signature = signed.map(Text::from);
    } else if !more.is_empty() || signed.is_some() {
        parts.push(Content::Reasoning { text: more, signature: signed.map(Text::from) }.into());
    }
}

fn is_anthropic(detail: &wire::ReasoningDetail<'_>) -> bool {
    is_anthropic_format(detail.format.as_deref())
}

/// Proofs are bound to the provider that made them; those of other formats would be refused.
pub(crate) fn is_anthropic_format(format: Option<&str>) -> bool {
    format.is_none_or(|format| format.starts_with("anthropic"))
}

/// Google's proof of the thoughts before a call.
fn proof_of<'a>(call: &mut wire::ToolCall<'a>) -> Option<Part<'a>> {
    let google = call.extra_content.take().and_then(|extra| extra.google);
    let proven = google.or_else(|| call.provider_specific_fields.take())?;
    let signature = proven.thought_signature.filter(|signature| !signature.is_empty())?;
    let signature = Some(proof::of_gemini(&signature).into());
    Some(Content::Reasoning { text: Cow::Borrowed(""), signature }.into())
}

fn tool_call<'a>(call: wire::ToolCall<'a>, path: Path<'_>) -> Result<ToolCall<'a>, Error> {
    let missing = |member: &str| invalid(format!("{}.{member}", path()), "is missing");
    let id = call.id.unwrap_or_default().into();
    if let Some(custom) = call.custom {
        return Ok(ToolCall {
            id,
            name: custom.name.ok_or_else(|| missing("custom.name"))?.into(),
            arguments: custom.input.unwrap_or_default().into(),
            is_free_text: true,
        });
    }
    let function = call.function.ok_or_else(|| missing("function"))?;
    Ok(ToolCall {
        id,
        name: function.name.ok_or_else(|| missing("function.name"))?.into(),
        arguments: function.arguments.map(Text::from).unwrap_or_default(),
        is_free_text: false,
    })
}
