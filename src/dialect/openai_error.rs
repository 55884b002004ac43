//! Errors as OpenAI and the many that speak like it write them, and as its clients expect them.
//!
//! Source: OpenAI's error codes page and API description; the table of classes is in the crate's
//! tests.

use std::sync::LazyLock;

use bytes::Bytes;
use http::StatusCode;
use memchr::memmem::Finder;
use serde::{Deserialize, Serialize, de::IgnoredAny};

use super::{openai_chat::error_kind, retry_after::retry_after};
use crate::{Error, Kind, error::Reply};

/// The longest message taken from a body that is not JSON.
const MAX_TEXT: usize = 512;

#[derive(Default, Deserialize)]
struct Body<'a> {
    #[serde(borrow, default)]
    error: Option<Said<'a>>,
    // Everything else is for servers that leave the object out, or have one of their own.
    message: Option<Words>,
    detail: Option<Words>,
    fault: Option<Fault>,
    #[serde(rename = "type")]
    kind: Option<Words>,
    code: Option<Code>,
    #[serde(borrow)]
    x_groq: Option<Deeper<'a>>,
    base_resp: Option<Outcome>,
}

/// Groq has the errors of its streams one level deeper.
#[derive(Deserialize)]
struct Deeper<'a> {
    #[serde(borrow, default)]
    error: Option<Said<'a>>,
}

/// How MiniMax ends every answer.
#[derive(Deserialize)]
struct Outcome {
    #[serde(default)]
    status_code: i64,
    status_msg: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Said<'a> {
    Detailed {
        message: Option<String>,
        #[serde(rename = "type")]
        kind: Option<String>,
        param: Option<String>,
        code: Option<Code>,
        innererror: Option<serde_json::Value>,
    },
    Text(std::borrow::Cow<'a, str>),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Code {
    Text(String),
    Number(u16),
    Other(IgnoredAny),
}

impl Code {
    fn text(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::Number(number) => number.to_string(),
            Self::Other(_) => String::new(),
        }
    }
}

/// What went wrong: in a sentence, or as the list of issues that FastAPI makes.
#[derive(Deserialize)]
#[serde(untagged)]
enum Words {
    Text(String),
    Issues(Vec<Issue>),
    Detailed { detail: Vec<Issue> },
    Other(IgnoredAny),
}

#[derive(Deserialize)]
struct Issue {
    msg: String,
}

impl Words {
    fn text(self) -> Option<String> {
        match self {
            Self::Text(text) => Some(text),
            Self::Issues(issues) | Self::Detailed { detail: issues } => Some(issues.into_iter().next()?.msg),
            Self::Other(_) => None,
        }
    }
}

/// What the gateway in front of Fireworks says.
#[derive(Deserialize)]
struct Fault {
    faultstring: Option<String>,
}

