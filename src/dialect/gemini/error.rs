//! Errors as Google writes them: `google.rpc.Status`.

use std::{borrow::Cow, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    Error, Kind,
    dialect::{openai_error::plain_text, retry_after::retry_after, status},
    error::Reply,
};

#[derive(Deserialize)]
struct Body {
    error: Said,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Said {
    code: Option<u16>,
    message: Option<String>,
    status: Option<String>,
    details: Vec<Detail>,
}

/// What a detail of any type may have that matters here.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Detail {
    reason: Option<String>,
    violations: Vec<Violation>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Violation {
    quota_id: Option<String>,
}

/// Whether a body is an error as Google writes it, and nobody else.
pub(in crate::dialect) fn is_error(body: &[u8]) -> bool {
    said(&unwrapped(body)).is_some_and(|said| said.code.is_some() && said.status.is_some())
}

/// What a provider said instead of success.
pub(super) fn read(reply: Reply) -> Error {
    let body = unwrapped(&reply.body);
    let said = said(&body).unwrap_or_default();
    let message = said.message.clone().filter(|text| !text.is_empty()).unwrap_or_else(|| plain_text(&reply));
    let class = kind_of(reply.status.as_u16(), &said, &message);
    let after = retry_after(&reply.headers, &body, &message);
    with_retry_after(Error::new(class, message).with_reply(reply), after)
}

/// The error inside a body or chunk that came with a status of success.
pub(super) fn read_inside(json: &[u8]) -> Option<Error> {
    let body = unwrapped(json);
    let said = said(&body)?;
    let message = said.message.clone().unwrap_or_else(|| "the provider failed".into());
    let class = kind_of(said.code.unwrap_or(500), &said, &message);
    let after = retry_after(&HeaderMap::new(), &body, &message);
    Some(with_retry_after(Error::new(class, message), after))
}

fn with_retry_after(error: Error, after: Option<Duration>) -> Error {
    match after {
        Some(after) => error.with_retry_after(after),
        None => error,
    }
}

fn said(body: &[u8]) -> Option<Said> {
    serde_json::from_slice::<Body>(body).ok().map(|body| body.error)
}

/// An error may be the only one of a list.
fn unwrapped(body: &[u8]) -> Cow<'_, [u8]> {
    if !body.trim_ascii_start().starts_with(b"[") {
        return Cow::Borrowed(body);
    }
    let first = serde_json::from_slice::<Vec<&RawValue>>(body).ok().and_then(|list| list.first().copied());
    first.map_or(Cow::Borrowed(body), |first| Cow::Borrowed(first.get().as_bytes()))
}

fn kind_of(status: u16, said: &Said, message: &str) -> Kind {
    let has_reason =
        |reason: &str| said.details.iter().any(|detail| detail.reason.as_deref() == Some(reason));
    match said.status.as_deref().unwrap_or_default() {
        "INVALID_ARGUMENT" if has_reason("API_KEY_INVALID") || message.starts_with("API key not valid") => {
            Kind::UpstreamAuth
        }
        "INVALID_ARGUMENT" if is_too_long(message) => Kind::ContextTooLong,
        "INVALID_ARGUMENT" | "OUT_OF_RANGE" => Kind::InvalidRequest,
        "FAILED_PRECONDITION" if message.contains("billing") => Kind::Billing,
        // The client has named something that is another account's or nobody's.
        "PERMISSION_DENIED" if is_about_resource(message) => Kind::InvalidRequest,
        // Where the account is, or what it may do, is no fault of the client.
        "FAILED_PRECONDITION" | "UNAUTHENTICATED" | "PERMISSION_DENIED" => Kind::UpstreamAuth,
        "NOT_FOUND" => Kind::NoRoute,
        "RESOURCE_EXHAUSTED" if is_spent(said) => Kind::Billing,
        "RESOURCE_EXHAUSTED" => Kind::RateLimited,
        "UNAVAILABLE" => Kind::Overloaded,
        "DEADLINE_EXCEEDED" => Kind::Timeout,
        "INTERNAL" | "UNKNOWN" | "ABORTED" | "CANCELLED" => Kind::Upstream,
        _ if is_too_long(message) => Kind::ContextTooLong,
        _ => status::kind_of(status),
    }
}

/// `You do not have permission to access the File … or it may not exist.`, `CachedContent not found (or permission denied)`.
fn is_about_resource(message: &str) -> bool {
    ["access the File", "CachedContent"].iter().any(|what| message.contains(what))
}

