//! Canonical parts become parts of a request.

use std::borrow::Cow;

use super::{
    codec::ID,
    wire::write::{Blob, Data, FileData, FunctionCall, Part as Wire},
};
use crate::{
    Error, Kind,
    dialect::{
        arguments,
        canonical::{Content, Media, Part, ToolCall},
        lost::Lost,
        media,
        names::Names,
        proof,
    },
};

/// Writes parts, noting what can't be expressed.
#[derive(Debug)]
pub(super) struct Writer<'a, 'w> {
    pub(super) names: &'a Names<'a>,
    pub(super) lost: &'w mut Lost,
}

impl<'a> Writer<'a, '_> {
    /// The parts for what one side says. A proof belongs to the part after it; at the end it stands alone.
    pub(super) fn parts(
        &mut self,
        parts: impl IntoIterator<Item = &'a Part<'a>>,
    ) -> Result<Vec<Wire<'a>>, Error> {
        let mut written = Vec::new();
        let mut pending = None;
        for part in parts {
            if let Content::Reasoning { text, signature } = &part.content {
                // Thoughts without a proof of Gemini's own are another provider's, or made up.
                let Some(signature) = signature.as_deref().and_then(proof::gemini) else { continue };
                written.extend(pending.replace(signature).map(alone));
                if !text.is_empty() {
                    written.push(Wire::thought(&**text, None));
                }
                continue;
            }
            self.lost.push_detail(part);
            if let Some(part) = self.part(&part.content)? {
                written.push(part.signed(pending.take().map(Cow::Borrowed)));
            }
        }
        written.extend(pending.map(alone));
        Ok(written)
    }

    fn part(&mut self, content: &'a Content<'_>) -> Result<Option<Wire<'a>>, Error> {
        Ok(match content {
            Content::Text(text) | Content::Refusal(text) => (!text.is_empty()).then(|| Wire::text(&**text)),
            Content::Image(media) => self.media(media, "image_url")?,
            Content::Document { media, title } => {
                self.lost.push_title(title.as_deref());
                self.media(media, "file")?
            }
            Content::Audio { data, format } => {
                Some(Data::Inline(Blob { mime_type: format!("audio/{format}").into(), data }).into())
            }
            Content::ToolCall(call) => Some(self.call(call)),
            Content::Opaque { dialect: ID, raw, .. } => Some(Wire::Opaque(raw)),
            Content::Opaque { kind, .. } => {
                self.lost.push(&format!("messages[].content[].{kind}"));
                None
            }
            // Results stand elsewhere, and thoughts of others nowhere.
            Content::ToolResult { .. } | Content::Reasoning { .. } | Content::RedactedReasoning(_) => None,
        })
    }

    fn call(&self, call: &'a ToolCall<'_>) -> Wire<'a> {
        let args = match call.is_free_text {
            true => Cow::Owned(arguments::free_text(&call.arguments)),
            false => arguments::object(&call.arguments).0,
        };
        // Results are found by their order and name: an id that Gemini has not given says nothing to it.
        Data::FunctionCall(FunctionCall { id: None, name: self.names.sent(&call.name), args }).into()
    }

    fn media(&mut self, media: &'a Media<'_>, kind: &str) -> Result<Option<Wire<'a>>, Error> {
        Ok(Some(match media {
            Media::Base64 { media_type, data } => {
                let seen = media::sniffed(data).map(Cow::Borrowed);
                let mime_type = seen.unwrap_or(Cow::Borrowed(&**media_type));
                if mime_type.is_empty() {
                    self.lost.push(&format!("messages[].content[].{kind}"));
                    return Ok(None);
                }
                Data::Inline(Blob { mime_type, data }).into()
            }
            Media::Url(uri) => {
                let otherwise = (kind == "image_url").then_some("image/jpeg");
                let mime_type = type_of(uri).or(otherwise);
                Data::Stored(FileData { mime_type, file_uri: uri }).into()
            }
            Media::Text(text) if text.is_empty() => return Ok(None),
            Media::Text(text) => Wire::text(&**text),
            Media::File(uri) => {
                Data::Stored(FileData { mime_type: type_of(uri), file_uri: file(uri)? }).into()
            }
        }))
    }
}

