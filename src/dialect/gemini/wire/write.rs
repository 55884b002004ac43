//! What is written: requests to providers, answers and chunks for clients.

use std::borrow::Cow;

use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::value::RawValue;

use super::super::logprobs::Likelihoods;

/// The body of `:generateContent`.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Request<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) system_instruction: Option<SystemInstruction<'a>>,
    pub(crate) contents: Vec<Content<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) tools: Vec<Tool<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tool_config: Option<ToolConfig<'a>>,
    pub(crate) generation_config: GenerationConfig<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) service_tier: Option<&'a str>,
    /// Fields of this dialect that the canonical form doesn't know.
    #[serde(flatten, serialize_with = "members")]
    pub(crate) extras: Vec<(&'a str, &'a RawValue)>,
}

fn members<S: Serializer>(members: &[(&str, &RawValue)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(members.iter().copied())
}

/// What stands before the conversation.
#[derive(Debug, Serialize)]
pub(crate) struct SystemInstruction<'a> {
    pub(crate) parts: Vec<Part<'a>>,
}

/// A turn, or the content of an answer.
#[derive(Debug, Serialize)]
pub(crate) struct Content<'a> {
    pub(crate) role: &'static str,
    pub(crate) parts: Vec<Part<'a>>,
}

/// A piece of a turn.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Part<'a> {
    /// One that is known.
    Said(Said<'a>),
    /// One that only this dialect knows, as it came.
    Opaque(&'a RawValue),
}

/// What a part that is known says, and how it is to be taken.
#[derive(Debug)]
pub(crate) struct Said<'a> {
    pub(crate) data: Data<'a>,
    pub(crate) thought: bool,
    pub(crate) thought_signature: Option<Cow<'a, str>>,
}

impl Serialize for Said<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut part = serializer.serialize_map(None)?;
        match &self.data {
            Data::Text(text) => part.serialize_entry("text", text)?,
            Data::Inline(blob) => part.serialize_entry("inlineData", blob)?,
            Data::Stored(file) => part.serialize_entry("fileData", file)?,
            Data::FunctionCall(call) => part.serialize_entry("functionCall", call)?,
            Data::FunctionResponse(response) => part.serialize_entry("functionResponse", response)?,
        }
        if self.thought {
            part.serialize_entry("thought", &true)?;
        }
        if let Some(signature) = &self.thought_signature {
            part.serialize_entry("thoughtSignature", signature)?;
        }
        part.end()
    }
}

/// What a part says.
#[derive(Debug)]
pub(crate) enum Data<'a> {
    Text(Cow<'a, str>),
    Inline(Blob<'a>),
    Stored(FileData<'a>),
    FunctionCall(FunctionCall<'a>),
    FunctionResponse(FunctionResponse<'a>),
}

/// Bytes in base64.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Blob<'a> {
    pub(crate) mime_type: Cow<'a, str>,
    pub(crate) data: &'a str,
}

/// Where bytes are.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct FileData<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) mime_type: Option<&'static str>,
    pub(crate) file_uri: &'a str,
}

/// The model calls a function.
#[derive(Debug, Serialize)]
pub(crate) struct FunctionCall<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<&'a str>,
    pub(crate) name: &'a str,
    pub(crate) args: Cow<'a, RawValue>,
}

/// What a function returned, by its name.
#[derive(Debug, Serialize)]
pub(crate) struct FunctionResponse<'a> {
    pub(crate) name: &'a str,
    pub(crate) response: Response<'a>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) parts: Vec<Part<'a>>,
}

/// What a function returned.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Response<'a> {
    Output(Cow<'a, str>),
    Error(Cow<'a, str>),
}

impl<'a> From<Data<'a>> for Part<'a> {
    fn from(data: Data<'a>) -> Self {
        Self::Said(Said { data, thought: false, thought_signature: None })
    }
}

impl<'a> Part<'a> {
    /// A text that is meant for the other side.
    pub(crate) fn text(text: impl Into<Cow<'a, str>>) -> Self {
        Data::Text(text.into()).into()
    }