/// A member of what OpenRouter says where a model's moderation is to blame, and no key.
static FLAGGED: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(r#""flagged_input""#));

/// What a provider said instead of success.
pub(super) fn read(reply: Reply) -> Error {
    let body: Body<'_> = serde_json::from_slice(&reply.body).unwrap_or_default();
    let Described { message, kind, param, code } = Described::from(body);
    let message = message.filter(|text| !text.is_empty()).unwrap_or_else(|| plain_text(&reply));
    let class = match reply.status == StatusCode::FORBIDDEN && FLAGGED.find(&reply.body).is_some() {
        true => Kind::ContentFiltered,
        false => error_kind::kind_of(reply.status.as_u16(), &kind, &code, &message),
    };
    let after = retry_after(&reply.headers, &reply.body, &message);
    let mut error = Error::new(class, message).with_reply(reply);
    if let Some(param) = param {
        error = error.with_param(param);
    }
    match after {
        Some(after) => error.with_retry_after(after),
        None => error,
    }
}

/// The error inside a body or event that came with a status of success.
pub(super) fn read_inside(json: &[u8]) -> Option<Error> {
    let mut body: Body<'_> = serde_json::from_slice(json).ok()?;
    body.error = body.error.or(body.x_groq.take().and_then(|deeper| deeper.error));
    let failed = body.base_resp.take().filter(|outcome| outcome.status_code != 0);
    if body.error.is_none() && failed.is_none() {
        return None;
    }
    let Described { message, kind, param, code } = Described::from(body);
    let (of_minimax, words) = match failed {
        Some(outcome) => (Some(error_kind::kind_of_minimax(outcome.status_code)), outcome.status_msg),
        None => (None, None),
    };
    let message = message.or(words).unwrap_or_else(|| "the provider failed".into());
    // OpenRouter and others put the status into the code.
    let status = code.parse().unwrap_or(500);
    let class = of_minimax.unwrap_or_else(|| error_kind::kind_of(status, &kind, &code, &message));
    let after = retry_after(&http::HeaderMap::new(), json, &message);
    let mut error = Error::new(class, message);
    if let Some(param) = param {
        error = error.with_param(param);
    }
    Some(match after {
        Some(after) => error.with_retry_after(after),
        None => error,
    })
}

struct Described {
    message: Option<String>,
    kind: String,
    param: Option<String>,
    code: String,
}

impl From<Body<'_>> for Described {
    fn from(body: Body<'_>) -> Self {
        let fault = body.fault.and_then(|fault| fault.faultstring);
        let elsewhere = body.message.and_then(Words::text).or(body.detail.and_then(Words::text)).or(fault);
        let kind = body.kind.and_then(Words::text).unwrap_or_default();
        let code = body.code.map(Code::text).unwrap_or_default();
        match body.error {
            Some(Said::Detailed { message, kind, param, code, innererror }) => Self {
                message: message.or(elsewhere),
                kind: kind.unwrap_or_default(),
                param,
                code: cause(innererror.as_ref())
                    .map_or_else(|| code.map(Code::text).unwrap_or_default(), str::to_owned),
            },
            Some(Said::Text(text)) => Self { message: Some(text.into_owned()), kind, param: None, code },
            None => Self { message: elsewhere, kind, param: None, code },
        }
    }
}

/// What Azure says inside of an error, where that tells more than its code.
fn cause(inner: Option<&serde_json::Value>) -> Option<&str> {
    inner?.get("code")?.as_str().filter(|code| *code == "ResponsibleAIPolicyViolation")
}

/// The beginning of a body that is not JSON; pages of proxies are not worth showing.
pub(super) fn plain_text(reply: &Reply) -> String {
    let text = String::from_utf8_lossy(&reply.body[..reply.body.len().min(MAX_TEXT)]);
    let text = text.trim();
    if text.is_empty() || text.starts_with(['<', '{', '[']) {
        return format!("the provider answered {}", reply.status);
    }
    text.trim_end_matches('\u{fffd}').to_owned()
}

#[derive(Serialize)]
struct Rendered<'a> {
    error: Inner<'a>,
}

#[derive(Serialize)]
struct Inner<'a> {
    message: &'a str,
    r#type: &'static str,
    param: Option<&'a str>,
    code: Option<&'static str>,
}

/// The status and the body for a client.
pub(super) fn render(error: &Error) -> (StatusCode, Bytes) {
    let (status, kind, code) = class(error.kind());
    let inner = Inner { message: error.message(), r#type: kind, param: error.param(), code };
    let body = serde_json::to_vec(&Rendered { error: inner }).unwrap_or_default();
    (status, body.into())
}

/// The code by which clients know an error, if there is one.
pub(super) fn code(kind: Kind) -> Option<&'static str> {
    class(kind).2
}

