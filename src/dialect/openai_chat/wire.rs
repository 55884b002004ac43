//! The bodies of chat completions as OpenAI documents them, with what compatible servers and clients
//! are known to add. Nothing but this dialect's codec knows them.
//!
//! Source: OpenAI's API description, `CreateChatCompletionRequest` and the answers to it.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::dialect::{canonical::Text, object::object, schema::ObjectWriter, text::Str, text_or::TextOr};

/// Content of a message: text, parts, or an explicit null.
pub(crate) type MessageContent<'a> = TextOr<'a, Vec<ContentPart<'a>>>;

object! {
    /// A request.
    Request {
        "model" model: Str<'a>,
        "messages" messages: Vec<Message<'a>>,
        "max_completion_tokens" max_completion_tokens: u64,
        "max_tokens" max_tokens: u64,
        "temperature" temperature: f64,
        "top_p" top_p: f64,
        // Not OpenAI's, but known to many servers and clients.
        "top_k" top_k: u64,
        "n" n: u32,
        "stop" stop: TextOr<'a, Vec<Str<'a>>>,
        "presence_penalty" presence_penalty: f64,
        "frequency_penalty" frequency_penalty: f64,
        "seed" seed: i64,
        "logprobs" logprobs: &'a RawValue,
        "top_logprobs" top_logprobs: &'a RawValue,
        "tools" tools: Vec<Tool<'a>>,
        "tool_choice" tool_choice: TextOr<'a, ToolChoice<'a>>,
        "parallel_tool_calls" parallel_tool_calls: bool,
        "functions" functions: Vec<Function<'a>>,
        "function_call" function_call: TextOr<'a, Named<'a>>,
        "response_format" response_format: ResponseFormat<'a>,
        "reasoning_effort" reasoning_effort: Str<'a>,
        "user" user: Str<'a>,
        "safety_identifier" safety_identifier: Str<'a>,
        "service_tier" service_tier: Str<'a>,
        "stream" stream: bool,
        "stream_options" stream_options: StreamOptions<'a>,
        ..unknown
    }
}

object! {
    /// What a stream is to contain.
    StreamOptions {
        "include_usage" include_usage: bool,
        ..unknown
    }
}

object! {
    /// One message of the conversation; which members it has depends on its role.
    Message {
        "role" role: Str<'a>,
        "content" content: MessageContent<'a>,
        "refusal" refusal: Str<'a>,
        "tool_calls" tool_calls: Vec<ToolCall<'a>>,
        "function_call" function_call: CalledFunction<'a>,
        "tool_call_id" tool_call_id: Str<'a>,
        "name" name: Str<'a>,
        "reasoning_content" reasoning_content: Str<'a>,
        "reasoning" reasoning: Str<'a>,
        "reasoning_details" reasoning_details: Vec<ReasoningDetail<'a>>,
        "thinking_blocks" thinking_blocks: Vec<ThinkingBlock<'a>>,
        "annotations" annotations: &'a RawValue,
        "cache_control" cache_control: CacheControl<'a>,
        ..unknown
    }
}

object! {
    /// A piece of a message.
    ContentPart {
        "type" kind: Str<'a>,
        "text" text: Str<'a>,
        "image_url" image_url: TextOr<'a, ImageUrl<'a>>,
        "input_audio" input_audio: InputAudio<'a>,
        "file" file: File<'a>,
        "refusal" refusal: Str<'a>,
        "thinking" thinking: MessageContent<'a>,
        "signature" signature: Str<'a>,
        "cache_control" cache_control: CacheControl<'a>,
        "prompt_cache_breakpoint" prompt_cache_breakpoint: CacheControl<'a>,
        ..unknown
    }
}

object! {
    /// Where a picture is: an address, or a data URL.
    ImageUrl {
        "url" url: Str<'a>,
        "detail" detail: Str<'a>,
    }
}

object! {
    /// A recording.
    InputAudio {
        "data" data: Str<'a>,
        "format" format: Str<'a>,
    }
}

