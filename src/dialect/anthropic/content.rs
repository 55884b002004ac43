//! Content as it is read: blocks become parts, in requests and in answers.

use std::{borrow::Cow, cell::OnceCell};

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    citations,
    codec::ID,
    wire::read::{Block, CacheControl, Inner, RawMessage, Source},
};
use crate::{
    Error, Kind,
    dialect::{
        canonical::{Cache, Content, Media, Part, Text, ToolCall},
        extras::Extras,
        json,
        object::Unknown,
        text::Str,
        text_or::TextOr,
    },
};

/// Reads content, keeping aside what the canonical form has no place for.
#[derive(Debug, Default)]
pub(super) struct Reader<'a> {
    pub(super) extras: Extras<'a>,
    /// The content is that of a tool's result, where neither calls nor thoughts nor other results may be.
    in_result: bool,
}

impl<'a> Reader<'a> {
    /// Keeps `value`, once for each `field`; null and empty lists say nothing.
    pub(super) fn extra(&mut self, field: impl Into<Text<'a>>, value: &'a RawValue) {
        if says_something(value) {
            self.extras.push(field.into(), Cow::Borrowed(value));
        }
    }

    /// Keeps the members of an object at `path` that are not documented.
    pub(super) fn unknown(&mut self, path: &str, members: Unknown<'a>) {
        self.extras.all(path, members, |_, value| says_something(value));
    }

    /// A text, or a list of blocks; `at` is where it stands in the body.
    pub(super) fn content(&mut self, raw: &'a RawValue, at: At<'_>) -> Result<Vec<Part<'a>>, Error> {
        if raw.get().starts_with('"') {
            return Ok(vec![Content::Text(read::<Str<'a>>(raw.get(), at)?.into()).into()]);
        }
        let blocks = read::<Vec<Block<'a>>>(raw.get(), at)?;
        self.blocks(blocks, &|| Ok(raw), at)
    }

    /// A list of blocks, whose text `raw` finds if there are any that only this dialect knows.
    pub(super) fn blocks(
        &mut self,
        blocks: impl IntoIterator<Item = Block<'a>>,
        raw: Raw<'_, 'a>,
        at: At<'_>,
    ) -> Result<Vec<Part<'a>>, Error> {
        let blocks = blocks.into_iter();
        let mut parts = Vec::with_capacity(blocks.size_hint().0);
        let texts: OnceCell<Vec<&'a RawValue>> = OnceCell::new();
        let raw = |index: usize| {
            let known = match texts.get() {
                Some(known) => known,
                None => {
                    let read = read(raw()?.get(), at)?;
                    texts.get_or_init(|| read)
                }
            };
            known.get(index).copied().ok_or_else(|| missing(&at()))
        };
        for (index, block) in blocks.enumerate() {
            let at: At<'_> = &|| format!("{}.{index}", at());
            parts.push(match self.block(block, &|| raw(index), at)? {
                Some(part) => part,
                None => opaque(raw(index)?)?,
            });
        }
        Ok(parts)
    }

    /// `None` for a block that only this dialect knows.
    fn block(
        &mut self,
        mut block: Block<'a>,
        raw: Raw<'_, 'a>,
        at: At<'_>,
    ) -> Result<Option<Part<'a>>, Error> {
        let kind: Text<'a> = required(block.kind.take(), at, "type")?;
        let cache = block.cache_control.take().map(|control| cache(&control));
        let mut citations = Vec::new();
        let content = match &*kind {
            "text" => {
                citations = block.citations.take().map(citations::read).unwrap_or_default();
                self.text(block, at)?
            }
            "image" | "document" => match self.media(&kind, block, at)? {
                Some(content) => content,
                None => return Ok(None),
            },
            "tool_use" | "tool_result" | "thinking" | "redacted_thinking" if self.in_result => {
                return Ok(None);
            }
            "tool_use" => self.tool_use(block, at)?,
            "tool_result" => self.tool_result(block, raw, at)?,
            "thinking" => Content::Reasoning {
                text: required(block.thinking, at, "thinking")?,
                signature: block
                    .signature
                    .map(Into::into)
                    .filter(|signature: &Text<'_>| !signature.is_empty()),
            },
            "redacted_thinking" => Content::RedactedReasoning(required(block.data, at, "data")?),
            _ => return Ok(None),
        };
        Ok(Some(Part { cache, citations, ..content.into() }))
    }

    fn text(&mut self, block: Block<'a>, at: At<'_>) -> Result<Content<'a>, Error> {
        self.unknown("messages[].content[].", block.unknown);
        Ok(Content::Text(required(block.text, at, "text")?))
    }

    fn media(&mut self, kind: &str, block: Block<'a>, at: At<'_>) -> Result<Option<Content<'a>>, Error> {
        let source: &RawValue = required(block.source, at, "source")?;
        let source: Source<'a> = read(source.get(), &|| format!("{}.source", at()))?;
        let Some(media) = media(source, at)? else { return Ok(None) };
        if let Some(citations) = block.citations {
            self.extra("messages[].content[].citations", citations);
        }
        self.unknown("messages[].content[].", block.unknown);
        let title =
            || block.title.map(|title| read::<Option<Str<'a>>>(title.get(), &|| format!("{}.title", at())));
        Ok(Some(match kind {
            "image" => Content::Image(media),
            _ => Content::Document { media, title: title().transpose()?.flatten().map(Into::into) },
        }))
    }

