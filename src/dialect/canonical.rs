//! The form that every dialect is translated through.
//!
//! It is a superset with blocks: turns made of parts, tools, sampling, reasoning, a format. What only
//! one dialect knows travels as an [`Extra`] or as [`Content::Opaque`], and is reported as lost where
//! it can't go on. Texts are borrowed from the bytes they were read from where that is possible.

use std::borrow::Cow;

use serde_json::value::RawValue;

pub use super::citation::{Citation, Place, Source};
use crate::Tokens;

/// Text, borrowed if the JSON string had no escapes.
pub type Text<'a> = Cow<'a, str>;

/// What a client asks for.
#[derive(Clone, Debug, Default)]
pub struct Request<'a> {
    /// Instructions that stand before the conversation.
    pub system: Vec<Part<'a>>,
    /// The conversation.
    pub turns: Vec<Turn<'a>>,
    /// The tools the model may call.
    pub tools: Vec<Tool<'a>>,
    /// Which of them it must, may or must not call.
    pub tool_choice: Option<ToolChoice<'a>>,
    /// Whether several tools may be called at once.
    pub parallel_tools: Option<bool>,
    /// The cap on the tokens of the answer, reasoning included.
    pub max_output: Option<u64>,
    /// The tokens of output that are reserved where the client sets no cap: an encoder that has to set one goes
    /// no higher.
    pub assumed_output: Option<u64>,
    /// Sampling temperature, 0 to 2.
    pub temperature: Option<f64>,
    /// Nucleus sampling.
    pub top_p: Option<f64>,
    /// Sampling from the best `k` only.
    pub top_k: Option<u64>,
    /// −2 to 2.
    pub presence_penalty: Option<f64>,
    /// −2 to 2.
    pub frequency_penalty: Option<f64>,
    /// Best effort at the same answer twice.
    pub seed: Option<i64>,
    /// Texts that end the answer.
    pub stop: Vec<Text<'a>>,
    /// How many answers; `None` is one.
    pub choices: Option<u32>,
    /// How much to think before answering.
    pub reasoning: Option<Reasoning>,
    /// The form of the answer.
    pub format: Option<Format<'a>>,
    /// Who the end user is, opaquely.
    pub user: Option<Text<'a>>,
    /// The class of service, in the words of OpenAI: `auto`, `default`, `flex`, `priority`.
    pub service_tier: Option<Text<'a>>,
    /// Whether the answer is a stream.
    pub stream: bool,
    /// Fields that only the client's dialect knows, with their values.
    pub extras: Vec<Extra<'a>>,
}

/// A field that only one dialect knows.
#[derive(Clone, Debug)]
pub struct Extra<'a> {
    /// Its path in the client's request, such as `logit_bias` or `messages[].name`.
    pub field: Text<'a>,
    /// Its value.
    pub value: Cow<'a, RawValue>,
}

/// Who speaks in a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The user; results of tools come in its turns too.
    User,
    /// The model.
    Assistant,
    /// The operator, in the middle of the conversation.
    System,
}

/// One turn of the conversation.
#[derive(Clone, Debug)]
pub struct Turn<'a> {
    /// Who speaks.
    pub role: Role,
    /// What is said, in order.
    pub parts: Vec<Part<'a>>,
}

/// A piece of a turn or of an answer.
#[derive(Clone, Debug)]
pub struct Part<'a> {
    /// What it is.
    pub content: Content<'a>,
    /// Whether the prompt is to be cached up to here, and how long.
    pub cache: Option<Cache>,
    /// How closely a picture is to be looked at, in the words of OpenAI: `low`, `high`, `auto`.
    pub detail: Option<Text<'a>>,
    /// Where a text comes from.
    pub citations: Vec<Citation<'a>>,
}

impl<'a> From<Content<'a>> for Part<'a> {
    fn from(content: Content<'a>) -> Self {
        Self { content, cache: None, detail: None, citations: Vec::new() }
    }
}

/// How long a provider is asked to keep a prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cache {
    /// The provider's default, five minutes at Anthropic.
    Default,
    /// One hour.
    Hour,
}

