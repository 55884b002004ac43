//! The names of the headers that this crate reads and writes.

use http::{HeaderMap, HeaderName, header};

/// Names the request, in the way of OpenAI's clients.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Names the request, in the way of Anthropic's clients.
pub const ANTHROPIC_REQUEST_ID: HeaderName = HeaderName::from_static("request-id");

/// Tells official SDKs whether to retry.
pub const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// When to retry, in milliseconds.
pub const RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");

/// The provider that answered.
pub const PROVIDER: HeaderName = HeaderName::from_static("x-bartizan-provider");

/// The model that answered, by the provider's name for it.
pub const MODEL: HeaderName = HeaderName::from_static("x-bartizan-model");

/// How many attempts to answer it took.
pub const ATTEMPTS: HeaderName = HeaderName::from_static("x-bartizan-attempts");

/// By what the target was chosen, such as `latency`.
pub const ROUTE: HeaderName = HeaderName::from_static("x-bartizan-route");

/// Who shall answer: `{"models":["b"],"provider":{"order":["openai"]},"max_cost":0.05,"regions":["eu-*"],
/// "objective":{"p95":"500ms"}}`.
pub const CHOOSE: HeaderName = HeaderName::from_static("x-bartizan-choose");

/// The rule of the model that led to the target.
pub const RULE: HeaderName = HeaderName::from_static("x-bartizan-rule");

/// The fields of the request that the provider's dialect could not express, separated by commas.
pub const LOST: HeaderName = HeaderName::from_static("x-bartizan-lost");

/// The most tokens of output, where the gateway has set or lowered that.
pub const MAX_OUTPUT: HeaderName = HeaderName::from_static("x-bartizan-max-output");

/// `true` if the tokens in an answer are the gateway's estimate, because the provider doesn't say.
pub const ESTIMATED: HeaderName = HeaderName::from_static("x-bartizan-estimated");

/// The end user that a client asks for.
pub const USER: HeaderName = HeaderName::from_static("x-bartizan-user");

/// The session that a request belongs to.
pub const SESSION: HeaderName = HeaderName::from_static("x-bartizan-session");

/// What a request is for: `feature=search,env=prod`.
pub const TAGS: HeaderName = HeaderName::from_static("x-bartizan-tags");

/// A key of the client's own for the provider, which is used in place of the gateway's.
pub const PROVIDER_KEY: HeaderName = HeaderName::from_static("x-bartizan-provider-key");

/// What was made to fail on purpose; in a request of an administrator, what is to be.
pub const FAULT: HeaderName = HeaderName::from_static("x-bartizan-fault");

/// The administrators' key, beside the key of a request that asks for a fault.
pub const ADMIN_KEY: HeaderName = HeaderName::from_static("x-bartizan-admin-key");

/// Set to `true` by a client that wants a refusal instead of a loss.
pub const STRICT: HeaderName = HeaderName::from_static("x-bartizan-strict");

/// Where the time has gone: `gateway;dur=0.041, provider;dur=812.300`, in milliseconds.
pub const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// Whether the client wants a refusal instead of a loss.
pub(crate) fn asks_for_strictness(headers: &HeaderMap) -> bool {
    headers.get(STRICT).is_some_and(|value| value == "true")
}

/// Whether a body is JSON by its type.
pub(crate) fn is_json(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/json"))
}
