//! What is read: requests of clients, answers and events of providers.

use serde::{Deserialize, Serialize, de::MapAccess};
use serde_json::value::RawValue;

use crate::dialect::{object::object, text::Str, text_or::TextOr};

object! {
    /// The body of `POST /v1/messages`.
    Request {
        "model" model: Str<'a>,
        "max_tokens" max_tokens: u64,
        "messages" messages: Vec<Message<'a>>,
        "system" system: TextOr<'a, Vec<Block<'a>>>,
        "stop_sequences" stop_sequences: Vec<Str<'a>>,
        "stream" stream: bool,
        "temperature" temperature: f64,
        "top_p" top_p: f64,
        "top_k" top_k: u64,
        "thinking" thinking: Thinking<'a>,
        "output_config" output_config: OutputConfig<'a>,
        "tools" tools: Vec<Tool<'a>>,
        "tool_choice" tool_choice: ToolChoice<'a>,
        "metadata" metadata: Metadata<'a>,
        "service_tier" service_tier: Str<'a>,
        ..unknown
    }
}

object! {
    /// One entry of `messages`.
    Message {
        "role" role: Str<'a>,
        "content" content: TextOr<'a, Vec<Block<'a>>>,
        ..unknown
    }
}

object! {
    /// The body once more, to copy what only this dialect knows.
    RawRequest {
        "system" system: &'a RawValue,
        "messages" messages: Vec<RawMessage<'a>>,
        "tools" tools: Vec<&'a RawValue>,
    }
}

object! {
    /// One entry of its `messages`.
    RawMessage {
        "content" content: &'a RawValue,
    }
}

object! {
    /// A block of content, of whatever type.
    Block {
        "type" kind: Str<'a>,
        "cache_control" cache_control: CacheControl<'a>,
        "text" text: Str<'a>,
        "citations" citations: &'a RawValue,
        "source" source: &'a RawValue,
        "title" title: &'a RawValue,
        "id" id: Str<'a>,
        "name" name: Str<'a>,
        "input" input: &'a RawValue,
        "tool_use_id" tool_use_id: Str<'a>,
        "content" content: Inner<'a> = inner,
        "is_error" is_error: bool,
        "thinking" thinking: Str<'a>,
        "signature" signature: Str<'a>,
        "data" data: Str<'a>,
        ..unknown
    }
}

object! {
    /// A block inside of a tool's result.
    Piece {
        "type" kind: Str<'a>,
        "cache_control" cache_control: CacheControl<'a>,
        "text" text: Str<'a>,
        "citations" citations: &'a RawValue,
        "source" source: &'a RawValue,
        "title" title: &'a RawValue,
        ..unknown
    }
}

impl<'a> From<Piece<'a>> for Block<'a> {
    fn from(piece: Piece<'a>) -> Self {
        let Piece { kind, cache_control, text, citations, source, title, unknown } = piece;
        Self { kind, cache_control, text, citations, source, title, unknown, ..Self::default() }
    }
}

/// What is inside of a block. A tool's result, which may be long, is read at once if the block has said before
/// that it is one; what is inside of others is mostly not looked at.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Inner<'a> {
    Read(TextOr<'a, Vec<Piece<'a>>>),
    Raw(&'a RawValue),
}

fn inner<'de, A: MapAccess<'de>>(
    block: &Block<'de>,
    members: &mut A,
) -> Result<Option<Inner<'de>>, A::Error> {
    if block.kind.as_deref() == Some("tool_result") {
        return Ok(members.next_value::<Option<_>>()?.map(Inner::Read));
    }
    Ok(members.next_value::<Option<_>>()?.map(Inner::Raw))
}

object! {
    /// What a text cites, of whatever type.
    Citation {
        "type" kind: Str<'a>,
        "cited_text" cited_text: Str<'a>,
        "url" url: Str<'a>,
        "title" title: Str<'a>,
        "encrypted_index" encrypted_index: Str<'a>,
        "source" source: Str<'a>,
        "search_result_index" search_result_index: f64,
        "document_index" document_index: f64,
        "document_title" document_title: Str<'a>,
        "file_id" file_id: Str<'a>,
        "start_char_index" start_char_index: f64,
        "end_char_index" end_char_index: f64,
        "start_page_number" start_page_number: f64,
        "end_page_number" end_page_number: f64,
        "start_block_index" start_block_index: f64,
        "end_block_index" end_block_index: f64,
    }
}

