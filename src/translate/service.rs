use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{Request, Response, header};
use http_body::Body;
use http_body_util::BodyExt;
use pin_project_lite::pin_project;
use tower::Service;

use super::{TranslateLayer, body::Translated, undo::UndoStream};
use crate::{
    BoxError, BoxFuture, Dialect, Error, Kind, Payload,
    dialect::{Codec, Encoded, Undo},
    headers,
};

/// Middleware of [`TranslateLayer`].
#[derive(Clone, Debug)]
pub struct Translate<S> {
    inner: S,
    config: TranslateLayer,
}

impl<S> Translate<S> {
    pub(super) fn new(inner: S, config: TranslateLayer) -> Self {
        Self { inner, config }
    }
}

impl<S, R> Service<Request<Payload>> for Translate<S>
where
    S: Service<Request<Payload>, Response = Response<R>>,
    S::Error: Into<Error> + 'static,
    S::Future: Send + 'static,
    R: Body<Data = Bytes> + Send + 'static,
    R::Error: Into<BoxError>,
{
    type Response = Response<Translated<R>>;
    type Error = Error;
    type Future = ResponseFuture<S::Future, R>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, req: Request<Payload>) -> Self::Future {
        let dialect = req.body().dialect();
        if self.config.natives.iter().any(|native| native.id() == dialect.id()) {
            let filter = dialect.usage_is_extra(req.body().head()).then_some(dialect);
            req.body().exchange().learn(|learnt| learnt.lost.clear());
            let inner = self.inner.call(req.map(|payload| dialect.ask_for_usage(payload)));
            return State::Native { inner, filter }.into();
        }
        match self.config.translate(req) {
            Ok((req, back)) => State::Foreign { answer: Box::pin(back.answer(self.inner.call(req))) }.into(),
            Err(error) => State::Refused { error: Some(error) }.into(),
        }
    }
}

impl TranslateLayer {
    fn translate(&self, mut req: Request<Payload>) -> Result<(Request<Payload>, Back), Error> {
        let from = req.body().dialect();
        let native = self.natives.iter().find_map(|native| Some((*native, native.codec()?)));
        let (Some(client), Some((native, provider))) = (from.codec(), native) else {
            let message = format!("the model `{}` is not served at this endpoint", req.body().head().model);
            return Err(Error::new(Kind::InvalidRequest, message).with_param("model"));
        };
        let source = req.body().source().clone();
        let canonical = client.decode_request(&source)?;
        let Encoded { body, lost, undo } = provider.encode_request(&canonical, &self.target)?;
        if !lost.is_empty() && (self.strict || asks_for_strictness(&req)) {
            let message = format!("{}: {} can't express it, and losses are refused", lost[0], self.target);
            return Err(Error::new(Kind::InvalidRequest, message).with_param(lost[0].clone()));
        }
        req.body().exchange().learn(|learnt| learnt.lost = lost);
        let back = Back { client, provider, undo, head: req.body().head().clone() };
        let stays = |name: &http::HeaderName| !is_of_dialect(name);
        let names: Vec<_> = req.headers().keys().filter(|name| !stays(name)).cloned().collect();
        for name in names {
            req.headers_mut().remove(name);
        }
        Ok((req.map(|payload| payload.translated(native, body.into())), back))
    }
}

fn asks_for_strictness(req: &Request<Payload>) -> bool {
    req.headers().get(headers::STRICT).is_some_and(|value| value == "true")
}

/// Headers that mean something to the client's own kind of provider only.
fn is_of_dialect(name: &http::HeaderName) -> bool {
    name.as_str().starts_with("anthropic-") || name.as_str().starts_with("openai-")
}

/// What the way back needs.
struct Back {
    client: &'static dyn Codec,
    provider: &'static dyn Codec,
    undo: Undo,
    head: crate::payload::Head,
}

impl Back {
    async fn answer<F, R, E>(self, call: F) -> Result<Response<Translated<R>>, Error>
    where
        F: Future<Output = Result<Response<R>, E>>,
        E: Into<Error>,
        R: Body<Data = Bytes>,
        R::Error: Into<BoxError>,
    {
        let (mut parts, inner) = call.await.map_err(Into::into)?.into_parts();
        parts.headers.remove(header::CONTENT_LENGTH);
        if self.head.stream {
            let stream = UndoStream::new(self.provider.decoder(), self.client.encoder(&self.head), self.undo);
            return Ok(Response::from_parts(parts, Translated::stream(inner, stream)));
        }
        let whole = inner.collect().await.map_err(|error| Error::from(error.into()))?.to_bytes();
        let mut answer = self.provider.decode_answer(&whole)?;
        self.undo.answer(&mut answer);
        let body = self.client.encode_answer(&answer);
        Ok(Response::from_parts(parts, Translated::whole(body)))
    }
}

pin_project! {
    /// Response future of [`Translate`].
    pub struct ResponseFuture<F, R> {
        #[pin]
        state: State<F, R>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F, R> {
        Native { #[pin] inner: F, filter: Option<&'static dyn Dialect> },
        Foreign { answer: BoxFuture<'static, Result<Response<Translated<R>>, Error>> },
        Refused { error: Option<Error> },
    }
}

impl<F, R> From<State<F, R>> for ResponseFuture<F, R> {
    fn from(state: State<F, R>) -> Self {
        Self { state }
    }
}

impl<F, R> std::fmt::Debug for ResponseFuture<F, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

impl<F, R, E> Future for ResponseFuture<F, R>
where
    F: Future<Output = Result<Response<R>, E>>,
    E: Into<Error>,
{
    type Output = Result<Response<Translated<R>>, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProj::Native { inner, filter } => {
                let res = ready!(inner.poll(cx)).map_err(Into::into)?;
                Poll::Ready(Ok(res.map(|inner| match filter.take() {
                    Some(dialect) => Translated::filtered(inner, dialect),
                    None => Translated::native(inner),
                })))
            }
            StateProj::Foreign { answer } => answer.as_mut().poll(cx),
            StateProj::Refused { error } => {
                Poll::Ready(Err(error.take().expect("a future is not polled after it is ready")))
            }
        }
    }
}
