//! Answers of the dashboard, with all that browsers have to know of them.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt, Empty, Full};
use serde::Serialize;
use serde_json::json;

use crate::{BoxBody, Error, Kind};

/// What the pages may do: load what is here, and nothing else; and make no HTML of text.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
                      frame-ancestors 'none'; base-uri 'none'; form-action 'none'; \
                      require-trusted-types-for 'script'; trusted-types 'none'";

const ALWAYS: [(HeaderName, &str); 7] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("x-robots-tag"), "noindex"),
];

/// Adds what every answer has.
pub(super) fn guard(headers: &mut HeaderMap) {
    for (name, value) in ALWAYS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
}

pub(super) fn empty(status: StatusCode) -> Response<BoxBody> {
    let mut answer = Response::new(Empty::new().map_err(Into::into).boxed_unsync());
    *answer.status_mut() = status;
    answer
}

pub(super) fn whole(status: StatusCode, kind: &'static str, bytes: impl Into<Bytes>) -> Response<BoxBody> {
    let mut answer = Response::new(Full::new(bytes.into()).map_err(Into::into).boxed_unsync());
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

pub(super) fn json(value: &impl Serialize) -> Result<Response<BoxBody>, Error> {
    let text = serde_json::to_vec(value)
        .map_err(|error| Error::new(Kind::Internal, "the answer can't be written").with_source(error))?;
    Ok(whole(StatusCode::OK, "application/json", text))
}

/// What went wrong, as the pages show it.
pub(super) fn refusal(error: &Error) -> Response<BoxBody> {
    let status = status(error.kind());
    if status.is_server_error() {
        tracing::error!(%error, source = ?std::error::Error::source(error), "the dashboard can't answer");
    }
    let told =
        json!({ "error": { "kind": error.kind(), "message": error.message(), "param": error.param() } });
    let mut answer = whole(status, "application/json", told.to_string());
    if let Some(after) = error.retry_after() {
        answer.headers_mut().insert(header::RETRY_AFTER, after.as_secs().max(1).into());
    }
    if let Some(allow) = error.allow().and_then(|allow| allow.parse().ok()) {
        answer.headers_mut().insert(header::ALLOW, allow);
    }
    answer
}

fn status(kind: Kind) -> StatusCode {
    match kind {
        Kind::Unauthenticated => StatusCode::UNAUTHORIZED,
        Kind::Forbidden => StatusCode::FORBIDDEN,
        Kind::NotFound => StatusCode::NOT_FOUND,
        Kind::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        Kind::InvalidRequest => StatusCode::BAD_REQUEST,
        Kind::RateLimited => StatusCode::TOO_MANY_REQUESTS,
        Kind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Kind::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
        // Whatever keeps the records is away, or overloaded.
        Kind::Unreachable | Kind::Timeout | Kind::Overloaded => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
