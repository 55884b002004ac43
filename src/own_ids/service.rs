use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{Request, Response, header};
use http_body::Body;
use http_body_util::{BodyExt, Either, Full};
use pin_project_lite::pin_project;
use tower::Service;

use super::{Seal, ids::Ids};
use crate::{BoxError, BoxFuture, Error, Payload, Target, headers};

/// Middleware of [`OwnIdsLayer`](super::OwnIdsLayer).
#[derive(Clone, Debug)]
pub struct OwnIds<S> {
    inner: S,
    target: Arc<Target>,
    secret: Seal,
}

impl<S> OwnIds<S> {
    pub(super) fn new(inner: S, target: Arc<Target>, secret: Seal) -> Self {
        Self { inner, target, secret }
    }
}

impl<S, R> Service<Request<Payload>> for OwnIds<S>
where
    S: Service<Request<Payload>, Response = Response<R>>,
    S::Error: Into<Error> + 'static,
    S::Future: Send + 'static,
    R: Body<Data = Bytes> + Send + 'static,
    R::Error: Into<BoxError>,
{
    type Response = Response<Either<R, Full<Bytes>>>;
    type Error = Error;
    type Future = ResponseFuture<S::Future, R>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, req: Request<Payload>) -> Self::Future {
        if req.body().dialect().ids().is_empty() {
            return ResponseFuture { state: State::Called { inner: self.inner.call(req) } };
        }
        let ids = match Ids::of(&req, &self.target, &self.secret) {
            Ok(ids) => ids,
            Err(error) => return ResponseFuture { state: State::Refused { error: Some(error) } },
        };
        // What was stored comes back as it is.
        if req.body().head().is_opaque {
            return ResponseFuture { state: State::Called { inner: self.inner.call(req) } };
        }
        let answer = rewritten(self.inner.call(req), ids);
        ResponseFuture { state: State::Waiting { answer: Box::pin(answer) } }
    }
}

async fn rewritten<F, R, E>(call: F, ids: Ids) -> Result<Response<Either<R, Full<Bytes>>>, Error>
where
    F: Future<Output = Result<Response<R>, E>>,
    E: Into<Error>,
    R: Body<Data = Bytes>,
    R::Error: Into<BoxError>,
{
    let (mut parts, body) = call.await.map_err(Into::into)?.into_parts();
    if !headers::is_json(&parts.headers) {
        return Ok(Response::from_parts(parts, Either::Left(body)));
    }
    let whole = body.collect().await.map_err(|error| Error::from(error.into()))?.to_bytes();
    parts.headers.remove(header::CONTENT_LENGTH);
    Ok(Response::from_parts(parts, Either::Right(Full::new(ids.written(whole)))))
}

pin_project! {
    /// Response future of [`OwnIds`].
    pub struct ResponseFuture<F, R> {
        #[pin]
        state: State<F, R>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F, R> {
        Called { #[pin] inner: F },
        Waiting { answer: BoxFuture<'static, Result<Response<Either<R, Full<Bytes>>>, Error>> },
        Refused { error: Option<Error> },
    }
}

impl<F, R> fmt::Debug for ResponseFuture<F, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

impl<F, R, E> Future for ResponseFuture<F, R>
where
    F: Future<Output = Result<Response<R>, E>>,
    E: Into<Error>,
{
    type Output = Result<Response<Either<R, Full<Bytes>>>, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProj::Called { inner } => {
                Poll::Ready(Ok(ready!(inner.poll(cx)).map_err(Into::into)?.map(Either::Left)))
            }
            StateProj::Waiting { answer } => answer.as_mut().poll(cx),
            StateProj::Refused { error } => {
                Poll::Ready(Err(error.take().expect("a future is not polled after it is ready")))
            }
        }
    }
}
