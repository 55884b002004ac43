//! Canonical parts become blocks of a request.

use std::{borrow::Cow, collections::HashSet};

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{
    media,
    wire::write::{Block, CachePoint, Reasoning, Source},
};
use crate::{
    Error, Kind,
    dialect::{
        arguments,
        canonical::{Cache, Content, Media, Part, ToolCall},
        ids,
        lost::Lost,
        names::{Names, Rule},
        proof, turns,
    },
};

const IMAGE: &str = "messages[].content[].image_url";
const FILE: &str = "messages[].content[].file";

/// What Bedrock takes for the id of a call.
const IDS: Rule = Rule {
    longest: 64,
    allows: |_, byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b':' | b'-'),
};

/// A block, and whether the prompt is to be cached up to it.
#[derive(Debug)]
pub(super) struct Marked<'a> {
    pub(super) block: Block<'a>,
    pub(super) cache: Option<CachePoint>,
}

impl<'a> Marked<'a> {
    fn is_text(&self) -> bool {
        matches!(self.block, Block::Text(_))
    }

    fn is_document(&self) -> bool {
        matches!(self.block, Block::Document { .. })
    }
}

/// The mark for a part or a tool.
pub(super) fn mark(cache: Option<Cache>) -> Option<CachePoint> {
    let ttl = match cache? {
        Cache::Default => None,
        Cache::Hour => Some("1h"),
    };
    Some(CachePoint { kind: "default", ttl })
}

/// Puts every mark behind its block, as a block of its own.
pub(super) fn spread(marked: Vec<Marked<'_>>) -> Vec<Block<'_>> {
    let mut blocks = Vec::with_capacity(marked.len());
    for Marked { block, cache } in marked {
        blocks.push(block);
        blocks.extend(cache.map(Block::CachePoint));
    }
    blocks
}

/// A document has to be spoken about: gives the messages a text where there is none.
pub(super) fn introduce_documents(messages: &mut [turns::Message<Marked<'_>>]) {
    for message in messages {
        if message.content.iter().any(Marked::is_document) && !message.content.iter().any(Marked::is_text) {
            message.content.push(turns::Block::text(turns::EMPTY));
        }
    }
}

/// Writes parts, noting what can't be expressed.
#[derive(Debug)]
pub(super) struct Writer<'a, 'w> {
    pub(super) names: &'a Names<'a>,
    pub(super) lost: &'w mut Lost,
    /// Whether the model is one that proves its thoughts, and takes them back.
    pub(super) takes_thoughts: bool,
    /// Bedrock refuses two documents of the same name.
    pub(super) documents: HashSet<String>,
}

impl<'a> turns::Write<'a> for Writer<'a, '_> {
    type Block = Marked<'a>;

    fn blocks(&mut self, parts: &'a [Part<'_>]) -> Result<Vec<Marked<'a>>, Error> {
        let mut blocks = Vec::with_capacity(parts.len());
        for part in parts {
            let cache = mark(part.cache).or_else(|| inner_mark(part));
            blocks.extend(self.block(part)?.map(|block| Marked { block, cache }));
        }
        Ok(blocks)
    }

    fn lost(&mut self) -> &mut Lost {
        self.lost
    }
}

/// Inside of a result there can be no marks: the last one is moved behind it.
fn inner_mark(part: &Part<'_>) -> Option<CachePoint> {
    match &part.content {
        Content::ToolResult { parts, .. } => parts.iter().rev().find_map(|part| mark(part.cache)),
        _ => None,
    }
}