object! {
    /// A document: a data URL, or the name of a stored one.
    File {
        "file_data" file_data: Str<'a>,
        "file_id" file_id: Str<'a>,
        "filename" filename: Str<'a>,
    }
}

object! {
    /// A mark up to which the prompt is to be cached, as Anthropic (`ttl` of `5m` or `1h`) and OpenAI
    /// (`30m` or `12h`) have it.
    CacheControl {
        "type" kind: Str<'a>,
        "ttl" ttl: Str<'a>,
    }
}

object! {
    /// A call of a tool, in a request or a whole answer.
    ToolCall {
        "id" id: Str<'a>,
        "type" kind: Str<'a>,
        "function" function: CalledFunction<'a>,
        "custom" custom: CalledCustom<'a>,
        // Google's place for its proof of the thoughts before a call, and LiteLLM's.
        "extra_content" extra_content: ExtraContent<'a>,
        "provider_specific_fields" provider_specific_fields: Proven<'a>,
    }
}

object! {
    /// What Google adds to a call.
    ExtraContent {
        "google" google: Proven<'a>,
    }
}

object! {
    /// A proof of thoughts.
    Proven {
        "thought_signature" thought_signature: Str<'a>,
    }
}

object! {
    /// A function and what it is called with.
    CalledFunction {
        "name" name: Str<'a>,
        "arguments" arguments: Arguments<'a>,
    }
}

object! {
    /// A tool for free text and what it is called with.
    CalledCustom {
        "name" name: Str<'a>,
        "input" input: Str<'a>,
    }
}

object! {
    /// A piece of reasoning, as LiteLLM and its clients carry Anthropic's blocks.
    ThinkingBlock {
        "index" index: u32,
        "type" kind: Str<'a>,
        "thinking" thinking: Str<'a>,
        "signature" signature: Str<'a>,
        "data" data: Str<'a>,
    }
}

object! {
    /// A piece of reasoning, as OpenRouter has it.
    ReasoningDetail {
        "type" kind: Str<'a>,
        "text" text: Str<'a>,
        "summary" summary: Str<'a>,
        "signature" signature: Str<'a>,
        "data" data: Str<'a>,
        "format" format: Str<'a>,
    }
}

object! {
    /// A tool.
    Tool {
        "type" kind: Str<'a>,
        "function" function: Function<'a>,
        "custom" custom: Custom<'a>,
        "cache_control" cache_control: CacheControl<'a>,
        ..unknown
    }
}

object! {
    /// A function that takes JSON.
    Function {
        "name" name: Str<'a>,
        "description" description: Str<'a>,
        "parameters" parameters: &'a RawValue,
        "strict" strict: bool,
        "cache_control" cache_control: CacheControl<'a>,
        ..unknown
    }
}

object! {
    /// A tool that takes free text.
    Custom {
        "name" name: Str<'a>,
        "description" description: Str<'a>,
        "format" format: &'a RawValue,
    }
}

object! {
    /// Which tools may or must be called, if it is not one word.
    ToolChoice {
        "type" kind: Str<'a>,
        "name" name: Str<'a>,
        "function" function: Named<'a>,
        "custom" custom: Named<'a>,
        "allowed_tools" allowed_tools: AllowedTools<'a>,
    }
}

object! {
    /// The tools that may be called.
    AllowedTools {
        "mode" mode: Str<'a>,
        "tools" tools: Vec<ToolChoice<'a>>,
    }
}

object! {
    /// Something by its name.
    Named {
        "name" name: Str<'a>,
    }
}

object! {
    /// The form of the answer.
    ResponseFormat {
        "type" kind: Str<'a>,
        "json_schema" json_schema: JsonSchema<'a>,
    }
}

object! {
    /// A schema for the answer.
    JsonSchema {
        "name" name: Str<'a>,
        "description" description: Str<'a>,
        "schema" schema: &'a RawValue,
        "strict" strict: bool,
    }
}