/// `The input token count (N) exceeds the maximum number of tokens allowed (M).`, and what Claude says.
fn is_too_long(message: &str) -> bool {
    message.contains("exceeds the maximum number of tokens") || message.contains("prompt is too long")
}

/// A quota per day is not worth waiting for.
fn is_spent(said: &Said) -> bool {
    let violations = said.details.iter().flat_map(|detail| &detail.violations);
    violations.filter_map(|violation| violation.quota_id.as_deref()).any(|quota| quota.contains("PerDay"))
}

#[derive(Serialize)]
struct Rendered<'a> {
    error: Status<'a>,
}

#[derive(Serialize)]
struct Status<'a> {
    code: u16,
    message: &'a str,
    status: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    details: Vec<RenderedDetail<'a>>,
}

#[derive(Serialize)]
#[serde(tag = "@type")]
enum RenderedDetail<'a> {
    #[serde(rename = "type.googleapis.com/google.rpc.ErrorInfo")]
    ErrorInfo { reason: &'static str, domain: &'static str },
    #[serde(rename = "type.googleapis.com/google.rpc.BadRequest", rename_all = "camelCase")]
    BadRequest { field_violations: [FieldViolation<'a>; 1] },
    #[serde(rename = "type.googleapis.com/google.rpc.RetryInfo", rename_all = "camelCase")]
    RetryInfo { retry_delay: String },
}

#[derive(Serialize)]
struct FieldViolation<'a> {
    field: &'a str,
    description: &'a str,
}

/// The status and the body for a client.
pub(super) fn render(error: &Error) -> (StatusCode, Bytes) {
    let (code, status) = class(error.kind());
    let details = details(error);
    let rendered =
        Rendered { error: Status { code: code.as_u16(), message: error.message(), status, details } };
    (code, serde_json::to_vec(&rendered).unwrap_or_default().into())
}

fn details(error: &Error) -> Vec<RenderedDetail<'_>> {
    let mut details = Vec::new();
    if error.kind() == Kind::Unauthenticated {
        details.push(RenderedDetail::ErrorInfo { reason: "API_KEY_INVALID", domain: "googleapis.com" });
    }
    if let Some(field) = error.param() {
        let violation = FieldViolation { field, description: error.message() };
        details.push(RenderedDetail::BadRequest { field_violations: [violation] });
    }
    if let Some(after) = error.retry_after() {
        details.push(RenderedDetail::RetryInfo { retry_delay: format!("{}s", after.as_secs_f64()) });
    }
    details
}

fn class(kind: Kind) -> (StatusCode, &'static str) {
    const REFUSED: &str = "INVALID_ARGUMENT";
    match kind {
        Kind::Unauthenticated => (StatusCode::UNAUTHORIZED, "UNAUTHENTICATED"),
        Kind::Forbidden => (StatusCode::FORBIDDEN, "PERMISSION_DENIED"),
        Kind::InvalidRequest | Kind::ContextTooLong | Kind::ContentFiltered | Kind::TooExpensive => {
            (StatusCode::BAD_REQUEST, REFUSED)
        }
        Kind::NotFound | Kind::NoRoute => (StatusCode::NOT_FOUND, "NOT_FOUND"),
        Kind::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "UNIMPLEMENTED"),
        Kind::Conflict => (StatusCode::CONFLICT, "ALREADY_EXISTS"),
        Kind::UnsupportedMediaType => (StatusCode::UNSUPPORTED_MEDIA_TYPE, REFUSED),
        Kind::RequestTimeout => (StatusCode::REQUEST_TIMEOUT, "DEADLINE_EXCEEDED"),
        Kind::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, REFUSED),
        Kind::RateLimited | Kind::RunawayLoop | Kind::BudgetExhausted | Kind::Billing => {
            (StatusCode::TOO_MANY_REQUESTS, "RESOURCE_EXHAUSTED")
        }
        Kind::Overloaded => (StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE"),
        Kind::Timeout => (StatusCode::GATEWAY_TIMEOUT, "DEADLINE_EXCEEDED"),
        // Never 401: the client would believe that its own key is bad.
        Kind::UpstreamAuth | Kind::Unreachable | Kind::Upstream | Kind::Internal => {
            (StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL")
        }
    }
}

