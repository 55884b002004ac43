use crate::Kind;

/// Puts what an OpenAI-like provider says into its class.
pub(crate) fn kind_of(status: u16, kind: &str, code: &str, message: &str) -> Kind {
    let _ = message;
    match (status, kind, code) {
        (_, _, "context_length_exceeded") => Kind::ContextTooLong,
        (401 | 403, ..) => Kind::UpstreamAuth,
        (404, ..) => Kind::NoRoute,
        (429, ..) => Kind::RateLimited,
        (503 | 529, ..) => Kind::Overloaded,
        (500.., ..) => Kind::Upstream,
        _ => Kind::InvalidRequest,
    }
}