object! {
    /// A whole answer, read.
    Completion {
        "id" id: Str<'a>,
        "model" model: Str<'a>,
        "created" created: f64,
        "choices" choices: Vec<Choice<'a>>,
        "usage" usage: &'a RawValue,
        "service_tier" service_tier: Str<'a>,
        // Perplexity and xAI say here what they have found.
        "citations" citations: &'a RawValue,
        "search_results" search_results: &'a RawValue,
        "error" error: &'a RawValue,
    }
}

object! {
    /// One answer of several.
    Choice {
        "index" index: u32,
        "message" message: Message<'a>,
        "finish_reason" finish_reason: Str<'a>,
        // The stop text that came up; vLLM's, which may also be the number of a token.
        "stop_reason" stop_reason: &'a RawValue,
        "logprobs" logprobs: &'a RawValue,
        // Moonshot counts here.
        "usage" usage: &'a RawValue,
    }
}

object! {
    /// One chunk of a streamed answer.
    Chunk {
        "id" id: Str<'a>,
        "model" model: Str<'a>,
        "created" created: f64,
        "choices" choices: Vec<ChunkChoice<'a>>,
        "usage" usage: &'a RawValue,
        "x_groq" x_groq: Groq<'a>,
        "citations" citations: &'a RawValue,
        "search_results" search_results: &'a RawValue,
        "error" error: &'a RawValue,
    }
}

object! {
    /// What Groq adds to its chunks.
    Groq {
        "usage" usage: &'a RawValue,
        "error" error: &'a RawValue,
    }
}

object! {
    /// A piece of one answer of several.
    ChunkChoice {
        "index" index: u32,
        "delta" delta: Delta<'a>,
        "finish_reason" finish_reason: Str<'a>,
        "stop_reason" stop_reason: &'a RawValue,
        "logprobs" logprobs: &'a RawValue,
        // Moonshot counts here.
        "usage" usage: &'a RawValue,
    }
}

object! {
    /// What a chunk adds to a message.
    Delta {
        "content" content: MessageContent<'a>,
        "reasoning_content" reasoning_content: Str<'a>,
        "reasoning" reasoning: Str<'a>,
        "reasoning_details" reasoning_details: Vec<ReasoningDetail<'a>>,
        "thinking_blocks" thinking_blocks: Vec<ThinkingBlock<'a>>,
        "refusal" refusal: Str<'a>,
        "annotations" annotations: &'a RawValue,
        "tool_calls" tool_calls: Vec<CallDelta<'a>>,
        "function_call" function_call: CalledFunction<'a>,
    }
}

object! {
    /// A piece of a call.
    CallDelta {
        "index" index: u32,
        "id" id: Str<'a>,
        "function" function: CalledFunction<'a>,
        "custom" custom: CalledCustom<'a>,
    }
}

/// The arguments of a call: JSON inside of a string. Some servers write the object itself.
#[derive(Debug)]
pub(crate) enum Arguments<'a> {
    /// As is documented.
    Written(Str<'a>),
    /// The object itself, member by member as it was written.
    Object(String),
}

impl<'a> From<Arguments<'a>> for Text<'a> {
    fn from(arguments: Arguments<'a>) -> Self {
        match arguments {
            Arguments::Written(text) => text.into(),
            Arguments::Object(object) => Cow::Owned(object),
        }
    }
}

impl Serialize for Arguments<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Written(text) => text.serialize(serializer),
            Self::Object(object) => serializer.serialize_str(object),
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Arguments<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Written;

        impl<'de> Visitor<'de> for Written {
            type Value = Arguments<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or an object")
            }

            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Arguments::Written(text.into()))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Arguments::Written(text.to_owned().into()))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut json = String::new();
                let mut object = ObjectWriter::new(&mut json);
                while let Some((name, value)) = map.next_entry::<Str<'de>, &'de RawValue>()? {
                    object.name(&name).push_str(value.get());
                }
                object.end();
                Ok(Arguments::Object(json))
            }
        }

        deserializer.deserialize_any(Written)
    }
}
