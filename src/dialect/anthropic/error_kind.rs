use crate::Kind;

/// Puts an error type of Anthropic into its class.
pub(crate) fn kind_of(kind: &str, message: &str) -> Kind {
    match kind {
        "invalid_request_error" if message.starts_with("prompt is too long") => Kind::ContextTooLong,
        "invalid_request_error" => Kind::InvalidRequest,
        "authentication_error" | "permission_error" => Kind::UpstreamAuth,
        "billing_error" => Kind::Billing,
        "not_found_error" => Kind::NoRoute,
        "request_too_large" => Kind::TooLarge,
        "rate_limit_error" => Kind::RateLimited,
        "timeout_error" => Kind::Timeout,
        "overloaded_error" => Kind::Overloaded,
        _ => Kind::Upstream,
    }
}
