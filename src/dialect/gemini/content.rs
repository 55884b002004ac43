//! Content as it is read: the parts of a turn or of an answer become canonical.

use std::borrow::Cow;

use serde_json::value::{RawValue, to_raw_value};

use super::{
    codec::ID,
    proof::{self, Proof},
    wire::read as wire,
};
use crate::{
    Error, Kind,
    dialect::{
        arguments,
        canonical::{Content, Media, Part, Text, ToolCall},
        extras::Extras,
        text::Str,
    },
};

/// Says where something stands, for an error.
pub(super) type At<'f> = &'f dyn Fn() -> String;

/// Finds the ids by which calls and results know each other.
pub(super) trait Ids<'a> {
    /// The id of a call of `name`, which may have none.
    fn call(&mut self, id: Option<Text<'a>>, name: &Text<'a>) -> Text<'a>;

    /// The id of the call that a result of `name` answers.
    fn result(&mut self, id: Option<Text<'a>>, name: &str) -> Text<'a>;
}

/// Reads parts, keeping aside what the canonical form has no place for.
pub(super) struct Reader<'r, 'a, I> {
    pub(super) ids: I,
    pub(super) extras: &'r mut Extras<'a>,
}

impl<'a, I: Ids<'a>> Reader<'_, 'a, I> {
    /// Adds what `part` says to `parts`.
    pub(super) fn add(
        &mut self,
        mut part: wire::Part<'a>,
        at: At<'_>,
        parts: &mut Vec<Part<'a>>,
    ) -> Result<(), Error> {
        self.extras.all("contents[].parts[].", std::mem::take(&mut part.unknown), says_something);
        let signature = part.thought_signature.take().filter(|signature| !signature.is_empty());
        let proof = signature.map(|signature| proof::read(&signature));
        if let (Some(text), Some(true)) = (&mut part.text, part.thought) {
            think(std::mem::take(text).into(), parts);
            prove(proof, parts);
            return Ok(());
        }
        // A text is signed at its end, everything else at its beginning.
        if let Some(text) = part.text {
            if !text.is_empty() || proof.is_none() {
                parts.push(Content::Text(text.into()).into());
            }
            prove(proof, parts);
            return Ok(());
        }
        prove(proof, parts);
        if let Some(content) = self.content(part, at)? {
            parts.push(content.into());
        }
        Ok(())
    }

    /// What is neither text nor thought; `None` for a part that says nothing.
    fn content(&mut self, part: wire::Part<'a>, at: At<'_>) -> Result<Option<Content<'a>>, Error> {
        if let Some(call) = part.function_call {
            return self.call(call, at).map(Some);
        }
        if let Some(response) = part.function_response {
            return self.response(response, at).map(Some);
        }
        if let Some(blob) = part.inline_data {
            return inline(blob, at).map(Some);
        }
        if let Some(file) = part.file_data {
            return stored(file, at).map(Some);
        }
        let opaque = [
            ("executableCode", part.executable_code),
            ("codeExecutionResult", part.code_execution_result),
            ("toolCall", part.tool_call),
            ("toolResponse", part.tool_response),
        ];
        Ok(opaque.into_iter().find_map(|(kind, raw)| Some(self::opaque(kind, raw?))))
    }

    fn call(&mut self, call: wire::FunctionCall<'a>, at: At<'_>) -> Result<Content<'a>, Error> {
        let name: Text<'a> = required(call.name, at, "functionCall.name")?.into();
        let id = self.ids.call(call.id.map(Text::from).filter(|id| !id.is_empty()), &name);
        let arguments = call.args.map_or("{}", RawValue::get).into();
        Ok(Content::ToolCall(ToolCall { id, name, arguments, is_free_text: false }))
    }

    fn response(&mut self, response: wire::FunctionResponse<'a>, at: At<'_>) -> Result<Content<'a>, Error> {
        let name: Text<'a> = required(response.name, at, "functionResponse.name")?.into();
        let id = self.ids.result(response.id.map(Text::from).filter(|id| !id.is_empty()), &name);
        let (text, is_error) = output(response.response);
        let mut parts = vec![Content::Text(text).into()];
        for part in response.parts.unwrap_or_default() {
            // A result has no results in itself.
            let part = wire::Part { function_call: None, function_response: None, ..part };
            self.add(part, at, &mut parts)?;
        }
        self.extras.all("contents[].parts[].functionResponse.", response.unknown, says_something);
        Ok(Content::ToolResult { id, parts, is_error })
    }
}

/// Whether a member that the canonical form has no place for says anything.
pub(super) fn says_something(_: &str, value: &RawValue) -> bool {
    !matches!(value.get(), "null" | "[]" | "{}" | "\"\"" | "false")
}

/// A thought goes on until it is proven.
fn think<'a>(more: Text<'a>, parts: &mut Vec<Part<'a>>) {
    match parts.last_mut() {
        Some(Part { content: Content::Reasoning { text, signature: None }, .. }) => *text += more,
        _ => parts.push(Content::Reasoning { text: more, signature: None }.into()),
    }
}

