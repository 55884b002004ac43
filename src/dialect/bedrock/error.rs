//! Errors as Bedrock writes them.

use std::borrow::Cow;

use bytes::Bytes;
use http::HeaderMap;
use serde::{Deserialize, Serialize};

use crate::{
    Error, Kind,
    body::{event_stream::THROWN, sse},
    dialect::{openai_error::plain_text, retry_after::retry_after, status},
    error::Reply,
};

/// Bedrock writes `message`; what stands before it, also in the other ways.
#[derive(Default, Deserialize)]
struct Said {
    message: Option<String>,
    #[serde(rename = "Message")]
    capital: Option<String>,
    #[serde(rename = "__type")]
    kind: Option<String>,
}

impl Said {
    fn read(json: &[u8]) -> Self {
        serde_json::from_slice(json).unwrap_or_default()
    }
}

/// What Bedrock said instead of success.
pub(super) fn read(reply: Reply) -> Error {
    let Said { message, capital, kind } = Said::read(&reply.body);
    let message = message.or(capital).unwrap_or_else(|| plain_text(&reply));
    let kind = kind_in(&reply.headers).map(Cow::into_owned).or(kind).unwrap_or_default();
    let class = kind_of(name(&kind), &message).unwrap_or_else(|| status::kind_of(reply.status.as_u16()));
    let after = retry_after(&reply.headers, &reply.body, &message);
    let error = Error::new(class, message).with_reply(reply);
    match after {
        Some(after) => error.with_retry_after(after),
        None => error,
    }
}

fn kind_in(headers: &HeaderMap) -> Option<Cow<'_, str>> {
    Some(headers.get("x-amzn-errortype")?.to_str().ok()?.into())
}

/// `ThrottlingException` of `ThrottlingException:http://…` and of `com.amazon.coral#ThrottlingException`.
fn name(kind: &str) -> &str {
    let kind = kind.split(':').next().unwrap_or_default();
    kind.rsplit('#').next().unwrap_or_default().trim()
}

/// What was thrown inside of a stream, if that is what the event is.
pub(super) fn thrown(event: &sse::Event) -> Option<Error> {
    let kind = event.name.strip_prefix(THROWN.as_bytes())?;
    let Said { message, capital, .. } = Said::read(&event.data);
    let silent = || "the provider failed inside its stream".to_owned();
    let message = message.or(capital).filter(|message| !message.is_empty()).unwrap_or_else(silent);
    let kind = kind_of(&String::from_utf8_lossy(kind), &message).unwrap_or(Kind::Upstream);
    Some(Error::new(kind, message))
}

/// What came with a status of success and has no output.
pub(super) fn without_output(json: &[u8]) -> Error {
    let Said { message, capital, kind } = Said::read(json);
    match message.or(capital) {
        Some(message) => {
            let kind = kind.as_deref().and_then(|kind| kind_of(name(kind), &message));
            Error::new(kind.unwrap_or(Kind::Upstream), message)
        }
        None => Error::new(Kind::Upstream, "the provider's answer has no output"),
    }
}

/// Puts an exception into its class; those inside of streams begin with a small letter.
fn kind_of(name: &str, message: &str) -> Option<Kind> {
    let name = name.strip_suffix("Exception").unwrap_or(name).to_ascii_lowercase();
    Some(match &*name {
        "validation" if is_too_long(message) => Kind::ContextTooLong,
        // The model is there, but not by this name.
        "validation" if message.contains("with on-demand throughput isn") => Kind::NoRoute,
        "validation" => Kind::InvalidRequest,
        "accessdenied" | "unrecognizedclient" | "invalidsignature" | "expiredtoken" => Kind::UpstreamAuth,
        "resourcenotfound" => Kind::NoRoute,
        "modeltimeout" => Kind::Timeout,
        "modelerror" | "modelstreamerror" | "internalserver" => Kind::Upstream,
        "throttling" | "modelnotready" => Kind::RateLimited,
        "servicequotaexceeded" => Kind::Billing,
        "serviceunavailable" => Kind::Overloaded,
        _ => return None,
    })
}

fn is_too_long(message: &str) -> bool {
    message.contains("Input is too long") || message.contains("prompt is too long")
}