/// The chunk by which a client learns that its stream broke off.
pub(super) fn event(error: &Error) -> Bytes {
    let (_, body) = render(error);
    [b"data: ".as_slice(), &body, b"\n\n"].concat().into()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn reply(status: u16, body: impl Into<Bytes>) -> Error {
        let status = StatusCode::from_u16(status).unwrap();
        read(Reply { status, headers: HeaderMap::new(), body: body.into(), dialect: "gemini" })
    }

    fn kind(code: u16, status: &str, message: &str, details: Value) -> Kind {
        let error =
            json!({"error": {"code": code, "message": message, "status": status, "details": details}});
        reply(code, error.to_string()).kind()
    }

    #[test]
    fn the_status_is_the_class_and_the_details_know_better() {
        let bad_key = json!([{"@type": "x/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}]);
        let per_day = json!([{"@type": "x/google.rpc.QuotaFailure",
            "violations": [{"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier"}]}]);

        assert_eq!(kind(400, "INVALID_ARGUMENT", "bad key", bad_key), Kind::UpstreamAuth);
        assert_eq!(kind(400, "INVALID_ARGUMENT", "bad field", json!([])), Kind::InvalidRequest);
        assert_eq!(kind(400, "FAILED_PRECONDITION", "please enable billing", json!([])), Kind::Billing);
        assert_eq!(kind(403, "PERMISSION_DENIED", "leaked", json!([])), Kind::UpstreamAuth);
        for message in [
            "You do not have permission to access the File abc or it may not exist.",
            "CachedContent not found (or permission denied)",
        ] {
            assert_eq!(kind(403, "PERMISSION_DENIED", message, json!([])), Kind::InvalidRequest, "{message}");
        }
        assert_eq!(kind(404, "NOT_FOUND", "no model", json!([])), Kind::NoRoute);
        assert_eq!(kind(429, "RESOURCE_EXHAUSTED", "quota", per_day), Kind::Billing);
        assert_eq!(kind(429, "RESOURCE_EXHAUSTED", "quota", json!([])), Kind::RateLimited);
        assert_eq!(kind(503, "UNAVAILABLE", "overloaded", json!([])), Kind::Overloaded);
        assert_eq!(kind(504, "DEADLINE_EXCEEDED", "late", json!([])), Kind::Timeout);
        assert_eq!(kind(500, "INTERNAL", "oops", json!([])), Kind::Upstream);
    }

    /// C119
    #[test]
    fn an_input_that_is_too_long_is_known_by_its_words() {
        let message = "The input token count (130) exceeds the maximum number of tokens allowed (100).";

        assert_eq!(kind(400, "INVALID_ARGUMENT", message, json!([])), Kind::ContextTooLong);
    }

    /// T30
    #[test]
    fn the_time_to_wait_is_in_the_details_also_of_a_list() {
        let error = r#"{"error":{"code":429,"message":"Quota.","status":"RESOURCE_EXHAUSTED","details":[{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"10.6s"}]}}"#;

        for body in [error.to_owned(), format!(" [{error}\n]")] {
            let error = reply(429, body.clone());
            assert_eq!(
                (error.kind(), error.retry_after()),
                (Kind::RateLimited, Some(Duration::from_millis(10_600)))
            );
            assert_eq!(read_inside(body.as_bytes()).unwrap().kind(), Kind::RateLimited);
        }
    }

    #[test]
    fn what_is_not_of_google_is_read_by_its_status() {
        assert_eq!(reply(413, "<html>too large</html>").kind(), Kind::TooLarge);
        assert_eq!(reply(502, "").message(), "the provider answered 502 Bad Gateway");
        assert_eq!(reply(503, "[]").kind(), Kind::Overloaded);
        assert!(read_inside(br#"{"candidates":[]}"#).is_none());
    }

    #[test]
    fn a_client_gets_a_status_with_its_details() {
        let error = Error::new(Kind::RateLimited, "slow down").with_retry_after(Duration::from_millis(1500));
        let (status, body) = render(&error);
        let (missing, key) = render(&Error::new(Kind::Unauthenticated, "the key is missing"));

        assert_eq!(
            serde_json::from_slice::<Value>(&body).unwrap(),
            json!({"error": {"code": 429, "message": "slow down", "status": "RESOURCE_EXHAUSTED",
                "details": [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "1.5s"}]}})
        );
        assert_eq!((status.as_u16(), missing.as_u16()), (429, 401));
        let key: Value = serde_json::from_slice(&key).unwrap();
        assert_eq!(key["error"]["details"][0]["reason"], "API_KEY_INVALID");
        assert_eq!(render(&Error::new(Kind::UpstreamAuth, "x")).0, 500);
    }
}
