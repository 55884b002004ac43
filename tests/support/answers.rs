//! What providers say: answers of both dialects, whole and as streams, with all kinds of tokens.

use super::provider::{Act, Step};

/// 1,000 tokens in, 400 of them cached; 200 out, 50 of them thoughts.
pub const OPENAI_WHOLE: &str = r#"{"id":"chatcmpl-1","object":"chat.completion","created":1700000000,"model":"gpt-a","choices":[{"index":0,"message":{"role":"assistant","content":"Hello there","refusal":null},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":1000,"completion_tokens":200,"total_tokens":1200,"prompt_tokens_details":{"cached_tokens":400},"completion_tokens_details":{"reasoning_tokens":50}},"x_unknown": {"b":1.50,"a":1e2}}"#;

pub const OPENAI_ROLE: &str = "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"gpt-a\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}]}\n\n";
pub const OPENAI_HELLO: &str = "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"gpt-a\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hello\"},\"finish_reason\":null}],\"x_unknown\":1.50}\n\n";
pub const OPENAI_THERE: &str = "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"gpt-a\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\" there\"},\"finish_reason\":null}]}\n\n";
pub const OPENAI_STOP: &str = "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"gpt-a\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
pub const OPENAI_USAGE: &str = "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"gpt-a\",\"choices\":[],\"usage\":{\"prompt_tokens\":1000,\"completion_tokens\":200,\"total_tokens\":1200,\"prompt_tokens_details\":{\"cached_tokens\":400},\"completion_tokens_details\":{\"reasoning_tokens\":50}}}\n\n";
pub const OPENAI_DONE: &str = "data: [DONE]\n\n";
pub const OPENAI_ERROR: &str =
    "data: {\"error\":{\"message\":\"The server had an error\",\"type\":\"server_error\"}}\n\n";

/// 1,000 tokens in, 400 of them cached and 100 written to the cache; 200 out.
pub const CLAUDE_WHOLE: &str = r#"{"id":"msg_1","type":"message","role":"assistant","model":"claude-a","content":[{"type":"text","text":"Hello there"}],"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":500,"cache_creation_input_tokens":100,"cache_read_input_tokens":400,"output_tokens":200},"x_unknown": {"b":1.50,"a":1e2}}"#;

pub const CLAUDE_START: &str = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"claude-a\",\"content\":[],\"stop_reason\":null,\"stop_sequence\":null,\"usage\":{\"input_tokens\":500,\"cache_creation_input_tokens\":100,\"cache_read_input_tokens\":400,\"output_tokens\":1}}}\n\n";
pub const CLAUDE_BLOCK: &str = "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n";
pub const CLAUDE_PING: &str = "event: ping\ndata: {\"type\": \"ping\"}\n\n";
pub const CLAUDE_HELLO: &str = "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"Hello\"}}\n\n";
pub const CLAUDE_THERE: &str = "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\" there\"}}\n\n";
pub const CLAUDE_END: &str = "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\nevent: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\",\"stop_sequence\":null},\"usage\":{\"output_tokens\":200}}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";
pub const CLAUDE_ERROR: &str = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n";

/// Half of a stream of OpenAI.
pub fn openai_begun() -> String {
    [OPENAI_ROLE, OPENAI_HELLO].concat()
}

/// A good stream of OpenAI, with the counts that it was asked for.
pub fn openai_stream() -> String {
    [OPENAI_ROLE, OPENAI_HELLO, OPENAI_THERE, OPENAI_STOP, OPENAI_USAGE, OPENAI_DONE].concat()
}

/// Half of a stream of Anthropic.
pub fn claude_begun() -> String {
    [CLAUDE_START, CLAUDE_BLOCK, CLAUDE_PING, CLAUDE_HELLO].concat()
}

/// A good stream of Anthropic.
pub fn claude_stream() -> String {
    [CLAUDE_START, CLAUDE_BLOCK, CLAUDE_PING, CLAUDE_HELLO, CLAUDE_THERE, CLAUDE_END].concat()
}

/// What OpenAI says if nothing is wrong.
pub fn openai(stream: bool) -> Act {
    if stream { Act::stream(openai_stream()) } else { Act::whole(OPENAI_WHOLE) }
}

/// What Anthropic says if nothing is wrong.
pub fn claude(stream: bool) -> Act {
    if stream { Act::stream(claude_stream()) } else { Act::whole(CLAUDE_WHOLE) }
}

/// A step for each piece of text.
pub fn data<'a>(pieces: impl IntoIterator<Item = &'a str>) -> Vec<Step> {
    pieces.into_iter().map(|piece| Step::Data(piece.to_owned().into())).collect()
}
