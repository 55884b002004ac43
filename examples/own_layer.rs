//! Layers of your own between the crate's: `cargo run --example own_layer`.
//!
//! Three kinds of them: one that looks at headers only and works for any body, one that reads the
//! request and may refuse it, and one that waits for the end of the answer to learn what it used.

use std::{
    env,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use axum::Router;
use bartizan::{
    BoxError, Dialect, Error, Exchange, Ingested, Kind, Target,
    auth::{AuthLayer, Caller, VirtualKey},
    body::{End, Followed, Observe, OnEnd},
    demo::Demo,
    dialect::{Dialects, OPENAI_CHAT},
    dispatch::{Candidate, Dispatch, Route, Table},
    future::{Admission, Watched},
    ingest::IngestLayer,
    meter::MeterLayer,
    render_errors::RenderErrorsLayer,
    translate::TranslateLayer,
};
use bytes::Bytes;
use http::{HeaderValue, Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use serde_json::Value;
use tokio::net::TcpListener;
use tower::{Layer, Service, ServiceBuilder};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    tracing_subscriber::fmt().init();
    let address = env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    let listener = TcpListener::bind(&address).await.map_err(|error| format!("{address}: {error}"))?;
    let address = listener.local_addr()?;
    println!(
        "Listening on http://{address}\n\n  curl http://{address}/v1/chat/completions \
         -H 'content-type: application/json' \
         -d '{{\"model\": \"chat\", \"messages\": [{{\"role\": \"user\", \"content\": \"Hello!\"}}]}}'\n\n\
         and the same with `Project Falcon` in place of `Hello!`, which is refused."
    );
    axum::serve(listener, app()).await?;
    Ok(())
}

/// A gateway with the three layers of this example in their places.
pub fn app() -> Router {
    let dialects = Dialects::default();
    let gateway = ServiceBuilder::new()
        // Outside of everything, so that refusals are marked too.
        .layer(StageLayer { stage: HeaderValue::from_static("staging") })
        .layer(RenderErrorsLayer::new(dialects.clone()))
        // Inside of it, where a refusal is still an error; outside of all that it waits for.
        .layer(LogUsageLayer)
        .layer(AuthLayer::open(Caller::new(VirtualKey::new("everybody"))))
        .layer(IngestLayer::new(dialects))
        // Reads the request, so it stands behind ingest. The compiler sees to that.
        .layer(GuardrailLayer { word: "project falcon" })
        .service(dispatch());
    Router::new().fallback_service(gateway)
}

/// Names the stage in every answer. Looks at no body, so it is generic over both.
#[derive(Clone, Debug)]
pub struct StageLayer {
    stage: HeaderValue,
}

/// Middleware of [`StageLayer`].
#[derive(Clone, Debug)]
pub struct Stage<S> {
    inner: S,
    stage: HeaderValue,
}

impl<S> Layer<S> for StageLayer {
    type Service = Stage<S>;

    fn layer(&self, inner: S) -> Stage<S> {
        Stage { inner, stage: self.stage.clone() }
    }
}

impl<S, B, R> Service<Request<B>> for Stage<S>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Staged<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, req: Request<B>) -> Self::Future {
        Staged { inner: self.inner.call(req), stage: Some(self.stage.clone()) }
    }
}

pin_project! {
    /// Response future of [`Stage`].
    #[derive(Debug)]
    pub struct Staged<F> {
        #[pin]
        inner: F,
        stage: Option<HeaderValue>,
    }
}

impl<F, R, E> Future for Staged<F>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let mut res = ready!(this.inner.poll(cx))?;
        if let Some(stage) = this.stage.take() {
            res.headers_mut().insert("x-stage", stage);
        }
        Poll::Ready(Ok(res))
    }
}

/// Refuses requests that mention a word.
#[derive(Clone, Debug)]
pub struct GuardrailLayer {
    word: &'static str,
}

/// Middleware of [`GuardrailLayer`].
#[derive(Clone, Debug)]
pub struct Guardrail<S> {
    inner: S,
    word: &'static str,
}

impl<S> Layer<S> for GuardrailLayer {
    type Service = Guardrail<S>;

    fn layer(&self, inner: S) -> Guardrail<S> {
        Guardrail { inner, word: self.word }
    }
}

impl<S, B> Service<Request<B>> for Guardrail<S>
where
    S: Service<Request<B>>,
    S::Error: Into<Error>,
    // This is how a layer says that it reads the request.
    B: Ingested,
{
    type Response = S::Response;
    type Error = Error;
    type Future = Admission<S::Future, S::Response>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, req: Request<B>) -> Self::Future {
        // Parsed, because the word could be hidden from a search of the bytes by escapes.
        match serde_json::from_slice::<Value>(&req.body().payload().to_bytes()) {
            Ok(body) if mentions(&body, self.word) => Admission::refused(Error::new(
                Kind::ContentFiltered,
                "the request mentions what may not leave the company",
            )),
            Ok(_) => Admission::called(self.inner.call(req)),
            Err(error) => Admission::refused(
                Error::new(Kind::InvalidRequest, "the request is not JSON").with_source(error),
            ),
        }
    }
}

/// Whether any text in `value` has `word` in it. Ingest has bounded the depth.
fn mentions(value: &Value, word: &str) -> bool {
    match value {
        Value::String(text) => text.to_lowercase().contains(word),
        Value::Array(items) => items.iter().any(|item| mentions(item, word)),
        Value::Object(members) => members.values().any(|member| mentions(member, word)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Logs what an answer used when it has ended: completed, failed, or left by the client.
#[derive(Clone, Copy, Debug)]
pub struct LogUsageLayer;

/// Middleware of [`LogUsageLayer`].
#[derive(Clone, Debug)]
pub struct LogUsage<S> {
    inner: S,
}

impl<S> Layer<S> for LogUsageLayer {
    type Service = LogUsage<S>;

    fn layer(&self, inner: S) -> LogUsage<S> {
        LogUsage { inner }
    }
}

impl<S, B, R> Service<Request<B>> for LogUsage<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Error: Into<Error>,
    R: Body<Data = Bytes>,
{
    type Response = Response<Followed<R, Usage>>;
    type Error = Error;
    type Future = Watched<S::Future, Usage, R>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, mut req: Request<B>) -> Self::Future {
        // From here on leaving is noticed; the watch goes on in the answer's body.
        let watch = OnEnd::new(Usage { exchange: Exchange::open(&mut req) });
        Watched::called(self.inner.call(req), watch)
    }
}

/// Watches one answer. What it says comes from the layers inside, which have written it by then.
#[derive(Debug)]
pub struct Usage {
    exchange: Exchange,
}

impl Observe for Usage {
    fn end(self, end: End) {
        let tokens = self.exchange.tokens();
        tracing::info!(
            id = %self.exchange.id(),
            end = end.as_str(),
            input = tokens.input,
            output = tokens.output,
            "used"
        );
    }
}

/// One model, answered by the provider that needs no account.
fn dispatch() -> Dispatch {
    let target = Arc::new(Target::new("demo", "echo"));
    let provider = ServiceBuilder::new()
        .layer(TranslateLayer::new(target.clone(), [&OPENAI_CHAT as &dyn Dialect]))
        .layer(MeterLayer::new(target.clone()))
        .service(Demo::default());
    Dispatch::new(Table::default().route(Route::new("chat", [Candidate::new(target, provider)])))
}
