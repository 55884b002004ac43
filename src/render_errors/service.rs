use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, header};
use http_body::Body;
use pin_project_lite::pin_project;
use tower::Service;

use super::{body::Rendered, render::render};
use crate::{BoxError, Dialect, Error, Exchange, dialect::Dialects, exchange::RequestId, headers};

/// Middleware of [`RenderErrorsLayer`](super::RenderErrorsLayer).
#[derive(Debug)]
pub struct RenderErrors<S> {
    inner: S,
    dialects: Dialects,
    not_ready: Option<Error>,
}

impl<S> RenderErrors<S> {
    pub(super) fn new(inner: S, dialects: Dialects) -> Self {
        Self { inner, dialects, not_ready: None }
    }
}

impl<S: Clone> Clone for RenderErrors<S> {
    fn clone(&self) -> Self {
        Self::new(self.inner.clone(), self.dialects.clone())
    }
}

impl<S, B, R> Service<Request<B>> for RenderErrors<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Error: Into<Error>,
    R: Body<Data = Bytes>,
    R::Error: Into<BoxError>,
{
    type Response = Response<Rendered<R>>;
    type Error = Infallible;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // That the inner service has failed is told to whoever calls next.
        self.not_ready = ready!(self.inner.poll_ready(cx)).err().map(Into::into);
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut req: Request<B>) -> Self::Future {
        let exchange = Exchange::open(&mut req);
        let (parts, body) = req.into_parts();
        let dialect = self.dialects.of_errors(&parts);
        let state = match self.not_ready.take() {
            Some(error) => State::Failed { error: Some(error) },
            None => State::Called { inner: self.inner.call(Request::from_parts(parts, body)) },
        };
        ResponseFuture { state, dialect, exchange }
    }
}

pin_project! {
    /// Response future of [`RenderErrors`].
    #[derive(Debug)]
    pub struct ResponseFuture<F> {
        #[pin]
        state: State<F>,
        dialect: &'static dyn Dialect,
        exchange: Exchange,
    }
}

pin_project! {
    #[project = StateProj]
    #[derive(Debug)]
    enum State<F> {
        Called { #[pin] inner: F },
        Failed { error: Option<Error> },
    }
}

impl<F, R, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
    E: Into<Error>,
    R: Body<Data = Bytes>,
{
    type Output = Result<Response<Rendered<R>>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let result = match this.state.project() {
            StateProj::Called { inner } => ready!(inner.poll(cx)).map_err(Into::into),
            StateProj::Failed { error } => {
                Err(error.take().expect("a future is not polled after it is ready"))
            }
        };
        let mut res = match result {
            Ok(res) if is_stream(res.headers()) => {
                res.map(|body| Rendered::stream(body, *this.dialect, this.exchange.clone()))
            }
            Ok(res) => res.map(Rendered::whole),
            Err(error) => {
                this.exchange.fail(&error);
                render(*this.dialect, &error, this.exchange.id()).map(Rendered::error)
            }
        };
        name(res.headers_mut(), this.exchange.id());
        Poll::Ready(Ok(res))
    }
}

fn is_stream(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"text/event-stream"))
}

fn name(headers: &mut HeaderMap, id: &RequestId) {
    if let Ok(id) = HeaderValue::from_str(id.as_str()) {
        headers.insert(headers::REQUEST_ID, id.clone());
        headers.insert(headers::ANTHROPIC_REQUEST_ID, id);
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
}
