//! What is read: Bedrock's answers and events.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::dialect::{object::object, text::Str};

object! {
    /// The answer of Converse.
    Answer {
        "output" output: Output<'a>,
        "stopReason" stop_reason: Str<'a>,
        "usage" usage: &'a RawValue,
        "serviceTier" service_tier: ServiceTier<'a>,
        "additionalModelResponseFields" fields: ModelFields<'a>,
    }
}

object! {
    /// What the model has put out.
    Output {
        "message" message: Message<'a>,
    }
}

object! {
    /// What the model said.
    Message {
        "content" content: Vec<Block<'a>>,
    }
}

object! {
    /// A block of content: one of these.
    Block {
        "text" text: Str<'a>,
        "toolUse" tool_use: ToolUse<'a>,
        "reasoningContent" reasoning: Reasoning<'a>,
        "citationsContent" citations: Cited<'a>,
    }
}

object! {
    /// A call of a tool.
    ToolUse {
        "toolUseId" id: Str<'a>,
        "name" name: Str<'a>,
        "input" input: &'a RawValue,
    }
}

object! {
    /// What the model thought: one of these.
    Reasoning {
        "reasoningText" text: Thought<'a>,
        "redactedContent" redacted: Str<'a>,
    }
}

object! {
    /// A thought and its proof.
    Thought {
        "text" text: Str<'a>,
        "signature" signature: Str<'a>,
    }
}

object! {
    /// Text with its sources.
    Cited {
        "content" content: Vec<CitedText<'a>>,
        "citations" citations: Vec<&'a RawValue>,
    }
}

object! {
    /// A source of a text.
    Citation {
        "title" title: Str<'a>,
        "source" source: Str<'a>,
        "sourceContent" content: Vec<CitedText<'a>>,
        "location" location: Location<'a>,
    }
}

object! {
    /// Where it is: one of these.
    Location {
        "web" web: Web<'a>,
        "documentChar" characters: Range,
        "documentPage" pages: Range,
        "documentChunk" chunks: Range,
        "searchResultLocation" search_result: Range,
    }
}

object! {
    /// A page of the web.
    Web {
        "url" url: Str<'a>,
    }
}

/// A part of a document, or of a search result, which has a number.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Range {
    #[serde(alias = "searchResultIndex")]
    pub(crate) document_index: Option<f64>,
    pub(crate) start: Option<f64>,
    pub(crate) end: Option<f64>,
}

object! {
    /// A piece of such text.
    CitedText {
        "text" text: Str<'a>,
    }
}

object! {
    /// The class of service.
    ServiceTier {
        "type" kind: Str<'a>,
    }
}

object! {
    /// What only some models say.
    ModelFields {
        "stop_sequence" stop_sequence: Str<'a>,
    }
}

object! {
    /// The payload of any event of ConverseStream.
    Event {
        "contentBlockIndex" index: u64,
        "start" start: Start<'a>,
        "delta" delta: Delta<'a>,
        "stopReason" stop_reason: Str<'a>,
        "additionalModelResponseFields" fields: ModelFields<'a>,
        "usage" usage: &'a RawValue,
    }
}

object! {
    /// How a block begins.
    Start {
        "toolUse" tool_use: ToolUse<'a>,
    }
}

object! {
    /// More of a block: one of these.
    Delta {
        "text" text: Str<'a>,
        "toolUse" tool_use: InputDelta<'a>,
        "reasoningContent" reasoning: ReasoningDelta<'a>,
        "citation" citation: &'a RawValue,
    }
}

object! {
    /// More of a call's arguments.
    InputDelta {
        "input" input: Str<'a>,
    }
}

object! {
    /// More of the model's thoughts: one of these.
    ReasoningDelta {
        "text" text: Str<'a>,
        "signature" signature: Str<'a>,
        "redactedContent" redacted: Str<'a>,
    }
}
