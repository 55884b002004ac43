use std::{convert::Infallible, time::Duration};

use bartizan::BoxError;
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use tokio::time::Instant;
use tower::{Service, ServiceExt};

use super::Case;

/// No client waits longer.
const PATIENCE: Duration = Duration::from_secs(3600);

/// What became of one request.
#[derive(Clone, Debug)]
pub struct Asked {
    pub seen: Seen,
    /// Who answered.
    pub target: Option<String>,
    pub attempts: Option<u64>,
    pub took: Duration,
    /// Whether the fault has struck it.
    pub struck: bool,
}

/// What the client saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// An answer, to its end.
    Answer,
    /// A part of a stream, and that it broke off.
    Told,
    /// A part of an answer, and nothing more.
    Silence,
    Error {
        status: StatusCode,
        message: String,
    },
}

impl Seen {
    pub fn is_answer(&self) -> bool {
        *self == Self::Answer
    }
}

pub async fn ask<S, R>(service: S, case: &Case) -> Asked
where
    S: Service<Request<Full<Bytes>>, Response = Response<R>, Error = Infallible>,
    R: Body<Data = Bytes, Error = BoxError>,
{
    let question = json!({
        "model": case.way.model,
        "messages": [{ "role": "user", "content": "Say that you are there." }],
        "max_tokens": 64,
        "stream": case.stream,
    });
    let begun = Instant::now();
    let mut req = Request::new(Full::from(question.to_string()));
    *req.method_mut() = http::Method::POST;
    *req.uri_mut() = http::Uri::from_static("/v1/chat/completions");
    req.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    let (seen, headers) = match tokio::time::timeout(PATIENCE, answer(service, req, case.stream)).await {
        Ok(answer) => answer,
        Err(_) => (Seen::Silence, HeaderMap::new()),
    };
    let text = |name: &str| headers.get(name)?.to_str().ok().map(str::to_owned);
    let target = text("x-bartizan-provider").zip(text("x-bartizan-model"));
    Asked {
        seen,
        target: target.map(|(provider, model)| format!("{provider}/{model}")),
        attempts: text("x-bartizan-attempts").and_then(|attempts| attempts.parse().ok()),
        took: begun.elapsed(),
        struck: headers.contains_key("x-bartizan-fault"),
    }
}

async fn answer<S, R>(service: S, req: Request<Full<Bytes>>, stream: bool) -> (Seen, HeaderMap)
where
    S: Service<Request<Full<Bytes>>, Response = Response<R>, Error = Infallible>,
    R: Body<Data = Bytes, Error = BoxError>,
{
    let Ok(res) = service.oneshot(req).await;
    let (parts, body) = res.into_parts();
    let mut body = std::pin::pin!(body);
    let (mut text, mut breaks) = (Vec::new(), false);
    while let Some(frame) = body.frame().await {
        match frame.map(|frame| frame.into_data().unwrap_or_default()) {
            Ok(data) => text.extend_from_slice(&data),
            Err(_) => breaks = true,
        }
    }
    let text = String::from_utf8_lossy(&text);
    let seen = match (parts.status, stream) {
        (StatusCode::OK, _) if breaks => Seen::Silence,
        (StatusCode::OK, true) => streamed(&text),
        (StatusCode::OK, false) => whole(&text),
        (status, _) => Seen::Error { status, message: message(&text) },
    };
    (seen, parts.headers)
}

fn whole(text: &str) -> Seen {
    let answer: Value = serde_json::from_str(text).unwrap_or_default();
    match answer["choices"][0]["message"]["content"].as_str() {
        Some(said) if !said.is_empty() => Seen::Answer,
        _ => Seen::Silence,
    }
}

fn streamed(text: &str) -> Seen {
    let mut events = text.lines().filter_map(|line| line.strip_prefix("data: "));
    let is_error =
        |event: &str| serde_json::from_str::<Value>(event).is_ok_and(|event| event["error"].is_object());
    if events.clone().any(is_error) {
        return Seen::Told;
    }
    if events.any(|event| event == "[DONE]") { Seen::Answer } else { Seen::Silence }
}

fn message(text: &str) -> String {
    let error: Value = serde_json::from_str(text).unwrap_or_default();
    error["error"]["message"].as_str().unwrap_or("no message").to_owned()
}
