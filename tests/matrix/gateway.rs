//! The whole stack with one provider, which says what it is told to.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};

use bartizan::{
    Error, Payload, Target, Tokens,
    auth::{AuthLayer, Caller, VirtualKey},
    body::sse::{Event, Splitter},
    dialect::{Dialect, Dialects},
    dispatch::{Candidate, Dispatch, Retry, Route, Table},
    error::Reply,
    first_event::FirstEventLayer,
    headers,
    ingest::IngestLayer,
    meter::MeterLayer,
    record::{Record, RecordLayer, Sink},
    render_errors::RenderErrorsLayer,
    target::ModelFacts,
    translate::TranslateLayer,
};
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use serde_json::Value;
use tower::{ServiceBuilder, ServiceExt, service_fn};

/// What a provider does with a request.
#[derive(Clone, Debug)]
pub enum Act {
    Answer(Value),
    Stream(String),
    Refuse(u16, Value),
}

/// What became of a request.
#[derive(Debug)]
pub struct Got {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// What the provider was asked, if it was.
    pub asked: Option<Value>,
    /// What was recorded of the tokens.
    pub tokens: Tokens,
    /// What the record says was lost.
    pub lost: Vec<String>,
}

impl Got {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{:?}", self.body))
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// The names in the header of losses, which is to say what the record says.
    pub fn lost_header(&self) -> Vec<String> {
        let header = self.headers.get(headers::LOST).map_or("", |value| value.to_str().unwrap());
        header.split(", ").filter(|name| !name.is_empty()).map(ToOwned::to_owned).collect()
    }
}

#[derive(Clone, Debug, Default)]
struct Records(Arc<Mutex<Option<Record>>>);

impl Sink for Records {
    fn record(&self, record: Record) {
        *self.0.lock().unwrap() = Some(record);
    }
}

/// A model of which all that is needed is known.
pub fn target(model: &str) -> Target {
    let known = ["reasoning", "adaptive_thinking", "native_structured_output", "vision", "function_calling"];
    Target::new("provider", model).facts(ModelFacts::new(known, []))
}

/// Sends `body` to `path`, through a gateway to a provider of `provider`'s dialect.
pub async fn ask(path: &str, body: &Value, provider: &'static dyn Dialect, target: Target, act: Act) -> Got {
    through(path, body, TranslateLayer::new(Arc::new(target.clone()), [provider]), provider, target, act)
        .await
}

/// The same where the provider is always asked for a stream.
pub async fn ask_for_stream(
    path: &str,
    body: &Value,
    provider: &'static dyn Dialect,
    target: Target,
    act: Act,
) -> Got {
    let translate = TranslateLayer::new(Arc::new(target.clone()), [provider]).always_streams(true);
    through(path, body, translate, provider, target, act).await
}

async fn through(
    path: &str,
    body: &Value,
    translate: TranslateLayer,
    provider: &'static dyn Dialect,
    target: Target,
    act: Act,
) -> Got {
    let asked = Arc::new(Mutex::new(None));
    let (heard, records, target) = (asked.clone(), Records::default(), Arc::new(target));
    let answer = service_fn(move |req: Request<Payload>| {
        *heard.lock().unwrap() = Some(serde_json::from_slice(&req.body().to_bytes()).unwrap());
        std::future::ready(reply(provider, act.clone()))
    });
    let stack = ServiceBuilder::new()
        .layer(translate)
        .layer(FirstEventLayer::new(Duration::from_secs(1)))
        .layer(MeterLayer::new(target.clone()))
        .service(answer);
    let route = Route::new("m", [Candidate::new(target, stack)]).retry(Retry::never());
    let gateway = ServiceBuilder::new()
        .layer(RecordLayer::new(Arc::new(records.clone())))
        .layer(RenderErrorsLayer::new(Dialects::default()))
        .layer(AuthLayer::open(Caller::new(VirtualKey::new("everybody"))))
        .layer(IngestLayer::new(Dialects::default()))
        .service(Dispatch::new(Table::default().route(route)));

    let req = Request::post(path).body(Full::new(Bytes::from(body.to_string()))).unwrap();
    let (parts, body) = gateway.oneshot(req).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();

    let record = records.0.lock().unwrap().take().expect("every request is recorded");
    let lost = record.lost.iter().map(ToString::to_string).collect();
    let asked = asked.lock().unwrap().take();
    Got { status: parts.status, headers: parts.headers, body, asked, tokens: record.tokens, lost }
}

type Frames = StreamBody<stream::Iter<std::vec::IntoIter<Result<Frame<Bytes>, Infallible>>>>;

fn reply(provider: &dyn Dialect, act: Act) -> Result<Response<Frames>, Error> {
    let (content_type, body) = match act {
        Act::Answer(body) => ("application/json", body.to_string()),
        Act::Stream(body) => ("text/event-stream", body),
        Act::Refuse(status, body) => {
            let status = StatusCode::from_u16(status).unwrap();
            let headers = HeaderMap::from_iter([(header::RETRY_AFTER, HeaderValue::from_static("7"))]);
            let body = body.to_string().into();
            return Err(provider.read_error(Reply { status, headers, body, dialect: provider.id() }));
        }
    };
    // Cut where it hurts: in the middle of lines.
    let chunks = body.as_bytes().chunks(61).map(|chunk| Ok(Frame::data(Bytes::copy_from_slice(chunk))));
    let body = StreamBody::new(stream::iter(chunks.collect::<Vec<_>>()));
    Ok(Response::builder().header(header::CONTENT_TYPE, content_type).body(body).unwrap())
}

/// The events in a stream that has been read to its end.
pub fn events(stream: Bytes) -> Vec<Event> {
    let mut splitter = Splitter::default();
    splitter.push(stream).unwrap();
    let mut events: Vec<_> = std::iter::from_fn(|| splitter.next_event()).collect();
    events.extend(splitter.finish());
    events.retain(|event| !event.data.is_empty());
    events
}
