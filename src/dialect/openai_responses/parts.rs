//! The parts of a message or of what a tool returned, in both directions.

use std::borrow::Cow;

use super::{
    ID,
    decode::{invalid, says_something},
    wire::{self, Annotations},
};
use crate::{
    Error, Kind,
    dialect::{
        canonical::{Cache, Content, Media, Part, Text},
        extras::Extras,
        lost::Lost,
        media,
        object::Unknown,
        openai_annotations,
        text::Str,
        text_or::TextOr,
    },
};

/// Where something stands, for errors; only asked for when there is one.
pub(crate) type Path<'p> = &'p dyn Fn() -> String;

/// Adds the parts of a content.
pub(crate) fn read<'a>(
    content: Option<TextOr<'a, Vec<wire::Part<'a>>>>,
    path: Path<'_>,
    extras: &mut Extras<'a>,
    parts: &mut Vec<Part<'a>>,
) -> Result<(), Error> {
    match content {
        None | Some(TextOr::Null) => Err(invalid(path(), "is missing")),
        Some(TextOr::Text(text)) => {
            parts.push(Content::Text(text.into()).into());
            Ok(())
        }
        Some(TextOr::Other(several)) => {
            parts.reserve(several.len());
            for (index, part) in several.into_iter().enumerate() {
                parts.push(one(part, &|| format!("{}[{index}]", path()), extras)?);
            }
            Ok(())
        }
    }
}

fn one<'a>(mut part: wire::Part<'a>, path: Path<'_>, extras: &mut Extras<'a>) -> Result<Part<'a>, Error> {
    let missing = |member: &str| invalid(format!("{}.{member}", path()), "is missing");
    let kind = part.kind.take().ok_or_else(|| missing("type"))?;
    let cache = part.prompt_cache_breakpoint.take().map(|mark| match mark.ttl.as_deref() {
        Some("12h") => Cache::Hour,
        _ => Cache::Default,
    });
    let detail = part.detail.take().map(Text::from);
    let unknown = std::mem::take(&mut part.unknown);
    let citations = match part.annotations.take() {
        Some(Annotations::Read(raw)) => openai_annotations::read(raw),
        _ => Vec::new(),
    };
    let content = match &*kind {
        "input_text" | "output_text" | "text" | "summary_text" | "reasoning_text" => {
            Content::Text(part.text.ok_or_else(|| missing("text"))?.into())
        }
        "refusal" => Content::Refusal(part.refusal.ok_or_else(|| missing("refusal"))?.into()),
        "input_image" => image(part, path)?,
        "input_file" => file(part, path)?,
        _ => return opaque(&kind, &unknown).ok_or_else(|| invalid(path(), "can't be read")),
    };
    extras.all("input[].content[].", unknown, says_something);
    Ok(Part { cache, detail, citations, ..content.into() })
}

fn image<'a>(part: wire::Part<'a>, path: Path<'_>) -> Result<Content<'a>, Error> {
    if let Some(id) = part.file_id {
        return Ok(Content::Image(Media::File(id.into())));
    }
    let field = || path() + ".image_url";
    let url = part.image_url.ok_or_else(|| invalid(field(), "is missing"))?;
    media::image(url.into()).map(Content::Image).ok_or_else(|| invalid(field(), "has no known media type"))
}

fn file<'a>(part: wire::Part<'a>, path: Path<'_>) -> Result<Content<'a>, Error> {
    let title = part.filename.map(Text::from);
    if let Some(data) = part.file_data {
        return media::document(data.into(), title)
            .ok_or_else(|| invalid(path() + ".file_data", "has no known media type"));
    }
    let media = match (part.file_url, part.file_id) {
        (Some(url), _) => Media::Url(url.into()),
        (None, Some(id)) => Media::File(id.into()),
        (None, None) => return Err(invalid(path() + ".file_data", "is missing")),
    };
    Ok(Content::Document { media, title })
}

