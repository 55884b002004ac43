//! A gateway in front of a provider that says what it is told to.

// Each suite needs another part of it.
#![allow(dead_code)]

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};

use bartizan::{
    Error, Payload, Target,
    body::sse::{Event, Splitter},
    dialect::{Dialect, Dialects},
    error::Reply,
    first_event::FirstEventLayer,
    ingest::IngestLayer,
    render_errors::RenderErrorsLayer,
    translate::TranslateLayer,
};
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use tower::{ServiceBuilder, ServiceExt, service_fn};

/// What the provider answers.
#[derive(Clone, Debug)]
pub struct Said {
    pub status: u16,
    pub content_type: &'static str,
    pub chunks: Vec<Bytes>,
}

impl Said {
    pub fn json(status: u16, body: impl Into<Bytes>) -> Self {
        Self { status, content_type: "application/json", chunks: vec![body.into()] }
    }

    pub fn stream(chunks: Vec<Bytes>) -> Self {
        Self { status: 200, content_type: "text/event-stream", chunks }
    }
}

/// What the client got.
#[derive(Debug)]
pub struct Got {
    pub status: StatusCode,
    pub body: Bytes,
    /// What the provider was asked; nothing if it wasn't.
    pub asked: Option<Bytes>,
}

/// Sends `body` to `path`, through a gateway to a provider of `provider`'s dialect.
pub async fn ask(
    path: &str,
    body: String,
    provider: &'static dyn Dialect,
    target: Target,
    said: Said,
) -> Got {
    let asked = Arc::new(Mutex::new(None));
    let heard = asked.clone();
    let answer = service_fn(move |req: Request<Payload>| {
        *heard.lock().unwrap() = Some(req.body().to_bytes());
        std::future::ready(reply(provider, said.clone()))
    });
    let gateway = ServiceBuilder::new()
        .layer(RenderErrorsLayer::new(Dialects::default()))
        .layer(IngestLayer::new(Dialects::default()))
        .layer(TranslateLayer::new(Arc::new(target), [provider]))
        .layer(FirstEventLayer::new(Duration::from_secs(1)))
        .service(answer);

    let req = Request::post(path).body(Full::new(Bytes::from(body))).unwrap();
    let res = gateway.oneshot(req).await.unwrap();

    let status = res.status();
    let body = res.into_body().collect().await.unwrap().to_bytes();
    let asked = asked.lock().unwrap().take();
    Got { status, body, asked }
}

type Chunks = StreamBody<stream::Iter<std::vec::IntoIter<Result<Frame<Bytes>, Infallible>>>>;

fn reply(provider: &dyn Dialect, said: Said) -> Result<Response<Chunks>, Error> {
    let status = StatusCode::from_u16(said.status).unwrap();
    if !status.is_success() {
        let body = said.chunks.concat().into();
        return Err(provider.read_error(Reply {
            status,
            headers: HeaderMap::new(),
            body,
            dialect: provider.id(),
        }));
    }
    let frames: Vec<_> = said.chunks.into_iter().map(|chunk| Ok(Frame::data(chunk))).collect();
    let res = Response::builder().status(status).header(header::CONTENT_TYPE, said.content_type);
    Ok(res.body(StreamBody::new(stream::iter(frames))).unwrap())
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
