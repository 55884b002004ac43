//! Errors as Anthropic writes them.

use std::borrow::Cow;

use bytes::Bytes;
use http::StatusCode;
use serde::{Deserialize, Serialize};

use super::error_kind::kind_of;
use crate::{
    Error, Kind,
    dialect::{openai_error::plain_text, retry_after::retry_after, status},
    error::Reply,
    exchange::RequestId,
};

#[derive(Deserialize)]
struct Body {
    error: Said,
}

#[derive(Deserialize)]
struct Said {
    #[serde(rename = "type")]
    kind: Option<String>,
    message: Option<String>,
}

/// What a provider said instead of success.
pub(super) fn read(reply: Reply) -> Error {
    let said = serde_json::from_slice::<Body>(&reply.body).ok().map(|body| body.error);
    let kind = said.as_ref().and_then(|said| said.kind.clone()).unwrap_or_default();
    let message = said.and_then(|said| said.message).unwrap_or_else(|| plain_text(&reply));
    let class = match (reply.status.as_u16(), &*kind) {
        // The status knows better where the body doesn't say.
        (status, "" | "api_error") => status::kind_of(status),
        (_, kind) => kind_of(kind, &message),
    };
    let after = retry_after(&reply.headers, &reply.body, &message);
    let error = Error::new(class, message).with_reply(reply);
    match after {
        Some(after) => error.with_retry_after(after),
        None => error,
    }
}

/// The error inside a body or event that came with a status of success.
pub(super) fn read_inside(json: &[u8]) -> Option<Error> {
    let Said { kind, message } = serde_json::from_slice::<Body>(json).ok()?.error;
    let message = message.unwrap_or_else(|| "the provider failed".into());
    Some(Error::new(kind_of(&kind.unwrap_or_default(), &message), message))
}

#[derive(Serialize)]
struct Rendered<'a> {
    r#type: &'static str,
    error: Inner<'a>,
    request_id: &'a str,
}

#[derive(Serialize)]
struct Inner<'a> {
    r#type: &'static str,
    message: &'a str,
}

/// The status and the body for a client.
pub(super) fn render(error: &Error, id: &RequestId) -> (StatusCode, Bytes) {
    let (status, kind) = class(error.kind());
    let message = match error.kind() {
        Kind::ContextTooLong => too_long(error.message()),
        _ => Cow::Borrowed(error.message()),
    };
    let inner = Inner { r#type: kind, message: &message };
    let rendered = Rendered { r#type: "error", error: inner, request_id: id.as_str() };
    (status, serde_json::to_vec(&rendered).unwrap_or_default().into())
}

/// The words that clients look for to make their conversation shorter, with the numbers if they are said.
fn too_long(message: &str) -> Cow<'_, str> {
    const WORDS: &str = "prompt is too long";
    if message.starts_with(WORDS) {
        return message.into();
    }
    // OpenAI: "maximum context length is 100 tokens. However, your messages resulted in 130 tokens."
    let words: Vec<&str> = message.split_ascii_whitespace().collect();
    let counts = words.windows(2).filter(|pair| pair[1].starts_with("tokens"));
    let mut counts = counts.filter_map(|pair| pair[0].parse::<u64>().ok());
    match (message.contains("maximum context length"), counts.next(), counts.next()) {
        (true, Some(most), Some(used)) => format!("{WORDS}: {used} tokens > {most} maximum").into(),
        _ => format!("{WORDS}: {message}").into(),
    }
}

fn class(kind: Kind) -> (StatusCode, &'static str) {
    const REQUEST: &str = "invalid_request_error";
    match kind {
        Kind::Unauthenticated => (StatusCode::UNAUTHORIZED, "authentication_error"),
        Kind::Forbidden => (StatusCode::FORBIDDEN, "permission_error"),
        Kind::InvalidRequest | Kind::ContextTooLong | Kind::ContentFiltered | Kind::TooExpensive => {
            (StatusCode::BAD_REQUEST, REQUEST)
        }
        Kind::NotFound | Kind::NoRoute => (StatusCode::NOT_FOUND, "not_found_error"),
        Kind::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, REQUEST),
        Kind::Conflict => (StatusCode::CONFLICT, REQUEST),
        Kind::UnsupportedMediaType => (StatusCode::UNSUPPORTED_MEDIA_TYPE, REQUEST),
        Kind::RequestTimeout => (StatusCode::REQUEST_TIMEOUT, REQUEST),
        Kind::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "request_too_large"),
        Kind::RateLimited | Kind::RunawayLoop => (StatusCode::TOO_MANY_REQUESTS, "rate_limit_error"),
        Kind::BudgetExhausted | Kind::Billing => (StatusCode::PAYMENT_REQUIRED, "billing_error"),
        Kind::Timeout => (StatusCode::GATEWAY_TIMEOUT, "timeout_error"),
        // A status that only Anthropic has, and which its clients know.
        Kind::Overloaded => {
            (StatusCode::from_u16(529).unwrap_or(StatusCode::SERVICE_UNAVAILABLE), "overloaded_error")
        }
        // Never 401: the client would believe that its own key is bad.
        Kind::UpstreamAuth | Kind::Unreachable | Kind::Upstream | Kind::Internal => {
            (StatusCode::INTERNAL_SERVER_ERROR, "api_error")
        }
    }
}

/// The event by which a client learns that its stream broke off.
pub(super) fn event(error: &Error, id: &RequestId) -> Bytes {
    let (_, body) = render(error, id);
    [b"event: error\ndata: ".as_slice(), &body, b"\n\n"].concat().into()
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;
    use crate::Exchange;

    fn reply(status: u16, body: &'static str) -> Error {
        read(Reply {
            status: StatusCode::from_u16(status).unwrap(),
            headers: HeaderMap::new(),
            body: body.into(),
            dialect: "anthropic-messages",
        })
    }

    #[test]
    fn the_type_is_the_class_and_the_status_where_there_is_none() {
        let overloaded = r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#;

        assert_eq!(reply(529, overloaded).kind(), Kind::Overloaded);
        assert_eq!(reply(413, "<html>too large</html>").kind(), Kind::TooLarge);
        assert_eq!(reply(503, "").kind(), Kind::Overloaded);
        assert_eq!(
            reply(401, r#"{"error":{"type":"authentication_error","message":"invalid x-api-key"}}"#).kind(),
            Kind::UpstreamAuth
        );
    }

    #[test]
    fn clients_find_the_words_they_look_for() {
        let exchange = Exchange::default();
        let error = Error::new(Kind::ContextTooLong, "130 tokens > 100 maximum");

        let (status, body) = render(&error, exchange.id());

        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((status.as_u16(), &body["error"]["type"]), (400, &"invalid_request_error".into()));
        assert_eq!(body["error"]["message"], "prompt is too long: 130 tokens > 100 maximum");
        assert_eq!(body["request_id"], exchange.id().as_str());
    }
}