/// A part that only this dialect knows, put together again.
fn opaque<'a>(kind: &Str<'a>, members: &Unknown<'a>) -> Option<Part<'a>> {
    let members: serde_json::Map<_, _> = members
        .iter()
        .map(|(name, value)| Some((name.to_string(), serde_json::from_str(value.get()).ok()?)))
        .chain([Some(("type".to_owned(), (&**kind).into()))])
        .collect::<Option<_>>()?;
    let raw = serde_json::value::to_raw_value(&members).ok()?;
    Some(Content::Opaque { dialect: ID, kind: kind.clone().into(), raw: Cow::Owned(raw) }.into())
}

/// What a user or a tool says, for a provider; `None` for what can't be said, which is noted.
///
/// # Errors
///
/// A file that is stored elsewhere can't be read.
pub(crate) fn write<'a>(part: &'a Part<'_>, lost: &mut Lost) -> Result<Option<wire::Part<'a>>, Error> {
    Ok(Some(match &part.content {
        Content::Text(text) | Content::Refusal(text) => wire::Part::text("input_text", text),
        Content::Image(media) => match picture(media)? {
            Some(picture) => wire::Part {
                kind: Some("input_image".into()),
                detail: Some(part.detail.as_deref().unwrap_or("auto").into()),
                ..picture
            },
            None => return lose("image", lost),
        },
        Content::Document { media, title } => {
            let has_place = matches!(media, Media::Base64 { .. });
            lost.push_title(title.as_deref().filter(|_| !has_place));
            document(media, title.as_deref())?
        }
        Content::Reasoning { .. } | Content::RedactedReasoning(_) => return Ok(None),
        Content::Opaque { kind, .. } => return lose(kind, lost),
        Content::Audio { .. } => return lose("audio", lost),
        Content::ToolCall(_) => return lose("tool_use", lost),
        Content::ToolResult { .. } => return lose("tool_result", lost),
    }))
}

fn lose<'a>(what: &str, lost: &mut Lost) -> Result<Option<wire::Part<'a>>, Error> {
    lost.push(&format!("messages[].content[].{what}"));
    Ok(None)
}

fn picture<'a>(media: &'a Media<'_>) -> Result<Option<wire::Part<'a>>, Error> {
    let at = |url: Str<'a>| Some(wire::Part { image_url: Some(url), ..Default::default() });
    Ok(match media {
        Media::Url(url) => at((&**url).into()),
        Media::Base64 { media_type, data } => at(media::data_url(media_type, data).into()),
        Media::File(id) => Some(wire::Part { file_id: Some(stored(id)?), ..Default::default() }),
        Media::Text(_) => None,
    })
}

fn document<'a>(media: &'a Media<'_>, title: Option<&'a str>) -> Result<wire::Part<'a>, Error> {
    let file = wire::Part { kind: Some("input_file".into()), ..Default::default() };
    Ok(match media {
        Media::Base64 { media_type, data } => {
            let usual = if media_type == "application/pdf" { "document.pdf" } else { "document" };
            wire::Part {
                filename: Some(title.unwrap_or(usual).into()),
                file_data: Some(media::data_url(media_type, data).into()),
                ..file
            }
        }
        Media::Url(url) => wire::Part { file_url: Some((&**url).into()), ..file },
        Media::File(id) => wire::Part { file_id: Some(stored(id)?), ..file },
        Media::Text(text) => wire::Part::text("input_text", text),
    })
}

/// Only files that were stored at OpenAI can be found there; Anthropic's names have an underscore.
fn stored(id: &str) -> Result<Str<'_>, Error> {
    if id.starts_with("file-") {
        return Ok(id.into());
    }
    let param = "messages[].content[].file.file_id";
    let message = format!("{param}: a file stored at another provider can't be read by this model");
    Err(Error::new(Kind::InvalidRequest, message).with_param(param))
}
