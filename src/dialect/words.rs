//! What clients call the fields that are reported as lost by other names.

/// The name of a canonical field, and what OpenAI's responses, Anthropic's messages and Gemini call it;
/// empty where they have none of their own. Chats of OpenAI use the canonical name.
const WORDS: [(&str, [&str; 3]); 20] = [
    ("frequency_penalty", ["", "", "generationConfig.frequencyPenalty"]),
    ("logprobs", ["", "", "generationConfig.responseLogprobs"]),
    ("max_tokens", ["max_output_tokens", "", "generationConfig.maxOutputTokens"]),
    ("messages[].annotations", ["input[].content[].annotations", "messages[].content[].citations", ""]),
    ("messages[].content[].file.filename", ["input[].content[].filename", "messages[].content[].title", ""]),
    ("messages[].content[].image_url.detail", ["input[].content[].detail", "", ""]),
    ("n", ["", "", "generationConfig.candidateCount"]),
    ("parallel_tool_calls", ["", "tool_choice.disable_parallel_tool_use", ""]),
    ("presence_penalty", ["", "", "generationConfig.presencePenalty"]),
    ("reasoning_effort", ["reasoning", "thinking", "generationConfig.thinkingConfig"]),
    ("response_format", ["text.format", "output_config.format", "generationConfig.responseJsonSchema"]),
    ("seed", ["", "", "generationConfig.seed"]),
    ("service_tier", ["", "", "serviceTier"]),
    ("stop", ["", "stop_sequences", "generationConfig.stopSequences"]),
    ("temperature", ["", "", "generationConfig.temperature"]),
    ("tool_choice", ["", "", "toolConfig"]),
    ("tools[].function.strict", ["tools[].strict", "tools[].strict", ""]),
    ("top_k", ["", "", "generationConfig.topK"]),
    ("top_logprobs", ["", "", "generationConfig.logprobs"]),
    ("top_p", ["", "", "generationConfig.topP"]),
];

/// Names by which codecs and providers mean the same.
const SYNONYMS: [(&str, &str); 3] =
    [("thinking", "reasoning_effort"), ("stop_sequences", "stop"), ("max_completion_tokens", "max_tokens")];

/// What a client of the dialect with this [id](super::Dialect::id) calls `field`.
pub(crate) fn of_client<'a>(dialect: &str, field: &'a str) -> &'a str {
    let canonical = SYNONYMS.iter().find(|(synonym, _)| *synonym == field).map_or(field, |(_, known)| known);
    let column = match dialect {
        "openai-chat" => return canonical,
        "openai-responses" => 0,
        "anthropic-messages" => 1,
        "gemini" => 2,
        _ => return field,
    };
    if let (1, "user" | "safety_identifier") = (column, field) {
        return "metadata.user_id";
    }
    let word = WORDS.iter().find(|(known, _)| *known == canonical).map(|(_, words)| words[column]);
    word.filter(|word| !word.is_empty()).unwrap_or(canonical)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::{ANTHROPIC, Dialect, GEMINI, OPENAI_CHAT, OPENAI_RESPONSES};

    #[test]
    fn every_client_reads_its_own_names() {
        let names = |field| {
            let dialects: [&dyn Dialect; 4] = [&OPENAI_CHAT, &OPENAI_RESPONSES, &ANTHROPIC, &GEMINI];
            dialects.map(|dialect| of_client(dialect.id(), field))
        };

        let thinking = ["reasoning_effort", "reasoning", "thinking", "generationConfig.thinkingConfig"];
        assert_eq!(names("reasoning_effort"), thinking);
        assert_eq!(names("thinking"), thinking);
        assert_eq!(names("top_k"), ["top_k", "top_k", "top_k", "generationConfig.topK"]);
        assert_eq!(names("n")[3], "generationConfig.candidateCount");
        assert_eq!(names("user"), ["user", "user", "metadata.user_id", "user"]);
        assert_eq!(names("messages[].name"), ["messages[].name"; 4]);
    }

    #[test]
    fn names_stand_in_their_order() {
        assert!(WORDS.is_sorted_by_key(|(name, _)| *name));
    }
}
