//! The classes of errors of OpenAI and the servers that speak like it.

use crate::{Kind, dialect::status};

/// Puts what an OpenAI-like provider says into its class: the HTTP status, and the members `type`,
/// `code` and `message` of its error, empty where they are missing.
///
/// The code says more than the status: providers use 400 and 429 for nearly everything.
pub(crate) fn kind_of(status: u16, kind: &str, code: &str, message: &str) -> Kind {
    by_name(code)
        .or_else(|| by_name(kind))
        .or_else(|| by_message(status, message))
        .unwrap_or_else(|| status::kind_of(status))
}

/// The class of a code of MiniMax, which answers everything with the status of success.
///
/// Source: "Error Codes" in MiniMax' API reference.
pub(crate) fn kind_of_minimax(code: i64) -> Kind {
    match code {
        1001 => Kind::Timeout,
        // Too many requests, tokens or connections.
        1002 | 1039 | 1041 | 2045 => Kind::RateLimited,
        1004 | 2049 => Kind::UpstreamAuth,
        1008 | 2056 => Kind::Billing,
        1026 | 1027 => Kind::ContentFiltered,
        // Text with too much that is none, and fields with wrong values.
        1042 | 2013 => Kind::InvalidRequest,
        _ => Kind::Upstream,
    }
}

fn by_name(name: &str) -> Option<Kind> {
    Some(match name {
        "context_length_exceeded" => Kind::ContextTooLong,
        "content_filter"
        | "content_policy_violation"
        | "ResponsibleAIPolicyViolation"
        | "data_inspection_failed"
        | "invalid_prompt"
        | "bio_policy"
        | "misalignment_policy_violation" => Kind::ContentFiltered,
        "insufficient_quota"
        | "credit_balance_exhausted"
        | "billing_hard_limit_reached"
        | "billing_not_active"
        | "Arrearage" => Kind::Billing,
        "rate_limit_exceeded" | "rate_limit_error" | "limit_requests" | "limit_burst_rate" => {
            Kind::RateLimited
        }
        "model_not_found" | "model_not_supported" | "DeploymentNotFound" => Kind::NoRoute,
        "invalid_api_key" | "invalid_organization" | "ip_not_authorized" | "authentication_error" => {
            Kind::UpstreamAuth
        }
        "server_is_overloaded" | "service_unavailable_error" | "overloaded_error" => Kind::Overloaded,
        "request_too_large" => Kind::TooLarge,
        _ => return None,
    })
}

/// What some providers say in words only.
fn by_message(status: u16, message: &str) -> Option<Kind> {
    if !matches!(status, 400 | 403 | 413 | 422) {
        return None;
    }
    let says = |phrase: &str| memchr::memmem::find(message.as_bytes(), phrase.as_bytes()).is_some();
    if says("maximum context length") || says("context length") || says("prompt is too long") {
        Some(Kind::ContextTooLong)
    } else if says("Incorrect API key") {
        // xAI has this with 400.
        Some(Kind::UpstreamAuth)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_codes_of_minimax_have_their_classes() {
        let kinds = [1002, 1004, 1008, 1026, 1000, 1041, 2013, 2045, 2049].map(kind_of_minimax);

        assert_eq!(
            kinds,
            [
                Kind::RateLimited,
                Kind::UpstreamAuth,
                Kind::Billing,
                Kind::ContentFiltered,
                Kind::Upstream,
                Kind::RateLimited,
                Kind::InvalidRequest,
                Kind::RateLimited,
                Kind::UpstreamAuth
            ]
        );
    }

    #[test]
    fn the_code_decides_before_the_status() {
        let kinds = [
            (400, "invalid_request_error", "context_length_exceeded", Kind::ContextTooLong),
            (400, "invalid_request_error", "content_filter", Kind::ContentFiltered),
            (400, "", "data_inspection_failed", Kind::ContentFiltered),
            (429, "insufficient_quota", "", Kind::Billing),
            (429, "tokens", "rate_limit_exceeded", Kind::RateLimited),
            (413, "tokens", "rate_limit_exceeded", Kind::RateLimited),
            (400, "invalid_request_error", "model_not_found", Kind::NoRoute),
            (429, "rate_limit_error", "slow_down", Kind::RateLimited),
            (503, "service_unavailable_error", "slow_down", Kind::Overloaded),
        ];

        for (status, kind, code, expected) in kinds {
            assert_eq!(kind_of(status, kind, code, ""), expected, "{status} {kind} {code}");
        }
    }

    #[test]
    fn the_status_decides_where_nothing_is_said() {
        let kinds = [
            (400, Kind::InvalidRequest),
            (401, Kind::UpstreamAuth),
            (402, Kind::Billing),
            (403, Kind::UpstreamAuth),
            (404, Kind::NoRoute),
            (408, Kind::Timeout),
            (413, Kind::TooLarge),
            (422, Kind::InvalidRequest),
            (429, Kind::RateLimited),
            (500, Kind::Upstream),
            (503, Kind::Overloaded),
            (504, Kind::Timeout),
            (524, Kind::Timeout),
            (529, Kind::Overloaded),
        ];

        for (status, expected) in kinds {
            assert_eq!(kind_of(status, "", "", ""), expected, "{status}");
        }
    }

    #[test]
    fn what_is_said_in_words_only_is_understood() {
        // C119
        let long = "This model's maximum context length is 100 tokens. However, you have more.";

        assert_eq!(kind_of(400, "BadRequestError", "400", long), Kind::ContextTooLong);
        assert_eq!(kind_of(400, "", "", "Incorrect API key provided: xa..."), Kind::UpstreamAuth);
        assert_eq!(kind_of(500, "", "", long), Kind::Upstream);
    }
}
