//! The bodies and events of responses as OpenAI documents them. Nothing but this dialect's codec knows
//! them.
//!
//! Source: OpenAI's API description, `CreateResponse`, `Response` and `ResponseStreamEvent`.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use crate::dialect::{canonical::Text, object::object, text::Str, text_or::TextOr};

object! {
    /// A request, read.
    Request {
        "model" model: Str<'a>,
        "input" input: TextOr<'a, Vec<&'a RawValue>>,
        "instructions" instructions: Str<'a>,
        "max_output_tokens" max_output_tokens: u64,
        "temperature" temperature: f64,
        "top_p" top_p: f64,
        "tools" tools: Vec<&'a RawValue>,
        "tool_choice" tool_choice: TextOr<'a, ToolChoice<'a>>,
        "parallel_tool_calls" parallel_tool_calls: bool,
        "text" text: TextConfig<'a>,
        "reasoning" reasoning: Reasoning<'a>,
        "include" include: Vec<Str<'a>>,
        "stream" stream: bool,
        "safety_identifier" safety_identifier: Str<'a>,
        "user" user: Str<'a>,
        "service_tier" service_tier: Str<'a>,
        "background" background: bool,
        "previous_response_id" previous_response_id: &'a RawValue,
        "conversation" conversation: &'a RawValue,
        "prompt" prompt: &'a RawValue,
        ..unknown
    }
}

/// A request, written.
#[derive(Debug, Serialize)]
pub(crate) struct Asked<'a> {
    pub(crate) model: &'a str,
    pub(crate) input: Vec<Entry<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_output_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) top_p: Option<f64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) tools: Vec<Tool<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tool_choice: Option<TextOr<'a, ToolChoice<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) parallel_tool_calls: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) text: Option<TextConfig<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reasoning: Option<Reasoning<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) include: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) safety_identifier: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) service_tier: Option<&'a str>,
    pub(crate) store: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) stream: bool,
    /// Fields that go on as they came.
    #[serde(flatten, serialize_with = "members")]
    pub(crate) extras: Vec<(&'a str, &'a RawValue)>,
}