fn alone(signature: &str) -> Wire<'_> {
    Wire::text("").signed(Some(Cow::Borrowed(signature)))
}

/// Only files that were stored at Google can be found there.
fn file(uri: &str) -> Result<&str, Error> {
    if uri.starts_with("gs://") || uri.starts_with("https://") {
        return Ok(uri);
    }
    let param = "messages[].content[].file.file_id";
    let message = format!("{param}: a file stored at another provider can't be read by this model");
    Err(Error::new(Kind::InvalidRequest, message).with_param(param))
}

/// The type that the end of an address promises.
fn type_of(uri: &str) -> Option<&'static str> {
    let path = uri.split(['?', '#']).next().unwrap_or_default();
    let (_, extension) = path.rsplit_once('.')?;
    Some(match &*extension.to_ascii_lowercase() {
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "heic" => "image/heic",
        "pdf" => "application/pdf",
        "txt" | "md" => "text/plain",
        "html" | "htm" => "text/html",
        "csv" => "text/csv",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{
        super::testing::{asking, assistant, call, encoded, signed, text, try_encode, user},
        *,
    };

    fn sent(content: Content<'_>) -> (Value, Vec<String>) {
        let (mut body, lost) = encoded(&asking(vec![user(vec![text("see"), content.into()])]));
        (body["contents"][0]["parts"].as_array_mut().unwrap().drain(1..).next().unwrap_or_default(), lost)
    }

    fn image(media_type: &'static str, data: &'static str) -> Content<'static> {
        Content::Image(Media::Base64 { media_type: media_type.into(), data: data.into() })
    }

    /// C120, C122
    #[test]
    fn media_are_inline_or_at_their_address() {
        let document = |media| Content::Document { media, title: Some("t".into()) };
        let pdf = Media::Base64 { media_type: "".into(), data: "JVBERi0x".into() };

        assert_eq!(
            sent(image("image/jpg", "iVBORw0KGgoA")).0,
            json!({"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgoA"}})
        );
        assert_eq!(sent(document(pdf)).0["inlineData"]["mimeType"], "application/pdf");
        assert_eq!(sent(document(Media::Text("D".into()))).0, json!({"text": "D"}));
        assert_eq!(
            sent(Content::Image(Media::Url("https://e.x/a.webp?x".into()))).0,
            json!({"fileData": {"mimeType": "image/webp", "fileUri": "https://e.x/a.webp?x"}})
        );
        assert_eq!(
            sent(Content::Audio { data: "AAAA".into(), format: "wav".into() }).0,
            json!({"inlineData": {"mimeType": "audio/wav", "data": "AAAA"}})
        );
        let (nothing, lost) = sent(image("", "AAAA"));
        assert_eq!((nothing, lost), (Value::Null, vec!["messages[].content[].image_url".into()]));
    }

    #[test]
    fn a_file_must_be_stored_at_home() {
        let foreign = asking(vec![user(vec![Content::Image(Media::File("file-1".into())).into()])]);

        assert_eq!(try_encode(&foreign).unwrap_err().kind(), Kind::InvalidRequest);
        assert_eq!(sent(Content::Image(Media::File("gs://b/x".into()))).0["fileData"]["fileUri"], "gs://b/x");
    }

    /// C68, C71, C73, C74
    #[test]
    fn signatures_come_back_in_their_part() {
        let turns = vec![
            user(vec![text("q")]),
            assistant(vec![
                signed("hm", "gemini:UzE="),
                call("a", "f", "{}"),
                call("b", "g", ""),
                signed("foreign", "EqoB"),
                text("ok"),
                signed("", "gemini:UzI="),
            ]),
        ];

        let parts = encoded(&asking(turns)).0["contents"][1]["parts"].take();

        assert_eq!(
            parts,
            json!([
                {"text": "hm", "thought": true},
                {"functionCall": {"name": "f", "args": {}}, "thoughtSignature": "UzE="},
                {"functionCall": {"name": "g", "args": {}}},
                {"text": "ok"},
                {"text": "", "thoughtSignature": "UzI="},
            ])
        );
    }
}