object! {
    /// Where the bytes of an image or a document are.
    Source {
        "type" kind: Str<'a>,
        "media_type" media_type: Str<'a>,
        "data" data: Str<'a>,
        "url" url: Str<'a>,
        "file_id" file_id: Str<'a>,
    }
}

object! {
    /// A mark up to which the prompt is cached.
    CacheControl {
        "type" kind: Str<'a>,
        "ttl" ttl: Str<'a>,
    }
}

object! {
    /// One entry of `tools`.
    Tool {
        "type" kind: Str<'a>,
        "name" name: Str<'a>,
        "description" description: Str<'a>,
        "input_schema" input_schema: &'a RawValue,
        "strict" strict: bool,
        "cache_control" cache_control: CacheControl<'a>,
        ..unknown
    }
}

object! {
    /// Which tools must, may or must not be called.
    ToolChoice {
        "type" kind: Str<'a>,
        "name" name: Str<'a>,
        "disable_parallel_tool_use" disable_parallel_tool_use: bool,
    }
}

object! {
    /// Whether and how to think.
    Thinking {
        "type" kind: Str<'a>,
        "budget_tokens" budget_tokens: u64,
        "display" display: Str<'a>,
    }
}

object! {
    /// The effort and the form of the answer.
    OutputConfig {
        "effort" effort: Str<'a>,
        "format" format: OutputFormat<'a>,
        ..unknown
    }
}

object! {
    /// The form of the answer.
    OutputFormat {
        "type" kind: Str<'a>,
        "schema" schema: &'a RawValue,
    }
}

object! {
    /// Who the end user is.
    Metadata {
        "user_id" user_id: Str<'a>,
        ..unknown
    }
}

/// A whole answer, or the beginning of a streamed one.
#[derive(Debug, Deserialize)]
pub(crate) struct Answer<'a> {
    #[serde(borrow)]
    pub(crate) id: Option<Str<'a>>,
    #[serde(borrow)]
    pub(crate) model: Option<Str<'a>>,
    #[serde(borrow)]
    pub(crate) content: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) stop_reason: Option<Str<'a>>,
    #[serde(borrow)]
    pub(crate) stop_sequence: Option<Str<'a>>,
    #[serde(borrow)]
    pub(crate) stop_details: Option<StopDetails<'a>>,
    #[serde(borrow)]
    pub(crate) usage: Option<&'a RawValue>,
}

/// Why an answer was refused.
#[derive(Debug, Deserialize)]
pub(crate) struct StopDetails<'a> {
    #[serde(borrow)]
    pub(crate) explanation: Option<Str<'a>>,
}

/// The class of service; the counts beside it are read elsewhere.
#[derive(Debug, Deserialize)]
pub(crate) struct Tier<'a> {
    #[serde(borrow)]
    pub(crate) service_tier: Option<Str<'a>>,
}

/// One event of a stream, of whatever type.
#[derive(Debug, Deserialize)]
pub(crate) struct Event<'a> {
    #[serde(borrow, rename = "type")]
    pub(crate) kind: Option<Str<'a>>,
    pub(crate) index: Option<u64>,
    #[serde(borrow)]
    pub(crate) message: Option<Answer<'a>>,
    #[serde(borrow)]
    pub(crate) content_block: Option<Block<'a>>,
    #[serde(borrow)]
    pub(crate) delta: Option<Delta<'a>>,
    #[serde(borrow)]
    pub(crate) usage: Option<&'a RawValue>,
}

/// More of a block, or the end of the message.
#[derive(Debug, Deserialize)]
pub(crate) struct Delta<'a> {
    #[serde(borrow, rename = "type")]
    pub(crate) kind: Option<Str<'a>>,
    #[serde(borrow)]
    pub(crate) text: Option<Str<'a>>,
    #[serde(borrow)]
    pub(crate) partial_json: Option<Str<'a>>,
    #[serde(borrow)]
    pub(crate) thinking: Option<Str<'a>>,
    #[serde(borrow)]
    pub(crate) signature: Option<Str<'a>>,
    #[serde(borrow)]
    pub(crate) citation: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) stop_reason: Option<Str<'a>>,
    #[serde(borrow)]
    pub(crate) stop_sequence: Option<Str<'a>>,
    #[serde(borrow)]
    pub(crate) stop_details: Option<StopDetails<'a>>,
}
