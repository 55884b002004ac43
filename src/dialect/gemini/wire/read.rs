//! What is read: requests of clients, answers and chunks of providers. Members have a second name, in
//! snake case, which the service accepts as well.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{
        Error, MapAccess, SeqAccess, Visitor,
        value::{MapAccessDeserializer, SeqAccessDeserializer},
    },
};
use serde_json::value::RawValue;

use crate::dialect::{object::object, text::Str};

object! {
    /// The body of `:generateContent`.
    Request {
        "contents" contents: OneOrMany<Content<'a>>,
        "systemInstruction" | "system_instruction" system_instruction: Content<'a>,
        "tools" tools: OneOrMany<Tool<'a>>,
        "toolConfig" | "tool_config" tool_config: ToolConfig<'a>,
        "generationConfig" | "generation_config" generation_config: GenerationConfig<'a>,
        "cachedContent" | "cached_content" cached_content: Str<'a>,
        "serviceTier" | "service_tier" service_tier: Str<'a>,
        // The path names it.
        "model" model: Str<'a>,
        ..unknown
    }
}

object! {
    /// A turn, or the content of an answer.
    Content {
        "role" role: Str<'a>,
        "parts" parts: OneOrMany<Part<'a>>,
        ..unknown
    }
}

object! {
    /// A piece of a turn: one of the members before the modifiers at the end.
    Part {
        "text" text: Str<'a>,
        "inlineData" | "inline_data" inline_data: Blob<'a>,
        "fileData" | "file_data" file_data: FileData<'a>,
        "functionCall" | "function_call" function_call: FunctionCall<'a>,
        "functionResponse" | "function_response" function_response: FunctionResponse<'a>,
        "executableCode" | "executable_code" executable_code: &'a RawValue,
        "codeExecutionResult" | "code_execution_result" code_execution_result: &'a RawValue,
        "toolCall" | "tool_call" tool_call: &'a RawValue,
        "toolResponse" | "tool_response" tool_response: &'a RawValue,
        "thought" thought: bool,
        "thoughtSignature" | "thought_signature" thought_signature: Str<'a>,
        ..unknown
    }
}

object! {
    /// Bytes in base64.
    Blob {
        "mimeType" | "mime_type" mime_type: Str<'a>,
        "data" data: Str<'a>,
        "displayName" | "display_name" display_name: Str<'a>,
    }
}

object! {
    /// Where bytes are.
    FileData {
        "mimeType" | "mime_type" mime_type: Str<'a>,
        "fileUri" | "file_uri" file_uri: Str<'a>,
        "displayName" | "display_name" display_name: Str<'a>,
    }
}

object! {
    /// The model calls a function.
    FunctionCall {
        "id" id: Str<'a>,
        "name" name: Str<'a>,
        "args" args: &'a RawValue,
    }
}

object! {
    /// What a function returned.
    FunctionResponse {
        "id" id: Str<'a>,
        "name" name: Str<'a>,
        "response" response: &'a RawValue,
        "parts" parts: Vec<Part<'a>>,
        ..unknown
    }
}

object! {
    /// One entry of `tools`: functions, or one of the provider's own tools, or both.
    Tool {
        "functionDeclarations" | "function_declarations" functions: Vec<Function<'a>>,
        ..unknown
    }
}

object! {
    /// A function that may be called.
    Function {
        "name" name: Str<'a>,
        "description" description: Str<'a>,
        "parameters" parameters: &'a RawValue,
        "parametersJsonSchema" | "parameters_json_schema" parameters_json_schema: &'a RawValue,
        ..unknown
    }
}

object! {
    /// How functions are called.
    ToolConfig {
        "functionCallingConfig" | "function_calling_config" calling: CallingConfig<'a>,
        ..unknown
    }
}

object! {
    /// Which functions must, may or must not be called.
    CallingConfig {
        "mode" mode: Str<'a>,
        "allowedFunctionNames" | "allowed_function_names" allowed: Vec<Str<'a>>,
        ..unknown
    }
}

object! {
    /// How the answer is made.
    GenerationConfig {
        "temperature" temperature: f64,
        "topP" | "top_p" top_p: f64,
        "topK" | "top_k" top_k: Whole,
        "candidateCount" | "candidate_count" candidate_count: Whole,
        "maxOutputTokens" | "max_output_tokens" max_output_tokens: Whole,
        "stopSequences" | "stop_sequences" stop_sequences: Vec<Str<'a>>,
        "seed" seed: Whole,
        "presencePenalty" | "presence_penalty" presence_penalty: f64,
        "frequencyPenalty" | "frequency_penalty" frequency_penalty: f64,
        "responseMimeType" | "response_mime_type" response_mime_type: Str<'a>,
        "responseSchema" | "response_schema" response_schema: &'a RawValue,
        "responseJsonSchema" | "response_json_schema" response_json_schema: &'a RawValue,
        "responseModalities" | "response_modalities" response_modalities: &'a RawValue,
        "thinkingConfig" | "thinking_config" thinking_config: ThinkingConfig<'a>,
        ..unknown
    }
}

object! {
    /// How much to think.
    ThinkingConfig {
        "includeThoughts" | "include_thoughts" include_thoughts: bool,
        "thinkingBudget" | "thinking_budget" thinking_budget: Whole,
        "thinkingLevel" | "thinking_level" thinking_level: Str<'a>,
        ..unknown
    }
}