fn class(kind: Kind) -> (StatusCode, &'static str, Option<&'static str>) {
    const REQUEST: &str = "invalid_request_error";
    const SERVER: &str = "server_error";
    match kind {
        Kind::Unauthenticated => (StatusCode::UNAUTHORIZED, REQUEST, Some("invalid_api_key")),
        Kind::Forbidden => (StatusCode::FORBIDDEN, REQUEST, Some("model_access_denied")),
        Kind::InvalidRequest => (StatusCode::BAD_REQUEST, REQUEST, Some("invalid_value")),
        Kind::ContextTooLong => (StatusCode::BAD_REQUEST, REQUEST, Some("context_length_exceeded")),
        Kind::ContentFiltered => (StatusCode::BAD_REQUEST, REQUEST, Some("content_filter")),
        Kind::NotFound => (StatusCode::NOT_FOUND, REQUEST, Some("unknown_url")),
        Kind::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, REQUEST, Some("method_not_supported")),
        Kind::Conflict => (StatusCode::CONFLICT, REQUEST, Some("conflict")),
        Kind::UnsupportedMediaType => {
            (StatusCode::UNSUPPORTED_MEDIA_TYPE, REQUEST, Some("unsupported_media_type"))
        }
        Kind::RequestTimeout => (StatusCode::REQUEST_TIMEOUT, REQUEST, Some("request_timeout")),
        Kind::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, REQUEST, Some("request_too_large")),
        Kind::NoRoute => (StatusCode::NOT_FOUND, REQUEST, Some("model_not_found")),
        Kind::RateLimited => (StatusCode::TOO_MANY_REQUESTS, "rate_limit_error", Some("rate_limit_exceeded")),
        Kind::RunawayLoop => (StatusCode::TOO_MANY_REQUESTS, "rate_limit_error", Some("runaway_loop")),
        Kind::BudgetExhausted | Kind::Billing => {
            (StatusCode::TOO_MANY_REQUESTS, "insufficient_quota", Some("insufficient_quota"))
        }
        Kind::TooExpensive => (StatusCode::BAD_REQUEST, REQUEST, Some("request_too_expensive")),
        // Never 401: the client would believe that its own key is bad.
        Kind::UpstreamAuth => (StatusCode::BAD_GATEWAY, SERVER, Some("upstream_authentication_failed")),
        Kind::Timeout => (StatusCode::GATEWAY_TIMEOUT, SERVER, Some("timeout")),
        Kind::Overloaded => (StatusCode::SERVICE_UNAVAILABLE, SERVER, Some("server_is_overloaded")),
        Kind::Unreachable | Kind::Upstream => (StatusCode::BAD_GATEWAY, SERVER, Some("upstream_error")),
        Kind::Internal => (StatusCode::INTERNAL_SERVER_ERROR, SERVER, None),
    }
}