    fn tool_use(&mut self, block: Block<'a>, at: At<'_>) -> Result<Content<'a>, Error> {
        // `caller` says who called; that it was the model itself is what every dialect takes for granted.
        let unknown = block.unknown.into_iter();
        let telling =
            unknown.filter(|(name, value)| &**name != "caller" || !value.get().contains("\"direct\""));
        self.unknown("messages[].content[].", telling.collect());
        let input: &'a RawValue = required(block.input, at, "input")?;
        Ok(Content::ToolCall(ToolCall {
            id: required(block.id, at, "id")?,
            name: required(block.name, at, "name")?,
            arguments: input.get().into(),
            is_free_text: false,
        }))
    }

    fn tool_result(&mut self, block: Block<'a>, raw: Raw<'_, 'a>, at: At<'_>) -> Result<Content<'a>, Error> {
        let parts = match block.content {
            Some(content) => {
                self.in_result = true;
                let parts = self.inner(content, raw, &|| format!("{}.content", at()));
                self.in_result = false;
                parts?
            }
            None => Vec::new(),
        };
        self.unknown("messages[].content[].", block.unknown);
        let id = required(block.tool_use_id, at, "tool_use_id")?;
        Ok(Content::ToolResult { id, parts, is_error: block.is_error.unwrap_or(false) })
    }

    /// The content of a tool's result, of which `raw` is the whole.
    fn inner(&mut self, inner: Inner<'a>, raw: Raw<'_, 'a>, at: At<'_>) -> Result<Vec<Part<'a>>, Error> {
        let pieces = match inner {
            Inner::Raw(content) => return self.content(content, at),
            Inner::Read(TextOr::Null) => return Ok(Vec::new()),
            Inner::Read(TextOr::Text(text)) => return Ok(vec![Content::Text(text.into()).into()]),
            Inner::Read(TextOr::Other(pieces)) => pieces,
        };
        let raw = || read::<RawMessage<'a>>(raw()?.get(), at)?.content.ok_or_else(|| missing(&at()));
        self.blocks(pieces.into_iter().map(Block::from), &raw, at)
    }
}

fn says_something(value: &RawValue) -> bool {
    !matches!(value.get(), "null" | "[]" | "false")
}

/// Finds the text of something that has been read.
type Raw<'f, 'a> = &'f dyn Fn() -> Result<&'a RawValue, Error>;

/// Says where something stands, for an error.
pub(super) type At<'f> = &'f dyn Fn() -> String;

/// How long a mark asks to keep the prompt.
pub(super) fn cache(control: &CacheControl<'_>) -> Cache {
    match control.ttl.as_deref() {
        Some("1h") => Cache::Hour,
        _ => Cache::Default,
    }
}

/// `None` for a source that only this dialect knows.
fn media<'a>(source: Source<'a>, at: At<'_>) -> Result<Option<Media<'a>>, Error> {
    let at: At<'_> = &|| format!("{}.source", at());
    Ok(Some(match &*required::<_, Text<'a>>(source.kind, at, "type")? {
        "base64" => Media::Base64 {
            media_type: required(source.media_type, at, "media_type")?,
            data: required(source.data, at, "data")?,
        },
        "url" => Media::Url(required(source.url, at, "url")?),
        "file" => Media::File(required(source.file_id, at, "file_id")?),
        "text" => Media::Text(required(source.data, at, "data")?),
        _ => return Ok(None),
    }))
}

fn required<T: Into<U>, U>(value: Option<T>, at: At<'_>, name: &str) -> Result<U, Error> {
    value.map(Into::into).ok_or_else(|| missing(&format!("{}.{name}", at())))
}

/// The error for a field that has to be there.
pub(super) fn missing(path: &str) -> Error {
    Error::new(Kind::InvalidRequest, format!("{path}: field required")).with_param(path)
}

/// A block that only this dialect knows, as it came.
fn opaque(raw: &RawValue) -> Result<Part<'_>, Error> {
    #[derive(Deserialize)]
    struct Typed<'a> {
        #[serde(borrow, rename = "type")]
        kind: Str<'a>,
    }
    let kind = read::<Typed<'_>>(raw.get(), &|| "content".into())?.kind.into();
    Ok(Content::Opaque { dialect: ID, kind, raw: Cow::Borrowed(raw) }.into())
}

/// Reads a piece of a body that stands at `at`, or the whole of it; an error names the field.
pub(super) fn read<'a, T: Deserialize<'a>>(json: &'a str, at: At<'_>) -> Result<T, Error> {
    serde_json::from_str(json).map_err(|error| {
        let mut again = serde_json::Deserializer::from_str(json);
        let inner = serde_path_to_error::deserialize::<_, T>(&mut again).err();
        let at = at();
        let path = dotted(&at, inner.map(|error| error.path().to_string()).as_deref());
        let error = json::invalid(&error, &path);
        if at.is_empty() || error.param().is_none() {
            return error;
        }
        // The line and the column would be those of the piece.
        let message =
            error.message().rsplit_once(" at line ").map_or(error.message(), |(message, _)| message);
        Error::new(error.kind(), message).with_param(path)
    })
}

/// `messages.2.content.0`, as Anthropic writes paths.
fn dotted(at: &str, inner: Option<&str>) -> String {
    let inner = inner.unwrap_or_default().replace('[', ".").replace(']', "");
    format!("{at}.{}", inner.trim_matches('.')).trim_matches('.').to_owned()
}
