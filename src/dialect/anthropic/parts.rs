//! Canonical parts become blocks of a request.

use std::borrow::Cow;

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{
    cache, citations,
    codec::ID,
    wire::write::{Block, Source},
};
use crate::{
    Error, Kind,
    dialect::{
        arguments,
        canonical::{Content, Media, Part, ToolCall},
        ids,
        lost::Lost,
        media,
        names::{Names, Rule},
        proof,
    },
};

const LOST_IMAGE: &str = "messages[].content[].image_url";
const LOST_FILE: &str = "messages[].content[].file";

/// What Anthropic takes for the id of a call.
const IDS: Rule = Rule::simple(usize::MAX);

/// Writes parts, noting what can't be expressed.
#[derive(Debug)]
pub(super) struct Writer<'a, 'w> {
    pub(super) names: &'a Names<'a>,
    pub(super) lost: &'w mut Lost,
}

impl<'a> Writer<'a, '_> {
    /// The blocks for all that can be sent of `parts`.
    pub(super) fn blocks(&mut self, parts: &'a [Part<'_>]) -> Result<Vec<Block<'a>>, Error> {
        let mut blocks = Vec::with_capacity(parts.len());
        for part in parts {
            blocks.extend(self.block(part)?);
        }
        Ok(blocks)
    }

    fn block(&mut self, part: &'a Part<'_>) -> Result<Option<Block<'a>>, Error> {
        self.lost.push_detail(part);
        let mut block = match &part.content {
            // Anthropic refuses texts without a visible character.
            Content::Text(text) | Content::Refusal(text) if text.trim().is_empty() => None,
            Content::Text(text) | Content::Refusal(text) => {
                let taken = part.citations.iter().filter(|citation| citations::is_taken(citation));
                let citations = taken.filter_map(citations::write).collect();
                Some(Block::Text { text: Cow::Borrowed(text), citations, cache_control: None })
            }
            Content::Image(media) => self.image(media)?,
            Content::Document { media, title } => self.document(media, title.as_deref())?,
            Content::ToolCall(call) => Some(self.tool_use(call)),
            Content::ToolResult { id, parts, is_error } => Some(Block::ToolResult {
                tool_use_id: ids::sendable(id, &IDS),
                content: self.blocks(parts)?,
                is_error: *is_error,
                cache_control: None,
            }),
            // Thoughts without a proof of Anthropic's own would be refused.
            Content::Reasoning { text, signature } => signature
                .as_deref()
                .filter(|signature| !signature.is_empty() && proof::is_anthropic(signature))
                .map(|signature| Block::Thinking { thinking: text, signature }),
            Content::RedactedReasoning(data) if !proof::is_anthropic(data) => None,
            Content::RedactedReasoning(data) => Some(Block::RedactedThinking { data }),
            Content::Opaque { dialect: ID, raw, .. } => Some(Block::Opaque(raw)),
            Content::Opaque { kind, .. } => self.lose(&format!("messages[].content[].{kind}")),
            Content::Audio { .. } => self.lose("messages[].content[].input_audio"),
        };
        if let Some(place) = block.as_mut().and_then(Block::cache_control) {
            *place = cache::mark(part.cache);
        }
        Ok(block)
    }

    fn lose(&mut self, field: &str) -> Option<Block<'a>> {
        self.lost.push(field);
        None
    }

    fn tool_use(&self, call: &'a ToolCall<'_>) -> Block<'a> {
        let input = match call.is_free_text {
            true => Cow::Owned(arguments::free_text(&call.arguments)),
            false => arguments::object(&call.arguments).0,
        };
        let (id, name) = (ids::sendable(&call.id, &IDS), self.names.sent(&call.name));
        Block::ToolUse { id, name, input, cache_control: None }
    }

    fn image(&mut self, media: &'a Media<'_>) -> Result<Option<Block<'a>>, Error> {
        let source = match media {
            Media::Url(url) => Source::Url { url },
            Media::File(id) => file(id)?,
            Media::Base64 { media_type, data } => match image_type(media_type, data) {
                Some(media_type) => Source::Base64 { media_type, data },
                None => return Ok(self.lose(LOST_IMAGE)),
            },
            Media::Text(_) => return Ok(self.lose(LOST_IMAGE)),
        };
        Ok(Some(Block::Image { source, cache_control: None }))
    }

    fn document(&mut self, media: &'a Media<'_>, title: Option<&'a str>) -> Result<Option<Block<'a>>, Error> {
        let source = match media {
            Media::Url(url) => Source::Url { url },
            Media::File(id) => file(id)?,
            Media::Text(text) => plain(Cow::Borrowed(text)),
            Media::Base64 { media_type, .. } if media_type.starts_with("image/") => {
                self.lost.push_title(title);
                return self.image(media);
            }
            Media::Base64 { media_type, data } => match document(media_type, data) {
                Some(source) => source,
                None => return Ok(self.lose(LOST_FILE)),
            },
        };
        Ok(Some(Block::Document { source, title, cache_control: None }))
    }
}

