//! What a provider's status says of an error, where its body doesn't say more.

use crate::Kind;

/// The class of errors with this status.
pub(crate) fn kind_of(status: u16) -> Kind {
    match status {
        401 | 403 => Kind::UpstreamAuth,
        402 => Kind::Billing,
        404 => Kind::NoRoute,
        408 | 504 | 524 => Kind::Timeout,
        413 => Kind::TooLarge,
        // 498 is Groq's for a tier without capacity.
        429 | 498 => Kind::RateLimited,
        503 | 529 => Kind::Overloaded,
        // A tool or model behind the provider failed.
        424 => Kind::Upstream,
        400..500 => Kind::InvalidRequest,
        _ => Kind::Upstream,
    }
}