object! {
    /// A whole answer, or a chunk of a stream.
    Answer {
        "candidates" candidates: Vec<Candidate<'a>>,
        "promptFeedback" prompt_feedback: PromptFeedback<'a>,
        "usageMetadata" usage_metadata: &'a RawValue,
        "modelVersion" model_version: Str<'a>,
        "responseId" response_id: Str<'a>,
        "error" error: &'a RawValue,
    }
}

object! {
    /// One answer of several.
    Candidate {
        "index" index: u32,
        "content" content: Content<'a>,
        "finishReason" finish_reason: Str<'a>,
        "finishMessage" finish_message: Str<'a>,
        "logprobsResult" logprobs_result: &'a RawValue,
        "groundingMetadata" grounding: &'a RawValue,
        "citationMetadata" citations: &'a RawValue,
    }
}

object! {
    /// What an answer is based on.
    Grounding {
        "groundingChunks" chunks: Vec<Chunk<'a>>,
        "groundingSupports" supports: Vec<Support>,
    }
}

object! {
    /// Something that can be cited: one of these.
    Chunk {
        "web" web: Page<'a>,
        "retrievedContext" retrieved: Page<'a>,
        "maps" maps: Page<'a>,
        "image" image: Page<'a>,
    }
}

object! {
    /// A page of the web, a place, or something in a store.
    Page {
        "uri" | "sourceUri" uri: Str<'a>,
        "title" title: Str<'a>,
        "text" text: Str<'a>,
        "documentName" document: Str<'a>,
    }
}

/// What cites chunks.
#[derive(Debug, Default, Deserialize, Serialize)]
pub(crate) struct Support {
    pub(crate) segment: Option<Segment>,
    #[serde(rename = "groundingChunkIndices")]
    pub(crate) chunks: Option<Vec<f64>>,
}

/// A segment of a part's text, in bytes.
#[derive(Debug, Default, Deserialize, Serialize)]
pub(crate) struct Segment {
    #[serde(rename = "partIndex")]
    pub(crate) part: Option<f64>,
    #[serde(rename = "startIndex")]
    pub(crate) start: Option<f64>,
    #[serde(rename = "endIndex")]
    pub(crate) end: Option<f64>,
}

object! {
    /// What was recited.
    CitationMetadata {
        "citationSources" | "citations" sources: Vec<Recitation<'a>>,
    }
}

object! {
    /// Where something is from that was recited, in bytes of the text.
    Recitation {
        "startIndex" start: f64,
        "endIndex" end: f64,
        "uri" uri: Str<'a>,
        "title" title: Str<'a>,
    }
}

object! {
    /// Why a prompt was blocked.
    PromptFeedback {
        "blockReason" block_reason: Str<'a>,
        "blockReasonMessage" block_reason_message: Str<'a>,
    }
}

/// A list, or its only entry, as sloppy clients write it.
#[derive(Debug, Serialize)]
pub(crate) struct OneOrMany<T>(pub(crate) Vec<T>);

impl<T> Default for OneOrMany<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Lenient<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Lenient<T> {
            type Value = OneOrMany<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Self::Value, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(items)).map(OneOrMany)
            }

            fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(members)).map(|one| OneOrMany(vec![one]))
            }
        }

        deserializer.deserialize_any(Lenient(PhantomData))
    }
}

/// A whole number, which may also be written as a string or with a fraction of zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Whole(pub(crate) i64);

impl Whole {
    /// The number, where less than nothing makes no sense.
    pub(crate) fn count(self) -> Option<u64> {
        u64::try_from(self.0).ok()
    }
}

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Lenient;

        impl Visitor<'_> for Lenient {
            type Value = Whole;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number")
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Whole, E> {
                Ok(Whole(number))
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Whole, E> {
                Ok(Whole(number.try_into().unwrap_or(i64::MAX)))
            }

            fn visit_f64<E: Error>(self, number: f64) -> Result<Whole, E> {
                // Casts of floats saturate.
                if number.fract() == 0.0 {
                    Ok(Whole(number as i64))
                } else {
                    Err(E::custom("not a whole number"))
                }
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Whole, E> {
                text.parse().map(Whole).map_err(|_| E::custom("not a whole number"))
            }
        }

        deserializer.deserialize_any(Lenient)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_are_read_and_one_of_them_is_enough() {
        let camel: GenerationConfig<'_> =
            serde_json::from_str(r#"{"topK":40.0,"maxOutputTokens":"7"}"#).unwrap();
        let snake: GenerationConfig<'_> =
            serde_json::from_str(r#"{"top_k":40,"max_output_tokens":7}"#).unwrap();

        assert_eq!((camel.top_k, camel.max_output_tokens), (Some(Whole(40)), Some(Whole(7))));
        assert_eq!((snake.top_k, snake.max_output_tokens), (camel.top_k, camel.max_output_tokens));
        assert!(serde_json::from_str::<GenerationConfig<'_>>(r#"{"topK":1,"top_k":2}"#).is_err());
        assert!(serde_json::from_str::<GenerationConfig<'_>>(r#"{"topK":1.5}"#).is_err());
    }

    #[test]
    fn a_list_of_one_may_be_written_without_brackets() {
        let request: Request<'_> = serde_json::from_str(r#"{"contents":{"parts":{"text":"hi"}}}"#).unwrap();

        let contents = request.contents.unwrap().0;
        assert_eq!(contents[0].parts.as_ref().unwrap().0[0].text.as_deref(), Some("hi"));
    }
}
