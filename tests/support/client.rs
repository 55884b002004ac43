use std::convert::Infallible;

use bartizan::{
    BoxBody, BoxError,
    body::sse::{Event, Splitter},
};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use tower::{ServiceExt, util::BoxCloneSyncService};

/// The client's key.
pub const KEY: &str = "vk-of-the-app-0123456789";

/// The ids of the dialects in which clients ask.
pub const OPENAI: &str = "openai-chat";
pub const ANTHROPIC: &str = "anthropic-messages";
pub const GEMINI: &str = "gemini";
pub const DIALECTS: [&str; 3] = [OPENAI, ANTHROPIC, GEMINI];

pub type Body = http_body_util::combinators::UnsyncBoxBody<Bytes, BoxError>;
pub type Sending = BoxCloneSyncService<Request<Body>, Response<BoxBody>, Infallible>;

/// Sends requests into a stack.
#[derive(Clone)]
pub struct Client(Sending);

/// An answer that was read to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// Whether the connection broke.
    pub broke: bool,
}

impl Client {
    pub fn new(service: Sending) -> Self {
        Self(service)
    }

    /// A chat with `model` in a dialect.
    pub fn chat(dialect: &str, model: &str, stream: bool) -> Request<Body> {
        if dialect == GEMINI {
            let contents = json!([{ "role": "user", "parts": [{ "text": "Hello!" }] }]);
            let body = json!({ "contents": contents, "generationConfig": { "maxOutputTokens": 100 } });
            return Self::request(Method::POST, &gemini_path(model, stream), body.to_string());
        }
        let mut body = json!({ "model": model, "messages": [{ "role": "user", "content": "Hello!" }] });
        if dialect == ANTHROPIC {
            body["max_tokens"] = 100.into();
        }
        if stream {
            body["stream"] = true.into();
        }
        Self::post(dialect, body.to_string())
    }

    /// Any body to the endpoint of a dialect, with the key of the app. Where the path names the model, it
    /// is `gpt`.
    pub fn post(dialect: &str, body: impl Into<Bytes>) -> Request<Body> {
        let path = match dialect {
            ANTHROPIC => "/v1/messages",
            GEMINI => "/v1beta/models/gpt:generateContent",
            _ => "/v1/chat/completions",
        };
        Self::request(Method::POST, path, body)
    }

    pub fn request(method: Method, path: &str, body: impl Into<Bytes>) -> Request<Body> {
        let body = Full::new(body.into()).map_err(|never| match never {}).boxed_unsync();
        let req = Request::builder().method(method).uri(path).header("content-type", "application/json");
        req.header("authorization", format!("Bearer {KEY}")).body(body).unwrap()
    }

    /// The answer's head; its body has not been read.
    pub async fn begin(&self, req: Request<Body>) -> Response<BoxBody> {
        self.0.clone().oneshot(req).await.unwrap_or_else(|never| match never {})
    }

    pub async fn send(&self, req: Request<Body>) -> Answer {
        let (parts, body) = self.begin(req).await.into_parts();
        let (body, broke) = read(body).await;
        Answer { status: parts.status, headers: parts.headers, body, broke }
    }
}

/// Where a client of Gemini's dialect asks.
pub fn gemini_path(model: &str, stream: bool) -> String {
    let method = if stream { "streamGenerateContent?alt=sse" } else { "generateContent" };
    format!("/v1beta/models/{model}:{method}")
}

/// Reads as hyper does: not a poll more once a body says that it has ended.
async fn read(mut body: BoxBody) -> (Bytes, bool) {
    use http_body::Body;

    let mut all = Vec::new();
    while !body.is_end_stream() {
        match body.frame().await {
            Some(Ok(frame)) => all.extend_from_slice(frame.data_ref().unwrap()),
            Some(Err(_)) => return (all.into(), true),
            None => break,
        }
    }
    (all.into(), false)
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub fn events(&self) -> Vec<Event> {
        let mut splitter = Splitter::default();
        splitter.push(self.body.clone()).unwrap();
        let mut events: Vec<_> = std::iter::from_fn(|| splitter.next_event()).collect();
        assert_eq!(splitter.finish(), None, "{self:?}");
        events.retain(|event| !event.data.is_empty());
        events
    }

    /// What the model said, in a whole answer or in a stream of the dialect.
    pub fn text(&self, dialect: &str) -> String {
        let of = |value: &Value| -> String {
            let at = |path: &str| value.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
            match dialect {
                ANTHROPIC => at("/content/0/text") + &at("/delta/text"),
                GEMINI => at("/candidates/0/content/parts/0/text"),
                _ => at("/choices/0/message/content") + &at("/choices/0/delta/content"),
            }
        };
        if !self.is_stream() {
            return of(&self.json());
        }
        let events = self.events();
        events.iter().filter_map(|event| serde_json::from_slice(&event.data).ok()).map(|v| of(&v)).collect()
    }

    pub fn is_stream(&self) -> bool {
        self.headers["content-type"].as_bytes().starts_with(b"text/event-stream")
    }

    /// Whether a stream of the dialect came to its normal end.
    pub fn finished(&self, dialect: &str) -> bool {
        let last = self.events().pop().expect("a stream without events");
        match dialect {
            ANTHROPIC => last.name == "message_stop",
            GEMINI => String::from_utf8_lossy(&last.data).contains(r#""finishReason":""#),
            _ => last.data == "[DONE]",
        }
    }

    /// The type of the error with which a stream ended, or of which an answer consists.
    pub fn error_type(&self, dialect: &str) -> Option<String> {
        let value: Value = if self.is_stream() {
            let last = self.events().pop()?;
            if dialect == ANTHROPIC && last.name != "error" {
                return None;
            }
            serde_json::from_slice(&last.data).ok()?
        } else {
            self.json()
        };
        if dialect == ANTHROPIC && value["type"] != "error" {
            return None;
        }
        let member = if dialect == GEMINI { "/error/status" } else { "/error/type" };
        Some(value.pointer(member)?.as_str()?.to_owned())
    }
}