/// What a part is.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Content<'a> {
    /// Plain text.
    Text(Text<'a>),
    /// A picture.
    Image(Media<'a>),
    /// A document, such as a PDF.
    Document {
        /// Its bytes, or where they are.
        media: Media<'a>,
        /// Its name.
        title: Option<Text<'a>>,
    },
    /// A recording.
    Audio {
        /// The bytes in base64.
        data: Text<'a>,
        /// `wav` or `mp3`.
        format: Text<'a>,
    },
    /// The model calls a tool.
    ToolCall(ToolCall<'a>),
    /// What a tool returned.
    ToolResult {
        /// The call it answers.
        id: Text<'a>,
        /// What came out.
        parts: Vec<Part<'a>>,
        /// Whether the tool failed.
        is_error: bool,
    },
    /// What the model thought.
    Reasoning {
        /// The text, possibly empty.
        text: Text<'a>,
        /// The provider's proof that the text is its own.
        signature: Option<Text<'a>>,
    },
    /// What the model thought, readable for its provider only.
    RedactedReasoning(Text<'a>),
    /// The model declines to answer.
    Refusal(Text<'a>),
    /// Something that only one dialect knows.
    Opaque {
        /// The [id](super::Dialect::id) of that dialect.
        dialect: &'static str,
        /// Its type there, for the report of what was lost.
        kind: Text<'a>,
        /// The whole of it.
        raw: Cow<'a, RawValue>,
    },
}

/// The bytes of a picture or document, or where they are.
#[derive(Clone, Debug)]
pub enum Media<'a> {
    /// At a public address.
    Url(Text<'a>),
    /// Here, in base64.
    Base64 {
        /// Such as `image/png`.
        media_type: Text<'a>,
        /// The bytes.
        data: Text<'a>,
    },
    /// Plain text, where a document is expected.
    Text(Text<'a>),
    /// Stored at the provider before.
    File(Text<'a>),
}

/// The model calls a tool.
#[derive(Clone, Debug)]
pub struct ToolCall<'a> {
    /// Names the call, for the result.
    pub id: Text<'a>,
    /// The tool.
    pub name: Text<'a>,
    /// JSON as the model wrote it, not necessarily valid; or free text for such a tool.
    pub arguments: Text<'a>,
    /// Whether the tool takes free text.
    pub is_free_text: bool,
}

/// A tool the model may call.
#[derive(Clone, Debug)]
pub struct Tool<'a> {
    /// Its name.
    pub name: Text<'a>,
    /// What it is for.
    pub description: Option<Text<'a>>,
    /// What it takes.
    pub input: ToolInput<'a>,
    /// Whether the model must keep to the schema.
    pub strict: Option<bool>,
    /// Whether the prompt is to be cached up to here.
    pub cache: Option<Cache>,
}

impl Tool<'_> {
    /// Whether every dialect has a word for it.
    pub(crate) fn is_function(&self) -> bool {
        !matches!(self.input, ToolInput::Opaque { .. })
    }
}

/// What a tool takes.
#[derive(Clone, Debug)]
pub enum ToolInput<'a> {
    /// An object of this JSON Schema; `None` takes nothing.
    Schema(Option<Cow<'a, RawValue>>),
    /// Free text, with the format in the words of OpenAI if there is one.
    Text(Option<Cow<'a, RawValue>>),
    /// A tool that only one dialect knows, such as Anthropic's web search.
    Opaque {
        /// The [id](super::Dialect::id) of that dialect.
        dialect: &'static str,
        /// The whole tool.
        raw: Cow<'a, RawValue>,
    },
}

/// Which tools the model must, may or must not call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToolChoice<'a> {
    /// As it likes.
    Auto,
    /// None.
    None,
    /// At least one.
    Required,
    /// This one.
    Named(Text<'a>),
    /// Only some of them.
    Allowed {
        /// Whether at least one of them must be called.
        required: bool,
        /// Their names.
        names: Vec<Text<'a>>,
    },
}

/// How much the model is to think.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reasoning {
    /// How hard, if said so.
    pub effort: Option<Effort>,
    /// For how many tokens at most, if said so.
    pub budget: Option<u64>,
    /// Whether the client wants to read it; `None` leaves it to the provider.
    pub visible: Option<bool>,
}

/// How hard the model is to think.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effort {
    /// Not at all.
    None,
    /// As little as possible.
    Minimal,
    /// A little.
    Low,
    /// As usual.
    Medium,
    /// A lot.
    High,
    /// More than a lot.
    XHigh,
    /// As much as possible.
    Max,
}

/// The form of the answer.
#[derive(Clone, Debug)]
pub enum Format<'a> {
    /// Any JSON object.
    Json,
    /// JSON of a schema.
    Schema {
        /// A name for it.
        name: Option<Text<'a>>,
        /// What it is for.
        description: Option<Text<'a>>,
        /// The JSON Schema.
        schema: Cow<'a, RawValue>,
        /// Whether the model must keep to it.
        strict: Option<bool>,
    },
}

/// A whole answer.
#[derive(Clone, Debug, Default)]
pub struct Answer<'a> {
    /// The provider's name for it.
    pub id: Text<'a>,
    /// The model that answered.
    pub model: Text<'a>,
    /// When, in seconds of the Unix epoch.
    pub created: Option<u64>,
    /// The answers; one, unless more were asked for.
    pub choices: Vec<Choice<'a>>,
    /// What it used.
    pub tokens: Tokens,
    /// The class of service it got, in the words of OpenAI.
    pub service_tier: Option<Text<'a>>,
}

/// One answer of several.
#[derive(Clone, Debug)]
pub struct Choice<'a> {
    /// Which one.
    pub index: u32,
    /// What is said, in order.
    pub parts: Vec<Part<'a>>,
    /// Why it ended.
    pub finish: Finish<'a>,
    /// The likelihoods of its tokens, in the form of OpenAI.
    pub logprobs: Option<Cow<'a, RawValue>>,
}

