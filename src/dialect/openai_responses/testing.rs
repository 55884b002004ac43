//! What the tests of this dialect share.

use crate::dialect::canonical::{Content, Media, Part};

/// What parts say, in short.
pub(crate) fn brief(parts: &[Part<'_>]) -> String {
    let one = |part: &Part<'_>| match &part.content {
        Content::Text(text) => text.to_string(),
        Content::Image(Media::Url(url)) => format!("<{url} {}>", part.detail.as_deref().unwrap_or("-")),
        Content::Image(media) => format!("<{media:?}>"),
        Content::Document { media, title } => format!("<{media:?} {title:?}>"),
        Content::ToolCall(call) => {
            let mark = if call.is_free_text { "!" } else { "" };
            format!("{}={}{mark}({})", call.id, call.name, call.arguments)
        }
        Content::ToolResult { id, parts, .. } => format!("{id}:[{}]", brief(parts)),
        Content::Reasoning { text, signature } => format!("({text}|{})", signature.as_deref().unwrap_or("-")),
        Content::RedactedReasoning(data) => format!("(#{data})"),
        Content::Refusal(text) => format!("!{text}"),
        Content::Opaque { kind, raw, .. } => format!("{kind}{raw}"),
        other => format!("{other:?}"),
    };
    parts.iter().map(one).collect::<Vec<_>>().join(" ")
}