impl<'a> Writer<'a, '_> {
    fn block(&mut self, part: &'a Part<'_>) -> Result<Option<Block<'a>>, Error> {
        self.lost.push_detail(part);
        Ok(match &part.content {
            // A text without a visible character is refused.
            Content::Text(text) | Content::Refusal(text) if text.trim().is_empty() => None,
            Content::Text(text) | Content::Refusal(text) => Some(Block::Text(Cow::Borrowed(text))),
            Content::Image(media) => self.image(media)?,
            Content::Document { media, title } => self.document(media, title.as_deref())?,
            Content::ToolCall(call) => Some(self.tool_use(call)),
            Content::ToolResult { id, parts, is_error } => {
                let content = turns::Write::blocks(self, parts)?;
                Some(Block::ToolResult {
                    tool_use_id: ids::sendable(id, &IDS),
                    content: content.into_iter().map(|marked| marked.block).collect(),
                    status: is_error.then_some("error"),
                })
            }
            // Thoughts without proof are another model's, or made up: they would be refused.
            Content::Reasoning { text, signature } => signature
                .as_deref()
                .filter(|proof| self.takes_thoughts && !proof.is_empty() && proof::is_anthropic(proof))
                .map(|signature| Block::ReasoningContent(Reasoning::ReasoningText { text, signature })),
            Content::RedactedReasoning(data) => (self.takes_thoughts && STANDARD.decode(&**data).is_ok())
                .then_some(Block::ReasoningContent(Reasoning::RedactedContent(data))),
            Content::Opaque { kind, .. } => self.lose(&format!("messages[].content[].{kind}")),
            Content::Audio { .. } => self.lose("messages[].content[].input_audio"),
        })
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
        let tool_use_id = ids::sendable(&call.id, &IDS);
        Block::ToolUse { tool_use_id, name: self.names.sent(&call.name), input }
    }

    fn image(&mut self, media: &'a Media<'_>) -> Result<Option<Block<'a>>, Error> {
        let (format, source) = match media {
            Media::Url(url) => (media::image_at(url), stored(url, IMAGE)?),
            Media::Base64 { media_type, data } => (media::image(media_type, data), Source::Bytes(data)),
            Media::File(_) => return Err(elsewhere(IMAGE)),
            Media::Text(_) => return Ok(self.lose(IMAGE)),
        };
        Ok(match format {
            Some(format) => Some(Block::Image { format, source }),
            None => self.lose(IMAGE),
        })
    }

    fn document(&mut self, media: &'a Media<'_>, title: Option<&str>) -> Result<Option<Block<'a>>, Error> {
        let (format, source) = match media {
            Media::Url(url) => (media::document_at(url), stored(url, FILE)?),
            Media::Text(text) => (Some("txt"), Source::Text(text)),
            Media::Base64 { media_type, .. } if media_type.starts_with("image/") => return self.image(media),
            Media::Base64 { media_type, data } => (media::document(media_type, data), Source::Bytes(data)),
            Media::File(_) => return Err(elsewhere(FILE)),
        };
        let Some(format) = format else { return Ok(self.lose(FILE)) };
        Ok(Some(Block::Document { format, name: self.free_name(title.unwrap_or_default()), source }))
    }

    fn free_name(&mut self, title: &str) -> String {
        let clean = media::name(title);
        let numbered = (2..).map(|number: u64| format!("{clean} {number}"));
        let free = [clean.clone()].into_iter().chain(numbered).find(|name| !self.documents.contains(name));
        let name = free.unwrap_or(clean);
        self.documents.insert(name.clone());
        name
    }
}

/// Bedrock reads what is stored at S3, and fetches nothing else.
fn stored<'a>(url: &'a str, field: &str) -> Result<Source<'a>, Error> {
    match url.starts_with("s3://") {
        true => Ok(Source::S3Location { uri: url }),
        false => Err(elsewhere(field)),
    }
}

fn elsewhere(field: &str) -> Error {
    let message = format!("{field}: this model reads only what is in the request itself, or at s3://");
    Error::new(Kind::InvalidRequest, message).with_param(field)
}