/// Only files that were stored at Anthropic can be found there.
fn file(id: &str) -> Result<Source<'_>, Error> {
    if id.starts_with("file_") {
        return Ok(Source::File { file_id: id });
    }
    let param = "messages[].content[].file.file_id";
    let message = format!("{param}: a file stored at another provider can't be read by this model");
    Err(Error::new(Kind::InvalidRequest, message).with_param(param))
}

fn document<'a>(media_type: &str, data: &'a str) -> Option<Source<'a>> {
    if media_type == "application/pdf" || media::sniffed(data) == Some("application/pdf") {
        return Some(Source::Base64 { media_type: "application/pdf", data });
    }
    if !media_type.starts_with("text/") && media_type != "application/json" {
        return None;
    }
    let text = String::from_utf8(STANDARD.decode(data).ok()?).ok()?;
    Some(plain(Cow::Owned(text)))
}

fn plain(data: Cow<'_, str>) -> Source<'_> {
    Source::Text { media_type: "text/plain", data }
}

/// The type by the first bytes, because what clients say is often wrong; else what they say.
fn image_type(said: &str, base64: &str) -> Option<&'static str> {
    let seen = media::sniffed(base64).filter(|seen| seen.starts_with("image/"));
    seen.or_else(|| match said.to_ascii_lowercase().as_str() {
        "image/jpeg" | "image/jpg" => Some("image/jpeg"),
        "image/png" => Some("image/png"),
        "image/gif" => Some("image/gif"),
        "image/webp" => Some("image/webp"),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{
        super::testing::{asking, assistant, encoded, image, raw, text, try_encode, user},
        *,
    };

    fn sent(content: Content<'_>) -> (serde_json::Value, Vec<String>) {
        let (mut body, lost) = encoded(&asking(vec![user(vec![text("see"), content.into()])]), &[], &[]);
        (body["messages"][0]["content"].as_array_mut().unwrap().drain(1..).next().unwrap_or_default(), lost)
    }

    fn document(media: Media<'_>) -> Content<'_> {
        Content::Document { media, title: Some("t".into()) }
    }

    fn base64<'a>(media_type: &'a str, data: &'a str) -> Media<'a> {
        Media::Base64 { media_type: media_type.into(), data: data.into() }
    }

    /// C120
    #[test]
    fn the_type_of_a_picture_is_seen_in_its_bytes() {
        let (jpeg, _) = sent(image("image/jpg", "/9j/4AAQ").content);
        let (png, _) = sent(image("", "iVBORw0KGgoA").content);
        let (renamed, _) = sent(image("image/jpg", "AAAA").content);
        let (unknown, lost) = sent(image("image/tiff", "SUkq").content);

        assert_eq!(
            jpeg,
            json!({"type": "image", "source": {"type": "base64", "media_type": "image/jpeg", "data": "/9j/4AAQ"}})
        );
        assert_eq!(png["source"]["media_type"], "image/png");
        assert_eq!(renamed["source"]["media_type"], "image/jpeg");
        assert!(unknown.is_null());
        assert_eq!(lost, ["messages[].content[].image_url"]);
    }

    /// C122
    #[test]
    fn documents_are_pdf_or_text_and_files_must_be_at_home() {
        let (pdf, _) = sent(document(base64("application/pdf", "JVBERi0x")));
        let (plain, _) = sent(document(base64("text/markdown", "SGk=")));
        let (_, lost) = sent(document(base64("application/msword", "AAAA")));
        let (at_home, _) = sent(document(Media::File("file_1".into())));
        let foreign = asking(vec![user(vec![document(Media::File("file-1".into())).into()])]);

        assert_eq!(
            pdf,
            json!({"type": "document", "title": "t",
                "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0x"}})
        );
        assert_eq!(plain["source"], json!({"type": "text", "media_type": "text/plain", "data": "Hi"}));
        assert_eq!(lost, ["messages[].content[].file"]);
        assert_eq!(at_home["source"], json!({"type": "file", "file_id": "file_1"}));
        assert_eq!(try_encode(&foreign, &[], &[]).unwrap_err().kind(), Kind::InvalidRequest);
    }

    /// C51
    #[test]
    fn what_only_this_dialect_knows_comes_back_as_it_was() {
        let block = r#"{"type":"server_tool_use","id":"srv","name":"web_search","input":{"q": 1.0}}"#;
        let own = Content::Opaque { dialect: ID, kind: "server_tool_use".into(), raw: raw(block) };
        let foreign = Content::Opaque { dialect: "other", kind: "video".into(), raw: raw("{}") };
        let request = asking(vec![
            user(vec![text("a")]),
            assistant(vec![own.into()]),
            user(vec![text("b"), foreign.into()]),
        ]);

        let encoded = try_encode(&request, &[], &[]).unwrap();

        assert!(std::str::from_utf8(&encoded.body).unwrap().contains(block));
        assert_eq!(encoded.lost, ["messages[].content[].video"].map(Box::<str>::from));
    }

    #[test]
    fn a_recording_is_lost() {
        let (_, lost) = sent(Content::Audio { data: "AAAA".into(), format: "wav".into() });

        assert_eq!(lost, ["messages[].content[].input_audio"]);
    }
}