    /// What the model thought, with a proof if there is one.
    pub(crate) fn thought(text: impl Into<Cow<'a, str>>, thought_signature: Option<Cow<'a, str>>) -> Self {
        Self::Said(Said { data: Data::Text(text.into()), thought: true, thought_signature })
    }

    /// The part with a signature of its own.
    pub(crate) fn signed(self, signature: Option<Cow<'a, str>>) -> Self {
        match self {
            Self::Said(said) if signature.is_some() => {
                Self::Said(Said { thought_signature: signature, ..said })
            }
            unsigned => unsigned,
        }
    }

    /// Whether the model calls a function with it.
    pub(crate) fn is_call(&self) -> bool {
        matches!(self, Self::Said(Said { data: Data::FunctionCall { .. }, .. }))
    }

    /// Whether it says what a function returned.
    pub(crate) fn is_response(&self) -> bool {
        matches!(self, Self::Said(Said { data: Data::FunctionResponse { .. }, .. }))
    }
}

/// One entry of `tools`.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Tool<'a> {
    #[serde(rename_all = "camelCase")]
    Functions { function_declarations: Vec<Function<'a>> },
    /// A tool that only this dialect knows, as it came.
    Opaque(&'a RawValue),
}

/// A function that may be called.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Function<'a> {
    pub(crate) name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) description: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) parameters_json_schema: Option<Cow<'a, RawValue>>,
}

/// How functions are called.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ToolConfig<'a> {
    pub(crate) function_calling_config: CallingConfig<'a>,
}

/// Which functions must, may or must not be called.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CallingConfig<'a> {
    pub(crate) mode: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) allowed_function_names: Vec<&'a str>,
}

/// How the answer is made.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct GenerationConfig<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) top_p: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) top_k: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) candidate_count: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_output_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) stop_sequences: Vec<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) seed: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) presence_penalty: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) frequency_penalty: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) response_logprobs: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) logprobs: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) response_mime_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) response_json_schema: Option<Cow<'a, RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) thinking_config: Option<ThinkingConfig>,
    /// Fields of this dialect that the canonical form doesn't know.
    #[serde(flatten, serialize_with = "members")]
    pub(crate) extras: Vec<(&'a str, &'a RawValue)>,
}

/// How much to think.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ThinkingConfig {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) include_thoughts: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) thinking_budget: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) thinking_level: Option<&'static str>,
}

/// A whole answer, or a chunk of a stream.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Answer<'a> {
    pub(crate) candidates: Vec<Candidate<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) usage_metadata: Option<Usage>,
    pub(crate) model_version: &'a str,
    pub(crate) response_id: &'a str,
}

/// One answer of several.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Candidate<'a> {
    pub(crate) content: Content<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) finish_reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) finish_message: Option<Cow<'a, str>>,
    pub(crate) index: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) logprobs_result: Option<Likelihoods<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) grounding_metadata: Option<GroundingMetadata>,
}

/// What is cited, and by what.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct GroundingMetadata {
    pub(crate) grounding_chunks: Vec<Chunk>,
    pub(crate) grounding_supports: Vec<Support>,
}

/// What is cited.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Chunk {
    Web(Page),
    RetrievedContext(Page),
}

/// What is known of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub(crate) struct Page {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) uri: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) title: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) text: Option<String>,
}

/// What cites.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Support {
    pub(crate) segment: Segment,
    pub(crate) grounding_chunk_indices: Vec<usize>,
}

/// Some bytes of a part's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Segment {
    #[serde(skip_serializing_if = "is_first")]
    pub(crate) part_index: usize,
    pub(crate) start_index: usize,
    pub(crate) end_index: usize,
}

fn is_first(index: &usize) -> bool {
    *index == 0
}

/// Counts of tokens.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Usage {
    pub(crate) prompt_token_count: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) cached_content_token_count: u64,
    pub(crate) candidates_token_count: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) thoughts_token_count: u64,
    pub(crate) total_token_count: u64,
    /// Only what is sound, if that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) prompt_tokens_details: Option<[Modality; 1]>,
    /// The same of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) candidates_tokens_details: Option<[Modality; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) traffic_type: Option<&'static str>,
}

/// How many of the tokens are of one kind.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Modality {
    pub(crate) modality: &'static str,
    pub(crate) token_count: u64,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}