impl<'a> turns::Block<'a> for Marked<'a> {
    fn text(text: impl Into<Cow<'a, str>>) -> Self {
        Self { block: Block::Text(text.into()), cache: None }
    }

    fn as_text(&mut self) -> Option<&mut Cow<'a, str>> {
        match &mut self.block {
            Block::Text(text) => Some(text),
            _ => None,
        }
    }

    fn is_thinking(&self) -> bool {
        matches!(self.block, Block::ReasoningContent(_))
    }

    fn call(&self) -> Option<&Cow<'a, str>> {
        match &self.block {
            Block::ToolUse { tool_use_id, .. } => Some(tool_use_id),
            _ => None,
        }
    }

    fn answers(&self) -> Option<&Cow<'a, str>> {
        match &self.block {
            Block::ToolResult { tool_use_id, .. } => Some(tool_use_id),
            _ => None,
        }
    }

    fn id(&mut self) -> Option<&mut Cow<'a, str>> {
        match &mut self.block {
            Block::ToolUse { tool_use_id, .. } | Block::ToolResult { tool_use_id, .. } => Some(tool_use_id),
            _ => None,
        }
    }

    fn result(call: Cow<'a, str>, content: Vec<Self>) -> Self {
        let content = content.into_iter().map(|marked| marked.block).collect();
        Self { block: Block::ToolResult { tool_use_id: call, content, status: None }, cache: None }
    }

    fn into_content(self) -> Vec<Self> {
        match self.block {
            Block::ToolResult { content, .. } => {
                content.into_iter().map(|block| Self { block, cache: None }).collect()
            }
            block => vec![Self { block, cache: self.cache }],
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{
        super::testing::{
            CLAUDE, asking, assistant, call, encoded, messages, result, text, thought, try_encode, user,
        },
        *,
    };

    fn sent(content: Content<'_>) -> (Value, Vec<String>) {
        let request = asking(vec![user(vec![text("see"), content.into()])]);
        let (mut body, lost) = encoded(&request, CLAUDE);
        (body["messages"][0]["content"].as_array_mut().unwrap().drain(1..).next().unwrap_or_default(), lost)
    }

    fn base64<'a>(media_type: &'a str, data: &'a str) -> Media<'a> {
        Media::Base64 { media_type: media_type.into(), data: data.into() }
    }

    fn document<'a>(media: Media<'a>, title: &'a str) -> Content<'a> {
        Content::Document { media, title: Some(title.into()) }
    }

    /// C120
    #[test]
    fn images_have_a_format_and_bytes() {
        let (wrong, _) = sent(Content::Image(base64("image/png", "/9j/4AAQ")));
        let (stored, _) = sent(Content::Image(Media::Url("s3://bucket/a.webp".into())));
        let (_, lost) = sent(Content::Image(base64("image/bmp", "AAAA")));

        assert_eq!(wrong, json!({"image": {"format": "jpeg", "source": {"bytes": "/9j/4AAQ"}}}));
        assert_eq!(
            stored,
            json!({"image": {"format": "webp", "source": {"s3Location": {"uri": "s3://bucket/a.webp"}}}})
        );
        assert_eq!(lost, [IMAGE]);
    }

    /// C121
    #[test]
    fn what_would_have_to_be_fetched_is_refused() {
        for content in [
            Content::Image(Media::Url("https://e.x/a.png".into())),
            document(Media::Url("https://e.x/a.pdf".into()), "t"),
            document(Media::File("file-1".into()), "t"),
        ] {
            let request = asking(vec![user(vec![content.into()])]);

            let error = try_encode(&request, CLAUDE).unwrap_err();

            assert_eq!(error.kind(), Kind::InvalidRequest);
            assert!(matches!(error.param(), Some(IMAGE | FILE)), "{error:?}");
        }
    }

    /// C122
    #[test]
    fn documents_have_a_format_a_name_of_their_own_and_a_text_beside_them() {
        let pdf = || document(base64("application/pdf", "JVBERi0x"), "a_b.pdf").into();
        let plain = document(Media::Text("Hi".into()), "").into();

        let said = messages(vec![user(vec![pdf(), pdf(), plain])]);
        let (_, lost) = sent(document(base64("application/zip", "UEsD"), "t"));

        assert_eq!(
            said[0]["content"],
            json!([
                {"document": {"format": "pdf", "name": "a b pdf", "source": {"bytes": "JVBERi0x"}}},
                {"document": {"format": "pdf", "name": "a b pdf 2", "source": {"bytes": "JVBERi0x"}}},
                {"document": {"format": "txt", "name": "document", "source": {"text": "Hi"}}},
                {"text": "(empty)"}
            ])
        );
        assert_eq!(lost, [FILE]);
    }

    /// C10, C11
    #[test]
    fn blank_texts_are_left_out() {
        let said = messages(vec![
            user(vec![text("a"), text(" \n")]),
            assistant(vec![text(""), call("c", "f", "")]),
            user(vec![result("c", "")]),
        ]);

        assert_eq!(said[0]["content"], json!([{"text": "a"}]));
        assert_eq!(said[1]["content"], json!([{"toolUse": {"toolUseId": "c", "name": "f", "input": {}}}]));
        assert_eq!(said[2]["content"], json!([{"toolResult": {"toolUseId": "c", "content": []}}]));
    }

    /// C27, C28
    #[test]
    fn results_may_be_errors_and_hold_pictures() {
        let picture = Content::Image(base64("image/png", "iVBORw0KGgoA")).into();
        let parts = vec![text("bad"), picture];
        let failed = Content::ToolResult { id: "c".into(), parts, is_error: true };

        let said = messages(vec![
            user(vec![text("a")]),
            assistant(vec![call("c", "f", "{}")]),
            user(vec![failed.into()]),
        ]);

        assert_eq!(
            said[2]["content"][0]["toolResult"],
            json!({"toolUseId": "c", "status": "error", "content": [
                {"text": "bad"}, {"image": {"format": "png", "source": {"bytes": "iVBORw0KGgoA"}}}]})
        );
    }

    /// C66, C68, C69
    #[test]
    fn thoughts_go_back_to_the_family_that_had_them() {
        let turns = || {
            let redacted = || Content::RedactedReasoning("UkVE".into()).into();
            vec![
                user(vec![text("a")]),
                assistant(vec![thought("t", Some("SIG")), redacted(), call("c1", "f", "{}")]),
                user(vec![result("c1", "r")]),
                assistant(vec![
                    thought("", Some("SIG2")),
                    thought("x", None),
                    thought("y", Some("gemini:Z")),
                    text("b"),
                ]),
                user(vec![text("c")]),
            ]
        };

        let claude = messages(turns());
        let (other, _) = encoded(&asking(turns()), "amazon.nova-pro-v1:0");

        assert_eq!(
            claude[1]["content"],
            json!([
                {"reasoningContent": {"reasoningText": {"text": "t", "signature": "SIG"}}},
                {"reasoningContent": {"redactedContent": "UkVE"}},
                {"toolUse": {"toolUseId": "c1", "name": "f", "input": {}}}
            ])
        );
        assert_eq!(
            claude[3]["content"],
            json!([{"reasoningContent": {"reasoningText": {"text": "", "signature": "SIG2"}}}, {"text": "b"}])
        );
        assert!(!other.to_string().contains("reasoningContent"), "{other}");
    }

    #[test]
    fn ids_are_kept_where_they_may_be_sent_and_told_apart_where_not() {
        let id = |id: &str| {
            let said = messages(vec![
                user(vec![text("a")]),
                assistant(vec![call(id, "f", "{}")]),
                user(vec![result(id, "r")]),
            ]);
            let sent = said[1]["content"][0]["toolUse"]["toolUseId"].as_str().unwrap().to_owned();
            assert_eq!(said[2]["content"][0]["toolResult"]["toolUseId"], sent);
            sent
        };

        assert_eq!(id("functions.f:0"), "functions.f:0");
        assert_ne!(id("a b"), id("a/b"));
        assert_eq!(id(&"x".repeat(65)).len(), 64);
        assert_ne!(id(&"x".repeat(65)), id(&"x".repeat(66)));
    }

    /// C5, C6, C16, C22, C30, C31
    #[test]
    fn turns_alternate_and_every_call_is_answered() {
        let said = messages(vec![
            assistant(vec![text("first"), call("c1", "f", "{}"), call("c2", "f", "{}")]),
            user(vec![text("and"), result("c2", "two"), result("gone", "three")]),
            user(vec![text("more")]),
        ]);

        let roles: Vec<_> = said.as_array().unwrap().iter().map(|message| &message["role"]).collect();
        assert_eq!(roles, ["user", "assistant", "user"]);
        assert_eq!(said[0]["content"], json!([{"text": "(empty)"}]));
        assert_eq!(
            said[2]["content"],
            json!([
                {"toolResult": {"toolUseId": "c1", "content": [{"text": "[no result: interrupted]"}]}},
                {"toolResult": {"toolUseId": "c2", "content": [{"text": "two"}]}},
                {"text": "[result of the tool call gone]"}, {"text": "three"},
                {"text": "and"}, {"text": "more"}
            ])
        );
    }

    #[test]
    fn what_others_only_know_is_lost() {
        let (_, lost) = sent(Content::Audio { data: "AAAA".into(), format: "wav".into() });

        assert_eq!(lost, ["messages[].content[].input_audio"]);
    }
}