/// A proof is one of the thoughts before it, if they have none.
fn prove<'a>(proof: Option<Proof<'a>>, parts: &mut Vec<Part<'a>>) {
    let proof = match proof {
        None => return,
        Some(Proof::Redacted(data)) => {
            // The empty thought that bears it says nothing else.
            if is_empty_thought(parts.last()) {
                parts.pop();
            }
            return parts.push(Content::RedactedReasoning(data).into());
        }
        Some(Proof::Signature(proof)) => proof,
    };
    match parts.last_mut() {
        Some(Part { content: Content::Reasoning { signature: signature @ None, .. }, .. }) => {
            *signature = Some(proof);
        }
        _ => parts.push(Content::Reasoning { text: "".into(), signature: Some(proof) }.into()),
    }
}

fn is_empty_thought(part: Option<&Part<'_>>) -> bool {
    matches!(part, Some(Part { content: Content::Reasoning { text, signature: None }, .. }) if text.is_empty())
}

/// What a function returned: the text in `output` or `error`, or else the whole of it.
fn output(response: Option<&RawValue>) -> (Text<'_>, bool) {
    #[derive(serde::Deserialize)]
    struct Special<'a> {
        #[serde(borrow)]
        output: Option<&'a RawValue>,
        #[serde(borrow)]
        error: Option<&'a RawValue>,
    }
    let Some(whole) = response else { return (Cow::Borrowed(""), false) };
    match serde_json::from_str::<Special<'_>>(whole.get()) {
        Ok(Special { error: Some(error), .. }) => (text_of(error), true),
        Ok(Special { output: Some(output), .. }) => (text_of(output), false),
        _ => (Cow::Borrowed(whole.get()), false),
    }
}

/// A string's text, and the JSON of anything else.
fn text_of(value: &RawValue) -> Text<'_> {
    serde_json::from_str::<Str<'_>>(value.get()).map_or(Cow::Borrowed(value.get()), Text::from)
}

fn inline<'a>(blob: wire::Blob<'a>, at: At<'_>) -> Result<Content<'a>, Error> {
    let media_type: Text<'a> = required(blob.mime_type, at, "inlineData.mimeType")?.into();
    let data: Text<'a> = match Text::from(required(blob.data, at, "inlineData.data")?) {
        Cow::Borrowed(data) => proof::standard(data),
        Cow::Owned(data) => Cow::Owned(proof::standard(&data).into_owned()),
    };
    Ok(match media_type.split_once('/') {
        Some(("image", _)) => Content::Image(Media::Base64 { media_type, data }),
        Some(("audio", kind)) => Content::Audio { data, format: audio_format(kind).to_owned().into() },
        Some(("video", _)) => {
            let value = serde_json::json!({ "mimeType": media_type, "data": data });
            opaque("inlineData", &to_raw_value(&value).unwrap_or_else(|_| arguments::empty().to_owned()))
        }
        _ => Content::Document {
            media: Media::Base64 { media_type, data },
            title: blob.display_name.map(Text::from),
        },
    })
}

fn audio_format(kind: &str) -> &str {
    match kind {
        "x-wav" | "wave" | "vnd.wave" => "wav",
        "mpeg" | "mpeg3" => "mp3",
        other => other,
    }
}

/// Only what anybody can read from an address is one; the rest is stored at the provider.
fn stored<'a>(file: wire::FileData<'a>, at: At<'_>) -> Result<Content<'a>, Error> {
    let uri: Text<'a> = required(file.file_uri, at, "fileData.fileUri")?.into();
    let media_type = file.mime_type.unwrap_or_default();
    let is_public = uri.starts_with("http") && !uri.contains("://generativelanguage.googleapis.com/");
    let is_image = media_type.starts_with("image/");
    if media_type.starts_with("video/") || uri.contains("youtube.com/") || uri.contains("youtu.be/") {
        let value = serde_json::json!({ "fileUri": uri, "mimeType": &*media_type });
        let raw = to_raw_value(&value).unwrap_or_else(|_| arguments::empty().to_owned());
        return Ok(opaque("fileData", &raw));
    }
    let media = if is_public { Media::Url(uri) } else { Media::File(uri) };
    Ok(match is_image {
        true => Content::Image(media),
        false => Content::Document { media, title: file.display_name.map(Text::from) },
    })
}

/// A part that only this dialect knows.
fn opaque<'a>(kind: &'static str, value: &RawValue) -> Content<'a> {
    let raw = RawValue::from_string(format!("{{\"{kind}\":{value}}}"));
    let raw = raw.unwrap_or_else(|_| arguments::empty().to_owned());
    Content::Opaque { dialect: ID, kind: kind.into(), raw: Cow::Owned(raw) }
}

fn required<'a>(value: Option<Str<'a>>, at: At<'_>, member: &str) -> Result<Str<'a>, Error> {
    value.ok_or_else(|| missing(format!("{}.{member}", at())))
}

/// The error for a field that has to be there.
pub(super) fn missing(path: String) -> Error {
    Error::new(Kind::InvalidRequest, format!("{path}: is missing")).with_param(path)
}