/// The event by which a client learns that its stream broke off; no `[DONE]` follows.
pub(super) fn event(error: &Error) -> Bytes {
    let (_, body) = render(error);
    [b"data: ".as_slice(), &body, b"\n\n"].concat().into()
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    fn reply(status: u16, body: &'static str) -> Error {
        read(Reply {
            status: StatusCode::from_u16(status).unwrap(),
            headers: HeaderMap::new(),
            body: body.into(),
            dialect: "openai-chat",
        })
    }

    #[test]
    fn every_form_of_error_body_is_understood() {
        let openai = reply(
            429,
            r#"{"error":{"message":"Rate limit reached. Please try again in 2s.","type":"tokens","param":null,"code":"rate_limit_exceeded"}}"#,
        );
        assert_eq!(
            (openai.kind(), openai.retry_after()),
            (Kind::RateLimited, Some(std::time::Duration::from_secs(2)))
        );
        assert_eq!(reply(400, r#"{"error":"no such thing"}"#).message(), "no such thing");
        assert_eq!(
            reply(422, r#"{"detail":[{"loc":["body"]}]}"#).message(),
            "the provider answered 422 Unprocessable Entity"
        );
        assert_eq!(reply(422, r#"{"detail":[{"loc":["body"],"msg":"too many"}]}"#).message(), "too many");
        assert_eq!(reply(422, r#"{"detail":"bad"}"#).message(), "bad");
        assert_eq!(reply(502, "<html>").message(), "the provider answered 502 Bad Gateway");
        assert_eq!(reply(500, "upstream connect error").message(), "upstream connect error");
        assert_eq!(reply(503, "").kind(), Kind::Overloaded);
    }

    #[test]
    fn the_error_bodies_of_azure_are_understood() {
        let kind = |status, body: &'static str| reply(status, body).kind();
        let policy = r#"{"error":{"message":"filtered","type":null,"param":"prompt","code":"CODE","status":400,"innererror":{"code":"ResponsibleAIPolicyViolation","content_filter_result":{"jailbreak":{"filtered":true,"detected":true}}}}}"#;
        let unknown = r#"{"error":{"message":"The API deployment for this resource does not exist.","type":"invalid_request_error","code":"DeploymentNotFound","innererror":"x"}}"#;

        assert_eq!((kind(400, policy), reply(400, policy).param()), (Kind::ContentFiltered, Some("prompt")));
        assert_eq!(kind(404, unknown), Kind::NoRoute);
        assert_eq!(kind(404, r#"{"error":{"code":"404","message":"Resource not found"}}"#), Kind::NoRoute);
        assert_eq!(kind(401, r#"{"error":{"code":"401","message":"Access denied"}}"#), Kind::UpstreamAuth);
        assert_eq!(
            kind(403, r#"{"error":{"code":"AuthenticationTypeDisabled","message":"x"}}"#),
            Kind::UpstreamAuth
        );
        assert_eq!(
            kind(408, r#"{"error":{"code":"Timeout","message":"The operation was timeout."}}"#),
            Kind::Timeout
        );
        assert_eq!(kind(424, r#"{"error":{"code":"DependencyFailed","message":"x"}}"#), Kind::Upstream);
        assert_eq!(kind(429, r#"{"error":{"code":"too_many_requests","message":"x"}}"#), Kind::RateLimited);
        assert_eq!(kind(503, r#"{"error":{"code":"no_capacity","message":"x"}}"#), Kind::Overloaded);
        assert_eq!(
            kind(400, r#"{"error":{"code":"OperationNotSupported","message":"x"}}"#),
            Kind::InvalidRequest
        );
        assert_eq!(reply(401, r#"{"statusCode":401,"message":"Unauthorized."}"#).message(), "Unauthorized.");
    }

    #[test]
    fn the_error_bodies_of_compatible_servers_are_understood() {
        let mistral = r#"{"object":"error","message":{"detail":[{"type":"extra_forbidden","loc":["body"],"msg":"Extra inputs are not permitted"}]},"type":"invalid_request_error","param":null,"code":null}"#;
        let flat = r#"{"object":"error","message":"no such model","type":"NotFoundError","param":null,"code":"model_not_found"}"#;
        let xai =
            r#"{"code":"Client specified an invalid argument","error":"Incorrect API key provided: x"}"#;
        let fault = r#"{"fault":{"faultstring":"Rate limit quota violation","detail":{"errorcode":"policies.ratelimit"}}}"#;
        let openrouter =
            r#"{"error":{"code":402,"message":"no credits","metadata":{"provider_name":"x"}},"user_id":"u"}"#;

        assert_eq!(reply(422, mistral).message(), "Extra inputs are not permitted");
        assert_eq!((reply(400, flat).message(), reply(400, flat).kind()), ("no such model", Kind::NoRoute));
        assert_eq!(reply(400, xai).kind(), Kind::UpstreamAuth);
        assert_eq!(reply(429, fault).message(), "Rate limit quota violation");
        assert_eq!(reply(402, openrouter).kind(), Kind::Billing);
        let moderated =
            r#"{"error":{"code":403,"message":"no","metadata":{"reasons":["x"],"flagged_input":"y"}}}"#;
        assert_eq!(reply(403, moderated).kind(), Kind::ContentFiltered);
        let refused = r#"{"error":{"code":403,"message":"no","metadata":{"provider_name":"x"}}}"#;
        assert_eq!(reply(403, refused).kind(), Kind::UpstreamAuth);
    }

    #[test]
    fn an_error_with_a_status_of_success_keeps_its_class() {
        let error = read_inside(br#"{"error":{"code":429,"message":"slow down"}}"#).unwrap();

        assert_eq!(error.kind(), Kind::RateLimited);
        assert!(read_inside(br#"{"error":null,"id":"x"}"#).is_none());
        assert!(read_inside(br#"{"id":"x"}"#).is_none());
    }

    #[test]
    fn a_client_gets_all_four_members() {
        let (status, body) =
            render(&Error::new(Kind::NoRoute, "the model `x` does not exist").with_param("model"));

        assert_eq!(status, 404);
        assert_eq!(
            body,
            r#"{"error":{"message":"the model `x` does not exist","type":"invalid_request_error","param":"model","code":"model_not_found"}}"#
        );
    }
}
