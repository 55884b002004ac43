//! Providers of your own: `cargo run --example own_provider`.
//!
//! A provider is any `Service<Request<Payload>>`. Here it is a model in this process that takes one
//! request at a time, with a second provider for the others. A provider that is reached by HTTP and
//! speaks a known dialect needs no code of its own, only an address and a credential: `hosted`.

use std::{
    env,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::Router;
use bartizan::{
    BoxError, BoxFuture, Dialect, Error, Kind, Payload, Target, Tokens,
    auth::{AuthLayer, Caller, VirtualKey},
    demo::Demo,
    dialect::{
        ChatCodec, Codec, Dialects, OPENAI_CHAT,
        canonical::{Answer, Choice, Content, Event, Finish, Role},
    },
    dispatch::{Candidate, Dispatch, Retry, Route, Table},
    first_event::FirstEventLayer,
    in_flight::InFlightLayer,
    ingest::IngestLayer,
    meter::MeterLayer,
    render_errors::RenderErrorsLayer,
    secret::Secret,
    sign::{Credential, SignLayer},
    translate::TranslateLayer,
    upstream::{HttpClient, Upstream},
};
use bytes::{Bytes, BytesMut};
use http::{Request, Response, header};
use http_body_util::Full;
use tokio::net::TcpListener;
use tower::{Service, ServiceBuilder};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let address = env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    let listener = TcpListener::bind(&address).await.map_err(|error| format!("{address}: {error}"))?;
    let address = listener.local_addr()?;
    println!(
        "Listening on http://{address}\n\n  for i in 1 2; do curl -si http://{address}/v1/chat/completions \
         -H 'content-type: application/json' \
         -d '{{\"model\": \"chat\", \"messages\": [{{\"role\": \"user\", \"content\": \"Hello!\"}}]}}' & \
         done; wait\n\nOne answer has `x-bartizan-provider: local`, the other `demo`."
    );
    let candidates = [local(Duration::from_millis(500)), demo()];
    axum::serve(listener, app(candidates)).await?;
    Ok(())
}

/// A gateway for the model `chat`, which asks `candidates` in this order.
pub fn app(candidates: impl IntoIterator<Item = Candidate>) -> Router {
    // Whoever is busy now will be so in a moment: the next one is asked at once.
    let route = Route::new("chat", candidates).retry(Retry::never());
    let dialects = Dialects::default();
    let gateway = ServiceBuilder::new()
        .layer(RenderErrorsLayer::new(dialects.clone()))
        .layer(AuthLayer::open(Caller::new(VirtualKey::new("everybody"))))
        .layer(IngestLayer::new(dialects))
        .service(Dispatch::new(Table::default().route(route)));
    Router::new().fallback_service(gateway)
}

/// The model in this process, which thinks for `pause`.
pub fn local(pause: Duration) -> Candidate {
    let target = Arc::new(Target::new("local", "backwards"));
    let stack = ServiceBuilder::new()
        // One at a time. To be busy is an error, so that the next candidate is asked.
        .layer(InFlightLayer::new(1))
        // The model speaks one dialect; clients may speak any.
        .layer(TranslateLayer::new(target.clone(), [&OPENAI_CHAT as &dyn Dialect]))
        // Reads the usage out of what passes, for budgets and records.
        .layer(MeterLayer::new(target.clone()))
        .service(Backwards { pause });
    Candidate::new(target, stack)
}

/// The crate's own provider that needs no account.
pub fn demo() -> Candidate {
    let target = Arc::new(Target::new("demo", "echo"));
    let stack = ServiceBuilder::new()
        .layer(TranslateLayer::new(target.clone(), [&OPENAI_CHAT as &dyn Dialect]))
        .layer(MeterLayer::new(target.clone()))
        .service(Demo::default());
    Candidate::new(target, stack)
}

/// A provider behind an address such as `https://llm.example.com/v1` that speaks OpenAI's chat
/// completions and wants a bearer token.
pub fn hosted(client: HttpClient, base: &str, token: Secret, model: &str) -> Result<Candidate, BoxError> {
    let target = Arc::new(Target::new("hosted", model));
    let stack = ServiceBuilder::new()
        .layer(InFlightLayer::new(100))
        .layer(TranslateLayer::new(target.clone(), [&OPENAI_CHAT as &dyn Dialect]))
        // Holds a stream back until it has content; until then the next candidate can be asked.
        .layer(FirstEventLayer::new(Duration::from_secs(20)))
        .layer(MeterLayer::new(target.clone()))
        // Last, so that the token passes through no other layer.
        .layer(SignLayer::new(Credential::Bearer(token))?)
        .service(Upstream::new(client, base)?);
    Ok(Candidate::new(target, stack))
}

/// A model that says everything backwards.
#[derive(Clone, Copy, Debug)]
pub struct Backwards {
    pause: Duration,
}

impl Service<Request<Payload>> for Backwards {
    type Response = Response<Full<Bytes>>;
    type Error = Error;
    type Future = BoxFuture<'static, Result<Self::Response, Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, req: Request<Payload>) -> Self::Future {
        let pause = self.pause;
        Box::pin(async move {
            tokio::time::sleep(pause).await;
            answer(req.body())
        })
    }
}

fn answer(payload: &Payload) -> Result<Response<Full<Bytes>>, Error> {
    let codec = payload.dialect().codec().and_then(Codec::chat);
    let codec = codec.ok_or_else(|| Error::new(Kind::InvalidRequest, "the model only chats"))?;
    let question = question(codec, &payload.to_bytes())?;
    let text: String = question.chars().rev().collect();
    let tokens = Tokens { input: question.len() as u64, output: text.len() as u64, ..Tokens::default() };
    let (content_type, body) = if payload.head().stream {
        ("text/event-stream", stream(codec, payload, &text, tokens))
    } else {
        ("application/json", whole(codec, payload, &text, tokens))
    };
    let mut res = Response::new(Full::new(body));
    res.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
    Ok(res)
}

/// The text of the user's last turn.
fn question(codec: &dyn ChatCodec, body: &[u8]) -> Result<String, Error> {
    let request = codec.decode_request(body)?;
    let last = request.turns.iter().rfind(|turn| turn.role == Role::User);
    let texts = last.into_iter().flat_map(|turn| &turn.parts).filter_map(|part| match &part.content {
        Content::Text(text) => Some(&**text),
        _ => None,
    });
    Ok(texts.collect())
}

fn whole(codec: &dyn ChatCodec, payload: &Payload, text: &str, tokens: Tokens) -> Bytes {
    let parts = vec![Content::Text(text.into()).into()];
    let answer = Answer {
        id: payload.exchange().id().as_str().into(),
        model: payload.model().into(),
        choices: vec![Choice { index: 0, parts, finish: Finish::Stop, logprobs: None }],
        tokens,
        ..Answer::default()
    };
    codec.encode_answer(&answer, payload)
}

/// A model that writes word by word would send an event for each.
fn stream(codec: &dyn ChatCodec, payload: &Payload, text: &str, tokens: Tokens) -> Bytes {
    let (mut encoder, mut out) = (codec.encoder(payload), BytesMut::new());
    let id = payload.exchange().id().as_str().into();
    for event in [
        Event::Start { id, model: payload.model().into(), created: None },
        Event::Text { choice: 0, text: text.into() },
        Event::Finish { choice: 0, finish: Finish::Stop },
        Event::Usage(tokens),
        Event::End,
    ] {
        encoder.event(event, &mut out);
    }
    out.freeze()
}