fn members<S: serde::Serializer>(members: &[(&str, &RawValue)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(members.iter().copied())
}

/// An entry of `input`, written.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Entry<'a> {
    /// An item that is known.
    Item(Box<Item<'a>>),
    /// One that goes on as it came.
    Opaque(&'a RawValue),
}

object! {
    /// An item of a conversation or of an answer; which members it has depends on its type.
    Item {
        "type" kind: Str<'a>,
        "id" id: Str<'a>,
        "status" status: Str<'a>,
        "role" role: Str<'a>,
        "phase" phase: &'a RawValue,
        "content" content: TextOr<'a, Vec<Part<'a>>>,
        "call_id" call_id: Str<'a>,
        "namespace" namespace: Str<'a>,
        "name" name: Str<'a>,
        "arguments" arguments: Str<'a>,
        "input" input: Str<'a>,
        "output" output: TextOr<'a, Vec<Part<'a>>>,
        "summary" summary: Vec<Part<'a>>,
        "encrypted_content" encrypted_content: Str<'a>,
        ..unknown
    }
}

object! {
    /// A piece of a message, of a tool's output or of thoughts.
    Part {
        "type" kind: Str<'a>,
        "text" text: Str<'a>,
        "refusal" refusal: Str<'a>,
        "image_url" image_url: Str<'a>,
        "file_id" file_id: Str<'a>,
        "file_data" file_data: Str<'a>,
        "file_url" file_url: Str<'a>,
        "filename" filename: Str<'a>,
        "detail" detail: Str<'a>,
        "annotations" annotations: Annotations<'a>,
        "logprobs" logprobs: Vec<&'a RawValue>,
        "prompt_cache_breakpoint" prompt_cache_breakpoint: CacheMark<'a>,
        ..unknown
    }
}

/// What a text cites, as it is read or as it is written.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Annotations<'a> {
    /// The whole list.
    Read(&'a RawValue),
    /// One by one.
    Written(Vec<Cow<'a, RawValue>>),
}

impl<'de: 'a, 'a> Deserialize<'de> for Annotations<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <&RawValue>::deserialize(deserializer).map(Self::Read)
    }
}

object! {
    /// A mark up to which the prompt is to be cached.
    CacheMark {
        "ttl" ttl: Str<'a>,
    }
}

object! {
    /// A tool, or a group of them.
    Tool {
        "type" kind: Str<'a>,
        "name" name: Str<'a>,
        "description" description: Str<'a>,
        "parameters" parameters: &'a RawValue,
        "strict" strict: bool,
        "format" format: TextFormat<'a>,
        "tools" tools: Vec<&'a RawValue>,
        ..unknown
    }
}

object! {
    /// What a tool that takes free text wants it to look like.
    TextFormat {
        "type" kind: Str<'a>,
        "syntax" syntax: Str<'a>,
        "definition" definition: Str<'a>,
        // Where chat completions have the two above.
        "grammar" grammar: Grammar<'a>,
    }
}

object! {
    /// A grammar of chat completions.
    Grammar {
        "syntax" syntax: Str<'a>,
        "definition" definition: Str<'a>,
    }
}

object! {
    /// Which tools may or must be called, if it is not one word.
    ToolChoice {
        "type" kind: Str<'a>,
        "name" name: Str<'a>,
        "namespace" namespace: Str<'a>,
        "mode" mode: Str<'a>,
        "tools" tools: Vec<ToolChoice<'a>>,
    }
}

object! {
    /// The form of the answer's text.
    TextConfig {
        "format" format: Format<'a>,
        "verbosity" verbosity: &'a RawValue,
        ..unknown
    }
}

object! {
    /// The form of the answer.
    Format {
        "type" kind: Str<'a>,
        "name" name: Str<'a>,
        "description" description: Str<'a>,
        "schema" schema: &'a RawValue,
        "strict" strict: bool,
    }
}

object! {
    /// How much to think, and whether to show it.
    Reasoning {
        "effort" effort: Str<'a>,
        "summary" summary: Str<'a>,
        // The name it had first.
        "generate_summary" generate_summary: Str<'a>,
        ..unknown
    }
}

object! {
    /// An answer, read.
    Response {
        "id" id: Str<'a>,
        "created_at" created_at: f64,
        "model" model: Str<'a>,
        "status" status: Str<'a>,
        "incomplete_details" incomplete_details: IncompleteDetails<'a>,
        "error" error: &'a RawValue,
        "output" output: Vec<&'a RawValue>,
        "usage" usage: &'a RawValue,
        "service_tier" service_tier: Str<'a>,
    }
}

object! {
    /// Why an answer isn't whole.
    IncompleteDetails {
        "reason" reason: Str<'a>,
    }
}

object! {
    /// An event of a stream, read; which members it has depends on its type.
    Event {
        "type" kind: Str<'a>,
        "response" response: Response<'a>,
        "output_index" output_index: u64,
        "item" item: &'a RawValue,
        "delta" delta: &'a RawValue,
        "text" text: &'a RawValue,
        "refusal" refusal: &'a RawValue,
        "arguments" arguments: &'a RawValue,
        "input" input: &'a RawValue,
        "logprobs" logprobs: &'a RawValue,
        "content_index" content_index: u64,
        "annotation" annotation: &'a RawValue,
    }
}

impl<'a> Part<'a> {
    /// A text of this type.
    pub(crate) fn text(kind: &'static str, text: &'a str) -> Self {
        Self { kind: Some(kind.into()), text: Some(text.into()), ..Self::default() }
    }

    /// What the model says, with the members that its parts must have.
    pub(crate) fn output(text: &'a str) -> Self {
        Self { annotations: Some(Annotations::Written(Vec::new())), ..Self::text("output_text", text) }
    }

    /// The same with what it cites.
    pub(crate) fn cited(text: &'a str, annotations: Vec<Cow<'a, RawValue>>) -> Self {
        Self { annotations: Some(Annotations::Written(annotations)), ..Self::text("output_text", text) }
    }

    /// That the model declines.
    pub(crate) fn refusal(text: &'a str) -> Self {
        Self { kind: Some("refusal".into()), refusal: Some(text.into()), ..Self::default() }
    }
}

/// Parts the name of a tool in a namespace from that of the namespace; no real name has it.
const SEPARATOR: char = '\u{1f}';

/// The canonical name of a tool that may be in a namespace.
pub(crate) fn qualified<'a>(namespace: Option<Str<'a>>, name: Str<'a>) -> Text<'a> {
    match namespace.filter(|namespace| !namespace.is_empty()) {
        Some(namespace) => format!("{}{SEPARATOR}{}", &*namespace, &*name).into(),
        None => name.into(),
    }
}

/// The namespace, if there is one, and the name in it.
pub(crate) fn unqualified(name: &str) -> (Option<&str>, &str) {
    name.split_once(SEPARATOR).map_or((None, name), |(namespace, name)| (Some(namespace), name))
}