/// The body that Bedrock's own clients expect.
pub(super) fn render(error: &Error) -> Bytes {
    #[derive(Serialize)]
    struct Rendered<'a> {
        message: &'a str,
    }
    serde_json::to_vec(&Rendered { message: error.message() }).unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, StatusCode};

    use super::*;

    fn reply(status: u16, kind: &'static str, body: &'static str) -> Error {
        let mut headers = HeaderMap::new();
        if !kind.is_empty() {
            headers.insert("x-amzn-errortype", HeaderValue::from_static(kind));
        }
        let status = StatusCode::from_u16(status).unwrap();
        read(Reply { status, headers, body: body.into(), dialect: "bedrock-converse" })
    }

    /// T34, §6 of the errors
    #[test]
    fn exceptions_are_put_into_their_class() {
        for (status, kind, expected) in [
            (400, "ValidationException", Kind::InvalidRequest),
            (403, "AccessDeniedException", Kind::UpstreamAuth),
            (403, "UnrecognizedClientException", Kind::UpstreamAuth),
            (403, "InvalidSignatureException", Kind::UpstreamAuth),
            (403, "ExpiredTokenException", Kind::UpstreamAuth),
            (403, "RequestTimeTooSkewed", Kind::UpstreamAuth),
            (404, "ResourceNotFoundException", Kind::NoRoute),
            (408, "ModelTimeoutException", Kind::Timeout),
            (424, "ModelErrorException", Kind::Upstream),
            (424, "ModelStreamErrorException", Kind::Upstream),
            (429, "ThrottlingException:http://internal.amazon.com/coral/", Kind::RateLimited),
            (429, "ModelNotReadyException", Kind::RateLimited),
            (400, "ServiceQuotaExceededException", Kind::Billing),
            (500, "InternalServerException", Kind::Upstream),
            (503, "ServiceUnavailableException", Kind::Overloaded),
            (503, "", Kind::Overloaded),
        ] {
            let error = reply(status, kind, r#"{"message":"said"}"#);

            assert_eq!((error.kind(), error.message()), (expected, "said"), "{kind}");
        }
    }

    #[test]
    fn the_type_may_stand_in_the_body_and_the_message_be_written_large() {
        let body = r#"{"__type":"com.amazon.coral.service#ThrottlingException","Message":"slow"}"#;

        let inside = reply(400, "", body);
        let edge = reply(503, "", "<html>busy</html>");

        assert_eq!((inside.kind(), inside.message()), (Kind::RateLimited, "slow"));
        assert_eq!(
            (edge.kind(), edge.message()),
            (Kind::Overloaded, "the provider answered 503 Service Unavailable")
        );
    }

    /// C119
    #[test]
    fn a_request_that_is_too_long_is_told_apart() {
        let kind = |message| reply(400, "ValidationException", message).kind();

        assert_eq!(kind(r#"{"message":"Input is too long for requested model."}"#), Kind::ContextTooLong);
        assert_eq!(
            kind(
                r#"{"message":"Invocation of model ID x with on-demand throughput isn’t supported. Retry your request with the ID or ARN of an inference profile that contains this model."}"#
            ),
            Kind::NoRoute
        );
    }

    #[test]
    fn what_is_thrown_inside_of_a_stream_keeps_its_class() {
        let event = |name: &str, data: &'static str| sse::Event {
            raw: Bytes::new(),
            name: Bytes::copy_from_slice(name.as_bytes()),
            data: data.into(),
        };
        for (kind, expected) in [
            ("internalServerException", Kind::Upstream),
            ("modelStreamErrorException", Kind::Upstream),
            ("modelTimeoutException", Kind::Timeout),
            ("validationException", Kind::InvalidRequest),
            ("throttlingException", Kind::RateLimited),
            ("serviceUnavailableException", Kind::Overloaded),
            ("somethingElse", Kind::Upstream),
        ] {
            let error = thrown(&event(&format!("{THROWN}{kind}"), r#"{"message":"m"}"#)).unwrap();

            assert_eq!((error.kind(), error.message()), (expected, "m"), "{kind}");
        }
        assert!(thrown(&event("validationException", r#"{"message":"m"}"#)).is_none());
        let silent = thrown(&event(&format!("{THROWN}throttlingException"), "")).unwrap();
        assert_eq!(silent.message(), "the provider failed inside its stream");
    }
}
