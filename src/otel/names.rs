//! The names of attributes and measurements, as the
//! [semantic conventions](https://opentelemetry.io/docs/specs/semconv/gen-ai/) of OpenTelemetry for generative AI have
//! them in version 1.41, and those of our own, which begin with `bartizan`.

use crate::exchange::Role;

/// What is asked for: `chat`, `generate_content`, `text_completion`, `embeddings`, or the dialect.
pub const OPERATION: &str = "gen_ai.operation.name";
/// Who was asked, by the name of the conventions if there is one.
pub const PROVIDER: &str = "gen_ai.provider.name";
/// The model that was asked for: by the client at a request, of the provider at an attempt.
pub const REQUEST_MODEL: &str = "gen_ai.request.model";
/// Whether a stream was asked for.
pub const REQUEST_STREAM: &str = "gen_ai.request.stream";
/// The model that answered, by the provider's name for it.
pub const RESPONSE_MODEL: &str = "gen_ai.response.model";
/// The answer's id, which is known where what was answered is kept and [sent](super::OtelOptions::content).
pub const RESPONSE_ID: &str = "gen_ai.response.id";
/// Why it stopped, in the provider's words.
pub const FINISH_REASONS: &str = "gen_ai.response.finish_reasons";
/// How long a stream took to begin, in seconds.
pub const TIME_TO_FIRST_CHUNK: &str = "gen_ai.response.time_to_first_chunk";
/// All tokens of the prompt.
pub const INPUT_TOKENS: &str = "gen_ai.usage.input_tokens";
/// All tokens of the answer.
pub const OUTPUT_TOKENS: &str = "gen_ai.usage.output_tokens";
/// Those of the prompt that were in the provider's cache.
pub const CACHE_READ_TOKENS: &str = "gen_ai.usage.cache_read.input_tokens";
/// Those that were written to it.
pub const CACHE_CREATION_TOKENS: &str = "gen_ai.usage.cache_creation.input_tokens";
/// Those of the answer that were spent on reasoning.
pub const REASONING_TOKENS: &str = "gen_ai.usage.reasoning.output_tokens";
/// The session of the request.
pub const CONVERSATION: &str = "gen_ai.conversation.id";
/// What was said, as JSON.
pub const INPUT_MESSAGES: &str = "gen_ai.input.messages";
/// What was answered, likewise.
pub const OUTPUT_MESSAGES: &str = "gen_ai.output.messages";
/// What the model was told to be, likewise.
pub const SYSTEM_INSTRUCTIONS: &str = "gen_ai.system_instructions";
/// Which tokens are counted: `input` or `output`.
pub const TOKEN_TYPE: &str = "gen_ai.token.type";
/// The [kind](crate::Kind) of error.
pub const ERROR_TYPE: &str = "error.type";
/// The host of the provider.
pub const SERVER_ADDRESS: &str = "server.address";
/// Its port.
pub const SERVER_PORT: &str = "server.port";
/// Where the client is.
pub const CLIENT_ADDRESS: &str = "client.address";
/// The end user.
pub const USER: &str = "user.id";
/// The status of the answer.
pub const STATUS: &str = "http.response.status_code";
/// The name of the gateway.
pub const SERVICE: &str = "service.name";
/// Its version.
pub const SERVICE_VERSION: &str = "service.version";

/// The name of the request, as in `x-request-id`.
pub const REQUEST_ID: &str = "bartizan.request.id";
/// The name of the request of which it is a copy.
pub const MIRRORS: &str = "bartizan.mirrors";
/// The name of the key.
pub const KEY: &str = "bartizan.key";
/// The name of its team.
pub const TEAM: &str = "bartizan.team";
/// The name of its customer.
pub const CUSTOMER: &str = "bartizan.customer";
/// A tag of the request; its name follows.
pub const TAG: &str = "bartizan.tag.";
/// What it cost, in US dollars.
pub const COST: &str = "bartizan.cost_usd";
/// How long the gateway itself was at it, in seconds.
pub const OVERHEAD: &str = "bartizan.overhead";
/// How the targets were chosen.
pub const ROUTE: &str = "bartizan.route";
/// What an attempt was for: `answer`, `hedge`, `resume` or `embedding`.
pub const ROLE: &str = "bartizan.attempt.role";
/// The name of the key of the provider's pool that an attempt was sent with.
pub const PROVIDER_KEY: &str = "bartizan.provider.key";
/// Whether tokens are an estimate.
pub const ESTIMATED: &str = "bartizan.estimated";

/// How long attempts took, in seconds.
pub const DURATION: &str = "gen_ai.client.operation.duration";
/// How many tokens they used.
pub const TOKEN_USAGE: &str = "gen_ai.client.token.usage";
/// How long streams took to begin, in seconds.
pub const FIRST_CHUNK: &str = "gen_ai.client.operation.time_to_first_chunk";

/// What is asked for by an attempt of a request in this dialect.
pub(super) fn operation_of(role: Role, dialect: Option<&'static str>) -> &'static str {
    match role {
        Role::Embedding => "embeddings",
        _ => operation(dialect),
    }
}

/// What is asked for in a dialect.
pub(super) fn operation(dialect: Option<&'static str>) -> &'static str {
    match dialect {
        Some("openai-chat" | "openai-responses" | "anthropic-messages" | "bedrock-converse") | None => "chat",
        Some("gemini") => "generate_content",
        Some("openai-completions") => "text_completion",
        Some(embeddings) if embeddings.contains("embed") => "embeddings",
        Some(other) => other,
    }
}