/// Why an answer ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finish<'a> {
    /// It was finished.
    Stop,
    /// One of the client's stop texts came up.
    StopSequence(Text<'a>),
    /// The cap on tokens, or the context, was reached.
    Length,
    /// The model waits for tools.
    ToolCalls,
    /// A policy cut it off; with the explanation, if there is one.
    Refused(Option<Text<'a>>),
}

/// One step of a streamed answer.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// The answer begins; comes first, and once.
    Start {
        /// The provider's name for it.
        id: Text<'a>,
        /// The model that answers.
        model: Text<'a>,
        /// When, in seconds of the Unix epoch.
        created: Option<u64>,
    },
    /// More text.
    Text {
        /// Which of several answers.
        choice: u32,
        /// The piece.
        text: Text<'a>,
    },
    /// More of the model's thoughts.
    Reasoning {
        /// Which of several answers.
        choice: u32,
        /// The piece.
        text: Text<'a>,
    },
    /// The provider's proof of the thoughts so far.
    Signature {
        /// Which of several answers.
        choice: u32,
        /// The whole proof.
        signature: Text<'a>,
    },
    /// Thoughts that only the provider can read.
    RedactedReasoning {
        /// Which of several answers.
        choice: u32,
        /// The whole of them.
        data: Text<'a>,
    },
    /// A piece of the model's refusal.
    Refusal {
        /// Which of several answers.
        choice: u32,
        /// The piece.
        text: Text<'a>,
    },
    /// The model begins to call a tool.
    ToolCall {
        /// Which of several answers.
        choice: u32,
        /// Which of several calls, counted from 0 in the order in which they begin.
        call: u32,
        /// Names the call, for the result.
        id: Text<'a>,
        /// The tool.
        name: Text<'a>,
        /// Whether the tool takes free text.
        is_free_text: bool,
    },
    /// More of a call's arguments; calls may take turns.
    Arguments {
        /// Which of several answers.
        choice: u32,
        /// Which of several calls.
        call: u32,
        /// The piece of JSON or of free text.
        fragment: Text<'a>,
    },
    /// Some of the text comes from somewhere; the text has come before.
    Citation {
        /// Which of several answers.
        choice: u32,
        /// Where from.
        citation: Citation<'a>,
    },
    /// The likelihoods of some tokens, in the form of OpenAI.
    Logprobs {
        /// Which of several answers.
        choice: u32,
        /// The whole `logprobs` object of a chunk.
        raw: Cow<'a, RawValue>,
    },
    /// What was used so far; the last one is the final count.
    Usage(Tokens),
    /// One answer has ended.
    Finish {
        /// Which of several answers.
        choice: u32,
        /// Why.
        finish: Finish<'a>,
    },
    /// Nothing, to keep the connection alive.
    Ping,
    /// The stream has ended properly; comes last, and once.
    End,
}

impl Event<'_> {
    /// The same, for whoever keeps it longer than what it was read from.
    pub(crate) fn into_owned(self) -> Event<'static> {
        let owned = |text: Text<'_>| Text::Owned(text.into_owned());
        match self {
            Self::Start { id, model, created } => {
                Event::Start { id: owned(id), model: owned(model), created }
            }
            Self::Text { choice, text } => Event::Text { choice, text: owned(text) },
            Self::Reasoning { choice, text } => Event::Reasoning { choice, text: owned(text) },
            Self::Signature { choice, signature } => Event::Signature { choice, signature: owned(signature) },
            Self::RedactedReasoning { choice, data } => {
                Event::RedactedReasoning { choice, data: owned(data) }
            }
            Self::Refusal { choice, text } => Event::Refusal { choice, text: owned(text) },
            Self::ToolCall { choice, call, id, name, is_free_text } => {
                Event::ToolCall { choice, call, id: owned(id), name: owned(name), is_free_text }
            }
            Self::Arguments { choice, call, fragment } => {
                Event::Arguments { choice, call, fragment: owned(fragment) }
            }
            Self::Citation { choice, citation } => {
                Event::Citation { choice, citation: citation.into_owned() }
            }
            Self::Logprobs { choice, raw } => Event::Logprobs { choice, raw: Cow::Owned(raw.into_owned()) },
            Self::Usage(tokens) => Event::Usage(tokens),
            Self::Finish { choice, finish } => Event::Finish { choice, finish: finish.into_owned() },
            Self::Ping => Event::Ping,
            Self::End => Event::End,
        }
    }
}

impl Finish<'_> {
    /// The same, for whoever keeps it longer than what it was read from.
    pub(crate) fn into_owned(self) -> Finish<'static> {
        match self {
            Self::Stop => Finish::Stop,
            Self::StopSequence(text) => Finish::StopSequence(Text::Owned(text.into_owned())),
            Self::Length => Finish::Length,
            Self::ToolCalls => Finish::ToolCalls,
            Self::Refused(text) => Finish::Refused(text.map(|text| Text::Owned(text.into_owned()))),
        }
    }
}
